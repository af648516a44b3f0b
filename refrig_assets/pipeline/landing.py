"""Landing: files of hours into raw_sensor_readings and dead_letter, each message once however often it is run.

Every chunk of a file is committed with a mark (content hash, chunk number) in the same Delta transaction as its rows;
a run after a kill reads the marks and goes on behind them.
"""

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from pathlib import Path

import polars as pl

from refrig_assets.contracts.bookkeeping import LANDING_LOG
from refrig_assets.contracts.readings import DEAD_LETTER, DUPLICATE_HORIZON, RAW_READINGS
from refrig_assets.lake import HOUR, DataFile, Lake
from refrig_assets.pipeline.hours import HOURS_AT_ONCE, RAW, HourAccount, floor_hour, neighbours, write_many_accounts
from refrig_assets.pipeline.landing_report import FileAccount, LandingReport
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


@dataclass(frozen=True)
class _Chunk:
    mark: tuple[str, int]
    landed: Landed
    report: LandingReport

    @property
    def weight(self) -> int:
        return self.landed.raw.height + _DEAD_WEIGHT * self.landed.dead.height


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
    return next(land_batches(lake, landing, [hour], now, settle=settle, progress=progress))[0]


def land_batches(
    lake: Lake,
    landing: Path,
    hours: Sequence[datetime],
    now: datetime,
    *,
    settle: timedelta = timedelta(0),
    progress: Progress | None = None,
) -> Iterator[list[LandingReport]]:
    """Land what is new among the files of hours, in order; hours that hold few rows are committed together."""
    for hour in hours:
        if hour > now:
            raise ValueError(
                f"the hour {hour:%Y-%m-%d %H:%M} UTC lies in the future: nothing can have landed in it yet"
            )
    landed = 0
    while landed < len(hours):
        batch = _land_batch(lake, landing, hours[landed : landed + HOURS_AT_ONCE], now, settle, progress)
        landed += len(batch)
        yield batch


def _land_batch(
    lake: Lake, landing: Path, hours: Sequence[datetime], now: datetime, settle: timedelta, progress: Progress | None
) -> list[LandingReport]:
    """Land hours until they are enough for a commit, or all."""
    log = lake.table(LANDING_LOG).read(min(hours) - DUPLICATE_HORIZON, max(hours) + DUPLICATE_HORIZON).sort("landed_at")
    reports: list[LandingReport] = []
    pending: list[_Chunk] = []
    for hour in hours:
        if sum(report.rows for report in reports) >= FLUSH_ROWS:
            break
        reports.append(LandingReport(hour))
        for chunk in _new_chunks(landing, reports, log, now, settle, progress):
            pending.append(chunk)
            if sum(c.weight for c in pending) >= FLUSH_ROWS:
                _flush(lake, pending)
                pending = []
    _flush(lake, pending)
    count_raw(lake, {hour for report in reports for hour in (report.hour, *report.rows_by_hour)})
    # Last: a file that is not in the log is looked at again, and so are the hours its rows went to.
    _write_log(lake, reports, now)
    return reports


def _new_chunks(
    landing: Path,
    reports: list[LandingReport],
    log: pl.DataFrame,
    now: datetime,
    settle: timedelta,
    progress: Progress | None,
) -> Iterator[_Chunk]:
    """What is new among the files of the last report's hour, which is told what becomes of each."""
    report = reports[-1]
    paths = landing_files(landing, report.hour)
    for number, path in enumerate(paths):
        if progress:
            progress(number, len(paths))
        account = _look_at(path, landing, log, now, settle, reports)
        if account is None:
            continue
        report.files.append(account)
        if account.outcome != "landed":
            continue
        base = _sequence_base(report.hour, _taken(log, report.hour) + len(report.files))
        yield from _readable_chunks(path, account, Arrival(account.path, report.hour, base), log, report)


def count_raw(lake: Lake, hours: Collection[datetime]) -> None:
    """Count the hours' raw rows, whoever wrote them, into the accounts."""
    raw = lake.table(RAW_READINGS)
    rows = {hour: raw.scan(hour, hour + HOUR).select(pl.len()).collect().item() for hour in hours}
    for group in neighbours(sorted(rows)):
        write_many_accounts(lake, RAW_READINGS.name, {hour: HourAccount({RAW: rows[hour]}) for hour in group})


def _look_at(
    path: Path, landing: Path, log: pl.DataFrame, now: datetime, settle: timedelta, reports: list[LandingReport]
) -> FileAccount | None:
    """The file's account to be filled, or None where there is nothing to do for it (now)."""
    report = reports[-1]
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
    twin = _twin(name, content, log, [file for one in reports for file in one.files])
    return FileAccount(name, content, "same_content" if twin else "landed", twin and f"holds the same bytes as {twin}")


def _twin(name: str, content: Content, log: pl.DataFrame, taken: list[FileAccount]) -> str | None:
    """A file taken before that holds the same bytes and is read in the same way."""
    if not content.size:
        return None
    before = log.filter((pl.col("sha256") == content.sha256) & (pl.col("outcome") != "same_content"))["path"].to_list()
    before += [f.path for f in taken if f.content.sha256 == content.sha256 and f.outcome != "same_content"]
    return next((path for path in before if kind_of(path) == kind_of(name)), None)


def _readable_chunks(
    path: Path, account: FileAccount, arrival: Arrival, log: pl.DataFrame, report: LandingReport
) -> Iterator[_Chunk]:
    """The file's chunks. Where reading fails for reasons of the disk, the file is left for the next run."""
    try:
        yield from _chunks(path, account, arrival, log, report)
    except OSError as error:
        report.files.remove(account)
        gone = isinstance(error, FileNotFoundError)
        reason = "deleted while it was read" if gone else f"cannot be read now: {error.strerror or error}"
        report.skipped.append(f"{account.path}: {reason}")


def _chunks(
    path: Path, account: FileAccount, arrival: Arrival, log: pl.DataFrame, report: LandingReport
) -> Iterator[_Chunk]:
    start = _landed_prefix(path, account, log)
    mark = f"landing:{arrival.hour:%Y-%m-%dT%H}:{kind_of(path.name)}:{account.content.sha256}"
    number = 0
    try:
        for number, part in enumerate(read_chunks(path, arrival, start, account.content.size), start=1):
            account.add(part)
            yield _Chunk((mark, number), part, report)
    except UnreadableFileError as error:
        account.outcome, account.detail = "unreadable", str(error)
        part = unreadable(path, arrival, str(error))
        account.add(part)
        yield _Chunk((mark, number + 1), part, report)


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


def _flush(lake: Lake, chunks: list[_Chunk]) -> None:
    """Commit what is behind the marks: dead letters first, then rows, each with its marks in the same transaction."""
    if not chunks:
        return
    for contract, part in ((DEAD_LETTER, "dead"), (RAW_READINGS, "raw")):
        table = lake.table(contract)
        with table.newest() as opened:
            stored = {app: opened.transaction_version(app) or 0 for app in {c.mark[0] for c in chunks}}
        new = [c for c in chunks if c.mark[1] > stored[c.mark[0]]]
        if not new:
            continue
        files: list[DataFile] = []
        for _, sent in groupby(new, key=lambda c: c.report.hour):
            of_hour = list(sent)
            written = table.write_files(pl.concat([getattr(c.landed, part) for c in of_hour]), "landed")
            of_hour[0].report.bytes += sum(f.size for f in written)
            files += written
        marks = {c.mark[0]: max(c2.mark[1] for c2 in new if c2.mark[0] == c.mark[0]) for c in new}
        table.append_files(files, transactions=sorted(marks.items()))
    for chunk in chunks:
        by_hour = chunk.report.rows_by_hour
        for hour, count in chunk.landed.raw["timestamp_ingested"].dt.truncate("1h").value_counts().iter_rows():
            by_hour[hour] = by_hour.get(hour, 0) + count


def _write_log(lake: Lake, reports: list[LandingReport], now: datetime) -> None:
    if not any(report.files for report in reports):
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
            for report in reports
            for f in report.files
        ],
        schema=LANDING_LOG.dtypes,
    )
    lake.table(LANDING_LOG).append(frame, tag="log")
