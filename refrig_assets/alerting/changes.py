"""Changes to alerts as rows of the log, with identities by which a repeated change is known. No I/O, no clock."""

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import polars as pl

from refrig_assets.contracts.alerts import (
    ALERT_BOARD,
    CHANGES,
    CLOSED_STATUSES,
    DEVICE_ALERTS,
    OPERATOR,
    SLA_BY_SEVERITY,
)

_NAMESPACE = uuid.UUID("5d9a1f0e-6f0b-5c55-9a55-1b7b6a3f5f10")
# What an alert is until somebody says otherwise.
_AT_FIRST: Mapping[str, Any] = {
    "alert_type": "ANOMALY_DETECTED",
    "models_flagging": 0,
    "suppressed": False,
    "status": "OPEN",
    "escalation_level": "L1",
    "sla_breached": False,
}
_MUST = [name for name, column in ALERT_BOARD.columns.items() if not column.nullable]
# What an operator's action does to the alert.
_ACTIONS: Mapping[str, Mapping[str, Any]] = {
    "acknowledged": {"status": "ACKNOWLEDGED"},
    "started": {"status": "IN_PROGRESS"},
    "resolved": {"status": "RESOLVED", "alert_type": "ANOMALY_RESOLVED"},
    "false_positive": {"status": "FALSE_POSITIVE"},
    "reopened": {
        "status": "OPEN",
        "alert_type": "ANOMALY_DETECTED",
        "sla_breached": False,
        "escalation_level": "L1",
    },
    "escalated": {"alert_type": "ANOMALY_ESCALATED"},
    "muted": {"suppressed": True},
    "unmuted": {"suppressed": False},
    "noted": {},
}


def alert_id(device_id: str, rule_or_model: str, moment: datetime) -> str:
    """The identity of what was found of a device at a moment: the event's time, or the window's."""
    return _identity(device_id, rule_or_model, moment.astimezone(UTC).isoformat(timespec="microseconds"))


def work_order_id(alert: str) -> str:
    """The identity of the work order that an alert asks for."""
    return _identity("work order", alert)


def change_id(alert: str, change: str, discriminator: str = "") -> str:
    """The identity of a change. What may happen to an alert more than once is told apart by the discriminator."""
    if change not in CHANGES:
        raise ValueError(f"{change!r} is no change of an alert; there are {', '.join(CHANGES)}")
    return _identity(alert, change, discriminator)


def _identity(*parts: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, json.dumps(parts)))


def created(alerts: pl.DataFrame, actor: str) -> pl.DataFrame:
    """Log rows of new alerts: each alert is created once, however often this is said.

    Needs alert_id, device_id, site_id, severity, title, description, source, first_detected_at and alert_created_at;
    any other column of the alert may be there. The deadline follows from the severity.
    """
    there = alerts.columns
    given = alerts.with_columns(
        pl.col(name).fill_null(value) if name in there else pl.lit(value).alias(name)
        for name, value in _AT_FIRST.items()
    )
    by_severity = deadline() if "sla_deadline" not in there else pl.col("sla_deadline").fill_null(deadline())
    given = given.with_columns(by_severity.alias("sla_deadline"))
    return log_rows(given.with_columns(pl.col("alert_created_at").alias("changed_at")), "created", actor)


def deadline() -> pl.Expr:
    """By when somebody must have taken an alert, by its severity and the moment it was created."""
    allowed = pl.col("severity").replace_strict(SLA_BY_SEVERITY, return_dtype=pl.Duration("us"), default=None)
    return pl.col("alert_created_at") + allowed


def log_rows(
    changes: pl.DataFrame | Sequence[Mapping[str, Any]], change: str, actor: str, discriminator: pl.Expr | str = ""
) -> pl.DataFrame:
    """Log rows of one kind of change. Needs alert_id and changed_at; other columns are the fields the change sets.

    Of two changes of a kind to one alert with the same discriminator, only the first is ever written.
    """
    frame = changes if isinstance(changes, pl.DataFrame) else _frame(changes)
    told = pl.lit(discriminator) if isinstance(discriminator, str) else discriminator
    occasions = frame.select(alert=pl.col("alert_id"), occasion=told.cast(pl.String))
    ids = [change_id(alert, change, occasion) for alert, occasion in occasions.iter_rows()]
    return DEVICE_ALERTS.conform(
        frame.with_columns(
            pl.Series("change_id", ids, dtype=pl.String), pl.lit(change).alias("change"), pl.lit(actor).alias("actor")
        )
    )


def _frame(changes: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    names = list(dict.fromkeys(name for row in changes for name in row)) or ["alert_id", "changed_at"]
    return pl.DataFrame(list(changes), schema={name: DEVICE_ALERTS.dtypes[name] for name in names}, orient="row")


def suppressed(
    alerts: Sequence[str],
    by_alert: str,
    at: datetime,
    actor: str,
    *,
    change: str = "suppressed",
    note: str | None = None,
) -> pl.DataFrame:
    """Log rows that silence alerts in favour of another: a repetition, or (change "grouped") one of a storm."""
    rows = [
        {"alert_id": one, "changed_at": at, "suppressed": True, "suppressed_by": by_alert, "note": note}
        for one in alerts
    ]
    return log_rows(rows, change, actor, by_alert)


def operator_action(
    alert: str, change: str, name: str, at: datetime, note: str | None = None, action_id: str | None = None
) -> pl.DataFrame:
    """The log row of what a person did. The same action of the same person at the same moment is one action."""
    row: dict[str, Any] = {"alert_id": alert, "changed_at": at, "note": note, "action_id": action_id}
    if change == "muted":
        row["suppressed_by"] = f"mute:{name}"
    return operator_actions([row], change, name)


def operator_actions(rows: Sequence[Mapping[str, Any]], change: str, name: str) -> pl.DataFrame:
    """Log rows of what a person did to alerts; each row has alert_id and changed_at, and whatever else it sets."""
    if change not in _ACTIONS:
        raise ValueError(f"operators cannot have {change!r}; there are {', '.join(_ACTIONS)}")
    sets = _ACTIONS[change]
    closing = sets.get("status") in CLOSED_STATUSES
    told = [{**sets, **({"resolved_at": row["changed_at"]} if closing else {}), **row} for row in rows]
    moments = [f"{name} {row['changed_at'].astimezone(UTC).isoformat()}" for row in rows]
    frame = _frame(told).with_columns(pl.Series("__told", moments, dtype=pl.String))
    return log_rows(frame, change, f"{OPERATOR}{name}", pl.col("__told"))


def incomplete(changes: pl.DataFrame) -> pl.DataFrame:
    """Rows that create an alert and leave out what every alert must have."""
    lacks = pl.any_horizontal(pl.col(name).is_null() for name in _MUST)
    return changes.filter((pl.col("change") == "created") & lacks)
