"""Work orders: what a technician is asked to do about the alerts that there are. Frames in, frames out; no clock."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

import polars as pl

from refrig_assets.alerting.changes import work_order_id
from refrig_assets.alerting.incidents import members_of
from refrig_assets.alerting.signs import UNKNOWN, mode_or_rules, sign
from refrig_assets.alerting.wording import clock, hours_text, listed, plain
from refrig_assets.contracts.operations import WORK_ORDERS

# By when somebody must be there; sooner where the machine is expected to fail sooner.
DUE_WITHIN: Mapping[str, timedelta] = {
    "CRITICAL": timedelta(hours=4),
    "HIGH": timedelta(hours=24),
    "MEDIUM": timedelta(hours=72),
    "LOW": timedelta(days=7),
}
_STATUS = {"RESOLVED": "DONE", "FALSE_POSITIVE": "CANCELLED"}
_LISTED = 200

Alert = Mapping[str, Any]


def work_orders(board: pl.DataFrame, registry: pl.DataFrame) -> pl.DataFrame:
    """One row a work order (contract work_orders).

    CRITICAL alerts have one at once, others from the moment that is written in them (HIGH: after two windows). While an
    order of a device and failure mode is open there is no second; what still stands when it is closed has the next.
    Suppressed alerts have none: of a storm, its own alert has the order, which lists the devices; an order that there
    was goes on with the alert that took over. An order is done or cancelled when its alert is resolved or called false.
    """
    storms = members_of(board).group_by(alert_id="incident").agg(pl.col("device_id").unique(maintain_order=True))
    facts = registry.select("device_id", "site_name", "model", "firmware_version", "maintenance_contact")
    asked = (
        _due(board)
        .join(facts, on="device_id", how="left", maintain_order="left")
        .join(storms.rename({"device_id": "covers"}), on="alert_id", how="left", maintain_order="left")
    )
    rows = [_order(alert, opened) for alert, opened in _one_at_a_time(asked)]
    return WORK_ORDERS.conform(pl.DataFrame(rows, schema=WORK_ORDERS.dtypes, orient="row")).sort(
        "opened_at", "work_order_id"
    )


def _due(board: pl.DataFrame) -> pl.DataFrame:
    """The alerts that ask for an order, and since when; by device and trouble in the order of time."""
    at_once = pl.when(pl.col("severity") == "CRITICAL").then("alert_created_at")
    trouble = pl.coalesce(mode_or_rules(), sign(), "alert_id")
    asking = board.filter(~pl.col("suppressed")).with_columns(
        opens=pl.coalesce("work_order_at", at_once), trouble=trouble, mode=mode_or_rules().fill_null(UNKNOWN)
    )
    # Somebody may be on the way: where an alert goes on under another, its order does, too, by the same name.
    before = board.filter("suppressed").drop_nulls("work_order_at").sort("work_order_at", "alert_id")
    taken = before.group_by(alert_id="suppressed_by").agg(
        pl.col("work_order_at").first().alias("_since"), pl.col("alert_id").first().alias("_first")
    )
    asking = asking.join(taken, on="alert_id", how="left").with_columns(
        named_after=pl.when(pl.col("_since") <= pl.col("opens").fill_null(pl.col("_since"))).then("_first"),
        opens=pl.min_horizontal("opens", "_since"),
    )
    return asking.drop_nulls("opens").sort("device_id", "trouble", "opens", "alert_id")


def _one_at_a_time(asked: pl.DataFrame) -> Iterator[tuple[Alert, datetime]]:
    """Alerts that have an order of their own, and when it opens: not before the one before it is closed."""
    for _, alerts in groupby(asked.iter_rows(named=True), lambda alert: (alert["device_id"], alert["trouble"])):
        free: datetime | None = None
        for alert in alerts:
            opens = alert["opens"] if free is None else max(alert["opens"], free)
            closes = alert["resolved_at"]
            if closes is not None and closes <= opens:
                continue
            yield alert, opens
            if closes is None:
                break
            free = closes


def _order(alert: Alert, opened: datetime) -> dict[str, Any]:
    status = _STATUS.get(alert["status"], "OPEN")
    return {
        "work_order_id": work_order_id(alert["named_after"] or alert["alert_id"]),
        "alert_id": alert["alert_id"],
        "device_id": alert["device_id"],
        "site_id": alert["site_id"],
        "failure_mode": alert["mode"],
        "priority": "urgent" if alert["severity"] == "CRITICAL" else "planned",
        "status": status,
        "opened_at": opened,
        "due_at": _due_at(alert, opened),
        "closed_at": None if status == "OPEN" else alert["resolved_at"],
        "title": alert["title"],
        "instructions": _instructions(alert),
        "maintenance_contact": alert["maintenance_contact"],
    }


def _due_at(alert: Alert, opened: datetime) -> datetime:
    due = opened + DUE_WITHIN[alert["severity"]]
    if alert["hours_left"] is None:
        return due
    seen: datetime = alert["last_seen_at"] or alert["first_detected_at"]
    fails = seen + timedelta(hours=alert["hours_left"])
    return max(opened, min(due, fails))


def _instructions(alert: Alert) -> str:
    """What was seen, what to check first, how long it may last, where to go and whom to call; a line each."""
    return "\n".join(line for line in _lines(alert) if line)


def _lines(alert: Alert) -> Sequence[str]:
    evidence, covers = alert["evidence"], alert["covers"]
    left = hours_text(alert["hours_left"], alert["hours_left_low"], alert["hours_left_high"])
    seen = alert["last_seen_at"] or alert["first_detected_at"]
    others = f"{len(covers)} devices of one incident: {listed(covers, _LISTED)}" if covers is not None else ""
    known = [alert["device_id"], alert["model"], alert["firmware_version"] and f"firmware {alert['firmware_version']}"]
    site = f"{alert['site_name']} ({alert['site_id']})" if alert["site_name"] else alert["site_id"]
    return [
        f"Seen: {' '.join(evidence) if evidence else alert['description']}",
        f"Probably: {plain(alert['mode'])}" if alert["mode"] != UNKNOWN else "",
        f"Check first: {alert['first_check']}" if alert["first_check"] else "",
        f"Hours left: about {left}, as of {clock(seen)}" if left else "",
        others,
        f"Part of incident {alert['incident_id']}: look at what the site shares first" if alert["incident_id"] else "",
        f"Where: {', '.join(k for k in known if k)}, {site}",
        f"Call: {alert['maintenance_contact']}" if alert["maintenance_contact"] else "",
        f"Alert: {alert['alert_id']}",
    ]
