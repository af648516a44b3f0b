"""`refrig alerts show|history`: one alert, told as far as it is known."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from refrig_assets.cli.alerts_telling import (
    COLOURS,
    SHORT_ID,
    alert_document,
    deadline,
    hours_left,
    outside,
    span,
    sparkline,
    stamp,
    status_text,
    who,
)
from refrig_assets.cli.common import console, debug_option, json_option, lake_option, now, print_json, print_table

if TYPE_CHECKING:
    from rich.console import Console

    from refrig_assets.pipeline.alert_story import Course, Story

_CHANGES_SHOWN, _LISTED = 12, 8
# What fills a page of a table; --json has it.
_LONG = ("evidence", "description", "top_contributors", "first_check")
_ROUTINE = ("diagnosed", "sustained")


@click.command()
@click.argument("alert", metavar="ID")
@lake_option
@json_option
@debug_option
def show(alert: str, lake_uri: str, as_json: bool) -> None:
    """Explain one alert: what is wrong, why, since when, what to check first, how long there is.

    The chart is the last day of the leading sensors, 15-minute windows joined in pairs: red is outside of what is
    usual (5 to 95 % of the windows that training saw of the device, its cohort or the fleet; without those, of its own
    week before), dots are gaps. Of a closed alert it is the day before it was closed.

    \b
    Examples:
      refrig alerts show 3f2a9c10
      refrig alerts show 3f2a9c10 --json | jq .similar
    """
    from refrig_assets.cli.alerts import open_board
    from refrig_assets.pipeline.alert_story import story
    from refrig_assets.pipeline.operators import find_alerts

    lake, moment = open_board(lake_uri), now()
    told = story(lake, find_alerts(lake, [alert])[0], moment)
    if as_json:
        print_json(_document(told, moment))
    else:
        _show(told, moment)


@click.command("history")
@click.argument("alert", metavar="ID")
@lake_option
@json_option
@debug_option
def history_(alert: str, lake_uri: str, as_json: bool) -> None:
    """All that happened to an alert, in its order: what, when, by whom, and what it set.

    \b
    Examples:
      refrig alerts history 3f2a9c10
      refrig alerts history 3f2a9c10 --json | jq '.changes[] | select(.by | startswith("operator:"))'
    """
    from refrig_assets.cli.alerts import open_board
    from refrig_assets.pipeline.alert_reading import history
    from refrig_assets.pipeline.alert_story import changes_of
    from refrig_assets.pipeline.operators import find_alerts

    lake = open_board(lake_uri)
    one = find_alerts(lake, [alert])[0]
    changes = changes_of(history(lake, [one]))
    if as_json:
        print_json({"alert_id": one, "changes": changes})
        return
    rows = [(f"{c['at']:%Y-%m-%d %H:%M:%S}", c["change"], who(c["by"]), _sets(c)) for c in changes]
    print_table(f"Alert {one}", ("when (UTC)", "what", "by", "set"), rows)


def _sets(change: Mapping[str, Any]) -> str:
    if change["change"] == "created":
        return str(change["sets"].get("title", ""))
    return ", ".join(f"{name} {_plain(value)}" for name, value in change["sets"].items() if name not in _LONG)


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return stamp(value)
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _show(told: "Story", moment: datetime) -> None:
    from rich.text import Text

    out, alert = console(), told.alert
    head = Text.assemble((alert["severity"], COLOURS[alert["severity"]]), "  ", (alert["title"], "bold"))
    out.print(head)
    out.print(Text(alert["description"]))
    out.print()
    _facts(out, list(_facts_of(told, moment)))
    if told.courses:
        _chart(out, told.courses)
    _changes(told)
    _alike("Earlier alerts of this device", told.same_device)
    _alike(f"The same failure ({alert['failure_mode']}) in machines alike", told.same_mode)


def _facts_of(told: "Story", moment: datetime) -> Iterator[tuple[str, str]]:
    alert, device = told.alert, told.device
    yield "alert", alert["alert_id"]
    where = ", ".join(str(device[k]) for k in ("model", "site_name", "region") if device.get(k))
    yield "device", f"{alert['device_id']} at {alert['site_id']}" + (f" ({where})" if where else "")
    due = deadline(alert, moment)
    at = f", {due} (by {stamp(alert['sla_deadline'])})" if due else ""
    yield "status", f"{status_text(alert, told.holder)}, with {alert['escalation_level']}{at}"
    if alert["suppressed_by"]:
        yield "suppressed by", alert["suppressed_by"]
    seen = alert["last_seen_at"]
    last = f", last seen {stamp(seen)}" if seen else ""
    for_how_long = span((alert["resolved_at"] or moment) - alert["first_detected_at"])
    yield "since", f"{stamp(alert['first_detected_at'])} UTC ({for_how_long}){last}"
    if alert["windows_sustained"]:
        yield "sustained", f"{alert['windows_sustained']} windows of 15 minutes in a row"
    yield "raised by", _raised(alert)
    if alert["failure_mode"]:
        sure = alert["diagnosis_confidence"]
        yield "probably", alert["failure_mode"].replace("_", " ") + (f" ({sure:.0%} sure)" if sure is not None else "")
    for number, line in enumerate(alert["evidence"] or []):
        yield "because" if number == 0 else "", line
    if told.contributors:
        yield "leading signs", ", ".join(_signs(told))
    if alert["first_check"]:
        yield "check first", alert["first_check"]
    if alert["hours_left"] is not None:
        yield "hours left", hours_left(alert, moment)
    yield from _around(told)


def _around(told: "Story") -> Iterator[tuple[str, str]]:
    """What goes with the alert: note, incident, members, order, mute."""
    alert = told.alert
    if alert["note"]:
        yield "note", alert["note"]
    if alert["incident_id"]:
        yield "incident", alert["incident_id"]
    if told.covers:
        yield "covers", f"{len(told.covers):,} more alerts; --members closes them with it"
    if told.work_order is not None:
        order = told.work_order
        contact = f", {order['maintenance_contact']}" if order["maintenance_contact"] else ""
        yield "work order", f"{order['status'].lower()}, {order['priority']}, due {stamp(order['due_at'])}{contact}"
    if told.mute is not None:
        mute = told.mute
        yield "muted", f"{mute['reason']} (by {mute['made_by']}, mute {mute['mute_id'][:SHORT_ID]})"


def _raised(alert: Mapping[str, Any]) -> str:
    if alert["source"] == "streaming":
        return f"the stream's rule {alert['rule']}"
    if alert["model_id"] is None:
        return str(alert["source"])
    score = f", score {alert['anomaly_score']:.3f}" if alert["anomaly_score"] is not None else ""
    return f"{alert['model_id']}{score}, {alert['models_flagging']} models flag it"


def _signs(told: "Story") -> Iterator[str]:
    """Contributors with their direction: as the score has it, else as the chart shows it."""
    drawn = {c.feature: c for c in told.courses}
    for sign in told.contributors:
        name, weight = sign["feature"], sign["weight"]
        way = 0 if weight is None else 1 if weight > 0 else -1
        if way == 0 and name in drawn:
            course = drawn[name]
            way = outside(next((v for v in reversed(course.values) if v is not None), None), course.low, course.high)
        yield f"{name} {'high' if way > 0 else 'low'}" if way else name


def _facts(out: "Console", facts: list[tuple[str, str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(name, Text(value))
    out.print(table)


def _chart(out: "Console", courses: "list[Course]") -> None:
    from rich.table import Table
    from rich.text import Text

    first = courses[0]
    end = f"{first.start:%Y-%m-%d %H:%M} to 24 h later"
    table = Table.grid(padding=(0, 2))
    for _ in range(4):
        table.add_column(no_wrap=True)
    for course in courses:
        there = [v for v in course.values if v is not None]
        now_at = f"{there[-1]:.4g} {course.unit}" if there else ""
        usual = "" if course.low is None else f"usual {course.low:.4g} to {course.high:.4g} ({course.usual_of})"
        table.add_row(course.feature, sparkline(course.values, course.low, course.high), now_at, Text(usual, "dim"))
    out.print()
    out.print(Text(f"The day of its sensors, {end} UTC; at the right the last value", "bold"))
    out.print(table)


def _changes(told: "Story") -> None:
    # Each hour looks again: of what comes every hour, only the last is told here.
    last = {r["change"]: r["change_id"] for r in told.history}
    shorter = [r for r in told.history if r["change"] not in _ROUTINE or last[r["change"]] == r["change_id"]]
    rows = [(stamp(r["changed_at"]), r["change"], who(r["actor"]), _short(r)) for r in shorter]
    more = len(rows) - _CHANGES_SHOWN
    shown = rows if more <= 0 else [rows[0], ("", f"… {more + 1} more", "", ""), *rows[-(_CHANGES_SHOWN - 2) :]]
    click.echo()
    print_table("What happened to it", ("when (UTC)", "what", "by", ""), shown)


def _short(row: Mapping[str, Any]) -> str:
    if row["change"] == "escalated" and row["escalation_level"]:
        return f"to {row['escalation_level']}" + (" (nobody took it in time)" if row["sla_breached"] else "")
    return str(row["note"] or (row["severity"] if row["change"] not in ("created", "noted") else "") or "")


def _alike(title: str, rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    cells = [
        (r["alert_id"][:SHORT_ID], stamp(r["alert_created_at"]), r["severity"], r["device_id"], r["title"], _ended(r))
        for r in rows[:_LISTED]
    ]  # fmt: skip
    click.echo()
    print_table(title, ("alert", "raised (UTC)", "severity", "device", "what", "how it ended"), cells)


def _ended(row: Mapping[str, Any]) -> str:
    """Closed how, by whom, after how long, and with what note."""
    told = str(row["status"]).lower().replace("_", " ")
    if row["by"] and row["status"] != "OPEN":
        told += f" by {who(row['by'])}"
    if row["resolved_at"]:
        told += f" after {span(row['resolved_at'] - row['alert_created_at'])}"
    return f"{told}: {row['note']}" if row["note"] else told


def _document(told: "Story", moment: datetime) -> dict[str, Any]:
    return {
        "alert": alert_document(told.alert, told.holder, moment),
        "device": told.device,
        "contributors": told.contributors,
        "last_day": [vars(course) for course in told.courses],
        "history": told.history,
        "similar": {"same_device": told.same_device, "same_failure_mode": told.same_mode},
        "covers": told.covers,
        "work_order": told.work_order,
        "mute": told.mute,
    }
