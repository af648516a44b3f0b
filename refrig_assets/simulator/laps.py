"""A prebuilt batch sent again and again, each time with later times and other identities, cheaply: for load tests."""

import re
from dataclasses import dataclass

import numpy as np

from refrig_assets.simulator.ids import HEX
from refrig_assets.simulator.live import MINUTE_US, Batch, Lines
from refrig_assets.simulator.noise import I64, U64

# To the minute: laps take whole minutes, so seconds stay. A line cut short has none, and stays as it is.
_TIME = re.compile(rb'"timestamp(?:_ingested)?":"(\d{4}-\d\d-\d\dT\d\d:\d\d):\d\d\.\d{6}Z"')
_IDENTITY = re.compile(rb'"event_id":"([0-9a-f]{8})-')
_TIME_BYTES, _ID_BYTES = 16, 8
_MIX, _LOW_32 = 0x9E3779B1, 0xFFFFFFFF


@dataclass(frozen=True)
class _Stamps:
    """Where the times and identities of a partition's lines stand, and what they are in the first lap."""

    lines: Lines
    times: I64  # bytes, one row a time
    minute: I64  # of each time, index into minutes
    minutes: I64
    identities: I64
    first: U64


class Laps:
    """The laps of a batch. A lap's bytes hold until the next is asked for."""

    def __init__(self, batch: Batch) -> None:
        if (batch.end_us - batch.begin_us) % MINUTE_US:
            raise ValueError("a lap takes whole minutes")
        self.batch = batch
        self.minutes = (batch.end_us - batch.begin_us) // MINUTE_US
        self._stamps = [_find(lines) for lines in batch.lines]

    def lap(self, number: int) -> Batch:
        shift = number * self.minutes
        for stamps in self._stamps:
            _stamp(stamps, shift, number)
        lines = tuple(
            Lines(s.lines.partition, s.lines.data, s.lines.ends, s.lines.at_us + shift * MINUTE_US, s.lines.order)
            for s in self._stamps
        )
        return Batch(self.batch.begin_us + shift * MINUTE_US, self.batch.end_us + shift * MINUTE_US, lines)


def _find(lines: Lines) -> _Stamps:
    own = Lines(lines.partition, bytearray(lines.data), lines.ends, lines.at_us, lines.order)
    octets = np.frombuffer(lines.data, dtype=np.uint8)
    times = _places(_TIME, lines.data, _TIME_BYTES)
    texts = np.ascontiguousarray(octets[times]).view(f"S{_TIME_BYTES}").ravel()
    distinct, minute = np.unique(texts, return_inverse=True)
    minutes = distinct.astype("U16").astype("datetime64[m]").astype(np.int64)
    identities = _places(_IDENTITY, lines.data, _ID_BYTES)
    first = np.array([int(bytes(row), 16) for row in octets[identities]], dtype=np.uint64)
    return _Stamps(own, times, minute.ravel(), minutes, identities, first)


def _places(pattern: re.Pattern[bytes], data: bytes | bytearray, width: int) -> I64:
    begins = np.array([found.start(1) for found in pattern.finditer(data)], dtype=np.int64)
    return begins[:, None] + np.arange(width)


def _stamp(stamps: _Stamps, shift: int, number: int) -> None:
    octets = np.frombuffer(stamps.lines.data, dtype=np.uint8)
    if len(stamps.minutes):
        texts = np.datetime_as_string((stamps.minutes + shift).astype("datetime64[m]"), unit="m").astype("S16")
        octets[stamps.times] = texts.view(np.uint8).reshape(-1, _TIME_BYTES)[stamps.minute]
    # An odd factor: the same message has another identity in each of four billion laps.
    identity = (stamps.first ^ np.uint64(number * _MIX & _LOW_32)).astype(">u4")
    pairs = HEX[identity.view(np.uint8).reshape(-1, 4)]
    octets[stamps.identities] = pairs.view(np.uint8).reshape(-1, _ID_BYTES)
