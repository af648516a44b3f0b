"""The notifier: reads the alert log, writes down whom to tell, sends, records. One at a time by the lease."""

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from refrig_assets.lake import OUTSIDE_ERRORS, Lake
from refrig_assets.notify.addressing import address
from refrig_assets.notify.conditions import Condition, Said, tell
from refrig_assets.notify.draining import Channels
from refrig_assets.notify.home import holder, lease, notify_home
from refrig_assets.notify.lake_side import history_reason, news, read_registry, record, restore
from refrig_assets.notify.matters import Matter, plan
from refrig_assets.notify.outbox import NOBODY, Outbox
from refrig_assets.notify.outbox_rows import held_row
from refrig_assets.notify.routes_toml import RoutingError, parse_routing, read_routing
from refrig_assets.notify.routing import Routing
from refrig_assets.notify.secrets import Scrubber
from refrig_assets.notify.wording import words

_LOG = logging.getLogger(__name__)
UI_VARIABLE = "REFRIG_UI_URL"
RECORD_EVERY_S = 5.0
STANDBY_S = 2.0
_PASSING: tuple[type[Exception], ...] = (*OUTSIDE_ERRORS, pl.exceptions.PolarsError, sqlite3.OperationalError)
_ROUTING = "routing"
_HISTORY_A_ROW = 1000
# By then an alert has passed all its deadlines: a notifier that is new need not know of those before.
LOOKED_BACK = timedelta(days=7)
_LOST_CHANNEL = "the routing file has no such channel any more"


@dataclass
class Report:
    """What a pass did."""

    skipped: str | None = None
    planned: int = 0
    history: int = 0
    messages: int = 0
    recorded: int = 0
    waiting: Mapping[str, int] = field(default_factory=dict)
    """messages of the outbox by state, and what is collected for later"""

    @property
    def says(self) -> str:
        return ", ".join(f"{n} {state.replace('_', ' ')}" for state, n in self.waiting.items() if n) or "nothing waits"


def _wall() -> datetime:
    return datetime.now(UTC)


class Notifier:
    """Everything a notifier does. `clock` and `steady` are given so that tests may let the clock jump."""

    def __init__(
        self,
        lake: Lake,
        routes: Path,
        *,
        home: Path | None = None,
        environment: Mapping[str, str] | None = None,
        clock: Callable[[], datetime] = _wall,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self.lake, self.routes = lake, routes
        self.home = home or notify_home(lake)
        self.environment = os.environ if environment is None else environment
        self.clock, self._steady = clock, steady
        self._begun = (clock(), steady())
        self.outbox = Outbox(self.home)
        self._read: tuple[float, Routing | None] | None = None
        self._version = -1
        self._channels = Channels(self.outbox, self.environment, clock)
        self._recorded_at = float("-inf")

    @property
    def ui(self) -> str | None:
        return self.environment.get(UI_VARIABLE) or None

    # -- what anybody may do -------------------------------------------------------------------------------------

    def report(self, conditions: list[Condition]) -> int:
        """Put what is new of these conditions into the outbox; how many are told."""
        routing = self.routing()
        if routing is None:
            return 0
        scrub = self._scrubber(routing)
        return sum(self._report(routing, condition.scrubbed(scrub)) for condition in conditions)

    def _report(self, routing: Routing, condition: Condition) -> bool:
        """Whether it is told. Where another process has said something of it meanwhile, look again."""
        while True:
            now, subject = self.clock(), condition.subject
            before = self.outbox.standing(subject)
            matter, said = tell(Said.of(before), condition, now)
            after = said.to_json()
            if matter is None and said == Said.of(before):
                return False
            addressed, held = address(routing, matter, None, now) if matter is not None else ([], [])
            told = [(matter, addressed)] if matter is not None else []
            if self.outbox.put(told, now, held=held, standing=(subject, before, after)):
                return matter is not None

    def once(self, patience_s: float = 20.0) -> Report:
        """One pass under the lease: what can be sent within the patience is sent."""
        routing = self.routing()
        if routing is None:
            return Report(f"there is no routing file {self.routes}: nothing is sent")
        with lease(self.home) as mine:
            if not mine:
                return Report(f"process {holder(self.home)} sends already")
            self._begin(routing)
            try:
                report = self._pass(routing)
                self._channels.wait(patience_s)
            finally:
                self._channels.end()
            report.recorded = record(self.lake, self.outbox)
            report.waiting = self.outbox.counts()
            return report

    def watch(self, stopping: threading.Event, poll_s: float = 1.0) -> None:
        """Passes until told to stop. Where another notifier has the lease, wait to take its place."""
        while not stopping.is_set():
            with lease(self.home) as mine:
                if mine:
                    self._keep_passing(stopping, poll_s)
                    return
            _LOG.info("process %s sends already; waiting to take its place", holder(self.home))
            stopping.wait(STANDBY_S)

    def routing(self) -> Routing | None:
        """The routing file as it is now. Where it has become wrong, the last one that was right stays in force."""
        try:
            changed = self.routes.stat().st_mtime
        except OSError:
            changed = -1.0
        if self._read is None or self._read[0] != changed:
            try:
                found = read_routing(self.routes)
                if found is not None:  # it holds no secrets
                    self.outbox.keep(_ROUTING, self.routes.read_text(encoding="utf-8"))
            except RoutingError as error:
                kept = self.outbox.kept(_ROUTING)
                if kept is None:
                    raise
                _LOG.error("the last routing that was right stays in force: %s", error)
                found = parse_routing(kept, "the last routing that was right")
            self._read = (changed, found)
        return self._read[1]

    # -- what the holder of the lease does -----------------------------------------------------------------------

    def _keep_passing(self, stopping: threading.Event, poll_s: float) -> None:
        begun = False
        try:
            while not stopping.is_set():
                try:
                    routing = self.routing()
                    if routing is not None:
                        if not begun:
                            self._begin(routing)
                            begun = True
                        self._pass(routing)
                        self._record_now_and_then()
                except _PASSING as error:  # the lake is away: what is in the outbox goes out all the same
                    _LOG.warning("%s: %s; will try again", type(error).__name__, str(error).splitlines()[0])
                stopping.wait(poll_s)
        finally:
            self._channels.end()
            try:
                record(self.lake, self.outbox)
            except OUTSIDE_ERRORS as error:
                _LOG.warning("%s: attempts are recorded at the next start", type(error).__name__)

    def _begin(self, routing: Routing) -> None:
        self._channels.begin()
        scrub = self._scrubber(routing)
        scrub.guard_logs()
        if self.outbox.meta("restored", lambda: "no") == "no":
            restore(self.lake, self.outbox)
        again = self.outbox.recover(self.clock())
        if again:
            _LOG.warning("%d messages were being sent when the last notifier ended: they are sent again", again)

    def _pass(self, routing: Routing) -> Report:
        report = Report()
        try:
            self._plan(routing, report)
        finally:
            now = self.clock()
            report.messages = self.outbox.form(now, routing.storm_above, lambda d, notice: words(d, notice, self.ui))
            self.outbox.give_up(routing.channels, _LOST_CHANNEL, now)
            self._channels.dispatch(routing, self._scrubber(routing))
        return report

    def _plan(self, routing: Routing, report: Report) -> None:
        version = self.lake.table("device_alerts").version
        if version == self._version:
            return
        now = self.clock()
        found = news(self.lake, self.outbox.seen_files(), now - LOOKED_BACK)
        ids = found.rows["alert_id"].unique().to_list()
        registry = read_registry(self.lake) if ids else pl.DataFrame()
        if ids:
            planned = plan(found.rows, self.outbox.told(ids), registry, self._no_later_than(now))
            told, held = [], []
            for matter in planned.new:
                heard = self.outbox.channels_told(matter.subject) if matter.about.closing else None
                addressed, nobody = address(routing, matter, heard, now)
                told.append((matter, addressed))
                held += nobody
            for matter in planned.again:
                addressed, nobody = address(routing, matter, self.outbox.channels_owed(matter.subject), now)
                told += [(matter, addressed)] if addressed else []
            held += _held_history(planned.history, now)
            self.outbox.put(
                told, now, held=held, known=planned.history, withdrawn=planned.withdrawn, stands=planned.stands,
                files=found.files,
            )  # fmt: skip
            report.planned, report.history = len(told), len(planned.history)
        else:
            self.outbox.put([], now, files=found.files)
        self._version = found.version

    def _no_later_than(self, now: datetime) -> datetime:
        """By a clock that was set forward while we run, everything would look like history."""
        wall, steady = self._begun
        return min(now, wall + timedelta(seconds=self._steady() - steady))

    def _record_now_and_then(self) -> None:
        if time.monotonic() - self._recorded_at >= RECORD_EVERY_S:
            record(self.lake, self.outbox)
            self._recorded_at = time.monotonic()

    def _scrubber(self, routing: Routing) -> Scrubber:
        return Scrubber.of([c.url for c in routing.channels.values()], self.environment)


def _held_history(history: Sequence[Matter], now: datetime) -> list[dict[str, Any]]:
    """Rows that say so, each of many alerts."""
    rows = []
    for start in range(0, len(history), _HISTORY_A_ROW):
        some = history[start : start + _HISTORY_A_ROW]
        rows.append(held_row(some, NOBODY, history_reason(now, min(m.occurred_at for m in some)), now))
    return rows
