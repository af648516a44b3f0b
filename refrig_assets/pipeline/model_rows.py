"""Model rows: what every detector sees of a window. C3's features with the device, its age, and the hour's trends."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import polars as pl

from refrig_assets.contracts.base import F64, STR, TS
from refrig_assets.contracts.features import DEVICE_FEATURES, FEATURE_NAMES
from refrig_assets.contracts.registry import DEVICE_REGISTRY
from refrig_assets.contracts.trends import DERIVED, DEVICE_TRENDS, MODEL_ROW_FEATURES, TREND_NAMES
from refrig_assets.lake import HOUR, Lake
from refrig_assets.transforms.trends import with_derived

WINDOW_MIN = 15
_DAY_S = 86_400
# A model row in its order: whose and when, how well known, and every number a model may look at.
MODEL_ROW_COLUMNS: tuple[str, ...] = (
    "device_id",
    "cohort_id",
    "device_age_days",
    "window_start",
    "window_end",
    "window_duration_minutes",
    "reading_count",
    *MODEL_ROW_FEATURES,
    "sensor_completeness",
    "quality_flag_count",
)


def model_rows(
    lake: Lake,
    start: datetime,
    end: datetime,
    *,
    devices: Sequence[str] | pl.Series | None = None,
    minutes: int = WINDOW_MIN,
    versions: Mapping[str, int] | None = None,
) -> pl.DataFrame:
    """The windows of [start, end) as models see them, by device and time.

    `versions` pins tables by name. A device the registry does not know has neither cohort nor age.
    """
    versions = versions or {}
    features = (
        lake.table(DEVICE_FEATURES)
        .scan(start, end, version=versions.get(DEVICE_FEATURES.name))
        .filter(pl.col("window_duration_minutes") == minutes)
    )
    first = start.replace(minute=0, second=0, microsecond=0)
    trends = lake.table(DEVICE_TRENDS).scan(first, end, version=versions.get(DEVICE_TRENDS.name))
    registry = lake.table(DEVICE_REGISTRY).scan(version=versions.get(DEVICE_REGISTRY.name))
    if devices is not None:
        wanted = pl.col("device_id").is_in(list(devices))
        features, trends, registry = (frame.filter(wanted) for frame in (features, trends, registry))
    return join_rows(features.collect(engine="in-memory"), trends.collect(engine="in-memory"), registry.collect())


def join_rows(features: pl.DataFrame, trends: pl.DataFrame, registry: pl.DataFrame) -> pl.DataFrame:
    """Model rows from windows of features, trends of their hours, and the registry."""
    hour = pl.col("window_start").dt.truncate("1h")
    age = (pl.col("window_start") - pl.col("install_date")).dt.total_seconds() / _DAY_S
    known = registry.select("device_id", "cohort_id", "install_date")
    return (
        with_derived(features)
        .with_columns(hour.alias("hour"))
        .join(
            trends.select("device_id", "window_start", *TREND_NAMES).rename({"window_start": "hour"}),
            on=["device_id", "hour"],
            how="left",
        )
        .join(known, on="device_id", how="left")
        .with_columns(age.alias("device_age_days"))
        .select(MODEL_ROW_COLUMNS)
        .sort("device_id", "window_start")
    )


def newest_features(lake: Lake, *, version: int | None = None) -> datetime | None:
    """The end of the newest hour that has windows."""
    last = max((f.last for f in lake.table(DEVICE_FEATURES).files(version) if f.last is not None), default=None)
    return None if last is None else last.replace(minute=0, second=0, microsecond=0) + HOUR


def empty_rows() -> pl.DataFrame:
    """No model rows, with their columns."""
    fixed = {
        "device_id": STR,
        "cohort_id": STR,
        "device_age_days": F64,
        "window_start": TS,
        "window_end": TS,
    }
    numbers = dict.fromkeys((*FEATURE_NAMES, *DERIVED, *TREND_NAMES), F64)
    types = {**DEVICE_FEATURES.dtypes, **numbers, **fixed}
    return pl.DataFrame(schema={name: types[name] for name in MODEL_ROW_COLUMNS})


__all__ = ["MODEL_ROW_COLUMNS", "WINDOW_MIN", "empty_rows", "join_rows", "model_rows", "newest_features"]
