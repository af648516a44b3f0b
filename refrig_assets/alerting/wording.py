"""Words that incidents, work orders and reports share. Plain text; decides nothing."""

from collections.abc import Sequence
from datetime import datetime

from refrig_assets.contracts.sensors import SENSORS

NAMED_AT_MOST = 50


def clock(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def plain(name: str) -> str:
    """A failure mode, rule or sensor as one reads it."""
    return name.replace("_", " ")


def _turned(name: str) -> str:
    """temperature_evaporator, as people say it."""
    first, _, rest = name.partition("_")
    return f"{plain(rest)} {first}".strip()


_SENSOR_NAMES = {s.short: _turned(s.name) for s in SENSORS}


def sensor_name(short: str) -> str:
    """A sensor by its short name, as people say it."""
    return _SENSOR_NAMES.get(short, plain(short))


def listed(names: Sequence[str], most: int = NAMED_AT_MOST) -> str:
    """The first of them, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def hours_text(hours: float | None, low: float | None = None, high: float | None = None) -> str:
    """An estimate of hours left: in days where it is days, with what it may be instead."""
    if hours is None:
        return ""
    said = span_text(hours)
    if low is None or high is None:
        return said
    unit = 24 if hours >= 48 else 1
    return f"{said} ({low / unit:.0f} to {high / unit:.0f})"


def span_text(hours: float) -> str:
    if hours >= 48:
        return f"{hours / 24:.0f} days"
    return f"{hours:.0f} h" if hours >= 1 else "under 1 h"
