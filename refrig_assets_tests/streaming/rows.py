"""Rows as the rules get them, of devices that are healthy but for what is said, and what a judge makes of them."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from refrig_assets.contracts.base import BOOL, F64, STR, TS
from refrig_assets_tests.builders import DEVICE, HEALTHY, at, registry_of
from streaming.fleet import RULE_COLUMNS, Fleet
from streaming.judging import ShardJudge

SENSORS = {
    "current": "current_compressor",
    "vibration": "vibration_compressor",
    "pressure": "pressure_low_side",
    "temperature": "temperature_evaporator",
    "defrost": "defrost_cycle",
}
_TYPES: Mapping[str, pl.DataType] = {
    "device_id": STR,
    "timestamp_device": TS,
    "timestamp_ingested": TS,
    "defrost_cycle": BOOL,
}
SCHEMA = {name: _TYPES.get(name, F64) for name in RULE_COLUMNS}
Row = dict[str, Any]


def row(minute: float, device: str = DEVICE, moment: datetime | None = None, **values: Any) -> Row:
    """A reading that many minutes after the hour, short names for the sensors; both clocks may be given."""
    time = moment or at(minute)
    healthy = {name: HEALTHY[name] for name in SENSORS.values()}
    given = {SENSORS.get(name, name): value for name, value in values.items()}
    clocks = {"timestamp_device": time, "timestamp_ingested": time + timedelta(seconds=1), "arrived_at": minute}
    return {"device_id": device, **clocks, **healthy, **given}


def series(
    first: float = 0.0, step_s: float = 60.0, device: str = DEVICE, readings: int | None = None, **values: Any
) -> list[Row]:
    """Readings at a steady interval; a sensor's values are a list (which sets how many), or one value for all."""
    lists = {name: v for name, v in values.items() if isinstance(v, list)}
    count = readings if readings is not None else len(next(iter(lists.values())))
    return [
        row(first + n * step_s / 60, device, **{k: v[n] if k in lists else v for k, v in values.items()})
        for n in range(count)
    ]


def frame(rows: Iterable[Row]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=SCHEMA, orient="row")


def judge_of(devices: Sequence[str] = (DEVICE,), **registry: Any) -> ShardJudge:
    return ShardJudge(Fleet.of(registry_of(list(devices), **registry), 1).thresholds(0))


def found(rows: Iterable[Row], **registry: Any) -> pl.DataFrame:
    """What a judge finds who sees these rows alone."""
    rows = list(rows)
    return judge_of(sorted({r["device_id"] for r in rows}), **registry).judge(frame(rows))


def fired(rows: Iterable[Row], **registry: Any) -> list[str]:
    """The rules that were told, in order, repetitions too."""
    return found(rows, **registry)["rule"].to_list()


def minutes(findings: pl.DataFrame, column: str = "event_time") -> list[float]:
    """Times as minutes after the tests' hour."""
    return [(t - at(0)) / timedelta(minutes=1) for t in findings[column].to_list()]
