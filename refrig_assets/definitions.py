"""Assembles Definitions, nothing more."""

import dagster as dg

from refrig_assets.defs.alerts import alert_board
from refrig_assets.defs.baselines import feature_baselines, suggested_thresholds
from refrig_assets.defs.canary import canary_reports
from refrig_assets.defs.cleansing import clean_sensor_readings
from refrig_assets.defs.device_alerts import device_alerts
from refrig_assets.defs.fallback import rules_fallback, threshold_baseline
from refrig_assets.defs.features import device_features, device_features_daily
from refrig_assets.defs.freshness import checks
from refrig_assets.defs.incidents import incidents, work_orders
from refrig_assets.defs.ingestion import raw_sensor_readings
from refrig_assets.defs.jobs import jobs
from refrig_assets.defs.maintenance import maintenance_events, maintenance_job
from refrig_assets.defs.notify import notifications
from refrig_assets.defs.operators import operator_jobs
from refrig_assets.defs.quality import data_quality_daily
from refrig_assets.defs.reference import device_registry
from refrig_assets.defs.reports import day_digest, fleet_health
from refrig_assets.defs.resources import from_environment
from refrig_assets.defs.schedules import schedules
from refrig_assets.defs.score_quality import score_checks, score_quality
from refrig_assets.defs.scoring import score_assets
from refrig_assets.defs.sensors import sensors
from refrig_assets.defs.stream import stream_checks
from refrig_assets.defs.training import training_assets
from refrig_assets.defs.trends import device_trends

defs = dg.Definitions(
    assets=[
        device_registry,
        raw_sensor_readings,
        clean_sensor_readings,
        device_features,
        device_features_daily,
        device_trends,
        *training_assets,
        feature_baselines,
        suggested_thresholds,
        maintenance_events,
        data_quality_daily,
        *score_assets,
        rules_fallback,
        threshold_baseline,
        score_quality,
        canary_reports,
        device_alerts,
        alert_board,
        notifications,
        incidents,
        work_orders,
        fleet_health,
        day_digest,
    ],
    asset_checks=[*checks, *stream_checks, *score_checks],
    jobs=[*jobs, maintenance_job, *operator_jobs],
    schedules=schedules,
    sensors=sensors,
    resources=from_environment(),
)
