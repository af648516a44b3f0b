"""What must be told of alerts: from their log to matters, each known by its identity. No I/O; `now` is given.

It goes by what the alerts are now and by what was told of them, not by single changes: reading a change twice, or late,
tells nothing twice.
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from refrig_assets.alerting.fold import fold
from refrig_assets.alerting.standing import is_closed, is_standing, severity_rank
from refrig_assets.contracts.alerts import LEVELS, OPERATOR, SEVERITIES, SLA_BY_SEVERITY
from refrig_assets.notify.routing import About

HORIZON = timedelta(hours=6)
RANK: Mapping[str, int] = {severity: rank for rank, severity in enumerate(SEVERITIES)}
# How late the board's run may be with an escalation that still counts as one in time.
_BOARD_LATE = timedelta(hours=1)
CLOSED = "closed"
_SEVERITY, _LEVEL, _HELD = "severity:", "level:", "history:"
_LIFE = "#"
_NAMESPACE = uuid.UUID("0c6c0b1e-7f3d-5d0e-8b8e-3f0d8f6b9a11")
_FACTS = (
    "alert_id", "device_id", "site_id", "severity", "title", "description", "source", "first_detected_at",
    "evidence", "hours_left", "hours_left_low", "hours_left_high", "first_check", "sla_deadline", "status",
    "escalation_level", "note", "incident_id", "resolved_at", "actor",
)  # fmt: skip
_SITE_FACTS = ("site_name", "region", "site_manager", "maintenance_contact")


def identity(*parts: str) -> str:
    """The identity of what is told, derived from what it is about."""
    return str(uuid.uuid5(_NAMESPACE, "\x1f".join(parts)))


@dataclass(frozen=True)
class Told:
    """What was told of an alert, or held back for good."""

    rank: int = -1
    levels: frozenset[str] = frozenset()
    closed: bool = False
    only_held: bool = False
    """each of its severities was held back as history: nobody has heard of it"""
    life: int = 0
    """how often it had been opened again when levels and its end were told; those of before count no more"""
    owed: bool = False
    """some channel was not reached before it was withdrawn"""


@dataclass(frozen=True)
class Matter:
    """One thing to tell."""

    matter_id: str
    subject: str
    events: tuple[str, ...]
    """what it tells of its subject, e.g. severity:HIGH"""
    about: About
    occurred_at: datetime
    facts: Mapping[str, Any] = field(default_factory=dict)
    incident: str | None = None

    @property
    def rank(self) -> int:
        return RANK[self.about.severity]

    @property
    def severities(self) -> list[str]:
        """the severities that it tells of"""
        return _named(self.events, _SEVERITY)


@dataclass(frozen=True)
class Planned:
    """What follows from the alerts looked at."""

    new: list[Matter] = field(default_factory=list)
    history: list[Matter] = field(default_factory=list)
    """too old to wake anybody: known as told from now on"""
    withdrawn: Mapping[str, str] = field(default_factory=dict)
    """alerts of which nothing more may go out that has not gone out yet, and why"""
    again: list[Matter] = field(default_factory=list)
    """nothing new, for the channels alone from which it was withdrawn before it arrived"""
    stands: Sequence[str] = ()
    """alerts of which something was told, and of which more may go out"""


def plan(rows: pl.DataFrame, told: Mapping[str, Told], registry: pl.DataFrame, now: datetime) -> Planned:
    """What the alerts of these log rows give to tell. Give it every row of each of the alerts."""
    alerts = _alerts(rows, told)
    withdrawn = alerts.filter((pl.col("told_rank") >= 0) & ~is_standing())
    reasons = {a: _why(closed) for a, closed in withdrawn.select("alert_id", closed=is_closed()).iter_rows()}
    stands = alerts.filter((pl.col("told_rank") >= 0) & is_standing())["alert_id"].to_list()
    raised = is_standing() & (severity_rank() > pl.col("told_rank"))
    # A level that a reopening left as it was is no news until the new deadline has passed.
    since_then = (pl.col("escalated_at") >= pl.col("reopened_at")).fill_null(value=True) | pl.col("sla_breached")
    gone_up = (pl.col("escalation_level") != LEVELS[0]) & since_then
    higher = is_standing() & gone_up & ~pl.col("level_told")
    closing = is_closed() & ~pl.col("suppressed") & (pl.col("told_rank") >= 0) & ~pl.col("closing_told")
    owed = is_standing() & pl.col("owed") & ~raised & ~higher
    due = alerts.with_columns(raised=raised, higher=higher, closing=closing, owed=owed).filter(
        pl.any_horizontal("raised", "higher", "closing", "owed")
    )
    known = _with_registry(due, registry)
    new: list[Matter] = []
    history: list[Matter] = []
    again: list[Matter] = []
    for row in known.iter_rows(named=True):
        matter = _matter(row)
        # Nobody is told at L2 of what was too old for L1; should it become worse, it is news to all.
        old = now - matter.occurred_at > HORIZON or (row["only_held"] and row["higher"] and not row["raised"])
        if row["owed"]:
            again += [] if old else [matter]
        else:
            (history if old else new).append(matter)
    return Planned(new, history, reasons, again, stands)


def _alerts(rows: pl.DataFrame, told: Mapping[str, Told]) -> pl.DataFrame:
    """The alerts as they are now, since when they are so, and what was told of them."""
    level_told = pl.col("told_levels").fill_null("").str.contains(pl.col("escalation_level"), literal=True)
    # Opened again it has a new deadline: of levels and its end nobody has been told in this life of it.
    same_life = pl.col("told_life").fill_null(0) >= pl.col("life")
    return (
        fold(rows)
        .join(_lives(rows), on="alert_id", how="left")
        .join(_known(told), on="alert_id", how="left")
        .with_columns(
            pl.col("told_rank").fill_null(-1),
            pl.col("only_held", "owed").fill_null(value=False),
            closing_told=pl.col("closing_told").fill_null(value=False) & same_life,
            level_told=level_told & same_life,
        )
        .sort("alert_created_at", "alert_id")
    )


def _lives(rows: pl.DataFrame) -> pl.DataFrame:
    """Of each alert since when somebody has reason to be told of it, how often it was opened again, and by whom."""
    seen = pl.coalesce("last_seen_at", "first_detected_at")
    # When somebody had reason to be told of the severity: what is written late of long ago is history.
    spoken = (
        pl.when(pl.col("change") == "created")
        .then(pl.min_horizontal("changed_at", seen))
        .when((pl.col("change") == "escalated") & pl.col("severity").is_not_null())
        .then(pl.min_horizontal("changed_at", "last_seen_at"))
        .when(pl.col("change").is_in(["unmuted", "reopened"]))
        .then("changed_at")
    )
    reopened = (pl.col("change") == "reopened") & pl.col("actor").str.starts_with(OPERATOR)  # nobody else may
    return (
        rows.sort("changed_at", "change_id")
        .group_by("alert_id")
        .agg(
            spoken.max().alias("since"),
            pl.col("change_id").filter(reopened).n_unique().alias("life"),
            pl.col("changed_at").filter(reopened).max().alias("reopened_at"),
            pl.col("actor").filter(pl.col("status").is_not_null()).last().alias("actor"),
        )
    )


def _known(told: Mapping[str, Told]) -> pl.DataFrame:
    schema = {
        "alert_id": pl.String, "told_rank": pl.Int32, "only_held": pl.Boolean, "told_levels": pl.String,
        "closing_told": pl.Boolean, "told_life": pl.UInt32, "owed": pl.Boolean,
    }  # fmt: skip
    known = [(a, t.rank, t.only_held, "|".join(sorted(t.levels)), t.closed, t.life, t.owed) for a, t in told.items()]
    return pl.DataFrame(known, schema=schema, orient="row")


def _why(closed: bool) -> str:
    return "closed before it was told" if closed else "suppressed before it was told"


def _with_registry(alerts: pl.DataFrame, registry: pl.DataFrame) -> pl.DataFrame:
    devices = registry.select("device_id", "model")
    sites = registry.select("site_id", *_SITE_FACTS).unique("site_id", keep="first", maintain_order=True)
    return alerts.join(devices, on="device_id", how="left", maintain_order="left").join(
        sites, on="site_id", how="left", maintain_order="left"
    )


def _matter(row: Mapping[str, Any]) -> Matter:
    level = row["escalation_level"]
    moments: list[datetime | None] = []
    events: list[str] = []
    if row["closing"]:
        events.append(in_life(CLOSED, row["life"]))
        moments.append(row["resolved_at"])
    if row["raised"] or row["owed"]:
        events.append(f"{_SEVERITY}{row['severity']}")
        moments.append(row["since"])
    if row["higher"]:
        events.append(in_life(f"{_LEVEL}{level}", row["life"]))
        moments.append(_level_since(row))
    facts = {name: row[name] for name in (*_FACTS, "model", *_SITE_FACTS)}
    return Matter(
        identity(row["alert_id"], *events),
        row["alert_id"],
        tuple(events),
        About("device_alert", row["severity"], row["site_id"], row["region"], level, bool(row["closing"])),
        max((m for m in moments if m is not None), default=row["alert_created_at"]),
        facts,
        row["incident_id"],
    )


def _level_since(row: Mapping[str, Any]) -> datetime | None:
    """When a level was reached. What was over its deadline long before it was escalated is history, not neglect."""
    allowed = SLA_BY_SEVERITY[row["severity"]]
    at, deadline = row["escalated_at"], row["sla_deadline"]
    if at is not None and row["reopened_at"] is not None and at < row["reopened_at"]:  # it had that level before
        at = deadline
    patience = 2 * allowed + HORIZON
    if row["raised"]:  # nobody was told of it before: an hour judged late passes all its deadlines at once
        patience = _BOARD_LATE + (allowed if row["escalation_level"] == LEVELS[-1] else timedelta())
    late = at is not None and deadline is not None and at - deadline > patience
    since: datetime | None = row["since"] if late else at
    return since


def held_events(*severities: str) -> list[str]:
    """What is known of an alert beside its events where these severities were held back as history."""
    return [f"{_HELD}{severity}" for severity in severities]


def told_of(rows: Iterable[tuple[str, str]], owed: AbstractSet[str] = frozenset()) -> dict[str, Told]:
    """What was told, by alert, from (alert, event) pairs; of those that are owed it was withdrawn on some channel."""
    found: dict[str, list[str]] = {}
    for alert, event in rows:
        found.setdefault(alert, []).append(event)
    return {alert: _told(events, alert in owed) for alert, events in found.items()}


def in_life(event: str, life: int) -> str:
    """A level, or the end, of an alert that was opened again is another one than that of before."""
    return f"{event}{_LIFE}{life}" if life else event


def of_a_life(event: str) -> bool:
    return event.startswith((_LEVEL, CLOSED))


def _told(events: Sequence[str], owed: bool) -> Told:
    severities = _named(events, _SEVERITY)
    lives = [(int(life or 0), event) for event, _, life in (e.partition(_LIFE) for e in events if of_a_life(e))]
    last = max((life for life, _ in lives), default=0)
    latest = [event for life, event in lives if life == last]
    return Told(
        max((RANK[severity] for severity in severities), default=-1),
        frozenset(_named(latest, _LEVEL)),
        CLOSED in latest,
        bool(severities) and set(severities) <= set(_named(events, _HELD)),
        last,
        owed,
    )


def _named(events: Sequence[str], kind: str) -> list[str]:
    return [e.removeprefix(kind) for e in events if e.startswith(kind)]
