"""Every data contract, once. Dtypes, validation, metadata and documentation all come from here."""

from refrig_assets.contracts.alerts import ALERT_BOARD, DEVICE_ALERTS
from refrig_assets.contracts.base import Contract, ContractError, Violation
from refrig_assets.contracts.bookkeeping import (
    DATA_QUALITY_DAILY,
    DEVICE_HOURS,
    EVENT_INDEX,
    HOUR_ACCOUNTS,
    LANDING_LOG,
)
from refrig_assets.contracts.features import DEVICE_FEATURES, FEATURE_BASELINES
from refrig_assets.contracts.modelling import (
    LABEL_EVENTS,
    MAINTENANCE_EVENTS,
    MODEL_INPUT,
    MODEL_SCORES,
    SUGGESTED_THRESHOLDS,
    TRAINING_DATA,
)
from refrig_assets.contracts.operations import ALERT_MUTES, INCIDENTS, NOTIFICATIONS, WORK_ORDERS
from refrig_assets.contracts.readings import CLEAN_READINGS, DEAD_LETTER, QUARANTINE_READINGS, RAW_READINGS
from refrig_assets.contracts.registry import DEVICE_REGISTRY
from refrig_assets.contracts.scoring import CANARY_REPORTS, SCORE_QUALITY
from refrig_assets.contracts.trends import DEVICE_TRENDS

CONTRACTS: tuple[Contract, ...] = (
    DEVICE_REGISTRY,
    RAW_READINGS,
    DEAD_LETTER,
    CLEAN_READINGS,
    QUARANTINE_READINGS,
    DEVICE_FEATURES,
    DEVICE_TRENDS,
    FEATURE_BASELINES,
    TRAINING_DATA,
    SUGGESTED_THRESHOLDS,
    MODEL_INPUT,
    MODEL_SCORES,
    SCORE_QUALITY,
    CANARY_REPORTS,
    DEVICE_ALERTS,
    ALERT_BOARD,
    INCIDENTS,
    WORK_ORDERS,
    ALERT_MUTES,
    NOTIFICATIONS,
    LABEL_EVENTS,
    MAINTENANCE_EVENTS,
    LANDING_LOG,
    EVENT_INDEX,
    DEVICE_HOURS,
    HOUR_ACCOUNTS,
    DATA_QUALITY_DAILY,
)
BY_NAME: dict[str, Contract] = {c.name: c for c in CONTRACTS}

__all__ = [
    "ALERT_BOARD",
    "ALERT_MUTES",
    "BY_NAME",
    "CANARY_REPORTS",
    "CLEAN_READINGS",
    "CONTRACTS",
    "DATA_QUALITY_DAILY",
    "DEAD_LETTER",
    "DEVICE_ALERTS",
    "DEVICE_FEATURES",
    "DEVICE_HOURS",
    "DEVICE_REGISTRY",
    "DEVICE_TRENDS",
    "EVENT_INDEX",
    "FEATURE_BASELINES",
    "HOUR_ACCOUNTS",
    "INCIDENTS",
    "LABEL_EVENTS",
    "LANDING_LOG",
    "MAINTENANCE_EVENTS",
    "MODEL_INPUT",
    "MODEL_SCORES",
    "NOTIFICATIONS",
    "QUARANTINE_READINGS",
    "RAW_READINGS",
    "SCORE_QUALITY",
    "SUGGESTED_THRESHOLDS",
    "TRAINING_DATA",
    "WORK_ORDERS",
    "Contract",
    "ContractError",
    "Violation",
]
