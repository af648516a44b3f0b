"""The options of `refrig simulate --live`, and how they are read. What is done with them is `simulate_live.py`."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Duration(click.ParamType[timedelta]):
    """A number and a unit: 90s, 10m, 2h, 1d."""

    name = "DURATION"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", str(value).strip())
        if not found or not float(found[1]):
            self.fail(f"{value!r} is not a duration like 90s, 10m, 2h or 1d", param, ctx)
        return timedelta(seconds=float(found[1]) * _UNITS[found[2]])


class Speed(click.ParamType[float]):
    name = "X"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            speed = float("inf") if value == "max" else float(str(value).removesuffix("x"))
        except ValueError:
            speed = 0.0
        if not speed > 0:
            self.fail(f"{value!r} is not a speed like 1, 60 or max", param, ctx)
        return speed


@dataclass(frozen=True)
class Live:
    """The options that only a live feed has."""

    speed: float
    rate: float | None
    partitions: int
    spool: Path | None
    to: str | None
    kafka_options: tuple[str, ...]
    duration: timedelta | None
    acute: float
    inject: tuple[str, ...]


def live_options(command: _Command) -> _Command:
    """Adds them, as one argument `live`: None where --live is not given."""
    options = (
        click.option("--live", "is_live", is_flag=True, help="Feed the fleet into a spool, as its gateways would."),
        click.option("--speed", type=Speed(), default=1.0, show_default=True,
                     help="Times faster than time, until the feed has caught up with the clock; or max."),
        click.option("--rate", type=click.FloatRange(0, min_open=True), metavar="N",
                     help="For load tests: N messages a second, whatever their times; --for is then of the clock."),
        click.option("--partitions", type=click.IntRange(1, 1000), default=4, show_default=True,
                     help="Partitions of the spool; a device stays in one."),
        click.option("--spool", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
                     help="The spool. [default: OUT/spool]"),
        click.option("--to", metavar="URL", help="Instead of a spool: kafka://host:9092/topic."),
        click.option("--option", "kafka_options", multiple=True, metavar="NAME=VALUE",
                     help="Property of the Kafka client, e.g. sasl.password=env:KAFKA_PASSWORD. Repeatable."),
        click.option("--for", "duration", type=Duration(),
                     help="How much of the fleet's time to feed. [default: on and on]"),
        click.option("--acute", type=click.FloatRange(0), default=0.0, metavar="RATE",
                     help="Acute faults an hour, all streaming rules in turn."),
        click.option("--inject", multiple=True, metavar="KIND[:DEVICE]@+DURATION",
                     help="A fault at a time after the start: power_loss@+5m. Repeatable."),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def gather(is_live: bool, **given: Any) -> Live | None:
    """The live options; an option of the one way given with the other is an error, not ignored."""
    context = click.get_current_context()
    others = ("hours", "compress") if is_live else tuple(given)
    for name in others:
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            flag = next(p.opts[0] for p in context.command.params if p.name == name)
            raise click.UsageError(f"{flag} is not for --live" if is_live else f"{flag} needs --live", context)
    if is_live and given["to"] and given["spool"]:
        raise click.UsageError("--spool and --to: choose one", context)
    return Live(**given) if is_live else None
