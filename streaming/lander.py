"""Landing of the stream: rows, dead letters and offsets of a process in common commits, each message once.

The rows of a commit and the positions up to which the partitions are read stand in one Delta transaction. A narrow
message that waits for the rest of its row is behind that position and in no row: it is named in the commit's metadata.
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from refrig_assets.contracts.readings import DEAD_LETTER, RAW_READINGS
from refrig_assets.lake import OUTSIDE_ERRORS, Commit, Lake, MarkTakenError, Table
from refrig_assets.lake.commits import commits_since
from refrig_assets.pipeline.stream_reports import RAW_KEY
from refrig_assets.transforms.landing import Landed
from streaming.counts import Counts
from streaming.judging import CLOCK_AHEAD

_LOG = logging.getLogger(__name__)
_WAITS_S = (0.2, 0.5, 1.0, 2.0, 5.0)
_LOOK_BACK_COMMITS = 2000


class AnotherStreamError(RuntimeError):
    """Another stream lands the same partitions."""


class StoppedWaitingError(RuntimeError):
    """Asked to stop while the lake could not be written; what was not committed is read again next time."""


@dataclass(frozen=True)
class Mark:
    """Up to where a partition has landed, but for the narrow messages named."""

    end: int = 0
    held: frozenset[int] = frozenset()
    dead_end: int = 0
    """dead letters have landed up to here"""


@dataclass
class _Part:
    """What of a partition waits for the next commit."""

    begin: int
    end: int
    held: list[int] = field(default_factory=list)
    messages: int = 0
    joined: int = 0
    rows: int = 0
    dead: int = 0
    unknown_fields: int = 0
    lag: int = 0


@dataclass
class _Stand:
    """What the lake's marks of a partition are: the ends, and a number that grows, odd while messages wait."""

    end: int
    turn: int
    dead_end: int

    def after(self, part: _Part) -> "_Stand":
        turn = self.turn + self.turn % 2 + (1 if part.held else 0)
        return _Stand(part.end, turn, max(part.end, self.dead_end) if part.dead else self.dead_end)


class Lander:
    """Shared by all slots of a process. Whoever flushes commits what all have handed in."""

    def __init__(
        self, lake: Lake, source_name: str, commit_rows: int, counts: Counts, stopping: threading.Event
    ) -> None:
        self._lake = lake
        self._source = source_name
        self._commit_rows = commit_rows
        self._counts = counts
        self._stopping = stopping
        self._lock = threading.RLock()
        self._parts: dict[str, _Part] = {}
        self._stands: dict[str, _Stand] = {}
        self._rows: list[pl.DataFrame] = []
        self._dead: list[pl.DataFrame] = []
        self._waiting = 0

    def mark(self, partition: str) -> Mark:
        """Where the partition stands in the lake."""
        raw, dead = self._lake.table(RAW_READINGS).open(), self._lake.table(DEAD_LETTER).open()
        end = raw.transaction_version(self._app(partition)) or 0
        turn = raw.transaction_version(self._app(partition, "held")) or 0
        held = self._held_offsets(partition) if turn % 2 else frozenset[int]()
        dead_end = dead.transaction_version(self._app(partition)) or 0
        self._stands[partition] = _Stand(end, turn, dead_end)
        return Mark(end, held, dead_end)

    def _held_offsets(self, partition: str) -> frozenset[int]:
        table = self._lake.table(RAW_READINGS)
        notes = commits_since(table, max(-1, table.version - _LOOK_BACK_COMMITS), [RAW_KEY], _LOOK_BACK_COMMITS)
        for note in reversed(notes.commits):
            told = json.loads(note.metadata[RAW_KEY])
            if partition in told["partitions"]:
                return frozenset(told["held"].get(partition, ()))
        raise RuntimeError(
            f"the log of {table.uri} no longer tells which narrow messages of {partition} wait for their row: "
            "its commits are older than its retention. Start the stream with an empty lake, or restore the log."
        )

    def _app(self, partition: str, kind: str = "stream") -> str:
        return f"{kind}:{self._source}/{partition}"

    def add(self, partition: str, landed: Landed, begin: int, end: int, held: pl.DataFrame | None, lag: int) -> None:
        """Take what was read of a partition; what was committed before is not handed in again."""
        with self._lock:
            part = self._parts.setdefault(partition, _Part(begin, end))
            part.end = end
            part.held = held["offset"].to_list() if held is not None else []
            part.messages += landed.messages
            part.joined += landed.joined
            part.rows += landed.raw.height
            part.dead += landed.dead.height
            part.unknown_fields += landed.unknown_fields
            part.lag = lag
            if landed.raw.height:
                self._rows.append(landed.raw)
            if landed.dead.height:
                self._dead.append(landed.dead)
            self._waiting += landed.raw.height + 4 * landed.dead.height

    def is_full(self) -> bool:
        return self._waiting >= self._commit_rows

    def flush(self) -> None:
        """Commit everything handed in. While the lake cannot be written this waits, and so does all that reads."""
        with self._lock:
            if not self._parts:
                return
            stands = {name: self._stands[name].after(part) for name, part in self._parts.items()}
            ends = {self._app(n): s.end for n, s in stands.items() if s.end > self._stands[n].end}
            turns = {self._app(n, "held"): s.turn for n, s in stands.items() if s.turn > self._stands[n].turn}
            dead_ends = {self._app(n): s.dead_end for n, s in stands.items() if s.dead_end > self._stands[n].dead_end}
            begun = time.perf_counter()
            if self._dead:
                dead = pl.concat(self._dead)
                self._insist(lambda: self._commit(self._lake.table(DEAD_LETTER), dead, dead_ends, None))
            rows = pl.concat(self._rows) if self._rows else RAW_READINGS.empty()
            told = {RAW_KEY: json.dumps(self._told(rows))}
            self._insist(lambda: self._commit(self._lake.table(RAW_READINGS), rows, ends | turns, told))
            self._count(time.perf_counter() - begun, rows)
            self._stands |= stands
            self._parts, self._rows, self._dead, self._waiting = {}, [], [], 0

    def _commit(
        self, table: Table, frame: pl.DataFrame, marks: Mapping[str, int], told: dict[str, str] | None
    ) -> Commit | None:
        try:
            return table.append(frame, transactions=sorted(marks.items()), metadata=told, tag="stream")
        except MarkTakenError as error:  # only one writer moves these marks
            opened = table.open()
            if all(opened.transaction_version(app) == end for app, end in marks.items()):
                return None  # it was ours: only the answer was lost
            raise AnotherStreamError(
                f"another stream has landed what this one read ({error}). Only one may run on a lake: stop the other, "
                "or give each its own lake."
            ) from error

    def _insist(self, commit: Callable[[], object]) -> None:
        """Try until the lake takes it, or until asked to stop."""
        tried = 0
        while True:
            try:
                commit()
            except OUTSIDE_ERRORS as error:
                if not tried:
                    _LOG.error("the lake cannot be written, reading stops until it can: %s", error)
                self._counts.waiting(str(error))
                if self._stopping.wait(_WAITS_S[min(tried, len(_WAITS_S) - 1)]):
                    raise StoppedWaitingError(str(error)) from error
                tried += 1
                continue
            if tried:
                _LOG.warning("the lake can be written again, after %s attempts", tried + 1)
                self._counts.waiting(None)
            return

    def _told(self, rows: pl.DataFrame) -> dict[str, Any]:
        by_hour = rows.group_by(pl.col("timestamp_ingested").dt.truncate("1h").alias("hour")).len().sort("hour")
        newest = _newest(rows)
        return {
            "partitions": {
                name: {
                    "from": part.begin,
                    "to": part.end,
                    "messages": part.messages,
                    "rows": part.rows,
                    "joined": part.joined,
                    "dead": part.dead,
                    "lag": part.lag,
                }
                for name, part in self._parts.items()
            },
            "held": {name: part.held for name, part in self._parts.items() if part.held},
            "rows_by_hour": {hour.isoformat(): count for hour, count in by_hour.iter_rows()},
            "newest_event": newest[0].isoformat() if newest[0] else None,
            "newest_ingested": newest[1].isoformat() if newest[1] else None,
            "committed_at": datetime.now(UTC).isoformat(),
        }

    def _count(self, seconds: float, rows: pl.DataFrame) -> None:
        for name, part in self._parts.items():
            self._counts.landed(
                name,
                part.end,
                part.lag,
                messages=part.messages,
                rows=part.rows,
                joined=part.joined,
                dead=part.dead,
                unknown_fields=part.unknown_fields,
            )
        self._counts.committed(seconds, time.time(), *(n.timestamp() if n else None for n in _newest(rows)))


def _newest(rows: pl.DataFrame) -> tuple[datetime | None, datetime | None]:
    """How far devices and gateways have come; a device clock that runs ahead of its gateway's tells nothing of that."""
    event, ingested = pl.col("timestamp_device"), pl.col("timestamp_ingested")
    found: tuple[datetime | None, datetime | None] = rows.select(
        event.filter(event <= ingested + timedelta(microseconds=CLOCK_AHEAD)).max(), ingested.max()
    ).row(0)
    return found
