"""How healthy machines change from day to day, as much as slight faults change them. No faults, no fast dynamics."""

from dataclasses import dataclass, fields

import numpy as np

from refrig_assets.simulator import noise, weather
from refrig_assets.simulator.fleet import Devices
from refrig_assets.simulator.noise import F32, I64

# One standard deviation of each slow process. A fault of a tenth of its full size moves the sensors about as much.
SET_POINT_K = 0.45
CONDENSER_SHARE = 0.07
SUPERHEAT_K = 0.8
SUBCOOLING_K = 0.55
LOAD_SHARE = 0.045
CURRENT_SHARE = 0.03
VIBRATION_SHARE = 0.07

_EPOCH_HOURS = 30 * 24
# Planned changes of the set point: most months none.
_STEPS_K = np.array([0, 0, 0, 0, 0, 0, 1.0, -1.0, 1.5, -2.0], dtype=np.float32)
_DIRT_AT_CLEANING = 0.10


@dataclass(frozen=True)
class Slow:
    """Everything that changes over hours rather than minutes."""

    indoor: F32
    outdoor: F32
    humidity: F32
    set_point: F32
    condenser: F32
    superheat: F32
    subcooling: F32
    load: F32
    current: F32
    vibration: F32


def slow(seed: int, devices: Devices, hour: I64, part: F32) -> Slow:
    """The slow state at `hour` plus `part` of an hour (one column a reading): known at full hours, linear between."""
    before, after = _at(seed, devices, hour), _at(seed, devices, hour + 1)
    mixed = {}
    for f in fields(Slow):
        a, b = getattr(before, f.name)[:, None], getattr(after, f.name)[:, None]
        mixed[f.name] = a + (b - a) * part
    return Slow(**mixed)


def _at(seed: int, devices: Devices, hour: I64) -> Slow:
    around = weather.air(seed, devices, hour)

    def drift(name: str, size: float) -> F32:
        return np.float32(size) * noise.walk(seed, f"wander/{name}", devices.index, hour)

    return Slow(
        indoor=around.indoor,
        outdoor=around.outdoor,
        humidity=around.humidity,
        set_point=drift("set_point", SET_POINT_K) + _planned_step(seed, devices, hour),
        condenser=drift("condenser", CONDENSER_SHARE) + _dirt(seed, devices, hour),
        superheat=drift("superheat", SUPERHEAT_K),
        subcooling=drift("subcooling", SUBCOOLING_K),
        load=drift("load", LOAD_SHARE),
        current=drift("current", CURRENT_SHARE),
        vibration=drift("vibration", VIBRATION_SHARE),
    )


def _planned_step(seed: int, devices: Devices, hour: I64) -> F32:
    """The operator's changes of the set point: at most one in 30 days, at a moment of each device's own."""
    epoch, within = np.divmod(hour, _EPOCH_HOURS)
    moment = noise.bits(seed, "step/moment", devices.index, epoch) % np.uint64(_EPOCH_HOURS)
    epoch = np.where(within < moment.astype(np.int64), epoch - 1, epoch)
    which = noise.bits(seed, "step/size", devices.index, epoch) % np.uint64(len(_STEPS_K))
    return _STEPS_K[which.astype(np.int64)]


def _dirt(seed: int, devices: Devices, hour: I64) -> F32:
    """Dust on the condenser, from nothing after a cleaning to a tenth of its surface before the next."""
    period = (40 + noise.bits(seed, "dirt/period", devices.index) % np.uint64(80)).astype(np.int64) * 24
    shift = (noise.bits(seed, "dirt/shift", devices.index) % np.uint64(120 * 24)).astype(np.int64)
    return (_DIRT_AT_CLEANING * ((hour + shift) % period) / period).astype(np.float32)
