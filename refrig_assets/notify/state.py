"""How notifications do, in a line: routed or not, who sends, what waits and what was given up. Reads only."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from refrig_assets.lake import Lake
from refrig_assets.notify.address import AddressError, open_address
from refrig_assets.notify.home import holder, notify_home
from refrig_assets.notify.outbox import Outbox
from refrig_assets.notify.routes_toml import RoutingError, read_routing


@dataclass(frozen=True)
class NotifyState:
    level: str
    """ok, warn or error"""
    says: str
    remedy: str = ""


def notify_state(lake: Lake, routes: Path, environment: Mapping[str, str]) -> NotifyState:
    try:
        routing = read_routing(routes)
    except RoutingError as error:
        return NotifyState("error", str(error), "correct it, then `refrig notify check`")
    if routing is None:
        remedy = "copy examples/notify/notify.toml there, or name it by REFRIG_ROUTES"
        return NotifyState("warn", f"nobody is notified: there is no routing file {routes}", remedy)
    for channel in routing.channels.values():
        try:
            open_address(channel, dict.fromkeys(channel.contacts, "somebody@example.org"), environment)
        except AddressError as error:
            return NotifyState("error", str(error), "`refrig notify check` shows every channel")
    home = notify_home(lake)
    process = holder(home)
    if process is None:
        who = "no daemon runs now (the Dagster sensor `notify` sends, if it is on)"
    else:
        who = f"process {process} sends"
    told = _counts(home)
    return NotifyState("ok", f"{len(routing.channels)} channels, {len(routing.routes)} routes; {who}{told}")


def _counts(home: Path) -> str:
    if not (home / "outbox.sqlite").is_file():
        return ""
    counts = Outbox(home).counts()
    shown = {"waiting": "wait to be sent", "collected": "collected for later", "gave_up": "given up"}
    return "".join(f"; {counts[state]} {words}" for state, words in shown.items() if counts.get(state))
