"""From messages as read to rows of C1: times read, narrow messages joined, what lacks a device or a time set aside."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from refrig_assets.contracts.readings import DEAD_LETTER, DUPLICATE_HORIZON, RAW_READINGS
from refrig_assets.contracts.sensors import SENSOR_NAMES, SENSORS
from refrig_assets.transforms.narrow import join_narrow, read_values
from refrig_assets.transforms.times import UTC_US, bounded, read_times
from refrig_assets.transforms.wire import Dead, Messages, dead_payload

_MICROSECOND = timedelta(microseconds=1)
# A gateway clock beyond these, seen from the start of the landing hour, is broken: its rows would lie in hours that
# nobody looks at again.
_TOO_FAR_AHEAD = timedelta(hours=2)
_TOO_FAR_BEHIND = DUPLICATE_HORIZON


@dataclass(frozen=True)
class Arrival:
    """Where a block of messages came from, and what is assumed where a message does not say."""

    source: str
    hour: datetime
    """the landing hour; a message without a gateway clock is taken to have arrived in it"""
    first_sequence: int
    stage: str = "landing"


@dataclass(frozen=True)
class Landed:
    """What a block came to. messages = raw rows + joined + dead letters + held, to the message."""

    raw: pl.DataFrame
    dead: pl.DataFrame
    messages: int
    joined: int
    unknown_fields: int
    held: pl.DataFrame | None = None
    """narrow messages whose row may go on in the next block of the source; to be handed in with it"""


def land_messages(
    messages: Messages, arrival: Arrival, earlier: pl.DataFrame | None = None, *, hold_from: int | None = None
) -> Landed:
    """Wide and narrow wire messages as rows of C1, and those that cannot be rows as dead letters.

    Narrow messages whose row begins at the offset `hold_from` or later are held, to be handed in as `earlier` with the
    next block: what follows may belong to them.
    """
    rows = messages.rows.with_columns(
        read_times(messages.rows["timestamp"]).alias("timestamp_device"),
        read_times(messages.rows["timestamp_ingested"]).alias("gateway_time"),
        *(_filled(n) for n in ("event_id", "device_id", "sensor_type")),
    ).with_columns(arrived_at(pl.col("gateway_time"), arrival.hour))
    is_narrow = rows["readings"].is_null() & rows["sensor_type"].is_not_null()
    wide = rows.filter(~is_narrow).with_columns(_complaint(arrival.hour).alias("reason"))
    narrow = read_values(rows.filter(is_narrow)).with_columns(
        pl.coalesce(_complaint(arrival.hour), "problem").alias("reason")
    )
    good = pl.col("reason").is_null()
    joined = join_narrow(narrow.filter(good), earlier, hold_from)
    raw = pl.concat([_wide_rows(wide.filter(good)), joined.rows]).sort("offset")
    told = ("offset", "reason", "event_id", "device_id")
    bad = [
        Dead(offset, reason, messages.payload(offset), event_id, device_id)
        for part in (wide, narrow)
        for offset, reason, event_id, device_id in part.filter(~good).select(told).iter_rows()
    ]
    dead = dead_letters(sorted([*messages.dead, *bad], key=lambda d: d.offset), arrival)
    merged = joined.parts - joined.rows.height
    return Landed(_as_raw(raw, arrival), dead, messages.lines, merged, messages.unknown_fields, joined.held)


def land_table(frame: pl.DataFrame, arrival: Arrival, offsets: pl.Series | None = None) -> Landed:
    """Rows of a Parquet or CSV file, named as in the contract, as rows of C1; without `offsets` these are counted."""
    given = _renamed(frame)
    unknown = [pl.col(c).is_not_null() for c in given.columns if c not in RAW_READINGS.columns]
    typed = given.select(
        (pl.int_range(pl.len(), dtype=pl.Int64) if offsets is None else offsets).alias("offset"),
        _as_text(given, "event_id"),
        _as_text(given, "device_id"),
        _as_time(given, "timestamp_device").alias("timestamp_device"),
        _as_time(given, "timestamp_ingested").alias("gateway_time"),
        _as_text(given, "timestamp_device").alias("timestamp"),
        *(_as_sensor(given, s.name, s.is_bool) for s in SENSORS),
    ).with_columns(arrived_at(pl.col("gateway_time"), arrival.hour))
    unread = pl.concat_str(
        [
            pl.when(typed[s].is_null() & given[s].is_not_null()).then(pl.lit(f"{s} is not a value"))
            for s in SENSOR_NAMES
            if s in given.columns
        ],
        separator="; ",
        ignore_nulls=True,
    )
    typed = typed.with_columns(pl.coalesce(_complaint(arrival.hour), unread.replace("", None)).alias("reason"))
    bad = typed["reason"].is_not_null()
    told = typed.filter(bad).select("offset", "reason", "event_id", "device_id").iter_rows()
    dead = [
        Dead(offset, reason, json.dumps(row, default=str, ensure_ascii=False).encode(), event_id, device_id)
        for (offset, reason, event_id, device_id), row in zip(
            told, frame.filter(bad).iter_rows(named=True), strict=True
        )
    ]
    known_only = given.select(pl.any_horizontal(unknown).sum()).item() if unknown else 0
    return Landed(_as_raw(typed.filter(~bad), arrival), dead_letters(dead, arrival), frame.height, 0, known_only)


def dead_letters(dead: Sequence[Dead], arrival: Arrival) -> pl.DataFrame:
    """Dead letters as rows of their contract, dated to the landing hour."""
    payloads = [dead_payload(d.payload) for d in dead]
    columns = {
        "timestamp_ingested": [arrival.hour] * len(dead),
        "source_partition": [arrival.source] * len(dead),
        "source_offset": [d.offset for d in dead],
        "reason": [d.reason for d in dead],
        "payload": [text for text, _ in payloads],
        "payload_encoding": [encoding for _, encoding in payloads],
        "stage": [arrival.stage] * len(dead),
        "event_id": [d.event_id for d in dead],
        "device_id": [d.device_id for d in dead],
    }
    return pl.DataFrame(columns, schema=DEAD_LETTER.dtypes)


def arrived_at(gateway: pl.Expr, hour: datetime) -> pl.Expr:
    """The gateway clock; without one the device clock as far as it lies in the landing hour."""
    last = hour + timedelta(hours=1) - _MICROSECOND
    assumed = pl.col("timestamp_device").clip(pl.lit(hour), pl.lit(last))
    return pl.coalesce(gateway, assumed).cast(UTC_US).alias("timestamp_ingested")


def _filled(name: str) -> pl.Expr:
    return pl.col(name).str.strip_chars().replace("", None)


def _complaint(hour: datetime) -> pl.Expr:
    """Why a message cannot be a row, or null."""
    clock = pl.col("gateway_time")
    return (
        pl.when(pl.col("device_id").is_null())
        .then(pl.lit("no device_id"))
        .when(pl.col("timestamp_device").is_null())
        .then(pl.concat_str(pl.lit("no readable timestamp"), _excerpt("timestamp"), ignore_nulls=True))
        .when(clock >= hour + _TOO_FAR_AHEAD)
        .then(pl.lit("timestamp_ingested lies in the future of its landing hour"))
        .when(clock < hour - _TOO_FAR_BEHIND)
        .then(pl.lit(f"timestamp_ingested lies more than {_TOO_FAR_BEHIND.days} days before its landing hour"))
    )


def _excerpt(name: str) -> pl.Expr:
    return pl.lit(", which should be ISO 8601: ") + pl.col(name).str.slice(0, 60)


def _wide_rows(wide: pl.DataFrame) -> pl.DataFrame:
    return wide.select(
        "event_id",
        "device_id",
        "timestamp_device",
        "timestamp_ingested",
        *(pl.col("readings").struct.field(s) for s in SENSOR_NAMES),
        "offset",
    )


def _as_raw(rows: pl.DataFrame, arrival: Arrival) -> pl.DataFrame:
    made_up = pl.col("device_id") + "@" + pl.col("timestamp_device").dt.epoch("us").cast(pl.String)
    return RAW_READINGS.conform(
        rows.with_columns(
            pl.coalesce("event_id", made_up).alias("event_id"),
            pl.col("device_id").alias("_partition_key"),
            (pl.col("offset") + arrival.first_sequence).alias("_sequence_number"),
        )
    )


def _renamed(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame under the contract's names; a ValueError where it can hold no readings."""
    if "timestamp_device" not in frame.columns and "timestamp" in frame.columns:
        frame = frame.rename({"timestamp": "timestamp_device"})
    missing = [f"no column {c}" for c in ("device_id", "timestamp_device") if c not in frame.columns]
    if not set(SENSOR_NAMES) & set(frame.columns):
        missing.append("no column of any sensor (one reading a row, or names of the plant's own: see `refrig import`)")
    if missing:
        raise ValueError(f"{' and '.join(missing)}; the file has {', '.join(frame.columns)}"[:300])
    return frame


def _as_text(frame: pl.DataFrame, name: str) -> pl.Expr:
    if name not in frame.columns:
        return pl.lit(None, dtype=pl.String).alias(name)
    return pl.col(name).cast(pl.String).str.strip_chars().replace("", None)


def _as_time(frame: pl.DataFrame, name: str) -> pl.Series:
    dtype = frame.schema.get(name)
    if isinstance(dtype, pl.Datetime):
        time = frame[name].dt.cast_time_unit("us")
        return bounded(
            time.dt.replace_time_zone("UTC") if dtype.time_zone is None else time.dt.convert_time_zone("UTC")
        )
    if dtype == pl.String:
        return read_times(frame[name])
    return pl.Series(name, [None], dtype=UTC_US).new_from_index(0, frame.height)


def _as_sensor(frame: pl.DataFrame, name: str, is_bool: bool) -> pl.Expr:
    dtype = frame.schema.get(name, pl.Null())
    if not (dtype == pl.String or dtype.is_numeric() or dtype == pl.Boolean):
        return pl.lit(None, dtype=pl.Boolean() if is_bool else pl.Float64()).alias(name)
    value = pl.col(name)
    if dtype == pl.String:
        words = value.str.strip_chars().str.to_lowercase()
        value = words.replace({"true": "1", "false": "0"})
    number = value.cast(pl.Float64, strict=False)
    if not is_bool:
        return number.alias(name)
    return pl.when(number == 1).then(True).when(number == 0).then(False).otherwise(None).alias(name)
