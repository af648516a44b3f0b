"""A lake in which some machines have begun to fail: windows and trends of days, and a model of the time before."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import polars as pl

from refrig_assets.contracts import DEVICE_REGISTRY, FEATURE_BASELINES
from refrig_assets.lake import Lake
from refrig_assets.models import Model, StatisticalBaseline
from refrig_assets.models.views import SETTINGS, VIEWS
from refrig_assets.pipeline.model_rows import model_rows
from refrig_assets.pipeline.trends import trend_hours
from refrig_assets_tests.builders import HOUR, registry_of
from refrig_assets_tests.windows import windows, write_windows

DEVICES = [f"dev-{n:02d}" for n in range(16)]
HOURS, WELL_HOURS = 60, 34
START = HOUR
BEGUN = START + timedelta(hours=WELL_HOURS)
END = START + timedelta(hours=HOURS)
# How far each feature has gone by the end, along a line from BEGUN.
GROWN: Mapping[str, Mapping[str, float]] = {
    "dev-01": {"superheat": 6.0, "subcooling": -3.0, "pressure_low": -50.0, "temp_evaporator": -6.0},
    "dev-02": {"temp_condenser": 9.0, "pressure_high": 350.0, "temp_discharge": 14.0},
    "dev-03": {"temp_suction": 6.0},
    "dev-04": {"vibration_compressor": 4.0},
}
STUCK, AT_REST, SILENT = "dev-05", "dev-06", "dev-07"


def fill(lake: Lake) -> None:
    registry = registry_of(DEVICES, install_date=START - timedelta(days=365))
    lake.table(DEVICE_REGISTRY).replace_all(registry)
    write_windows(lake, failing(windows(DEVICES, START, HOURS)))
    # A diagnosis looks back in steps of two hours from the last.
    every_other = [START + timedelta(hours=n) for n in range(1, HOURS, 2)]
    for _ in trend_hours(lake, every_other, END + timedelta(hours=1)):
        pass


def failing(frame: pl.DataFrame) -> pl.DataFrame:
    share = ((pl.col("window_end") - BEGUN).dt.total_seconds() / (END - BEGUN).total_seconds()).clip(0)
    for device, moves in GROWN.items():
        mine = pl.col("device_id") == device
        for sensor, by in moves.items():
            names = [f"{sensor}_mean", *(["vibration_compressor_p95"] if sensor == "vibration_compressor" else [])]
            frame = frame.with_columns(pl.when(mine).then(pl.col(n) + by * share).otherwise(n).alias(n) for n in names)
    late, last = pl.col("window_end") > BEGUN, pl.col("window_end") > END - timedelta(minutes=45)
    at_rest = {"current_compressor_mean": 0.1, "pressure_low_mean": 600.0, "pressure_high_mean": 700.0}
    moments: list[tuple[str, pl.Expr, Mapping[str, float | None]]] = [
        (STUCK, late, {"humidity_mean": 61.0, "humidity_std": 0.0}),
        (AT_REST, last, at_rest),
        (SILENT, late, {"pressure_high_mean": None, "pressure_low_mean": None}),
    ]
    for device, when, values in moments:
        mine = when & (pl.col("device_id") == device)
        frame = frame.with_columns(
            pl.when(mine).then(pl.lit(v, dtype=pl.Float64)).otherwise(n).alias(n) for n, v in values.items()
        )
    return frame.with_columns(pl.lit(0.0).alias("defrost_active_fraction"))


def model_of(lake: Lake) -> Model:
    """Fitted on the hours before anything began."""
    rows = model_rows(lake, START + timedelta(hours=4), BEGUN)
    name = "statistical_baseline"
    return StatisticalBaseline.fit(rows, VIEWS[name], settings=SETTINGS[name])


def write_fleet_baselines(lake: Lake) -> None:
    """Percentiles of the hours before anything began, of the fleet and of each device."""
    rows = model_rows(lake, START + timedelta(hours=4), BEGUN)
    names = [c for c in rows.columns if rows.schema[c] == pl.Float64 and c != "device_age_days"]
    long = rows.unpivot(names, index=["device_id", "cohort_id"], variable_name="feature_name").drop_nulls("value")
    parts = []
    for scope, keys in (("fleet", ["feature_name"]), ("device", ["feature_name", "device_id"])):
        value = pl.col("value")
        figures = {f"baseline_p{p:02d}": value.quantile(p / 100, "linear") for p in (5, 25, 50, 75, 95)}
        parts.append(
            long.group_by(keys, maintain_order=True)
            .agg(value.mean().alias("baseline_mean"), value.std().alias("baseline_std"), **figures)
            .with_columns(
                granularity=pl.lit(scope),
                null_rate=pl.lit(0.0),
                computed_at=pl.lit(BEGUN),
                training_window_start=pl.lit(START),
                training_window_end=pl.lit(BEGUN),
                model_version=pl.lit("snapshot-1"),
            )
        )
    lake.table(FEATURE_BASELINES).append(FEATURE_BASELINES.conform(pl.concat(parts, how="diagonal")))


def asked(*devices: str, end: datetime = END) -> pl.DataFrame:
    return pl.DataFrame({"device_id": list(devices), "window_end": [end] * len(devices)})
