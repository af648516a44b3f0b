"""One clean hour: raw rows in; clean, quarantine and dead-letter rows out, with accounts of every row."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise

import numpy as np
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
_WRITERS = 2
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
    report = _report(cleaned, hour)
    heard = device_hours(cleaned.clean, hour)
    report.devices = heard.height
    _tell_later_hours(lake, hour, heard, context.registry)
    watch.lap("account")
    _write(lake, hour, cleaned, heard, report)
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


def _report(cleaned: Cleaned, hour: datetime) -> CleanReport:
    rows = pl.concat([cleaned.clean.select("quality_flags"), cleaned.quarantine.select("quality_flags")])
    flagged = rows.filter(pl.col("quality_flags").list.len() > 0)["quality_flags"].explode().value_counts()
    event_hours = (
        cleaned.clean.group_by(pl.col("timestamp_utc").dt.truncate("1h"))
        .agg(pl.len(), ROWS_MARK.alias("mark"))
        .sort("timestamp_utc")
    )
    return CleanReport(
        hour=hour,
        accounts=cleaned.accounts,
        flags=dict(sorted(flagged.iter_rows())),
        rows_by_event_hour={h: rows for h, rows, _ in event_hours.iter_rows()},
        marks_by_event_hour={h: mark for h, _, mark in event_hours.iter_rows()},
    )


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


def _write(lake: Lake, hour: datetime, cleaned: Cleaned, heard: pl.DataFrame, report: CleanReport) -> None:
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
    commit = clean.replace_hour(
        hour, _clean_files(lake, hour, cleaned.clean), {"accounts": json.dumps(report.accounts)}
    )
    report.bytes, report.version = commit.bytes, commit.version


def _clean_files(lake: Lake, hour: datetime, clean: pl.DataFrame) -> list[DataFile]:
    """Rows of the hour itself, by device; rows of other hours apart, so that readers skip what they do not need."""
    table = lake.table(CLEAN_READINGS)
    in_hour = pl.col("timestamp_utc").is_between(hour, hour + HOUR, closed="left")

    def write(numbered: tuple[int, pl.DataFrame]) -> tuple[list[DataFile], pl.DataFrame]:
        number, part = numbered
        own = part.select(in_hour).to_series()
        whole = bool(own.all())
        files = table.write_files(part if whole else part.filter(own), f"h{hour:%H}-{number:03d}")
        return files, part.clear() if whole else part.filter(~own)

    with ThreadPoolExecutor(_WRITERS) as pool:  # one compresses while the other waits for its disk
        written = list(pool.map(write, enumerate(_parts(clean))))
    late = pl.concat([clean.clear(), *(rest for _, rest in written)])
    return [file for files, _ in written for file in files] + table.write_files(late, f"h{hour:%H}-late")


def _parts(clean: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Slices of about FILE_ROWS rows, never cut within a device."""
    device = clean["device_id"]
    starts = (device != device.shift(1)).fill_null(True).arg_true().to_numpy()
    wanted = np.arange(FILE_ROWS, clean.height, FILE_ROWS)
    at = np.searchsorted(starts, wanted)
    cuts = [0, *dict.fromkeys(starts[at[at < len(starts)]].tolist()), clean.height]
    for first, last in pairwise(cuts):
        if last > first:
            yield clean[first:last]


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
