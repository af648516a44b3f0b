"""What the demo simulates: how long, which of it is trained on, and which faults strike when. Runs nothing.

Unlike an evaluation's, the faults are staged: some fail in the scored days, some are on their way when the history
ends, and one site loses its power. What the faults do, how fast they grow and how they look is the simulator's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np

from refrig_assets.simulator import noise
from refrig_assets.simulator.catalogue import SITE_DEVICES
from refrig_assets.simulator.faults import NUMBER
from refrig_assets.simulator.fleet import Fleet, make_fleet
from refrig_assets.simulator.noise import F64, I64
from refrig_assets.simulator.plan import FaultPlan, begun_at, epoch_minutes, no_faults, together

LEAST_DAYS, LEAST_DEVICES = 3, 20
_LEAST_TRAINING = timedelta(hours=36)
_HOURS_A_PART = 84
_FAILING = ("refrigerant_leak_slow", "bearing_wear", "condenser_fouling", "evaporator_icing")
_LASTING = ("valve_hunting", "door_seal")
_ACUTE = ("liquid_slugging", "compressor_seizure", "refrigerant_leak_fast", "compressor_overload")
_TELEMETRY = ("sensor_drift", "sensor_stuck", "sensor_dead")
_OUTAGE = "power_loss"
_SIZES = (0.95, 0.8, 0.65)


@dataclass(frozen=True)
class DemoSpec:
    """A fleet whose history ends at `end`, a full hour."""

    devices: int
    hours: int
    seed: int
    end: datetime

    @property
    def start(self) -> datetime:
        return self.end - timedelta(hours=self.hours)

    @property
    def trained_until(self) -> datetime:
        """The midnight nearest before two thirds of the history, or the first that leaves enough to train on."""
        two_thirds = (self.start + timedelta(hours=self.hours * 2 / 3)).astimezone(UTC)
        midnight = two_thirds.replace(hour=0, minute=0, second=0, microsecond=0)
        while midnight - self.start < _LEAST_TRAINING:
            midnight += timedelta(days=1)
        return midnight

    @property
    def parts(self) -> list[tuple[datetime, datetime]]:
        """The history in stretches that are made one after the other; none lies on both sides of the training."""
        return [*_stretches(self.start, self.trained_until), *_stretches(self.trained_until, self.end)]

    def fleet(self) -> Fleet:
        return make_fleet(self.devices, self.seed, self.start)


def _stretches(start: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
    hours = round((end - start) / timedelta(hours=1))
    count = -(-hours // _HOURS_A_PART)
    edges = [start + timedelta(hours=hours * n // count) for n in range(count + 1)]
    return list(pairwise(edges))


def demo_plan(fleet: Fleet, spec: DemoSpec) -> FaultPlan:
    """The faults, each on a device of its own; their numbers grow with the fleet."""
    staging = _Staging(fleet, spec)
    n = fleet.size
    staging.repaired(max(1, n // 60))
    staging.failing(max(2, n // 30))
    staging.coming(max(1, n // 50))
    staging.begins(_LASTING, max(1, n // 150), 0.05, 0.5)
    staging.begins(_ACUTE, max(1, n // 75), 0.2, 0.9)
    staging.begins(_TELEMETRY, max(1, n // 100), 0.1, 0.6)
    return staging.plan


class _Staging:
    """A plan that grows, and the devices that are still well."""

    def __init__(self, fleet: Fleet, spec: DemoSpec) -> None:
        self.fleet, self.seed = fleet, spec.seed
        self.start, self.end = epoch_minutes(spec.start), epoch_minutes(spec.end)
        self.scored = epoch_minutes(spec.trained_until)
        order = np.argsort(noise.bits(spec.seed, "demo/device", fleet.devices.index), kind="stable").astype(np.int64)
        self.plan = no_faults(fleet)
        sites = fleet.size // SITE_DEVICES
        if sites > 1:
            site = int(noise.bits(spec.seed, "demo/site", np.zeros(1, np.int64))[0]) % sites
            dark = np.flatnonzero(fleet.devices.site == site).astype(np.int64)
            self._add(np.full(len(dark), NUMBER[_OUTAGE]), dark, np.full(len(dark), self._scored_at(0.7)), 1.0)
            order = order[fleet.devices.site[order] != site]
        self._well = order

    def repaired(self, count: int) -> None:
        """Faults that failed and were repaired in the days that are trained on: a plant's own past is not clean."""
        kind, device = self._take(_FAILING, count)
        failure = self.start + (self.scored - self.start) * _spread(count, 0.3, 0.85)
        self._add_sized(kind, device, np.maximum(failure - self._growth(kind, device), self.start))

    def failing(self, count: int) -> None:
        """Faults that fail in the scored days, late enough that they could be found half a day before."""
        kind, device = self._take(_FAILING, count)
        failure = self.scored + (self.end - self.scored) * _spread(count, 0.35, 0.97)
        self._add_sized(kind, device, failure - self._growth(kind, device))

    def coming(self, count: int) -> None:
        """Faults that are most of the way when the history ends, and fail in the hours after it."""
        kind, device = self._take(_FAILING, count)
        growth = self._growth(kind, device)
        self._add_sized(kind, device, self.end + growth * _spread(count, 0.1, 0.35) - growth)

    def begins(self, kinds: Sequence[str], count: int, first: float, last: float) -> None:
        """Faults that begin in the scored days, between these shares of them."""
        kind, device = self._take(kinds, count)
        self._add_sized(kind, device, self.scored + (self.end - self.scored) * _spread(count, first, last))

    def _take(self, kinds: Sequence[str], count: int) -> tuple[I64, I64]:
        device, self._well = self._well[:count], self._well[count:]
        return np.array([NUMBER[kinds[i % len(kinds)]] for i in range(count)], dtype=np.int64), device

    def _scored_at(self, share: float) -> float:
        return self.scored + (self.end - self.scored) * share

    def _growth(self, kind: I64, device: I64) -> F64:
        """How long the simulator lets these faults grow on these devices, in minutes."""
        drafted = begun_at(self.fleet, kind, device, np.full(len(kind), self.start), self.seed)
        return np.asarray(drafted.full - drafted.onset, dtype=np.float64)

    def _add_sized(self, kind: I64, device: I64, onset: F64) -> None:
        """Sizes in turn, so that each kind has strong and weak ones."""
        place = np.arange(len(kind)) // len(_FAILING) + np.arange(len(kind))
        for number, size in enumerate(_SIZES):
            mine = np.flatnonzero(place % len(_SIZES) == number)
            if len(mine):
                self._add(kind[mine], device[mine], onset[mine], size)

    def _add(self, kind: I64, device: I64, onset: F64, size: float) -> None:
        self.plan = together(self.plan, begun_at(self.fleet, kind, device, onset, self.seed, size))


def _spread(count: int, first: float, last: float) -> F64:
    """So many places at even distances."""
    return np.asarray(first + (last - first) * (np.arange(count) + 0.5) / count, dtype=np.float64)
