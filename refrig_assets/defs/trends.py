"""The trends asset: what each device did over the 6 and 24 hours before an hour, one row a device-hour."""

import warnings
from typing import Any

import dagster as dg
import polars as pl

from refrig_assets.contracts.features import DEVICE_FEATURES
from refrig_assets.contracts.registry import DEVICE_REGISTRY
from refrig_assets.contracts.trends import DEVICE_TRENDS, TREND_NAMES
from refrig_assets.defs.automation import when_some_inputs_change
from refrig_assets.defs.metadata import PICTURES_PER_RUN, bar_picture, check_result, table_metadata
from refrig_assets.defs.partitions import hour_key, hourly, partition_starts
from refrig_assets.defs.resources import ClockResource, LakeResource
from refrig_assets.defs.retry import retried_if_transient
from refrig_assets.defs.specs import asset_spec, check_spec
from refrig_assets.lake import HOUR, Lake
from refrig_assets.monitoring.findings import completeness_finding, key_finding, schema_finding
from refrig_assets.pipeline.quality import active_devices
from refrig_assets.pipeline.trends import TrendReport, trend_hours
from refrig_assets.transforms.trends import LOOK_BACK_H

TRENDS = DEVICE_TRENDS.name
COMPLETENESS_LEVEL = 0.99
# The look-back ends before the hour itself; the first hours of a plant have less of it.
with warnings.catch_warnings():
    warnings.simplefilter("ignore", dg.BetaWarning)  # the last of these parameters; without it the first day fails
    _HOURS_BEFORE = dg.TimeWindowPartitionMapping(
        start_offset=-LOOK_BACK_H, end_offset=-1, allow_nonexistent_upstream_partitions=True
    )


@dg.multi_asset(
    name=TRENDS,
    specs=[
        asset_spec(
            DEVICE_TRENDS,
            deps=[dg.AssetDep(DEVICE_FEATURES.name, partition_mapping=_HOURS_BEFORE)],
            condition=when_some_inputs_change(),
            partitions=hourly,
        )
    ],
    check_specs=[
        check_spec(TRENDS, "schema", "The table has the columns and types of its contract.", blocking=True),
        check_spec(TRENDS, "key", "One row a device and hour.", blocking=True),
        check_spec(TRENDS, "completeness", "At least 99 % of active devices in every hour that has a day before it."),
    ],
    partitions_def=hourly,
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool=TRENDS,
)
def device_trends(context: dg.AssetExecutionContext, lake: LakeResource, clock: ClockResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Means over the windows of the hours before. A range of hours reads each hour of windows once."""
    hours = partition_starts(context)
    reports: list[TrendReport] = []
    with retried_if_transient(context):
        for report in trend_hours(lake.lake, hours, clock.now):
            reports.append(report)
            pictures = len(reports) > len(hours) - PICTURES_PER_RUN
            context.add_asset_metadata(
                _metadata(lake.lake, report, pictures), asset_key=TRENDS, partition_key=hour_key(report.hour)
            )
            told = "as it was" if report.unchanged else f"{report.rows:,} devices"
            context.log.info(f"{hour_key(report.hour)}  {told} ({len(reports)}/{len(hours)})")
    return dg.MaterializeResult(asset_key=TRENDS, check_results=_check_results(lake.lake, reports))


def _check_results(lake: Lake, reports: list[TrendReport]) -> list[dg.AssetCheckResult]:
    table = lake.table(DEVICE_TRENDS)
    rows = table.scan(reports[0].hour, reports[-1].hour + HOUR)
    active = active_devices(lake.table(DEVICE_REGISTRY).read()).height
    # An hour with nothing before it, as a plant's first, is expected to have no trends.
    by_hour = {hour_key(r.hour): r.rows for r in reports if r.rows}
    expected = active if by_hour else 0
    findings = [
        schema_finding(DEVICE_TRENDS, table.columns()),
        key_finding(DEVICE_TRENDS, rows),
        completeness_finding("completeness", by_hour, expected, COMPLETENESS_LEVEL, "active devices an hour"),
    ]
    return [check_result(f, TRENDS) for f in findings]


def _metadata(lake: Lake, report: TrendReport, pictures: bool) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "dagster/partition_row_count": report.rows,
        "hours_read": report.hours_read,
        "unchanged": report.unchanged,
        "bytes_written": report.bytes,
        "seconds": round(sum(report.seconds.values()), 2),
        **table_metadata(lake.table(DEVICE_TRENDS), report.version),
    }
    if pictures and report.rows:
        rows = lake.table(DEVICE_TRENDS).scan(report.hour, report.hour + HOUR)
        there = rows.select(pl.col(n).is_not_null().mean() * 100 for n in TREND_NAMES if n.endswith("_24h")).collect()
        metadata["known_trends"] = bar_picture(
            {n.removesuffix("_24h"): float(v) for n, v in there.row(0, named=True).items()},
            "devices with a value over 24 h",
            "%",
            horizontal=True,
        )
    return metadata
