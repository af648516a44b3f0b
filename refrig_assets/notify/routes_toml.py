"""Reading the routing file: every key checked, every error naming file, key and what is allowed. Sends nothing."""

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from datetime import time, timedelta
from pathlib import Path
from typing import cast
from zoneinfo import ZoneInfo

from refrig_assets.contracts.alerts import LEVELS, SEVERITIES
from refrig_assets.contracts.operations import NOTICE_KINDS
from refrig_assets.notify.address import check_address
from refrig_assets.notify.routing import (
    CONTACTS,
    DAYS,
    DEFAULT_DAILY_AT,
    DEFAULT_GIVE_UP,
    DEFAULT_STORM_ABOVE,
    DEFAULT_TIMEOUT_S,
    PACES,
    Channel,
    Pace,
    Route,
    Routing,
    Span,
)
from refrig_assets.notify.secrets import SecretError
from refrig_assets.transforms.mapping import nearest
from refrig_assets.transforms.toml_table import TomlTable

DEFAULT_ROUTES = "data/notify.toml"
_FIELD = re.compile(r"(?<!\$)\{([^}]*)\}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class RoutingError(ValueError):
    """A routing file that cannot be used; the message names the file, the key, and what to do."""


def routes_file() -> Path:
    """Where the routing file is, if there is one."""
    return Path(os.environ.get("REFRIG_ROUTES") or DEFAULT_ROUTES)


def read_routing(path: Path) -> Routing | None:
    """The routing of a file; None where there is none: then nothing is sent."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise RoutingError(f"{path} cannot be read: {error}") from error
    return parse_routing(text, str(path))


def parse_routing(text: str, name: str = "notify.toml") -> Routing:
    try:
        found = tomllib.loads(text.removeprefix("\ufeff"))
    except tomllib.TOMLDecodeError as error:
        raise RoutingError(f"{name} is not valid TOML: {error}") from error
    try:
        return _routing(_Section("", found))
    except (RoutingError, SecretError) as error:
        raise RoutingError(f"{name}: {error}") from error


class _Section(TomlTable):
    error = RoutingError

    def number(self, key: str, default: float, least: float, most: float) -> float:
        value = float(self.get(key, (int, float), default))
        if not least <= value <= most:
            raise RoutingError(f"{self.where(key)} must be from {least:g} to {most:g}, not {value:g}")
        return value

    def texts(self, key: str, default: Sequence[str], allowed: Sequence[str] | None = None) -> tuple[str, ...]:
        value = self.get(key, list, list(default))
        if not value or not all(isinstance(v, str) for v in value):
            raise RoutingError(f"{self.where(key)} must be a list of one or more texts, not {value!r}")
        for one in value:
            if allowed is not None and one not in allowed:
                hint = nearest(one, list(allowed))
                raise RoutingError(f"{self.where(key)}: {one!r} is unknown{hint}; there are {', '.join(allowed)}")
        return tuple(value)


def _routing(top: _Section) -> Routing:
    zone = _zone(top, "UTC")
    storm_above = int(top.number("storm_above", DEFAULT_STORM_ABOVE, 1, 1000))
    sections = _Section("channels", top.get("channels", dict, {})).values
    if not sections:
        raise RoutingError('[channels.NAME] is missing: it says how somebody is reached, e.g. url = "${SLACK_URL}"')
    channels = {name: _channel(name, _Section(f"channels.{name}", told)) for name, told in sections.items()}
    for channel in channels.values():
        _known_channel(channel.fallback, channels, f"fallback of [channels.{channel.name}]")
    told = top.get("routes", list, [])
    if not told:
        raise RoutingError("[[routes]] is missing: without one nobody is told anything")
    routes = tuple(
        _route(number, _Section(f"routes {number}", one), zone, channels) for number, one in enumerate(told, 1)
    )
    top.done()
    return Routing(channels, routes, storm_above)


def _channel(name: str, section: _Section) -> Channel:
    if not _NAME.fullmatch(name):
        raise RoutingError(f"[channels.{name}]: a name is of letters, digits, dots, dashes and underscores")
    url = section.get("url", str)
    if not url:
        raise RoutingError(f"[channels.{name}] needs url, an Apprise address with secrets as ${{NAME}}")
    contacts = tuple(dict.fromkeys(_FIELD.findall(url)))
    for one in contacts:
        if one not in CONTACTS:
            hint = nearest(one, list(CONTACTS))
            raise RoutingError(
                f"url of [channels.{name}]: {{{one}}} is unknown{hint}; the registry gives {', '.join(CONTACTS)}, "
                f"the environment ${{NAME}}"
            )
    channel = Channel(
        name,
        url,
        contacts,
        section.get("fallback", str),
        section.number("timeout_s", DEFAULT_TIMEOUT_S, 0.1, 120),
        timedelta(hours=section.number("give_up_h", DEFAULT_GIVE_UP / timedelta(hours=1), 0.01, 168)),
    )
    section.done()
    problem = check_address(channel)
    if problem:
        raise RoutingError(f"url of [channels.{name}]: {problem}")
    return channel


def _known_channel(name: str | None, channels: Mapping[str, Channel], where: str) -> None:
    if name is not None and name not in channels:
        raise RoutingError(
            f"{where}: {name!r} is unknown{nearest(name, list(channels))}; there are {', '.join(channels)}"
        )


def _route(number: int, section: _Section, zone: ZoneInfo, channels: Mapping[str, Channel]) -> Route:
    name = section.get("name", str, f"route {number}")
    section.path = f"routes {number}" if name == f"route {number}" else f"routes {number}, {name!r}"
    names = section.texts("channels", ())
    for one in names:
        _known_channel(one, channels, f"channels of [{section.path}]")
    route = Route(
        name,
        names,
        section.texts("severities", SEVERITIES, SEVERITIES),
        section.texts("kinds", NOTICE_KINDS, NOTICE_KINDS),
        section.texts("sites", ("*",)),
        section.texts("regions", ("*",)),
        section.texts("levels", LEVELS, LEVELS),
        section.texts("days", DAYS, DAYS),
        _span(section, "hours"),
        _span(section, "quiet"),
        _pace(section),
        _time(section, "daily_at", section.get("daily_at", str, f"{DEFAULT_DAILY_AT:%H:%M}")),
        _zone(section, zone.key),
        bool(section.get("resolved", bool, False)),
    )
    section.done()
    return route


def _pace(section: _Section) -> Pace | None:
    value = section.get("send", str)
    if value is not None and value not in PACES:
        raise RoutingError(f"{section.where('send')} must be one of {', '.join(PACES)}, not {value!r}")
    return cast("Pace | None", value)


def _span(section: _Section, key: str) -> Span | None:
    value = section.get(key, str)
    if value is None:
        return None
    start, dash, end = value.partition("-")
    if not dash:
        raise RoutingError(f'{section.where(key)} must be like "22:00-06:00", not {value!r}')
    span = Span(_time(section, key, start), _time(section, key, end))
    if span.start == span.end:
        raise RoutingError(f"{section.where(key)}: {value!r} begins when it ends; leave it out for the whole day")
    return span


def _time(section: _Section, key: str, value: str) -> time:
    found = re.fullmatch(r"\s*([01]?\d|2[0-3]):([0-5]\d)\s*", value)
    if not found:
        raise RoutingError(f"{section.where(key)}: {value!r} is not a time of day like 22:00")
    return time(int(found[1]), int(found[2]))


def _zone(section: _Section, default: str) -> ZoneInfo:
    name = section.get("timezone", str, default)
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise RoutingError(
            f"{section.where('timezone')} {name!r} is unknown; give an IANA name like Europe/Berlin or UTC"
        ) from None
