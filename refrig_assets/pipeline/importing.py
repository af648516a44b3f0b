"""Bringing a plant's file into the landing directory: mapped, split by hour, the same files however often it is run.

First pass: chunks are mapped and put aside, unordered, in a hidden working folder. Second pass: hours are taken from
there, a bounded number of rows at a time, and written. Memory is bounded by the chunks and the fullest hour.
"""

import fcntl
import filecmp
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import polars as pl

from refrig_assets.contracts.base import TS
from refrig_assets.contracts.sensors import SENSOR_NAMES
from refrig_assets.pipeline.import_source import BLOCK_BYTES, CHUNK_ROWS, ImportFailedError, Progress, open_source
from refrig_assets.pipeline.sources import hour_folder
from refrig_assets.transforms.mapped import ROW, Memory, map_chunk, merge_points
from refrig_assets.transforms.mapping import Mapping, MappingError
from refrig_assets.transforms.mapping_report import MappingReport, ReportBuilder
from refrig_assets.transforms.mapping_toml import parse_mapping

GROUP_ROWS = 1_500_000
FILE_ROWS = 1_000_000
# Changes when the same source and mapping would give other files than an earlier release gave.
_SCHEME = b"refrig-import-1"
_HOUR = "_hour"


@dataclass
class ImportSummary:
    """What an import wrote, or with a dry run would write."""

    source: str
    identity: str
    report: MappingReport
    dry_run: bool
    rows: int = 0
    rejected: int = 0
    unreadable_lines: int = 0
    files: list[Path] = field(default_factory=list)
    unchanged: int = 0
    hours: list[datetime] = field(default_factory=list)
    future_hours: list[datetime] = field(default_factory=list)


def read_mapping(path: Path) -> Mapping:
    """A mapping.toml from disk."""
    try:
        return parse_mapping(path.read_text(encoding="utf-8-sig"), path.name)
    except FileNotFoundError as error:
        raise MappingError(f"{path}: there is no such mapping; docs/import.md shows how to write one") from error
    except UnicodeDecodeError as error:
        raise MappingError(f"{path.name} is not UTF-8 text (byte {error.start}); TOML must be") from error


def import_file(
    path: Path, mapping: Mapping, landing_dir: Path, *, dry_run: bool = False, progress: Progress | None = None,
    now: datetime | None = None, block_bytes: int = BLOCK_BYTES, chunk_rows: int = CHUNK_ROWS,
    group_rows: int = GROUP_ROWS,
) -> ImportSummary:  # fmt: skip
    """Map a file into landing files; with `dry_run` only look. With `now`, hours that lie ahead are named."""
    source = open_source(path, mapping.source, block_bytes, chunk_rows)
    mapping.check_columns(source.columns)
    identity = f"import-{_identity(path, mapping)}"
    builder = ReportBuilder(mapping, source.columns)
    counts: dict[datetime | None, int] = {}
    memory = Memory()
    with nullcontext(None) if dry_run else _working_folder(landing_dir, identity) as work:
        for number, chunk in enumerate(source.chunks(progress)):
            mapped = map_chunk(chunk, mapping, memory, identity)
            builder.add(mapped)
            spill = mapped.rows.with_columns(pl.col("timestamp_ingested").dt.truncate("1h").alias(_HOUR))
            for hour, rows in spill[_HOUR].value_counts().iter_rows():
                counts[hour] = counts.get(hour, 0) + rows
            if work is not None:
                spill.write_parquet(work / f"{number:06d}.parquet", compression="lz4")
        summary = ImportSummary(
            path.name, identity, builder.finish(), dry_run, unreadable_lines=source.unreadable_lines
        )
        if not summary.report.source_rows:
            raise ImportFailedError(f"{path.name} has columns but no rows: there is nothing to import")
        _check_times(summary.report, mapping)
        summary.hours = sorted(h for h in counts if h is not None)
        summary.future_hours = [h for h in summary.hours if now is not None and h > now]
        if work is not None:
            _write_hours(work, landing_dir, mapping, counts, summary, group_rows)
        else:
            summary.rejected = builder.rejected
            summary.rows = summary.report.readings
    return summary


def _identity(path: Path, mapping: Mapping) -> str:
    """Names the files of this source under this mapping, wherever and however the two are called."""
    digest = hashlib.sha256(_SCHEME)
    # What only the registry is told does not change the readings.
    digest.update(repr(replace(mapping, device_defaults={}, interval_s=1)).encode())
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:12]


def _check_times(report: MappingReport, mapping: Mapping) -> None:
    if report.source_rows and report.first is None:
        where = " and ".join(repr(c) for c in mapping.timestamp.columns)
        raise MappingError(
            f"no row has a device and a time that can be read ({report.source_rows:,} rows, "
            f"{report.without_device:,} of the mapped ones without a device, {report.without_time:,} without a time): "
            f"does format = {mapping.timestamp.format!r} fit what stands in {where}?"
        )


@contextmanager
def _working_folder(landing: Path, identity: str) -> Iterator[Path]:
    """A hidden folder of this import's own. What a killed run left is cleared; a running one is respected."""
    landing.mkdir(parents=True, exist_ok=True)
    work = landing / f".tmp-{identity}"
    with (landing / f".tmp-{identity}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ImportFailedError("this file is being imported by another process right now; wait for it") from None
        shutil.rmtree(work, ignore_errors=True)
        for left in landing.glob(f"*/*/.tmp-{identity}-*"):
            left.unlink(missing_ok=True)
        work.mkdir()
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)
            Path(lock.name).unlink(missing_ok=True)


def _write_hours(
    work: Path, landing: Path, mapping: Mapping, counts: dict[datetime | None, int], summary: ImportSummary,
    group_rows: int,
) -> None:  # fmt: skip
    """Take the hours in order, several at once as long as they are small, and write each one's files."""
    spilled = pl.scan_parquet(sorted(work.glob("*.parquet")), glob=False)
    # Rows without any time cannot choose an hour: they go with the first one.
    homeless = counts.pop(None, 0)
    for number, hours in enumerate(_groups(counts, group_rows)):
        wanted = pl.col(_HOUR).is_between(pl.lit(hours[0], dtype=TS), pl.lit(hours[-1], dtype=TS))
        if number == 0 and homeless:
            wanted = wanted | pl.col(_HOUR).is_null()
        rows = spilled.filter(wanted).collect()
        if mapping.long:
            merged = merge_points(rows.drop(_HOUR))
            rows = merged.with_columns(pl.col("timestamp_ingested").dt.truncate("1h").alias(_HOUR))
        rows = rows.with_columns(pl.col(_HOUR).fill_null(hours[0])).sort(_HOUR, ROW)
        for hour, part in rows.partition_by(_HOUR, as_dict=True, maintain_order=True).items():
            _write_hour(part, landing, hour[0], mapping, summary)


def _groups(counts: dict[datetime | None, int], group_rows: int) -> Iterator[list[datetime]]:
    group: list[datetime] = []
    size = 0
    for hour in sorted(h for h in counts if h is not None):
        if group and size + counts[hour] > group_rows:
            yield group
            group, size = [], 0
        group.append(hour)
        size += counts[hour]
    if group:
        yield group


def _write_hour(rows: pl.DataFrame, landing: Path, hour: datetime, mapping: Mapping, summary: ImportSummary) -> None:
    sensors = [n for n in SENSOR_NAMES if n in {s.sensor.name for s in mapping.sensors}]
    columns = ["event_id", "device_id", "timestamp_device", "timestamp_ingested", *sensors]
    folder = hour_folder(landing, hour)
    folder.mkdir(parents=True, exist_ok=True)
    whole = rows["device_id"].is_not_null() & rows["timestamp_device"].is_not_null()
    summary.rows += int(whole.sum())
    summary.rejected += int((~whole).sum())
    for part, start in enumerate(range(0, rows.height, FILE_ROWS)):
        target = folder / f"{summary.identity}-{part:03d}.parquet"
        half = folder / f".tmp-{target.name}"
        rows.slice(start, FILE_ROWS).select(columns).rechunk().write_parquet(half, compression="zstd")
        summary.files.append(target)
        if target.exists() and filecmp.cmp(half, target, shallow=False):
            half.unlink()  # untouched, so that nobody takes it for new
            summary.unchanged += 1
        else:
            _settle(half, target)


def _settle(half: Path, target: Path) -> None:
    """Make the file appear whole, also after a power cut."""
    with half.open("rb") as stream:
        os.fsync(stream.fileno())
    os.replace(half, target)
