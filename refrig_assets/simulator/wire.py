"""Rows to the bytes a gateway delivers, one JSON object a line. No files, no randomness but where a line breaks."""

import io

import numpy as np
import polars as pl

from refrig_assets.contracts.sensors import BOOL_SENSORS, SENSOR_BIT, SENSOR_NAMES, SENSORS
from refrig_assets.simulator import noise
from refrig_assets.simulator.mess import Kind

# JSON writers drop NaN, and Polars' strings must be UTF-8: stand-ins are replaced, in the text and in the bytes.
_NAN_STAND_IN = 9.87654321e99
_BYTES_STAND_IN = "\ue000"
_NOT_UTF8 = b"\xff\xfe\xfd"  # as long as the stand-in
_TIME = "%Y-%m-%dT%H:%M:%S%.6fZ"
_ENVELOPE = ("event_id", "device_id", "timestamp", "timestamp_ingested")
_EXTRA = (pl.lit("gw-7.2").alias("gateway_build"), pl.lit(-61).alias("rssi_dbm"))


def encode(frame: pl.DataFrame, seed: int, nan_token: str = "NaN") -> bytes:
    """The rows of `arrivals.arriving`, in their order, as lines."""
    if not frame.height:
        return b""
    rows = frame.with_row_index("_line").with_columns(
        pl.col("timestamp_device").dt.strftime(_TIME).alias("timestamp"),
        pl.col("timestamp_ingested").dt.strftime(_TIME),
        pl.sum_horizontal(pl.col(n).is_null() * SENSOR_BIT[n] for n in SENSOR_NAMES).alias("_missing"),
    )
    narrow = pl.col("_sensor") >= 0
    lines = [_narrow(part, seed) for part in _parts(rows.filter(narrow), ["_sensor"])]
    lines += [_wide(part, seed, nan_token) for part in _parts(rows.filter(~narrow), ["_missing", "_form"])]
    return _bytes(pl.concat(lines).sort("_line")["text"])


def _bytes(text: pl.Series) -> bytes:
    """The lines as bytes. An hour is hundreds of megabytes: never one Python string, and patched in place."""
    buffer = io.BytesIO()
    text.to_frame().write_csv(buffer, include_header=False, quote_style="never")
    marked = text.str.contains(_BYTES_STAND_IN, literal=True).arg_true()
    if len(marked):
        begins = (text.str.len_bytes().cast(pl.Int64) + 1).cum_sum().shift(1, fill_value=0)
        whole, mark = buffer.getbuffer(), _BYTES_STAND_IN.encode()
        for begin in begins.gather(marked).to_list():
            at = begin + bytes(whole[begin : begin + 400]).index(mark)
            whole[at : at + len(mark)] = _NOT_UTF8
        whole.release()
    return buffer.getvalue()


def _parts(rows: pl.DataFrame, by: list[str]) -> list[pl.DataFrame]:
    # Messages that are written alike are written together, whatever else is odd about them.
    special = [Kind.ALL_NULL, Kind.NAN, Kind.UNKNOWN_FIELDS, Kind.BROKEN_JSON, Kind.NON_UTF8, Kind.NO_IDENTITY]
    kind = pl.col("_kind")
    form = pl.when(kind.is_in([int(k) for k in special])).then(kind).otherwise(0).alias("_form")
    return rows.with_columns(form).partition_by(by) if rows.height else []


def _wide(rows: pl.DataFrame, seed: int, nan_token: str) -> pl.DataFrame:
    """Rows that lack the same sensors and are written alike."""
    missing, kind = int(rows["_missing"][0]), Kind(rows["_form"][0])
    present = [n for n in SENSOR_NAMES if not missing & SENSOR_BIT[n]]
    if kind == Kind.ALL_NULL:
        return _all_null(rows)
    if kind == Kind.NO_IDENTITY:
        return _no_identity(rows, present)
    if kind == Kind.NAN:
        rows = rows.with_columns(pl.col(pl.Float64).fill_nan(_NAN_STAND_IN))
    if kind == Kind.NON_UTF8:
        rows = rows.with_columns(pl.col("device_id") + _BYTES_STAND_IN)
    extra = _EXTRA if kind == Kind.UNKNOWN_FIELDS else ()
    text = _json(*_ENVELOPE, *extra, _readings(present, extra=bool(extra)))
    if kind == Kind.NAN:
        text = text.str.replace(str(_NAN_STAND_IN), nan_token, literal=True)
    if kind == Kind.BROKEN_JSON:
        text = text.str.slice(0, _cut(rows, seed))
    return rows.select("_line", text.alias("text"))


def _json(*columns: str | pl.Expr) -> pl.Expr:
    return pl.struct(*columns).struct.json_encode()


def _readings(present: list[str], extra: bool = False) -> pl.Expr:
    more = [pl.lit(3.5).alias("temperature_product")] if extra else []
    if not present and not more:
        return pl.lit(None).alias("readings")
    return pl.struct(*present, *more).alias("readings")


def _all_null(rows: pl.DataFrame) -> pl.DataFrame:
    """Every other one has an empty object, the rest an object of nulls."""
    odd = pl.col("_minute") % 2 == 1
    empty = rows.filter(odd).select("_line", _json(*_ENVELOPE).str.replace(r"\}$", ',"readings":{}}').alias("text"))
    nulls = rows.filter(~odd).select("_line", _json(*_ENVELOPE, _readings(list(SENSOR_NAMES))).alias("text"))
    return pl.concat([empty, nulls])


def _no_identity(rows: pl.DataFrame, present: list[str]) -> pl.DataFrame:
    """Every other one lacks the device, the rest the device's time."""
    odd = pl.col("_minute") % 2 == 1
    parts = []
    for lacks, which in (("device_id", odd), ("timestamp", ~odd)):
        names = [n for n in _ENVELOPE if n != lacks]
        parts.append(rows.filter(which).select("_line", _json(*names, _readings(present)).alias("text")))
    return pl.concat(parts)


def _cut(rows: pl.DataFrame, seed: int) -> pl.Series:
    """Somewhere in the line, before its end: what is left is never a whole object."""
    draw = noise.uniform(seed, "mess/cut", rows["_device"].to_numpy(), rows["_minute"].to_numpy())
    return pl.Series("cut", (10 + 150 * draw).astype(np.int64), dtype=pl.Int64)


def _narrow(rows: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Half of the old devices are behind gateways that stamp neither identity nor time."""
    sensor = SENSORS[int(rows["_sensor"][0])]
    bare = pl.Series(noise.bits(seed, "mess/bare", rows["_device"].to_numpy()) % np.uint64(2) == 1)
    body = (
        pl.lit(sensor.name).alias("sensor_type"),
        pl.col(sensor.name).cast(pl.Float64).alias("value"),
        pl.lit("bool" if sensor in BOOL_SENSORS else sensor.unit).alias("unit"),
        pl.lit("GOOD").alias("quality"),
    )
    stamped = rows.filter(~bare).select("_line", _json(*_ENVELOPE, *body).alias("text"))
    plain = rows.filter(bare).select("_line", _json("device_id", "timestamp", *body).alias("text"))
    return pl.concat([stamped, plain])


def is_bare(frame: pl.DataFrame, seed: int) -> pl.Series:
    """Which rows are written without identity and gateway time."""
    bits = noise.bits(seed, "mess/bare", frame["_device"].to_numpy()) % np.uint64(2)
    return pl.Series((bits == 1) & (frame["_sensor"].to_numpy() >= 0))
