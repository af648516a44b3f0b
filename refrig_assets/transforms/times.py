"""Times as messages write them. Frames in, frames out."""

from datetime import UTC, datetime

import polars as pl

UTC_US = pl.Datetime("us", "UTC")
# What every reader of a table can hold; clocks that were never set show the first of these years.
_FIRST, _LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, UTC)
_YEAR_1000 = datetime(1000, 1, 1, tzinfo=UTC)


def read_times(text: pl.Series) -> pl.Series:
    """ISO 8601 in UTC, with an offset, with a Z, or naive (taken as UTC); null where it is none of these.

    Fractions beyond microseconds are cut off. Numbers since some epoch are not guessed at.
    """
    values = text.to_frame("text")
    times = values.select(_commonest(pl.col("text"))).to_series()
    left = times.is_null() & text.is_not_null()
    if left.any():
        places = left.arg_true()
        times = times.scatter(places, values[places].select(_usual(pl.col("text"))).to_series())
    left = times.is_null() & text.is_not_null()
    if left.any():
        places = left.arg_true()
        times = times.scatter(places, values[places].select(_usual(_as_usual(pl.col("text")))).to_series())
    early = (times < _YEAR_1000).fill_null(False)
    if early.any():  # a year of fewer than four digits is no year
        times = times.set(early & ~text.str.contains(r"^\s*\d{4}-"), None)
    return bounded(times).alias(text.name)


def bounded(times: pl.Series) -> pl.Series:
    """Times beyond the years 1 to 9999 as nulls."""
    inside = pl.col(times.name).is_between(pl.lit(_FIRST, dtype=UTC_US), pl.lit(_LAST, dtype=UTC_US))
    return times.to_frame().select(pl.when(inside).then(pl.col(times.name))).to_series()


def _commonest(text: pl.Expr) -> pl.Expr:
    """What nearly all messages say, read in a third of the time."""
    return text.str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us", strict=False).dt.replace_time_zone("UTC")


def _usual(text: pl.Expr) -> pl.Expr:
    text = text.str.strip_chars().str.replace(" ", "T", literal=True)
    zoned = text.str.contains(r"(?i)(z|[+-]\d\d:?\d\d)$")
    utc = pl.when(zoned).then(text.str.replace(r"(?i)z$", "+00:00")).otherwise(text + "+00:00")
    return utc.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%:z", time_unit="us", time_zone="UTC", strict=False)


def _as_usual(text: pl.Expr) -> pl.Expr:
    """The rarer ways ISO 8601 allows: a small t, a decimal comma, no seconds, offsets of hours; and UTC as a word."""
    text = text.str.strip_chars().str.to_uppercase().str.replace(r"^(\d{4}-\d\d-\d\d)[T ]+", "${1}T")
    text = text.str.replace_all(" ", "", literal=True).str.replace(",", ".", literal=True)
    text = text.str.replace(r"(UTC|GMT)$", "Z").str.replace(r"(T\d\d:\d\d)(Z|[+-]|$)", "${1}:00${2}")
    return text.str.replace(r"(T.*[+-]\d\d)$", "${1}:00")
