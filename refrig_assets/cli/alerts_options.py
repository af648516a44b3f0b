"""What the commands on alerts share: who acts, spans of time, and the filters. No command."""

import getpass
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from refrig_assets.alerting.selecting import Filters

F = TypeVar("F", bound=Callable[..., Any])
# As in the contracts, which are not imported for a help text.
SEVERITIES = ("LOW", "MEDIUM", "HIGH", "CRITICAL")
STATUSES = ("OPEN", "ACKNOWLEDGED", "IN_PROGRESS", "RESOLVED", "FALSE_POSITIVE")
MODES = (
    "refrigerant_leak", "condenser_fouling", "evaporator_icing", "bearing_wear", "valve_hunting", "liquid_slugging",
    "door_seal", "compressor_overload", "power_loss", "sensor_fault", "unknown",
)  # fmt: skip
LEVELS = ("L1", "L2", "L3")
SPEAKERS = ("operator", "field_engineer")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*([mhdw])")


class Span(click.ParamType[timedelta]):
    """A span of time: 30m, 4h, 2d, 1w, or several together, like 1d12h."""

    name = "SPAN"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        parts = _SPAN.findall(value.lower())
        if not parts or _SPAN.sub("", value.lower()).strip():
            self.fail(f"{value!r} is not a span of time, like 30m, 4h, 2d or 1w", param, ctx)
        return sum((timedelta(**{_UNITS[unit]: float(number)}) for number, unit in parts), timedelta())


@dataclass(frozen=True)
class Person:
    """Who acts, and whether as somebody who has seen the machine."""

    name: str
    role: str


class Whom(click.ParamType[Person]):
    """A name, a role, or both as ROLE:NAME."""

    name = "[ROLE:]NAME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Person:
        if isinstance(value, Person):
            return value
        role, colon, name = str(value).partition(":")
        if not colon and role not in SPEAKERS:
            role, name = "operator", role
        if role not in SPEAKERS:
            self.fail(f"{role!r} is no role; there are {', '.join(SPEAKERS)}", param, ctx)
        name = name.strip() or getpass.getuser()
        return Person(name, role)


person_option = click.option(
    "--as", "person", type=Whom(), envvar="REFRIG_OPERATOR", default=getpass.getuser, show_default="you",
    show_envvar=True, help="Who does it, for the record. Who has seen the machine says so: field_engineer:NAME.",
)  # fmt: skip


def _upper(_ctx: click.Context, _param: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(part for one in value for part in one.split(",") if part)


_FILTERS = (
    click.option("--site", "sites", multiple=True, callback=_upper, metavar="SITE", help="Only of this site."),
    click.option("--device", "devices", multiple=True, callback=_upper, metavar="DEVICE", help="Only of this device."),
    click.option("--severity", "severities", multiple=True, type=click.Choice(SEVERITIES, case_sensitive=False),
                 help="Only this severity."),
    click.option("--at-least", type=click.Choice(SEVERITIES, case_sensitive=False), help="This severity or worse."),
    click.option("--status", "statuses", multiple=True, type=click.Choice(STATUSES, case_sensitive=False),
                 help="Only this status; also closed ones, where one asks for them."),
    click.option("--mode", "modes", multiple=True, type=click.Choice(MODES), help="Only this failure mode."),
    click.option("--model", "models", multiple=True, callback=_upper, metavar="MODEL",
                 help="Only machines of this model, or alerts that this detector or rule raised."),
    click.option("--level", "levels", multiple=True, type=click.Choice(LEVELS), help="Only what this level has."),
    click.option("--incident", metavar="ID", help="Only alerts of this incident."),
    click.option("--older", "older_than", type=Span(), help="Raised longer ago than that, like 4h."),
    click.option("--newer", "newer_than", type=Span(), help="Raised within that time, like 30m."),
    click.option("--breached", is_flag=True, help="Only those that nobody has taken in time."),
    click.option("--all", "everything", is_flag=True, help="Closed and suppressed ones, too."),
)  # fmt: skip


def filter_options(command: F) -> F:
    """The options that choose alerts; they come as the keywords of `filters_of`."""
    for option in reversed(_FILTERS):
        command = option(command)
    return command


def filters_of(given: dict[str, Any]) -> "Filters":
    """The filters that were given; what they are called is the same here and there."""
    from refrig_assets.alerting.selecting import Filters

    return Filters(**given)
