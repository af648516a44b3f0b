"""Small inputs for tests: wire messages, raw rows, registries, landing files. Everything not said is that of a healthy
freezer at NOW's hour."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from refrig_assets.contracts import DEVICE_REGISTRY, RAW_READINGS
from refrig_assets.contracts.registry import REGISTRY_DEFAULTS
from refrig_assets.contracts.sensors import SENSOR_NAMES
from refrig_assets.lake import Lake
from refrig_assets.pipeline.sources import hour_folder

HOUR = datetime(2026, 3, 2, 10, tzinfo=UTC)
NOW = HOUR + timedelta(minutes=90)
ONE_HOUR = timedelta(hours=1)
DEVICE = "dev-1"

HEALTHY: dict[str, float | bool] = {
    "temperature_evaporator": -25.0,
    "temperature_condenser": 40.0,
    "temperature_ambient": 22.0,
    "temperature_discharge": 70.0,
    "temperature_suction": -10.0,
    "pressure_high_side": 1500.0,
    "pressure_low_side": 200.0,
    "current_compressor": 12.0,
    "vibration_compressor": 3.0,
    "humidity": 45.0,
    "door_open_close": False,
    "defrost_cycle": False,
    "superheat": 8.0,
    "subcooling": 5.0,
}
NOTHING: dict[str, None] = dict.fromkeys(SENSOR_NAMES)


def at(minutes: float = 0.0, hour: datetime = HOUR) -> datetime:
    """A time that many minutes after the hour."""
    return hour + timedelta(minutes=minutes)


def iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def wide(device: str = DEVICE, minute: float = 0.0, **changes: Any) -> dict[str, Any]:
    """A wide wire message. A change to None takes the field out."""
    moment = iso(at(minute))
    message = {
        "event_id": f"{device}:{minute:g}",
        "device_id": device,
        "timestamp": moment,
        "timestamp_ingested": moment,
        "readings": dict(HEALTHY),
    } | changes
    return {k: v for k, v in message.items() if v is not None}


def narrow(sensor: str, value: Any, device: str = DEVICE, minute: float = 0.0, **changes: Any) -> dict[str, Any]:
    """A narrow wire message of an old device: no identity, no gateway clock unless given."""
    message = {
        "device_id": device,
        "timestamp": iso(at(minute)),
        "sensor_type": sensor,
        "value": value,
        "quality": "GOOD",
    } | changes
    return {k: v for k, v in message.items() if v is not None}


def line(message: Mapping[str, Any] | str | bytes) -> bytes:
    """A message as one line without its end; text and bytes stand as they are."""
    if isinstance(message, bytes):
        return message
    return (message if isinstance(message, str) else json.dumps(message)).encode()


def lines(messages: Sequence[Mapping[str, Any] | str | bytes]) -> bytes:
    return b"".join(line(m) + b"\n" for m in messages)


def minutes_of(devices: int, minutes: int = 60, first: int = 0) -> list[dict[str, Any]]:
    """Wide messages of several devices, minute by minute."""
    return [wide(f"dev-{d}", m) for m in range(first, first + minutes) for d in range(devices)]


def raw_rows(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Rows of raw_sensor_readings from what is special about each.

    `minute` (default: the row's number) sets both clocks, `hour` the hour it counts from; any column may be given.
    """
    return pl.DataFrame([_raw_row(n, dict(r)) for n, r in enumerate(rows)], schema=RAW_READINGS.dtypes, orient="row")


def _raw_row(number: int, row: dict[str, Any]) -> dict[str, Any]:
    moment = at(row.pop("minute", number), row.pop("hour", HOUR))
    device = row.get("device_id", DEVICE)
    defaults = {
        "event_id": f"event-{number}",
        "device_id": device,
        "timestamp_device": moment,
        "timestamp_ingested": moment,
        **HEALTHY,
        "_partition_key": device,
        "_sequence_number": number,
    }
    return defaults | row


def registry_of(devices: Sequence[str], **changes: Any) -> pl.DataFrame:
    """A device registry in which all devices are alike; `changes` sets columns for all of them."""
    known: dict[str, Any] = {
        **REGISTRY_DEFAULTS,
        "site_id": "site-1",
        "cohort_id": "cohort-1",
        "expected_sensors": list(SENSOR_NAMES),
    } | changes
    rows = [{"device_id": d} | known for d in devices]
    return pl.DataFrame(rows, schema={n: DEVICE_REGISTRY.dtypes[n] for n in ("device_id", *known)}).pipe(
        DEVICE_REGISTRY.conform
    )


def land_file(
    landing: Path, name: str, content: bytes | Sequence[Mapping[str, Any] | str | bytes], hour: datetime = HOUR
) -> Path:
    """Put a landing file into an hour's folder."""
    path = hour_folder(landing, hour) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else lines(content))
    return path


def everything(lake: Lake, table: str, without: Sequence[str] = ()) -> pl.DataFrame:
    """A whole table in an order that does not depend on files."""
    frame = lake.table(table).scan().collect().drop(without)
    return frame.sort([c for c, t in frame.schema.items() if not isinstance(t, pl.List)], nulls_last=True)
