"""The rules of C2: raw rows of one hour in, clean, quarantined and dead rows out. Frames only: no I/O, no clock."""

from dataclasses import dataclass, field

import numpy as np
import polars as pl

from refrig_assets.contracts.readings import (
    CLEAN_READINGS,
    CLOCK_DRIFT,
    CLOCK_DRIFT_LIMIT,
    DEVICE_UNKNOWN,
    DUPLICATE_REMOVED,
    NEGATIVE_SUBCOOLING,
    NEGATIVE_SUPERHEAT,
    QUALITY_FLAGS,
    RANGE_VIOLATION,
    READING_GAP,
    SENSOR_GAP,
)
from refrig_assets.contracts.registry import DEFAULT_INTERVAL_S
from refrig_assets.contracts.sensors import NUMERIC_SENSORS, SENSOR_NAMES
from refrig_assets.transforms.events import Hashes, event_hashes
from refrig_assets.transforms.gaps import NO_HISTORY, Bits, Mask, bits_of_list, reading_gaps, reported_bits, sensor_gaps

FLAG_BIT = {flag: 1 << i for i, flag in enumerate(QUALITY_FLAGS)}
_FLAG_LISTS = pl.Series(
    [[f for f, bit in FLAG_BIT.items() if bits & bit] for bits in range(1 << len(QUALITY_FLAGS))],
    dtype=pl.List(pl.String()),
)
# What decides between copies of one _sequence_number, so that the order of rows and files never does.
_THEN_FIRST = ("timestamp_ingested", "timestamp_device", "device_id", *SENSOR_NAMES)
_EMPTY_HASHES: Hashes = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class CleanContext:
    """What the rules need to know besides the hour's rows."""

    registry: pl.DataFrame
    history: pl.DataFrame = field(default_factory=NO_HISTORY.clone)
    """device_hours of the earlier hours within the horizon"""
    seen_before: Hashes = field(default_factory=_EMPTY_HASHES.copy)
    """sorted hashes of this hour's events that an earlier hour holds"""
    seen_later: Hashes = field(default_factory=_EMPTY_HASHES.copy)
    """sorted hashes of this hour's events that a later hour holds again"""


@dataclass(frozen=True)
class Cleaned:
    """Where every raw row of the hour went; `accounts` adds up."""

    clean: pl.DataFrame
    quarantine: pl.DataFrame
    all_null: pl.DataFrame
    raw_rows: int
    duplicate_rows: int

    @property
    def accounts(self) -> dict[str, int]:
        return {
            "raw": self.raw_rows,
            "clean": self.clean.height,
            "duplicate": self.duplicate_rows,
            "quarantined": self.quarantine.height,
            "dead_letter": self.all_null.height,
        }


def clean_readings(raw: pl.DataFrame, context: CleanContext) -> Cleaned:
    """Apply every rule of C2 to one hour of raw rows, in whatever order they come."""
    raw_rows = raw.height
    devices = _devices(context, raw["device_id"])
    rows, repeated = _drop_duplicates(raw, context)
    del raw  # the hour of a large fleet is a gigabyte: each step lets go of the one before
    rows = _with_time_and_device(rows.with_columns(repeated), devices)
    rows = rows[_order(rows)]
    reported = reported_bits(rows)
    flags = (
        _bit(rows["repeated"], DUPLICATE_REMOVED)
        | _bit(rows["drifted"], CLOCK_DRIFT)
        | _bit(rows["device"] >= context.registry.height, DEVICE_UNKNOWN)
        | _bit(reading_gaps(rows, devices, context.history), READING_GAP)
        | _bit(sensor_gaps(rows, reported, devices), SENSOR_GAP)
    )
    rows, value_flags = _enforce_ranges(rows)
    rows = _assemble(rows, flags | value_flags, devices)
    unknown = pl.Series((flags & FLAG_BIT[DEVICE_UNKNOWN]) != 0)
    silent = pl.Series(reported == 0) & ~unknown
    aside = unknown | silent
    return Cleaned(
        clean=rows.filter(~aside) if aside.any() else rows,
        quarantine=rows.filter(unknown),
        all_null=rows.filter(silent),
        raw_rows=raw_rows,
        duplicate_rows=raw_rows - rows.height,
    )


def _devices(context: CleanContext, heard: pl.Series) -> pl.DataFrame:
    """A row a device; its code is its position: the registered ones by name, then those nobody knows.

    With what each is expected to report, or is known to have reported, and when it was last heard.
    """
    past = (
        context.history.lazy()
        .group_by("device_id")
        .agg(pl.col("last_reading").max(), pl.col("sensors_reported").bitwise_or())
        .collect()
    )
    registered = context.registry.select(
        "device_id", "expected_interval_s", bits_of_list("expected_sensors").alias("expected_bits")
    ).sort("device_id")
    unknown = (
        heard.unique()
        .to_frame("device_id")
        .join(registered, on="device_id", how="anti")
        .sort("device_id")
        .with_columns(
            pl.lit(DEFAULT_INTERVAL_S, dtype=pl.Int32).alias("expected_interval_s"),
            pl.lit(0, dtype=pl.Int32).alias("expected_bits"),
        )
    )
    return (
        pl.concat([registered, unknown])
        .with_row_index("device")
        .join(past, on="device_id", how="left", maintain_order="left")
        .with_columns((pl.col("expected_bits") | pl.col("sensors_reported").fill_null(0)).alias("expected_bits"))
        .drop("sensors_reported")
    )


def _drop_duplicates(raw: pl.DataFrame, context: CleanContext) -> tuple[pl.DataFrame, pl.Series]:
    """The first row of each event, by _sequence_number, and whether it had others, in this hour or another."""
    hashes = event_hashes(raw["event_id"])
    repeated = hashes.is_in(pl.Series(context.seen_later).implode()) if len(context.seen_later) else None
    drop = hashes.is_in(pl.Series(context.seen_before).implode()) if len(context.seen_before) else None
    if hashes.n_unique() < raw.height:
        again = raw.with_row_index("row").filter(hashes.is_duplicated())
        first = (
            again.sort("_sequence_number", *_THEN_FIRST, "row")
            .group_by("event_id", maintain_order=True)
            .agg(pl.col("row").first(), pl.len())
        )
        rows = np.zeros(raw.height, dtype=np.bool_)
        rows[again["row"].to_numpy()] = True
        rows[first["row"].to_numpy()] = False
        more = np.zeros(raw.height, dtype=np.bool_)
        more[first.filter(pl.col("len") > 1)["row"].to_numpy()] = True
        drop = pl.Series(rows) if drop is None else drop | pl.Series(rows)
        repeated = pl.Series(more) if repeated is None else repeated | pl.Series(more)
    if repeated is None:
        repeated = pl.repeat(False, raw.height, eager=True)
    repeated = repeated.rename("repeated")
    if drop is None:
        return raw, repeated
    return raw.filter(~drop), repeated.filter(~drop)


def _with_time_and_device(rows: pl.DataFrame, devices: pl.DataFrame) -> pl.DataFrame:
    """Device codes for device names (cheaper to carry), and the time that counts."""
    apart = (pl.col("timestamp_device") - pl.col("timestamp_ingested")).abs() > CLOCK_DRIFT_LIMIT
    codes = rows.select("device_id").join(
        devices.select("device_id", "device"), on="device_id", how="left", maintain_order="left"
    )
    return (
        rows.with_columns(codes["device"], apart.alias("drifted"))
        .with_columns(
            pl.when("drifted").then("timestamp_ingested").otherwise("timestamp_device").alias("timestamp_utc")
        )
        .drop("timestamp_device", "device_id")
    )


def _order(rows: pl.DataFrame) -> pl.Series:
    """Positions by device, time, sequence and event: one order whatever order the rows came in."""
    since = (pl.col("timestamp_utc") - pl.col("timestamp_utc").min()).dt.total_microseconds()
    key = rows.select((pl.col("device").cast(pl.Int64) * (1 << 40) + since).alias("key"))["key"]
    order = key.arg_sort()
    ordered = key.gather(order)
    same = ordered == ordered.shift(1)
    if not same.any():
        return order
    tied = (same.fill_null(False) | same.shift(-1, fill_value=False).fill_null(False)).arg_true()
    chosen = order.gather(tied)
    by_rank = (
        rows.select("_sequence_number", "event_id")[chosen]
        .with_columns(ordered.gather(tied), chosen.alias("row"))
        .sort("key", "_sequence_number", "event_id")
    )
    return order.scatter(tied, by_rank["row"])


def _bit(mask: pl.Series | Mask, flag: str) -> Bits:
    values = mask.to_numpy() if isinstance(mask, pl.Series) else mask
    return values.astype(np.int32) * np.int32(FLAG_BIT[flag])


def _enforce_ranges(rows: pl.DataFrame) -> tuple[pl.DataFrame, Bits]:
    """Values outside their range become null; the flags that values earn."""
    flags = np.zeros(rows.height, dtype=np.int32)
    mended = []
    for sensor in NUMERIC_SENSORS:
        value = rows[sensor.name]
        inside = value.is_between(sensor.low, sensor.high) & value.is_not_nan()
        if inside.all():  # nulls do not count
            continue
        flags |= _bit(~inside.fill_null(True), RANGE_VIOLATION)
        mended.append(pl.when(inside).then(pl.col(sensor.name)).alias(sensor.name))
    rows = rows.with_columns(mended)
    for name, flag in ((("superheat"), NEGATIVE_SUPERHEAT), ("subcooling", NEGATIVE_SUBCOOLING)):
        negative = (rows[name] < 0).fill_null(False)
        if negative.any():
            flags |= _bit(negative, flag)
    return rows, flags


def _assemble(rows: pl.DataFrame, flags: Bits, devices: pl.DataFrame) -> pl.DataFrame:
    """The contract's columns, in its order."""
    nulls = np.zeros(rows.height, dtype=np.int32)
    for name in SENSOR_NAMES:
        if rows[name].null_count():
            nulls += rows[name].is_null().to_numpy()
    return rows.with_columns(
        devices["device_id"].gather(rows["device"]),
        _FLAG_LISTS.gather(pl.Series(flags)).alias("quality_flags"),
        pl.Series("sensor_null_count", nulls),
    ).select(list(CLEAN_READINGS.columns))
