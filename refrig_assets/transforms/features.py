"""The rules of C3: clean rows in, one row of features a device and tumbling window out. No I/O, no clock.

A window's statistics are first gathered as sums that can be merged (`Moments`), so that an hour's rows are read once
for both its 15-minute and its 60-minute windows. Sums run in the order of the rows, which makes them repeatable to
the bit; Polars' streaming group-by is faster by a little but adds in a different order each time.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import polars as pl

from refrig_assets.contracts.features import DEVICE_FEATURES, STATISTICS
from refrig_assets.contracts.sensors import BOOL_SENSORS, NUMERIC_SENSORS, SENSORS
from refrig_assets.transforms.devices import device_codes
from refrig_assets.transforms.segments import Moments, Segments

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
_MINUTE_US = 60_000_000
_P95 = 0.95
_SENSOR_BY_SHORT = {s.short: s.name for s in SENSORS}
FEATURE_INPUTS: tuple[str, ...] = (
    "device_id",
    "timestamp_utc",
    *(s.name for s in SENSORS),
    "quality_flags",
    "sensor_null_count",
)


@dataclass(frozen=True)
class _Windows:
    """The windows of one length that the rows fall into, in the order of the rows."""

    minutes: int
    segments: Segments
    device: pl.Series
    start_us: npt.NDArray[np.int64]


def window_features(clean: pl.DataFrame, minutes: Sequence[int]) -> pl.DataFrame:
    """Features of every device and window the rows fall into, for each window length (each a multiple of the first).

    A row belongs to the window that holds its timestamp_utc; nothing outside a window is ever used for it.
    """
    if clean.is_empty():
        return DEVICE_FEATURES.empty()
    clean = in_order(clean)
    at = clean["timestamp_utc"].dt.epoch("us").to_numpy()
    run = clean["device_id"].rle_id().to_numpy()
    base = _windows(clean["device_id"], run, at, minutes[0])
    ties = _ties(clean, run, at)
    tracked = [s.name for s in SENSORS]
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # NumPy lets go of the interpreter while it sums
        moments = dict(
            zip(tracked, pool.map(lambda n: _moments(clean[n], at, base.segments, ties, n), tracked), strict=True)
        )
    counts = {
        "reading_count": base.segments.lengths.astype(np.int64),
        "nulls": base.segments.sum(clean["sensor_null_count"].to_numpy()),
        "flags": base.segments.sum(clean["quality_flags"].list.len().to_numpy().astype(np.int64)),
    }
    frames = []
    for length in minutes:
        windows, merged, sums = _merge(base, moments, counts, length)
        frames.append(_feature_frame(windows, merged, sums, _p95(clean, run, at, length)))
    return pl.concat(frames).sort("window_duration_minutes", "device_id", "window_start")


def in_order(clean: pl.DataFrame) -> pl.DataFrame:
    """By device and time. Rows of one file already are."""
    device, at = clean["device_id"], clean["timestamp_utc"]
    same = device == device.shift(1)
    back = (same & (at < at.shift(1))).fill_null(False)
    if not back.any() and device.is_sorted():
        return clean
    code = device_codes(device, device.unique().sort())
    since = at.dt.epoch("us") - at.dt.epoch("us").min()
    return clean.rechunk()[(code.cast(pl.Int64) * (1 << 40) + since).arg_sort()]


def _ties(clean: pl.DataFrame, run: npt.NDArray[np.uint32], at: Ints) -> tuple[Ints, Ints]:
    """Positions of a device's readings of one instant, and the positions to take their values from.

    So they are summed in one order, whatever order the files hold them in.
    """
    again = np.r_[False, (at[1:] == at[:-1]) & (run[1:] == run[:-1])]
    tied = np.flatnonzero(again | np.r_[again[1:], False])
    if not len(tied):
        return tied, tied
    sensors = [s.name for s in SENSORS]
    ranked = (
        clean.select(sensors)[tied]
        .with_columns(pl.Series("instant", np.cumsum(~again[tied])), pl.Series("position", tied))
        .sort("instant", *sensors)
    )
    return tied, ranked["position"].to_numpy()


def _windows(device: pl.Series, run: npt.NDArray[np.uint32], at: Ints, minutes: int) -> _Windows:
    length = minutes * _MINUTE_US
    start = at // length * length
    segments = Segments.from_changes((run[1:] != run[:-1]) | (start[1:] != start[:-1]))
    return _Windows(minutes, segments, device.gather(segments.starts), start[segments.starts])


def _moments(values: pl.Series, at: Ints, segments: Segments, ties: tuple[Ints, Ints], name: str) -> Moments:
    numbers = values.cast(pl.Float64).to_numpy()
    if len(ties[0]):
        numbers = numbers.copy()
        numbers[ties[0]] = numbers[ties[1]]
    wants_slope = any("slope" in STATISTICS[s.short] for s in NUMERIC_SENSORS if s.name == name)
    return Moments.of(numbers, segments, at if wants_slope else None)


def _merge(
    base: _Windows, moments: dict[str, Moments], counts: dict[str, npt.NDArray[np.int64]], minutes: int
) -> tuple[_Windows, dict[str, Moments], dict[str, npt.NDArray[np.int64]]]:
    if minutes == base.minutes:
        return base, moments, counts
    windows = _windows(base.device, base.device.rle_id().to_numpy(), base.start_us, minutes)
    return (
        windows,
        {name: m.merged(windows.segments) for name, m in moments.items()},
        {name: windows.segments.sum(c) for name, c in counts.items()},
    )


def _p95(clean: pl.DataFrame, run: npt.NDArray[np.uint32], at: Ints, minutes: int) -> dict[str, pl.Series]:
    """95th percentiles, linear between readings; of all readings of the window, since they cannot be merged."""
    shorts = [short for short, statistics in STATISTICS.items() if "p95" in statistics]
    windows = _windows(clean["device_id"], run, at, minutes)
    window = pl.Series("window", windows.segments.spread(np.arange(len(windows.segments)))).set_sorted()
    found = (
        clean.select(_SENSOR_BY_SHORT[s] for s in shorts)
        .with_columns(window)
        .lazy()
        .group_by("window", maintain_order=True)
        .agg(pl.col(_SENSOR_BY_SHORT[s]).quantile(_P95, "linear").alias(f"{s}_p95") for s in shorts)
        .collect(engine="in-memory")
    )
    return {f"{s}_p95": found[f"{s}_p95"] for s in shorts}


def _feature_frame(
    windows: _Windows,
    moments: dict[str, Moments],
    counts: dict[str, npt.NDArray[np.int64]],
    p95: dict[str, pl.Series],
) -> pl.DataFrame:
    columns: dict[str, pl.Series | Floats] = {}
    for short, statistics in STATISTICS.items():
        of_sensor = moments[_SENSOR_BY_SHORT[short]]
        columns |= {f"{short}_{s}": p95[f"{short}_p95"] if s == "p95" else of_sensor.statistic(s) for s in statistics}
    for sensor in BOOL_SENSORS:
        columns[f"{sensor.short}_fraction"] = moments[sensor.name].statistic("mean")
    start = pl.Series("window_start", windows.start_us).cast(pl.Datetime("us", "UTC"))
    readings = pl.Series("reading_count", counts["reading_count"])
    frame = pl.DataFrame(
        {"device_id": windows.device, "window_start": start, "reading_count": readings, **columns}
    ).with_columns(pl.col(pl.Float64).fill_nan(None))
    return DEVICE_FEATURES.conform(
        frame.with_columns(
            (pl.col("window_start") + pl.duration(minutes=windows.minutes)).alias("window_end"),
            pl.lit(windows.minutes).alias("window_duration_minutes"),
            _ratio(pl.col("pressure_high_mean"), pl.col("pressure_low_mean")).alias("pressure_ratio"),
            (pl.col("temp_condenser_mean") - pl.col("temp_evaporator_mean")).alias("temp_spread_evap_cond"),
            (pl.col("temp_discharge_mean") - pl.col("temp_suction_mean")).alias("temp_spread_discharge_suction"),
            pl.Series("sensor_completeness", 1.0 - counts["nulls"] / (len(SENSORS) * counts["reading_count"])),
            pl.Series("quality_flag_count", counts["flags"]),
        ).with_columns(
            _ratio(pl.col("current_compressor_mean"), pl.col("temp_spread_evap_cond")).alias("current_per_temp_spread")
        )
    )


def _ratio(above: pl.Expr, below: pl.Expr) -> pl.Expr:
    return pl.when(below != 0).then(above / below)


def window_start(moment: datetime, minutes: int) -> datetime:
    """The start of the tumbling window that holds the moment."""
    seconds = minutes * 60
    stamp = int(moment.timestamp()) // seconds * seconds
    return datetime.fromtimestamp(stamp, moment.tzinfo)
