"""Texts and numbers that mean times, in a plant's own zone, to UTC. Knows clocks that change; knows no sensors."""

from dataclasses import dataclass, field
from datetime import timedelta

import polars as pl

from refrig_assets.contracts.base import TS
from refrig_assets.transforms.mapping import EPOCH_FORMATS, MappingError, TimeSource

LOCAL = pl.Datetime("us")
_ISO = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M")
_ZONED = r"(?:[Zz]|[+-]\d\d:?\d\d)$"
_EXCEL_EPOCH_DAYS = 25_569  # 1899-12-30 to 1970-01-01
_DAY_US = 86_400_000_000
_KEY_SCHEMA = {"key": pl.UInt64(), "local": LOCAL, "second": pl.Boolean()}


@dataclass
class ClockMemory:
    """What must be known of earlier chunks to tell the two passes through a repeated hour apart."""

    direction: int = 0
    last: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=_KEY_SCHEMA))


def source_time(frame: pl.DataFrame, time: TimeSource) -> pl.Expr:
    """The column of the time, several joined with a blank; text without the blanks around it."""
    if len(time.columns) == 1:
        name = time.columns[0]
        return pl.col(name).str.strip_chars() if frame.schema[name] == pl.String else pl.col(name)
    return pl.concat_str([pl.col(c).cast(pl.String).str.strip_chars() for c in time.columns], separator=" ")


def read_times(
    values: pl.Series, time: TimeSource, keys: pl.Series, memory: ClockMemory
) -> tuple[pl.Series, pl.Series]:
    """Times in UTC, null where unreadable; and which of them were local times that the zone leaves out in spring.

    `keys` says which rows come from one clock, in the order of the file.
    """
    local, utc = _parse(values, time)
    if local is None:
        return utc, pl.repeat(False, len(values), eager=True)
    resolved = _resolve(local, time, keys, memory)
    skipped = local.is_not_null() & resolved.is_null()
    if time.repeated_hour == "reject":
        skipped = skipped & _localized(local, time.timezone, "earliest").is_null()
    return utc.fill_null(resolved) if utc.null_count() else utc, skipped & utc.is_null()


def _parse(values: pl.Series, time: TimeSource) -> tuple[pl.Series | None, pl.Series]:
    """Local times still without a zone (None where there are none), and those whose zone is known."""
    none = pl.repeat(None, len(values), dtype=TS, eager=True)
    dtype = values.dtype
    if isinstance(dtype, pl.Datetime):
        values = values.cast(pl.Datetime("us", dtype.time_zone))
        return (values, none) if dtype.time_zone is None else (None, values.dt.convert_time_zone("UTC"))
    if dtype == pl.Date:
        return values.cast(LOCAL), none
    if time.format in EPOCH_FORMATS:
        return None, _epoch(values, EPOCH_FORMATS[time.format])
    if time.format == "excel":
        days = values.cast(pl.Float64, strict=False)
        # a serial day holds its time to some 10 µs only: whole seconds are meant
        micros = ((days - _EXCEL_EPOCH_DAYS) * _DAY_US / 1e6).round() * 1e6
        return micros.fill_nan(None).cast(pl.Int64, strict=False).cast(LOCAL), none
    text = values.cast(pl.String)
    return _iso(text) if time.format == "iso" else _pattern(text, time.format, none)


def _epoch(values: pl.Series, micros: int) -> pl.Series:
    if not values.dtype.is_integer():
        whole = values.cast(pl.Int64, strict=False) if values.dtype == pl.String else None
        exact = (values.cast(pl.Float64, strict=False) * micros).round().fill_nan(None).cast(pl.Int64, strict=False)
        return ((whole * micros).fill_null(exact) if whole is not None else exact).cast(TS)
    return (values.cast(pl.Int64) * micros).cast(TS)


def _iso(text: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Local times, and those that name their offset. The plain form is tried on all, the others on what is left."""
    local = text.str.to_datetime(_ISO[0], time_unit="us", strict=False)
    utc = pl.repeat(None, len(text), dtype=TS, eager=True)
    left = (local.is_null() & text.is_not_null()).arg_true()
    if not len(left):
        return local, utc
    plain = text.gather(left).str.replace(r"^(\d{4}-\d\d-\d\d)[Tt]", "$1 ")
    zoned = (plain.str.contains(_ZONED) & (plain.str.len_bytes() > 10)).fill_null(False)
    naive, aware = plain.set(zoned, None), plain.set(~zoned, None)
    for pattern in _ISO:
        found = naive.str.to_datetime(pattern, time_unit="us", strict=False)
        local = local.scatter(left, local.gather(left).fill_null(found))
        offset = aware.str.to_datetime(f"{pattern}%#z", time_unit="us", strict=False).cast(TS)
        utc = utc.scatter(left, utc.gather(left).fill_null(offset))
    return local, utc


def _pattern(text: pl.Series, pattern: str, none: pl.Series) -> tuple[pl.Series | None, pl.Series]:
    try:
        found = text.str.to_datetime(pattern, time_unit="us", strict=False)
    except pl.exceptions.PolarsError as error:
        raise MappingError(f"format {pattern!r} cannot be used for times: {str(error).splitlines()[0]}") from error
    if isinstance(found.dtype, pl.Datetime) and found.dtype.time_zone is not None:
        return None, found.dt.convert_time_zone("UTC")
    return found, none


def _localized(local: pl.Series, zone: str, ambiguous: str) -> pl.Series:
    if zone[0] in "+-":
        hours, minutes = zone[1:].split(":")
        shift = timedelta(hours=int(hours), minutes=int(minutes)) * (1 if zone[0] == "+" else -1)
        return (local - shift).dt.replace_time_zone("UTC")
    return local.dt.replace_time_zone(
        zone,
        ambiguous=ambiguous,  # type: ignore[arg-type]
        non_existent="null",
    ).dt.convert_time_zone("UTC")


def _resolve(local: pl.Series, time: TimeSource, keys: pl.Series, memory: ClockMemory) -> pl.Series:
    """Local times to UTC. A zone's repeated hour in autumn is read as the mapping says."""
    if time.repeated_hour == "reject":
        return _localized(local, time.timezone, "null")
    first = _localized(local, time.timezone, "earliest")
    if time.repeated_hour == "first" or time.timezone == "UTC" or time.timezone[0] in "+-":
        return first
    second = _localized(local, time.timezone, "latest")
    if time.repeated_hour == "second":
        return second
    _learn_direction(local, keys, memory)
    twice = (first != second).fill_null(False)
    if not twice.any():
        return first
    where = twice.arg_true()
    late = _second_pass(local.gather(where), keys.gather(where), memory)
    return first.scatter(where.filter(late), second.gather(where.filter(late)))


def _learn_direction(local: pl.Series, keys: pl.Series, memory: ClockMemory) -> None:
    """Whether the file runs forwards or, newest first, backwards: by the first rows that tell."""
    if memory.direction or not len(local):
        return
    steps = pl.DataFrame({"key": keys, "local": local}).select(
        pl.col("local").diff().over("key").dt.total_microseconds()
    )
    memory.direction = int(steps.to_series().sign().sum() or 0)


def _second_pass(local: pl.Series, keys: pl.Series, memory: ClockMemory) -> pl.Series:
    """Of times in a repeated hour: those after the clock was set back, seen as a step against the file's direction."""
    backwards = memory.direction < 0
    rows = pl.DataFrame(
        {"key": keys, "local": local, "second": pl.repeat(None, len(local), dtype=pl.Boolean, eager=True)}
    )
    both = pl.concat([memory.last, rows]).with_columns(pl.col("local").dt.date().alias("day"))
    step = pl.col("local").diff().dt.total_microseconds().over("key", "day")
    crossed = (step > 0) if backwards else (step < 0)
    before = pl.col("second").fill_null(False)
    if backwards:  # the file meets the second pass first
        before = ~pl.col("second").fill_null(True)
    passed = both.with_columns((crossed.fill_null(False) | before).alias("crossed")).with_columns(
        pl.col("crossed").cast(pl.UInt8).cum_max().over("key", "day").cast(pl.Boolean)
    )
    second = ~pl.col("crossed") if backwards else pl.col("crossed")
    told = passed.with_columns(second.alias("second"))
    memory.last = told.group_by("key", "day", maintain_order=True).last().select(list(_KEY_SCHEMA))
    return told["second"].tail(len(local))
