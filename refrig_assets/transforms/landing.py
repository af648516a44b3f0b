"""From messages as read to rows of C1: times read, narrow messages joined, what lacks a device or a time set aside."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from refrig_assets.contracts.readings import DEAD_LETTER, RAW_READINGS
from refrig_assets.contracts.sensors import SENSOR_NAMES, SENSORS
from refrig_assets.transforms.wire import Dead, Messages, dead_payload

_UTC_US = pl.Datetime("us", "UTC")
_MICROSECOND = timedelta(microseconds=1)
# A gateway clock this far past the start of the landing hour is broken: its rows would lie in hours nobody looks at.
_TOO_FAR_AHEAD = timedelta(hours=2)


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
    """What a block came to. messages = raw rows + joined + dead letters, to the message."""

    raw: pl.DataFrame
    dead: pl.DataFrame
    messages: int
    joined: int
    unknown_fields: int


def land_messages(messages: Messages, arrival: Arrival) -> Landed:
    """Wide and narrow wire messages as rows of C1, and those that cannot be rows as dead letters."""
    rows = messages.rows.with_columns(
        parse_time("timestamp").alias("timestamp_device"),
        parse_time("timestamp_ingested").alias("gateway_time"),
        pl.col("device_id").str.strip_chars().replace("", None),
    ).with_columns(arrived_at(pl.col("gateway_time"), arrival.hour).alias("timestamp_ingested"))
    narrow = pl.col("readings").is_null() & pl.col("sensor_type").is_not_null()
    rows = rows.with_columns(
        pl.when(narrow).then(pl.col("sensor_type").is_in(SENSOR_NAMES)).otherwise(True).alias("sensor_known"),
        _narrow_value(),
    ).with_columns(_complaint(narrow, pl.lit(arrival.hour + _TOO_FAR_AHEAD)).alias("reason"))
    good = rows.filter(pl.col("reason").is_null())
    wide = good.filter(~narrow)
    joined, parts = _join_narrow(good.filter(narrow))
    raw = pl.concat([_wide_rows(wide), joined]).sort("offset")
    bad = [
        Dead(offset, reason, line.encode())
        for offset, reason, line in rows.filter(pl.col("reason").is_not_null())
        .select("offset", "reason", "line")
        .iter_rows()
    ]
    dead = dead_letters([*messages.dead, *bad], arrival)
    return Landed(_as_raw(raw, arrival), dead, messages.lines, parts - joined.height, messages.unknown_fields)


def land_table(frame: pl.DataFrame, arrival: Arrival) -> Landed:
    """Rows of a Parquet or CSV file with the contract's column names as rows of C1."""
    unknown = [c for c in frame.columns if c not in RAW_READINGS.columns and c != "timestamp"]
    if "timestamp_device" not in frame.columns and "timestamp" in frame.columns:
        frame = frame.rename({"timestamp": "timestamp_device"})
    missing = [c for c in ("device_id", "timestamp_device") if c not in frame.columns]
    if missing:
        raise ValueError(f"no column {' and no column '.join(missing)}; the file has {', '.join(frame.columns)}")
    typed = frame.with_row_index("offset").with_columns(pl.col("offset").cast(pl.Int64))
    given = [c for c in ("event_id", "timestamp_ingested") if c in frame.columns]
    typed = typed.with_columns(
        pl.col("device_id").cast(pl.String).str.strip_chars().replace("", None),
        _as_time(frame, "timestamp_device"),
        *[_as_time(frame, c) for c in given if c == "timestamp_ingested"],
        *[pl.lit(None, dtype=pl.String).alias(c) for c in ("event_id",) if c not in frame.columns],
        *[pl.lit(None, dtype=_UTC_US).alias(c) for c in ("timestamp_ingested",) if c not in frame.columns],
        *[_as_sensor(frame, s.name, s.is_bool) for s in SENSORS],
    ).with_columns(arrived_at(pl.col("timestamp_ingested"), arrival.hour))
    unreadable = pl.concat_str(
        [
            pl.when(pl.col(s).is_null() & frame[s].is_not_null()).then(pl.lit(f"{s} is not a value; "))
            for s in SENSOR_NAMES
            if s in frame.columns
        ]
        or [pl.lit(None, dtype=pl.String)],
        ignore_nulls=True,
    )
    typed = typed.with_columns(
        pl.when(pl.col("device_id").is_null())
        .then(pl.lit("no device_id"))
        .when(pl.col("timestamp_device").is_null())
        .then(pl.lit("no readable timestamp"))
        .when(unreadable.str.len_bytes() > 0)
        .then(unreadable.str.strip_suffix("; "))
        .alias("reason")
    )
    bad = typed["reason"].is_not_null()
    dead = [
        Dead(offset, reason, json.dumps(row, default=str).encode())
        for offset, reason, row in zip(
            typed.filter(bad)["offset"],
            typed.filter(bad)["reason"],
            frame.filter(bad).iter_rows(named=True),
            strict=True,
        )
    ]
    raw = _as_raw(typed.filter(~bad), arrival)
    return Landed(raw, dead_letters(dead, arrival), frame.height, 0, frame.height if unknown else 0)


def dead_letters(dead: Sequence[Dead], arrival: Arrival) -> pl.DataFrame:
    """Dead letters as rows of their contract, dated to the landing hour."""
    payloads = [dead_payload(d.payload) for d in dead]
    return DEAD_LETTER.conform(
        pl.DataFrame(
            {
                "timestamp_ingested": [arrival.hour] * len(dead),
                "source_partition": [arrival.source] * len(dead),
                "source_offset": [d.offset for d in dead],
                "reason": [d.reason for d in dead],
                "payload": [text for text, _ in payloads],
                "payload_encoding": [encoding for _, encoding in payloads],
                "stage": [arrival.stage] * len(dead),
            },
            schema={n: t for n, t in DEAD_LETTER.dtypes.items() if n not in ("event_id", "device_id")},
        )
    )


def parse_time(column: str) -> pl.Expr:
    """ISO 8601 in UTC, with an offset, with a Z, or naive (taken as UTC); null where it is none of these."""
    text = pl.col(column).str.strip_chars().str.replace(" ", "T", literal=True)
    zoned = text.str.contains(r"(?i)(z|[+-]\d\d:?\d\d)$")
    utc = pl.when(zoned).then(text.str.replace(r"(?i)z$", "+00:00")).otherwise(text + "+00:00")
    return utc.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%:z", time_unit="us", time_zone="UTC", strict=False).alias(column)


def arrived_at(gateway: pl.Expr, hour: datetime) -> pl.Expr:
    """The gateway clock; without one the device clock as far as it lies in the landing hour."""
    last = hour + timedelta(hours=1) - _MICROSECOND
    return (
        pl.coalesce(gateway, pl.col("timestamp_device").clip(pl.lit(hour), pl.lit(last)))
        .cast(_UTC_US)
        .alias("timestamp_ingested")
    )


def _narrow_value() -> pl.Expr:
    words = pl.col("value").str.to_lowercase().replace({"true": "1", "false": "0", "open": "1", "closed": "0"})
    return words.cast(pl.Float64, strict=False).alias("number")


def _complaint(narrow: pl.Expr, latest: pl.Expr) -> pl.Expr:
    """Why a message cannot be a row, or null."""
    unread = narrow & pl.col("value").is_not_null() & pl.col("number").is_null()
    return (
        pl.when(pl.col("device_id").is_null())
        .then(pl.lit("no device_id"))
        .when(pl.col("timestamp_device").is_null())
        .then(pl.lit("no readable timestamp"))
        .when(pl.col("gateway_time") >= latest)
        .then(pl.lit("timestamp_ingested lies in the future of its landing hour"))
        .when(~pl.col("sensor_known"))
        .then(pl.lit("unknown sensor_type ") + pl.col("sensor_type").str.slice(0, 60))
        .when(unread)
        .then(pl.lit("value is not a number: ") + pl.col("value").str.slice(0, 60))
    )


def _wide_rows(wide: pl.DataFrame) -> pl.DataFrame:
    return wide.select(
        "event_id",
        "device_id",
        "timestamp_device",
        "timestamp_ingested",
        *(pl.col("readings").struct.field(s) for s in SENSOR_NAMES),
        "offset",
    )


def _join_narrow(narrow: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """One row of all narrow messages of one device and time; the first value of a sensor counts."""
    values = [
        pl.col("number").filter((pl.col("sensor_type") == s.name) & pl.col("number").is_not_null()).first()
        for s in SENSORS
    ]
    typed = [((v != 0) if s.is_bool else v).alias(s.name) for s, v in zip(SENSORS, values, strict=True)]
    joined = (
        narrow.sort("offset")
        .group_by("device_id", "timestamp_device", maintain_order=True)
        .agg(
            pl.col("event_id").drop_nulls().first(),
            pl.col("timestamp_ingested").min(),
            *typed,
            pl.col("offset").first(),
        )
    )
    columns = ["event_id", "device_id", "timestamp_device", "timestamp_ingested", *SENSOR_NAMES, "offset"]
    return joined.select(columns), narrow.height


def _as_raw(rows: pl.DataFrame, arrival: Arrival) -> pl.DataFrame:
    made_up = pl.col("device_id") + "@" + pl.col("timestamp_device").dt.epoch("us").cast(pl.String)
    return RAW_READINGS.conform(
        rows.with_columns(
            pl.coalesce("event_id", made_up).alias("event_id"),
            pl.col("device_id").alias("_partition_key"),
            (pl.col("offset") + arrival.first_sequence).alias("_sequence_number"),
        )
    )


def _as_time(frame: pl.DataFrame, column: str) -> pl.Expr:
    dtype = frame.schema[column]
    if isinstance(dtype, pl.Datetime):
        time = pl.col(column).dt.cast_time_unit("us")
        return time.dt.replace_time_zone("UTC") if dtype.time_zone is None else time.dt.convert_time_zone("UTC")
    return parse_time(column) if dtype == pl.String else pl.lit(None, dtype=_UTC_US).alias(column)


def _as_sensor(frame: pl.DataFrame, name: str, is_bool: bool) -> pl.Expr:
    dtype = pl.Boolean() if is_bool else pl.Float64()
    if name not in frame.columns:
        return pl.lit(None, dtype=dtype).alias(name)
    if frame.schema[name] != pl.String:
        return pl.col(name).cast(dtype, strict=False)
    words = pl.col(name).str.strip_chars().str.to_lowercase()
    if not is_bool:
        return words.cast(pl.Float64, strict=False).alias(name)
    return words.replace_strict(
        {"true": True, "1": True, "false": False, "0": False}, default=None, return_dtype=pl.Boolean
    ).alias(name)
