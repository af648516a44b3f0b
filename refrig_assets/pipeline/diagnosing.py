"""Diagnosis of alerted windows: what was measured, what was expected, and what the signs say of it. Reads only.

Only the devices asked for are read: their windows, those of the hours before, and three days of trends.
"""

from collections.abc import Sequence
from datetime import timedelta

import polars as pl

from refrig_assets.alerting.diagnosis import diagnosed
from refrig_assets.alerting.diagnosis_seen import (
    DIAGNOSIS_SCHEMA,
    HISTORY_H,
    HISTORY_STEP_H,
    RECENT_H,
    RECENT_VALUES,
    Seen,
)
from refrig_assets.alerting.diagnosis_signs import WAYS, column_of
from refrig_assets.alerting.signatures import SENSED, signatures
from refrig_assets.contracts.base import F64S, STR, STRS, TS, Contract
from refrig_assets.contracts.features import DEVICE_FEATURES
from refrig_assets.contracts.registry import DEVICE_REGISTRY
from refrig_assets.contracts.scoring import SCORED_WINDOW_MIN
from refrig_assets.contracts.trends import DEVICE_TRENDS, HORIZONS_H, TREND_NAMES, trend_name
from refrig_assets.lake import HOUR, Lake
from refrig_assets.models.views import CONTEXT, FAULT_SIGNS
from refrig_assets.pipeline.expectations import Expectations, expectations
from refrig_assets.pipeline.model_input import REGION
from refrig_assets.pipeline.model_rows import join_rows
from refrig_assets.pipeline.scoring import ModelSource

_SHORT_H = min(HORIZONS_H)
_WINDOW = timedelta(minutes=SCORED_WINDOW_MIN)
# A trend of six hours tells of their middle.
_MIDDLE = timedelta(hours=_SHORT_H / 2)
SEEN_COLUMNS: tuple[str, ...] = tuple(dict.fromkeys(column_of(f, way) for way in WAYS for f in SENSED))
_LEVELS: tuple[str, ...] = tuple(trend_name(f, _SHORT_H) for f in SENSED)
_DEVICE = ("cohort_id", REGION, "install_date", "expected_sensors", "expected_interval_s", "current_threshold_a")
_HISTORY_NEEDS = tuple(dict.fromkeys(c for c in (*_LEVELS, *CONTEXT) if c in TREND_NAMES))
_CONDITIONS = tuple(c for c in CONTEXT if trend_name(c, _SHORT_H) in TREND_NAMES)


def diagnose(lake: Lake, registry: ModelSource, windows: pl.DataFrame) -> pl.DataFrame:
    """What is probably wrong in each window: one row a (device_id, window_end) asked for, in their order.

    `windows` has device_id and window_end, and may have top_contributors and contributor_scores (of model_scores).
    """
    asked = _asked(windows)
    if asked.is_empty():
        return pl.DataFrame(schema=DIAGNOSIS_SCHEMA)
    return diagnosed(seen(lake, registry, asked), signatures(FAULT_SIGNS))


def seen(lake: Lake, registry: ModelSource, asked: pl.DataFrame) -> Seen:
    """What there is to see of windows that are asked for, each once and with its number in `row`."""
    names = asked["device_id"].unique().sort()
    # A range of ids lets readers skip what a list of them would have to look through.
    mine = pl.col("device_id").is_between(pl.lit(names[0]), pl.lit(names[-1])) & pl.col("device_id").is_in(
        names.implode()
    )
    devices = lake.table(DEVICE_REGISTRY).read().filter(mine)
    features = _features(lake, asked, mine)
    trends = _trends(lake, asked, mine)
    expected = expectations(lake, registry, devices.select("device_id", "cohort_id", REGION), SEEN_COLUMNS)
    rows = _rows_of(asked, features, trends, devices)
    found, source = expected.of(rows, SEEN_COLUMNS)
    told = asked.join(devices.select("device_id", *_DEVICE), on="device_id", how="left", maintain_order="left")
    broken = "; ".join(f"{what}: {why}" for what, why in expected.broken.items()) or None
    return Seen(
        windows=told.with_columns(
            source, pl.lit(broken, dtype=STR).alias("champion_broken"), _level_hours(asked, trends)
        ),
        values=rows,
        deviation=found.deviation,
        z=found.z,
        recent=_recent(asked, features),
        history=_history(lake, asked, mine, devices, expected),
    )


def _asked(windows: pl.DataFrame) -> pl.DataFrame:
    """Each window once, with its number."""
    optional = {"top_contributors": STRS, "contributor_scores": F64S}
    there = windows.with_columns(
        pl.lit(None, dtype=t).alias(c) for c, t in optional.items() if c not in windows.columns
    )
    typed = there.select(
        pl.col("device_id").cast(STR), pl.col("window_end").cast(TS), *(pl.col(c).cast(t) for c, t in optional.items())
    )
    once = typed.unique(["device_id", "window_end"], keep="first", maintain_order=True)
    return once.with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))


def _hours_before(asked: pl.DataFrame, last: int, step: int) -> pl.DataFrame:
    """Each window's hour and those before it, up to `last` hours back: row, device_id, hour."""
    hour = (pl.col("window_end") - _WINDOW).dt.truncate("1h")
    steps = range(0, last + 1, step)
    return pl.concat([asked.select("row", "device_id", (hour - n * HOUR).alias("hour")) for n in steps])


def _read(lake: Lake, contract: Contract, hours: pl.Series, wanted: pl.Expr, columns: Sequence[str]) -> pl.DataFrame:
    """Rows of these hours and no others, from files that may hold them."""
    once = hours.unique().sort().to_list()
    table = lake.table(contract)
    files = table.files(start=once[0], end=once[-1] + HOUR)
    held = [f for f in files if any(f.touches(hour, hour + HOUR) for hour in once)]
    of_these = pl.col("window_start").dt.truncate("1h").is_in(pl.Series(once).cast(TS).implode())
    return table.scan_files(held).filter(wanted & of_these).select(columns).collect(engine="in-memory")


def _features(lake: Lake, asked: pl.DataFrame, mine: pl.Expr) -> pl.DataFrame:
    """The 15-minute windows of the hours asked for and of those just before."""
    hours = _hours_before(asked, RECENT_H, 1)["hour"]
    wanted = mine & (pl.col("window_duration_minutes") == SCORED_WINDOW_MIN)
    return _read(lake, DEVICE_FEATURES, hours, wanted, tuple(DEVICE_FEATURES.columns))


def _trends(lake: Lake, asked: pl.DataFrame, mine: pl.Expr) -> pl.DataFrame:
    """The trends of the hours asked for."""
    return _read(lake, DEVICE_TRENDS, _hours_before(asked, 0, 1)["hour"], mine, tuple(DEVICE_TRENDS.columns))


def _rows_of(asked: pl.DataFrame, features: pl.DataFrame, trends: pl.DataFrame, devices: pl.DataFrame) -> pl.DataFrame:
    """The model rows of the windows asked for, in their order; null where there is no such window."""
    wanted = features.join(asked, on=["device_id", "window_end"], how="semi")
    rows = join_rows(wanted, trends, devices)
    keys = asked.select("device_id", "window_end")
    filled = keys.join(rows, on=["device_id", "window_end"], how="left", maintain_order="left")
    lost = pl.col("window_end") - _WINDOW
    return filled.with_columns(pl.col("window_start").fill_null(lost))


def _level_hours(asked: pl.DataFrame, trends: pl.DataFrame) -> pl.Series:
    """The hours of the day before that the trends of each window rest on; null where it has none."""
    hour = (pl.col("window_end") - _WINDOW).dt.truncate("1h").alias("window_start")
    hours = trends.select("device_id", "window_start", pl.col("hours_present").alias("level_hours"))
    joined = asked.with_columns(hour).join(hours, on=["device_id", "window_start"], how="left", maintain_order="left")
    return joined["level_hours"]


def _recent(asked: pl.DataFrame, features: pl.DataFrame) -> pl.DataFrame:
    counts = ("reading_count", "quality_flag_count")
    steps = range(round(RECENT_H * HOUR / _WINDOW))
    ends = pl.concat([asked.select("row", "device_id", pl.col("window_end") - n * _WINDOW) for n in steps])
    values = features.select("device_id", "window_end", *counts, *RECENT_VALUES)
    return ends.join(values, on=["device_id", "window_end"]).sort("row", "window_end")


def _history(
    lake: Lake, asked: pl.DataFrame, mine: pl.Expr, devices: pl.DataFrame, expected: Expectations
) -> pl.DataFrame:
    """The trends of the days before each window, with what was expected of them then."""
    hours = _hours_before(asked, HISTORY_H, HISTORY_STEP_H).rename({"hour": "window_start"})
    trends = _read(lake, DEVICE_TRENDS, hours["window_start"], mine, ("device_id", "window_start", *_HISTORY_NEEDS))
    needed = trends.join(hours, on=["device_id", "window_start"], how="semi")
    age = ((pl.col("window_start") - pl.col("install_date")).dt.total_seconds() / 86_400).alias("device_age_days")
    # Of an hour long past, its conditions are those of the hours before.
    conditions = [pl.col(trend_name(c, _SHORT_H)).alias(c) for c in _CONDITIONS]
    known = devices.select("device_id", "cohort_id", "install_date")
    rows = needed.join(known, on="device_id", how="left").with_columns(age, *conditions)
    found, _ = expected.of(rows, _LEVELS)
    told = rows.select(
        "device_id",
        "window_start",
        (pl.col("window_start") - _MIDDLE).alias("at"),
        *(pl.col(level).alias(f) for f, level in zip(SENSED, _LEVELS, strict=True)),
    ).with_columns(
        *(found.deviation[level].alias(f"{f}_off") for f, level in zip(SENSED, _LEVELS, strict=True)),
        *(found.z[level].alias(f"{f}_z") for f, level in zip(SENSED, _LEVELS, strict=True)),
    )
    return hours.join(told, on=["device_id", "window_start"]).drop("device_id").sort("row", "at")
