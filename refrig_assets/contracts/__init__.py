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
    TRAINING_DATA,
)
from refrig_assets.contracts.readings import CLEAN_READINGS, DEAD_LETTER, QUARANTINE_READINGS, RAW_READINGS
from refrig_assets.contracts.registry import DEVICE_REGISTRY

CONTRACTS: tuple[Contract, ...] = (
    DEVICE_REGISTRY,
    RAW_READINGS,
    DEAD_LETTER,
    CLEAN_READINGS,
    QUARANTINE_READINGS,
    DEVICE_FEATURES,
    FEATURE_BASELINES,
    TRAINING_DATA,
    MODEL_INPUT,
    MODEL_SCORES,
    DEVICE_ALERTS,
    ALERT_BOARD,
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
    "BY_NAME",
    "CLEAN_READINGS",
    "CONTRACTS",
    "DATA_QUALITY_DAILY",
    "DEAD_LETTER",
    "DEVICE_ALERTS",
    "DEVICE_FEATURES",
    "DEVICE_HOURS",
    "DEVICE_REGISTRY",
    "EVENT_INDEX",
    "FEATURE_BASELINES",
    "HOUR_ACCOUNTS",
    "LABEL_EVENTS",
    "LANDING_LOG",
    "MAINTENANCE_EVENTS",
    "MODEL_INPUT",
    "MODEL_SCORES",
    "QUARANTINE_READINGS",
    "RAW_READINGS",
    "TRAINING_DATA",
    "Contract",
    "ContractError",
    "Violation",
]
