"""The rules of C2: raw rows of one hour in, clean, quarantined and dead rows out. Frames only: no I/O, no clock."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

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
from refrig_assets.contracts.sensors import NUMERIC_SENSORS, SENSOR_BIT, SENSOR_NAMES
from refrig_assets.transforms.devices import device_codes
from refrig_assets.transforms.events import Hashes, HashSet, event_hashes
from refrig_assets.transforms.gaps import NO_HISTORY, Bits, Mask, bits_of_list, reading_gaps, reported_bits, sensor_gaps

FLAG_BIT = {flag: 1 << i for i, flag in enumerate(QUALITY_FLAGS)}
_FLAG_LISTS = pl.Series(
    [[f for f, bit in FLAG_BIT.items() if bits & bit] for bits in range(1 << len(QUALITY_FLAGS))],
    dtype=pl.List(pl.String()),
)
# What decides between copies of one _sequence_number, so that the order of rows and files never does.
_THEN_FIRST = ("timestamp_ingested", "timestamp_device", "device_id", *SENSOR_NAMES)
_RANGES = {s.name: (s.low, s.high) for s in NUMERIC_SENSORS}
_NEGATIVE = {"superheat": NEGATIVE_SUPERHEAT, "subcooling": NEGATIVE_SUBCOOLING}
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


@dataclass
class Cleaned:
    """Where every raw row of the hour went; `accounts` adds up. The clean rows are put together part by part."""

    quarantine: pl.DataFrame
    all_null: pl.DataFrame
    raw_rows: int
    duplicate_rows: int
    judged: pl.DataFrame
    """the clean rows' number in raw, device, time and flags, in the order of device and time"""
    _raw: pl.DataFrame
    _devices: pl.DataFrame

    @property
    def accounts(self) -> dict[str, int]:
        return {
            "raw": self.raw_rows,
            "clean": self.judged.height,
            "duplicate": self.duplicate_rows,
            "quarantined": self.quarantine.height,
            "dead_letter": self.all_null.height,
        }

    def parts(self, rows: int) -> Iterator[pl.DataFrame]:
        """The clean rows in slices of about so many, never cut within a device."""
        device = self.judged["device"]
        starts = (device != device.shift(1)).fill_null(True).arg_true().to_numpy()
        at = np.searchsorted(starts, np.arange(rows, len(device), rows))
        cuts = [0, *dict.fromkeys(starts[at[at < len(starts)]].tolist()), len(device)]
        for first, last in pairwise(cuts):
            if last > first:
                yield _assemble(self._raw, self.judged[first:last], self._devices)

    @cached_property
    def clean(self) -> pl.DataFrame:
        """All clean rows in one frame."""
        return _assemble(self._raw, self.judged, self._devices)


def clean_readings(raw: pl.DataFrame, context: CleanContext) -> Cleaned:
    """Apply every rule of C2 to one hour of raw rows, in whatever order they come.

    Rows are judged by narrow columns in the order of device and time; the wide ones are moved once, at the end.
    """
    raw = _in_one_piece(raw)
    # What does not need each other runs side by side: Polars and NumPy let go of the interpreter.
    with ThreadPoolExecutor(2) as pool:
        copies = pool.submit(_duplicates, raw, context)
        sent = pool.submit(reported_bits, raw)
        devices, codes = _devices(context, raw["device_id"])
        rows = _identified(raw, codes, copies.result(), sent.result())
        del codes, copies, sent
        rows = rows[_order(rows, raw)]
        reported = rows["reported"].to_numpy()
        late = pool.submit(reading_gaps, rows, devices, context.history)
        unknown = (rows["device"] >= context.registry.height).to_numpy()
        flags = (
            _bit(rows["repeated"], DUPLICATE_REMOVED)
            | _bit(rows["drifted"], CLOCK_DRIFT)
            | _bit(unknown, DEVICE_UNKNOWN)
            | _bit(sensor_gaps(rows, reported, devices), SENSOR_GAP)
            | _bit(late.result(), READING_GAP)
        )
        del late
    rows = rows.select("row", "device", "timestamp_utc", pl.Series("flags", flags))
    silent = (reported == 0) & ~unknown
    quarantine = _assemble(raw, rows.filter(unknown), devices)
    all_null = _assemble(raw, rows.filter(silent), devices)
    kept = rows if not (unknown | silent).any() else rows.filter(~(unknown | silent))
    return Cleaned(quarantine, all_null, raw.height, raw.height - rows.height, kept, raw, devices)


def _in_one_piece(raw: pl.DataFrame) -> pl.DataFrame:
    """Gathering from the many chunks of row groups takes ten times as long. Few columns at a time, to bound memory."""
    columns = raw.get_columns()
    del raw

    def join(number: int) -> None:
        columns[number] = columns[number].rechunk()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(join, range(len(columns))))
    return pl.DataFrame(columns)


def _devices(context: CleanContext, heard: pl.Series) -> tuple[pl.DataFrame, pl.Series]:
    """A row a device, and each raw row's code, its device's position there: registered ones by name, then unknown ones.

    With what each is expected to report, or is known to have reported, and when it was last heard.
    """
    past = (
        context.history.lazy()
        .group_by("device_id")
        .agg(pl.col("last_reading").max(), pl.col("sensors_reported").bitwise_or())
        .collect()
    )
    devices = context.registry.select(
        "device_id", "expected_interval_s", bits_of_list("expected_sensors").alias("expected_bits")
    ).sort("device_id")
    codes = device_codes(heard, devices["device_id"])
    if codes.null_count():
        unknown = heard.filter(codes.is_null()).unique().sort().to_frame("device_id")
        unset = (pl.lit(DEFAULT_INTERVAL_S, pl.Int32), pl.lit(0, pl.Int32))
        devices = pl.concat(
            [devices, unknown.with_columns(unset[0].alias("expected_interval_s"), unset[1].alias("expected_bits"))]
        )
        codes = device_codes(heard, devices["device_id"])
    known_bits = pl.col("expected_bits") | pl.col("sensors_reported").fill_null(0)
    devices = (
        devices.with_row_index("device")
        .join(past, on="device_id", how="left", maintain_order="left")
        .with_columns(known_bits.alias("expected_bits"))
        .drop("sensors_reported")
    )
    return devices, codes


def _identified(raw: pl.DataFrame, codes: pl.Series, copies: tuple[Mask, Mask], reported: Bits) -> pl.DataFrame:
    """The rows that stay, by number in raw: device, the time that counts, whether it was repeated, what was sent."""
    dropped, repeated = copies
    apart = (pl.col("timestamp_device") - pl.col("timestamp_ingested")).abs() > CLOCK_DRIFT_LIMIT
    rows = raw.select(
        pl.int_range(pl.len(), dtype=pl.UInt32).alias("row"),
        codes.alias("device"),
        pl.when(apart).then("timestamp_ingested").otherwise("timestamp_device").alias("timestamp_utc"),
        apart.alias("drifted"),
        pl.Series("repeated", repeated),
        pl.Series("reported", reported),
    )
    return (rows.filter(~dropped) if dropped.any() else rows).rechunk()


def _duplicates(raw: pl.DataFrame, context: CleanContext) -> tuple[Mask, Mask]:
    """Which rows repeat an event, and which are the first of several by _sequence_number, here or in another hour."""
    hashes = event_hashes(raw["event_id"])
    ordered = hashes.sort().to_numpy()
    twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    dropped, repeated = np.zeros(raw.height, dtype=np.bool_), np.zeros(raw.height, dtype=np.bool_)
    values = hashes.to_numpy()
    if len(twice):
        rows = HashSet(twice).holds(values)
        again = raw.select("event_id", "_sequence_number", *_THEN_FIRST)[rows].with_columns(pl.Series("row", rows))
        first = (
            again.sort("_sequence_number", *_THEN_FIRST, "row")
            .group_by("event_id", maintain_order=True)
            .agg(pl.col("row").first(), pl.len())
        )
        dropped[rows] = True
        dropped[first["row"].to_numpy()] = False
        repeated[first.filter(pl.col("len") > 1)["row"].to_numpy()] = True
    if len(context.seen_before):
        dropped[HashSet(context.seen_before).holds(values)] = True
    if len(context.seen_later):
        repeated[HashSet(context.seen_later).holds(values)] = True
    return dropped, repeated


def _order(rows: pl.DataFrame, raw: pl.DataFrame) -> pl.Series:
    """Positions by device, time, sequence and event: one order whatever order the rows came in."""
    since = (pl.col("timestamp_utc") - pl.col("timestamp_utc").min()).dt.total_microseconds()
    key = rows.select((pl.col("device").cast(pl.Int64) * (1 << 40) + since).alias("key"))["key"]
    order = key.arg_sort()
    ordered = key.gather(order)
    same = (ordered == ordered.shift(1)).fill_null(False)
    if not same.any():
        return order
    tied = (same | same.shift(-1, fill_value=False)).arg_true()
    chosen = order.gather(tied)
    by_rank = (
        raw.select("_sequence_number", "event_id")[rows["row"].gather(chosen)]
        .with_columns(ordered.gather(tied), chosen.alias("position"))
        .sort("key", "_sequence_number", "event_id")
    )
    return order.scatter(tied, by_rank["position"])


def _bit(mask: pl.Series | Mask, flag: str) -> Bits:
    values = mask.to_numpy() if isinstance(mask, pl.Series) else mask
    return values.astype(np.int32) * np.int32(FLAG_BIT[flag])


def _assemble(raw: pl.DataFrame, rows: pl.DataFrame, devices: pl.DataFrame) -> pl.DataFrame:
    """The contract's columns of the judged rows, values outside their range taken out and flagged."""
    columns = {
        "device_id": devices["device_id"].gather(rows["device"]),
        "timestamp_utc": rows["timestamp_utc"],
    }
    flags, nulls = rows["flags"].to_numpy().copy(), np.zeros(rows.height, dtype=np.int32)
    moved = raw.select("event_id", *SENSOR_NAMES, "timestamp_ingested")[rows["row"]]
    for name in moved.columns:
        columns[name] = _in_range(moved[name], flags) if name in _RANGES else moved[name]
        if name in SENSOR_BIT and columns[name].null_count():
            nulls += columns[name].is_null().to_numpy()
    columns["quality_flags"] = _FLAG_LISTS.gather(pl.Series(flags))
    columns["sensor_null_count"] = pl.Series(nulls)
    return pl.DataFrame({name: columns[name] for name in CLEAN_READINGS.columns})


def _in_range(values: pl.Series, flags: Bits) -> pl.Series:
    """The values with those outside their range, NaN and infinities made null; sets what flags they earn."""
    low, high = _RANGES[values.name]
    inside = values.is_between(low, high) & values.is_not_nan()
    if not inside.all():  # nulls do not count
        flags |= _bit(~inside.fill_null(True), RANGE_VIOLATION)
        values = values.set(~inside.fill_null(True), None)
    if values.name in _NEGATIVE:
        negative = (values < 0).fill_null(False)
        if negative.any():
            flags |= _bit(negative, _NEGATIVE[values.name])
    return values
