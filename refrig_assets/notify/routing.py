"""Who is told what, when: channels, routes, and the decisions they make. Values in, values out; no file, no clock."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from fnmatch import fnmatchcase
from typing import Literal
from zoneinfo import ZoneInfo

from refrig_assets.contracts.alerts import LEVELS, SEVERITIES
from refrig_assets.contracts.operations import NOTICE_KINDS

Pace = Literal["now", "hourly", "daily"]
PACES: tuple[Pace, ...] = ("now", "hourly", "daily")
PACE_OF: Mapping[str, Pace] = {"CRITICAL": "now", "HIGH": "now", "MEDIUM": "hourly", "LOW": "daily"}
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
# What a channel's address may take from the registry.
CONTACTS = ("site_manager", "maintenance_contact", "site_id")
DEFAULT_TIMEOUT_S = 10.0
DEFAULT_GIVE_UP = timedelta(hours=12)
DEFAULT_DAILY_AT = time(7)
DEFAULT_STORM_ABOVE = 5


@dataclass(frozen=True)
class Channel:
    """A way to reach somebody. `url` holds references to the environment, never secrets."""

    name: str
    url: str
    contacts: tuple[str, ...] = ()
    """what of the site's registry entry the address needs"""
    fallback: str | None = None
    """who is told where the registry knows no such contact"""
    timeout_s: float = DEFAULT_TIMEOUT_S
    give_up: timedelta = DEFAULT_GIVE_UP


@dataclass(frozen=True)
class Span:
    """Hours of a day, local; one that ends before it begins goes over midnight."""

    start: time
    end: time

    def holds(self, moment: time) -> bool:
        if self.start < self.end:
            return self.start <= moment < self.end
        return moment >= self.start or moment < self.end


@dataclass(frozen=True)
class About:
    """What routes look at."""

    kind: str
    """device_alert, or one of the other kinds but digest: whether something is collected is the route's decision"""
    severity: str
    site_id: str | None = None
    region: str | None = None
    level: str = LEVELS[0]
    closing: bool = False


@dataclass(frozen=True)
class Route:
    name: str
    channels: tuple[str, ...]
    severities: tuple[str, ...] = SEVERITIES
    kinds: tuple[str, ...] = NOTICE_KINDS
    sites: tuple[str, ...] = ("*",)
    regions: tuple[str, ...] = ("*",)
    levels: tuple[str, ...] = LEVELS
    days: tuple[str, ...] = DAYS
    hours: Span | None = None
    quiet: Span | None = None
    send: Pace | None = None
    daily_at: time = DEFAULT_DAILY_AT
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    resolved: bool = False

    def pace(self, severity: str) -> Pace:
        return self.send or PACE_OF[severity]

    def takes(self, about: About, now: datetime) -> bool:
        """Whether this route tells of it at all, if it happens now."""
        kind = about.kind
        if kind == "device_alert" and self.pace(about.severity) != "now":
            kind = "digest"
        return (
            about.severity in self.severities
            and kind in self.kinds
            and about.level in self.levels
            and (self.resolved or not about.closing)
            and _like(about.site_id, self.sites)
            and _like(about.region, self.regions)
            and self._on_duty(now)
        )

    def _on_duty(self, now: datetime) -> bool:
        local = now.astimezone(self.zone)
        if self.hours is None:
            return DAYS[local.weekday()] in self.days
        # The hours after midnight of a shift belong to the day on which it began.
        over = self.hours.start >= self.hours.end and local.time() < self.hours.end
        began = local - timedelta(days=1) if over else local
        return DAYS[began.weekday()] in self.days and self.hours.holds(local.time())

    def due(self, severity: str, now: datetime) -> datetime:
        """When it is told: now, or the end of the hour, the day, or the quiet hours. Nothing keeps CRITICAL waiting."""
        pace = self.pace(severity)
        local = now.astimezone(self.zone)
        due = now
        if pace == "hourly":
            due = now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
        elif pace == "daily":
            due = _next(local, self.daily_at)
        if self.quiet is None or (severity == "CRITICAL" and pace == "now"):
            return due
        local = due.astimezone(self.zone)
        return max(due, _next(local, self.quiet.end)) if self.quiet.holds(local.time()) else due


def _next(local: datetime, at: time) -> datetime:
    """The next such time of day; one the clock skips in spring is the moment after the gap."""
    today = local.replace(hour=at.hour, minute=at.minute, second=0, microsecond=0, fold=0)
    found = today if today > local else today + timedelta(days=1)
    return found.astimezone(ZoneInfo("UTC"))


def _like(value: str | None, patterns: Sequence[str]) -> bool:
    return any(pattern == "*" or (value is not None and fnmatchcase(value, pattern)) for pattern in patterns)


@dataclass(frozen=True)
class Delivery:
    """A channel, and when. What waits is told together with whatever else waits for that channel."""

    channel: str
    due: datetime
    collected: bool


@dataclass(frozen=True)
class Routing:
    channels: Mapping[str, Channel]
    routes: tuple[Route, ...]
    storm_above: int = DEFAULT_STORM_ABOVE
    """more messages than this to one channel within a minute are one message"""

    def deliveries(self, about: About, now: datetime) -> list[Delivery]:
        """Each channel once; of several routes to one channel the soonest counts."""
        found: dict[str, Delivery] = {}
        for route in self.routes:
            if not route.takes(about, now):
                continue
            due = route.due(about.severity, now)
            for name in route.channels:
                if name not in found or due < found[name].due:
                    found[name] = Delivery(name, due, due > now)
        return list(found.values())

    def recipient(self, channel: str, site: Mapping[str, str | None]) -> tuple[str, dict[str, str]] | None:
        """The channel to use for a site, and what its address takes from the registry; None where nothing fits."""
        seen: set[str] = set()
        name: str | None = channel
        while name is not None and name not in seen:
            seen.add(name)
            known = {field: site.get(field) for field in self.channels[name].contacts}
            if all(known.values()):
                return name, {k: str(v) for k, v in known.items()}
            name = self.channels[name].fallback
        return None
