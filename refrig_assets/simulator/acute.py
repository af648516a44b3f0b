"""Acute faults while a fleet is fed live: which device, when, and the truth with the rules' limits they cross.

What the faults do is `faults.py`; when a limit is crossed is `crossings.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from refrig_assets.contracts.base import TS
from refrig_assets.contracts.sensors import SENSOR_NAMES
from refrig_assets.simulator import noise
from refrig_assets.simulator.crossings import crossings
from refrig_assets.simulator.faults import BY_NAME, NUMBER
from refrig_assets.simulator.fleet import Fleet
from refrig_assets.simulator.noise import Bools
from refrig_assets.simulator.plan import TRUTH_SCHEMA, FaultPlan, begun_at, epoch_minutes, together

# The rule each is made for; in this order they come, so that the first four show all four rules.
ACUTE_RULES: dict[str, str] = {
    "compressor_seizure": "vibration_spike",
    "power_loss": "total_cooling_loss",
    "refrigerant_leak_fast": "acute_pressure_loss",
    "compressor_overload": "compressor_overload",
    "liquid_slugging": "vibration_spike",
}
_KINDS = tuple(ACUTE_RULES)
_SHAKEN = ("compressor_seizure", "liquid_slugging")
_REST_MIN = 240.0  # a repaired machine is left in peace for as long as a rule's repeats are suppressed
_AFTER_DEFROST_MIN, _BEFORE_DEFROST_MIN = 20.0, 45.0

LIVE_TRUTH_SCHEMA: dict[str, pl.DataType] = {**TRUTH_SCHEMA, "rule": pl.String(), "crossed_at": TS}


@dataclass(frozen=True)
class Acute:
    """A fault to inject; without a device, one that can show it is chosen."""

    kind: str
    at: datetime
    device_id: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in BY_NAME or not BY_NAME[self.kind].is_machine_fault:
            raise ValueError(f"unknown acute fault {self.kind!r}; known are: {', '.join(_KINDS)}")


class Injector:
    """A plan that grows as the feed goes on: given faults, and others at a rate. The same for the same seed."""

    def __init__(
        self, fleet: Fleet, plan: FaultPlan, seed: int, start: datetime, end: datetime | None = None,
        per_hour: float = 0.0, given: Sequence[Acute] = (), known_since: datetime | None = None,
    ) -> None:  # fmt: skip
        self.fleet, self.plan, self.seed = fleet, plan, seed
        self._start, self._end = start, end or datetime.max.replace(tzinfo=start.tzinfo)
        self._known_since = known_since or start
        self._per_hour, self._number = per_hour, 0
        self._given = sorted(given, key=lambda a: a.at)
        self._numbers = {name: i for i, name in enumerate(fleet.device_ids.to_list())} if given else {}
        self._truths = [self._truth(plan, _lasting(plan, start, self._end))]

    @property
    def truth(self) -> pl.DataFrame:
        """One row a fault and rule whose limit it crosses; a fault that crosses none has one row without a rule."""
        return pl.concat(self._truths).sort("onset", "device_id", "crossed_at", nulls_last=True)

    @property
    def added(self) -> int:
        """How many faults were injected so far."""
        return len(self._truths) - 1

    def active(self, moment: datetime) -> list[tuple[str, str]]:
        """Device and fault of those that are on at the moment, the last begun first."""
        now = (pl.col("onset") <= moment) & (pl.col("ended_at") > moment) & pl.col("is_machine_fault")
        found = self.plan.truth.filter(now).sort("onset", descending=True)
        return found.select("device_id", "fault").rows()

    def until(self, moment: datetime) -> FaultPlan:
        """The plan with all faults that begin before the moment."""
        while (fault := self._next(moment)) is not None:
            self._add(fault)
        return self.plan

    def _next(self, moment: datetime) -> Acute | None:
        if self._given and self._given[0].at < moment:
            return self._given.pop(0)
        if not self._per_hour:
            return None
        within = float(noise.uniform(self.seed, "acute/at", np.array([self._number]))[0])
        at = self._start + timedelta(hours=(self._number + within) / self._per_hour)
        if at >= moment:
            return None
        self._number += 1
        return Acute(_KINDS[(self._number - 1) % len(_KINDS)], at)

    def _add(self, fault: Acute) -> None:
        minute = epoch_minutes(fault.at)
        device = self._numbered(fault.device_id) if fault.device_id else self._choose(fault.kind, minute)
        if device is None:
            return
        added = begun_at(
            self.fleet, np.array([NUMBER[fault.kind]]), np.array([device]), np.array([minute]), self.seed
        )  # fmt: skip
        self.plan = together(self.plan, added)
        self._truths.append(self._truth(added, added.truth))

    def _numbered(self, device_id: str) -> int:
        if device_id not in self._numbers:
            raise ValueError(f"there is no device {device_id}; they are {self.fleet.device_ids[0]} to "
                             f"{self.fleet.device_ids[-1]}")  # fmt: skip
        return self._numbers[device_id]

    def _choose(self, kind: str, minute: float) -> int | None:
        """A well machine on which the fault can be seen, if possible one that is not about to defrost."""
        free = self._free(minute) & _shows(self.fleet, kind)
        calm = np.flatnonzero(free & _calm(self.fleet, minute))
        candidates = calm if len(calm) else np.flatnonzero(free)
        if not len(candidates):
            return None
        draw = noise.uniform(self.seed, "acute/device", np.array([int(minute * 60)]), NUMBER[kind])
        return int(candidates[int(draw[0] * len(candidates))])

    def _free(self, minute: float) -> Bools:
        row = self.plan.of_device
        if not len(self.plan.end):
            return np.ones(len(row), dtype=np.bool_)
        return np.asarray((row < 0) | (self.plan.end[row] + _REST_MIN < minute))

    def _truth(self, plan: FaultPlan, faults: pl.DataFrame) -> pl.DataFrame:
        found = crossings(self.fleet, plan, self._known_since, self._end)
        found = found.filter((pl.col("crossed_at") >= self._start) & (pl.col("crossed_at") < self._end))
        joined = faults.join(found, on="device_id", how="left", maintain_order="left")
        return joined.select(pl.col(name).cast(dtype) for name, dtype in LIVE_TRUTH_SCHEMA.items())


def _lasting(plan: FaultPlan, start: datetime, end: datetime) -> pl.DataFrame:
    return plan.truth.filter((pl.col("onset") < end) & (pl.col("ended_at") > start))


def _shows(fleet: Fleet, kind: str) -> Bools:
    """Devices that read often enough for every rule and have the probe that the fault is seen by."""
    often = fleet.devices.every * 60 == fleet.interval_s
    if kind in _SHAKEN:
        return np.asarray(often & ~fleet.lacking[:, SENSOR_NAMES.index("vibration_compressor")])
    return np.asarray(often)


def _calm(fleet: Fleet, minute: float) -> Bools:
    """Devices whose last defrost is over for a while and whose next is not near: in one, no rule can see anything."""
    devices = fleet.devices
    since = (minute - devices.defrost_offset) % devices.defrost_period
    over = since > devices.defrost_length + _AFTER_DEFROST_MIN
    return np.asarray(over & (devices.defrost_period - since > _BEFORE_DEFROST_MIN))
