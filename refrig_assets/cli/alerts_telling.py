"""How alerts read: ages, deadlines, rows of tables, documents, sparklines. No command."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

COLOURS = {"CRITICAL": "bold red", "HIGH": "red", "MEDIUM": "yellow", "LOW": "cyan"}
_OPERATOR = "operator:"
_BARS = "▁▂▃▄▅▆▇█"
_NOTHING = "·"
SHORT_ID = 8


def who(actor: str | None) -> str:
    return (actor or "").removeprefix(_OPERATOR)


def span(length: timedelta) -> str:
    """Its two largest units: 45 s, 12 min, 3 h 20 min, 2 d 4 h."""
    seconds = int(abs(length.total_seconds()))
    if seconds < 60:
        return f"{seconds} s"
    minutes, hours = seconds // 60 % 60, seconds // 3600
    if hours == 0:
        return f"{minutes} min"
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours and days < 14 else f"{days} d"


def counted(number: int, one: str, many: str = "") -> str:
    """1 alert, 2 alerts."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def stamp(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M}"


def deadline(alert: Mapping[str, Any], now: datetime) -> str:
    """The time left to take it; nothing where it is closed."""
    if alert["status"] in ("RESOLVED", "FALSE_POSITIVE"):
        return ""
    left = alert["sla_deadline"] - now
    if alert["status"] == "OPEN" and left <= timedelta(0):
        return "breached"
    if alert["status"] != "OPEN":
        return "breached, taken" if alert["sla_breached"] else "taken"
    return f"{span(left)} left"


def hours_left(alert: Mapping[str, Any], now: datetime) -> str:
    """What was estimated when it was last seen, less the time since; with its range."""
    from refrig_assets.alerting.wording import hours_text

    if alert["hours_left"] is None:
        return ""
    since = (now - (alert["last_seen_at"] or alert["first_detected_at"])).total_seconds() / 3600
    spans = [alert["hours_left"], alert["hours_left_low"], alert["hours_left_high"]]
    return hours_text(*(None if h is None else max(h - since, 0.0) for h in spans))


def status_text(alert: Mapping[str, Any], holder: str | None) -> str:
    """Where it stands and who has it: the level, and the person who took it."""
    by = who(holder)
    told = alert["status"].lower().replace("_", " ")
    if alert["suppressed"]:
        told += ", suppressed"
    return f"{told}, {by}" if by and alert["status"] != "OPEN" else told


def alerts_table(alerts: Sequence[Mapping[str, Any]], holders: Mapping[str, str], now: datetime) -> "Table":
    """The list, an alert a line: what is most urgent first, as given."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name, options in (
        ("alert", {"no_wrap": True}), ("severity", {"no_wrap": True}), ("age", {"justify": "right", "no_wrap": True}),
        ("deadline", {"no_wrap": True}), ("device", {"overflow": "fold"}), ("site", {"overflow": "fold"}),
        ("what", {"overflow": "fold", "ratio": 1}), ("hours left", {"justify": "right"}),
        ("who has it", {"overflow": "fold"}),
    ):  # fmt: skip
        table.add_column(name, **options)
    for alert in alerts:
        due = deadline(alert, now)
        by = status_text(alert, holders.get(alert["alert_id"]))
        table.add_row(
            alert["alert_id"][:SHORT_ID],
            Text(alert["severity"], COLOURS[alert["severity"]]),
            span(now - alert["alert_created_at"]),
            Text(due, "bold red" if due == "breached" else ""),
            Text(alert["device_id"]),
            Text(alert["site_id"]),
            Text(alert["title"]),
            hours_left(alert, now),
            Text(f"{alert['escalation_level']} {by}"),
        )
    return table


def alert_document(alert: Mapping[str, Any], holder: str | None, now: datetime) -> dict[str, Any]:
    """An alert for machines: the board's row, who has it, and the time left."""
    left = None if alert["status"] != "OPEN" else (alert["sla_deadline"] - now).total_seconds()
    age = (now - alert["alert_created_at"]).total_seconds()
    return {**alert, "holder": who(holder) or None, "age_s": age, "deadline_in_s": left}


def sparkline(values: Sequence[float | None], low: float | None, high: float | None, cells: int = 48) -> "Text":
    """A line of bars; red where outside of the usual range, which lies between the grey marks at its ends."""
    from rich.text import Text

    drawn = _cells(values, cells)
    there = [v for v in drawn if v is not None]
    line = Text()
    if not there:
        return Text("no data", "dim")
    ends = [v for v in (low, high) if v is not None]
    bottom, top = min([*there, *ends]), max([*there, *ends])
    scale = (len(_BARS) - 1) / (top - bottom) if top > bottom else 0.0
    for value in drawn:
        if value is None:
            line.append(_NOTHING, "dim")
            continue
        line.append(_BARS[round((value - bottom) * scale)], "red" if outside(value, low, high) else "green")
    return line


def outside(value: float | None, low: float | None, high: float | None) -> int:
    """1 above the usual, -1 below, 0 within or not known."""
    if value is None or low is None or high is None:
        return 0
    return 1 if value > high else -1 if value < low else 0


def _cells(values: Sequence[float | None], cells: int) -> list[float | None]:
    """As many values as there is room for, each the mean of its neighbours."""
    if len(values) <= cells:
        return list(values)
    found: list[float | None] = []
    for number in range(cells):
        part = values[number * len(values) // cells : (number + 1) * len(values) // cells]
        there = [v for v in part if v is not None]
        found.append(sum(there) / len(there) if there else None)
    return found
