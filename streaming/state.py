"""What a shard remembers of its devices, as arrays by device: recent readings, vibration sums, episodes. No limits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from streaming.fleet import F64, I64, Positions, Thresholds

F32 = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Array = npt.NDArray[Any]

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE

RULES = 4
BUCKETS = 28  # of 15 s: seven minutes; of slow devices a quarter of their interval each
BUCKET = 15 * SECOND
VIBRATION_HOURS = 25
VIBRATION_UNITS = 1e6  # vibration is summed in nm/s, as whole numbers: sums do not depend on their order
NO_PRESSURE, NO_TEMPERATURE = 0.0, np.inf

# Name, what an untouched element is, dtype, elements a device.
_ARRAYS: tuple[tuple[str, float, type, int], ...] = (
    ("newest", 0, np.int64, 1),
    ("newest_pressure", NO_PRESSURE, np.float32, 1),
    ("unsteady_at", 0, np.int64, 1),
    ("defrost_at", 0, np.int64, 1),
    ("time", 0, np.int64, BUCKETS),
    ("pressure", NO_PRESSURE, np.float32, BUCKETS),
    ("temperature", NO_TEMPERATURE, np.float32, BUCKETS),
    ("vibration_hour", 0, np.int32, 1),
    ("vibration_first", 0, np.int64, 1),
    ("vibration_total", 0, np.int64, 1),
    ("vibration_count", 0, np.int32, 1),
    ("hour_sum", 0, np.int64, VIBRATION_HOURS),
    ("hour_count", 0, np.int32, VIBRATION_HOURS),
    ("since", 0, np.int64, RULES),
    ("last_true", 0, np.int64, RULES),
    ("last_alert", 0, np.int64, RULES),
)
_INTERVAL = "interval_us"
_IDS = "device_ids"
_AT, _SET = ":at", ":set"  # positions and values of what is not blank


@dataclass
class State:
    """Times are µs since the epoch, 0 where there is none."""

    newest: I64  # time of the newest reading
    newest_pressure: F32  # of the newest reading, where it may be compared
    unsteady_at: I64  # last time the machine was seen standing, defrosting, or back from a gap
    defrost_at: I64  # last time it was seen defrosting
    time: I64  # by bucket: time of the last reading in it
    pressure: F32  # by bucket: highest low-side pressure that may be compared
    temperature: F32  # by bucket: evaporator temperature of the last reading
    vibration_hour: npt.NDArray[np.int32]  # newest hour that has a sum
    vibration_first: I64  # time of the first reading in the sums
    vibration_total: I64
    vibration_count: npt.NDArray[np.int32]
    hour_sum: I64  # by hour modulo 25
    hour_count: npt.NDArray[np.int32]
    since: I64  # by rule: when the present or last episode began
    last_true: I64
    last_alert: I64  # by rule: time of the last alert that was not suppressed

    @classmethod
    def empty(cls, devices: int) -> "State":
        return cls(**{name: _blank(devices, blank, dtype, width) for name, blank, dtype, width in _ARRAYS})

    def moved(self, ids: Sequence[str], interval_us: I64, after: Thresholds) -> "State":
        """The state under other devices: known ones keep theirs. Where the interval changed, buckets begin anew."""
        state = State.empty(len(after.device_ids))
        was = Positions(ids).find(pl.Series(after.device_ids, dtype=pl.String))
        kept = np.flatnonzero(was >= 0)
        for name, *_ in _ARRAYS:
            getattr(state, name)[kept] = getattr(self, name)[was[kept]]
        other = kept[interval_us[was[kept]] != after.interval_us[kept]]
        state.time[other], state.pressure[other], state.temperature[other] = 0, NO_PRESSURE, NO_TEMPERATURE
        return state

    def put(self, device: I64, width: I64, time: I64, pressure: F32, temperature: F32) -> None:
        """Readings, at most one a device, into their buckets: the last temperature and the highest pressure of each."""
        bucket = time // width
        slot = bucket % BUCKETS
        here, has = self.time[device, slot], self.temperature[device, slot]
        same = here // width == bucket
        # A bucket's time is that of its temperature, so that steps between temperatures are exact.
        takes = ~same | ((time > here) & ((temperature != NO_TEMPERATURE) | (has == NO_TEMPERATURE)))
        self.time[device, slot] = np.where(takes, time, here)
        self.temperature[device, slot] = np.where(takes, temperature, has)
        top = np.where(same, self.pressure[device, slot], np.float32(NO_PRESSURE))
        self.pressure[device, slot] = np.maximum(top, pressure)

    def count_vibration(self, device: I64, time: I64, vibration: F64) -> None:
        """Readings, at most one a device, into the sums of their hours; those of a day before the newest are left."""
        self.open_hours(device, time)
        hour = time // HOUR
        kept = self.vibration_hour[device] - hour < VIBRATION_HOURS
        if not kept.all():
            device, time, vibration, hour = device[kept], time[kept], vibration[kept], hour[kept]
        amount, slot = np.rint(vibration * VIBRATION_UNITS).astype(np.int64), hour % VIBRATION_HOURS
        first = self.vibration_first[device]
        self.vibration_first[device] = np.where(self.vibration_count[device] == 0, time, np.minimum(first, time))
        self.hour_sum[device, slot] += amount
        self.hour_count[device, slot] += 1
        self.vibration_total[device] += amount
        self.vibration_count[device] += 1

    def open_hours(self, device: I64, time: I64) -> None:
        """Where the newest hour moves on, the hours that leave the day leave the sums."""
        ahead = time // HOUR - self.vibration_hour[device]
        if not (ahead > 0).any():
            return
        device, ahead = device[ahead > 0], ahead[ahead > 0]
        newest = self.vibration_hour[device] + ahead
        self.vibration_hour[device] = newest
        some = self.vibration_count[device] > 0
        device, ahead, newest = device[some], ahead[some], newest[some]
        for back in range(min(int(ahead.max(initial=0)), VIBRATION_HOURS)):
            entering = back < ahead
            who, slot = device[entering], (newest[entering] - back) % VIBRATION_HOURS
            self.vibration_total[who] -= self.hour_sum[who, slot]
            self.vibration_count[who] -= self.hour_count[who, slot]
            self.hour_sum[who, slot] = 0
            self.hour_count[who, slot] = 0

    def saved(self, thresholds: Thresholds) -> dict[str, Array | list[str]]:
        """Plain arrays; of those mostly untouched only what is set."""
        told: dict[str, Array | list[str]] = {
            _IDS: list(thresholds.device_ids),
            _INTERVAL: thresholds.interval_us.copy(),
        }
        for name, blank, _, _ in _ARRAYS:
            array = getattr(self, name)
            at = np.flatnonzero(array != blank)
            if at.size > array.size // 2:
                told[name] = array.copy()
            else:
                told[name + _AT], told[name + _SET] = at.astype(np.int32), array.ravel()[at]
        return told

    @classmethod
    def restored(cls, saved: Mapping[str, Array | list[str]], thresholds: Thresholds) -> "State":
        """What `saved` told, for the devices there are now."""
        ids = list(saved[_IDS])
        state = cls.empty(len(ids))
        for name, *_ in _ARRAYS:
            array = getattr(state, name)
            if name in saved:
                array[...] = saved[name]
            else:
                array.ravel()[saved[name + _AT]] = saved[name + _SET]
        return state.moved(ids, np.asarray(saved[_INTERVAL], dtype=np.int64), thresholds)


def bucket_width(interval_us: I64) -> I64:
    """Of devices that report slowly a bucket is longer, so that the ring always covers a few readings."""
    return np.maximum(BUCKET, interval_us // 4)


def _blank(devices: int, blank: float, dtype: type, width: int) -> Array:
    return np.full(devices if width == 1 else (devices, width), blank, dtype=dtype)
