"""What each model sees of a refrigerator's rows: features, conditions, sensor families, signs of faults.

The one place where the models meet the contract of features; the detectors themselves take any columns.
"""

from collections.abc import Mapping
from typing import Any

from refrig_assets.contracts.features import FEATURE_NAMES, STATISTICS
from refrig_assets.contracts.trends import (
    CHANGED,
    DERIVED,
    HORIZONS_H,
    MODEL_ROW_FEATURES,
    TRENDED,
    change_name,
    sensors_of,
    trend_name,
)
from refrig_assets.models.base import Roles

_CONDITIONS = ("temp_ambient_mean", "door_open_fraction", "defrost_active_fraction")
_SHORT_H = min(HORIZONS_H)
_LEVEL_CONTEXT: tuple[str, ...] = (*_CONDITIONS, *(trend_name(c, _SHORT_H) for c in _CONDITIONS))
_CHANGE_CONTEXT: tuple[str, ...] = tuple(change_name(c) for c in _CONDITIONS)
CONTEXT: tuple[str, ...] = (*_LEVEL_CONTEXT, *_CHANGE_CONTEXT)
_AMBIENT = ("temp_ambient_std",)

# A bearing wears long before anything but vibration shows it: this sensor is believed alone.
_BELIEVED_ALONE = ("vibration_compressor",)

# How faults push what is measured, in the units of a healthy machine's straying: signs from refrigeration practice (a
# leak starves the evaporator: more superheat, less subcooling, lower suction pressure), weights no finer than that.
FAULT_SIGNS: Mapping[str, Mapping[str, float]] = {
    "refrigerant_leak": {
        "superheat_mean": 1, "subcooling_mean": -1, "pressure_low_mean": -1, "temp_evaporator_mean": -1,
    },
    "condenser_fouling": {
        "temp_condenser_mean": 1, "pressure_high_mean": 1, "temp_discharge_mean": 1, "subcooling_mean": 0.5,
    },
    "evaporator_icing": {
        "temp_evaporator_mean": -1, "pressure_low_mean": -1, "temp_suction_mean": -1, "superheat_mean": -0.7,
        "current_compressor_mean": 0.3,
    },
    "bearing_wear": {
        "vibration_compressor_mean": 1, "vibration_compressor_p95": 1, "current_compressor_mean": 0.3,
    },
    "valve_hunting": {"superheat_std": 1, "temp_evaporator_std": 0.7},
    "door_seal": {"humidity_mean": 1, "current_compressor_mean": 0.7, "temp_evaporator_mean": -0.5},
}  # fmt: skip


def _families(features: tuple[str, ...]) -> dict[str, list[str]]:
    found = {s: [f for f in features if s in sensors_of(f)] for s in STATISTICS if s not in _BELIEVED_ALONE}
    return {s: columns for s, columns in found.items() if columns}


def _scored(columns: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(c for c in columns if c not in CONTEXT and c not in _AMBIENT)


# What a window of 15 minutes says of the levels; how much it moves within them says more of defrosts than of faults.
NOW_MEANS = _scored(tuple(f for f in FEATURE_NAMES if f.endswith("_mean")))
# The approach is the condenser's mean less a condition: the same residual again.
SHORT_TRENDS = _scored(tuple(trend_name(f, _SHORT_H) for f in TRENDED if f not in DERIVED))
CHANGES = _scored(tuple(change_name(f) for f in CHANGED))


def _roles(features: tuple[str, ...], context: tuple[str, ...] = _LEVEL_CONTEXT) -> Roles:
    return Roles(features, context, device="device_id", cohort="cohort_id", time="window_start")


VIEWS: Mapping[str, Roles] = {
    "statistical_baseline": _roles((*NOW_MEANS, *SHORT_TRENDS, *CHANGES), CONTEXT),
    "isolation_forest": _roles((*NOW_MEANS, *SHORT_TRENDS)),
    "autoencoder": _roles(SHORT_TRENDS),
    "dbscan_cohort": _roles(SHORT_TRENDS),
}

_OWN_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "statistical_baseline": {
        "groups": [NOW_MEANS, SHORT_TRENDS],
        "faults": {
            fault: {trend_name(c, _SHORT_H): sign for c, sign in signs.items()} for fault, signs in FAULT_SIGNS.items()
        },
        "coming": {fault: {change_name(c): sign for c, sign in signs.items()} for fault, signs in FAULT_SIGNS.items()},
        "unknown_discount": 1.0,
        "together": [CHANGES],
    },
    # Both look at narrow directions, in which machines stray farther with every week since the training.
    "autoencoder": {"allowance": 0.4},
    "dbscan_cohort": {"allowance": 0.4},
}
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    name: {"families": _families(roles.features), **_OWN_SETTINGS.get(name, {})} for name, roles in VIEWS.items()
}

assert all(c in MODEL_ROW_FEATURES for roles in VIEWS.values() for c in (*roles.features, *roles.context))
