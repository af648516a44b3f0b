"""Maintenance events in the lake (C7): imported and added, each once, completed forms in place of planned ones."""

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from refrig_assets.alerting.fold import fold
from refrig_assets.alerting.operating import Action
from refrig_assets.contracts import MAINTENANCE_EVENTS
from refrig_assets.contracts.alerts import CLOSED_STATUSES
from refrig_assets.lake import Lake, MarkTakenError
from refrig_assets.pipeline.alert_reading import history
from refrig_assets.pipeline.maintenance_source import Rejected, Source, read_source
from refrig_assets.pipeline.naming import registered
from refrig_assets.pipeline.operators import act

# Work after which the alert that led to it has been dealt with.
_REPAIRS = ("corrective", "emergency")
_LOCK = "maintenance"
_ATTEMPTS = 50
SYSTEM = "maintenance"
"""who closes alerts whose work was done"""


@dataclass
class Import:
    """What became of the rows of a file."""

    new: int = 0
    completed: int = 0
    """planned before, and done now"""
    changed: int = 0
    """planned before, and planned otherwise now"""
    duplicates: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    unused_columns: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    """alerts closed, since the work they led to is done"""
    events: list[dict[str, Any]] = field(default_factory=list)
    """the events written"""

    @property
    def accepted(self) -> int:
        return self.new + self.completed + self.changed


def import_file(
    lake: Lake,
    path: Path,
    now: datetime,
    *,
    columns: Mapping[str, str] | None = None,
    close_alerts: bool = False,
    dry_run: bool = False,
) -> Import:
    """Import a file's events. Imported again it writes nothing; a row that cannot be taken does not stop the others."""
    source = read_source(path, columns or {}, registered(lake, "device_id"), now)
    return write_events(lake, source, now, close_alerts=close_alerts, dry_run=dry_run)


def write_events(
    lake: Lake, source: Source, now: datetime, *, close_alerts: bool = False, dry_run: bool = False
) -> Import:
    """Write what is new, in one commit. Of two writers at once one looks again and finds what the other wrote."""
    table = lake.table(MAINTENANCE_EVENTS)
    for attempt in range(_ATTEMPTS):
        mark = table.transaction_version(_LOCK) or 0
        held = {e["event_id"]: e for e in table.read().to_dicts()}
        found = _judged(source, held)
        if dry_run or not found.accepted:
            break
        rows = pl.DataFrame(list(held.values()), schema=MAINTENANCE_EVENTS.dtypes, orient="row")
        try:
            table.replace_all(rows.sort("scheduled_date", "event_id"), transactions=[(_LOCK, mark + 1)])
            break
        except MarkTakenError:
            time.sleep(random.uniform(0.005, 0.05) * min(attempt + 1, 10))
    else:
        raise MarkTakenError(f"{MAINTENANCE_EVENTS.name}: other writers were first {_ATTEMPTS} times")
    if close_alerts and not dry_run:
        found.closed = _close(lake, [held[e["event_id"]] for e in source.events if e["event_id"] in held], now)
    return found


def _judged(source: Source, held: dict[str, dict[str, Any]]) -> Import:
    """Takes the events, in the order of the file, into `held`, and says what became of each."""
    found = Import(rejected=list(source.rejected), unused_columns=source.unused)
    for number, event in zip(source.rows, source.events, strict=True):
        one = event["event_id"]
        before = held.get(one)
        if before is None:
            found.new += 1
        elif before == event or (before["completed_date"] and not event["completed_date"]):
            found.duplicates += 1  # the same, or its planned form once more
            continue
        elif before["device_id"] != event["device_id"]:
            why = f"event {one} is of device {before['device_id']}, not of {event['device_id']}"
            found.rejected.append(Rejected(number, one, why))
            continue
        elif before["completed_date"]:
            why = f"was done at {before['completed_date']:%Y-%m-%d %H:%M} UTC, and is told otherwise now"
            found.rejected.append(Rejected(number, one, f"{why}: {_differences(before, event)}"))
            continue
        elif event["completed_date"]:
            found.completed += 1
        else:
            found.changed += 1
        held[one] = event
        found.events.append(event)
    found.rejected.sort(key=lambda r: r.row)
    return found


def _differences(before: Mapping[str, Any], event: Mapping[str, Any]) -> str:
    return ", ".join(name for name in MAINTENANCE_EVENTS.columns if before[name] != event[name])


def _close(lake: Lake, events: Sequence[Mapping[str, Any]], now: datetime) -> list[str]:
    """Resolve the open alerts that led to finished repairs. An emergency was a failure, other repairs came in time."""
    done = [e for e in events if e["completed_date"] and e["event_type"] in _REPAIRS and e["triggered_by_alert_id"]]
    log = history(lake, {e["triggered_by_alert_id"] for e in done})
    standing = {a["alert_id"] for a in fold(log).to_dicts() if a["status"] not in CLOSED_STATUSES}
    closed = []
    for event in done:
        alert = event["triggered_by_alert_id"]
        if alert in standing:
            failed = event["event_type"] == "emergency"
            note = event["work_description"] or f"{event['event_type']} maintenance done"
            action = Action("resolved", SYSTEM, "maintenance_system", f"{note} ({event['event_id']})", failed=failed)
            act(lake, action, [alert], now)
            standing.discard(alert)
            closed.append(alert)
    return closed


def read_events(lake: Lake) -> pl.DataFrame:
    """All events, the latest planned first."""
    return lake.table(MAINTENANCE_EVENTS).read().sort("scheduled_date", "event_id", descending=True)
