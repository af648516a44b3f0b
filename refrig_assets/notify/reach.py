"""Whom the routes reach: a table of routes, hours at which CRITICAL reaches nobody, sites without contact. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import polars as pl

from refrig_assets.contracts.alerts import LEVELS, SEVERITIES
from refrig_assets.contracts.operations import NOTICE_KINDS
from refrig_assets.notify.routing import CONTACTS, DAYS, About, Route, Routing

# Any Monday; routes go by the day of the week and the time of day.
_MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
_STEP, _STEPS = timedelta(minutes=30), 7 * 48
_SAMPLE = 5


@dataclass(frozen=True)
class Reach:
    """What an operator should see of a routing before relying on it."""

    routes: list[dict[str, object]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def reach(routing: Routing, registry: pl.DataFrame) -> Reach:
    """Judge the routes for the sites of the registry; without one, for a site that only routes for all sites take."""
    sites: list[dict[str, str | None]] = (
        registry.select("region", *CONTACTS).unique("site_id").sort("site_id").to_dicts()
        if registry.height
        else [dict.fromkeys(("region", *CONTACTS))]
    )
    warnings = [*_silent_hours(routing, sites), *_without_contact(routing, sites), *_unused(routing)]
    return Reach([_row(route) for route in routing.routes], warnings)


def _row(route: Route) -> dict[str, object]:
    def told(severity: str) -> str:
        if severity not in route.severities:
            return ""
        pace = route.pace(severity)
        if not set(route.kinds) - {"device_alert", "digest"}:
            kind = "device_alert" if pace == "now" else "digest"
            if kind not in route.kinds:
                return ""
        quiet = route.quiet is not None and not (severity == "CRITICAL" and pace == "now")
        return f"{pace}{', not in quiet hours' if quiet else ''}"

    return {
        "route": route.name,
        "channels": ", ".join(route.channels),
        **{severity: told(severity) for severity in reversed(SEVERITIES)},
        "what": _some(route.kinds, NOTICE_KINDS, "everything"),
        "where": _where(route),
        "levels": _some(route.levels, LEVELS, "all"),
        "when": _when(route),
    }


def _some(values: Iterable[str], everything: Iterable[str], called: str) -> str:
    return called if set(values) == set(everything) else ", ".join(values)


def _where(route: Route) -> str:
    parts = [", ".join(route.sites) if route.sites != ("*",) else ""]
    parts.append(f"regions {', '.join(route.regions)}" if route.regions != ("*",) else "")
    return "; ".join(p for p in parts if p) or "everywhere"


def _when(route: Route) -> str:
    parts = [_some(route.days, DAYS, "")]
    if route.hours:
        parts.append(f"{route.hours.start:%H:%M}-{route.hours.end:%H:%M}")
    if route.quiet:
        parts.append(f"quiet {route.quiet.start:%H:%M}-{route.quiet.end:%H:%M}")
    told = " ".join(p for p in parts if p)
    return f"{told} {route.zone.key}" if told else "always"


def _silent_hours(routing: Routing, sites: list[dict[str, str | None]]) -> list[str]:
    """When a CRITICAL alert of some site would wake nobody."""
    found: dict[tuple[str, ...], list[str]] = {}
    known: dict[tuple[bool, ...], tuple[str, ...]] = {}
    for site in sites:
        about = About("device_alert", "CRITICAL", site["site_id"], site["region"])
        # Sites that the same routes take at any hour at all need be looked at only once.
        key = tuple(_takes_ever(route, about) for route in routing.routes)
        if key not in known:
            known[key] = tuple(_spans([not _reached(routing, about, _MONDAY + n * _STEP) for n in range(_STEPS)]))
        if known[key]:
            found.setdefault(known[key], []).append(site["site_id"] or "a site")
    return [
        f"CRITICAL alerts of {_sample(names)} reach nobody {', '.join(spans[:_SAMPLE])}"
        f"{' …' if len(spans) > _SAMPLE else ''}: add a route without hours, or one for these"
        for spans, names in found.items()
    ]


def _takes_ever(route: Route, about: About) -> bool:
    return any(route.takes(about, _MONDAY + n * _STEP) for n in range(_STEPS))


def _reached(routing: Routing, about: About, moment: datetime) -> bool:
    return any(d.due <= moment for d in routing.deliveries(about, moment))


def _spans(silent: list[bool]) -> list[str]:
    if all(silent):
        return ["at any hour"]
    spans = []
    start: int | None = None
    for n, quiet in enumerate([*silent, False]):
        if quiet and start is None:
            start = n
        elif not quiet and start is not None:
            spans.append(f"{_clock(start)} to {_clock(n)} UTC")
            start = None
    return spans


def _clock(step: int) -> str:
    moment = _MONDAY + step * _STEP
    return f"{DAYS[moment.weekday()].capitalize()} {moment:%H:%M}"


def _without_contact(routing: Routing, sites: list[dict[str, str | None]]) -> list[str]:
    warnings = []
    for name in routing.channels:
        lacking = [str(s["site_id"]) for s in sites if s["site_id"] and routing.recipient(name, _site(s)) is None]
        if lacking:
            needs = " or ".join(routing.channels[name].contacts)
            warnings.append(
                f"channel {name}: the registry has no {needs} for {_sample(lacking)}, and there is no fallback: "
                "give the channel one, or complete the registry"
            )
    return warnings


def _site(site: Mapping[str, str | None]) -> dict[str, str | None]:
    return {name: site.get(name) for name in CONTACTS}


def _unused(routing: Routing) -> list[str]:
    used = {c for route in routing.routes for c in route.channels} | {c.fallback for c in routing.channels.values()}
    return [f"channel {name}: no route uses it" for name in routing.channels if name not in used]


def _sample(names: list[str]) -> str:
    more = f" and {len(names) - _SAMPLE} more" if len(names) > _SAMPLE else ""
    return f"{', '.join(names[:_SAMPLE])}{more}"
