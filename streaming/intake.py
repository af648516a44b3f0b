"""The dataflow's source: partitions of the transport, shared out over fixed slots; rows for the judges come out.

Rows land here, at the latest whenever the dataflow keeps its state: what is kept never runs ahead of the lake.
"""

import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import polars as pl
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from streaming.fleet import RULE_COLUMNS
from streaming.following import Followed, Kept
from streaming.lander import Lander
from streaming.process import Process, no_rows
from streaming.settings import shard_name, slot_name, slot_of
from streaming.transports.base import Transport

_LOG = logging.getLogger(__name__)
_PARTITIONS_EVERY_S = 2.0
SlotState = dict[str, Kept]
# Rows of one shard on their way to their judge.
Sharded = tuple[str, tuple[int, pl.DataFrame]]


class Slot(StatefulSourcePartition[Sharded, SlotState]):
    """The partitions of one slot, read in turn."""

    def __init__(self, slot: int, process: Process, kept: SlotState | None) -> None:
        self._slot = slot
        self._process = process
        self._settings = process.settings
        self._transport: Transport = process.transport
        self._lander: Lander = process.lander
        self._kept = dict(kept or {})
        self._followed: dict[str, Followed] = {}
        self._looked_at = 0.0
        self._awake_at: datetime | None = None
        self._answered = self._settings.source_name == "spool"
        self._turn = 0
        self._out: list[Sharded] = []
        # Every shard has a state from the first snapshot on; else what a lost one judged would be judged by nobody.
        self._greets = slot == 0 and kept is None

    def next_batch(self) -> list[Sharded]:
        self._out = []
        if self._greets:
            self._greets = False
            self._out = [(shard_name(n), (n, no_rows())) for n in range(self._settings.shards)]
        self._look_for_partitions()
        read = self._read()
        if self._lander.is_full():
            self._lander.flush()
        if self._process.stopping.is_set() or (self._settings.until_eof and not read and self._all_at_end()):
            self._end()
        again = timedelta(seconds=0 if read else self._settings.poll_every_s)
        self._awake_at = datetime.now(UTC) + again
        return self._out

    def next_awake(self) -> datetime | None:
        return self._awake_at

    def snapshot(self) -> SlotState:
        self._lander.flush()
        return self._kept | {name: followed.kept() for name, followed in self._followed.items()}

    def close(self) -> None:
        for followed in self._followed.values():
            followed.close()

    def _look_for_partitions(self) -> None:
        now = time.monotonic()
        if now - self._looked_at < _PARTITIONS_EVERY_S:
            return
        self._looked_at = now
        names = self._transport.partitions()
        self._answered = self._answered or bool(names)
        for name in names:
            if name not in self._followed and slot_of(name, self._settings.slots) == self._slot:
                self._followed[name] = self._follow(name)

    def _follow(self, name: str) -> Followed:
        kept = self._kept.get(name)
        followed = Followed(
            self._transport, name, kept, self._lander, self._settings.source_name, self._settings.hold_s
        )
        _LOG.info("partition %s is read from %s", name, followed.position)
        return followed

    def _read(self) -> bool:
        """A block of one partition, each in its turn; whether more may be had at once."""
        names = sorted(self._followed)
        for step in range(len(names)):
            name = names[(self._turn + step) % len(names)]
            if self._followed[name].step(self._settings.block_bytes, self._judge):
                self._turn = (self._turn + step + 1) % len(names)
                return True
        return False

    def _judge(self, rows: pl.DataFrame, arrived_at: float) -> None:
        fleet = self._process.fleet.now()
        narrow = rows.with_columns(pl.lit(arrived_at).alias("arrived_at")).select(list(RULE_COLUMNS))
        left = rows.height
        for shard, part in fleet.split(narrow).items():
            self._out.append((shard_name(shard), (shard, part)))
            left -= part.height
        self._process.counts.unregistered(left)

    def _all_at_end(self) -> bool:
        """A broker that has named no partition yet has not answered; a spool without any is empty."""
        return self._answered and all(followed.at_end() for followed in self._followed.values())

    def _end(self) -> None:
        """Nothing more is read: what waits is let go of and committed, and what there is to judge goes first."""
        for followed in self._followed.values():
            followed.finish(self._judge)
        self._lander.flush()
        if not self._out:
            raise StopIteration


@dataclass
class Intake(FixedPartitionedSource[Sharded, SlotState]):
    """The slots; as many whatever partitions there are, so that these may come and go."""

    process: Process

    def list_parts(self) -> list[str]:
        return [slot_name(n) for n in range(self.process.settings.slots)]

    def build_part(self, step_id: str, for_part: str, resume_state: SlotState | None) -> Slot:
        return Slot(int(for_part.rpartition("-")[2]), self.process, resume_state)
