"""Clean hours: raw rows in; clean, quarantine and dead-letter rows out, with accounts of every row."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime

import polars as pl

from refrig_assets.contracts.bookkeeping import DEVICE_HOURS
from refrig_assets.contracts.readings import (
    CLEAN_READINGS,
    DEAD_LETTER,
    DUPLICATE_HORIZON,
    QUARANTINE_READINGS,
    RAW_READINGS,
)
from refrig_assets.contracts.registry import DEVICE_REGISTRY
from refrig_assets.lake import HOUR, DataFile, Lake
from refrig_assets.pipeline.event_index import Shared, index_hours, seen_elsewhere
from refrig_assets.pipeline.hours import (
    EVENT_HOUR,
    EVENT_MARK,
    HISTORY,
    ROWS_MARK,
    SHARED_EVENTS,
    HourAccount,
    hours_held,
    together,
    write_many_accounts,
    write_marks,
)
from refrig_assets.pipeline.stopwatch import Stopwatch
from refrig_assets.transforms.clean import CleanContext, Cleaned, clean_readings
from refrig_assets.transforms.gaps import changed_history, device_hours, hours_touched

FILE_ROWS = 1_000_000
_RAW_NEEDED = [c for c in RAW_READINGS.columns if c != "_partition_key"]


@dataclass
class CleanReport:
    hour: datetime
    accounts: dict[str, int]
    flags: dict[str, int] = field(default_factory=dict)
    rows_by_event_hour: dict[datetime, int] = field(default_factory=dict)
    marks_by_event_hour: dict[datetime, int] = field(default_factory=dict)
    devices: int = 0
    bytes: int = 0
    version: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def late_rows(self) -> int:
        return sum(n for h, n in self.rows_by_event_hour.items() if h != self.hour)


@dataclass
class _Made:
    """An hour whose clean rows are written, but not committed yet."""

    hour: datetime
    report: CleanReport
    files: list[DataFile]
    heard: pl.DataFrame
    quarantine: pl.DataFrame
    silent: pl.DataFrame


def clean_hour(lake: Lake, hour: datetime) -> CleanReport:
    """Make the hour's clean partition from what raw holds now. The same raw rows give the same partition."""
    return next(clean_hours(lake, [hour]))


def clean_hours(lake: Lake, hours: Sequence[datetime]) -> Iterator[CleanReport]:
    """Make clean partitions in order; neighbours that hold few rows are read and committed together."""
    for group in together(lake.table(RAW_READINGS), hours):
        yield from _clean_group(lake, group)


def _clean_group(lake: Lake, hours: list[datetime]) -> list[CleanReport]:
    watch = Stopwatch()
    table = lake.table(RAW_READINGS)
    raw = {h: table.scan(h, h + HOUR).select(_RAW_NEEDED).collect(engine="in-memory") for h in hours}
    watch.lap("read")
    shared = seen_elsewhere(lake, index_hours(lake, {hour: rows["event_id"] for hour, rows in raw.items()}))
    watch.lap("duplicates")
    registry = lake.table(DEVICE_REGISTRY).read()
    history = lake.table(DEVICE_HOURS).read(hours[0] - DUPLICATE_HORIZON, hours[0])
    made: list[_Made] = []
    for hour in hours:
        past = pl.concat([history, *(one.heard for one in made)])
        known = past.filter(pl.col("hour") >= hour - DUPLICATE_HORIZON)
        cleaned = clean_readings(raw.pop(hour), CleanContext(registry, known, shared[hour].before, shared[hour].later))
        watch.lap("rules")
        made.append(_write_parts(lake, hour, cleaned))
        watch.lap("parts")
        del cleaned
    _tell_later_hours(lake, made, registry)
    _write(lake, made)
    write_many_accounts(lake, CLEAN_READINGS.name, {one.hour: _account(one, shared[one.hour]) for one in made})
    watch.lap("write")
    for one in made:
        one.report.seconds = {name: seconds / len(made) for name, seconds in watch.laps.items()}
    return [one.report for one in made]


def _account(made: _Made, shared: Shared) -> HourAccount:
    report = made.report
    flags = {f"flag:{flag}": rows for flag, rows in report.flags.items()}
    by_other_hour = {
        EVENT_HOUR: report.rows_by_event_hour,
        EVENT_MARK: report.marks_by_event_hour,
        SHARED_EVENTS: shared.by_hour,
    }
    return HourAccount(report.accounts | flags, by_other_hour)


def _write_parts(lake: Lake, hour: datetime, cleaned: Cleaned) -> _Made:
    """Files of the clean rows, some devices at a time, not committed yet; and who was heard in them.

    Rows of the hour itself lie by device; rows of other hours apart, so that readers skip what they do not need.
    """
    table, report = lake.table(CLEAN_READINGS), CleanReport(hour, cleaned.accounts)
    in_hour = pl.col("timestamp_utc").is_between(hour, hour + HOUR, closed="left")

    def write(number: int, part: pl.DataFrame) -> tuple[list[DataFile], pl.DataFrame]:
        own = part.select(in_hour).to_series()
        whole = bool(own.all())
        files = table.write_files(part if whole else part.filter(own), f"h{hour:%H}-{number:03d}")
        return files, part.clear() if whole else part.filter(~own)

    heard, written = [device_hours(CLEAN_READINGS.empty(), hour)], []
    _account_flags(report, cleaned.quarantine)
    with ThreadPoolExecutor(1) as pool:  # one part is written while the next is put together
        for number, part in enumerate(cleaned.parts(FILE_ROWS)):
            written.append(pool.submit(write, number, part))
            heard.append(device_hours(part, hour))
            _account_flags(report, part)
            _account_hours(report, part)
            if number:
                wait([written[number - 1]])  # no more than two parts are in memory
    done = [future.result() for future in written]
    late = pl.concat([CLEAN_READINGS.empty(), *(rest for _, rest in done)])
    files = [file for files, _ in done for file in files] + table.write_files(late, f"h{hour:%H}-late")
    made = _Made(hour, report, files, pl.concat(heard), cleaned.quarantine, cleaned.all_null)
    report.devices, report.bytes = made.heard.height, sum(f.size for f in files)
    return made


def _account_flags(report: CleanReport, rows: pl.DataFrame) -> None:
    flagged = rows.filter(pl.col("quality_flags").list.len() > 0)["quality_flags"].explode().value_counts()
    for flag, count in flagged.sort("quality_flags").iter_rows():
        report.flags[flag] = report.flags.get(flag, 0) + count


def _account_hours(report: CleanReport, rows: pl.DataFrame) -> None:
    by_hour = rows.group_by(pl.col("timestamp_utc").dt.truncate("1h")).agg(pl.len(), ROWS_MARK.alias("mark"))
    for hour, count, mark in by_hour.sort("timestamp_utc").iter_rows():
        report.rows_by_event_hour[hour] = report.rows_by_event_hour.get(hour, 0) + count
        report.marks_by_event_hour[hour] = report.marks_by_event_hour.get(hour, 0) + mark


def _tell_later_hours(lake: Lake, made: list[_Made], registry: pl.DataFrame) -> None:
    """Mark the later hours that were made with another history than these now tell. In order there are none."""
    table, end = lake.table(DEVICE_HOURS), made[-1].hour + HOUR
    later = hours_held(table.files(start=end, end=end + DUPLICATE_HORIZON), end, end + DUPLICATE_HORIZON)
    for one in made if later else []:
        changed = changed_history(table.read(one.hour, one.hour + HOUR), one.heard, registry)
        if changed.is_empty():
            continue
        # An hour at a time: a week of a large fleet does not fit in memory.
        near = (hour for hour in later if hour <= one.hour + DUPLICATE_HORIZON)
        touched = hours_touched(changed, ((hour, table.read(hour, hour + HOUR)) for hour in near))
        write_marks(lake, CLEAN_READINGS.name, HISTORY, one.hour, touched)


def _write(lake: Lake, made: list[_Made]) -> None:
    """Replace the hours in every table they have rows in."""
    start, end = made[0].hour, made[-1].hour + HOUR
    tag = f"h{start:%H}"
    states = lake.table(DEVICE_HOURS)
    states.replace_range(start, end, [f for one in made for f in states.write_files(one.heard, f"h{one.hour:%H}")])
    letters = lake.table(DEAD_LETTER)
    silent = letters.write_files(pl.concat([_silent_letters(one.silent) for one in made]), f"{tag}-clean")
    letters.replace_range(start, end, silent, keep=pl.col("stage") != "clean")
    quarantine = lake.table(QUARANTINE_READINGS)
    quarantine.replace_range(start, end, quarantine.write_files(pl.concat([one.quarantine for one in made]), tag))
    files = [f for one in made for f in one.files]
    commit = lake.table(CLEAN_READINGS).replace_range(start, end, files)
    for one in made:
        one.report.version = commit.version


def _silent_letters(silent: pl.DataFrame) -> pl.DataFrame:
    if silent.is_empty():
        return DEAD_LETTER.empty()
    return DEAD_LETTER.conform(
        silent.select(
            "timestamp_ingested",
            pl.lit("raw_sensor_readings").alias("source_partition"),
            pl.int_range(pl.len(), dtype=pl.Int64).alias("source_offset"),
            pl.lit("all 14 sensors are null").alias("reason"),
            pl.struct("event_id", "device_id", "timestamp_utc").struct.json_encode().alias("payload"),
            pl.lit("utf-8").alias("payload_encoding"),
            pl.lit("clean").alias("stage"),
            "event_id",
            "device_id",
        )
    )
