"""What the pages of alert_board, incidents and work_orders show: tables and pictures. Frames in, metadata out."""

from datetime import datetime
from typing import Any

import dagster as dg
import polars as pl

from refrig_assets.alerting.summary import (
    WORST_FIRST,
    by_age,
    by_deadline,
    by_mode,
    by_severity,
    by_site,
    most_urgent,
    newest,
    standing,
)
from refrig_assets.alerting.wording import plain
from refrig_assets.defs.metadata import records_table
from refrig_assets.pipeline.fleet_report_pictures import board_picture
from refrig_assets.pipeline.fleet_report_text import literal, markdown_table

# So many of a list are shown with all that is known of them.
_IN_FULL = 5


def board_metadata(board: pl.DataFrame, sites: pl.DataFrame, now: datetime) -> dict[str, Any]:
    """The alerts that stand, as somebody who has a minute wants to see them. `sites`: site_id, site_name, devices."""
    stands = standing(board)
    counts = dict(stands["severity"].value_counts().iter_rows())
    deadlines = by_deadline(stands, now)
    numbers: dict[str, Any] = {"standing": stands.height, "suppressed": int(board["suppressed"].sum())}
    # As numbers, so that the UI draws them over time (Plots).
    numbers |= {f"standing_{s.lower()}": int(counts.get(s, 0)) for s in WORST_FIRST}
    numbers |= {f"deadline_{name.replace(' ', '_')}": n for name, n in deadlines.select("deadline", "all").iter_rows()}
    if stands.is_empty():
        return numbers
    tables = {
        "most_urgent": _narrow(most_urgent(stands, now)),
        "by_severity": by_severity(stands),
        "by_deadline": deadlines,
        "by_site": by_site(stands, sites),
        "by_failure": by_mode(stands),
        "by_age": by_age(stands, now),
        "newest": _narrow(newest(stands, now)),
    }
    page = [board_picture(stands, now)]
    page += [f"## {plain(name).capitalize()}\n\n{markdown_table(table)}" for name, table in tables.items()]
    return {
        "board": dg.MetadataValue.md("\n\n".join(page)),
        **{name: _table(table) for name, table in tables.items()},
        **numbers,
    }


def _narrow(alerts: pl.DataFrame) -> pl.DataFrame:
    """What is wider than the page has to be scrolled to."""
    return alerts.select("severity", "device", "what", left_h="hours_left", since_h="since_h", due="due", level="level")


def _table(frame: pl.DataFrame) -> dg.MetadataValue:
    return records_table(frame.to_dicts())


def incidents_metadata(incidents: pl.DataFrame) -> dict[str, Any]:
    is_open = pl.col("status") == "OPEN"
    newest_first = incidents.sort(is_open, "opened_at", "incident_id", descending=[True, True, False]).head(20)
    shown = newest_first.select(
        "status", "severity", "title", devices="device_count", standing="standing_count", opened=_clock("opened_at")
    )
    page = [f"## {literal(i['title'])}\n\n{literal(i['description'])}" for i in newest_first.head(_IN_FULL).to_dicts()]
    return {
        **_page("incidents", shown, page),
        "open": incidents.filter(is_open).height,
        "closed": incidents.filter(~is_open).height,
        "largest": int(incidents.select(pl.col("device_count").max()).item() or 0),
    }


def orders_metadata(orders: pl.DataFrame, now: datetime) -> dict[str, Any]:
    waiting = orders.filter(pl.col("status") == "OPEN").sort("due_at", "work_order_id")
    left = ((pl.col("due_at") - pl.lit(now)).dt.total_seconds() / 3600).round(1)
    shown = waiting.head(20).select("priority", "title", "device_id", due=_clock("due_at"), due_in_h=left)
    by_mode = waiting["failure_mode"].value_counts(sort=True, name="open")
    page = [_order(order) for order in waiting.head(_IN_FULL).to_dicts()]
    return {
        **_page("next_due", shown, page),
        "open": waiting.height,
        "urgent": waiting.filter(pl.col("priority") == "urgent").height,
        "overdue": waiting.filter(pl.col("due_at") < now).height,
        "done": orders.filter(pl.col("status") == "DONE").height,
        "cancelled": orders.filter(pl.col("status") == "CANCELLED").height,
        "open_by_failure": records_table([r | {"failure_mode": plain(r["failure_mode"])} for r in by_mode.to_dicts()]),
    }


def _page(name: str, table: pl.DataFrame, page: list[str]) -> dict[str, dg.MetadataValue]:
    """A table as such, and as a page with the first of its rows in full."""
    if table.is_empty():
        return {name: _table(table)}
    return {"page": dg.MetadataValue.md("\n\n".join([markdown_table(table), *page])), name: _table(table)}


def _order(order: dict[str, Any]) -> str:
    lines = "\n".join(f"- {literal(line)}" for line in order["instructions"].splitlines())
    return f"## {literal(order['title'])}\n\nDue {order['due_at']:%Y-%m-%d %H:%M} UTC\n\n{lines}"


def _clock(column: str) -> pl.Expr:
    return pl.col(column).dt.strftime("%Y-%m-%d %H:%M")
