"""Streaming thresholds as healthy windows suggest them. A table and a CSV for a person to merge; never applied here."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl

from refrig_assets.contracts.modelling import SUGGESTED_THRESHOLDS
from refrig_assets.contracts.registry import DEVICE_REGISTRY
from refrig_assets.lake import Lake
from refrig_assets.pipeline.training_rows import TrainingRows

# Above the 99th percentile of the windows' maxima: a start is short, and falls between the readings of most windows.
CURRENT_PERCENTILE, CURRENT_MARGIN = 0.99, 1.25
CURRENT_LIMIT_A = 50.0  # what the sensor can say
# The rule fires at three times the baseline, which stands in for the mean of a day.
VIBRATION_PERCENTILE, VIBRATION_MARGIN = 0.75, 1.0
# A device with fewer windows is given its cohort's.
LEAST_WINDOWS = 20
# How far a device may lie from the middle of its cohort before it is rather taken for ill.
WIDEST = 1.5

CSV_COLUMNS = ("device_id", "current_threshold_a", "vibration_baseline_mm_s", "thresholds_updated_at")
CSV_NAME = "suggested_thresholds.csv"


@dataclass(frozen=True)
class ThresholdReport:
    rows: int
    from_device: int
    would_change: int
    version: int
    csv: Path | None


def write_thresholds(lake: Lake, data: TrainingRows, now: datetime, csv: Path | None = None) -> ThresholdReport:
    """Put the suggestions in the place of those before, and into the CSV if one is named."""
    registry = lake.table(DEVICE_REGISTRY).read()
    rows = suggested_thresholds(data, registry, now)
    table = lake.table(SUGGESTED_THRESHOLDS)
    commit = table.replace_all(rows, {"snapshot_id": str(data.snapshot_id)})
    if csv is not None:
        write_csv(rows, csv)
    changes = rows.filter(
        pl.col("current_threshold_a").ne_missing(pl.col("current_threshold_a_now"))
        | pl.col("vibration_baseline_mm_s").ne_missing(pl.col("vibration_baseline_mm_s_now"))
    )
    of_device = rows.filter(pl.col("basis") == "device").height
    return ThresholdReport(rows.height, of_device, changes.height, commit.version, csv)


def suggested_thresholds(data: TrainingRows, registry: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """A suggestion for every active device: from its own healthy windows, or from its cohort's where those are few."""
    healthy = pl.concat([data.split(s, healthy=True) for s in ("train", "validation", "held_out")])
    own = healthy.group_by("device_id").agg(
        pl.len().cast(pl.Int64).alias("windows"),
        _high("current_compressor_max", CURRENT_PERCENTILE).alias("current"),
        _high("vibration_compressor_mean", VIBRATION_PERCENTILE).alias("vibration"),
    )
    active = registry.filter(pl.col("status") == "active")
    devices = active.join(own, on="device_id", how="left").with_columns(pl.col("windows").fill_null(0))
    enough = pl.col("windows") >= LEAST_WINDOWS
    middles = {f"{what}_middle": pl.col(what).filter(enough).median().over("cohort_id") for what in _SUGGESTED}
    devices = devices.with_columns(**middles).with_columns(_values())
    basis = pl.when(enough).then(pl.lit("device")).otherwise(pl.lit("cohort"))
    return SUGGESTED_THRESHOLDS.conform(
        devices.select(
            "device_id",
            "site_id",
            "cohort_id",
            (pl.col("current") * CURRENT_MARGIN).clip(0.1, CURRENT_LIMIT_A).round(1).alias("current_threshold_a"),
            pl.col("current_threshold_a").alias("current_threshold_a_now"),
            (pl.col("vibration") * VIBRATION_MARGIN).round(2).alias("vibration_baseline_mm_s"),
            pl.col("vibration_baseline_mm_s").alias("vibration_baseline_mm_s_now"),
            basis.alias("basis"),
            "windows",
            pl.lit(data.snapshot_id).alias("snapshot_id"),
            pl.lit(now).alias("computed_at"),
        ).sort("device_id")
    )


_SUGGESTED = ("current", "vibration")


def _values() -> list[pl.Expr]:
    """The device's own figure kept near its cohort's middle; the middle where it has too few windows."""
    enough = pl.col("windows") >= LEAST_WINDOWS
    found = []
    for what in _SUGGESTED:
        middle = pl.col(f"{what}_middle")
        own = pl.col(what).clip(middle / WIDEST, middle * WIDEST)
        found.append(pl.when(enough).then(own).otherwise(middle).alias(what))
    return found


def _high(name: str, percentile: float) -> pl.Expr:
    return pl.col(name).quantile(percentile, "linear")


def write_csv(rows: pl.DataFrame, path: Path) -> None:
    """What a person merges into the registry file, put in its place at once."""
    fresh = path.with_name(f".{path.name}.new")
    path.parent.mkdir(parents=True, exist_ok=True)
    moment = pl.col("computed_at").dt.strftime("%Y-%m-%dT%H:%M:%SZ").alias("thresholds_updated_at")
    rows.with_columns(moment).select(CSV_COLUMNS).write_csv(fresh)
    fresh.replace(path)
