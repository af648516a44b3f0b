"""What arrives at the gateways in an hour, in order, with the mess of rows. How it is written as bytes is `wire.py`.

Each hour, or any minutes, is worked out by itself: what arrives late is found by looking back from the time of
arrival, so no state is carried along.
"""

from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

import numpy as np
import polars as pl

from refrig_assets.contracts.base import TS
from refrig_assets.contracts.readings import RAW_READINGS
from refrig_assets.contracts.sensors import NUMERIC_SENSORS, SENSOR_NAMES
from refrig_assets.simulator import catalogue, ids, measure, noise
from refrig_assets.simulator import mess as messy
from refrig_assets.simulator.fleet import Fleet
from refrig_assets.simulator.mess import Kind, Mess
from refrig_assets.simulator.noise import F32, I64
from refrig_assets.simulator.plan import FaultPlan, epoch_minutes

# Nothing is under way for longer than this, but for outages and far duplicates: latency 40 s, duplicates 90 s.
LOOK_BACK_MIN = 4
SEQUENCE_PER_HOUR = 100_000
_CHUNK_DEVICES = 20_480
# Values that broken probes and full registers send.
_WILD = (999.9, -999.0, 32767.0, 6553.5, 1e6, -273.15)
# Every device has these, so one can be spoilt in any message.
_SPOILT = tuple(s.name for s in NUMERIC_SENSORS if s.name not in ("vibration_compressor", "humidity", "subcooling"))


@dataclass(frozen=True)
class Source:
    """A fleet with its faults and its mess."""

    fleet: Fleet
    plan: FaultPlan
    mess: Mess
    stuck: F32

    @classmethod
    def of(cls, fleet: Fleet, plan: FaultPlan, mess: Mess) -> "Source":
        return cls(fleet, plan, mess, measure.stuck_values(fleet, plan))


def arriving(source: Source, hour: datetime, device: I64) -> pl.DataFrame:
    """The rows of these devices that arrive in the hour, in no order, with `_kind`, `_device` and so on."""
    return arriving_in(source, int(epoch_minutes(hour)), 60, device)


def arriving_in(source: Source, first: int, count: int, device: I64) -> pl.DataFrame:
    """The same for `count` minutes from `first` (since the epoch) on."""
    begin = int(epoch_minutes(source.fleet.start))
    parts = [
        measure.minutes_frame(source.fleet, source.plan, device, low, high - low, source.stuck)
        for low, high in _within_hours(max(first - LOOK_BACK_MIN, begin), first + count)
    ]
    direct = _with_kinds(source, pl.concat(parts, rechunk=False))
    # Nearly all rows are in order and in the hour: they are copied once, the odd ones are handled beside them.
    kind, now = pl.col("_kind"), _arrives_in(first, count)
    rows = [direct.filter(now & ~kind.is_in(_HANDLED)).with_columns(_WIDE)]
    odd = _spoil(source, direct.filter(now & kind.is_in(_HANDLED) & (kind != int(Kind.LATE))))
    rows.append(_split_narrow(source, odd))
    others = _copies(source, direct)
    if source.mess.outages:
        others.append(_bursts(source, first, count, begin, device))
    if source.mess.far_duplicates:
        others.append(_far_duplicates(source, first, count, begin, device))
    rows += [other.filter(now).with_columns(_WIDE) for other in others]
    return pl.concat(rows, rechunk=False)


_HANDLED = [int(k) for k in (Kind.LATE, Kind.NARROW, Kind.ALL_NULL, Kind.NAN, Kind.OUT_OF_RANGE)]
_WIDE = pl.lit(-1, pl.Int8).alias("_sensor")
_ORDER = ("_position", "_device", "_minute", "_kind", "_sensor")


def in_order(frame: pl.DataFrame) -> pl.DataFrame:
    """As the lines of a file: by arrival, apart from what is out of order."""
    return frame.sort(_ORDER)


def _within_hours(low: int, high: int) -> list[tuple[int, int]]:
    """The minutes from `low` to `high`, cut at full hours: the slow processes are worked out by the hour."""
    cuts = [low, *range((low // 60 + 1) * 60, high, 60), high]
    return list(pairwise(cuts))


def _arrives_in(first: int, count: int) -> pl.Expr:
    arrived = pl.col("timestamp_ingested").cast(pl.Int64)
    return (arrived >= first * 60_000_000) & (arrived < (first + count) * 60_000_000)


def _with_kinds(source: Source, frame: pl.DataFrame) -> pl.DataFrame:
    device, minute = frame["_device"].to_numpy(), frame["_minute"].to_numpy()
    kind = messy.kinds(source.mess, source.fleet.seed, device, minute)
    position = frame["timestamp_ingested"].cast(pl.Int64).to_numpy().copy()
    # A retry overtakes nothing by its timestamp, but it stands late in the file.
    later = np.flatnonzero(kind == Kind.OUT_OF_ORDER)
    draw = noise.uniform(source.fleet.seed, "mess/order", device[later], minute[later])
    position[later] += ((60 + 240 * draw) * 1e6).astype(np.int64)
    return frame.with_columns(pl.Series("_kind", kind), pl.Series("_position", position))


def _moved(frame: pl.DataFrame, arrival_us: I64, kind: Kind) -> pl.DataFrame:
    arrival = pl.Series("_position", arrival_us, dtype=pl.Int64)
    return frame.with_columns(
        arrival.cast(TS).alias("timestamp_ingested"), pl.lit(int(kind), pl.Int8).alias("_kind"), arrival
    ).select(frame.columns)


def _arrival_us(frame: pl.DataFrame) -> I64:
    return frame["timestamp_ingested"].cast(pl.Int64).to_numpy()


def _spoil(source: Source, rows: pl.DataFrame) -> pl.DataFrame:
    """NaN, wild values and nulls, in the rows that are to have them."""
    draw = noise.bits(source.fleet.seed, "mess/value", rows["_device"].to_numpy(), rows["_minute"].to_numpy())
    sensor = pl.Series((draw % np.uint64(len(_SPOILT))).astype(np.int64))
    wild = pl.Series(np.array(_WILD)[(draw >> np.uint64(20)) % np.uint64(len(_WILD))])
    kind = rows["_kind"]
    columns = []
    for name in SENSOR_NAMES:
        value: pl.Expr = pl.col(name)
        if name in _SPOILT:
            here = sensor == _SPOILT.index(name)
            value = pl.when(here & (kind == int(Kind.NAN))).then(float("nan")).otherwise(value)
            value = pl.when(here & (kind == int(Kind.OUT_OF_RANGE))).then(wild).otherwise(value)
        columns.append(pl.when(kind == int(Kind.ALL_NULL)).then(None).otherwise(value).alias(name))
    return rows.with_columns(columns)


def _split_narrow(source: Source, frame: pl.DataFrame) -> pl.DataFrame:
    """One row a sensor of the messages of old devices, under identities of their own."""
    is_narrow = pl.col("_kind") == int(Kind.NARROW)
    whole = frame.filter(is_narrow)
    parts = [frame.filter(~is_narrow).with_columns(pl.lit(-1, pl.Int8).alias("_sensor"))]
    for number, name in enumerate(SENSOR_NAMES):
        rows = whole.filter(pl.col(name).is_not_null())
        who = ids.event_ids(source.fleet.seed, f"narrow/{name}", rows["_device"].to_numpy(), rows["_minute"].to_numpy())
        others = [pl.lit(None, dtype=frame.schema[n]).alias(n) for n in SENSOR_NAMES if n != name]
        parts.append(rows.with_columns(who, *others, pl.lit(number, pl.Int8).alias("_sensor")))
    return pl.concat(parts)


def _copies(source: Source, direct: pl.DataFrame) -> list[pl.DataFrame]:
    """Near duplicates, and messages of devices that nobody registered."""
    seed, mess = source.fleet.seed, source.mess
    device, minute = direct["_device"].to_numpy(), direct["_minute"].to_numpy()
    normal = direct["_kind"].to_numpy() == Kind.NORMAL
    again = direct.filter(pl.Series(normal & messy.chosen(mess.near_duplicates, seed, "near", device, minute)))
    draw = noise.uniform(seed, "mess/near/delay", again["_device"].to_numpy(), again["_minute"].to_numpy())
    repeated = _moved(again, _arrival_us(again) + ((0.5 + 89 * draw**3) * 1e6).astype(np.int64), Kind.NEAR_DUPLICATE)
    strange = direct.filter(pl.Series(normal & messy.chosen(mess.unknown_device, seed, "unknown", device, minute)))
    device, minute = strange["_device"].to_numpy(), strange["_minute"].to_numpy()
    site = device // catalogue.SITE_DEVICES
    strange = _moved(strange, _arrival_us(strange) + 1000, Kind.UNKNOWN_DEVICE).with_columns(
        ids.event_ids(seed, "unknown", device, minute),
        pl.Series("device_id", [f"RX-{s:05d}" for s in site.tolist()], dtype=pl.String),
        pl.Series("_device", source.fleet.size + site),
    )
    return [repeated, strange]


def _bursts(source: Source, first: int, count: int, begin: int, device: I64) -> pl.DataFrame:
    """The messages of devices that come back from an outage about these minutes."""
    owners, minutes = [device[:0]], [device[:0]]
    days_of = {(first - LOOK_BACK_MIN - messy.OUTAGE_MAX) // messy.DAY_MIN, (first + count - 1) // messy.DAY_MIN}
    for day in sorted(days_of):
        days = np.full(len(device), day, dtype=np.int64)
        happens, start, end = messy.outage(source.mess, source.fleet.seed, device, days)
        back = np.flatnonzero(happens & (end >= first - LOOK_BACK_MIN) & (end < first + count))
        length = (end - start)[back]
        within = np.arange(int(length.sum())) - np.repeat(np.cumsum(length) - length, length)
        owner, at = np.repeat(device[back], length), np.repeat(start[back], length) + within
        # Where two outages overlap, each message is delivered once.
        mine = messy.reconnects(source.mess, source.fleet.seed, owner, at) == np.repeat(end[back], length)
        mine &= at >= begin
        owners.append(owner[mine])
        minutes.append(at[mine])
    owner, at = np.concatenate(owners), np.concatenate(minutes)
    found = measure.points_frame(source.fleet, source.plan, owner, at, source.stuck)
    owner, at = found["_device"].to_numpy(), found["_minute"].to_numpy()
    end = messy.reconnects(source.mess, source.fleet.seed, owner, at)
    # The backlog is sent oldest first, 20 messages a second.
    queue = (at - (end - messy.OUTAGE_MAX)) * 50_000
    wait = measure.latency_us(source.fleet.seed, "mess/late", owner, end)
    return _moved(found.with_columns(_NO_KIND, _NO_POSITION), end * 60_000_000 + queue + wait, Kind.LATE)


def _far_duplicates(source: Source, first: int, count: int, begin: int, device: I64) -> pl.DataFrame:
    """Messages of hours or days ago that are sent again in these minutes."""
    fleet, seed = source.fleet, source.fleet.seed
    now = first + np.arange(count, dtype=np.int64)
    every, offset = fleet.devices.every[device][:, None], fleet.devices.offset[device][:, None]
    again = messy.chosen(source.mess.far_duplicates, seed, "far", device[:, None], now) & ((now - offset) % every == 0)
    row, column = np.nonzero(again)
    owner, moment = device[row], now[column]
    back = noise.uniform(seed, "mess/far/back", owner, moment)
    # As often an hour or two as a day or two ago.
    at = moment - (messy.FAR_MIN * (messy.FAR_MAX / messy.FAR_MIN) ** back).astype(np.int64)
    at -= (at - offset[row, 0]) % every[row, 0]
    normal = (at >= begin) & (messy.kinds(source.mess, seed, owner, at) == Kind.NORMAL)
    owner, moment, at = owner[normal], moment[normal], at[normal]
    numbered = measure.points_frame(fleet, source.plan, owner, at, source.stuck)
    # A message that was never sent is missing here: match the rest by device and minute.
    asked = pl.DataFrame({"_device": owner, "_minute": at, "_moment": moment})
    joined = asked.join(numbered.unique(["_device", "_minute"]), on=["_device", "_minute"], maintain_order="left")
    owner, moment = joined["_device"].to_numpy(), joined["_moment"].to_numpy()
    wait = noise.uniform(seed, "mess/far/wait", owner, moment) * 59e6
    frame = joined.select(numbered.columns).with_columns(_NO_KIND, _NO_POSITION)
    return _moved(frame, moment * 60_000_000 + wait.astype(np.int64), Kind.FAR_DUPLICATE)


_NO_KIND = pl.lit(0, pl.Int8).alias("_kind")
_NO_POSITION = pl.lit(0, pl.Int64).alias("_position")


def raw_hour(fleet: Fleet, plan: FaultPlan, hour: datetime, mess: Mess | None = None) -> pl.DataFrame:
    """Contract C1: the rows whose timestamp_ingested is in the hour, by device in order of arrival.

    Mess of bytes is not shown; those messages are rows like others. `_sequence_number` counts a device's messages,
    from a base that grows with the hour.
    """
    source = Source.of(fleet, plan, mess or Mess.none())
    parts = []
    for at in range(0, fleet.size, _CHUNK_DEVICES):
        found = arriving(source, hour, fleet.devices.index[at : at + _CHUNK_DEVICES])
        found = found.sort("_device", *_ORDER)
        order = found["_device"].to_numpy()
        begins = np.flatnonzero(np.r_[True, order[1:] != order[:-1]]) if len(order) else np.zeros(0, np.int64)
        number = np.arange(len(order)) - np.repeat(begins, np.diff(np.r_[begins, len(order)]))
        base = int(epoch_minutes(hour)) // 60 * SEQUENCE_PER_HOUR
        found = found.with_columns(
            pl.col("device_id").alias("_partition_key"), pl.Series("_sequence_number", number + base, dtype=pl.Int64)
        )
        parts.append(found.select(RAW_READINGS.columns.keys()))
    return pl.concat(parts)
