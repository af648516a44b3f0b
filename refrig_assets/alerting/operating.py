"""What operators may do to an alert, and what it makes of the alert. No I/O, no clock; `now` is given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from refrig_assets.alerting.labelling import ROLES, closing_note
from refrig_assets.contracts.alerts import CLOSED_STATUSES, FAILURE_MODES, LEVELS, OPERATOR, SLA_BY_SEVERITY

# What one may do, by the name a person gives it, and the change it is in the log.
ACTIONS: Mapping[str, str] = {
    "ack": "acknowledged",
    "start": "started",
    "resolve": "resolved",
    "false-positive": "false_positive",
    "reopen": "reopened",
    "escalate": "escalated",
    "note": "noted",
}
CLOSING = ("resolved", "false_positive")
_TICK = timedelta(microseconds=1)


class ActionError(ValueError):
    """An action that cannot be; the message says of which alert and why."""


@dataclass(frozen=True)
class Action:
    """What somebody wants done to alerts."""

    change: str
    operator: str
    role: str = "operator"
    note: str | None = None
    found: str | None = None
    """the failure mode that was found, where an alert is closed as true"""
    failed: bool = False
    """the machine had failed; else it was only unusual"""
    failed_at: datetime | None = None
    level: str | None = None
    """whom it is escalated to; by default the next level"""

    def __post_init__(self) -> None:
        if self.change not in ACTIONS.values():
            raise ActionError(f"{self.change!r} is no action; there are {', '.join(ACTIONS)}")
        if not self.operator.strip():
            raise ActionError("who does it? Say so with --as NAME or REFRIG_OPERATOR")
        if self.role not in ROLES:
            raise ActionError(f"{self.role!r} is no role; there are {', '.join(ROLES)}")
        if self.found is not None and self.found not in FAILURE_MODES:
            raise ActionError(f"{self.found!r} is no failure mode; there are {', '.join(FAILURE_MODES)}")
        if self.level is not None and self.level not in LEVELS[1:]:
            raise ActionError(f"one escalates to {' or '.join(LEVELS[1:])}, not to {self.level!r}")
        if self.change == "noted" and not (self.note or "").strip():
            raise ActionError("a note needs a text")
        if self.failed_at is not None and not self.failed:
            raise ActionError("when it failed is said only of what failed: add --failed")


@dataclass(frozen=True)
class Refused:
    """An alert with which nothing was done, and why."""

    alert_id: str
    why: str


def planned(
    action: Action,
    alerts: Sequence[Mapping[str, Any]],
    now: datetime,
    last: Mapping[str, datetime],
    holders: Mapping[str, str],
) -> tuple[list[dict[str, Any]], list[Refused]]:
    """What the action sets on each alert, and the alerts it does not fit.

    `last` is when each alert changed last, `holders` who has taken it. A person acts on what they saw: where their
    clock is behind the one that wrote it, the action counts from just after it.
    """
    rows, refused = [], []
    for alert in alerts:
        one = alert["alert_id"]
        why = _refusal(action, alert, holders.get(one))
        if why is not None:
            refused.append(Refused(one, why))
            continue
        at = max(now.astimezone(UTC), last[one] + _TICK)
        rows.append({"alert_id": one, "changed_at": at, "note": action.note, **_sets(action, alert, at)})
    return rows, refused


def _refusal(action: Action, alert: Mapping[str, Any], holder: str | None) -> str | None:
    status, change = alert["status"], action.change
    mine = holder == f"{OPERATOR}{action.operator}"
    if status in CLOSED_STATUSES and change not in ("noted", "reopened"):
        by = f" by {holder.removeprefix(OPERATOR)}" if holder else ""
        closed = alert["resolved_at"]
        when = f" since {closed:%Y-%m-%d %H:%M} UTC" if closed else ""
        return f"it is {status}{when}{by}; `refrig alerts reopen` opens it again"
    if change == "reopened" and status not in CLOSED_STATUSES:
        return f"it is not closed but {status}"
    if change == "acknowledged" and status == "IN_PROGRESS":
        by = f" by {holder.removeprefix(OPERATOR)}" if holder else ""
        return f"it is worked on already{by}; `refrig alerts start` takes it over"
    if change == "acknowledged" and status == "ACKNOWLEDGED" and mine:
        return "you have acknowledged it already"
    if change == "started" and status == "IN_PROGRESS" and mine:
        return "you work on it already"
    if change == "escalated" and LEVELS.index(_level(action, alert)) <= LEVELS.index(alert["escalation_level"]):
        return f"{alert['escalation_level']} has it already"
    return None


def _level(action: Action, alert: Mapping[str, Any]) -> str:
    following = LEVELS.index(alert["escalation_level"]) + 1
    return action.level or LEVELS[min(following, len(LEVELS) - 1)]


def _sets(action: Action, alert: Mapping[str, Any], at: datetime) -> dict[str, Any]:
    if action.change == "escalated":
        return {"escalation_level": _level(action, alert), "escalated_at": at}
    if action.change == "reopened":
        return {"sla_deadline": at + SLA_BY_SEVERITY[alert["severity"]]}
    if action.change not in CLOSING:
        return {}
    found = {"failure_mode": action.found} if action.found is not None else {}
    kind = "false_positive" if action.change == "false_positive" else "anomaly_confirmed"
    kind = "failure_confirmed" if action.failed and action.change == "resolved" else kind
    seen = alert["last_seen_at"] or alert["first_detected_at"]
    return found | {"action_id": closing_note(kind, action.role, min(action.failed_at or seen, at))}
