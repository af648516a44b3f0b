"""Jobs: the chains that schedules and sensors start, and the upkeep of tables."""

from typing import Any

import dagster as dg

from refrig_assets.contracts import CONTRACTS
from refrig_assets.defs.freshness import WATCHED
from refrig_assets.defs.metadata import records_table
from refrig_assets.defs.resources import ClockResource, LakeResource
from refrig_assets.monitoring.stream import CHECK, LIMITS
from refrig_assets.pipeline.upkeep import keep_up

HOURLY_ASSETS = dg.AssetSelection.assets(
    "raw_sensor_readings", "dead_letter", "clean_sensor_readings", "quarantine_sensor_readings", "device_features"
)
CLEAN_ASSETS = dg.AssetSelection.assets("clean_sensor_readings", "quarantine_sensor_readings", "device_features")
FEATURE_ASSETS = dg.AssetSelection.assets("device_features")
DAILY_ASSETS = dg.AssetSelection.assets("device_features_daily", "data_quality_daily")


_BY_THE_CLOCK = dg.AssetSelection.checks(
    *(dg.AssetCheckKey(dg.AssetKey(contract.name), "freshness") for contract in WATCHED),
    *(dg.AssetCheckKey(dg.AssetKey(table), CHECK) for table in LIMITS),
)


def _without_clock(selection: dg.AssetSelection) -> dg.AssetSelection:
    """Freshness and the stream's life are judged by the clock, not by a run over the past."""
    return selection - _BY_THE_CLOCK


hourly_job = dg.define_asset_job(
    "hourly",
    _without_clock(HOURLY_ASSETS),
    description="Land, clean and window an hour, or a range of hours in one run.",
    executor_def=dg.in_process_executor,
)
clean_job = dg.define_asset_job(
    "clean_and_features",
    _without_clock(CLEAN_ASSETS),
    description="Make clean hours and their windows again.",
    executor_def=dg.in_process_executor,
)
features_job = dg.define_asset_job(
    "features",
    _without_clock(FEATURE_ASSETS),
    description="Make the windows of hours again, for late rows.",
    executor_def=dg.in_process_executor,
)
daily_job = dg.define_asset_job(
    "daily",
    DAILY_ASSETS,
    description="Day windows and the day's data quality.",
    executor_def=dg.in_process_executor,
)
registry_job = dg.define_asset_job(
    "registry",
    dg.AssetSelection.assets("device_registry"),
    description="Read the device registry file again.",
    executor_def=dg.in_process_executor,
)
freshness_job = dg.define_asset_job(
    "freshness",
    _BY_THE_CLOCK,
    description="Judge how old the newest data is, and whether the stream is alive.",
    executor_def=dg.in_process_executor,
)
alert_board_job = dg.define_asset_job(
    "publish_alerts",
    dg.AssetSelection.assets("alert_board"),
    description="Escalate overdue alerts and publish the alert board from the log.",
    executor_def=dg.in_process_executor,
)


class UpkeepConfig(dg.Config):
    dry_run: bool = False
    """say what would be compacted, expired and removed; change nothing"""


@dg.op(pool="upkeep", description="Join small files, drop raw past 90 days, remove files no reader needs.")
def keep_tables_up(
    context: dg.OpExecutionContext, config: UpkeepConfig, lake: LakeResource, clock: ClockResource
) -> None:
    done = keep_up(lake.lake, clock.now, dry_run=config.dry_run)
    rows = [vars(u) for u in done]
    context.log.info(
        f"{sum(u.compacted_days for u in done)} days compacted, {sum(u.vacuumed_files for u in done)} files removed"
    )
    context.add_output_metadata(
        {"tables": records_table(rows), "dry_run": config.dry_run, "known_tables": len(CONTRACTS)}
    )


@dg.job(executor_def=dg.in_process_executor, description="Compaction, retention and vacuum of every table.")
def upkeep() -> None:
    keep_tables_up()


jobs: list[Any] = [hourly_job, clean_job, features_job, daily_job, registry_job, freshness_job, alert_board_job, upkeep]
