"""Rows of the journal: how matters, deliveries, messages and attempts are written and read. Decides nothing."""

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from refrig_assets.notify.forming import INCIDENT_AGAIN, Draft, Recent, Waiting
from refrig_assets.notify.journal import as_json, moment, stamp
from refrig_assets.notify.matters import Matter, identity
from refrig_assets.notify.routing import About, Delivery
from refrig_assets.notify.wording import Words


@dataclass(frozen=True)
class Addressed:
    """A delivery and what its channel's address takes from the registry."""

    delivery: Delivery
    recipient: Mapping[str, str]


def tell(rows: sqlite3.Connection, matter: Matter, more: Sequence[str] = ()) -> None:
    known = [(matter.subject, event) for event in (*matter.events, *more)]
    rows.executemany("INSERT OR IGNORE INTO told VALUES (?, ?)", known)


def put(rows: sqlite3.Connection, matter: Matter, deliveries: Sequence[Addressed], now: datetime) -> None:
    if deliveries:
        rows.execute("INSERT OR IGNORE INTO matters VALUES (?, ?)", (matter.matter_id, as_json(asdict(matter))))
    for one in deliveries:
        delivery = one.delivery
        if matter.about.kind == "device_alert":  # what the channel was going to be told of it is said better now
            rows.execute(
                "UPDATE deliveries SET state = 'replaced' WHERE subject = ? AND channel = ? "
                "AND state IN ('waiting', 'withdrawn')",
                (matter.subject, delivery.channel),
            )
        recipient = as_json(dict(sorted(one.recipient.items())))
        rows.execute(
            "INSERT INTO deliveries VALUES (?, ?, ?, ?, ?, ?, ?, 'waiting', NULL) ON CONFLICT DO UPDATE SET "
            "state = 'waiting', due = excluded.due, planned_at = excluded.planned_at, collected = excluded.collected "
            "WHERE state IN ('replaced', 'withdrawn')",
            (matter.matter_id, delivery.channel, recipient, matter.subject, stamp(delivery.due), stamp(now),
             int(delivery.collected)),
        )  # fmt: skip


def waiting(rows: sqlite3.Connection) -> list[Waiting]:
    query = "SELECT d.*, m.content FROM deliveries d JOIN matters m USING (matter_id) WHERE d.state = 'waiting'"
    return [
        Waiting(
            matter_of(r), r["channel"], r["recipient"], moment(r["due"]), moment(r["planned_at"]), bool(r["collected"])
        )
        for r in rows.execute(query)
    ]


def recent(rows: sqlite3.Connection, now: datetime) -> list[Recent]:
    query = (
        "SELECT channel, recipient, shape, incident, rank, formed_at FROM messages "
        "WHERE formed_at > ? AND state != 'withdrawn'"
    )
    found = rows.execute(query, (stamp(now - INCIDENT_AGAIN),)).fetchall()
    return [Recent(r[0], r[1], r[2], r[3], r[4], moment(r[5])) for r in found]


def matter_of(row: sqlite3.Row) -> Matter:
    told = json.loads(row["content"])
    return Matter(
        told["matter_id"], told["subject"], tuple(told["events"]), About(**told["about"]), moment(told["occurred_at"]),
        told["facts"], told["incident"],
    )  # fmt: skip


def make(rows: sqlite3.Connection, draft: Draft, now: datetime, words: Callable[[Draft, str], Words]) -> None:
    ids = sorted(m.matter_id for m in draft.matters)
    notice = ids[0] if draft.shape == "single" else identity(draft.shape, *ids)
    said = {**content_of(draft, notice, words(draft, notice)), "formed_at": stamp(now), "next_at": stamp(now)}
    row = {
        "notice_id": notice,
        "channel": draft.channel,
        "recipient": draft.recipient,
        "shape": draft.shape,
        "incident": draft.incident,
        "attempts": 0,
        "last_at": stamp(now),
        **said,
    }
    again = ", ".join(f"{name} = excluded.{name}" for name in said)
    rows.execute(
        f"INSERT INTO messages ({', '.join(row)}, state) VALUES ({', '.join('?' * len(row))}, 'waiting') "
        f"ON CONFLICT DO UPDATE SET state = 'waiting', {again} WHERE state = 'withdrawn'",
        tuple(row.values()),
    )
    rows.executemany(
        "UPDATE deliveries SET state = 'formed', notice_id = ? WHERE matter_id = ? AND channel = ? AND recipient = ?",
        [(notice, one, draft.channel, draft.recipient) for one in ids],
    )


def content_of(draft: Draft, notice: str, said: Words) -> dict[str, Any]:
    """What a message says, and of whom."""
    matters = draft.matters
    first = matters[0]
    sites = {m.about.site_id for m in matters}
    return {
        "kind": "digest" if draft.shape == "digest" else first.about.kind,
        "subject": draft.incident or (first.subject if draft.shape == "single" else notice),
        "severity": first.about.severity,
        "rank": first.rank,
        "site_id": sites.pop() if len(sites) == 1 else None,
        "title": said.title,
        "text": said.text,
        "markdown": said.markdown,
        "alert_ids": as_json(alerts_of(matters)),
        "tells": ", ".join(dict.fromkeys(e for m in matters for e in m.events)),
        "occurred_at": stamp(min(m.occurred_at for m in matters)),
    }


def forget_matters(rows: sqlite3.Connection) -> None:
    """Of what has gone out nothing more needs to be known. What waits may have to be said in other words."""
    rows.execute(
        "DELETE FROM matters WHERE matter_id NOT IN ("
        "SELECT matter_id FROM deliveries WHERE state = 'waiting' UNION ALL "
        "SELECT matter_id FROM messages m JOIN deliveries USING (notice_id, channel, recipient) "
        "WHERE m.state IN ('waiting', 'changed', 'sending'))"
    )


def alerts_of(matters: Iterable[Matter]) -> list[str]:
    return list(dict.fromkeys(m.subject for m in matters if m.about.kind == "device_alert"))


def log(rows: sqlite3.Connection, content: Mapping[str, Any]) -> None:
    rows.execute("INSERT INTO attempts (content) VALUES (?)", (as_json(dict(content)),))


def attempt_row(row: sqlite3.Row, attempt: int, result: str, detail: str | None, now: datetime) -> dict[str, Any]:
    """A row of the table of notifications."""
    notice, channel = row["notice_id"], row["channel"]
    return {
        "attempt_id": identity(notice, channel, row["recipient"], str(attempt), result),
        **{name: row[name] for name in ("notice_id", "channel", "kind", "subject", "severity", "site_id", "title")},
        "alert_ids": json.loads(row["alert_ids"]),
        "attempt": attempt,
        "result": result,
        "detail": detail,
        "occurred_at": row["occurred_at"],
        "at": stamp(now),
    }


def held_row(matters: Sequence[Matter], channel: str, why: str, now: datetime) -> dict[str, Any]:
    """A row that says what nobody was told, and why."""
    first = max(matters, key=lambda m: m.rank)
    ids = sorted(m.matter_id for m in matters)
    notice = ids[0] if len(ids) == 1 else identity("held", *ids)
    sites = {m.about.site_id for m in matters}
    title = str(first.facts["title"]) if len(ids) == 1 else f"{len(ids):,} that nobody was told: {first.facts['title']}"
    return {
        "attempt_id": identity(notice, channel, "held", why),
        "notice_id": notice,
        "channel": channel,
        "kind": first.about.kind,
        "subject": first.subject if len(ids) == 1 else notice,
        "severity": first.about.severity,
        "site_id": sites.pop() if len(sites) == 1 else None,
        "title": title,
        "alert_ids": alerts_of(matters),
        "attempt": 0,
        "result": "held",
        "detail": why,
        "occurred_at": stamp(min(m.occurred_at for m in matters)),
        "at": stamp(now),
    }
