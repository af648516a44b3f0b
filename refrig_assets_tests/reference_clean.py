"""The rules of C2 once more: slow, row by row, in plain Python, written from the contract."""

import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from refrig_assets.contracts.readings import QUALITY_FLAGS
from refrig_assets.contracts.sensors import NUMERIC_SENSORS, SENSOR_NAMES

Row = Mapping[str, Any]
DAY, WEEK, HOUR = timedelta(days=1), timedelta(days=7), timedelta(hours=1)


@dataclass(frozen=True)
class Device:
    expected: Collection[str] = SENSOR_NAMES
    interval_s: int = 60


@dataclass(frozen=True)
class Heard:
    """A device in an earlier hour."""

    hour: datetime
    device: str
    first: datetime
    last: datetime
    sensors: frozenset[str]


@dataclass
class Judged:
    clean: list[dict[str, Any]] = field(default_factory=list)
    quarantine: list[dict[str, Any]] = field(default_factory=list)
    dead: list[dict[str, Any]] = field(default_factory=list)
    duplicates: int = 0


def judge_hour(
    raw: Sequence[Row],
    devices: Mapping[str, Device],
    history: Sequence[Heard] = (),
    before: Collection[str] = (),
    later: Collection[str] = (),
) -> Judged:
    """One hour's raw rows; `before` and `later` are events that an earlier or a later hour holds."""
    judged = Judged()
    copies: dict[str, list[Row]] = defaultdict(list)
    for row in raw:
        copies[row["event_id"]].append(row)
    kept: dict[str, list[tuple[datetime, Row, set[str]]]] = defaultdict(list)
    for event, rows in copies.items():
        if event in before:
            judged.duplicates += len(rows)
            continue
        judged.duplicates += len(rows) - 1
        first = min(rows, key=_rank)
        flags = {"DUPLICATE_REMOVED"} if len(rows) > 1 or event in later else set()
        at = first["timestamp_device"]
        if abs(at - first["timestamp_ingested"]) > DAY:
            at = first["timestamp_ingested"]
            flags.add("CLOCK_DRIFT")
        kept[first["device_id"]].append((at, first, flags))
    for device, readings in kept.items():
        readings.sort(key=lambda r: (r[0], r[1]["_sequence_number"], r[1]["event_id"]))
        _judge_device(judged, device, readings, devices.get(device), [h for h in history if h.device == device])
    return judged


def _rank(row: Row) -> tuple[Any, ...]:
    """First by sequence number; copies of one number by what they say, nulls first and NaN last."""
    values = [
        (row[n] is not None, row[n] != row[n], 0 if row[n] is None or row[n] != row[n] else row[n])
        for n in SENSOR_NAMES
    ]
    return (row["_sequence_number"], row["timestamp_ingested"], row["timestamp_device"], row["device_id"], *values)


def _judge_device(
    judged: Judged,
    device: str,
    readings: list[tuple[datetime, Row, set[str]]],
    registered: Device | None,
    history: Sequence[Heard],
) -> None:
    known = set(registered.expected if registered else ()).union(*(h.sensors for h in history))
    interval = timedelta(seconds=registered.interval_s if registered else 60)
    previous: datetime | None = None
    for at, row, flags in readings:
        heard = [m for h in history for m in (h.first, h.last) if m < at] + ([previous] if previous else [])
        if heard and at - max(heard) > 5 * interval:
            flags.add("READING_GAP")
        missing = {n for n in SENSOR_NAMES if row[n] is None}
        if missing & known:
            flags.add("SENSOR_GAP")
        known |= set(SENSOR_NAMES) - missing
        previous = at
        if registered is None:
            flags.add("DEVICE_UNKNOWN")
        made = _with_values(row, at, flags)
        if registered is None:
            judged.quarantine.append(made)
        elif len(missing) == len(SENSOR_NAMES):
            judged.dead.append(made)
        else:
            judged.clean.append(made)


def _with_values(row: Row, at: datetime, flags: set[str]) -> dict[str, Any]:
    values = {n: row[n] for n in SENSOR_NAMES}
    for sensor in NUMERIC_SENSORS:
        value = values[sensor.name]
        if value is not None and (math.isnan(value) or not sensor.low <= value <= sensor.high):
            values[sensor.name] = None
            flags.add("RANGE_VIOLATION")
    for name in ("superheat", "subcooling"):
        if values[name] is not None and values[name] < 0:
            flags.add(f"NEGATIVE_{name.upper()}")
    return {
        "event_id": row["event_id"],
        "device_id": row["device_id"],
        "timestamp_utc": at,
        **values,
        "quality_flags": [f for f in QUALITY_FLAGS if f in flags],
        "sensor_null_count": sum(v is None for v in values.values()),
        "timestamp_ingested": row["timestamp_ingested"],
    }


def judge_hours(raw: Sequence[Row], devices: Mapping[str, Device]) -> dict[datetime, Judged]:
    """Every hour of arrival, in order, each with what the hours within a week around it hold."""
    by_hour: dict[datetime, list[Row]] = defaultdict(list)
    for row in raw:
        by_hour[row["timestamp_ingested"].replace(minute=0, second=0, microsecond=0)].append(row)
    events = {hour: {r["event_id"] for r in rows} for hour, rows in by_hour.items()}
    history: list[Heard] = []
    judged: dict[datetime, Judged] = {}
    for hour in sorted(by_hour):
        judged[hour] = judge_hour(
            by_hour[hour],
            devices,
            [h for h in history if h.hour >= hour - WEEK],
            set().union(*(e for h, e in events.items() if hour - WEEK <= h < hour)),
            set().union(*(e for h, e in events.items() if hour < h <= hour + WEEK)),
        )
        history += heard_in(hour, judged[hour].clean)
    return judged


def heard_in(hour: datetime, clean: Sequence[Row]) -> list[Heard]:
    found = []
    for device in sorted({r["device_id"] for r in clean}):
        rows = [r for r in clean if r["device_id"] == device]
        times = [r["timestamp_utc"] for r in rows]
        sensors = frozenset(n for n in SENSOR_NAMES if any(r[n] is not None for r in rows))
        found.append(Heard(hour, device, min(times), max(times), sensors))
    return found
