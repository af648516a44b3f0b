"""Matters, routings and lakes with alerts for the tests of notifications."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from refrig_assets.lake import Lake
from refrig_assets.notify.matters import Matter, identity
from refrig_assets.notify.notifier import Notifier
from refrig_assets.notify.routes_toml import parse_routing
from refrig_assets.notify.routing import About, Routing
from refrig_assets.pipeline.registry import write_registry
from refrig_assets_tests.alerting.makers import alert
from refrig_assets_tests.builders import HOUR, registry_of

HOOK = '[channels.hook]\nurl = "json://127.0.0.1:1/x"\n'


def routing_of(routes: str, channels: str = HOOK) -> Routing:
    return parse_routing(f"{channels}\n{routes}")


def about(severity: str = "CRITICAL", kind: str = "device_alert", **changes: Any) -> About:
    return About(kind, severity, **({"site_id": "site-1", "region": "north"} | changes))


def matter(
    name: str = "a", severity: str = "CRITICAL", at: datetime = HOUR, incident: str | None = None, **changes: Any
) -> Matter:
    """What is told of an alert of that name."""
    facts = alert(f"dev-{name}", at, severity=severity) | dict.fromkeys(
        ("model", "site_name", "region", "maintenance_contact", "site_manager", "evidence", "hours_left",
         "hours_left_low", "hours_left_high", "first_check", "note", "resolved_at", "actor")
    ) | {"sla_deadline": at + timedelta(minutes=30), "escalation_level": "L1", "status": "OPEN"}  # fmt: skip
    events = changes.pop("events", (f"severity:{severity}",))
    closing = "closed" in events
    return Matter(
        identity(name, *events), name, events, about(severity, closing=closing, **changes.pop("about", {})), at,
        facts | {"alert_id": name} | changes, incident,
    )  # fmt: skip


class Plant:
    """A lake with a registry, and a routing file."""

    def __init__(self, root: Path, lake: Lake, devices: int = 40, **registry: Any) -> None:
        self.root, self.lake, self.routes = root, lake, root / "notify.toml"
        names = [f"dev-{n}" for n in range(devices)]
        write_registry(lake, registry_of(names, **({"maintenance_contact": "fix@example.org"} | registry)))

    def route(self, channels: Mapping[str, str], *routes: str, head: str = "", extra: str = "") -> None:
        """A routing file with these channels; a route is the text of its keys beside its channels."""
        told = "".join(f'[channels.{name}]\nurl = "{url}"\n{extra}\n' for name, url in channels.items())
        names = ", ".join(f'"{name}"' for name in channels)
        told += "".join(
            f"[[routes]]\n{one if 'channels' in one else f'channels = [{names}]{chr(10)}{one}'}\n"
            for one in (routes or ("",))
        )
        self.routes.write_text(f"{head}\n{told}")

    def notifier(self, now: datetime | None = None, **options: Any) -> Notifier:
        clock: dict[str, Any] = {} if now is None else {"clock": lambda: now}
        return Notifier(self.lake, self.routes, **clock, **({"environment": {}} | options))

    def told(self) -> pl.DataFrame:
        return self.lake.table("notifications").read().sort("at", "attempt_id")

    def results(self, *columns: str) -> list[tuple[Any, ...]]:
        return sorted(self.told().select(*columns).rows())


class Clock:
    """A clock that tests set, with steady seconds that go on whatever it is set to."""

    def __init__(self, now: datetime) -> None:
        self.now, self.seconds = now, 0.0

    def __call__(self) -> datetime:
        return self.now

    def steady(self) -> float:
        return self.seconds

    def passes(self, span: timedelta) -> None:
        self.now += span
        self.seconds += span.total_seconds()

    def jumps(self, span: timedelta) -> None:
        self.now += span


def ids(letters: Sequence[Any]) -> list[str]:
    return [letter.headers["X-Refrig-Notice"] for letter in letters]
