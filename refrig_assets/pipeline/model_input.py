"""What a model is given to score (C4): the hour's windows, gaps filled from the device's last hours, too thin rows out.

What is still missing then is the model's own to impute; it knows what is normal under the row's conditions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from refrig_assets.contracts.features import DEVICE_FEATURES, FEATURE_NAMES
from refrig_assets.contracts.registry import DEVICE_REGISTRY
from refrig_assets.contracts.scoring import LEAST_COMPLETENESS, NEW_DEVICE_DAYS, SCORED_WINDOW_MIN
from refrig_assets.contracts.trends import DERIVED, DEVICE_TRENDS
from refrig_assets.lake import HOUR, Lake
from refrig_assets.pipeline.model_rows import join_rows
from refrig_assets.transforms.trends import with_derived

# Older values say nothing of now; see docs/adr/0010-forward-fill.md.
FILL_FROM = timedelta(hours=2)
# Trends are not filled: they are means over hours already, and know themselves when they hold too little.
FILLED: tuple[str, ...] = (*FEATURE_NAMES, *DERIVED)
DEVICES_AT_ONCE = 25_000

REGION = "region"


@dataclass(frozen=True)
class ModelInput:
    """Rows to score, by device and time, and what became of the others."""

    rows: pl.DataFrame
    windows: int
    incomplete: int
    """windows left out because too little of them is there"""
    filled: int
    """values taken from an earlier window of the device"""
    new_devices: int


def model_inputs(
    lake: Lake,
    hour: datetime,
    until: datetime,
    *,
    devices: Sequence[str] | None = None,
    devices_at_once: int = DEVICES_AT_ONCE,
) -> Iterator[ModelInput]:
    """The windows of the hour that end by `until`, a range of devices at a time.

    Versions are pinned at the start, so that all ranges are of one state of the lake.
    """
    versions = {c.name: lake.table(c).version for c in (DEVICE_FEATURES, DEVICE_TRENDS, DEVICE_REGISTRY)}
    registry = lake.table(DEVICE_REGISTRY).read(version=versions[DEVICE_REGISTRY.name])
    known = registry.select("device_id", "cohort_id", "install_date", REGION).sort("device_id")
    if devices is not None:
        known = known.filter(pl.col("device_id").is_in(list(devices)))
    for start in range(0, known.height, devices_at_once):
        part = known[start : start + devices_at_once]
        yield _input(lake, hour, until, part, versions, exact=devices is not None)


def _input(
    lake: Lake, hour: datetime, until: datetime, known: pl.DataFrame, versions: dict[str, int], *, exact: bool
) -> ModelInput:
    # A range of ids lets readers skip what a list of them would have to look through.
    mine = pl.col("device_id").is_between(pl.lit(known["device_id"][0]), pl.lit(known["device_id"][-1]))
    if exact:
        mine &= pl.col("device_id").is_in(known["device_id"].implode())
    features = lake.table(DEVICE_FEATURES)
    pinned = versions[DEVICE_FEATURES.name]
    windows = features.scan(hour, hour + HOUR, version=pinned).filter(_window_rows() & (pl.col("window_end") <= until))
    trends = lake.table(DEVICE_TRENDS).scan(hour, hour + HOUR, version=versions[DEVICE_TRENDS.name])
    found = windows.filter(mine).collect(engine="in-memory")
    enough = found.filter(pl.col("sensor_completeness") >= LEAST_COMPLETENESS)
    rows = join_rows(enough, trends.filter(mine).collect(engine="in-memory"), known)
    gaps = _gaps(rows)
    filled = 0
    if gaps.any():
        before = features.scan(hour - FILL_FROM, hour, version=pinned).filter(_window_rows() & mine)
        lacking = rows.filter(gaps)["device_id"].unique()
        needed = before.select("device_id", "window_start", *FEATURE_NAMES)
        earlier = needed.filter(pl.col("device_id").is_in(lacking.implode())).collect(engine="in-memory")
        # A window too thin to be scored may still hold what a later one lacks.
        thin = found.filter(pl.col("sensor_completeness") < LEAST_COMPLETENESS).select(earlier.columns)
        rows, filled = forward_filled(rows, with_derived(pl.concat([earlier, thin])))
    rows = rows.join(known.select("device_id", REGION), on="device_id", how="left", maintain_order="left")
    young = rows.filter(pl.col("device_age_days") < NEW_DEVICE_DAYS)
    return ModelInput(rows, found.height, found.height - enough.height, filled, young["device_id"].n_unique())


def _window_rows() -> pl.Expr:
    return pl.col("window_duration_minutes") == SCORED_WINDOW_MIN


def _gaps(rows: pl.DataFrame) -> pl.Series:
    return rows.select(pl.any_horizontal(pl.col(FILLED).is_null()).alias("gap"))["gap"]


def forward_filled(
    rows: pl.DataFrame, earlier: pl.DataFrame, look_back: timedelta = FILL_FROM
) -> tuple[pl.DataFrame, int]:
    """Gaps filled from the device's last value no older than the look-back; and how many were.

    `rows` lie by device and time; `earlier` holds device_id, window_start and the features, in any order.
    """
    wanted = ["device_id", "window_start", *FILLED]
    row = pl.int_range(pl.len(), dtype=pl.Int64).alias("row")
    lie = pl.concat([rows.select(*wanted, row), earlier.select(*wanted, pl.lit(None, dtype=pl.Int64).alias("row"))])
    lie = lie.sort("device_id", "window_start")
    first = lie.select((pl.col("device_id") != pl.col("device_id").shift(1)).fill_null(value=True))["device_id"]
    begins = np.maximum.accumulate(np.where(first.to_numpy(), np.arange(lie.height), 0))
    moment = lie["window_start"].dt.epoch("us").to_numpy()
    target = lie["row"].is_not_null().to_numpy()
    order = lie["row"].drop_nulls().to_numpy()
    oldest = moment - round(look_back.total_seconds() * 1e6)
    filled, columns = 0, []
    for name in FILLED:
        if not rows[name].null_count():
            continue
        values, count = _fill(lie[name].to_numpy(), begins, moment, oldest, target)
        if count:
            back = np.empty(rows.height)
            back[order] = values[target]
            columns.append(pl.Series(name, back).fill_nan(None))
            filled += count
    return rows.with_columns(columns), filled


def _fill(
    values: npt.NDArray[np.float64],
    begins: npt.NDArray[np.int64],
    moment: npt.NDArray[np.int64],
    oldest: npt.NDArray[np.int64],
    target: npt.NDArray[np.bool_],
) -> tuple[npt.NDArray[Any], int]:
    missing = np.isnan(values)
    last = np.maximum.accumulate(np.where(missing, -1, np.arange(len(values))))
    may = missing & target & (last >= begins)
    may[may] = moment[last[may]] >= oldest[may]
    found = values.copy()
    found[may] = values[last[may]]
    return found, int(may.sum())


def without_young(rows: pl.DataFrame, device: str | None) -> pl.DataFrame:
    """Young devices are nobody in particular to a model: the normals of their cohort and of the fleet apply."""
    if device is None:
        return rows
    young = pl.col("device_age_days") < NEW_DEVICE_DAYS
    return rows.with_columns(pl.when(~young.fill_null(value=False)).then(pl.col(device)).alias(device))
