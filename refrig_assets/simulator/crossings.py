"""When the faults of a plan first cross the limits of the streaming rules: part of the truth, never of the data.

It is worked out from what the probes say before any mess, so a message that is lost or late crosses later or never.
"""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl

from refrig_assets.contracts.base import TS
from refrig_assets.contracts.registry import DEFAULT_PRESSURE_DROP_FRACTION, DEFAULT_TEMPERATURE_RISE_C_PER_MIN
from refrig_assets.simulator import measure
from refrig_assets.simulator.faults import BREAK_UP_MIN, FAULTS
from refrig_assets.simulator.fleet import Fleet
from refrig_assets.simulator.noise import F32, F64, I64, Bools
from refrig_assets.simulator.plan import FaultPlan, epoch_minutes

CROSSING_SCHEMA: dict[str, pl.DataType] = {"device_id": pl.String(), "rule": pl.String(), "crossed_at": TS}
_BEFORE, _AFTER = 25, 30  # minutes looked at before the limit can be crossed, and after the failure
_DAY_STEP = 4  # of the day before, every fourth minute is enough for a mean
_RUNNING_A, _VIBRATION_FLOOR = 1.0, 1.0
_WINDOW_S, _CHAIN_S, _STEP_S, _GAP_S, _AFTER_DEFROST_S = 300.0, 170.0, 45.0, 150.0, 900.0
_CHUNK = 256


@dataclass(frozen=True)
class _Seen:
    """Readings of some devices, device × minute; NaN where there is none. Times in seconds."""

    time: F64
    current: F64
    vibration: F64
    low: F64
    coil: F64
    defrost: Bools


def crossings(fleet: Fleet, plan: FaultPlan, since: datetime, until: datetime) -> pl.DataFrame:
    """By device of the plan and rule, the time of the first reading from the onset on that crosses the rule's limit.

    `since` is where the stream's knowledge begins, `until` where it ends.
    """
    low, high = epoch_minutes(since), epoch_minutes(until)
    machine = np.array([f.is_machine_fault for f in FAULTS])[plan.kind]
    begin = _first_possible(plan)
    rows = np.flatnonzero(machine & (begin < high) & (plan.full + _AFTER > low))
    stuck = measure.stuck_values(fleet, plan)
    # Faults that take equally long are looked at together, so that each is looked at for no longer than it takes.
    rows = rows[np.argsort((plan.full - begin)[rows], kind="stable")]
    parts = [pl.DataFrame(schema=CROSSING_SCHEMA)]
    for at in range(0, len(rows), _CHUNK):
        parts.append(_crossed(fleet, plan, rows[at : at + _CHUNK], begin, low, high, stuck))
    return pl.concat(parts).sort("crossed_at", "device_id", "rule")


def _first_possible(plan: FaultPlan) -> F64:
    """Acute faults cross from their onset on; gradual ones when the machine breaks."""
    gradual = np.array([f.is_gradual for f in FAULTS])[plan.kind]
    return np.where(gradual, np.maximum(plan.full - BREAK_UP_MIN, plan.onset), plan.onset)


def _crossed(fleet: Fleet, plan: FaultPlan, rows: I64, begin: F64, low: float, high: float, stuck: F32
             ) -> pl.DataFrame:  # fmt: skip
    device = plan.device[rows]
    first = np.floor(begin[rows]).astype(np.int64) - _BEFORE
    width = int(np.ceil((plan.full[rows] + _AFTER - first).max()))
    seen = _look(fleet, plan, device, first[:, None] + np.arange(width), low, high, stuck)
    day = first[:, None] - np.arange(1440 - _BEFORE, 0, -_DAY_STEP)
    before = _look(fleet, plan, device, day, low, high, stuck)
    counts = seen.time >= begin[rows][:, None] * 60
    found = {
        "compressor_overload": seen.current > fleet.devices.threshold[device][:, None],
        "vibration_spike": _vibration(fleet, device, seen, before),
        "acute_pressure_loss": _pressure(seen),
        "total_cooling_loss": _cooling(seen),
    }
    parts = []
    for rule, crossed in found.items():
        crossed &= counts
        which = np.flatnonzero(crossed.any(axis=1))
        at = seen.time[which, np.argmax(crossed[which], axis=1)]
        parts.append(
            pl.DataFrame({
                "device_id": fleet.device_ids.gather(device[which]),
                "rule": pl.Series([rule] * len(which), dtype=pl.String),
                "crossed_at": pl.Series(np.rint(at * 1e6).astype(np.int64)).cast(TS),
            })
        )  # fmt: skip
    return pl.concat(parts)


def _look(fleet: Fleet, plan: FaultPlan, device: I64, minute: I64, low: float, high: float, stuck: F32
          ) -> _Seen:  # fmt: skip
    shape = minute.shape
    who = np.repeat(device, shape[1])
    found = measure.measure(fleet, plan, who, minute.ravel(), 1, stuck)
    nothing = ~found.sent.reshape(shape) | (minute < low) | (minute >= high)

    def of(values: F64) -> F64:
        return np.where(nothing, np.nan, values.reshape(shape))

    return _Seen(
        time=of(found.device_time_us / 1e6),
        current=of(found.numeric["current_compressor"]),
        vibration=of(found.numeric["vibration_compressor"]),
        low=of(found.numeric["pressure_low_side"]),
        coil=of(found.numeric["temperature_evaporator"]),
        defrost=found.defrost.reshape(shape) & ~nothing,
    )


def _runs(seen: _Seen) -> Bools:
    return ~(seen.current <= _RUNNING_A)


def _vibration(fleet: Fleet, device: I64, seen: _Seen, before: _Seen) -> Bools:
    """Against the mean of the day before, or the registry's baseline where there is not enough of it."""
    earlier = np.where(_runs(before), before.vibration, np.nan)
    now = np.where(_runs(seen), seen.vibration, np.nan)
    weight = np.r_[np.full(earlier.shape[1], float(_DAY_STEP)), np.ones(now.shape[1])]
    whole = np.c_[earlier, now]
    there = ~np.isnan(whole)
    total = np.cumsum(np.where(there, whole, 0) * weight, axis=1)
    count = np.cumsum(there * weight, axis=1)
    at = earlier.shape[1] + np.arange(now.shape[1]) - 1
    # As many readings as an hour holds span about an hour.
    enough = count[:, at] >= 60 / fleet.devices.every[device][:, None]
    baseline = np.round(fleet.devices.vibration[device] * 0.85, 2)[:, None]
    mean = np.where(enough, total[:, at] / np.maximum(count[:, at], 1), baseline)
    return np.asarray((now > 3 * mean) & (now >= _VIBRATION_FLOOR))


def _pressure(seen: _Seen) -> Bools:
    """Below what it was in the last five minutes, all of them running, none after a start or in a defrost."""
    crossed = np.zeros(seen.low.shape, dtype=np.bool_)
    runs = _runs(seen)
    start = np.full(len(seen.low), -np.inf)
    ran = np.ones(len(seen.low), dtype=np.bool_)
    for column in range(seen.low.shape[1]):
        time = seen.time[:, column]
        there = ~np.isnan(time)
        at_work = runs[:, column] & ~seen.defrost[:, column]
        start = np.where(there & at_work & ~ran, time, start)
        ran = np.where(there, at_work, ran)
        first = max(column - 6, 0)
        span = seen.time[:, first : column + 1]
        usable = (span >= time[:, None] - _WINDOW_S) & (span >= start[:, None])
        highest = np.where(usable, seen.low[:, first : column + 1], -np.inf).max(axis=1, initial=-np.inf)
        settled = there & at_work & (time - start >= _WINDOW_S)
        crossed[:, column] = settled & (seen.low[:, column] < (1 - DEFAULT_PRESSURE_DROP_FRACTION) * highest)
    return crossed


def _cooling(seen: _Seen) -> Bools:
    """Rising fast in each step of three minutes, not about a defrost."""
    shape = seen.coil.shape
    crossed = np.zeros(shape, dtype=np.bool_)
    last_time, last_coil, begun, thawed = (np.full(shape[0], np.nan) for _ in range(4))
    steps = np.zeros(shape[0], dtype=np.int64)
    for column in range(shape[1]):
        time, coil = seen.time[:, column], seen.coil[:, column]
        thawed = np.where(seen.defrost[:, column], time, thawed)
        length = time - last_time
        there = ~np.isnan(coil) & ~(length < _STEP_S)
        rising = (coil - last_coil) / length * 60 > DEFAULT_TEMPERATURE_RISE_C_PER_MIN
        rising &= (length <= _GAP_S) & ~(time - thawed < _AFTER_DEFROST_S)
        begun = np.where(there & ~rising, time, begun)
        steps = np.where(there, np.where(rising, steps + 1, 0), steps)
        crossed[:, column] = there & rising & (steps >= 2) & (time - begun >= _CHAIN_S)
        last_time, last_coil = np.where(there, time, last_time), np.where(there, coil, last_coil)
    return crossed
