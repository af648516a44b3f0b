"""A fleet's messages in order of arrival, by partition, as bytes with their times. Who sends them when is `pace.py`."""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from refrig_assets.simulator import arrivals, catalogue, wire
from refrig_assets.simulator.acute import ACUTE_RULES, Acute, Injector
from refrig_assets.simulator.arrivals import Source
from refrig_assets.simulator.fleet import Fleet, make_fleet
from refrig_assets.simulator.mess import Mess
from refrig_assets.simulator.noise import I64
from refrig_assets.simulator.plan import EPOCH, epoch_minutes, no_faults

MINUTE_US = 60_000_000
_BATCH_MESSAGES, _LONGEST_MIN = 100_000, 10
_SETTLING_MIN = 6  # readings that a rule wants to have seen before a fault


def partition_of(device_id: str, partitions: int) -> int:
    """Where a device's messages go: the same over processes and versions."""
    return zlib.crc32(device_id.encode()) % partitions


def partition_name(number: int) -> str:
    return f"part-{number:03d}"


@dataclass(frozen=True)
class Lines:
    """Lines of one partition in order of arrival: where each ends, when it arrives, which it is in its batch."""

    partition: int
    data: bytes | bytearray
    ends: I64
    at_us: I64
    order: I64

    def part(self, first: int, last: int) -> memoryview:
        """The lines from `first` up to `last`."""
        begin = int(self.ends[first - 1]) if first else 0
        return memoryview(self.data)[begin : int(self.ends[last - 1]) if last else 0]


@dataclass(frozen=True)
class Batch:
    """What arrives from `begin_us` up to `end_us`."""

    begin_us: int
    end_us: int
    lines: tuple[Lines, ...]

    @property
    def messages(self) -> int:
        return sum(len(part.ends) for part in self.lines)


class Feed:
    """The batches of a fleet from a minute on. The same fleet, faults, mess and start give the same bytes."""

    def __init__(self, injector: Injector, mess: Mess, start: datetime, partitions: int) -> None:
        if partitions < 1:
            raise ValueError(f"there must be at least one partition, not {partitions}")
        self.fleet, self.injector, self.mess, self.partitions = injector.fleet, injector, mess, partitions
        self.first = int(epoch_minutes(start))
        self._of_device = _partitions(self.fleet, partitions)
        self._step = max(1, min(_LONGEST_MIN, _BATCH_MESSAGES // self.fleet.size))

    def batches(self, minutes: int | None = None, step: int | None = None) -> Iterator[Batch]:
        """For so many minutes, or without end, in steps that suit the memory, or of so many minutes."""
        held: pl.DataFrame | None = None
        first, last = self.first, None if minutes is None else self.first + minutes
        while last is None or first < last:
            end = first + (step or self._step)
            end = end if last is None else min(end, last)
            rows = self._rows(first, end)
            rows = rows if held is None else pl.concat([held, rows])
            # What stands later in the file than it arrived is sent later.
            due = pl.col("_position") < end * MINUTE_US
            held = rows.filter(~due)
            yield self._batch(first, end, arrivals.in_order(rows.filter(due)))
            first = end

    def _rows(self, first: int, end: int) -> pl.DataFrame:
        plan = self.injector.until(EPOCH + timedelta(minutes=end))
        source = Source.of(self.fleet, plan, self.mess)
        return arrivals.arriving_in(source, first, end - first, self.fleet.devices.index)

    def _batch(self, first: int, end: int, rows: pl.DataFrame) -> Batch:
        part = self._of_device[rows["_device"].to_numpy()]
        at = rows["_position"].to_numpy()
        lines = []
        for number in range(self.partitions):
            order = np.flatnonzero(part == number)
            if len(order):
                data = wire.encode(rows[order], self.fleet.seed, self.mess.nan_token)
                ends = np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == 0x0A) + 1
                lines.append(Lines(number, data, ends, at[order], order))
        return Batch(first * MINUTE_US, end * MINUTE_US, tuple(lines))


def _partitions(fleet: Fleet, partitions: int) -> I64:
    """By number of device, and after them of the unregistered device of each site."""
    strange = [f"RX-{s:05d}" for s in range(int(fleet.devices.site[-1]) + 1)]
    assert fleet.size <= catalogue.SITE_DEVICES * len(strange)
    return np.array([partition_of(d, partitions) for d in (*fleet.device_ids.to_list(), *strange)], dtype=np.int64)


def acute_fleet(
    devices: int, seed: int, start: datetime, minutes: int, faults: int | Sequence[Acute], partitions: int = 4,
    mess: Mess | None = None,
) -> tuple[pl.DataFrame, dict[str, bytes], pl.DataFrame]:  # fmt: skip
    """Registry, messages by partition, and truth of a small fleet with acute faults; without mess unless given.

    A number of faults is spread over the time, all four rules in turn, early enough that their limits are crossed.
    """
    fleet = make_fleet(devices, seed, start.replace(minute=0, second=0, microsecond=0))
    given = _spread(faults, start, minutes) if isinstance(faults, int) else faults
    injector = Injector(fleet, no_faults(fleet), seed, start, start + timedelta(minutes=minutes), given=given)
    found: dict[str, bytearray] = {partition_name(p): bytearray() for p in range(partitions)}
    for batch in Feed(injector, mess or Mess.none(), start, partitions).batches(minutes):
        for lines in batch.lines:
            found[partition_name(lines.partition)] += lines.data
    return fleet.registry, {name: bytes(lines) for name, lines in found.items()}, injector.truth


def _spread(faults: int, start: datetime, minutes: int) -> list[Acute]:
    kinds = [k for k in ACUTE_RULES if k != "liquid_slugging"]  # which takes up to 40 minutes
    begin, room = _SETTLING_MIN, max(minutes - _SETTLING_MIN - 14, 1)
    return [Acute(kinds[i % len(kinds)], start + timedelta(minutes=begin + room * i / faults)) for i in range(faults)]
