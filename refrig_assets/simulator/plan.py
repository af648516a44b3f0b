"""Which device gets which fault when, and the truth about it. What a fault does to a machine is not here."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from refrig_assets.contracts.base import TS
from refrig_assets.contracts.sensors import SENSOR_NAMES
from refrig_assets.simulator import catalogue, noise
from refrig_assets.simulator.faults import (
    BREAK_UP_MIN,
    BY_NAME,
    CHANNELS,
    DRIFT_SIZE,
    FAULTS,
    NUMBER,
    STANDSTILL,
    Effect,
    FaultKind,
    check_shares,
    parse_faults,
)
from refrig_assets.simulator.fleet import Fleet
from refrig_assets.simulator.noise import F32, F64, I64

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# After a repair the machine pulls down to its normal state in about this time.
_RECOVERY_MIN = 25.0
_STEEPNESS = 3.0  # of exponential growth: a twentieth at a fifth of the way
_SENSORS: tuple[str, ...] = tuple(DRIFT_SIZE)

TRUTH_SCHEMA: dict[str, pl.DataType] = {
    "device_id": pl.String(),
    "fault": pl.String(),
    "is_machine_fault": pl.Boolean(),
    "is_gradual": pl.Boolean(),
    "onset": TS,
    "failure_time": TS,
    "ended_at": TS,
    "severity": pl.Float64(),
    "sensor": pl.String(),
}


def epoch_minutes(moment: datetime) -> float:
    return (moment - EPOCH) / timedelta(minutes=1)


@dataclass(frozen=True)
class FaultPlan:
    """One row a fault, times in minutes since the epoch; and for each device the row of its fault (-1: none)."""

    seed: int
    kind: I64
    device: I64
    onset: F64
    full: F64  # when the level is full; the failure, where the kind fails
    end: F64
    severity: F32
    sensor: I64  # index into the sensors that can fail, -1: none
    of_device: I64
    truth: pl.DataFrame

    def rows_of(self, device: I64, kind: str) -> tuple[I64, I64]:
        """Positions in `device` that have a fault of this kind, and its rows here."""
        row = self.of_device[device]
        at = np.flatnonzero((row >= 0) & (self.kind[row] == NUMBER[kind])) if len(self.kind) else np.array([], np.int64)
        return at, row[at]

    def sensor_name(self, row: int) -> str:
        return _SENSORS[int(self.sensor[row])]

    def active(self, row: I64, clock: F64) -> noise.Bools:
        return (clock >= self.onset[row][:, None]) & (clock < self.end[row][:, None])

    def level(self, row: I64, clock: F64, kind: FaultKind, time_constant: float = 0.0) -> F32:
        """0 before the onset, growing to the severity; it dies away once repaired. `clock` is row × reading."""
        since = clock - self.onset[row][:, None]
        span = (self.full - self.onset)[row][:, None]
        grown = _grow(np.clip(since / span, 0, 1), kind)
        if kind.growth == "step":
            grown = _approach(since, time_constant)
        after = np.maximum(clock - self.end[row][:, None], 0)
        level = self.severity[row][:, None] * grown * np.exp(-after / _RECOVERY_MIN)
        return np.asarray(level, dtype=np.float32)

    def standstill(self, row: I64, clock: F64, effect: Effect) -> F32:
        """What the failure adds to a channel."""
        since = clock - self.full[row][:, None]
        after = np.maximum(clock - self.end[row][:, None], 0)
        gone = np.exp(-after / _RECOVERY_MIN) if effect.time_constant else after == 0
        return np.asarray(effect.gain * _approach(since, effect.time_constant) * gone, dtype=np.float32)

    def break_up(self, row: I64, clock: F64, effect: Effect) -> F32:
        """What the last minutes before a failure add: half of them growing, half at the most."""
        left = self.full[row][:, None] - clock
        after = np.maximum(clock - self.end[row][:, None], 0)
        grown = np.clip(2 - left / (BREAK_UP_MIN / 2), 0, 1) * np.exp(-after / _RECOVERY_MIN)
        return np.asarray(effect.gain * self.severity[row][:, None] * grown, dtype=np.float32)

    def channels(self, device: I64, clock: F64) -> dict[str, F32]:
        """What the faults change in these devices' machines: only channels in which something changes."""
        found: dict[str, F32] = {}
        for kind in FAULTS:
            at, row = self.rows_of(device, kind.name)
            begun = self.onset[row] <= clock[at].max(axis=1) if len(at) else np.zeros(0, np.bool_)
            at, row = at[begun], row[begun]
            if not len(at):
                continue
            for effect in kind.effects:
                change = effect.gain * self.level(row, clock[at], kind, effect.time_constant)
                if effect.channel == "off":
                    change = change * (clock[at] < self.end[row][:, None])
                _add(found, effect.channel, at, change, clock.shape)
            for effect in kind.break_up:
                _add(found, effect.channel, at, self.break_up(row, clock[at], effect), clock.shape)
            for effect in STANDSTILL if kind.fails and kind.name != "power_loss" else ():
                _add(found, effect.channel, at, self.standstill(row, clock[at], effect), clock.shape)
        return found


def _add(found: dict[str, F32], channel: str, at: I64, change: F32, shape: tuple[int, ...]) -> None:
    assert channel in CHANNELS, channel
    found.setdefault(channel, np.zeros(shape, dtype=np.float32))[at] += change


def _grow(x: F64, kind: FaultKind) -> F64:
    if kind.growth == "exponential":
        return np.asarray(np.expm1(_STEEPNESS * x) / np.expm1(_STEEPNESS), dtype=np.float64)
    return x


def _approach(since: F64, time_constant: float) -> F64:
    begun = (since >= 0).astype(np.float64)
    if not time_constant:
        return begun
    return np.asarray(begun * (1 - np.exp(-np.maximum(since, 0) / time_constant)), dtype=np.float64)


def plan_faults(
    fleet: Fleet, start: datetime, end: datetime, seed: int, kinds: Mapping[str, float] | str = "usual",
    severity: float = 1.0,
) -> FaultPlan:  # fmt: skip
    """Faults that begin from `start` to `end`, at most one a device; `severity` scales how strong they become.

    `kinds` gives the share of devices by kind. A kind that fails begins, where the time allows, early enough to
    fail before `end`. Shares are met to the device: 0.01 of 250 devices is 2 or 3 of them.
    """
    if end <= start:
        raise ValueError(f"end ({end.isoformat()}) must be after start ({start.isoformat()})")
    if not 0 < severity <= 1.0:
        raise ValueError(f"severity must be above 0 and at most 1, not {severity}")
    shares = parse_faults(kinds) if isinstance(kinds, str) else check_shares(dict(kinds))
    order = np.argsort(noise.bits(seed, "plan/device", fleet.devices.index), kind="stable").astype(np.int64)
    taken = np.zeros(fleet.size, dtype=np.bool_)
    rows: list[tuple[int, int]] = []
    for kind in sorted((BY_NAME[n] for n, share in shares.items() if share > 0), key=_whole_firmware_first):
        chosen = _choose_devices(fleet, order, taken, kind, shares[kind.name], seed)
        taken[chosen] = True
        rows += [(NUMBER[kind.name], device) for device in chosen.tolist()]
    table = np.array(rows, dtype=np.int64).reshape(-1, 2)
    return _schedule(fleet, table[:, 0], table[:, 1], epoch_minutes(start), epoch_minutes(end), seed, severity)


def _whole_firmware_first(kind: FaultKind) -> tuple[bool, int]:
    return kind.name != "firmware_scale", NUMBER[kind.name]


def _choose_devices(
    fleet: Fleet, order: I64, taken: noise.Bools, kind: FaultKind, share: float, seed: int
) -> I64:  # fmt: skip
    if kind.name == "firmware_scale":
        version = int(np.argmin([abs(f.share - share) for f in catalogue.FIRMWARE]))
        return np.flatnonzero(fleet.devices.firmware == version).astype(np.int64)
    chance = float(noise.uniform(seed, f"plan/{kind.name}/rounding", np.zeros(1, np.int64))[0])
    count = int(np.floor(share * fleet.size + chance))
    return order[~taken[order]][:count]


def _schedule(
    fleet: Fleet, kind: I64, device: I64, start: float, end: float, seed: int, severity: float
) -> FaultPlan:  # fmt: skip
    duration = _between(seed, "duration", device, kind, tuple(f.duration for f in FAULTS))
    # Where it fits, the whole growth lies before the end; a growth longer than the time there is starts early.
    latest = np.maximum(end - duration, start + 0.25 * (end - start))
    onset = start + (latest - start) * _draw(seed, "onset", device, kind)
    whole = kind == NUMBER["firmware_scale"]
    onset[whole] = start + (0.2 + 0.5 * noise.uniform(seed, "plan/firmware", np.zeros(1, np.int64))) * (end - start)
    return begun_at(fleet, kind, device, onset, seed, severity)


def _draw(seed: int, purpose: str, device: I64, kind: I64) -> F64:
    return noise.uniform(seed, f"plan/{purpose}", device, kind)


def _between(seed: int, purpose: str, device: I64, kind: I64, limits: tuple[tuple[float, float], ...]) -> F64:
    low, high = np.array([limits[k] for k in kind]).reshape(-1, 2).T
    return np.asarray(low + (high - low) * _draw(seed, purpose, device, kind), dtype=np.float64)


def begun_at(fleet: Fleet, kind: I64, device: I64, onset: F64, seed: int, severity: float = 1.0) -> FaultPlan:
    """The plan of faults of these kinds (numbers) on these devices that begin at `onset` (minutes since the epoch)."""
    duration = _between(seed, "duration", device, kind, tuple(f.duration for f in FAULTS))
    lasts = _between(seed, "lasts", device, kind, tuple(f.lasts for f in FAULTS))
    strength = _between(seed, "severity", device, kind, tuple(f.severities for f in FAULTS)) * severity
    # Whole seconds: the truth is read by people.
    onset = np.round(onset * 60) / 60
    full = np.round((onset + duration) * 60) / 60
    needs = np.array([f.needs_sensor for f in FAULTS])[kind]
    sensor = np.where(needs, _choose_sensor(fleet, device, _draw(seed, "sensor", device, kind)), -1)
    of_device = np.full(fleet.size, -1, dtype=np.int64)
    of_device[device] = np.arange(len(device))
    end_of = np.round((full + lasts) * 60) / 60
    parts = (seed, kind, device, onset, full, end_of, strength.astype(np.float32), sensor, of_device)
    return FaultPlan(*parts, _truth(fleet, kind, device, onset, full, end_of, strength, sensor))


def together(first: FaultPlan, second: FaultPlan) -> FaultPlan:
    """Both plans' faults; where both have one on a device, the second's."""
    keep = np.flatnonzero(second.of_device[first.device] < 0)
    columns = {
        name: np.concatenate([getattr(first, name)[keep], getattr(second, name)])
        for name in ("kind", "device", "onset", "full", "end", "severity", "sensor")
    }
    of_device = np.full(len(first.of_device), -1, dtype=np.int64)
    of_device[columns["device"]] = np.arange(len(columns["device"]))
    truth = pl.concat([first.truth.join(second.truth, on="device_id", how="anti"), second.truth])
    return FaultPlan(first.seed, **columns, of_device=of_device, truth=truth.sort("onset", "device_id"))


def _choose_sensor(fleet: Fleet, device: I64, draw: F64) -> I64:
    """A sensor that the device has."""
    has = ~fleet.lacking[device][:, [SENSOR_NAMES.index(s) for s in _SENSORS]]
    nth = np.floor(draw * has.sum(axis=1)).astype(np.int64)
    return np.asarray(np.argmax(np.cumsum(has, axis=1) > nth[:, None], axis=1), dtype=np.int64)


def _truth(
    fleet: Fleet, kind: I64, device: I64, onset: F64, full: F64, end: F64, severity: F64, sensor: I64
) -> pl.DataFrame:  # fmt: skip
    def times(minutes: F64) -> pl.Series:
        return pl.Series(np.round(minutes * 60e6).astype(np.int64)).cast(TS)

    frame = pl.DataFrame(
        {
            "device_id": fleet.device_ids.gather(device),
            "fault": [FAULTS[k].name for k in kind],
            "is_machine_fault": [FAULTS[k].is_machine_fault for k in kind],
            "is_gradual": [FAULTS[k].is_gradual for k in kind],
            "onset": times(onset),
            "failure_time": times(full),
            "ended_at": times(end),
            "severity": np.round(severity, 4),
            "sensor": [_SENSORS[s] if s >= 0 else None for s in sensor],
        },
        schema_overrides=TRUTH_SCHEMA,
    )
    fails = [FAULTS[k].fails for k in kind]
    return frame.with_columns(
        failure_time=pl.when(pl.Series(fails, dtype=pl.Boolean)).then("failure_time").otherwise(None)
    ).sort("onset", "device_id")


def no_faults(fleet: Fleet) -> FaultPlan:
    return plan_faults(fleet, fleet.start, fleet.start + timedelta(hours=1), 0, "none")
