"""The daily quality asset: what arrived, what became of it, how complete it was."""

from collections.abc import Mapping
from typing import Any

import dagster as dg
import polars as pl

from refrig_assets.contracts.bookkeeping import DATA_QUALITY_DAILY
from refrig_assets.contracts.sensors import SENSOR_NAMES
from refrig_assets.defs.automation import each_day
from refrig_assets.defs.metadata import bar_picture, check_result, counts_table, records_table, table_metadata
from refrig_assets.defs.partitions import daily, day_key, partition_starts
from refrig_assets.defs.resources import LakeResource
from refrig_assets.defs.retry import retried_if_transient
from refrig_assets.defs.specs import asset_spec, check_spec
from refrig_assets.monitoring.findings import Finding
from refrig_assets.pipeline.quality import write_quality_day

QUALITY = DATA_QUALITY_DAILY.name
LANDED_LEVEL = 0.995


@dg.multi_asset(
    name=QUALITY,
    specs=[
        asset_spec(
            DATA_QUALITY_DAILY,
            deps=[
                dg.AssetDep(name, partition_mapping=dg.TimeWindowPartitionMapping())
                for name in ("raw_sensor_readings", "clean_sensor_readings")
            ],
            condition=each_day(),
            partitions=daily,
        )
    ],
    check_specs=[check_spec(QUALITY, "landed", "At least 99.5 % of what was sent lands, counted daily.")],
    partitions_def=daily,
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool=QUALITY,
)
def data_quality_daily(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """One row a day."""
    rows = []
    for day in partition_starts(context):
        with retried_if_transient(context):
            row = write_quality_day(lake.lake, day).row(0, named=True)
        rows.append(row)
        context.add_asset_metadata(_metadata(row), asset_key=QUALITY, partition_key=day_key(day))
    table = lake.lake.table(DATA_QUALITY_DAILY)
    recent = table.read().sort("day").tail(14)
    return dg.MaterializeResult(
        asset_key=QUALITY,
        metadata={
            "last_days": records_table(
                recent.select(
                    "day",
                    "raw_rows",
                    "clean_rows",
                    "duplicate_rows",
                    "quarantined_rows",
                    "dead_letters",
                    "late_rows",
                    pl.col("completeness").round(4),
                ).to_dicts()
            ),
            **table_metadata(table),
        },
        check_results=[check_result(_landed(rows), QUALITY)],
    )


def _landed(rows: list[dict[str, Any]]) -> Finding:
    short = [
        {"day": str(r["day"]), "landed": round(r["landed_fraction"], 5)}
        for r in rows
        if r["landed_fraction"] < LANDED_LEVEL
    ]
    least = min((r["landed_fraction"] for r in rows), default=1.0)
    return Finding(
        "landed",
        not short,
        f"at least {least:.3%} of a day's messages landed (promised {LANDED_LEVEL:.1%})",
        {"days": len(rows), "short_days": len(short)},
        short[:20],
    )


def _metadata(row: Mapping[str, Any]) -> dict[str, Any]:
    counts = {
        k: row[k]
        for k in (
            "messages",
            "raw_rows",
            "clean_rows",
            "duplicate_rows",
            "quarantined_rows",
            "dead_letters",
            "late_rows",
        )
    }
    flags = {k.removeprefix("flag_"): v for k, v in row.items() if k.startswith("flag_")}
    nulls = {s: row[f"null_rate_{s}"] * 100 for s in SENSOR_NAMES}
    return {
        "accounts": counts_table(counts),
        "flags": counts_table(flags, "flag"),
        "completeness": row["completeness"],
        "devices": f"{row['devices_reporting']:,} of {row['devices_active']:,} active",
        "hours_present": row["hours_present"],
        "null_rates": bar_picture(nulls, "missing values by sensor", "%", horizontal=True),
    }
