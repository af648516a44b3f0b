"""What a machine is doing at a minute: defrosting, door open, where in its compressor cycle. No thermodynamics."""

from dataclasses import dataclass

import numpy as np

from refrig_assets.simulator import noise, weather
from refrig_assets.simulator.fleet import Devices
from refrig_assets.simulator.noise import F32, F64, I64, Bools

# An opening is felt at the coil for about a quarter of an hour, strongest after three minutes.
_DOOR_MEMORY = 16
_DOOR_KERNEL = np.array([(lag + 1) * np.exp(-(lag + 1) / 3.0) for lag in range(_DOOR_MEMORY)], dtype=np.float32)
_DOOR_KERNEL /= _DOOR_KERNEL.max() * 2
_HEAT_UP_MIN, _PULL_DOWN_MIN = 8.0, 10.0


@dataclass(frozen=True)
class Duty:
    defrosting: Bools
    warm: F32  # 0 = cold coil, towards 1 while defrosting, back to 0 after it
    door_open: Bools
    door: F32  # what the coil feels of the openings
    cycle: F32  # triangle wave 0..1 of the compressor cycle
    lagged: F32  # the same, later: what temperatures follow


def duty(seed: int, devices: Devices, minute: I64, clock: F64) -> Duty:
    """`minute` and `clock` (exact minutes since the epoch) are arrays device × reading."""
    since = ((clock - devices.defrost_offset[:, None]) % devices.defrost_period[:, None]).astype(np.float32)
    length = devices.defrost_length[:, None]
    defrosting = since < length
    peak = 1 - np.exp(-length / np.float32(_HEAT_UP_MIN))
    heating = 1 - np.exp(-since / np.float32(_HEAT_UP_MIN))
    cooling = peak * np.exp(-np.maximum(since - length, 0) / np.float32(_PULL_DOWN_MIN))
    door_open, door = _doors(seed, devices, minute)
    turns = clock / devices.cycle_period[:, None] + devices.cycle_offset[:, None]
    return Duty(defrosting, np.where(defrosting, heating, cooling), door_open, door, _wave(turns), _wave(turns - 0.18))


def _wave(turns: F64) -> F32:
    phase = (turns % 1.0).astype(np.float32)
    triangle: F32 = np.abs(2 * phase - 1)
    return triangle


def _busy() -> F32:
    """By minute of the local day: doors open from 6 to 22 o'clock, mostly at noon and in the evening; 1 on average."""
    hour = np.arange(1440) / 60
    noon, evening = np.exp(-((hour - 12.0) ** 2) / 8), np.exp(-((hour - 17.5) ** 2) / 6)
    busy = 0.08 + ((hour >= 6) & (hour < 22)) * (0.75 + 0.9 * noon + 1.5 * evening)
    return np.asarray(busy / busy.mean(), dtype=np.float32)


_BUSY = _busy()


def _doors(seed: int, devices: Devices, minute: I64) -> tuple[Bools, F32]:
    """Openings of two minutes each. The memory is looked up, not carried along: any minute can be asked for."""
    first, count = minute[:, :1], minute.shape[1]
    span = first + np.arange(-_DOOR_MEMORY, count, dtype=np.int64)
    draw = noise.uniform(seed, "door", devices.index[:, None], span)
    busy = _BUSY[(span + (weather.utc_offsets(devices) * 60).astype(np.int64)[:, None]) % 1440]
    opened = draw < devices.door_share[:, None] * busy * np.float32(0.5)
    opened[:, 1:] |= opened[:, :-1].copy()
    felt = np.zeros((len(minute), count), dtype=np.float32)
    for lag in range(_DOOR_MEMORY):
        felt += _DOOR_KERNEL[lag] * opened[:, _DOOR_MEMORY - lag : _DOOR_MEMORY - lag + count]
    return opened[:, _DOOR_MEMORY:], np.minimum(felt, np.float32(2.0))
