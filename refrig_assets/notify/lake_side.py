"""The notifier and the lake: reading what is new in the alert log, and telling of attempts in its table."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from refrig_assets.contracts import DEVICE_ALERTS, DEVICE_REGISTRY, NOTIFICATIONS
from refrig_assets.lake import Lake, MarkTakenError, Table
from refrig_assets.notify.journal import moment
from refrig_assets.notify.matters import RANK, held_events, of_a_life
from refrig_assets.notify.outbox import Outbox
from refrig_assets.pipeline.alert_living import living_log

_AT_ONCE = 5000
_FEW = 5000
_REGISTRY = ("device_id", "site_id", "site_name", "region", "model", "site_manager", "maintenance_contact")
_FOR_GOOD = ("sent", "gave_up", "held")


@dataclass(frozen=True)
class News:
    """The files of the log, and every row of the alerts of which some file that was not read before tells."""

    version: int
    files: list[str]
    rows: pl.DataFrame


def news(lake: Lake, seen: set[str], since: datetime) -> News:
    """Only new files are read for who is concerned; of those alerts, all that the log holds.

    Who has seen none begins with what stands or came after `since`: what is older is history, and an alert of that time
    of which the log says more is read whole then.
    """
    table = lake.table(DEVICE_ALERTS)
    version = table.version
    files = table.files(version)
    fresh = [f for f in files if f.path not in seen]
    names = [f.path for f in files]
    if not fresh:
        return News(version, names, DEVICE_ALERTS.empty())
    if not seen:
        return News(version, names, living_log(lake, since, version))
    ids = table.scan_files(fresh).select("alert_id").unique().collect(engine="in-memory")
    return News(version, names, _of_alerts(table, ids))


def _of_alerts(table: Table, ids: pl.DataFrame) -> pl.DataFrame:
    """From a listing of now, not of then: what was written meanwhile is right, and will be read again."""
    rows = table.scan()
    if ids.height > _FEW:
        return rows.join(ids.lazy(), on="alert_id", how="semi").collect(engine="in-memory")
    # As a filter the reader knows it, and reads only what it needs: four times as quick for a few.
    return rows.filter(pl.col("alert_id").is_in(ids["alert_id"].implode())).collect(engine="in-memory")


def read_registry(lake: Lake) -> pl.DataFrame:
    return lake.table(DEVICE_REGISTRY).scan().select(_REGISTRY).collect(engine="in-memory")


def record(lake: Lake, outbox: Outbox) -> int:
    """Append attempts to the table of notifications, each once: the mark says up to which number it has them."""
    table, app = lake.table(NOTIFICATIONS), f"outbox:{outbox.name}"
    written = 0
    while pending := outbox.unrecorded(_AT_ONCE):
        mark = table.transaction_version(app) or 0
        last = pending[-1][0]
        fresh = _frame([content for number, content in pending if number > mark])
        if fresh.height:
            try:
                table.append(fresh, transactions=[(app, last)], tag="notified")
            except MarkTakenError:  # another process of this outbox was first
                continue
        outbox.recorded(last)
        written += fresh.height
    return written


def _frame(contents: Sequence[dict[str, Any]]) -> pl.DataFrame:
    rows = [c | {name: moment(c[name]) for name in ("occurred_at", "at")} for c in contents]
    frame = pl.DataFrame(rows, schema=NOTIFICATIONS.dtypes, orient="row")
    return NOTIFICATIONS.conform(frame.unique("attempt_id", keep="first", maintain_order=True))


def restore(lake: Lake, outbox: Outbox) -> int:
    """Fill a journal that has never been used with what the lake says was told: a lost journal repeats nothing."""
    attempts = lake.table(NOTIFICATIONS).read().filter(pl.col("kind").is_in(["device_alert", "digest"]))
    begun = attempts.group_by("notice_id", "channel").agg(pl.col("at").min().alias("begun"))
    held = pl.col("result") == "held"
    for_good = pl.any_horizontal(pl.col("detail").str.starts_with(reason) for reason in HELD_FOR_GOOD)
    rows = (
        attempts.filter(pl.col("result").is_in(_FOR_GOOD) & (~held | for_good.fill_null(value=False)))
        .join(begun, on=["notice_id", "channel"])
        .select("alert_ids", "severity", "result", "detail", "begun")
    )
    told: set[tuple[str, str]] = set()
    for ids, severity, result, detail, _ in rows.filter(pl.col("alert_ids").list.len() == 1).iter_rows():
        told |= {(ids[0], e) for e in _events(severity, result, str(detail))}
        told |= {(ids[0], e) for e in str(detail).split(", ") if of_a_life(e)}
    for alert, severity, result, detail in _one_by_one(lake, rows.filter(pl.col("alert_ids").list.len() > 1)):
        told |= {(alert, e) for e in _events(severity, result, detail)}
    return outbox.remember(sorted(told))


def _events(severity: str, result: str, detail: str) -> list[str]:
    old = result == "held" and detail.startswith(_HISTORY)
    return [f"severity:{severity}", *held_events(severity)] if old else [f"severity:{severity}"]


def _one_by_one(lake: Lake, many: pl.DataFrame) -> list[tuple[str, str, str, str]]:
    """Of messages that told of many alerts each with its severity then: the message's is that of the worst of them.

    What the log says by the moment the message was first tried; where it says nothing by then, the clocks disagree, and
    the alert's first word counts: to tell again of what became worse is better than to leave it out.
    """
    each = many.explode("alert_ids").rename({"alert_ids": "alert_id", "severity": "worst"}).with_row_index("n")
    if each.is_empty():
        return []
    log = _of_alerts(lake.table(DEVICE_ALERTS), each.select("alert_id").unique())
    said = log.filter(pl.col("severity").is_not_null()).select(
        "alert_id", "severity", "changed_at", "change", "change_id"
    )
    in_order = each.join(said, on="alert_id").sort("n", pl.col("change") != "created", "changed_at", "change_id")
    by_then = pl.col("severity").filter(pl.col("changed_at") <= pl.col("begun")).last()
    found = in_order.group_by("n", maintain_order=True).agg(
        pl.col("alert_id", "worst", "result", "detail").first(),
        pl.coalesce(by_then, pl.col("severity").first()).alias("severity"),
    )
    return [
        (alert, min(severity, worst, key=RANK.__getitem__), result, str(detail))
        for alert, severity, worst, result, detail in found.select(
            "alert_id", "severity", "worst", "result", "detail"
        ).iter_rows()
    ]


_HISTORY = "history"
HELD_FOR_GOOD = (_HISTORY, "no route", "no contact")
"""how the reasons begin for which something is told to nobody, now and later"""


def history_reason(now: datetime, oldest: datetime) -> str:
    return f"{_HISTORY}: it goes back to {oldest:%Y-%m-%d %H:%M} UTC, and nobody is woken for what is that old"


def recent_notifications(lake: Lake, limit: int, only_unsent: bool = False) -> pl.DataFrame:
    """The last attempts and what was held, newest last."""
    rows = lake.table(NOTIFICATIONS).scan()
    wanted = rows.filter(pl.col("result") != "sent") if only_unsent else rows
    return wanted.sort("at", "attempt_id").tail(limit).collect(engine="in-memory")


def as_rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(frame.write_json())
    return rows
