"""Applying a mapping: a source's frame in, readings in the contract's names and units out. No files, no tables."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

import polars as pl

from refrig_assets.contracts.base import TS
from refrig_assets.contracts.sensors import SENSORS
from refrig_assets.transforms.cells import Cells, number_cells, text_cells, truth_cells
from refrig_assets.transforms.local_time import ClockMemory, read_times, source_time
from refrig_assets.transforms.mapping import Mapping, MappingError, SensorSource
from refrig_assets.transforms.units import UnitError, parse_unit

ROW = "_row"
OUTPUT: dict[str, pl.DataType] = {
    "event_id": pl.String(),
    "device_id": pl.String(),
    "timestamp_device": TS,
    "timestamp_ingested": TS,
    **{s.name: pl.Boolean() if s.is_bool else pl.Float64() for s in SENSORS},
}
# Before this no refrigerator reported anything: a clock that was never set.
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass
class Memory:
    """What one chunk of a source hands on to the next."""

    clocks: dict[str, ClockMemory] = field(default_factory=dict)
    rows: int = 0


@dataclass(frozen=True)
class Mapped:
    """A chunk of readings, and what the report needs beside them."""

    rows: pl.DataFrame
    """OUTPUT's columns and the source's row number; a long file's points already side by side"""
    cells: list[Cells]
    """per sensor of the mapping, what stood in the file"""
    source_rows: int
    unread_points: dict[str, int]
    skipped_hour: int
    implausible_time: int


def map_chunk(frame: pl.DataFrame, mapping: Mapping, memory: Memory, identity: str = "import") -> Mapped:
    """Map the next rows of a source. `identity` names rows that have no device or no time of their own."""
    mapping.check_columns(frame.columns)
    numbered = frame.with_columns(pl.int_range(memory.rows, memory.rows + frame.height, dtype=pl.Int64).alias(ROW))
    memory.rows += frame.height
    unread: dict[str, int] = {}
    if mapping.long:
        numbered, unread = _mapped_points(numbered, mapping)
    device = _device(numbered, mapping)
    clock = _clock_keys(numbered, device, mapping)
    time, skipped, implausible = _times(numbered, mapping, clock, memory)
    ingested = _ingested(numbered, mapping, clock, memory, time)
    base = pl.DataFrame({"device_id": device, "timestamp_device": time, "timestamp_ingested": ingested})
    read = [_read_sensor(numbered, source, mapping) for source in mapping.sensors]
    rows = base.with_columns(*(values for _, values in read), numbered[ROW])
    rows = rows.with_columns(_event_id(numbered, mapping, identity))
    lacking = [pl.lit(None, dtype=t).alias(n) for n, t in OUTPUT.items() if n not in rows.columns]
    rows = rows.with_columns(lacking).select(*OUTPUT, ROW)
    if mapping.long:
        rows = merge_points(rows)
    return Mapped(rows, [cells for cells, _ in read], frame.height, unread, skipped, implausible)


def merge_points(rows: pl.DataFrame) -> pl.DataFrame:
    """One row a device and time from rows that each hold some of its sensors; of two values the first counts."""
    whole = pl.col("device_id").is_not_null() & pl.col("timestamp_device").is_not_null()
    sensors = [s.name for s in SENSORS]
    merged = (
        rows.filter(whole)
        .sort(ROW)
        .group_by("device_id", "timestamp_device", maintain_order=True)
        .agg(
            pl.col("event_id", "timestamp_ingested").first(),
            pl.col(sensors).drop_nulls().first(),
            pl.col(ROW).min(),
        )
        .select(*OUTPUT, ROW)
    )
    return pl.concat([merged, rows.filter(~whole)]).sort(ROW)


def _device(frame: pl.DataFrame, mapping: Mapping) -> pl.Series:
    if mapping.device_column is None:
        name = f"{mapping.device_prefix}{mapping.device_constant}"
        return pl.repeat(name, frame.height, dtype=pl.String, eager=True).alias("device_id")
    names = text_cells(frame[mapping.device_column], mapping.source).cast(pl.String)
    if mapping.device_names:
        names = names.replace(mapping.device_names)
    return (mapping.device_prefix + names).alias("device_id") if mapping.device_prefix else names.alias("device_id")


def _clock_keys(frame: pl.DataFrame, device: pl.Series, mapping: Mapping) -> pl.Series:
    """Rows that follow each other by one clock: a device's, in a long file a device's point's."""
    keys = [device] + ([frame[mapping.long.point].rename("point")] if mapping.long else [])
    return pl.DataFrame(keys).hash_rows(seed=0)


def _times(frame: pl.DataFrame, mapping: Mapping, clock: pl.Series, memory: Memory) -> tuple[pl.Series, int, int]:
    values = frame.select(source_time(frame, mapping.timestamp).alias("time"))["time"]
    time, skipped = read_times(values, mapping.timestamp, clock, memory.clocks.setdefault("device", ClockMemory()))
    if mapping.ingested:  # then a wrong device clock is judged against the gateway's, later
        return time, int(skipped.sum()), 0
    wrong = (time < EARLIEST).fill_null(False)
    return (time.set(wrong, None) if wrong.any() else time), int(skipped.sum()), int(wrong.sum())


def _ingested(frame: pl.DataFrame, mapping: Mapping, clock: pl.Series, memory: Memory, time: pl.Series) -> pl.Series:
    """When it arrived: as the source says, else when it was measured, so that history lands in its own hours."""
    if mapping.ingested is None:
        return time
    values = frame.select(source_time(frame, mapping.ingested).alias("time"))["time"]
    arrived, _ = read_times(values, mapping.ingested, clock, memory.clocks.setdefault("gateway", ClockMemory()))
    arrived = arrived.set((arrived < EARLIEST).fill_null(False), None)
    return arrived.fill_null(time)


def _event_id(frame: pl.DataFrame, mapping: Mapping, identity: str) -> pl.Expr:
    """The source's own id, else device and time; rows that lack these are named by their place in the file."""
    whole = pl.col("device_id").is_not_null() & pl.col("timestamp_device").is_not_null()
    own = pl.format("{}@{}", "device_id", pl.col("timestamp_device").dt.epoch("us"))
    place = pl.format("{}#row-{}", pl.lit(identity), pl.col(ROW) + 1)
    event = pl.when(whole).then(own).otherwise(place)
    if mapping.event_id_column:
        given = text_cells(frame[mapping.event_id_column], mapping.source).cast(pl.String)
        event = pl.coalesce(pl.lit(given), event)
    return event.alias("event_id")


def _mapped_points(frame: pl.DataFrame, mapping: Mapping) -> tuple[pl.DataFrame, dict[str, int]]:
    """Rows of points that are mapped, and how many there are of the others."""
    assert mapping.long is not None
    point = pl.col(mapping.long.point).cast(pl.String).str.strip_chars()
    frame = frame.with_columns(point)
    mapped = frame[mapping.long.point].is_in([s.source for s in mapping.sensors]).fill_null(False)
    others = frame.filter(~mapped)[mapping.long.point].fill_null("(none)").value_counts()
    return frame.filter(mapped), dict(others.iter_rows())


def _read_sensor(frame: pl.DataFrame, source: SensorSource, mapping: Mapping) -> tuple[Cells, pl.Series]:
    """A sensor's cells, and its values in the contract's unit."""
    where: pl.Series | None = None
    part = frame
    if mapping.long:
        where = (frame[mapping.long.point] == source.source).fill_null(False).arg_true()
        part = frame[where]
    column = part[mapping.long.value if mapping.long else source.source]
    if source.sensor.is_bool:
        cells = truth_cells(column, mapping.source, source.true_values, source.false_values)
        values = cells.values
    else:
        cells = number_cells(column, mapping.source)
        values = part.select(_converted(cells.values, part, source, mapping).alias("value"))["value"]
    if where is not None:
        values = Cells(values).spread(where, frame.height).values
    return cells, values.alias(source.sensor.name)


def _converted(cells: pl.Series, part: pl.DataFrame, source: SensorSource, mapping: Mapping) -> pl.Expr:
    scaled = scaled_reading(pl.lit(cells), source)
    if source.unit is not None:
        return source.unit.to_contract(scaled)
    assert mapping.long is not None
    assert mapping.long.unit is not None
    column = mapping.long.unit
    value: pl.Expr = pl.lit(pl.repeat(None, part.height, dtype=pl.Float64, eager=True))
    for spelling in part[column].drop_nulls().unique().sort():
        try:
            unit = parse_unit(source.sensor, str(spelling), mapping.plant)
        except UnitError as error:
            where = f"[sensors.{source.sensor.name}]"
            raise MappingError(f"column {column!r}: {error}; or give unit under {where}") from error
        value = pl.when(pl.col(column) == spelling).then(unit.to_contract(scaled)).otherwise(value)
    return value


def scaled_reading(reading: pl.Expr, source: SensorSource) -> pl.Expr:
    """The number the mapping's scale and offset make of what stands in the file, still in the source's unit."""
    reading = reading * source.scale if source.scale != 1 else reading
    return reading + source.offset if source.offset else reading
