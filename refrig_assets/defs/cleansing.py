"""The clean asset: one row an event, oddities flagged, unknown devices set aside."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import dagster as dg
import polars as pl

from refrig_assets.contracts.readings import CLEAN_READINGS, QUARANTINE_READINGS
from refrig_assets.contracts.registry import DEVICE_REGISTRY
from refrig_assets.defs.automation import when_inputs_change
from refrig_assets.defs.metadata import PICTURES_PER_RUN, bar_picture, check_result, counts_table, table_metadata
from refrig_assets.defs.partitions import hour_key, hourly, partition_starts
from refrig_assets.defs.resources import ClockResource, LakeResource
from refrig_assets.defs.retry import retried_if_transient
from refrig_assets.defs.specs import asset_spec, check_spec
from refrig_assets.lake import HOUR, Lake
from refrig_assets.monitoring.findings import (
    completeness_finding,
    conservation_finding,
    key_finding,
    presence_finding,
    range_finding,
    rate_finding,
    schema_finding,
)
from refrig_assets.pipeline.clean import CleanReport, clean_hours
from refrig_assets.pipeline.quality import active_devices, counted_hours

CLEAN, QUARANTINE = CLEAN_READINGS.name, QUARANTINE_READINGS.name
QUARANTINE_LIMIT = 0.01
COMPLETENESS_LEVEL = 0.95


@dg.multi_asset(
    name=CLEAN,
    specs=[
        asset_spec(
            CLEAN_READINGS,
            deps=["raw_sensor_readings", "device_registry"],
            condition=when_inputs_change(),
            partitions=hourly,
        ),
        asset_spec(QUARANTINE_READINGS, deps=["raw_sensor_readings", "device_registry"], partitions=hourly),
    ],
    check_specs=[
        check_spec(CLEAN, "schema", "The table has the columns and types of its contract.", blocking=True),
        check_spec(CLEAN, "key", "Each event once in the hours made.", blocking=True),
        check_spec(CLEAN, "ranges", "No value outside its range, no null where none may be.", blocking=True),
        check_spec(
            CLEAN, "conservation", "raw = clean + duplicates + quarantined + dead-lettered, to the row.", blocking=True
        ),
        check_spec(CLEAN, "completeness", "Active devices reported as often as their interval promises."),
        check_spec(CLEAN, "zero_rows", "An hour in which devices are expected to report has rows."),
        check_spec(QUARANTINE, "quarantine_rate", "At most 1 % of rows are of devices the registry does not know."),
    ],
    partitions_def=hourly,
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool=CLEAN,
)
def clean_sensor_readings(
    context: dg.AssetExecutionContext, lake: LakeResource, clock: ClockResource
) -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg]
    """Make the clean partition of each hour from what raw holds now; the same raw rows give the same partition."""
    the_lake, hours = lake.lake, partition_starts(context)
    reports: list[CleanReport] = []
    made = clean_hours(the_lake, hours)
    for number, hour in enumerate(hours, start=1):
        with retried_if_transient(context):
            report = next(made)
        reports.append(report)
        pictures = number > len(hours) - PICTURES_PER_RUN
        key = hour_key(hour)
        context.add_asset_metadata(_clean_metadata(the_lake, report, pictures), asset_key=CLEAN, partition_key=key)
        context.add_asset_metadata(
            {
                "dagster/partition_row_count": report.accounts["quarantined"],
                **table_metadata(the_lake.table(QUARANTINE_READINGS)),
            },
            asset_key=QUARANTINE,
            partition_key=key,
        )
        context.log.info(
            f"{hour:%Y-%m-%d %H}:00  "
            + ", ".join(f"{n:,} {k}" for k, n in report.accounts.items())
            + f" ({number}/{len(hours)})"
        )
    rows = the_lake.table(CLEAN_READINGS).scan(hours[0], hours[-1] + HOUR)
    yield dg.MaterializeResult(asset_key=CLEAN, check_results=_clean_checks(the_lake, rows, reports, clock.now))
    quarantined, whole = (sum(r.accounts[k] for r in reports) for k in ("quarantined", "raw"))
    yield dg.MaterializeResult(
        asset_key=QUARANTINE,
        check_results=[
            check_result(
                rate_finding(
                    "quarantine_rate",
                    quarantined,
                    whole,
                    QUARANTINE_LIMIT,
                    "rows are of unknown devices",
                    sample=_unknown_devices(the_lake, hours[0], hours[-1] + HOUR),
                    severe=False,
                ),
                QUARANTINE,
            )
        ],
    )


def _clean_checks(
    lake: Lake, rows: pl.LazyFrame, reports: list[CleanReport], now: datetime
) -> list[dg.AssetCheckResult]:
    expected_rows, any_active = _expected_rows(lake)
    accounts = counted_hours(lake, [r.hour for r in reports])
    closed = {hour_key(r.hour): r.accounts["clean"] for r in reports if r.hour + HOUR <= now}
    findings = [
        schema_finding(CLEAN_READINGS, lake.table(CLEAN_READINGS).columns()),
        key_finding(CLEAN_READINGS, rows),
        range_finding(CLEAN_READINGS, rows),
        conservation_finding({hour_key(hour): counted for hour, counted in accounts.items()}),
        completeness_finding("completeness", closed, int(expected_rows), COMPLETENESS_LEVEL, "rows an hour"),
        presence_finding({hour_key(r.hour): r.accounts["clean"] for r in reports}, any_active),
    ]
    return [check_result(f, CLEAN) for f in findings]


def _expected_rows(lake: Lake) -> tuple[float, bool]:
    active = active_devices(lake.table(DEVICE_REGISTRY).read())
    return float((3600 / active["expected_interval_s"]).sum()), not active.is_empty()


def _clean_metadata(lake: Lake, report: CleanReport, pictures: bool) -> dict[str, Any]:
    late = {f"{h:%Y-%m-%d %H}:00": n for h, n in report.rows_by_event_hour.items() if h != report.hour}
    metadata: dict[str, Any] = {
        "dagster/partition_row_count": report.accounts["clean"],
        "devices": report.devices,
        "accounts": counts_table(report.accounts),
        "flags": counts_table(report.flags, "flag"),
        "late_rows": report.late_rows,
        "late_rows_by_hour": counts_table(late, "hour measured"),
        "bytes_written": report.bytes,
        "seconds": round(sum(report.seconds.values()), 2),
        **table_metadata(lake.table(CLEAN_READINGS), report.version),
    }
    if pictures and report.flags:
        metadata["flags_picture"] = bar_picture(report.flags, "rows by quality flag", "rows", horizontal=True)
    return metadata


def _unknown_devices(lake: Lake, start: datetime, end: datetime) -> list[dict[str, Any]]:
    rows = lake.table(QUARANTINE_READINGS).scan(start, end).group_by("device_id").len("rows")
    return rows.sort("rows", "device_id", descending=[True, False]).head(20).collect().to_dicts()
