"""Landing: an hour's files into raw_sensor_readings and dead_letter, each message once however often it is run.

Every chunk of a file is committed with a mark (content hash, chunk number) in the same Delta transaction as its rows;
a run after a kill reads the marks and goes on behind them.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from refrig_assets.contracts.bookkeeping import LANDING_LOG
from refrig_assets.contracts.readings import DEAD_LETTER, DUPLICATE_HORIZON, RAW_READINGS
from refrig_assets.lake import HOUR, Lake
from refrig_assets.pipeline.hours import RAW, floor_hour, write_accounts
from refrig_assets.pipeline.sources import (
    Content,
    UnreadableFileError,
    content_of,
    kind_of,
    landing_files,
    read_chunks,
    start_behind,
    unreadable,
)
from refrig_assets.transforms.landing import Arrival, Landed

FLUSH_ROWS = 1_500_000
_DEAD_WEIGHT = 4  # a dead letter carries its line
Progress = Callable[[int, int], None]


@dataclass
class FileAccount:
    """What became of one file."""

    path: str
    content: Content
    outcome: str = "landed"
    detail: str | None = None
    messages: int = 0
    rows: int = 0
    joined: int = 0
    dead: int = 0
    unknown_fields: int = 0

    def add(self, part: Landed) -> None:
        self.messages += part.messages
        self.rows += part.raw.height
        self.joined += part.joined
        self.dead += part.dead.height
        self.unknown_fields += part.unknown_fields


@dataclass
class LandingReport:
    """What a landing run did. `rows_by_hour` counts rows by the hour they belong to, which need not be the folder's."""

    hour: datetime
    files: list[FileAccount] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    rows_by_hour: dict[datetime, int] = field(default_factory=dict)
    bytes: int = 0

    @property
    def rows(self) -> int:
        return sum(f.rows for f in self.files)

    @property
    def dead(self) -> int:
        return sum(f.dead for f in self.files)

    @property
    def messages(self) -> int:
        return sum(f.messages for f in self.files)


@dataclass(frozen=True)
class _Chunk:
    mark: tuple[str, int]
    landed: Landed


def land_hour(
    lake: Lake,
    landing: Path,
    hour: datetime,
    now: datetime,
    *,
    settle: timedelta = timedelta(0),
    progress: Progress | None = None,
) -> LandingReport:
    """Land what is new among the hour's files."""
    if hour > now:
        raise ValueError(f"the hour {hour:%Y-%m-%d %H:%M} UTC lies in the future: nothing can have landed in it yet")
    report = LandingReport(hour)
    paths = landing_files(landing, hour)
    log = _log(lake, hour)
    pending: list[_Chunk] = []
    for number, path in enumerate(paths):
        if progress:
            progress(number, len(paths))
        account = _look_at(path, landing, log, now, settle, report)
        if account is None:
            continue
        report.files.append(account)
        if account.outcome != "landed":
            continue
        arrival = Arrival(account.path, hour, _sequence_base(hour, _taken(log, hour) + len(report.files)))
        for chunk in _readable_chunks(path, account, arrival, log, report):
            pending.append(chunk)
            if sum(c.landed.raw.height + _DEAD_WEIGHT * c.landed.dead.height for c in pending) >= FLUSH_ROWS:
                _flush(lake, pending, report)
                pending = []
    _flush(lake, pending, report)
    for touched in sorted({hour, *report.rows_by_hour}):
        count_raw(lake, touched)
    # Last: a file that is not in the log is looked at again, and so are the hours its rows went to.
    _write_log(lake, report, now)
    return report


def count_raw(lake: Lake, hour: datetime) -> int:
    """Count the hour's raw rows, whoever wrote them, into the accounts."""
    rows = lake.table(RAW_READINGS).scan(hour, hour + HOUR).select(pl.len()).collect().item()
    write_accounts(lake, RAW_READINGS.name, hour, {RAW: rows})
    return int(rows)


def _log(lake: Lake, hour: datetime) -> pl.DataFrame:
    table = lake.table(LANDING_LOG)
    return table.read(hour - DUPLICATE_HORIZON, hour + DUPLICATE_HORIZON).sort("landed_at")


def _look_at(
    path: Path, landing: Path, log: pl.DataFrame, now: datetime, settle: timedelta, report: LandingReport
) -> FileAccount | None:
    """The file's account to be filled, or None where there is nothing to do for it (now)."""
    name = path.relative_to(landing).as_posix()
    try:
        age = now.timestamp() - os.path.getmtime(path)
        if settle and 0 <= age < settle.total_seconds():
            report.skipped.append(f"{name}: written {age:.0f} s ago, may not be complete yet")
            return None
        content = content_of(path)
    except FileNotFoundError:
        report.skipped.append(f"{name}: deleted before it could be read")
        return None
    except OSError as error:
        report.skipped.append(f"{name}: cannot be read now: {error.strerror or error}")
        return None
    if log.filter((pl.col("sha256") == content.sha256) & (pl.col("path") == name)).height:
        return None
    twin = _twin(name, content, log, report)
    return FileAccount(name, content, "same_content" if twin else "landed", twin and f"holds the same bytes as {twin}")


def _twin(name: str, content: Content, log: pl.DataFrame, report: LandingReport) -> str | None:
    """A file taken before that holds the same bytes and is read in the same way."""
    if not content.size:
        return None
    before = log.filter((pl.col("sha256") == content.sha256) & (pl.col("outcome") != "same_content"))["path"].to_list()
    before += [f.path for f in report.files if f.content.sha256 == content.sha256 and f.outcome != "same_content"]
    return next((path for path in before if kind_of(path) == kind_of(name)), None)


def _readable_chunks(
    path: Path, account: FileAccount, arrival: Arrival, log: pl.DataFrame, report: LandingReport
) -> Iterator[_Chunk]:
    """The file's chunks. Where reading fails for reasons of the disk, the file is left for the next run."""
    try:
        yield from _chunks(path, account, arrival, log)
    except OSError as error:
        report.files.remove(account)
        gone = isinstance(error, FileNotFoundError)
        reason = "deleted while it was read" if gone else f"cannot be read now: {error.strerror or error}"
        report.skipped.append(f"{account.path}: {reason}")


def _chunks(path: Path, account: FileAccount, arrival: Arrival, log: pl.DataFrame) -> Iterator[_Chunk]:
    start = _landed_prefix(path, account, log)
    mark = f"landing:{arrival.hour:%Y-%m-%dT%H}:{kind_of(path.name)}:{account.content.sha256}"
    number = 0
    try:
        for number, part in enumerate(read_chunks(path, arrival, start, account.content.size), start=1):
            account.add(part)
            yield _Chunk((mark, number), part)
    except UnreadableFileError as error:
        account.outcome, account.detail = "unreadable", str(error)
        part = unreadable(path, arrival, str(error))
        account.add(part)
        yield _Chunk((mark, number + 1), part)


def _landed_prefix(path: Path, account: FileAccount, log: pl.DataFrame) -> int:
    """Bytes of a grown file's text that have landed before; 0 for a new file or one with other content."""
    before = log.filter((pl.col("path") == account.path) & (pl.col("outcome") == "landed"))
    for size, sha in before.select("bytes", "sha256").sort("bytes", descending=True).iter_rows():
        if 0 < size < account.content.size and content_of(path, size).sha256 == sha:
            start = start_behind(path, size)
            if start:
                account.detail = f"grown: the first {size:,} bytes had landed before"
            return start
    return 0


def _taken(log: pl.DataFrame, hour: datetime) -> int:
    return log.filter(pl.col("landing_hour") == floor_hour(hour)).height


def _sequence_base(hour: datetime, file_number: int) -> int:
    """Sequence numbers grow with time over all files: 18 bits of hours, 12 of files in the hour, 33 of offset."""
    hours = int((hour - datetime(2020, 1, 1, tzinfo=hour.tzinfo)) / HOUR)
    return (max(hours, 0) << 12 | min(file_number, 4095)) << 33


def _flush(lake: Lake, chunks: list[_Chunk], report: LandingReport) -> None:
    """Commit what is behind the marks: dead letters first, then rows, each with its marks in the same transaction."""
    if not chunks:
        return
    for contract, part in ((DEAD_LETTER, "dead"), (RAW_READINGS, "raw")):
        table = lake.table(contract)
        opened = table.open()
        stored = {app: opened.transaction_version(app) or 0 for app in {c.mark[0] for c in chunks}}
        new = [c for c in chunks if c.mark[1] > stored[c.mark[0]]]
        if not new:
            continue
        frame = pl.concat([getattr(c.landed, part) for c in new])
        marks = {c.mark[0]: max(c2.mark[1] for c2 in new if c2.mark[0] == c.mark[0]) for c in new}
        commit = table.append(frame, transactions=sorted(marks.items()), tag="landed")
        report.bytes += commit.bytes
    for chunk in chunks:
        hours = chunk.landed.raw["timestamp_ingested"].dt.truncate("1h").value_counts()
        for hour, count in hours.iter_rows():
            report.rows_by_hour[hour] = report.rows_by_hour.get(hour, 0) + count


def _write_log(lake: Lake, report: LandingReport, now: datetime) -> None:
    if not report.files:
        return
    frame = pl.DataFrame(
        [
            {
                "landing_hour": floor_hour(report.hour),
                "path": f.path,
                "sha256": f.content.sha256,
                "bytes": f.content.size,
                "outcome": f.outcome,
                "messages": f.messages,
                "rows_landed": f.rows,
                "messages_joined": f.joined,
                "dead_letters": f.dead,
                "unknown_fields": f.unknown_fields,
                "detail": f.detail,
                "landed_at": now,
            }
            for f in report.files
        ],
        schema=LANDING_LOG.dtypes,
    )
    lake.table(LANDING_LOG).append(frame, tag="log")
