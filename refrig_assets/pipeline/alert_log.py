"""The alert log in the lake: changes appended exactly once, read and folded. Publishing it: `published.py`."""

import json
import random
import time
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

import polars as pl

from refrig_assets.alerting.changes import incomplete
from refrig_assets.alerting.deadlines import escalations
from refrig_assets.alerting.fold import fold
from refrig_assets.alerting.releasing import LATELY, perhaps_back, releases
from refrig_assets.alerting.standing import is_standing
from refrig_assets.contracts import ALERT_MUTES, DEVICE_ALERTS, ContractError, Violation
from refrig_assets.contracts.alerts import BATCH, STREAM
from refrig_assets.lake import Lake, MarkTakenError, TableFile
from refrig_assets.pipeline.alert_living import living_log
from refrig_assets.pipeline.alert_reading import read_board

LOOK_BACK = timedelta(hours=48)
CHANGES_KEY, STREAM_KEY = "alert_changes", "stream_alerts"
"""commit metadata of the log: what was appended, and of it what the stream did"""
# Writers of the same alerts wait for each other, and no others do.
_LOCKS = 16
ATTEMPTS = 100


class _Opened(Protocol):
    def transaction_version(self, app_id: str, /) -> int | None: ...


@dataclass(frozen=True)
class Appended:
    """Changes written, and those the log held already."""

    written: int
    known: int
    version: int


@dataclass
class AlertLog:
    """A writer of the log. Kept open it remembers which changes each file holds, and reads only new files."""

    lake: Lake
    _held: dict[str, frozenset[str]] = field(default_factory=dict)

    def append(self, changes: pl.DataFrame, seen: Mapping[str, int] | None = None) -> Appended:
        """Append the changes the log does not hold yet, each once, whoever else appends at the same time.

        Two writers of one change read the same marks, and of two commits that move the same mark from the same place
        Delta lets one pass; the other looks again. Who planned the changes by what the log said gives the marks as they
        stood before it was read (`seen`): where one has moved since, nothing is written, and MarkTakenError says so.
        """
        wrong = incomplete(changes)
        if wrong.height:
            sample = wrong.select("change_id", "alert_id").head(20).to_dicts()
            raise ContractError(
                DEVICE_ALERTS.name, [Violation("change", "creates half an alert", wrong.height, sample)]
            )
        distinct = changes.unique("change_id", keep="first", maintain_order=True)
        table = self.lake.table(DEVICE_ALERTS)
        if distinct.is_empty():  # without looking for it in every file
            return Appended(0, 0, table.version)
        for attempt in range(ATTEMPTS):
            with table.newest() as opened:
                upto = opened.version()
                marks = _standing_at(opened, distinct["alert_id"]) if seen is None else seen
            fresh = distinct.filter(~pl.col("change_id").is_in(self._known(distinct)))
            if fresh.is_empty():
                return Appended(0, changes.height, upto)
            moved = [(lock, marks[lock] + 1) for lock in _locks(fresh["alert_id"])]
            try:
                commit = table.append(fresh, transactions=moved, metadata=_told(fresh), tag="changes")
            except MarkTakenError:
                if seen is not None:
                    raise
                pause(attempt)
                continue
            return Appended(fresh.height, changes.height - fresh.height, commit.version)
        raise MarkTakenError(f"{DEVICE_ALERTS.name}: other writers of the same alerts were first {ATTEMPTS} times")

    def _known(self, changes: pl.DataFrame) -> list[str]:
        """Those of the changes that the log holds: written since their earliest moment, less some days."""
        table = self.lake.table(DEVICE_ALERTS)
        files = table.files()
        moments = changes.select(pl.min_horizontal("changed_at", "first_detected_at", "alert_created_at").min())
        since: datetime | None = moments.item()
        if since is not None:
            files = [f for f in files if f.last is None or f.last >= since - LOOK_BACK]
        self._held = {f.path: self._held.get(f.path) or self._changes_of(f) for f in files}
        wanted = set(changes["change_id"])
        return sorted(set().union(*(wanted & held for held in self._held.values())))

    def _changes_of(self, file: TableFile) -> frozenset[str]:
        rows = self.lake.table(DEVICE_ALERTS).scan_files([file]).select("change_id").collect(engine="in-memory")
        return frozenset(rows["change_id"])


def append_changes(lake: Lake, changes: pl.DataFrame, seen: Mapping[str, int] | None = None) -> Appended:
    """Append changes exactly once. Who appends often keeps an AlertLog instead."""
    return AlertLog(lake).append(changes, seen)


def marks_of(lake: Lake, alerts: Iterable[str]) -> dict[str, int]:
    """Where the marks of these alerts stand: they move with every change to one of them (and to some others)."""
    with lake.table(DEVICE_ALERTS).newest() as opened:
        return _standing_at(opened, alerts)


def pause(attempt: int) -> None:
    """Before looking again: somebody else was first."""
    time.sleep(random.uniform(0.005, 0.05) * min(attempt + 1, 10))


def read_log(lake: Lake, version: int | None = None) -> pl.DataFrame:
    """The whole log; each change once."""
    return lake.table(DEVICE_ALERTS).read(version=version)


def current_board(lake: Lake) -> pl.DataFrame:
    """The alerts as the log tells of them now, published or not."""
    return fold(read_log(lake))


def release_relapses(lake: Lake, now: datetime) -> Appended:
    """Tell of events that the stream took for repetitions of alerts which no longer stand; returns those told.

    What goes on under another alert follows; stopped in between, the next one writes it.
    """
    if read_board(lake, where=perhaps_back(now), ordered=False).is_empty():
        return Appended(0, 0, lake.table(DEVICE_ALERTS).version)
    board = fold(living_log(lake, now - LATELY - LOOK_BACK))
    rows = releases(board, now, lake.table(ALERT_MUTES).read())
    told = append_changes(lake, rows.filter(~pl.col("suppressed")))
    append_changes(lake, rows.filter("suppressed"))
    return told


def escalate_overdue(lake: Lake, now: datetime, actor: str = BATCH) -> Appended:
    """Mark the alerts that nobody took in time; those at the first level go to the second."""
    return append_changes(lake, escalations(read_board(lake, where=is_standing()), now, actor))


def _locks(alerts: Iterable[str]) -> list[str]:
    """The marks that stand for the alerts: a share of all alerts each."""
    return sorted({f"alerts:{zlib.crc32(alert.encode()) % _LOCKS}" for alert in alerts})


def _standing_at(opened: _Opened, alerts: Iterable[str]) -> dict[str, int]:
    return {lock: opened.transaction_version(lock) or 0 for lock in _locks(alerts)}


def _told(changes: pl.DataFrame) -> dict[str, str]:
    """What the commit says about itself, for those who report it."""

    def counts(name: str, rows: Iterable[str]) -> dict[str, int]:
        return dict(pl.Series(name, rows, dtype=pl.String).value_counts().sort(name).iter_rows())

    summary = {
        "written": changes.height,
        "by_change": counts("change", changes["change"]),
        "by_actor": counts("actor", changes["actor"].str.split(":").list.first()),
        "by_rule": counts("rule", changes.filter(pl.col("change") == "created")["rule"].drop_nulls()),
        "newest": changes["changed_at"].max().isoformat(),  # type: ignore[union-attr]
    }
    told = {CHANGES_KEY: json.dumps(summary)}
    streamed = changes.filter(pl.col("actor") == STREAM)
    if streamed.height:
        alerts = streamed.filter(pl.col("change") == "created")
        silent = int(alerts["suppressed"].sum() or 0)
        told[STREAM_KEY] = json.dumps({"written": alerts.height, "suppressed": silent})
    return told
