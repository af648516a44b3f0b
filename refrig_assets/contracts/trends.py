"""C3+: what a device did over the hours before an hour, and how that differs from days before. Beside C3's features."""

from collections.abc import Mapping

import pandera.polars as pa

from refrig_assets.contracts.base import F64, I32, STR, TS, Contract, column
from refrig_assets.contracts.features import FEATURE_COLUMNS, FEATURE_NAMES, STATISTICS
from refrig_assets.contracts.sensors import SENSORS

# How many hours back a trend looks.
HORIZONS_H: tuple[int, ...] = (6, 24)
# The share of those hours that must hold a value.
LEAST_SHARE = 1 / 3

# Features made of C3's features of the same window, by name: (plus, minus).
DERIVED: Mapping[str, tuple[str, str]] = {"condenser_approach": ("temp_condenser_mean", "temp_ambient_mean")}
_DERIVED_COLUMNS = {"condenser_approach": column(F64, "condenser mean - ambient mean", "K", nullable=True)}

TRENDED: tuple[str, ...] = (
    *(f"{short}_mean" for short in STATISTICS),
    "temp_evaporator_std",
    "superheat_std",
    "pressure_low_std",
    "current_compressor_std",
    "vibration_compressor_p95",
    "pressure_ratio",
    "temp_spread_discharge_suction",
    "current_per_temp_spread",
    "condenser_approach",
    "door_open_fraction",
    "defrost_active_fraction",
)


# How far back a change looks: faults that fail within days have begun since, a machine's slow moods have hardly moved.
CHANGE_H = 72
CHANGED: tuple[str, ...] = (
    *(f"{short}_mean" for short in STATISTICS),
    "temp_evaporator_std",
    "superheat_std",
    "vibration_compressor_p95",
    "door_open_fraction",
    "defrost_active_fraction",
)


def change_name(feature: str) -> str:
    return f"{feature}_change"


def trend_name(feature: str, hours: int) -> str:
    return f"{feature}_{hours}h"


def _trend(feature: str, hours: int) -> pa.Column:
    of = {**FEATURE_COLUMNS, **_DERIVED_COLUMNS}[feature]
    unit = str((of.metadata or {}).get("unit", ""))
    return column(F64, f"mean over the {hours} hours before: {of.description}", unit, nullable=True)


def _change(feature: str) -> pa.Column:
    of = FEATURE_COLUMNS[feature]
    unit = str((of.metadata or {}).get("unit", ""))
    said = f"the {min(HORIZONS_H)} hours before against those {CHANGE_H} hours earlier: {of.description}"
    return column(F64, said, unit, nullable=True)


_SENSORS = tuple(s.short for s in SENSORS)
# Which sensors stand behind what is computed from several.
_MADE_OF: Mapping[str, tuple[str, ...]] = {
    "pressure_ratio": ("pressure_high", "pressure_low"),
    "temp_spread_evap_cond": ("temp_evaporator", "temp_condenser"),
    "temp_spread_discharge_suction": ("temp_discharge", "temp_suction"),
    "current_per_temp_spread": ("current_compressor", "temp_evaporator", "temp_condenser"),
    "condenser_approach": ("temp_condenser",),
}


def sensors_of(feature: str) -> tuple[str, ...]:
    """The sensors, by their short names, whose readings are behind a feature, its trend or its change."""
    for made, sensors in _MADE_OF.items():
        if feature == made or feature.startswith(f"{made}_"):
            return sensors
    return tuple(s for s in _SENSORS if feature.startswith(f"{s}_"))


def sensor_of(feature: str) -> str:
    """The first of them: by what contributors are told apart. What no sensor is behind stands for itself."""
    return next(iter(sensors_of(feature)), feature)


TREND_COLUMNS: Mapping[str, pa.Column] = {
    **{trend_name(f, h): _trend(f, h) for h in HORIZONS_H for f in TRENDED},
    **{change_name(f): _change(f) for f in CHANGED},
}
TREND_NAMES: tuple[str, ...] = tuple(TREND_COLUMNS)
# Every number of a model row: C3's, what is derived of them, and the trends of the window's hour.
MODEL_ROW_FEATURES: tuple[str, ...] = (*FEATURE_NAMES, *DERIVED, *TREND_NAMES)

DEVICE_TRENDS = Contract(
    code="C3+",
    name="device_trends",
    title="Device trends",
    description="What a device did over the 6 and 24 hours before an hour, and how it changed in three days.",
    key=("device_id", "window_start"),
    hour_of="window_start",
    group="features",
    service_levels=("with the features of its hour", "at least 99 % of active devices an hour"),
    rules=(
        "nothing at or after window_start is used",
        "a trend is null unless at least a third of its hours hold a value",
        "nothing of before a repair, nor of the two hours in which the machine settles after it, is used",
        f"a change compares with the trends of {CHANGE_H} hours earlier as they stood when the hour was made",
    ),
    columns={
        "device_id": column(STR, "device"),
        "window_start": column(TS, "the hour whose windows it belongs to"),
        "hours_present": column(I32, f"hours of the {max(HORIZONS_H)} before with a window", "h", gt=0),
        **TREND_COLUMNS,
    },
)
