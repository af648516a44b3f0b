"""Jobs: the chains that schedules and sensors start, and the upkeep of tables."""

from typing import Any

import dagster as dg

from refrig_assets.contracts import ALERT_BOARD, CONTRACTS, DEVICE_ALERTS, INCIDENTS, WORK_ORDERS
from refrig_assets.contracts.scoring import (
    CANARY_REPORTS,
    DAILY_DETECTORS,
    DETECTORS,
    HOURLY_DETECTORS,
    RULES_FALLBACK,
    SCORE_QUALITY,
    THRESHOLD_BASELINE,
)
from refrig_assets.defs.baselines import BASELINES, THRESHOLDS
from refrig_assets.defs.freshness import JUDGED, WATCHED
from refrig_assets.defs.metadata import records_table
from refrig_assets.defs.reports import DIGEST, REPORT
from refrig_assets.defs.resources import ClockResource, LakeResource
from refrig_assets.defs.score_quality import CLOCK_CHECKS
from refrig_assets.defs.scoring import asset_of
from refrig_assets.defs.training import DATA, trained_asset_of
from refrig_assets.monitoring.stream import CHECK, LIMITS
from refrig_assets.pipeline.upkeep import keep_up

HOURLY_ASSETS = dg.AssetSelection.assets(
    "raw_sensor_readings",
    "dead_letter",
    "clean_sensor_readings",
    "quarantine_sensor_readings",
    "device_features",
    "device_trends",
)
CLEAN_ASSETS = dg.AssetSelection.assets("clean_sensor_readings", "quarantine_sensor_readings", "device_features")
FEATURE_ASSETS = dg.AssetSelection.assets("device_features")
TREND_ASSETS = dg.AssetSelection.assets("device_trends")
DAILY_ASSETS = dg.AssetSelection.assets("device_features_daily", "data_quality_daily")
SCORE_ASSETS = dg.AssetSelection.assets(*(asset_of(m) for m in HOURLY_DETECTORS))
ALL_SCORE_ASSETS = dg.AssetSelection.assets(*(asset_of(m) for m in DETECTORS))
TRAINED_WEEKLY = dg.AssetSelection.assets(DATA, BASELINES, THRESHOLDS, *(trained_asset_of(m) for m in HOURLY_DETECTORS))
TRAINED_MONTHLY = dg.AssetSelection.assets(DATA, *(trained_asset_of(m) for m in DAILY_DETECTORS))


_BY_THE_CLOCK = (
    dg.AssetSelection.checks(
        *(dg.AssetCheckKey(dg.AssetKey(contract.name), "freshness") for contract in WATCHED),
        *(dg.AssetCheckKey(dg.AssetKey(table), CHECK) for table in LIMITS),
        dg.AssetCheckKey(dg.AssetKey(DEVICE_ALERTS.name), JUDGED),
    )
    | CLOCK_CHECKS
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
trends_job = dg.define_asset_job(
    "trends",
    _without_clock(TREND_ASSETS),
    description="Make the trends of hours again, whose windows have changed since.",
    executor_def=dg.in_process_executor,
)
scores_job = dg.define_asset_job(
    "scores",
    _without_clock(SCORE_ASSETS),
    description="The hourly detectors over an hour's closed windows. One failing does not stop the other.",
    executor_def=dg.in_process_executor,
)
all_scores_job = dg.define_asset_job(
    "scores_all",
    _without_clock(ALL_SCORE_ASSETS),
    description="All four detectors over the same windows. One failing does not stop the others.",
    executor_def=dg.in_process_executor,
)
score_jobs = [
    dg.define_asset_job(
        f"score_{model_id}",
        _without_clock(dg.AssetSelection.assets(asset_of(model_id))),
        description=f"{model_id} alone, over any hours and, by its configuration, any devices.",
        executor_def=dg.in_process_executor,
    )
    for model_id in DETECTORS
]
fallback_job = dg.define_asset_job(
    "fallback",
    _without_clock(dg.AssetSelection.assets(RULES_FALLBACK)),
    description="Rules on features, for when the models are silent.",
    executor_def=dg.in_process_executor,
)
limits_job = dg.define_asset_job(
    "limits",
    _without_clock(dg.AssetSelection.assets(THRESHOLD_BASELINE)),
    description="Limits on single features, as a baseline to compare the models with.",
    executor_def=dg.in_process_executor,
)
score_quality_job = dg.define_asset_job(
    "judge_scores",
    dg.AssetSelection.assets(SCORE_QUALITY.name),
    description="Flag rates, steadiness and agreement of an hour's scores.",
    executor_def=dg.in_process_executor,
)
canary_job = dg.define_asset_job(
    "canary",
    dg.AssetSelection.assets(CANARY_REPORTS.name),
    description="New versions beside their champions over the same windows.",
    executor_def=dg.in_process_executor,
)
train_all_job = dg.define_asset_job(
    "train_all",
    TRAINED_WEEKLY | TRAINED_MONTHLY,
    description="Training data up to a day's end, all four detectors on it, baselines and suggested thresholds.",
    executor_def=dg.in_process_executor,
)
train_weekly_job = dg.define_asset_job(
    "train_weekly",
    TRAINED_WEEKLY,
    description="Training data, the detectors that score each hour, baselines and suggested thresholds.",
    executor_def=dg.in_process_executor,
)
train_monthly_job = dg.define_asset_job(
    "train_monthly",
    TRAINED_MONTHLY,
    description="Training data and the detectors that score each day.",
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
    description="Judge how old the newest data is, whether the stream is alive, and whether new scores are judged.",
    executor_def=dg.in_process_executor,
)
alerts_job = dg.define_asset_job(
    "alerts",
    _without_clock(dg.AssetSelection.assets(DEVICE_ALERTS.name)),
    description="Alerts of hours that were scored: new, worse, sustained, resolved.",
    executor_def=dg.in_process_executor,
)
alert_board_job = dg.define_asset_job(
    "publish_alerts",
    dg.AssetSelection.assets(ALERT_BOARD.name, INCIDENTS.name, WORK_ORDERS.name),
    description="Escalate overdue alerts; publish the alert board, incidents and work orders from the log.",
    executor_def=dg.in_process_executor,
)
report_job = dg.define_asset_job(
    "report",
    dg.AssetSelection.assets(REPORT),
    description="The fleet's health in an hour, or in each of a range of hours.",
    executor_def=dg.in_process_executor,
)
digest_job = dg.define_asset_job(
    "digest",
    dg.AssetSelection.assets(DIGEST),
    description="The digest of a day, or of each of a range of days.",
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


jobs: list[Any] = [
    hourly_job,
    clean_job,
    features_job,
    trends_job,
    scores_job,
    all_scores_job,
    *score_jobs,
    fallback_job,
    limits_job,
    score_quality_job,
    canary_job,
    train_all_job,
    train_weekly_job,
    train_monthly_job,
    daily_job,
    registry_job,
    freshness_job,
    alerts_job,
    alert_board_job,
    report_job,
    digest_job,
    upkeep,
]
