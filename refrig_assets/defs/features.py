"""The feature assets: hourly (15 and 60 minutes) and daily (1,440 minutes) windows, in one table."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import dagster as dg
import polars as pl

from refrig_assets.contracts.features import DAILY_WINDOW_MIN, DEVICE_FEATURES, HOURLY_WINDOWS_MIN
from refrig_assets.contracts.registry import DEVICE_REGISTRY
from refrig_assets.defs.automation import each_day, when_inputs_change
from refrig_assets.defs.metadata import PICTURES_PER_RUN, bar_picture, check_result, counts_table, table_metadata
from refrig_assets.defs.partitions import daily, day_key, hour_key, hourly, partition_starts
from refrig_assets.defs.resources import ClockResource, LakeResource
from refrig_assets.defs.retry import retried_if_transient
from refrig_assets.defs.specs import asset_spec, check_spec
from refrig_assets.lake import HOUR, Lake
from refrig_assets.monitoring.findings import (
    alignment_finding,
    completeness_finding,
    key_finding,
    presence_finding,
    range_finding,
    schema_finding,
)
from refrig_assets.pipeline.features import FeatureReport, feature_day, feature_hours
from refrig_assets.pipeline.quality import active_devices

HOURLY, DAILY = DEVICE_FEATURES.name, f"{DEVICE_FEATURES.name}_daily"
COMPLETENESS_LEVEL = 0.99


def _checks(asset: str) -> list[dg.AssetCheckSpec]:
    return [
        check_spec(asset, "schema", "The table has the columns and types of its contract.", blocking=True),
        check_spec(asset, "key", "One row a device, window start and length.", blocking=True),
        check_spec(asset, "window_alignment", "Windows are tumbling and aligned to the clock.", blocking=True),
        check_spec(asset, "ranges", "Derived features lie where they should; warns, never stops."),
        check_spec(asset, "completeness", "At least 99 % of active devices in every closed window."),
        check_spec(asset, "zero_rows", "A partition in which devices are expected to report has rows."),
    ]


@dg.multi_asset(
    name=HOURLY,
    specs=[
        asset_spec(DEVICE_FEATURES, deps=["clean_sensor_readings"], condition=when_inputs_change(), partitions=hourly)
    ],
    check_specs=_checks(HOURLY),
    partitions_def=hourly,
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool=HOURLY,
)
def device_features(
    context: dg.AssetExecutionContext, lake: LakeResource, clock: ClockResource
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Windows of every clean row measured in the hour, whichever hour it arrived in; open windows wait."""
    now = clock.now
    return _make(
        context,
        lake.lake,
        HOURLY,
        feature_hours(lake.lake, partition_starts(context), now),
        hour_key,
        HOURLY_WINDOWS_MIN,
        now,
    )


@dg.multi_asset(
    name=DAILY,
    specs=[
        asset_spec(
            DEVICE_FEATURES,
            key=DAILY,
            deps=[dg.AssetDep("clean_sensor_readings", partition_mapping=dg.TimeWindowPartitionMapping())],
            condition=each_day(),
            partitions=daily,
            description="The 1,440-minute windows of device_features, one a device and day, in the same table.",
        )
    ],
    check_specs=_checks(DAILY),
    partitions_def=daily,
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool=HOURLY,
)
def device_features_daily(
    context: dg.AssetExecutionContext, lake: LakeResource, clock: ClockResource
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """One window a device and day, made a share of the devices at a time."""
    made = (feature_day(lake.lake, day) for day in partition_starts(context))
    return _make(context, lake.lake, DAILY, made, day_key, (DAILY_WINDOW_MIN,), clock.now)


def _make(
    context: dg.AssetExecutionContext,
    lake: Lake,
    asset: str,
    made: Iterator[FeatureReport],
    key: Callable[[datetime], str],
    minutes: tuple[int, ...],
    now: datetime,
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    starts = partition_starts(context)
    length = timedelta(days=1) if DAILY_WINDOW_MIN in minutes else HOUR
    reports = []
    for number, start in enumerate(starts, start=1):
        with retried_if_transient(context):
            report = next(made)
        reports.append(report)
        pictures = number > len(starts) - PICTURES_PER_RUN
        context.add_asset_metadata(_metadata(lake, report, pictures), asset_key=asset, partition_key=key(start))
        context.log.info(
            f"{key(start)}  {report.rows:,} windows of {report.devices:,} devices ({number}/{len(starts)})"
        )
    return dg.MaterializeResult(
        asset_key=asset, check_results=_check_results(lake, asset, reports, key, minutes, starts[-1] + length, now)
    )


def _check_results(
    lake: Lake,
    asset: str,
    reports: list[FeatureReport],
    key: Callable[[datetime], str],
    minutes: tuple[int, ...],
    end: datetime,
    now: datetime,
) -> list[dg.AssetCheckResult]:
    table = lake.table(DEVICE_FEATURES)
    rows = table.scan(reports[0].start, end).filter(pl.col("window_duration_minutes").is_in(minutes))
    active = active_devices(lake.table(DEVICE_REGISTRY).read()).height
    closed = end <= now
    by_window = {f"{key(r.start)} {w}": n for r in reports for w, n in r.devices_by_window.items()}
    findings = [
        schema_finding(DEVICE_FEATURES, table.columns()),
        key_finding(DEVICE_FEATURES, rows),
        alignment_finding(rows),
        range_finding(DEVICE_FEATURES, rows, severe=False),
        completeness_finding("completeness", by_window, active, COMPLETENESS_LEVEL, "active devices a window"),
        presence_finding({key(r.start): r.rows for r in reports}, bool(active) and closed),
    ]
    return [check_result(f, asset) for f in findings]


def _metadata(lake: Lake, report: FeatureReport, pictures: bool) -> dict[str, Any]:
    arrived = {f"{h:%Y-%m-%d %H}:00": n for h, n in report.source_rows.items()}
    metadata: dict[str, Any] = {
        "dagster/partition_row_count": report.rows,
        "devices": report.devices,
        "late_rows_used": report.late_rows,
        "clean_rows_by_hour_of_arrival": counts_table(arrived, "hour of arrival"),
        "bytes_written": report.bytes,
        "seconds": round(sum(report.seconds.values()), 2),
        **table_metadata(lake.table(DEVICE_FEATURES), report.version),
    }
    if pictures and report.devices_by_window:
        metadata["devices_by_window"] = bar_picture(
            report.devices_by_window, "devices by window (start / minutes)", "devices", horizontal=True
        )
    return metadata
