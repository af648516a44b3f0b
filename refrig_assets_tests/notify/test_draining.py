"""A journal that cannot be written for a while, and threads that end: what was being sent goes on, once."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from refrig_assets.notify import draining
from refrig_assets.notify.journal import Journal
from refrig_assets.notify.notifier import Notifier
from refrig_assets.notify.outbox import LOST
from refrig_assets.pipeline.alert_log import append_changes
from refrig_assets_tests.alerting.makers import alert, created_alerts
from refrig_assets_tests.builders import at
from refrig_assets_tests.notify.makers import Plant
from refrig_assets_tests.notify.receivers import Hook, web_hook


class Ticking:
    """A clock on which ten seconds pass each time that one looks."""

    def __init__(self) -> None:
        self.now = at(0)

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=10)
        return self.now


FULL = sqlite3.OperationalError("database or disk is full")


def fails_at_first(real: Callable[..., Any], error: Exception, times: int = 1) -> Callable[..., Any]:
    left = [error] * times

    def call(*args: Any) -> Any:
        if left:
            raise left.pop()
        return real(*args)

    return call


@contextmanager
def watching(notifier: Notifier) -> Iterator[Callable[[Callable[[], bool]], None]]:
    """A notifier that watches; what is given waits until something is so."""
    stopping = threading.Event()
    thread = threading.Thread(target=notifier.watch, args=(stopping, 0.05))
    thread.start()

    def until(so: Callable[[], bool]) -> None:
        for _ in range(1200):
            if so():
                return
            stopping.wait(0.05)
        raise AssertionError("it has not come about")

    try:
        yield until
    finally:
        stopping.set()
        thread.join()


@pytest.mark.parametrize("status", [200, 500])
def test_a_disk_that_is_full_for_a_while_loses_and_repeats_nothing(
    plant: Plant, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(draining, "_WRITE_AGAIN_S", 0.05)
    with web_hook(status=status) as hook:
        plant.route({"hook": hook.url()})
        notifier = plant.notifier(clock=Ticking())
        broken = fails_at_first(notifier.outbox.settle, FULL, times=3)
        monkeypatch.setattr(notifier.outbox, "settle", broken)
        append_changes(plant.lake, created_alerts(alert()))
        with watching(notifier) as until:
            # The channel has answered, and its answer waits to be written down: only now may it be well again.
            until(lambda: "will try again" in caplog.text)
            hook.status = 200
            until(lambda: bool(notifier.outbox.counts().get("sent")))
        assert len(hook.calls) == 1
        *before, last = plant.told().sort("attempt")["result"]
        assert (set(before), last) == (set() if status == 200 else {"failed"}, "sent")
    assert "channel hook: attempt 1 cannot be written down" in caplog.text


def test_a_thread_that_ended_is_replaced(
    plant: Plant, hook: Hook, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant.route({"hook": hook.url()})
    notifier = plant.notifier(clock=Ticking())
    monkeypatch.setattr(draining, "send", fails_at_first(draining.send, RuntimeError("nobody thought of it")))
    append_changes(plant.lake, created_alerts(alert()))
    with watching(notifier) as until:
        until(lambda: bool(notifier.outbox.counts().get("sent")))
    assert len(hook.calls) == 1
    assert sorted(plant.results("result", "detail")) == [("failed", LOST), ("sent", "severity:CRITICAL")]
    assert "channel hook: RuntimeError" in caplog.text


def test_a_journal_works_again_after_a_commit_that_failed(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "outbox.sqlite")
    journal.rows("PRAGMA foreign_keys = ON")
    with journal.transaction() as rows:
        rows.execute("CREATE TABLE a (x INTEGER PRIMARY KEY)")
        rows.execute("CREATE TABLE b (x INTEGER REFERENCES a (x) DEFERRABLE INITIALLY DEFERRED)")
    with pytest.raises(sqlite3.IntegrityError), journal.transaction() as rows:
        rows.execute("INSERT INTO b VALUES (1)")  # fails at the commit
    with journal.transaction() as rows:
        rows.execute("INSERT INTO a VALUES (1)")
    assert [tuple(r) for r in journal.rows("SELECT (SELECT COUNT(*) FROM a), (SELECT COUNT(*) FROM b)")] == [(1, 0)]
