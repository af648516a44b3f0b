"""From blocks of lines to rows of C1, one partition; narrow messages wait for the rest of their row. No I/O."""

from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from refrig_assets.contracts.readings import DEAD_LETTER
from refrig_assets.transforms.landing import Arrival, Landed, dead_letters, land_messages
from refrig_assets.transforms.times import read_times
from refrig_assets.transforms.wire import Messages, read_lines
from streaming.transports.base import Block

_SAMPLE = 101


@dataclass(frozen=True)
class Read:
    """What a block came to, and up to where its partition is read."""

    landed: Landed
    end: int


class PartitionReading:
    """One partition's blocks, in order. `held` are narrow messages whose row may go on; they are in no row yet."""

    def __init__(self, partition: str, source: str, hold_s: float, held: pl.DataFrame | None = None) -> None:
        self.partition = partition
        self.held = held
        self._source = f"{source}/{partition}"
        self._hold_s = hold_s
        self._recent: deque[tuple[float, int]] = deque()

    def read(self, block: Block, *, hold_all: bool = False) -> Read:
        """Rows of a block. With `hold_all` no narrow message leaves, until `keep` says which stay."""
        messages = read_lines(block.lines, block.start, block.offsets)
        self._recent.append((block.arrived_at, block.start))
        while self._recent[0][0] <= block.arrived_at - self._hold_s and len(self._recent) > 1:
            self._recent.popleft()
        arrival = Arrival(self._source, _hour_of_arrival(messages, block.arrived_at), 0, stage="stream")
        landed = land_messages(messages, arrival, self.held, hold_from=0 if hold_all else self._recent[0][1])
        self.held = _or_none(landed.held)
        if block.wrong:
            wrong = dead_letters(block.wrong, arrival)
            landed = _with_dead(landed, wrong)
        return Read(landed, block.end)

    def keep(self, offsets: frozenset[int]) -> Landed | None:
        """Hold just the narrow messages at these offsets; rows of the others."""
        if self.held is None:
            return None
        stays = pl.col("offset").is_in(sorted(offsets))
        others, self.held = self.held.filter(~stays), _or_none(self.held.filter(stays))
        arrival = Arrival(self._source, datetime.fromtimestamp(0, UTC), 0, stage="stream")
        return land_messages(read_lines(b""), arrival, others)

    def release(self, now: float, *, everything: bool = False) -> Landed | None:
        """Rows whose messages have waited long enough, where no block comes to push them out."""
        if self.held is None:
            return None
        if not everything and self._recent and self._recent[-1][0] > now - self._hold_s:
            return None
        arrival = Arrival(self._source, _hour(now), 0, stage="stream")
        landed = land_messages(read_lines(b""), arrival, self.held)
        self.held = None
        self._recent.clear()
        return landed


def _or_none(held: pl.DataFrame | None) -> pl.DataFrame | None:
    return held if held is not None and held.height else None


def _with_dead(landed: Landed, wrong: pl.DataFrame) -> Landed:
    return Landed(
        landed.raw,
        pl.concat([landed.dead, DEAD_LETTER.conform(wrong)]).sort("source_offset"),
        landed.messages + wrong.height,
        landed.joined,
        landed.unknown_fields,
        landed.held,
    )


def _hour(moment: float) -> datetime:
    return datetime.fromtimestamp(moment // 3600 * 3600, UTC)


def _hour_of_arrival(messages: Messages, arrived_at: float) -> datetime:
    """The hour most of the block arrived in: a backlog is as old as its neighbours say, never newer than now.

    Gateway clocks far from it are broken ones.
    """
    clocks = messages.rows["timestamp_ingested"].drop_nulls()
    step = max(1, len(clocks) // _SAMPLE)
    sample = read_times(clocks.gather_every(step)).drop_nulls().dt.epoch("us").sort()
    if not len(sample):
        return _hour(arrived_at)
    return _hour(min(sample[len(sample) // 2] / 1e6, arrived_at))
