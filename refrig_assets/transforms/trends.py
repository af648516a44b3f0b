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
    CHANGE_H,
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
# A repaired machine pulls down to its normal state first.
SETTLES_IN = timedelta(hours=2)
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
    before: Mapping[datetime, HourOfWindows],
    hour: datetime,
    earlier: pl.DataFrame | None = None,
    repairs: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """The trends of every device that has a window in the hours before; other hours are not looked at.

    `earlier` holds the trends to compare with, of the hour `CHANGE_H` hours before. `repairs` holds device_id and
    completed_date of what was repaired: what a machine did before says nothing of what it is since.
    """
    back = [before.get(hour - n * HOUR) for n in range(1, LOOK_BACK_H + 1)]
    there = [h for h in back if h is not None and len(h.devices)]
    if not there:
        return DEVICE_TRENDS.empty()
    devices = there[0].devices
    if not all(h.devices.equals(devices) for h in there):
        devices = pl.concat([h.devices for h in there]).unique().sort()
    since = _repaired_at(devices, hour, repairs)
    sums = np.zeros((len(devices), len(TRENDED)))
    counts = np.zeros((len(devices), len(TRENDED)), dtype=np.int16)
    present = np.zeros(len(devices), dtype=np.int32)
    columns: dict[str, pl.Series | Floats] = {"device_id": devices}
    for number, windows in enumerate(back, start=1):
        if windows is not None and len(windows.devices):
            usable = None if since is None else since <= np.datetime64((hour - number * HOUR).replace(tzinfo=None))
            _add(windows, devices, sums, counts, present, usable)
        if number in HORIZONS_H:
            columns |= _means(sums, counts, number)
    start = pl.lit(hour).cast(DEVICE_TRENDS.dtypes["window_start"]).alias("window_start")
    frame = pl.DataFrame(columns).with_columns(start, pl.Series("hours_present", present))
    frame = frame.with_columns(pl.col(pl.Float64).fill_nan(None))
    compared_from = np.datetime64((hour - (CHANGE_H + min(HORIZONS_H)) * HOUR).replace(tzinfo=None))
    spoilt = pl.lit(False) if since is None else pl.Series(since > compared_from)
    frame = _with_changes(frame, earlier).with_columns(
        pl.when(~spoilt).then(pl.col(c)).alias(c) for c in map(change_name, CHANGED)
    )
    return DEVICE_TRENDS.conform(frame.filter(pl.col("hours_present") > 0))


def _repaired_at(devices: pl.Series, hour: datetime, repairs: pl.DataFrame | None) -> npt.NDArray[np.datetime64] | None:
    """The first full hour since each device has settled after its last repair; None where there was none."""
    if repairs is None:
        return None
    done = repairs.filter((pl.col("completed_date") <= hour) & pl.col("device_id").is_in(devices.to_list()))
    if done.is_empty():
        return None
    whole = (pl.col("completed_date") - pl.duration(microseconds=1)).dt.truncate("1h") + HOUR + SETTLES_IN
    last = done.group_by("device_id").agg(whole.max().dt.replace_time_zone(None).alias("at")).sort("device_id")
    found = np.full(len(devices), np.datetime64("1970-01-01", "us"))
    found[device_codes(last["device_id"], devices).to_numpy()] = last["at"].to_numpy()
    return found


def _with_changes(trends: pl.DataFrame, earlier: pl.DataFrame | None) -> pl.DataFrame:
    """Null where a device has no trends of that time."""
    if earlier is None or earlier.is_empty():
        return trends.with_columns(pl.lit(None, dtype=pl.Float64).alias(change_name(f)) for f in CHANGED)
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
    usable: npt.NDArray[np.bool_] | None,
) -> None:
    known = ~np.isnan(windows.values)
    # All of them, in the same order, or some.
    at = slice(None) if len(windows.devices) == len(devices) else device_codes(windows.devices, devices).to_numpy()
    there = np.ones(len(windows.devices), dtype=np.bool_) if usable is None else usable[at]
    if usable is not None:
        known &= there[:, None]
    sums[at] += np.where(known, windows.values, 0.0)
    counts[at] += known
    present[at] += there


def _means(sums: Floats, counts: npt.NDArray[np.int16], hours: int) -> dict[str, pl.Series | Floats]:
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.where(counts >= hours * LEAST_SHARE, sums / counts, np.nan)
    return {trend_name(feature, hours): means[:, i].copy() for i, feature in enumerate(TRENDED)}
