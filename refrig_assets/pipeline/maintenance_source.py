"""Reading a file of maintenance events: columns found by their names, rows made to fit, reasons where they do not."""

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from refrig_assets.contracts.modelling import MAINTENANCE_EVENTS
from refrig_assets.lake import Lake
from refrig_assets.pipeline.naming import registered

EVENT_TYPES = ("preventive", "corrective", "emergency")
_NAMESPACE = uuid.UUID("b7a9d0f2-8c56-5d0b-9b37-3f2e6b1c9a44")
_READERS = {".csv": "csv", ".parquet": "parquet", ".json": "json", ".ndjson": "json", ".jsonl": "json"}
_NEEDED = ("device_id", "event_type", "scheduled_date")
_SCORES = ("pre_maintenance_score", "post_maintenance_score")
_TIMES = ("scheduled_date", "completed_date")
_TEXTS = ("work_description", "triggered_by_alert_id")


class MaintenanceError(ValueError):
    """A file that cannot be read as maintenance events; the message says why."""


@dataclass(frozen=True)
class Rejected:
    """A row that was not taken: its number (1 is the first), the event, and why."""

    row: int
    event_id: str
    why: str


@dataclass(frozen=True)
class Source:
    """Events fit for the table, the row each came from, and those that were not."""

    events: list[dict[str, Any]]
    rows: list[int]
    rejected: list[Rejected]
    unused: list[str]
    """columns of the file that mean nothing here"""


def read_source(path: Path, columns: Mapping[str, str], devices: set[str], now: datetime) -> Source:
    """The events of a CSV, Parquet or JSON file. `columns` says which column is which, where names do not tell.

    Names are compared without regard to case, spaces and underscores. An event without identity is given one of its
    device, kind and planned date, so that its completed form replaces its planned one.
    """
    frame = _read(path)
    names = _names(frame.columns, columns)
    missing = [n for n in _NEEDED if n not in names and not (n == "scheduled_date" and "completed_date" in names)]
    if missing:
        raise MaintenanceError(
            f"{path.name} has no column for {', '.join(missing)} (it has {', '.join(frame.columns)}); "
            f"name it with --column {missing[0]}=COLUMN"
        )
    events, rows, rejected = [], [], []
    for number, raw in enumerate(frame.iter_rows(named=True), start=1):
        row = {name: raw[column] for name, column in names.items()}
        try:
            events.append(_event(row, devices, now))
            rows.append(number)
        except ValueError as error:
            rejected.append(Rejected(number, str(row.get("event_id") or ""), str(error)))
    return Source(events, rows, rejected, [c for c in frame.columns if c not in names.values()])


def source_of(lake: Lake, row: Mapping[str, Any], now: datetime) -> Source:
    """One event told by hand."""
    try:
        return Source([_event(row, registered(lake, "device_id"), now)], [1], [], [])
    except ValueError as error:
        return Source([], [], [Rejected(1, str(row.get("event_id") or ""), str(error))], [])


def _read(path: Path) -> pl.DataFrame:
    kind = _READERS.get(path.suffix.lower())
    if kind is None:
        raise MaintenanceError(
            f"{path.name}: what it is cannot be told from its name; .csv, .parquet or .json are read"
        )
    if not path.exists():
        raise MaintenanceError(f"there is no file {path}")
    try:
        if kind == "csv":
            return pl.read_csv(path, infer_schema=False, encoding="utf8-lossy", try_parse_dates=False)
        if kind == "parquet":
            return pl.read_parquet(path)
        with path.open("rb") as file:
            whole = file.read(1) == b"["
        return pl.read_json(path) if whole else pl.read_ndjson(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise MaintenanceError(f"{path.name} cannot be read as {kind}: {str(error).splitlines()[0]}") from error


def _names(have: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """Which column of the file each of ours is."""
    for name, column in given.items():
        if name not in MAINTENANCE_EVENTS.columns:
            raise MaintenanceError(
                f"{name!r} is not known of an event; there are {', '.join(MAINTENANCE_EVENTS.columns)}"
            )
        if column not in have:
            raise MaintenanceError(f"the file has no column {column!r}; it has {', '.join(have)}")
    plain = {_plain(column): column for column in reversed(have)}
    found = {name: plain[_plain(name)] for name in MAINTENANCE_EVENTS.columns if _plain(name) in plain}
    return found | dict(given)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _event(row: Mapping[str, Any], devices: set[str], now: datetime) -> dict[str, Any]:
    """A row as the table wants it, or a ValueError that says what is wrong with it."""
    device, kind = _text(row.get("device_id")), (_text(row.get("event_type")) or "").lower()
    if device is None:
        raise ValueError("no device_id")
    if devices and device not in devices:
        raise ValueError(f"device {device!r} is not in the registry")
    if kind not in EVENT_TYPES:
        raise ValueError(f"event_type {kind!r} is none of {', '.join(EVENT_TYPES)}")
    planned, done = (_time(row.get(name), name) for name in _TIMES)
    if planned is None and done is None:
        raise ValueError("neither scheduled_date nor completed_date")
    if done is not None and done > now:
        raise ValueError(f"completed_date {done:%Y-%m-%d %H:%M} UTC is yet to come")
    planned = planned or done
    assert planned is not None
    derived = str(uuid.uuid5(_NAMESPACE, f"{device}\n{kind}\n{planned.isoformat()}"))
    return {
        "event_id": _text(row.get("event_id")) or derived,
        "device_id": device,
        "event_type": kind,
        "scheduled_date": planned,
        "completed_date": done,
        "parts_replaced": _parts(row.get("parts_replaced")),
        **{name: _text(row.get(name)) for name in _TEXTS},
        **{name: _score(row.get(name), name) for name in _SCORES},
        "work_description": _text(row.get("work_description")) or "",
    }


def _text(value: Any) -> str | None:
    text = "" if value is None else str(value).strip()
    return text or None


def _time(value: Any, name: str) -> datetime | None:
    """ISO 8601, with an offset or in UTC, or a day; a Parquet file's own times."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    text = _text(value)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{name} {text!r} is not a time in ISO 8601, like 2026-03-01T14:00") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _parts(value: Any) -> list[str]:
    """A list as it is; a text with semicolons or commas between."""
    parts = value if isinstance(value, list) else re.split(r"[;,]", str(value)) if value is not None else []
    return [part for one in parts if (part := str(one).strip())]


def _score(value: Any, name: str) -> float | None:
    text = _text(value)
    if text is None:
        return None
    try:
        score = float(text)
    except ValueError:
        raise ValueError(f"{name} {text!r} is not a number") from None
    if not 0 <= score <= 1:
        raise ValueError(f"{name} {text} lies outside of 0 to 1")
    return score
