"""The demo's history: simulated, landed and made through Dagster, trained on, scored and alerted, on all cores.

Four lanes work at once, each on the stretch of hours that the one before has left: this process simulates, one helper
lands and cleans, one makes windows and, later, alerts, one trains and scores. What a helper does is `demo_work.py`.
"""

import multiprocessing
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from refrig_assets.cli import demo_work as work
from refrig_assets.cli.demo_plan import DemoSpec

if TYPE_CHECKING:
    from refrig_assets.simulator import FaultPlan, Mess

Part = tuple[datetime, datetime]
Item = TypeVar("Item")
TRAINING_STEPS = 7
_GATEWAYS = 1


@dataclass
class History:
    """What was sent, what the checks say, how many seconds each stage took, and of the processors; lanes overlap."""

    account: Mapping[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    busy: dict[str, float] = field(default_factory=dict)
    checks: dict[str, dict[str, Any]] = field(default_factory=dict)

    def note(self, stage: str, done: work.Done) -> None:
        """Each check's last word over the runs, a failure not forgotten."""
        self.seconds[stage] = self.seconds.get(stage, 0.0) + done.seconds
        self.busy[stage] = self.busy.get(stage, 0.0) + done.busy
        for found in done.checks:
            known = self.checks.get(found["check"])
            if known is None or known["passed"]:
                self.checks[found["check"]] = found


class Helpers:
    """Three processes that work for this one, and what they tell of how far they are."""

    def __init__(self, environment: Mapping[str, str], tell: Callable[[str, int], None]) -> None:
        context = multiprocessing.get_context("spawn")
        self._news = context.SimpleQueue()
        self._parent, self._alive = context.Pipe(duplex=False)
        told = (dict(environment), self._news, self._parent)
        self.rows, self.windows, self.models = (
            ProcessPoolExecutor(1, mp_context=context, initializer=work.begin, initargs=told) for _ in range(3)
        )
        self._tell = tell
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while (news := self._news.get())[0]:
            self._tell(*news)

    def end(self) -> None:
        """Whatever they are doing: everything that a half-done demo leaves is made anew."""
        self._alive.close()
        self._news.put(("", 0))
        for pool in (self.rows, self.windows, self.models):
            pool.shutdown(cancel_futures=True)


@contextmanager
def helpers(environment: Mapping[str, str], tell: Callable[[str, int], None]) -> Iterator[Helpers]:
    made = Helpers(environment, tell)
    try:
        yield made
    finally:
        made.end()


def totals(spec: DemoSpec) -> dict[str, int]:
    """The stages in their order, and how much there is to do in each."""
    scored = sum(round((end - start).total_seconds() / 3600) for start, end in spec.parts if _is_scored(spec, start))
    nights = sum((spec.trained_until.hour + n) % 24 == 2 for n in range(scored))
    return {
        "simulate": spec.hours,
        "land and clean": 2 * spec.hours,
        "windows and trends": 2 * spec.hours,
        "train": TRAINING_STEPS,
        "score": 2 * scored + 2 * nights,
        "alert": scored,
    }


def make_history(
    spec: DemoSpec, home: Path, lake_uri: str, plan: "FaultPlan", mess: "Mess", made: Helpers,
    tell: Callable[[str, int], None],
) -> History:  # fmt: skip
    """Everything up to the alerts of the history's last hour. `tell(stage, more)` counts what is done."""
    history = History()
    simulated = _RunningAhead(_simulated(spec, home, plan, mess, history, tell))
    made.rows.submit(work.prepare).result()
    for helper in (made.rows, made.windows, made.models):
        helper.submit(work.warm_up)
    landed = _RunningAhead(_landed(spec, simulated, made, history))
    windowed = _RunningAhead(_windowed(landed, lambda: _know_repairs(lake_uri, plan, spec), made, history))
    for start, end in _RunningAhead(_scored(spec, windowed, made, history)):
        history.note("alert", made.windows.submit(work.alert, start, end).result())
    history.note("close", made.models.submit(work.close, spec.end).result())
    return history


def _is_scored(spec: DemoSpec, start: datetime) -> bool:
    return start >= spec.trained_until


def _know_repairs(lake_uri: str, plan: "FaultPlan", spec: DemoSpec) -> None:
    """The maintenance system's side: failed machines are repaired, and that is recorded."""
    from refrig_assets.contracts import MAINTENANCE_EVENTS
    from refrig_assets.evaluation.run import repairs
    from refrig_assets.lake import Lake

    Lake(lake_uri).table(MAINTENANCE_EVENTS).append(repairs(plan.truth, spec.end))


def _simulated(
    spec: DemoSpec, home: Path, plan: "FaultPlan", mess: "Mess", history: History, tell: Callable[[str, int], None]
) -> Iterator[Part]:
    """Each part, once its landing files lie there."""
    from refrig_assets.simulator import FleetSpec, write_landing

    hours: queue.SimpleQueue[int] = queue.SimpleQueue()

    def hour_done(done: int, _all: int) -> None:
        hours.put(done)
        tell("simulate", 1)

    def simulate() -> Iterator[None]:
        begun, busy = time.perf_counter(), time.process_time()
        told = FleetSpec(spec.devices, spec.seed, spec.start, spec.hours, plan, mess, gateways=_GATEWAYS)
        history.account = write_landing(told, home, hour_done).account
        history.note("simulate", work.Done(time.perf_counter() - begun, time.process_time() - busy))
        hours.put(spec.hours + 1)  # all is written, the account, too
        yield None

    ended = _RunningAhead(simulate())
    done = 0
    for number, (start, end) in enumerate(spec.parts, start=1):
        upto = (end - spec.start).total_seconds() / 3600 + (number == len(spec.parts))
        while done < upto:
            try:
                done = hours.get(timeout=1)
            except queue.Empty:
                ended.look()
        yield start, end


def _landed(spec: DemoSpec, parts: Iterator[Part], made: Helpers, history: History) -> Iterator[Part]:
    """Each part, once its rows are clean; behind the last, while the others go on, what needs no more than those."""
    for number, (start, end) in enumerate(parts):
        if not number:  # its file is written before the first hour
            history.note("land and clean", made.rows.submit(work.register).result())
        history.note("land and clean", made.rows.submit(work.land, start, end).result())
        yield start, end
    history.note("days", made.rows.submit(work.days, spec.start, spec.end).result())


def _windowed(
    parts: Iterator[Part], know_repairs: Callable[[], None], made: Helpers, history: History
) -> Iterator[Part]:
    """Each part, once its windows and trends are made."""
    for number, (start, end) in enumerate(parts):
        if not number:
            know_repairs()
        history.note("windows and trends", made.windows.submit(work.windows, start, end).result())
        yield start, end


def _scored(spec: DemoSpec, parts: Iterator[Part], made: Helpers, history: History) -> Iterator[Part]:
    """The parts that are scored, once they are; behind the last of the others, the models are trained."""
    for start, end in parts:
        if end == spec.trained_until:
            history.note("train", made.models.submit(work.train, end).result())
        if _is_scored(spec, start):
            history.note("score", made.models.submit(work.score, start, end).result())
            yield start, end


class _RunningAhead(Iterator[Item]):
    """The same items, made in a thread as fast as it can; what fails there, fails where they are taken."""

    _END = object()

    def __init__(self, items: Iterator[Item]) -> None:
        self._made: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._error: BaseException | None = None
        threading.Thread(target=self._make, args=(items,), daemon=True).start()

    def _make(self, items: Iterator[Item]) -> None:
        try:
            for item in items:
                self._made.put(item)
        except BaseException as error:
            self._error = error
        self._made.put(self._END)

    def look(self) -> None:
        """Raise what failed, if anything has."""
        if self._error is not None:
            raise self._error

    def __next__(self) -> Item:
        item = self._made.get()
        if item is self._END:
            self.look()
            raise StopIteration
        return item  # type: ignore[no-any-return]
