"""Which fleet an evaluation simulates and which faults strike when. Neither pipeline nor judgement here.

Faults begin through all the days, so that the training weeks are contaminated as a plant's own would be; but most of
those that end in failure fail in the scored days, late enough for a detector to have had its say before.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from refrig_assets.simulator import noise
from refrig_assets.simulator.faults import FAULTS, NUMBER, FaultKind
from refrig_assets.simulator.fleet import Fleet, make_fleet
from refrig_assets.simulator.noise import F64, I64
from refrig_assets.simulator.plan import FaultPlan, begun_at, epoch_minutes, no_faults, plan_faults, together

GRADUAL: tuple[FaultKind, ...] = tuple(f for f in FAULTS if f.is_machine_fault and f.is_gradual)
ACUTE: tuple[FaultKind, ...] = tuple(f for f in FAULTS if f.is_machine_fault and not f.is_gradual)
FIRMWARE = "firmware_scale"  # strikes a firmware, not a device
TELEMETRY: tuple[FaultKind, ...] = tuple(f for f in FAULTS if not f.is_machine_fault and f.name != FIRMWARE)
START = datetime(2026, 3, 2, tzinfo=UTC)
# An hour's windows are scored together, this long after it has ended.
SCORED_AFTER = timedelta(minutes=5)
# A failure this soon after the first score could not be found 12 h ahead by anybody.
FIRST_FAILURE_AFTER = timedelta(hours=14)
LATE_SHARE = 0.75  # of the faults that fail: those that do so in the scored days


@dataclass(frozen=True)
class EvaluationSpec:
    """What is simulated. Fault sizes are `severity` times those of `severity_steps`, dealt out in turn."""

    devices: int = 2000
    days: float = 21
    seed: int = 4242
    severity: float = 1.0
    severity_steps: tuple[float, ...] = (0.95, 0.8, 0.65)
    train_days: float = 14
    interval_s: int = 60
    gradual_share: float = 0.10
    acute_share: float = 0.01
    telemetry_share: float = 0.05
    firmware: bool = True
    training_rows: int = 500_000
    start: datetime = START

    def __post_init__(self) -> None:
        if not 0 < self.train_days < self.days:
            raise ValueError(f"train_days must be between 0 and {self.days} (days), not {self.train_days}")
        if self.days * 24 % 1 or self.train_days * 24 % 1:
            raise ValueError(f"days and train_days must be whole hours, not {self.days} and {self.train_days} days")
        if self.devices < 20:
            raise ValueError(f"an evaluation needs at least 20 devices, not {self.devices}")

    @property
    def hours(self) -> list[datetime]:
        return [self.start + timedelta(hours=n) for n in range(round(self.days * 24))]

    @property
    def end(self) -> datetime:
        return self.start + timedelta(days=self.days)

    @property
    def scored_from(self) -> datetime:
        return self.start + timedelta(days=self.train_days)

    def fleet(self) -> Fleet:
        return make_fleet(self.devices, self.seed, self.start, self.interval_s)


def evaluation_plan(fleet: Fleet, spec: EvaluationSpec) -> FaultPlan:
    """Faults on disjoint devices: gradual machine faults, acute ones, and broken telemetry, kinds in equal parts."""
    order = np.argsort(noise.bits(spec.seed, "evaluation/device", fleet.devices.index), kind="stable").astype(np.int64)
    plan = no_faults(fleet)
    if spec.firmware:
        plan = plan_faults(fleet, spec.start, spec.end, spec.seed, {FIRMWARE: 0.01})
    order = order[plan.of_device[order] < 0]
    for kinds, share in ((GRADUAL, spec.gradual_share), (ACUTE, spec.acute_share), (TELEMETRY, spec.telemetry_share)):
        count = round(share * fleet.size)
        device, order = order[:count], order[count:]
        kind = np.array([NUMBER[kinds[i % len(kinds)].name] for i in range(count)], dtype=np.int64)
        plan = _with(fleet, plan, spec, kind, device)
    return plan


def _with(fleet: Fleet, plan: FaultPlan, spec: EvaluationSpec, kind: I64, device: I64) -> FaultPlan:
    """The plan and these faults, each at its time, their sizes scaled by the steps in turn."""
    nth_of_kind = np.array([np.sum(kind[:i] == k) for i, k in enumerate(kind)], dtype=np.int64)
    steps = spec.severity_steps
    for number, step in enumerate(steps):
        mine = np.flatnonzero(nth_of_kind % len(steps) == number)
        if len(mine):
            scale = min(step * spec.severity, 1.0)
            onset = _onsets(fleet, spec, kind[mine], device[mine], nth_of_kind[mine] // len(steps))
            plan = together(plan, begun_at(fleet, kind[mine], device[mine], onset, spec.seed, scale))
    return plan


def _onsets(fleet: Fleet, spec: EvaluationSpec, kind: I64, device: I64, nth: I64) -> F64:
    """Any time; for most of the gradual faults that fail, such that they fail in the scored days."""
    start, scored, end = epoch_minutes(spec.start), epoch_minutes(spec.scored_from), epoch_minutes(spec.end)
    draw = noise.uniform(spec.seed, "evaluation/onset", device, kind)
    onset = start + (end - start) * draw
    # How long a fault grows is the simulator's draw for the device and kind, whenever it begins.
    drafted = begun_at(fleet, kind, device, np.full(len(kind), start), spec.seed)
    earliest = scored + FIRST_FAILURE_AFTER / timedelta(minutes=1)
    failure = np.minimum(earliest, end) + (end - np.minimum(earliest, end)) * draw
    fails_late = np.array([FAULTS[k].fails and FAULTS[k].is_gradual for k in kind], dtype=np.bool_)
    fails_late &= (nth % 4) < round(4 * LATE_SHARE)
    late = failure - (drafted.full - drafted.onset)
    return np.asarray(np.where(fails_late, late, onset), dtype=np.float64)


def quick_spec() -> EvaluationSpec:
    """A first look: few devices that report every five minutes, few days, many faults."""
    return EvaluationSpec(devices=200, days=4, train_days=3, interval_s=300, gradual_share=0.3, training_rows=20_000)
