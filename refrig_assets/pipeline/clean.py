"""One clean hour: raw rows in; clean, quarantine and dead-letter rows out, with accounts of every row."""

import json
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
from refrig_assets.pipeline.event_index import index_hour, seen_elsewhere
from refrig_assets.pipeline.hours import (
    EVENT_HOUR,
    EVENT_MARK,
    HISTORY,
    ROWS_MARK,
    SHARED_EVENTS,
    hours_held,
    write_accounts,
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


def clean_hour(lake: Lake, hour: datetime) -> CleanReport:
    """Make the hour's clean partition from what raw holds now. The same raw rows give the same partition."""
    watch = Stopwatch()
    raw = lake.table(RAW_READINGS).scan(hour, hour + HOUR).select(_RAW_NEEDED).collect(engine="in-memory")
    watch.lap("read")
    mine = index_hour(lake, hour, raw["event_id"])
    shared = seen_elsewhere(lake, hour, mine)
    watch.lap("duplicates")
    context = CleanContext(
        registry=lake.table(DEVICE_REGISTRY).read(),
        history=lake.table(DEVICE_HOURS).read(hour - DUPLICATE_HORIZON, hour),
        seen_before=shared.before,
        seen_later=shared.later,
    )
    holder = [raw]
    del raw, mine
    cleaned = clean_readings(holder.pop(), context)
    watch.lap("rules")
    report = CleanReport(hour, cleaned.accounts)
    files, heard = _write_parts(lake, cleaned, report)
    report.devices = heard.height
    watch.lap("parts")
    _tell_later_hours(lake, hour, heard, context.registry)
    _write(lake, hour, cleaned, heard, files, report)
    flags = {f"flag:{flag}": rows for flag, rows in report.flags.items()}
    others = {
        EVENT_HOUR: report.rows_by_event_hour,
        EVENT_MARK: report.marks_by_event_hour,
        SHARED_EVENTS: shared.by_hour,
    }
    write_accounts(lake, CLEAN_READINGS.name, hour, report.accounts | flags, others)
    watch.lap("write")
    report.seconds = watch.laps
    return report


def _write_parts(lake: Lake, cleaned: Cleaned, report: CleanReport) -> tuple[list[DataFile], pl.DataFrame]:
    """Files of the clean rows, some devices at a time, not committed yet; and who was heard in them.

    Rows of the hour itself lie by device; rows of other hours apart, so that readers skip what they do not need.
    """
    table, hour = lake.table(CLEAN_READINGS), report.hour
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
    return files, pl.concat(heard)


def _account_flags(report: CleanReport, rows: pl.DataFrame) -> None:
    flagged = rows.filter(pl.col("quality_flags").list.len() > 0)["quality_flags"].explode().value_counts()
    for flag, count in flagged.sort("quality_flags").iter_rows():
        report.flags[flag] = report.flags.get(flag, 0) + count


def _account_hours(report: CleanReport, rows: pl.DataFrame) -> None:
    by_hour = rows.group_by(pl.col("timestamp_utc").dt.truncate("1h")).agg(pl.len(), ROWS_MARK.alias("mark"))
    for hour, count, mark in by_hour.sort("timestamp_utc").iter_rows():
        report.rows_by_event_hour[hour] = report.rows_by_event_hour.get(hour, 0) + count
        report.marks_by_event_hour[hour] = report.marks_by_event_hour.get(hour, 0) + mark


def _tell_later_hours(lake: Lake, hour: datetime, heard: pl.DataFrame, registry: pl.DataFrame) -> None:
    """Mark the later hours that were made with another history than this hour now tells. In order there are none."""
    table = lake.table(DEVICE_HOURS)
    start, end = hour + HOUR, hour + DUPLICATE_HORIZON + HOUR
    made = hours_held(table.files(start=start, end=end), start, end)
    if not made:
        return
    changed = changed_history(table.read(hour, hour + HOUR), heard, registry)
    if changed.is_empty():
        return
    # An hour at a time: a week of a large fleet does not fit in memory.
    touched = hours_touched(changed, ((one, table.read(one, one + HOUR)) for one in made))
    write_marks(lake, CLEAN_READINGS.name, HISTORY, hour, touched)


def _write(
    lake: Lake, hour: datetime, cleaned: Cleaned, heard: pl.DataFrame, files: list[DataFile], report: CleanReport
) -> None:
    """Replace the hour in every table it has rows in."""
    states = lake.table(DEVICE_HOURS)
    states.replace_hour(hour, states.write_files(heard, f"h{hour:%H}"))
    letters = lake.table(DEAD_LETTER)
    letters.replace_range(
        hour,
        hour + HOUR,
        letters.write_files(_silent_letters(cleaned.all_null), f"h{hour:%H}-clean"),
        keep=pl.col("stage") != "clean",
    )
    quarantine = lake.table(QUARANTINE_READINGS)
    quarantine.replace_hour(hour, quarantine.write_files(cleaned.quarantine, f"h{hour:%H}"))
    clean = lake.table(CLEAN_READINGS)
    commit = clean.replace_hour(hour, files, {"accounts": json.dumps(report.accounts)})
    report.bytes, report.version = commit.bytes, commit.version


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
