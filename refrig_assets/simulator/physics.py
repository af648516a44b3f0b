"""The vapour-compression cycle, quasi-steady by the minute, for arrays device × reading. No noise, no probes.

All follows from two temperatures. The evaporating one lies below the box by the coil's difference, the condensing one
above the air by the condenser's; the saturation curve turns them into pressures; suction gas is evaporating plus
superheat plus what the line takes up; discharge is suction compressed by the pressure ratio; current is mass flow
times lift. A fault changes a surface, a charge or a friction, and the sensors follow together.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from refrig_assets.simulator import refrigerant
from refrig_assets.simulator.duty import Duty
from refrig_assets.simulator.fleet import Devices, exponents
from refrig_assets.simulator.noise import F32, F64
from refrig_assets.simulator.wander import Slow

KELVIN = np.float32(273.15)
_HEAD_FLOOR_C = 28.0  # a fan controller keeps the condensing temperature above this in the cold
_HIGH_PRESSURE_CUTOUT_C = 68.0
_LONGEST_DUTY = 0.96
_CURRENT_LIMIT_A = 49.0


@dataclass(frozen=True)
class Cycle:
    """The machine's state; names are those of the sensors where they are the same."""

    temperature_evaporator: F32
    temperature_condenser: F32
    temperature_ambient: F32
    temperature_discharge: F32
    temperature_suction: F32
    pressure_high_side: F32
    pressure_low_side: F32
    current_compressor: F32
    vibration_compressor: F32
    humidity: F32
    superheat: F32
    subcooling: F32


def cycle(devices: Devices, slow: Slow, duty: Duty, faults: dict[str, F32], clock: F64) -> Cycle:
    """The state at `clock` (minutes since the epoch). `faults` holds the channels that any fault changes."""
    fx = _Channels(faults)
    d = _Columns(devices)
    air = slow.indoor + (slow.outdoor - slow.indoor) * d.outdoor
    swing = fx["hunting"] * _oscillation(devices, clock) if "hunting" in faults else np.float32(0)
    load = _load(slow, duty, fx)
    need = d.duty * load / _capacity(slow, fx)
    running = _running(duty, d.defrost_runs, np.minimum(need, 1.0), fx)

    evaporating = _evaporating(d, slow, duty, need, load, swing, air, fx)
    condensing = _condensing(d, slow, duty, load, air, fx)
    low = refrigerant.saturation_pressure(d.refrigerant, evaporating)
    high = refrigerant.saturation_pressure(d.refrigerant, condensing)

    superheat = _superheat(d, slow, duty, swing, fx)
    outlet = evaporating + superheat
    suction = outlet + np.clip(d.line_gain * (air - outlet), 0, None)
    suction = suction + (air - 2 - suction) * (0.85 * fx["equalise"])
    lift = (suction + KELVIN) * ((high / low) ** d.exponent - 1)
    discharge = _discharge(suction, lift, condensing, air, duty, fx)
    surface = condensing - np.float32(0.7)
    return Cycle(
        temperature_evaporator=_coil(d, slow, duty, evaporating, fx),
        temperature_condenser=surface,
        temperature_ambient=air,
        temperature_discharge=discharge,
        temperature_suction=suction,
        pressure_high_side=high,
        pressure_low_side=low,
        current_compressor=_current(d, slow, running, low, lift, fx),
        vibration_compressor=_vibration(d, slow, running, fx),
        humidity=slow.humidity + 3 * duty.door + 2 * duty.warm + 9 * fx["moisture"],
        superheat=superheat,
        subcooling=_subcooling(d, slow, duty, fx),
    )


def _f32(value: npt.NDArray[Any] | np.float32) -> F32:
    return np.asarray(value, dtype=np.float32)


class _Channels:
    """Fault channels by name, 0 where nothing is wrong."""

    def __init__(self, faults: dict[str, F32]) -> None:
        self._faults = faults

    def __getitem__(self, channel: str) -> F32 | np.float32:
        return self._faults.get(channel, np.float32(0))


class _Columns:
    """The devices' parameters as columns, to broadcast against readings."""

    def __init__(self, devices: Devices) -> None:
        self.refrigerant = devices.refrigerant[:, None]
        self.exponent = exponents(devices.refrigerant)[:, None]
        self.box = devices.box[:, None]
        self.evaporator_difference = devices.evaporator_difference[:, None]
        self.condenser_difference = devices.condenser_difference[:, None]
        self.superheat = devices.superheat[:, None]
        self.subcooling = devices.subcooling[:, None]
        self.current = devices.current[:, None]
        self.vibration = devices.vibration[:, None]
        self.duty = devices.duty[:, None]
        self.outdoor = devices.outdoor[:, None]
        self.line_gain = devices.line_gain[:, None]
        self.threshold = devices.threshold[:, None]
        self.pressure_reference = devices.pressure_reference[:, None]
        self.work_reference = devices.work_reference[:, None]
        self.defrost_runs = devices.defrost_runs[:, None]


def _oscillation(devices: Devices, clock: F64) -> F32:
    """A hunting valve swings every 6 to 10 minutes, each at its own pace."""
    period = 6 + 4 * devices.cycle_offset[:, None].astype(np.float64)
    return _f32(np.sin(2 * np.pi * ((clock / period) % 1.0)))


def _load(slow: Slow, duty: Duty, fx: _Channels) -> F32:
    load = 1 + slow.load + np.float32(0.012) * (slow.indoor - 22) + np.float32(0.12) * duty.door
    return _f32(load + np.float32(0.15) * duty.warm * ~duty.defrosting + fx["load"])


def _capacity(slow: Slow, fx: _Channels) -> F32:
    dirt = np.float32(0.12) * slow.condenser
    iced = 0.35 * fx["icing"] + 0.15 * fx["fouling"] + 0.05 * fx["hunting"]
    return _f32(np.maximum(1 - dirt - 0.40 * fx["charge"] - 0.7 * fx["burst"] - iced, 0.2))


def _running(duty: Duty, defrost_runs: F32, need: F32, fx: _Channels) -> F32:
    """Compressor speed, 0 to 1. It modulates between full and 0.45 rather than stopping in every cycle."""
    on = np.clip(0.5 + (need - duty.cycle) * 4, 0, 1)
    speed = np.where(duty.defrosting, defrost_runs, np.float32(0.45) + np.float32(0.55) * on)
    return _f32(np.maximum(speed, fx["locked"]) * (1 - fx["off"]))


def _evaporating(d: _Columns, slow: Slow, duty: Duty, need: F32, load: F32, swing: F32 | np.float32, air: F32,
                 fx: _Channels) -> F32:  # fmt: skip
    box = d.box + slow.set_point + 14 * np.maximum(need - np.float32(_LONGEST_DUTY), 0)
    difference = d.evaporator_difference * (0.4 + 0.6 * load) / (1 - 0.62 * np.minimum(fx["icing"], 1.0))
    cold = box - difference + np.float32(1.4) * (duty.lagged - np.float32(0.5))
    cold = cold + np.float32(4.5) * duty.warm - 11 * fx["charge"] - 34 * fx["burst"] - 1.5 * fx["floodback"]
    cold = cold + np.float32(1.7) * swing
    still = fx["equalise"] * (1 - np.minimum(fx["burst"], 1.0))
    # At rest the warm side feeds the cold one until the receiver valve closes: a moderate pressure is left.
    return _f32(cold + (np.minimum(d.box + 17, air - 6) - cold) * still)


def _condensing(d: _Columns, slow: Slow, duty: Duty, load: F32, air: F32, fx: _Channels) -> F32:
    flow = (np.float32(0.75) + np.float32(0.25) * load - np.float32(0.07) * (duty.lagged - np.float32(0.5))) * (
        1 - np.float32(0.55) * duty.warm
    )
    surface = (1 - slow.condenser) * (1 - 0.62 * np.minimum(fx["fouling"], 1.0))
    rise = d.condenser_difference * flow / surface * (1 - 0.38 * fx["charge"] - 0.6 * fx["burst"] - 0.1 * fx["icing"])
    free = air + rise
    # The fan controller takes over smoothly at the floor.
    above = free - np.float32(_HEAD_FLOOR_C)
    hot = (
        np.float32(_HEAD_FLOOR_C)
        + np.where(above > 0, above, 0.06 * np.maximum(above, -40))
        + 1.5 / (1 + 0.25 * above**2)
    )
    hot = hot + (np.maximum(air, 0) + 1 - hot) * (0.9 * fx["equalise"])
    return _f32(np.minimum(hot, np.float32(_HIGH_PRESSURE_CUTOUT_C)))


def _superheat(d: _Columns, slow: Slow, duty: Duty, swing: F32 | np.float32, fx: _Channels) -> F32:
    normal = (
        d.superheat + slow.superheat + np.float32(0.8) * (duty.lagged - np.float32(0.5)) + np.float32(0.4) * duty.door
    )
    normal = normal + np.float32(1.5) * duty.warm
    changed = normal + 14 * fx["charge"] + 20 * fx["burst"] - 10.5 * fx["floodback"] - 4.5 * fx["icing"] - 5.5 * swing
    return _f32(changed + (3 - changed) * (0.7 * fx["equalise"]))


def _subcooling(d: _Columns, slow: Slow, duty: Duty, fx: _Channels) -> F32:
    normal = d.subcooling + slow.subcooling - np.float32(0.5) * (duty.lagged - np.float32(0.5))
    normal = normal - np.float32(1.0) * duty.warm
    changed = normal - 6.0 * fx["charge"] - 7 * fx["burst"] + 1.8 * fx["fouling"]
    return _f32(changed + (0.4 - changed) * fx["equalise"])


def _discharge(suction: F32, lift: F32, condensing: F32, air: F32, duty: Duty, fx: _Channels) -> F32:
    hot = suction + lift * (1 + 0.22 * fx["friction"]) - 14 * fx["floodback"]
    # The pipe is heavy: it follows the cycle a little, and cools towards the condenser in a defrost.
    over = (hot - condensing) * (1 - np.float32(0.06) * duty.lagged) * (1 - np.float32(0.6) * duty.warm)
    hot = condensing + np.maximum(over, np.float32(2.5))
    return _f32(hot + (np.maximum(air, 20) + 6 - hot) * (0.9 * fx["equalise"]))


def _coil(d: _Columns, slow: Slow, duty: Duty, evaporating: F32, fx: _Channels) -> F32:
    """The coil's surface, warmer than the refrigerant in it, heated by defrosts and openings."""
    cold = evaporating + np.float32(1.5) + np.float32(1.1) * duty.door
    cold = cold + (np.maximum(np.float32(6.0), d.box + 7) - cold) * duty.warm
    # With nothing to cool it, the coil meets the fan's air and the melting frost.
    return _f32(cold + (np.maximum(slow.indoor - 2, d.box + 16) - cold) * np.minimum(fx["warm_coil"], 1.0))


def _current(d: _Columns, slow: Slow, running: F32, low: F32, lift: F32, fx: _Channels) -> F32:
    work = low / d.pressure_reference * lift / d.work_reference
    drawn = d.current * running * (np.float32(0.4) + np.float32(0.6) * work) * (1 + slow.current + fx["friction"])
    drawn = np.minimum(drawn + np.float32(0.15), np.float32(_CURRENT_LIMIT_A))
    beyond = np.minimum(1.12 * d.threshold + 2, np.float32(_CURRENT_LIMIT_A))
    running_on = (1 - fx["off"]) * np.maximum(fx["locked"], fx["overload"])
    return _f32(drawn + np.maximum(beyond - drawn, 0) * np.minimum(running_on, 1.0))


def _vibration(d: _Columns, slow: Slow, running: F32, fx: _Channels) -> F32:
    quiet = d.vibration * (1 + slow.vibration) * (np.float32(0.4) + np.float32(0.6) * running)
    # A stopped compressor only feels the fans.
    return _f32(quiet * (1 + fx["vibration"] * (1 - fx["off"])))
