"""What is in the lake, how fresh it is and what waits to be made again. Reads only; `now` is given; no Dagster here."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from refrig_assets.contracts import CONTRACTS
from refrig_assets.contracts.base import Contract
from refrig_assets.contracts.features import DEVICE_FEATURES, HOURLY_WINDOWS_MIN
from refrig_assets.contracts.readings import CLEAN_READINGS, DEAD_LETTER, RAW_READINGS
from refrig_assets.lake import HOUR, OUTSIDE_ERRORS, Lake, LakeUnavailableError, TableFile
from refrig_assets.monitoring.findings import Finding
from refrig_assets.monitoring.freshness import describe, judge_age
from refrig_assets.monitoring.stream import CHECK, stream_finding
from refrig_assets.pipeline.hours import floor_hour
from refrig_assets.pipeline.pending import stale, unlanded
from refrig_assets.pipeline.stream_reports import last_stream_commit, read_heartbeat, stream_home

DAY = timedelta(days=1)
# What must hold rows once the table before it does.
_FEEDS: dict[str, str] = {CLEAN_READINGS.name: RAW_READINGS.name, DEVICE_FEATURES.name: CLEAN_READINGS.name}


@dataclass(frozen=True)
class TableStatus:
    """One table. `level` is ok, late (past its service level), warn, error, or empty; without a promise ok or empty."""

    table: str
    code: str
    rows: int
    files: int
    bytes: int
    version: int | None
    newest: datetime | None
    newest_hour: datetime | None
    age_s: float | None
    level: str
    says: str


@dataclass(frozen=True)
class LakeStatus:
    uri: str
    at: datetime
    tables: list[TableStatus]
    waiting: dict[str, dict[datetime, str]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    dead_letters_24h: dict[str, int] = field(default_factory=dict)
    stream: Finding | None = None

    @property
    def errors(self) -> list[str]:
        found = [f"{t.table}: {t.says}" for t in self.tables if t.level == "error"]
        if self.stream is not None and not self.stream.passed:
            found.append(f"stream: {self.stream.says}")
        return found

    def as_dict(self) -> dict[str, Any]:
        waiting = {t: {h.isoformat(): why for h, why in hours.items()} for t, hours in self.waiting.items()}
        tables = [vars(t) for t in self.tables]
        return {"uri": self.uri, "at": self.at, "tables": tables, "waiting": waiting, "missing_tables": self.missing,
                "dead_letters_24h": self.dead_letters_24h,
                "stream": vars(self.stream) if self.stream else None}  # fmt: skip


def lake_status(lake: Lake, now: datetime, landing: Path | None = None, state_dir: str = "") -> LakeStatus:
    """Look at every table once. A lake that is not there, or not readable, is a LakeUnavailableError."""
    try:
        found = [(c, _look(lake, c, now)) for c in CONTRACTS]
    except OUTSIDE_ERRORS as error:
        raise LakeUnavailableError(
            f"lake {lake.uri!r} cannot be read: {str(error).splitlines()[0]}. Check --lake or REFRIG_LAKE"
        ) from error
    missing = [c.name for c, status in found if status is None]
    if len(missing) == len(CONTRACTS):
        raise LakeUnavailableError(
            f"there is no lake at {lake.uri!r}. Create it with `refrig doctor --create`, "
            "or name the right place by --lake or REFRIG_LAKE"
        )
    tables = [status for _, status in found if status is not None]
    rows = {t.table: t.rows for t in tables}
    tables = [_with_feed(t, rows) for t in tables]
    if missing:
        return LakeStatus(lake.uri, now, tables, missing=missing)
    return LakeStatus(
        lake.uri, now, tables, _waiting(lake, landing, now), [], dead_letters(lake, now - DAY, now + HOUR),
        _stream(lake, state_dir, now),
    )  # fmt: skip


def _stream(lake: Lake, state_dir: str, now: datetime) -> Finding | None:
    """How the stream does, if one was ever started on this lake."""
    beat = read_heartbeat(stream_home(lake, state_dir))
    if beat is None:
        return None
    if beat.state == "stopped":  # somebody ended it: no error here, though whoever watches is told by the check
        return Finding(CHECK, True, f"stopped {describe(now - beat.at)} ago")
    return stream_finding(RAW_READINGS.name, beat, last_stream_commit(lake), now)


def _look(lake: Lake, contract: Contract, now: datetime) -> TableStatus | None:
    table = lake.table(contract)
    if not lake.has(contract):
        return None
    files = table.files()
    newest = newest_moment(contract, files)
    rows = sum(f.rows for f in files)
    age = judge_age(contract, newest, now)
    level = "empty" if rows == 0 else age.level if contract.partitioned else "ok"
    promised = contract.freshness
    says = "empty" if rows == 0 else f"{describe(age.age)} old" if age.age is not None else ""
    if promised and level in ("warn", "error", "late"):
        limit = {"late": promised.service_level, "warn": promised.warn, "error": promised.error}[level]
        says += f", over {describe(limit)}"
    return TableStatus(
        contract.name, contract.code, rows, len(files), sum(f.size for f in files), table.version, newest,
        floor_hour(newest) if newest else None, age.age.total_seconds() if age.age is not None else None, level, says,
    )  # fmt: skip


def _with_feed(status: TableStatus, rows: dict[str, int]) -> TableStatus:
    """An empty table is an error where the one it is made from holds rows."""
    source = _FEEDS.get(status.table)
    if status.rows or not source or not rows.get(source):
        return status
    return TableStatus(**{**vars(status), "level": "error", "says": f"empty, though {source} is not"})


def _waiting(lake: Lake, landing: Path | None, now: datetime) -> dict[str, dict[datetime, str]]:
    """Hours with files that have not landed, and hours whose input changed after they were made."""
    clean, features = stale(lake, now)
    found = {CLEAN_READINGS.name: clean.hours, DEVICE_FEATURES.name: features.hours}
    if landing is not None and landing.is_dir():
        found = {RAW_READINGS.name: unlanded(lake, landing, now, timedelta(0)).hours} | found
    return {table: hours for table, hours in found.items() if hours}


def newest_moment(contract: Contract, files: list[TableFile]) -> datetime | None:
    """The newest moment a table speaks of; of windows, the end of the shortest."""
    last = max((f.last for f in files if f.last is not None), default=None)
    if last is not None and contract.hour_of == "window_start":
        return last + timedelta(minutes=HOURLY_WINDOWS_MIN[0])
    return last


def dead_letters(lake: Lake, start: datetime, end: datetime) -> dict[str, int]:
    """Dead letters of a time, by reason without its particulars, most frequent first."""
    kind = pl.col("reason").str.replace(r"(:? line \d+ column .*| at byte \d+|: .*)$", "")
    counts = lake.table(DEAD_LETTER).scan(start, end).group_by(kind).agg(pl.len()).collect()
    return dict(counts.sort(["len", "reason"], descending=[True, False]).head(10).iter_rows())
