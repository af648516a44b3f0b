"""The raw asset: lands an hour's files exactly once, compacts, indexes and counts."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import dagster as dg
import polars as pl

from refrig_assets.contracts.readings import DEAD_LETTER, DEAD_LETTER_LIMIT, RAW_READINGS
from refrig_assets.contracts.sensors import SENSOR_NAMES
from refrig_assets.defs.automation import each_hour
from refrig_assets.defs.metadata import PICTURES_PER_RUN, bar_picture, check_result, records_table, table_metadata
from refrig_assets.defs.partitions import hour_key, hourly, partition_starts
from refrig_assets.defs.resources import ClockResource, FilesResource, LakeResource
from refrig_assets.defs.retry import retried_if_transient
from refrig_assets.defs.specs import asset_spec, check_spec
from refrig_assets.lake import HOUR, Lake
from refrig_assets.monitoring.findings import presence_finding, rate_finding, schema_finding
from refrig_assets.pipeline.event_index import index_raw
from refrig_assets.pipeline.landing import land_batches
from refrig_assets.pipeline.landing_report import LandingReport

RAW, DEAD = RAW_READINGS.name, DEAD_LETTER.name


@dg.multi_asset(
    name=RAW,
    specs=[
        asset_spec(RAW_READINGS, condition=each_hour(), partitions=hourly, kinds={"polars", "deltalake", "json"}),
        asset_spec(DEAD_LETTER, partitions=hourly),
    ],
    check_specs=[
        check_spec(RAW, "schema", "The table has the columns and types of its contract.", blocking=True),
        check_spec(RAW, "zero_rows", "An hour in which devices are expected to report has rows."),
        check_spec(DEAD, "dead_letter_rate", "At most 0.1 % of an hour's messages are dead letters."),
    ],
    partitions_def=hourly,
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool=RAW,
)
def raw_sensor_readings(
    context: dg.AssetExecutionContext, lake: LakeResource, files: FilesResource, clock: ClockResource
) -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg]
    """Land what is new in the hour's landing folder; then index and count what the table holds, whoever wrote it."""
    the_lake, hours = lake.lake, partition_starts(context)
    rows: dict[str, int] = {}
    dead = messages = 0
    for number, report in enumerate(_landed(context, the_lake, files, hours, clock.now), start=1):
        hour = report.hour
        held = _hour_counts(the_lake, hour)
        rows[hour_key(hour)] = held["rows"]
        dead += held["dead_letters"]
        messages += held["rows"] + held["dead_letters"]
        for line in report.skipped:
            context.log.warning(f"left for the next run: {line}")
        pictures = number > len(hours) - PICTURES_PER_RUN
        context.add_asset_metadata(
            _raw_metadata(the_lake, hour, report, held, pictures), asset_key=RAW, partition_key=hour_key(hour)
        )
        context.add_asset_metadata(_dead_metadata(the_lake, hour, held), asset_key=DEAD, partition_key=hour_key(hour))
        context.log.info(
            f"{hour:%Y-%m-%d %H}:00  {report.rows:,} rows landed from {len(report.files)} files ({number}/{len(hours)})"
        )
    expected = _rows_expected(the_lake)
    columns = the_lake.table(RAW_READINGS).columns()
    sample = _dead_sample(the_lake, hours[0], hours[-1] + HOUR)
    yield dg.MaterializeResult(
        asset_key=RAW,
        check_results=[
            check_result(schema_finding(RAW_READINGS, columns), RAW),
            check_result(presence_finding(rows, expected), RAW),
        ],
    )
    yield dg.MaterializeResult(
        asset_key=DEAD,
        check_results=[
            check_result(
                rate_finding(
                    "dead_letter_rate", dead, messages, DEAD_LETTER_LIMIT, "messages are dead letters", sample=sample
                ),
                DEAD,
            )
        ],
    )


def _landed(
    context: dg.AssetExecutionContext, lake: Lake, files: FilesResource, hours: list[datetime], now: datetime
) -> Iterator[LandingReport]:
    """Land and index the hours, some at a time."""
    settle = timedelta(seconds=files.settle_seconds)
    with retried_if_transient(context):
        for reports in land_batches(lake, files.landing, hours, now, settle=settle):
            index_raw(lake, [report.hour for report in reports])
            yield from reports


def _hour_counts(lake: Lake, hour: datetime) -> dict[str, int]:
    end = hour + HOUR
    raw = lake.table(RAW_READINGS).scan(hour, end)
    counts = (
        raw.select(pl.len().alias("rows"), pl.col("device_id").n_unique().alias("devices")).collect().row(0, named=True)
    )
    letters = (
        lake.table(DEAD_LETTER).scan(hour, end).filter(pl.col("stage") != "clean").select(pl.len()).collect().item()
    )
    return {**counts, "dead_letters": int(letters)}


def _rows_expected(lake: Lake) -> bool:
    return not lake.table("device_registry").scan().filter(pl.col("status") == "active").head(1).collect().is_empty()


def _raw_metadata(
    lake: Lake, hour: datetime, report: LandingReport, held: dict[str, int], pictures: bool
) -> dict[str, Any]:
    files = [
        {
            "file": f.path,
            "outcome": f.outcome,
            "messages": f.messages,
            "rows": f.rows,
            "joined": f.joined,
            "dead_letters": f.dead,
            "unknown_fields": f.unknown_fields,
            "detail": f.detail or "",
        }
        for f in report.files[:50]
    ]
    metadata: dict[str, Any] = {
        "dagster/partition_row_count": held["rows"],
        "devices": held["devices"],
        "rows_landed_by_this_run": report.rows,
        "dead_letters": held["dead_letters"],
        "bytes_written": report.bytes,
        "rows_of_other_hours": sum(n for h, n in report.rows_by_hour.items() if h != hour),
        **table_metadata(lake.table(RAW_READINGS)),
    }
    if files:
        metadata["files"] = records_table(files)
    if pictures and held["rows"]:
        metadata |= _raw_pictures(lake, hour)
    return metadata


def _raw_pictures(lake: Lake, hour: datetime) -> dict[str, Any]:
    raw = lake.table(RAW_READINGS).scan(hour, hour + HOUR)
    minute = pl.col("timestamp_ingested").dt.minute().alias("minute")
    by_minute = dict(raw.group_by(minute).len().collect().iter_rows())
    nulls = raw.select(pl.col(s).is_null().mean() for s in SENSOR_NAMES).collect().row(0, named=True)
    return {
        "throughput": bar_picture(
            {f"{m:02d}": by_minute.get(m, 0) for m in range(60)}, "rows by minute of arrival", "rows"
        ),
        "null_rates": bar_picture(
            {s: nulls[s] * 100 for s in SENSOR_NAMES}, "missing values by sensor", "%", horizontal=True
        ),
    }


def _dead_metadata(lake: Lake, hour: datetime, held: dict[str, int]) -> dict[str, Any]:
    letters = lake.table(DEAD_LETTER).scan(hour, hour + HOUR)
    reasons = (
        letters.group_by("stage", pl.col("reason").str.slice(0, 80)).len("messages").sort("messages", descending=True)
    )
    found = reasons.head(20).collect().to_dicts()
    metadata: dict[str, Any] = {
        "dagster/partition_row_count": held["dead_letters"],
        **table_metadata(lake.table(DEAD_LETTER)),
    }
    return metadata | ({"reasons": records_table(found)} if found else {})


def _dead_sample(lake: Lake, start: datetime, end: datetime) -> list[dict[str, Any]]:
    letters = lake.table(DEAD_LETTER).scan(start, end).head(20)
    shown = letters.select("source_partition", "source_offset", "reason", pl.col("payload").str.slice(0, 120))
    return shown.collect().to_dicts()
