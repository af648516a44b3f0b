"""What the pages of alert_board, incidents and work_orders show: tables and pictures. Frames in, metadata out."""

from datetime import datetime
from typing import Any

import dagster as dg
import polars as pl

from refrig_assets.alerting.summary import (
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
from refrig_assets.contracts.alerts import SEVERITIES
from refrig_assets.defs.metadata import records_table
from refrig_assets.pipeline.fleet_report_pictures import board_picture
from refrig_assets.pipeline.fleet_report_text import markdown_table

_WORST_FIRST = tuple(reversed(SEVERITIES))


def board_metadata(board: pl.DataFrame, sites: pl.DataFrame, now: datetime) -> dict[str, Any]:
    """The alerts that stand, as somebody who has a minute wants to see them. `sites`: site_id, site_name, devices."""
    stands = standing(board)
    counts = dict(stands["severity"].value_counts().iter_rows())
    deadlines = by_deadline(stands, now)
    numbers: dict[str, Any] = {"standing": stands.height, "suppressed": int(board["suppressed"].sum())}
    # As numbers, so that the UI draws them over time (Plots).
    numbers |= {f"standing_{s.lower()}": int(counts.get(s, 0)) for s in _WORST_FIRST}
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
    shown = incidents.sort(is_open, "opened_at", "incident_id", descending=[True, True, False]).head(20)
    largest = pl.col("device_count").max()
    return {
        "open": incidents.filter(is_open).height,
        "closed": incidents.filter(~is_open).height,
        "largest": int(incidents.select(largest).item() or 0),
        "incidents": _table(
            shown.select(
                "status",
                "severity",
                "title",
                devices="device_count",
                standing="standing_count",
                opened=_clock("opened_at"),
            )
        ),
    }


def orders_metadata(orders: pl.DataFrame, now: datetime) -> dict[str, Any]:
    waiting = orders.filter(pl.col("status") == "OPEN").sort("due_at", "work_order_id")
    late = waiting.filter(pl.col("due_at") < now)
    urgent = waiting.filter(pl.col("priority") == "urgent")
    left = ((pl.col("due_at") - pl.lit(now)).dt.total_seconds() / 3600).round(1)
    told = waiting.head(20).select("priority", "device_id", "site_id", "title", due=_clock("due_at"), due_in_h=left)
    by_mode = waiting["failure_mode"].value_counts(sort=True, name="open")
    return {
        "open": waiting.height,
        "urgent": urgent.height,
        "overdue": late.height,
        "done": orders.filter(pl.col("status") == "DONE").height,
        "cancelled": orders.filter(pl.col("status") == "CANCELLED").height,
        "next_due": _table(told),
        "open_by_failure": records_table([r | {"failure_mode": plain(r["failure_mode"])} for r in by_mode.to_dicts()]),
        **({"first_order": dg.MetadataValue.md(_order(waiting.row(0, named=True)))} if waiting.height else {}),
    }


def _order(order: dict[str, Any]) -> str:
    lines = "\n".join(f"- {line}" for line in order["instructions"].splitlines())
    return f"**{order['title']}**, due {order['due_at']:%Y-%m-%d %H:%M} UTC\n\n{lines}"


def _clock(column: str) -> pl.Expr:
    return pl.col(column).dt.strftime("%Y-%m-%d %H:%M")
