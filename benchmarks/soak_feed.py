"""A simulated fleet's messages hour by hour, cheap to make: lines of one width as a matrix of bytes. Runs nothing.

What a device says is the same each time but for its last digits; now and then one of them fails for one reading.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from refrig_assets.simulator import make_fleet
from refrig_assets.simulator.live import partition_name

SEED = 17
PARTITIONS = 4
FAULTS_A_DAY = 4
_AT_ONCE = 50_000
_INGESTED_AFTER_S = 2
_HEALTHY = {
    "temperature_evaporator": "-25.##",
    "temperature_condenser": "40.##",
    "temperature_ambient": "22.##",
    "temperature_discharge": "70.##",
    "temperature_suction": "-10.##",
    "pressure_high_side": "15##.#",
    "pressure_low_side": "20#.##",
    "current_compressor": "12.##",
    "vibration_compressor": "3.##",
    "humidity": "45.##",
    "door_open_close": "false",
    "defrost_cycle": "false",
    "superheat": "8.##",
    "subcooling": "5.##",
}
_FAULTS = (("current_compressor", b"46.00"), ("vibration_compressor", b"30.0"))
_MOMENT = "0000-00-00T00:00:00.000000Z"
Bytes = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Template:
    line: Bytes
    random: Integers
    """places of digits that are any"""

    @classmethod
    def make(cls) -> "_Template":
        readings = ",".join(f'"{name}":{text}' for name, text in _HEALTHY.items())
        envelope = {"event_id": "RF-000000:00000000", "device_id": "RF-000000", "timestamp": _MOMENT}
        text = json.dumps(envelope | {"timestamp_ingested": _MOMENT}, separators=(",", ":"))
        line = np.frombuffer(f'{text[:-1]},"readings":{{{readings}}}}}\n'.encode(), np.uint8)
        return cls(line, np.flatnonzero(line == ord("#")))

    def after(self, key: str) -> int:
        """Where the value of a key begins, after its quote where it is text."""
        found = self.line.tobytes().index(f'"{key}":'.encode()) + len(key) + 3
        return found + int(self.line[found] == ord('"'))


class SoakFeed:
    """Devices that report every so many minutes, spread evenly over them. Hours count from the start."""

    def __init__(self, devices: int, every: int, start: datetime, days: int) -> None:
        if 60 % every:
            raise ValueError(f"an hour is not a whole number of times {every} minutes; give a divisor of 60")
        self.devices, self.every, self.start = devices, every, start
        self._template = _Template.make()
        self._rng = np.random.default_rng(SEED)
        waves = days * 24 * 60 // every
        self.faults = min(days * FAULTS_A_DAY, devices)
        # A device fails once at most, so that each fault is one alert; the first hours have no history to compare with.
        who = self._rng.permutation(devices)[: self.faults]
        self._failing = dict(zip(np.linspace(waves // 20, waves - 1, self.faults).astype(int), who, strict=False))
        self.faults = len(self._failing)

    @property
    def messages_an_hour(self) -> int:
        return self.devices * 60 // self.every

    def registry(self) -> pl.DataFrame:
        """All devices active, with limits that only a fault crosses."""
        registry = make_fleet(self.devices, SEED, self.start).registry
        return registry.with_columns(
            pl.lit("active").alias("status"),
            pl.lit(self.every * 60, dtype=pl.Int32).alias("expected_interval_s"),
            pl.lit(40.0).alias("current_threshold_a"),
            pl.lit(3.5).alias("vibration_baseline_mm_s"),
        )

    def write(self, spool: Path, hour: int) -> None:
        """The hour as one segment a partition, final from the moment the next hour's is there."""
        files = [segment_path(spool, number, hour).open("wb") for number in range(PARTITIONS)]
        for wave in range(hour * 60 // self.every, (hour + 1) * 60 // self.every):
            for lines in self._wave(wave):
                for number, file in enumerate(files):
                    file.write(lines[number::PARTITIONS].tobytes())
        for file in files:
            file.close()

    def _wave(self, wave: int) -> Iterator[Bytes]:
        """Every device's next message, as a row of bytes each."""
        begin = self.start + timedelta(minutes=wave * self.every)
        for first in range(0, self.devices, _AT_ONCE):
            device = np.arange(first, min(first + _AT_ONCE, self.devices))
            lines = np.tile(self._template.line, (len(device), 1))
            lines[:, self._template.random] = self._rng.integers(48, 58, (len(device), len(self._template.random)))
            self._identify(lines, device, wave)
            second = device * (self.every * 60) // self.devices
            self._write_moment(lines, "timestamp", begin, second)
            self._write_moment(lines, "timestamp_ingested", begin, second + _INGESTED_AFTER_S)
            self._fail(lines, first, wave)
            yield lines

    def _identify(self, lines: Bytes, device: Integers, wave: int) -> None:
        event, name = self._template.after("event_id"), self._template.after("device_id")
        for at in (event, name):
            _write_digits(lines, at + 3, 6, device)
        _write_digits(lines, event + 10, 8, np.full(len(device), wave))

    def _write_moment(self, lines: Bytes, key: str, begin: datetime, second: Integers) -> None:
        at = self._template.after(key)
        moments = np.datetime64(begin.replace(tzinfo=None), "s") + second.astype("timedelta64[s]")
        text = np.datetime_as_string(moments, unit="s").astype("S19")
        lines[:, at : at + 19] = text.view(np.uint8).reshape(len(text), 19)

    def _fail(self, lines: Bytes, first: int, wave: int) -> None:
        failing = self._failing.get(wave)
        if failing is None or not first <= failing < first + len(lines):
            return
        sensor, value = _FAULTS[wave % len(_FAULTS)]
        at = self._template.after(sensor)
        lines[failing - first, at : at + len(value)] = np.frombuffer(value, np.uint8)


def _write_digits(lines: Bytes, at: int, count: int, numbers: Integers) -> None:
    for place in range(count):
        lines[:, at + place] = 48 + numbers // 10 ** (count - 1 - place) % 10


def segment_path(spool: Path, partition: int, hour: int) -> Path:
    return spool / partition_name(partition) / f"{hour + 1}.ndjson"
