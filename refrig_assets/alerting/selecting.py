"""Which alerts a person means, and in what order they are urgent. Frames in, frames out; `now` is given."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from refrig_assets.alerting.standing import BREACHED, against_deadline, is_closed, is_standing, severity_rank
from refrig_assets.contracts.alerts import SEVERITIES


@dataclass(frozen=True)
class Filters:
    """What the alerts must have in common; nothing said is every standing alert that is told to somebody."""

    sites: Sequence[str] = ()
    devices: Sequence[str] = ()
    severities: Sequence[str] = ()
    at_least: str | None = None
    statuses: Sequence[str] = ()
    modes: Sequence[str] = ()
    models: Sequence[str] = ()
    """machines' models as the registry names them, or the detectors or rules that raised the alert"""
    levels: Sequence[str] = ()
    incident: str | None = None
    older_than: timedelta | None = None
    newer_than: timedelta | None = None
    breached: bool = False
    everything: bool = False
    """closed and suppressed ones, too"""


def meet(filters: Filters, now: datetime, registry: pl.DataFrame) -> pl.Expr:
    """Whether an alert of the board meets every filter. `registry` has device_id and model."""
    tests = [pl.col("alert_id").is_not_null(), _among("site_id", filters.sites), _among("device_id", filters.devices)]
    tests += [_among("severity", filters.severities), _among("failure_mode", filters.modes)]
    tests += [_among("status", filters.statuses), _among("escalation_level", filters.levels)]
    if filters.at_least is not None:
        tests.append(_among("severity", SEVERITIES[SEVERITIES.index(filters.at_least) :]))
    if filters.models:
        wanted = list(filters.models)
        devices = registry.filter(pl.col("model").is_in(wanted))["device_id"]
        raised = pl.col("model_id").is_in(wanted) | pl.col("rule").is_in(wanted)
        tests.append(pl.col("device_id").is_in(devices.implode()) | raised.fill_null(value=False))
    if filters.incident is not None:
        tests.append(pl.col("incident_id") == filters.incident)
    if filters.older_than is not None:
        tests.append(pl.col("alert_created_at") <= now - filters.older_than)
    if filters.newer_than is not None:
        tests.append(pl.col("alert_created_at") > now - filters.newer_than)
    if filters.breached:
        tests.append(against_deadline(now) == BREACHED)
    if not filters.everything:
        tests.append(~pl.col("suppressed") if filters.statuses else is_standing())
    return pl.all_horizontal(tests)


def _among(column: str, names: Collection[str]) -> pl.Expr:
    return pl.col(column).is_in(list(names)).fill_null(value=False) if names else pl.lit(value=True)


def by_urgency(alerts: pl.DataFrame) -> pl.DataFrame:
    """What stands before what is closed; then by severity; what nobody has taken first; then by deadline."""
    return alerts[urgency(alerts)]


def urgency(alerts: pl.DataFrame) -> pl.Series:
    """Where in it the alerts are, the most urgent first."""
    keys = alerts.select(
        closed=~is_standing(),
        rank=-severity_rank(),
        taken=pl.col("status") != "OPEN",
        deadline=pl.col("sla_deadline").cast(pl.Int64),
        name=pl.col("alert_id"),
    )
    return keys.select(pl.arg_sort_by("closed", "rank", "taken", "deadline", "name")).to_series()


def covered(board: pl.DataFrame, alerts: Collection[str]) -> list[str]:
    """Alerts that are not closed and that these stand for: suppressed by one of them, or in the same incident.

    An alert's own repetitions are no members: they are there for audit, and of the same machine.
    """
    waiting = board.filter(~is_closed())
    named = board.filter(pl.col("alert_id").is_in(list(alerts)))
    incidents = named["incident_id"].drop_nulls().unique()
    found = set(waiting.filter(pl.col("incident_id").is_in(incidents.implode()))["alert_id"]) - set(alerts)
    reached = set(alerts) | found
    new = reached
    while new:
        new = set(waiting.filter(pl.col("suppressed_by").is_in(list(new)))["alert_id"]) - reached
        found |= new
        reached |= new
    members = waiting.filter(pl.col("alert_id").is_in(list(found)))
    of_others = ~members["device_id"].is_in(named["device_id"].implode())
    return members["alert_id"].sort().to_list() if of_others.any() else []
