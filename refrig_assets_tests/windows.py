"""Windows of features for tests: quick to make, plausible, with holes. Written without readings behind them."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from refrig_assets.contracts import DEVICE_FEATURES
from refrig_assets.contracts.features import FEATURE_COLUMNS, FEATURE_NAMES
from refrig_assets.lake import Lake

_ORDINARY = {
    "temp_evaporator": -25.0,
    "temp_condenser": 40.0,
    "temp_ambient": 22.0,
    "temp_discharge": 70.0,
    "temp_suction": -10.0,
    "pressure_high": 1500.0,
    "pressure_low": 200.0,
    "current_compressor": 12.0,
    "vibration_compressor": 3.0,
    "humidity": 45.0,
    "superheat": 8.0,
    "subcooling": 5.0,
}


def ordinary(name: str) -> float:
    """What a healthy freezer shows of a feature."""
    short, _, statistic = name.rpartition("_")
    if statistic in ("mean", "min", "max", "p95") and short in _ORDINARY:
        return _ORDINARY[short]
    return {"pressure_ratio": 7.5, "temp_spread_evap_cond": 65.0, "temp_spread_discharge_suction": 80.0}.get(name, 0.2)


def windows(
    devices: Sequence[str],
    start: datetime,
    hours: int,
    *,
    minutes: Sequence[int] = (15, 60),
    seed: int = 0,
    holes: float = 0.0,
    noise: float = 0.02,
) -> pl.DataFrame:
    """Windows of every device; `holes` is the share of values that are null, `noise` the relative spread."""
    random = np.random.default_rng(seed)
    frames = []
    for length in minutes:
        starts = [start + timedelta(minutes=length * n) for n in range(hours * 60 // length)]
        frame = pl.DataFrame({"device_id": devices}).join(
            pl.DataFrame({"window_start": starts}, schema={"window_start": DEVICE_FEATURES.dtypes["window_start"]}),
            how="cross",
        )
        n = frame.height
        values = {}
        for name in FEATURE_NAMES:
            limits = FEATURE_COLUMNS[name].metadata or {}
            drawn = ordinary(name) * (1 + noise * random.standard_normal(n))
            drawn = np.clip(drawn, limits.get("ge"), limits.get("le")) if limits.get("ge") is not None else drawn
            values[name] = pl.Series(name, drawn).set(pl.Series(random.random(n) < holes), None)
        frames.append(
            frame.with_columns(
                (pl.col("window_start") + pl.duration(minutes=length)).alias("window_end"),
                pl.lit(length).alias("window_duration_minutes"),
                pl.lit(length).alias("reading_count"),
                pl.lit(1.0).alias("sensor_completeness"),
                pl.lit(0).alias("quality_flag_count"),
                *values.values(),
            )
        )
    return DEVICE_FEATURES.conform(pl.concat(frames)).sort("window_start", "window_duration_minutes", "device_id")


def write_windows(lake: Lake, frame: pl.DataFrame) -> int:
    """Put the windows in the place of those of their hours; returns the table's version."""
    table = lake.table(DEVICE_FEATURES)
    hours = frame["window_start"].dt.truncate("1h").unique().sort()
    files = [
        f for hour in hours for f in table.write_files(frame.filter(pl.col("window_start").dt.truncate("1h") == hour))
    ]
    return table.replace_range(hours[0], hours[-1] + timedelta(hours=1), files).version
