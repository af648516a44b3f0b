"""The four rules for acute failures, as the contract's table has them, each for one reading of many devices at once.

Remembering readings is state.py's, and when a verdict becomes an alert is judging.py's.

| rule                | fires when                                                            |
|---------------------|-----------------------------------------------------------------------|
| compressor_overload | current_compressor > the device's threshold                           |
| vibration_spike     | vibration_compressor > 3 × the device's own mean of the last 24 h     |
| acute_pressure_loss | pressure_low_side falls by more than 30 % within 5 minutes            |
| total_cooling_loss  | temperature_evaporator rises by more than 2 °C/min for 3 minutes      |
"""

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from refrig_assets.contracts.alerts import STREAM_RULES
from streaming.fleet import F64, I64, Thresholds
from streaming.state import F32, HOUR, MINUTE, NO_PRESSURE, NO_TEMPERATURE, SECOND, VIBRATION_UNITS, Bools, State

OVERLOAD, SPIKE, PRESSURE, COOLING = range(len(STREAM_RULES))

SPIKE_FACTOR = 3.0
SPIKE_LEAST = 1.0  # mm/s: three times next to nothing is still nothing
HISTORY_READINGS, HISTORY_SPAN = 30, HOUR
RUNNING_A, RUNNING_SHARE = 1.0, 0.025  # up to this (of its threshold, where less) a compressor stands: its vibration
# and its pressures say nothing

PRESSURE_WINDOW = 5 * MINUTE
SETTLING = 6 * MINUTE  # after the last reading that stood or defrosted: five minutes from the start
AFTER_DEFROST = 15 * MINUTE  # a coil that was heated may still warm up
DEFROSTED_C = 10.0  # a defrost ends here, which is how those are known that a device does not report

RISE_FOR = 3 * MINUTE
RISE_STEPS = 2  # one wild reading is one step up
STEP_LEAST = 45 * SECOND  # shorter ones are noise by the minute
STEP_MOST = 150 * SECOND
GAP_INTERVALS = 2.5
CLOCK_TOLERANCE = 10 * SECOND  # "five minutes ago" and "for three minutes" of clocks that jitter
RISE_ENOUGH = RISE_FOR - CLOCK_TOLERANCE
HAIR, HAIR_C = 1e-6, 1e-4  # more than the rounding of what is compared: a share, °C

START_GAP = 5 * MINUTE  # silent for longer, the machine may have been standing


@dataclass(frozen=True)
class Readings:
    """Readings as arrays; within the sensors' ranges, NaN (time: none, defrosting: false) where there is no value."""

    row: I64
    device: I64
    time: I64
    current: F64
    vibration: F64
    pressure: F32
    temperature: F32
    defrosting: Bools
    standing: Bools
    """compressors known to stand; where the current is unknown they are taken to run"""

    def take(self, which: I64 | Bools | slice) -> "Readings":
        return Readings(*(getattr(self, f.name)[which] for f in fields(self)))


@dataclass(frozen=True)
class Verdict:
    """The readings (positions in the round) for which a rule is true, and why."""

    rule: int
    at: I64
    measured: npt.NDArray[np.floating]
    limit: npt.NDArray[np.floating]
    reference: npt.NDArray[np.floating]
    """what the limit was made of: the mean, the highest pressure, the temperature before the rise; NaN: nothing"""
    began: I64
    """since when the readings show it: time of the highest pressure, of the beginning of the rise; else now"""


def standing(current: F64, device: I64, limits: Thresholds) -> Bools:
    return np.asarray(current <= np.minimum(RUNNING_A, RUNNING_SHARE * limits.current_a[device]))


def compressor_overload(readings: Readings, limits: Thresholds) -> Verdict:
    """Each reading for itself."""
    at = np.flatnonzero(readings.current > limits.current_a[readings.device])
    limit = limits.current_a[readings.device[at]]
    return Verdict(OVERLOAD, at, readings.current[at], limit, np.full(len(at), np.nan), readings.time[at])


def vibration_spike(readings: Readings, limits: Thresholds, state: State) -> Verdict:
    """Against the readings before it. With too short a history the registry's baseline stands in, if there is one."""
    device = readings.device
    count = state.vibration_count[device]
    enough = (count >= HISTORY_READINGS) & (readings.time - state.vibration_first[device] >= HISTORY_SPAN)
    mean = state.vibration_total[device] / VIBRATION_UNITS / np.maximum(count, 1)
    baseline = limits.vibration_baseline[device]
    usual = np.where(enough, mean, np.where(baseline > 0, baseline, np.nan))
    spikes = (readings.vibration > SPIKE_FACTOR * usual) & (readings.vibration >= SPIKE_LEAST)
    at = np.flatnonzero(spikes & ~readings.standing)
    return Verdict(SPIKE, at, readings.vibration[at], SPIKE_FACTOR * usual[at], usual[at], readings.time[at])


def comparable_pressure(readings: Readings, state: State) -> F32:
    """The low-side pressures of machines that run and have settled; the others are no pressure at all."""
    settled = readings.time - state.unsteady_at[readings.device] >= SETTLING
    comparable = settled & (readings.pressure > NO_PRESSURE)
    return np.where(comparable, readings.pressure, np.float32(NO_PRESSURE))


def acute_pressure_loss(readings: Readings, limits: Thresholds, state: State) -> Verdict:
    """Against the highest of the last five minutes, both while the machine ran steadily."""
    device, pressure = readings.device, readings.pressure
    left = ((1 - limits.pressure_drop[device]) * (1 - HAIR)).astype(np.float32)
    at = np.flatnonzero((pressure > NO_PRESSURE) & (pressure < left * state.pressure[device].max(axis=1)))
    # Few readings are left: of these the buckets are looked at one by one.
    time, device = readings.time[at, None], device[at]
    ages = time - state.time[device]
    recent = (ages >= 0) & (ages <= PRESSURE_WINDOW + CLOCK_TOLERANCE)
    pressures = np.where(recent, state.pressure[device], np.float32(NO_PRESSURE))
    highest = pressures.argmax(axis=1)
    rows = np.arange(len(at))
    top, began = pressures[rows, highest], state.time[device, highest]
    fell = pressure[at] < left[at] * top
    at, top, began = at[fell], top[fell], began[fell]
    return Verdict(PRESSURE, at, pressure[at], (1 - limits.pressure_drop[readings.device[at]]) * top, top, began)


def total_cooling_loss(readings: Readings, limits: Thresholds, state: State) -> Verdict:
    """Each step of the last three minutes rises faster than the limit; not in a defrost, nor soon after one.

    Of devices that do not report defrosts, only warmer than a defrost makes a coil.
    """
    device, temperature = readings.device, readings.temperature
    limit = limits.temperature_rise[device]
    with np.errstate(invalid="ignore"):
        risen = temperature - state.temperature[device].min(axis=1)
    long_after = readings.time - state.defrost_at[device] >= AFTER_DEFROST
    enough = risen > limit * (RISE_ENOUGH / MINUTE)
    no_defrost = long_after & (limits.reports_defrost[device] | (temperature > DEFROSTED_C))
    at = np.flatnonzero(no_defrost & enough & (temperature != NO_TEMPERATURE))
    rises, began, from_temperature, rate = _rises(readings.take(at), limits, state)
    return Verdict(COOLING, at[rises], rate[rises], limit[at[rises]], from_temperature[rises], began[rises])


def _rises(readings: Readings, limits: Thresholds, state: State) -> tuple[Bools, I64, F32, F64]:
    """Which rose step by step for long enough, since when, from what temperature, and how fast; a gap is no step.

    Where a single step is longer than three minutes, it is enough that the reading after it has not fallen back.
    """
    device, time, temperature = readings.device, readings.time, readings.temperature
    times = np.where(state.temperature[device] != NO_TEMPERATURE, state.time[device], 0)
    longest = np.maximum(STEP_MOST, limits.interval_us[device] * GAP_INTERVALS)
    limit, rows = limits.temperature_rise[device], np.arange(len(device))
    done, alive = np.zeros(len(device), np.bool_), np.ones(len(device), np.bool_)
    ended, peak = time, temperature
    steps = 0
    while alive.any():
        earlier = np.where(times <= time[:, None] - STEP_LEAST, times, 0)
        latest = earlier.argmax(axis=1)
        before, was = earlier[rows, latest], state.temperature[device, latest]
        took = time - before
        with np.errstate(invalid="ignore"):
            up = temperature - was > limit * (took / MINUTE) + HAIR_C
        if steps == 0:
            holds = ~up & (took >= RISE_ENOUGH) & (temperature >= was)
            ended, peak, up = np.where(holds, before, time), np.where(holds, was, temperature), up | holds
        alive &= (before > 0) & (took <= longest) & up
        time, temperature = np.where(alive, before, time), np.where(alive, was, temperature)
        steps += 1
        done |= alive & (ended - time >= RISE_ENOUGH) & (steps >= RISE_STEPS)
        alive &= ~done
    return done, time, temperature, (peak - temperature) / np.maximum((ended - time) / MINUTE, 1.0)
