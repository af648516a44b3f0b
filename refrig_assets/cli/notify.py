"""`refrig notify`: is the routing right, does it arrive, what was told; and the notifier itself. Logic: `notify/`."""

import logging
import os
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from refrig_assets.cli.common import (
    MARKS,
    console,
    debug_option,
    json_option,
    lake_option,
    now,
    open_lake,
    print_json,
    print_table,
)
from refrig_assets.contracts.alerts import SEVERITIES

if TYPE_CHECKING:
    from refrig_assets.lake import Lake
    from refrig_assets.notify.routing import Routing

routes_option = click.option("--routes", envvar="REFRIG_ROUTES", default="data/notify.toml", show_default=True,
                             show_envvar=True, metavar="FILE", type=click.Path(path_type=Path),
                             help="The routing file.")  # fmt: skip
_RESULTS = {"sent": MARKS["ok"], "failed": MARKS["warn"], "gave_up": MARKS["error"], "held": "·"}


@click.group()
def notify() -> None:
    """Who is told what, through which channel.

    Without a routing file nothing is sent. docs/notifications.md shows how to write one; an example is in
    examples/notify.

    \b
    Examples:
      refrig notify check                 # is the file right, and whom does it reach
      refrig notify test --channel pager  # does it arrive
      refrig notify watch                 # the notifier: runs until Ctrl-C
      refrig notify log                   # what was told, and what became of it
    """


@notify.command(short_help="Is the routing file right; whom does it reach.")
@routes_option
@lake_option
@json_option
@debug_option
@click.pass_context
def check(ctx: click.Context, routes: Path, lake_uri: str, as_json: bool) -> None:
    """Whether the routing file and its environment are right, and who would be told what.

    Warns where CRITICAL reaches nobody at some hour, and where the registry lacks a contact. Ends with 1 where the
    file or a variable is wrong. Sends nothing.

    \b
    Examples:
      refrig notify check
      refrig notify check --routes /etc/refrig/notify.toml --json | jq .warnings
    """
    from refrig_assets.notify.reach import reach

    routing = _routing(routes)
    channels = _channels(routing)
    found = reach(routing, _registry(open_lake(lake_uri)))
    wrong = [c for c in channels if c["level"] == "error"]
    if as_json:
        print_json({"level": "error" if wrong else "ok", "file": str(routes), "channels": channels,
                    "routes": found.routes, "warnings": found.warnings})  # fmt: skip
    else:
        for channel in channels:
            out = console()
            out.print(f"{MARKS[channel['level']]} [bold]{channel['channel']:<16}[/] ", end="")
            out.print(channel["says"], markup=False)
        headers = ("route", *reversed(SEVERITIES), "channels", "what", "where", "levels", "when")
        print_table(f"Who is told what, by {routes}", headers, [[row[h] for h in headers] for row in found.routes])
        for warning in found.warnings:
            click.echo(f"! {warning}")
        click.echo(f"{len(wrong)} channels cannot be used" if wrong else "Every channel can be used")
    ctx.exit(1 if wrong else 0)


@notify.command(short_help="Send a test message through each channel.")
@routes_option
@click.option("--channel", "only", multiple=True, metavar="NAME", help="Only this channel. Repeatable.")
@click.option("--contact", "contacts", multiple=True, metavar="NAME=VALUE",
              help="What stands for {site_manager}, {maintenance_contact} or {site_id}. Repeatable.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Say what would be sent, and send nothing.")
@json_option
@debug_option
@click.pass_context
def test(
    ctx: click.Context, routes: Path, only: tuple[str, ...], contacts: tuple[str, ...], dry_run: bool, as_json: bool
) -> None:  # fmt: skip
    """Send a test message through each channel, and say what became of it.

    Addresses made of site contacts need --contact, so that no technician is woken by a test. Ends with 1 where a
    channel did not accept it.

    \b
    Examples:
      refrig notify test --dry-run
      refrig notify test --channel pager
      refrig notify test --channel site-team --contact maintenance_contact=me@example.org
    """
    from refrig_assets.cli.notify_trying import try_channels

    routing = _routing(routes)
    unknown = [name for name in only if name not in routing.channels]
    if unknown:
        raise click.BadParameter(f"{unknown[0]!r} is none of {', '.join(routing.channels)}", param_hint="--channel")
    given = dict(_pair(c) for c in contacts)
    results = try_channels(routing, list(only) or list(routing.channels), given, dry_run, now())
    if as_json:
        print_json({"channels": results})
    else:
        marks = {**_RESULTS, "failed": MARKS["error"]}
        rows = [(marks.get(r["result"], "·"), r["channel"], r["result"], r["says"]) for r in results]
        print_table("Test messages", ("", "channel", "result", ""), rows)
    ctx.exit(1 if any(r["result"] == "failed" for r in results) else 0)


@notify.command(short_help="What was told last, and what became of it.")
@lake_option
@click.option("--limit", type=click.IntRange(1, 10_000), default=30, show_default=True, help="How many, the newest.")
@click.option("--failed", is_flag=True, help="Only what failed, was given up, or held.")
@json_option
@debug_option
def log(lake_uri: str, limit: int, failed: bool, as_json: bool) -> None:
    """What was told last, to whom, and what became of it.

    \b
    Examples:
      refrig notify log
      refrig notify log --failed --limit 100
      refrig notify log --json | jq '.notifications[] | select(.result == "gave_up")'
    """
    from refrig_assets.notify.lake_side import as_rows, recent_notifications

    found = recent_notifications(open_lake(lake_uri), limit, failed)
    if as_json:
        print_json({"notifications": as_rows(found)})
        return
    rows = [
        (_RESULTS[r["result"]], f"{r['at']:%Y-%m-%d %H:%M:%S}", r["channel"], r["severity"], r["title"], r["attempt"],
         "" if r["result"] == "sent" else r["detail"])
        for r in found.iter_rows(named=True)
    ]  # fmt: skip
    headers = ("", "at (UTC)", "channel", "severity", "title", "attempt", "why")
    print_table(f"The last {len(rows)} attempts", headers, rows, right=(5,))


@notify.command(short_help="The notifier: tells of alerts until Ctrl-C.")
@lake_option
@routes_option
@click.option("--once", is_flag=True, help="One pass: send what is due, then end.")
@click.option("--poll", "poll_s", type=click.FloatRange(0.1, 60), default=1.0, show_default=True, metavar="SECONDS",
              help="How often the alert log is asked for changes.")  # fmt: skip
@json_option
@debug_option
def watch(lake_uri: str, routes: Path, once: bool, poll_s: float, as_json: bool) -> None:
    """Read the alert log as it grows, and tell whom the routing file names. Runs until Ctrl-C or SIGTERM.

    One notifier of a lake sends at a time: a second one waits to take its place. The Dagster sensor `notify` does the
    same every 30 seconds; both may be on. Killed at any moment, it sends what it had not sent when it is started again.

    \b
    Examples:
      refrig notify watch
      refrig notify watch --once --json
    """
    from refrig_assets.notify.notifier import Notifier

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    notifier = Notifier(open_lake(lake_uri), routes)
    if notifier.routing() is None:
        logging.getLogger(__name__).warning("there is no routing file %s: nothing is sent until there is", routes)
    if once:
        report = notifier.once()
        if as_json:
            print_json(vars(report))
        else:
            click.echo(report.skipped or f"{report.planned} to tell, {report.messages} messages; {report.says}")
        return
    stopping = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    logging.getLogger(__name__).info("watching %s, routed by %s", lake_uri, routes)
    notifier.watch(stopping, poll_s)


def _routing(routes: Path) -> "Routing":
    from refrig_assets.notify.routes_toml import RoutingError, read_routing

    routing = read_routing(routes)
    if routing is None:
        raise RoutingError(
            f"there is no routing file {routes}: nothing is sent. Copy examples/notify/notify.toml there, "
            "or name it by --routes or REFRIG_ROUTES"
        )
    return routing


def _channels(routing: "Routing") -> list[dict[str, Any]]:
    """Of each channel whether Apprise understands its address with this environment."""
    from refrig_assets.notify.address import AddressError, open_address
    from refrig_assets.notify.secrets import Scrubber

    Scrubber.of([c.url for c in routing.channels.values()], os.environ).guard_logs()
    found = []
    for channel in routing.channels.values():
        try:
            plugin = open_address(channel, dict.fromkeys(channel.contacts, "somebody@example.org"), os.environ)
            says, level = str(plugin.service_name), "ok"
        except AddressError as error:
            says, level = str(error).partition(": ")[2], "error"
        found.append({"channel": channel.name, "level": level, "says": says})
    return found


def _registry(lake: "Lake") -> Any:
    from refrig_assets.contracts import DEVICE_REGISTRY
    from refrig_assets.notify.lake_side import read_registry

    return read_registry(lake) if lake.has(DEVICE_REGISTRY) else DEVICE_REGISTRY.empty()


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not value:
        raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--contact")
    return name, value
