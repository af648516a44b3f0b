"""The rules of C3+: 60-minute windows of the hours before in, one row of means a device out. No I/O, no clock.

Values are added hour by hour from the newest back, whatever order rows come in: the same windows give the same bits.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from refrig_assets.contracts.features import FEATURE_NAMES
from refrig_assets.contracts.trends import (
    CHANGED,
    DERIVED,
    DEVICE_TRENDS,
    HORIZONS_H,
    LEAST_SHARE,
    TRENDED,
    change_name,
    trend_name,
)
from refrig_assets.transforms.devices import device_codes

Floats = npt.NDArray[np.float64]
HOUR = timedelta(hours=1)
LOOK_BACK_H = max(HORIZONS_H)
# What of device_features a trend needs.
TREND_INPUTS: tuple[str, ...] = (
    "device_id",
    "window_start",
    *(name for name in FEATURE_NAMES if name in TRENDED or any(name in parts for parts in DERIVED.values())),
)

# What of the earlier trends a change needs.
CHANGE_INPUTS: tuple[str, ...] = tuple(trend_name(f, min(HORIZONS_H)) for f in CHANGED)


def with_derived(features: pl.DataFrame) -> pl.DataFrame:
    """Windows with the features that are differences of others."""
    return features.with_columns((pl.col(plus) - pl.col(minus)).alias(n) for n, (plus, minus) in DERIVED.items())


@dataclass(frozen=True)
class HourOfWindows:
    """One hour's 60-minute windows: devices in order, and a row of values for each (NaN where there is none)."""

    devices: pl.Series
    values: Floats

    @classmethod
    def of(cls, windows: pl.DataFrame) -> "HourOfWindows":
        rows = with_derived(windows if windows["device_id"].is_sorted() else windows.sort("device_id"))
        values = rows.select(pl.col(TRENDED).fill_null(float("nan"))).to_numpy(order="c")
        return cls(rows["device_id"], values)


def trend_rows(
    before: Mapping[datetime, HourOfWindows], hour: datetime, earlier: pl.DataFrame | None = None
) -> pl.DataFrame:
    """The trends of every device that has a window in the hours before; other hours are not looked at.

    `earlier` holds the trends to compare with, of the hour `CHANGE_H` hours before.
    """
    back = [before.get(hour - n * HOUR) for n in range(1, LOOK_BACK_H + 1)]
    there = [h for h in back if h is not None and len(h.devices)]
    if not there:
        return DEVICE_TRENDS.empty()
    devices = there[0].devices
    if not all(h.devices.equals(devices) for h in there):
        devices = pl.concat([h.devices for h in there]).unique().sort()
    sums = np.zeros((len(devices), len(TRENDED)))
    counts = np.zeros((len(devices), len(TRENDED)), dtype=np.int16)
    present = np.zeros(len(devices), dtype=np.int32)
    columns: dict[str, pl.Series | Floats] = {"device_id": devices}
    for number, windows in enumerate(back, start=1):
        if windows is not None and len(windows.devices):
            _add(windows, devices, sums, counts, present)
        if number in HORIZONS_H:
            columns |= _means(sums, counts, number)
    start = pl.lit(hour).cast(DEVICE_TRENDS.dtypes["window_start"]).alias("window_start")
    frame = pl.DataFrame(columns).with_columns(start, pl.Series("hours_present", present))
    frame = frame.with_columns(pl.col(pl.Float64).fill_nan(None))
    return DEVICE_TRENDS.conform(_with_changes(frame, earlier))


def _with_changes(trends: pl.DataFrame, earlier: pl.DataFrame | None) -> pl.DataFrame:
    """Null where a device has no trends of that time."""
    if earlier is None or earlier.is_empty():
        return trends
    then = earlier.select("device_id", *(pl.col(n).alias(f"{n}_then") for n in CHANGE_INPUTS))
    joined = trends.join(then, on="device_id", how="left", maintain_order="left")
    changes = [
        (pl.col(n) - pl.col(f"{n}_then")).alias(change_name(f)) for f, n in zip(CHANGED, CHANGE_INPUTS, strict=True)
    ]
    return joined.with_columns(changes).drop(f"{n}_then" for n in CHANGE_INPUTS)


def _add(
    windows: HourOfWindows,
    devices: pl.Series,
    sums: Floats,
    counts: npt.NDArray[np.int16],
    present: npt.NDArray[np.int32],
) -> None:
    known = ~np.isnan(windows.values)
    values = np.where(known, windows.values, 0.0)
    if len(windows.devices) == len(devices):  # all of them, in the same order
        sums += values
        counts += known
        present += 1
        return
    at = device_codes(windows.devices, devices).to_numpy()
    sums[at] += values
    counts[at] += known
    present[at] += 1


def _means(sums: Floats, counts: npt.NDArray[np.int16], hours: int) -> dict[str, pl.Series | Floats]:
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.where(counts >= hours * LEAST_SHARE, sums / counts, np.nan)
    return {trend_name(feature, hours): means[:, i].copy() for i, feature in enumerate(TRENDED)}
