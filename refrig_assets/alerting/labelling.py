"""What operators' closing actions say of a device, as label events (C7). A label follows from the log. No I/O."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import polars as pl

from refrig_assets.contracts.alerts import OPERATOR
from refrig_assets.contracts.base import TS
from refrig_assets.contracts.modelling import LABEL_EVENTS

# Who speaks, as C7 calls them, and how far they are believed. A technician has seen the machine (C7: 0.9). Whoever
# closes an alert from a desk judges by charts and telephone: more than the 0.5 from which a label is heard at all, and
# less than the technician, who is believed where both speak.
ROLES: Mapping[str, tuple[str, float]] = {
    "operator": ("operator_feedback", 0.7),
    "field_engineer": ("field_engineer", 0.9),
    "maintenance_system": ("maintenance_system", 0.8),
}
TAKEN_BACK = 0.0
"""confidence of a label that takes back what was said of its alert"""
LABEL_KEY = ["alert_id", "labeled_at", "label_type"]
_SAYING = {"resolved": "anomaly_confirmed", "false_positive": "false_positive"}


def closing_note(label_type: str, role: str, event: datetime) -> str:
    """What a closing action says of the device, as the log keeps it (action_id)."""
    return f"{label_type} {role} {event.astimezone(UTC).isoformat()}"


def is_verdict() -> pl.Expr:
    """Changes by which a person closes an alert, or opens it again."""
    by_person = pl.col("actor").str.starts_with(OPERATOR)
    return by_person & pl.col("change").is_in([*_SAYING, "reopened"])


def labels_of(log: pl.DataFrame, board: pl.DataFrame) -> pl.DataFrame:
    """The labels that the verdicts among these log rows make; `board` is the fold of the same alerts.

    Each is a function of its log row: the same row makes the same label (alert_id, labeled_at, label_type), whoever
    makes it and whenever. An alert opened again takes its last label back: the same label, with confidence 0.
    """
    alerts = {row["alert_id"]: row for row in board.iter_rows(named=True)}
    rows, before = [], {}
    for change in log.filter(is_verdict()).sort("changed_at", "change_id").iter_rows(named=True):
        alert = alerts.get(change["alert_id"])
        if alert is None:
            continue
        if change["change"] in _SAYING:
            before[change["alert_id"]] = label = _label(change, alert)
            rows.append(label)
        elif change["alert_id"] in before:
            back = before.pop(change["alert_id"])
            note = f"opened again by {change['actor'].removeprefix(OPERATOR)}"
            taken = {"labeled_at": change["changed_at"], "label_confidence": TAKEN_BACK, "notes": note}
            rows.append(back | taken)
    return pl.DataFrame(rows, schema=LABEL_EVENTS.dtypes, orient="row")


def _label(change: Mapping[str, Any], alert: Mapping[str, Any]) -> dict[str, Any]:
    told = (change["action_id"] or "").split(" ")
    if len(told) == 3 and told[1] in ROLES:
        kind, role, event = told[0], told[1], datetime.fromisoformat(told[2])
    else:  # closed by a writer who said no more than that
        kind, role = _SAYING[change["change"]], "operator"
        event = min(alert["last_seen_at"] or alert["first_detected_at"], change["changed_at"])
    source, confidence = ROLES[role]
    return {
        "device_id": alert["device_id"],
        "event_timestamp": event,
        "label_type": kind,
        "label_source": source,
        "label_confidence": confidence,
        "labeled_at": change["changed_at"],
        "alert_id": change["alert_id"],
        "failure_mode": None if kind == "false_positive" else change["failure_mode"],
        "notes": change["note"],
    }


def label_row(
    device_id: str, label_type: str, event: datetime, said_at: datetime, role: str, **more: Any
) -> dict[str, Any]:
    """What somebody says of a device without an alert; a row of label_events."""
    source, confidence = ROLES[role]
    return dict.fromkeys(LABEL_EVENTS.columns) | {
        "device_id": device_id,
        "event_timestamp": event.astimezone(UTC),
        "label_type": label_type,
        "label_source": source,
        "label_confidence": confidence,
        "labeled_at": said_at.astimezone(UTC),
    } | more  # fmt: skip


def unsaid(labels: pl.DataFrame, said: pl.DataFrame) -> pl.DataFrame:
    """Those of the labels that nobody said before: by alert and moment; without an alert, by all but the moment."""
    of_alert = pl.col("alert_id").is_not_null()
    alone = ["device_id", "event_timestamp", "label_type", "label_source", "failure_mode", "notes"]
    parts = [
        labels.filter(of_alert).unique(LABEL_KEY, maintain_order=True).join(said, on=LABEL_KEY, how="anti"),
        labels.filter(~of_alert).unique(alone, maintain_order=True).join(
            said.filter(~of_alert), on=alone, how="anti", nulls_equal=True
        ),
    ]  # fmt: skip
    return LABEL_EVENTS.conform(pl.concat(parts).with_columns(pl.col("event_timestamp", "labeled_at").cast(TS)))
