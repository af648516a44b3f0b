"""One partition, followed: what was judged or landed before a restart is neither judged nor landed again.

After a kill the rules stand where they were last kept (`judged`), and the lake where it was last committed (its mark),
which is further on. Between the two, messages are only judged; from the mark on they are also landed.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from streaming.lander import Lander
from streaming.reading import PartitionReading
from streaming.transports.base import Block, Reader, Transport

Judge = Callable[[pl.DataFrame, float], None]


@dataclass(frozen=True)
class Kept:
    """Where a partition stood when the rules were kept."""

    judged: int
    held: pl.DataFrame | None = None


class Followed:
    """A partition from its reader to the lander and the judges."""

    def __init__(
        self, transport: Transport, partition: str, kept: Kept | None, lander: Lander, source: str, hold_s: float
    ) -> None:
        self.partition = partition
        self._lander = lander
        self._mark = lander.mark(partition)
        self._judge_from = kept.judged if kept else self._mark.end
        held = kept.held if kept else None
        have = set(held["offset"]) if held is not None else set()
        self.position = min(self._mark.end, self._judge_from)
        if {offset for offset in self._mark.held if offset < self._judge_from} - have:
            # Messages that wait for their row, and nobody kept them: they are read again.
            self.position, held = min(self.position, *self._mark.held, *have), None
        self._judge_all = self.position >= self._judge_from
        self._reader: Reader = transport.open(partition, self.position)
        self._reading = PartitionReading(partition, source, hold_s, held)
        # Held messages may have landed after they were kept: these are behind the mark, too.
        self._replaying = self.position < self._mark.end or held is not None
        self._more: list[Block] = []

    def step(self, max_bytes: int, judge: Judge) -> bool:
        """Read a block, if there is one; whether there was."""
        if self._replaying and self.position >= self._mark.end:
            self._end_replay(judge, time.time())
        block = self._more.pop() if self._more else self._reader.poll(max_bytes)
        if block is None:
            self._release(judge, everything=False)
            return False
        if self._replaying and block.start >= self._mark.end:  # what lay between is gone
            self._end_replay(judge, block.arrived_at)
        elif self._replaying and block.end > self._mark.end:
            block, rest = cut(block, self._mark.end)
            self._more = [rest] if rest is not None else []
        if self._replaying:
            self._replay(block, judge)
        else:
            self._follow(block, judge)
        return True

    def _replay(self, block: Block, judge: Judge) -> None:
        if block.lines:
            self._judge(self._reading.read(block, hold_all=True).landed.raw, block.arrived_at, judge)
        self.position = block.end
        if block.end >= self._mark.end:
            self._end_replay(judge, block.arrived_at)

    def _end_replay(self, judge: Judge, now: float) -> None:
        self._replaying = False
        joined = self._reading.keep(self._mark.held)
        if joined is not None:
            self._judge(joined.raw, now, judge)

    def _follow(self, block: Block, judge: Judge) -> None:
        read = self._reading.read(block)
        landed = read.landed
        if block.start < self._mark.dead_end:
            landed = replace(landed, dead=landed.dead.filter(pl.col("source_offset") >= self._mark.dead_end))
        self._lander.add(self.partition, landed, self.position, block.end, self._reading.held, self.lag())
        self.position = block.end
        self._judge(landed.raw, block.arrived_at, judge)

    def _release(self, judge: Judge, *, everything: bool) -> None:
        if self._replaying:
            return
        now = time.time()
        landed = self._reading.release(now, everything=everything)
        if landed is not None:
            self._lander.add(self.partition, landed, self.position, self.position, None, self.lag())
            self._judge(landed.raw, now, judge)

    def _judge(self, rows: pl.DataFrame, arrived_at: float, judge: Judge) -> None:
        if not self._judge_all:
            number = pl.col("_sequence_number")
            rows = rows.filter((number >= self._judge_from) | number.is_in(sorted(self._mark.held)))
        if rows.height:
            judge(rows, arrived_at)

    def finish(self, judge: Judge) -> None:
        """Let go of what waits for more: nothing more comes."""
        self._release(judge, everything=True)

    def kept(self) -> Kept:
        return Kept(max(self.position, self._judge_from), self._reading.held)

    def lag(self) -> int:
        return self._reader.lag()

    def at_end(self) -> bool:
        return not self._more and self._reader.at_end()

    def close(self) -> None:
        self._reader.close()


def cut(block: Block, at: int) -> tuple[Block, Block | None]:
    """The block's lines before a position, and those from there on."""
    if block.offsets is None:
        byte = at - block.start
    else:
        lines = int(np.searchsorted(block.offsets, at))
        data = np.frombuffer(block.lines, np.uint8)
        ends = np.flatnonzero(data == ord("\n")) + 1
        byte = int(ends[lines - 1]) if lines else 0
    if byte >= len(block.lines):
        return replace(block, end=at), None
    numbers = block.offsets
    first = replace(
        block,
        end=at,
        lines=block.lines[:byte],
        offsets=None if numbers is None else numbers[numbers < at],
        wrong=tuple(d for d in block.wrong if d.offset < at),
    )
    rest = replace(
        block,
        start=at,
        lines=block.lines[byte:],
        offsets=None if numbers is None else numbers[numbers >= at],
        wrong=tuple(d for d in block.wrong if d.offset >= at),
    )
    return first, rest
