"""The streaming rules of the contracts, written plainly for one device's readings, to see that faults fire them."""

from itertools import pairwise

import polars as pl

MINUTE_US = 60_000_000


def fired(readings: pl.DataFrame, current_threshold: float = 40.0) -> dict[str, int]:
    """How many readings of one device (in order of time) fire each rule."""
    return {
        "compressor_overload": readings.filter(pl.col("current_compressor") > current_threshold).height,
        "vibration_spike": _vibration(readings),
        "acute_pressure_loss": _pressure(readings),
        "total_cooling_loss": _cooling(readings),
    }


def _vibration(readings: pl.DataFrame) -> int:
    mean = pl.col("vibration_compressor").rolling_mean_by("timestamp_device", "24h", closed="left")
    return readings.filter(pl.col("vibration_compressor") > 3 * mean).height


def _pressure(readings: pl.DataFrame) -> int:
    highest = pl.col("pressure_low_side").rolling_max_by("timestamp_device", "5m10s")
    return readings.filter(pl.col("pressure_low_side") < 0.7 * highest).height


def _cooling(readings: pl.DataFrame) -> int:
    rows = readings.select(pl.col("timestamp_device").cast(pl.Int64), "temperature_evaporator", "defrost_cycle").rows()
    run = count = 0
    for (t0, c0, _), (t1, c1, defrost) in pairwise(rows):
        rising = t1 - t0 < 2 * MINUTE_US and not defrost and (c1 - c0) / ((t1 - t0) / MINUTE_US) > 2
        run = run + 1 if rising else 0
        count += run >= 3
    return count
