"""Narrow messages, one sensor each, as old devices send them: values in the contract's units, joined into rows."""

from dataclasses import dataclass

import polars as pl

from refrig_assets.contracts.sensors import BOOL_SENSORS, SENSOR_NAMES, SENSORS
from refrig_assets.transforms.units import BY_SENSOR, UnitError, parse_unit, truth

_ROW = ("event_id", "device_id", "timestamp_device", "timestamp_ingested")
_PART = (*_ROW, "sensor_type", "number", "offset")


@dataclass(frozen=True)
class Joined:
    """Rows of narrow messages, of how many messages, and the messages whose row may not be complete yet."""

    rows: pl.DataFrame
    parts: int
    held: pl.DataFrame


def read_values(narrow: pl.DataFrame) -> pl.DataFrame:
    """The messages with `number`, in the contract's unit, and `problem`, where there is none to be had."""
    known = pl.col("sensor_type").is_in(SENSOR_NAMES)
    number = (
        pl.when(pl.col("sensor_type").is_in([s.name for s in BOOL_SENSORS]))
        .then(truth(pl.col("value"), pl.String()).cast(pl.Float64))
        .otherwise(_number(pl.col("value")))
    )
    problem = (
        pl.when(~known)
        .then(pl.lit("unknown sensor_type ") + pl.col("sensor_type").str.slice(0, 60))
        .when(pl.col("value").is_not_null() & pl.col("number").is_null())
        .then(pl.lit("value is not a number: ") + pl.col("value").str.slice(0, 60))
        .otherwise(pl.col("unit_problem"))
    )
    converted = (pl.col("number") - pl.col("shift")) * pl.col("factor") + pl.col("plus")
    return (
        narrow.with_columns(number.alias("number"))
        .join(_conversions(narrow), on=["sensor_type", "unit"], how="left", maintain_order="left")
        .with_columns(problem.alias("problem"), pl.coalesce(converted, "number").alias("number"))
        .drop("factor", "shift", "plus", "unit_problem")
    )


def _number(value: pl.Expr) -> pl.Expr:
    words = value.str.strip_chars().str.to_lowercase().replace({"true": "1", "false": "0"})
    return words.cast(pl.Float64, strict=False)


def _conversions(narrow: pl.DataFrame) -> pl.DataFrame:
    """By sensor and unit as written, what makes the contract's unit of it. What is true or false has no unit."""
    found: list[tuple[str, str, float | None, float | None, float | None, str | None]] = []
    for name, text in narrow.select("sensor_type", "unit").drop_nulls().unique().iter_rows():
        sensor = BY_SENSOR.get(name)
        if sensor is None or sensor.is_bool or not text.strip():
            continue
        try:
            unit = parse_unit(sensor, text[:60])
            found.append((name, text, unit.factor, unit.shift, unit.offset, None))
        except UnitError as error:
            found.append((name, text, None, None, None, str(error)[:200]))
    numbers = dict.fromkeys(("factor", "shift", "plus"), pl.Float64())
    schema = {"sensor_type": pl.String(), "unit": pl.String(), **numbers, "unit_problem": pl.String()}
    return pl.DataFrame(found, schema=schema, orient="row")


def join_narrow(narrow: pl.DataFrame, earlier: pl.DataFrame | None = None, hold_from: int | None = None) -> Joined:
    """One row of all narrow messages of one device and time; the first value of a sensor counts.

    Groups that begin at `hold_from` or later are held back: what follows may belong to them.
    """
    parts = narrow.select(_PART)
    parts = (parts if earlier is None else pl.concat([earlier, parts])).sort("offset")
    held = parts.clear()
    if hold_from is not None:
        begins = pl.col("offset").min().over("device_id", "timestamp_device")
        parts, held = parts.filter(begins < hold_from), parts.filter(begins >= hold_from)
    values = {
        s: pl.col("number").filter((pl.col("sensor_type") == s.name) & pl.col("number").is_not_null()).first()
        for s in SENSORS
    }
    rows = parts.group_by("device_id", "timestamp_device", maintain_order=True).agg(
        pl.col("event_id").drop_nulls().first(),
        pl.col("timestamp_ingested").min(),
        *(((v != 0) if s.is_bool else v).alias(s.name) for s, v in values.items()),
        pl.col("offset").first(),
    )
    return Joined(rows.select(*_ROW, *SENSOR_NAMES, "offset"), parts.height, held)
