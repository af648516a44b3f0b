"""Starts the worker processes, restarts them when one dies, stops them when asked, and tells how it goes."""

import logging
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from bytewax.recovery import init_db_dir

from refrig_assets.contracts.readings import RAW_READINGS
from refrig_assets.contracts.registry import DEVICE_REGISTRY
from refrig_assets.lake import Lake, LakeUnavailableError
from refrig_assets.lake.files import is_local
from streaming.lock import StreamLock
from streaming.settings import StreamSettings
from streaming.status import Status
from streaming.transports.opening import open_transport
from streaming.worker import EXIT_ANOTHER_STREAM, EXIT_STOPPED_WAITING, STOP, Orders

_LOG = logging.getLogger(__name__)
_RECOVERY_PARTITIONS = 4
_RESTART_WAITS_S = (0.2, 1.0, 2.0, 5.0, 10.0)
# So many starts that die before they have landed anything: what they start from is to blame.
_FUTILE_STARTS = 3
_STOP_PATIENCE_S = 60.0
_HEARTBEAT_EVERY_S = 5.0
_BROKER_PATIENCE_S = 15.0


class StreamFailedError(RuntimeError):
    """The stream cannot go on; the message says why and what to do."""


@dataclass
class Supervisor:
    """Runs one stream until it is told to stop, or, with `until_eof`, until everything there is has been read."""

    settings: StreamSettings
    status: Status
    stopping: threading.Event = field(default_factory=threading.Event)
    python: str = sys.executable

    def run(self) -> None:
        home = self.settings.home
        locks = [StreamLock(home / "lock").take()]
        try:
            if is_local(self.settings.lake) and home != Path(self.settings.lake) / "_stream":
                locks.append(StreamLock(Path(self.settings.lake) / "_stream" / "lock").take())
            self._check_lake()
            self._check_source()
            self._prepare_recovery()
            with self._heart():
                self._keep_running([lock.handle for lock in locks])
        finally:
            for lock in locks:
                lock.let_go()

    def _check_lake(self) -> None:
        lake = Lake(self.settings.lake, self.settings.storage_options)
        missing = lake.missing_tables()
        if missing:
            raise LakeUnavailableError(
                f"lake {lake.uri!r} has no {', '.join(missing[:3])}{' …' if len(missing) > 3 else ''}: "
                "create its tables with `refrig doctor --create`, or correct --lake."
            )
        if not lake.table(DEVICE_REGISTRY).files():
            _LOG.warning(
                "the table device_registry is empty: rows land, no device is judged and no alert raised until devices "
                "are registered: `refrig doctor --create` takes the file that REFRIG_REGISTRY names"
            )

    def _check_source(self) -> None:
        """Before reading to the end: what cannot be reached would look as if all of it had been read."""
        if not self.settings.until_eof:
            return
        transport = open_transport(self.settings.source, self.settings.source_options)
        if self.settings.source_name != "kafka":
            if not transport.partitions():
                _LOG.warning("%s holds no partitions: there is nothing to read", self.settings.source)
            return
        patience_ends = time.monotonic() + _BROKER_PATIENCE_S
        while not transport.partitions() and not self.stopping.wait(0.2):
            if time.monotonic() > patience_ends:
                raise StreamFailedError(
                    f"{self.settings.source.partition('?')[0]} cannot be read to its end: within "
                    f"{_BROKER_PATIENCE_S:.0f} s the broker has told of no partition. Check that it runs and can be "
                    "reached from here, that the topic exists and may be read, and start again; without --until-eof "
                    "the stream waits for it."
                )

    # -- the recovery store ------------------------------------------------------------------------------------------

    def _prepare_recovery(self) -> None:
        store = self.settings.recovery_dir
        if store.exists() and not _sound(store):
            self._set_aside("it cannot be read")
        if not store.exists():
            fresh = store.with_name(f".{store.name}.{os.getpid()}")
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir(parents=True)
            init_db_dir(fresh, _RECOVERY_PARTITIONS)
            fresh.rename(store)

    def _set_aside(self, why: str) -> None:
        store = self.settings.recovery_dir
        aside = store.with_name(f"{store.name}.aside-{datetime.now(UTC):%Y%m%dT%H%M%S%f}")
        _LOG.error("the recovery store %s is set aside as %s: %s. State comes back from the lake.", store, aside, why)
        store.rename(aside)
        for older in sorted(store.parent.glob(f"{store.name}.aside-*"))[:-2]:
            shutil.rmtree(older)

    # -- the processes -----------------------------------------------------------------------------------------------

    def _keep_running(self, handles: list[int]) -> None:
        futile = starts = 0
        while True:
            landed_before = self.status.messages
            self.status.state = "running"
            codes = self._run_once(handles)
            if all(code == 0 for code in codes):
                self.status.state = "stopped"
                return
            if EXIT_ANOTHER_STREAM in codes:
                raise StreamFailedError(
                    "another stream lands the same partitions into this lake: stop it, or give each its own lake"
                )
            if self.stopping.is_set():
                why = "the lake could not be written" if EXIT_STOPPED_WAITING in codes else f"exit codes {codes}"
                raise StreamFailedError(
                    f"stopped before everything read was committed ({why}); the next start reads it again"
                )
            futile = futile + 1 if self.status.messages == landed_before else 1
            starts += 1
            self.status.restarted(f"worker processes ended with {codes}")
            if futile == _FUTILE_STARTS:
                self._set_aside(f"{futile} starts in a row failed")
                self._prepare_recovery()
            elif futile >= 2 * _FUTILE_STARTS and self.settings.until_eof:
                raise StreamFailedError(f"the workers failed {futile} times in a row: see the log above")
            wait = _RESTART_WAITS_S[min(futile - 1, len(_RESTART_WAITS_S) - 1)]
            _LOG.error("a worker process died (exit codes %s); all are started again in %s s", codes, wait)
            self.stopping.wait(wait)

    def _run_once(self, handles: list[int]) -> list[int]:
        """Start all, wait for all; one that dies takes the others with it. Their exit codes."""
        version = Lake(self.settings.lake, self.settings.storage_options).table(RAW_READINGS).version
        addresses = _addresses(self.settings.processes)
        workers = [self._start(n, addresses, version, handles) for n in range(self.settings.processes)]
        asked: float | None = None
        while any(w.poll() is None for w in workers):
            if self.stopping.is_set() and asked is None:
                self.status.state = "stopping"
                asked = time.monotonic()
                _tell_all(workers, f"{STOP}\n")
            died = any(w.poll() not in (None, 0) for w in workers)
            if died or (asked is not None and time.monotonic() - asked > _STOP_PATIENCE_S):
                for worker in workers:
                    worker.kill()
            time.sleep(0.02)
        return [w.wait() for w in workers]

    def _start(self, number: int, addresses: list[str], version: int, handles: list[int]) -> "subprocess.Popen[str]":
        worker = subprocess.Popen(
            [self.python, "-m", "streaming.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=handles,
            start_new_session=True,  # a Ctrl-C reaches the supervisor alone, which stops them in order
            env={"POLARS_MAX_THREADS": "1", **os.environ},  # small blocks cost more in threads than they gain
        )
        orders = Orders(self.settings.to_json(), number, addresses, version)
        assert worker.stdin is not None
        worker.stdin.write(orders.to_line())
        worker.stdin.flush()
        threading.Thread(target=self._hear, args=(number, worker), daemon=True).start()
        return worker

    def _hear(self, number: int, worker: "subprocess.Popen[str]") -> None:
        assert worker.stdout is not None
        for line in worker.stdout:
            self.status.heard(number, worker.pid, line)

    def _heart(self) -> "_Heart":
        return _Heart(lambda: self.status.beat(self.settings))


@dataclass
class _Heart:
    """Writes the heartbeat while inside, and once when leaving."""

    beat: Callable[[], None]
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> "_Heart":
        self._thread = threading.Thread(target=self._go_on, daemon=True)
        self._thread.start()
        return self

    def _go_on(self) -> None:
        self.beat()
        while not self._over.wait(_HEARTBEAT_EVERY_S):
            self.beat()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread:
            self._thread.join()
        self.beat()


def _sound(store: Path) -> bool:
    """Whether every file of the store is a whole SQLite database with the tables it should have."""
    files = sorted(store.glob("*.sqlite3"))
    if len(files) != _RECOVERY_PARTITIONS:
        return False
    for file in files:
        try:
            with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as database:
                if database.execute("PRAGMA quick_check").fetchone() != ("ok",):
                    return False
                database.execute("SELECT count(*) FROM parts").fetchone()
        except sqlite3.Error:
            return False
    return True


def _addresses(processes: int) -> list[str]:
    """Free ports on loopback, one a process; a single process needs none."""
    if processes == 1:
        return []
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(processes)]
    found = [f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]
    for one in sockets:
        one.close()
    return found


def _tell_all(workers: list["subprocess.Popen[str]"], line: str) -> None:
    for worker in workers:
        try:
            assert worker.stdin is not None
            worker.stdin.write(line)
            worker.stdin.flush()
        except BrokenPipeError:  # it has ended by itself
            continue
