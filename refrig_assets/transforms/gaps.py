"""Gaps: readings and sensors that should be there, found within an hour and by what earlier hours heard. No I/O."""

from collections.abc import Iterable
from datetime import datetime

import numpy as np
import numpy.typing as npt
import polars as pl

from refrig_assets.contracts.bookkeeping import DEVICE_HOURS
from refrig_assets.contracts.readings import READING_GAP_INTERVALS
from refrig_assets.contracts.sensors import SENSOR_BIT

Bits = npt.NDArray[np.int32]
Bits64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

ALL_SENSORS = sum(SENSOR_BIT.values())
_NEVER = -(1 << 62)
NO_HISTORY = DEVICE_HOURS.empty()


def device_hours(clean: pl.DataFrame, hour: datetime) -> pl.DataFrame:
    """Who was heard in the hour and with which sensors: what later hours find gaps by. Rows lie by device."""
    if clean.is_empty():
        return NO_HISTORY.clone()
    device = clean["device_id"]
    starts = (device != device.shift(1)).fill_null(True).arg_true()
    at, first = clean["timestamp_utc"].dt.epoch("us").to_numpy(), starts.to_numpy()
    return pl.DataFrame(
        {
            "hour": pl.Series([hour], dtype=NO_HISTORY.schema["hour"]).new_from_index(0, len(starts)),
            "device_id": device.gather(starts),
            "first_reading": pl.Series(np.minimum.reduceat(at, first)).cast(NO_HISTORY.schema["first_reading"]),
            "last_reading": pl.Series(np.maximum.reduceat(at, first)).cast(NO_HISTORY.schema["last_reading"]),
            "sensors_reported": pl.Series(np.bitwise_or.reduceat(reported_bits(clean), first)),
        }
    ).sort("device_id")


def reported_bits(rows: pl.DataFrame) -> Bits:
    """Which sensors each row was sent with, as bits."""
    reported = np.full(rows.height, ALL_SENSORS, dtype=np.int32)
    for name, bit in SENSOR_BIT.items():
        if rows[name].null_count():
            reported -= rows[name].is_null().to_numpy().astype(np.int32) * np.int32(bit)
    return reported


def reading_gaps(rows: pl.DataFrame, devices: pl.DataFrame, history: pl.DataFrame) -> Mask:
    """More than five expected intervals since the device's reading before, in this hour or an earlier one."""
    device = rows["device"].to_numpy()
    at = rows["timestamp_utc"].dt.epoch("us").to_numpy()
    limit = devices["expected_interval_s"].to_numpy()[device].astype(np.int64) * (READING_GAP_INTERVALS * 1_000_000)
    before = np.full(len(at), _NEVER, dtype=np.int64)
    same_device = device[1:] == device[:-1]
    before[1:][same_device] = at[:-1][same_device]
    heard = devices["last_reading"].dt.epoch("us").fill_null(_NEVER).to_numpy()[device]
    before = np.where(heard < at, np.maximum(before, heard), before)
    suspect = at - before > limit
    late = np.flatnonzero(suspect & (heard >= at))
    if len(late):
        before[late] = np.maximum(before[late], _heard_before(rows[late], devices, history))
    gap: Mask = (at - before > limit) & (before > _NEVER)
    return gap


def _heard_before(late: pl.DataFrame, devices: pl.DataFrame, history: pl.DataFrame) -> Bits64:
    """For late rows: the latest moment before each at which an earlier hour says the device was heard."""
    at = (
        late.select("timestamp_utc", "device")
        .with_row_index("row")
        .join(devices.select("device", "device_id"), on="device", maintain_order="left")
    )
    moment = (
        pl.when(pl.col("last_reading") < pl.col("timestamp_utc"))
        .then("last_reading")
        .when(pl.col("first_reading") < pl.col("timestamp_utc"))
        .then("first_reading")
    )
    found = at.join(history.select("device_id", "first_reading", "last_reading"), on="device_id", how="left")
    return (
        found.group_by("row")
        .agg(moment.otherwise(None).max().dt.epoch("us").fill_null(_NEVER).alias("moment"))
        .sort("row")["moment"]
        .to_numpy()
    )


def sensor_gaps(rows: pl.DataFrame, reported: Bits, devices: pl.DataFrame) -> Mask:
    """A sensor that is expected of the device, or that it reported before, was not sent."""
    device = rows["device"].to_numpy()
    missing = ~reported & np.int32(ALL_SENSORS)
    gap: Mask = (missing & devices["expected_bits"].to_numpy()[device]) != 0
    if not len(device) or not missing.any():
        return gap
    starts = np.flatnonzero(np.r_[True, device[1:] != device[:-1]])
    lengths = np.diff(np.r_[starts, len(device)])
    this_hour = np.repeat(np.bitwise_or.reduceat(reported, starts), lengths)
    unsteady = missing & this_hour
    position = np.arange(len(device))
    for bit in SENSOR_BIT.values():
        if (unsteady & bit).any():
            first = np.minimum.reduceat(np.where(reported & bit, position, len(device)), starts)
            gap |= ((unsteady & bit) != 0) & (position > np.repeat(first, lengths))
    return gap


def changed_history(before: pl.DataFrame, after: pl.DataFrame, registry: pl.DataFrame) -> pl.DataFrame:
    """The devices of an hour that `device_hours` now tells something else of, and what: moments and sensors."""
    both = before.drop("hour").join(after.drop("hour"), on="device_id", how="full", coalesce=True, suffix="_now")
    moments = []
    for name in ("first_reading", "last_reading"):
        was, now = pl.col(name), pl.col(f"{name}_now")
        moments += [pl.when(was.ne_missing(now)).then(c) for c in (was, now)]
    sensors = pl.col("sensors_reported").fill_null(0).xor(pl.col("sensors_reported_now").fill_null(0))
    expected = registry.select("device_id", bits_of_list("expected_sensors").alias("known"))
    return (
        both.select(
            "device_id",
            pl.min_horizontal(moments).alias("earliest"),
            pl.max_horizontal(moments).alias("latest"),
            sensors.alias("sensors"),
            pl.lit(None, dtype=before.schema["last_reading"]).alias("heard_since"),
        )
        .filter(pl.col("latest").is_not_null() | (pl.col("sensors") != 0))
        .join(expected, on="device_id", how="left")
        .with_columns(pl.col("known").fill_null(0))
    )


def hours_touched(changed: pl.DataFrame, later: Iterable[tuple[datetime, pl.DataFrame]]) -> dict[datetime, int]:
    """The later hours, given in order, whose gaps may now be others, and of how many devices.

    A changed moment has no say after one that lies between it and the rows of the later hour; a changed sensor none
    where it is expected of the device or was reported since.
    """
    touched: dict[datetime, int] = {}
    first, last, latest = pl.col("first_reading"), pl.col("last_reading"), pl.col("latest")
    for hour, heard in later:
        here = changed.join(heard.drop("hour"), on="device_id", how="left", maintain_order="left")
        moment = (pl.col("earliest") < last) & (pl.col("heard_since") < first).fill_null(False).not_()
        sensor = last.is_not_null() & ((pl.col("sensors") & pl.col("known").not_()) != 0)
        devices = here.select((moment.fill_null(False) | sensor).sum()).item()
        if devices:
            touched[hour] = devices
        since = pl.when(first >= latest).then(first).when(last >= latest).then(last)
        changed = here.select(
            *(c for c in changed.columns if c not in ("heard_since", "known")),
            pl.min_horizontal("heard_since", since).alias("heard_since"),
            (pl.col("known") | pl.col("sensors_reported").fill_null(0)).alias("known"),
        )
    return touched


def bits_of_list(column: str) -> pl.Expr:
    """A list of sensors as a bit set."""
    terms = [pl.col(column).list.contains(name).cast(pl.Int32) * bit for name, bit in SENSOR_BIT.items()]
    return pl.sum_horizontal(terms).cast(pl.Int32)
