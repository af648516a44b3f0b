"""C3 and C3b: windowed features of a device and the baselines they are compared with."""

from collections.abc import Mapping
from datetime import timedelta

import pandera.polars as pa

from refrig_assets.contracts.base import F64, I32, STR, TS, Contract, Freshness, column
from refrig_assets.contracts.sensors import SENSORS

HOURLY_WINDOWS_MIN: tuple[int, ...] = (15, 60)
DAILY_WINDOW_MIN = 1440
WINDOWS_MIN: tuple[int, ...] = (*HOURLY_WINDOWS_MIN, DAILY_WINDOW_MIN)

# Which statistics each numeric sensor contributes, by the short names of sensors.py.
STATISTICS: Mapping[str, tuple[str, ...]] = {
    "temp_evaporator": ("mean", "std", "min", "max", "slope"),
    "temp_condenser": ("mean", "std", "min", "max", "slope"),
    "temp_ambient": ("mean", "std"),
    "temp_discharge": ("mean", "std", "max"),
    "temp_suction": ("mean", "std"),
    "pressure_high": ("mean", "std", "max"),
    "pressure_low": ("mean", "std", "min"),
    "current_compressor": ("mean", "std", "max"),
    "vibration_compressor": ("mean", "std", "max", "p95"),
    "humidity": ("mean", "std"),
    "superheat": ("mean", "std"),
    "subcooling": ("mean", "std"),
}
_UNIT = {s.short: s.unit for s in SENSORS}
_SENSOR = {s.short: s for s in SENSORS}
_SAYS = {
    "mean": "mean",
    "std": "standard deviation (sample)",
    "min": "minimum",
    "max": "maximum",
    "slope": "least-squares slope",
    "p95": "95th percentile",
}


def _statistic(short: str, statistic: str) -> pa.Column:
    unit = _UNIT[short] + ("/min" if statistic == "slope" else "")
    sensor = _SENSOR[short]
    bounded = statistic in ("mean", "min", "max", "p95")
    return column(
        F64,
        f"{_SAYS[statistic]} of {sensor.description}",
        unit,
        ge=sensor.low if bounded else (0 if statistic == "std" else None),
        le=sensor.high if bounded else None,
        nullable=True,
    )


def _statistics(*shorts: str) -> dict[str, pa.Column]:
    return {f"{s}_{stat}": _statistic(s, stat) for s in shorts for stat in STATISTICS[s]}


FEATURE_COLUMNS: Mapping[str, pa.Column] = {
    **_statistics("temp_evaporator", "temp_condenser", "temp_ambient", "temp_discharge", "temp_suction"),
    **_statistics("pressure_high", "pressure_low"),
    "pressure_ratio": column(F64, "high side mean / low side mean", "ratio", ge=0, nullable=True),
    **_statistics("current_compressor", "vibration_compressor", "humidity"),
    "door_open_fraction": column(F64, "share of readings with the door open", "fraction", ge=0, le=1, nullable=True),
    "defrost_active_fraction": column(F64, "share of readings in defrost", "fraction", ge=0, le=1, nullable=True),
    **_statistics("superheat", "subcooling"),
    "temp_spread_evap_cond": column(F64, "condenser mean - evaporator mean", "K", nullable=True),
    "temp_spread_discharge_suction": column(F64, "discharge mean - suction mean", "K", nullable=True),
    "current_per_temp_spread": column(F64, "current mean / condenser-evaporator spread", "A/K", nullable=True),
}
FEATURE_NAMES: tuple[str, ...] = tuple(FEATURE_COLUMNS)

DEVICE_FEATURES = Contract(
    code="C3",
    name="device_features",
    title="Device features",
    description="What a device did in a tumbling window: 15 and 60 minutes each hour, 1,440 minutes each day.",
    key=("device_id", "window_start", "window_duration_minutes"),
    hour_of="window_start",
    group="features",
    freshness=Freshness(timedelta(minutes=30), timedelta(hours=1), timedelta(hours=2)),
    service_levels=("within 30 minutes of clean", "at least 99 % of active devices a window"),
    columns={
        "device_id": column(STR, "device"),
        "window_start": column(TS, "first instant of the window"),
        "window_end": column(TS, "first instant after the window"),
        "window_duration_minutes": column(I32, "length of the window", "min", gt=0),
        "reading_count": column(I32, "readings in the window", gt=0),
        **FEATURE_COLUMNS,
        "sensor_completeness": column(F64, "share of sensor values that are there", "fraction", ge=0, le=1),
        "quality_flag_count": column(I32, "quality flags on the window's readings", ge=0),
    },
)

FEATURE_BASELINES = Contract(
    code="C3b",
    name="feature_baselines",
    title="Feature baselines",
    description="What is normal for a feature in the fleet, a cohort or a device; rewritten at each training.",
    key=("feature_name", "granularity", "cohort_id", "device_id", "model_version"),
    group="training",
    columns={
        "feature_name": column(STR, "feature, or trend of one"),
        "granularity": column(STR, "scope of the baseline", isin=("fleet", "cohort", "device")),
        "cohort_id": column(STR, "cohort, for cohort baselines", nullable=True),
        "device_id": column(STR, "device, for device baselines", nullable=True),
        "baseline_mean": column(F64, "mean", nullable=True),
        "baseline_std": column(F64, "standard deviation", ge=0, nullable=True),
        **{f"baseline_p{p:02d}": column(F64, f"{p}th percentile", nullable=True) for p in (5, 25, 50, 75, 95)},
        "null_rate": column(F64, "share of windows without a value", "fraction", ge=0, le=1),
        "computed_at": column(TS, "when it was computed"),
        "training_window_start": column(TS, "first instant of the data"),
        "training_window_end": column(TS, "first instant after the data"),
        "model_version": column(STR, "model version trained with it"),
    },
)
