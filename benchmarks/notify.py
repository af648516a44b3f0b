"""From a CRITICAL alert in the log to its message at the receiver, by SMTP and by webhook, while a batch writes too."""

import argparse
import asyncio
import contextlib
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median

import numpy as np
import polars as pl
from aiosmtpd.smtp import SMTP, Envelope, Session

from benchmarks.measure import PROJECT
from benchmarks.report import Bar, print_report
from refrig_assets.alerting.changes import alert_id, created, log_rows
from refrig_assets.contracts import DEVICE_REGISTRY
from refrig_assets.contracts.registry import REGISTRY_DEFAULTS
from refrig_assets.contracts.sensors import SENSOR_NAMES
from refrig_assets.lake import Lake
from refrig_assets.notify.matters import identity
from refrig_assets.pipeline.alert_log import AlertLog

MAX_P99_S = 10.0
SECONDS, QUICK_SECONDS = 240.0, 30.0
CRITICAL_EVERY_S, BATCH_EVERY_S, BATCH_ROWS = 0.5, 5.0, 500
STANDING, QUICK_STANDING = 100_000, 10_000
_PATIENCE_S = 60.0
RULE = "compressor_overload"


@dataclass
class Received:
    """When each notice arrived first, by its identity, and how many arrived in all."""

    at: dict[str, float] = field(default_factory=dict)
    letters: int = 0

    def take(self, notice: str) -> None:
        self.letters += 1
        self.at.setdefault(notice, time.time())


@contextlib.contextmanager
def mail_receiver() -> Iterator[tuple[int, Received]]:
    received = Received()

    class Keep:
        async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
            content = envelope.content
            assert isinstance(content, bytes)
            lines = content.split(b"\r\n\r\n")[0].split(b"\r\n")
            (found,) = [line for line in lines if line.startswith(b"X-Refrig-Notice: ")]
            received.take(found.partition(b": ")[2].decode())
            return "250 kept"

    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(loop.create_server(lambda: SMTP(Keep(), loop=loop), "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1], received
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


@contextlib.contextmanager
def hook_receiver() -> Iterator[tuple[int, Received]]:
    received = Received()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            received.take(str(self.headers["Idempotency-Key"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1], received
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def notifier(lake: Lake, routes: Path, log: Path) -> Iterator[None]:
    """`refrig notify watch`, as it is run, from when it has read the log that is there."""
    command = [sys.executable, "-m", "refrig_assets.cli", "notify", "watch", "--lake", lake.uri]
    with log.open("w") as told:
        process = subprocess.Popen([*command, "--routes", str(routes)], cwd=PROJECT, stdout=told, stderr=told)
        try:
            yield
            if process.poll() is not None:
                raise SystemExit(f"the notifier ended:\n{log.read_text()[-3000:]}")
        finally:
            process.terminate()
            process.wait()


def critical(device: str, now: datetime) -> pl.DataFrame:
    """An alert as the stream writes it: created when it is found."""
    return created(_alerts([device], now, "CRITICAL", "streaming"), "stream")


def _alerts(devices: Sequence[str], now: datetime, severity: str, source: str) -> pl.DataFrame:
    rows = [
        {
            "alert_id": alert_id(device, RULE, now),
            "device_id": device,
            "site_id": f"site-{int(device.rpartition('-')[2]) // 50}",
            "severity": severity,
            "title": f"Overloaded compressor, {device}",
            "description": "draws 55 A, limit 40 A",
            "source": source,
            "rule": RULE if source == "streaming" else None,
            "first_detected_at": now,
            "alert_created_at": now,
        }
        for device in devices
    ]
    return pl.DataFrame(rows)


class Batch(threading.Thread):
    """Writes what the hourly batch writes, all the time: MEDIUM alerts and changes to those that stand."""

    def __init__(self, lake: Lake, devices: int) -> None:
        super().__init__(daemon=True)
        self.log, self.devices, self.stopping, self.rows = AlertLog(lake), devices, threading.Event(), 0
        self._chance = random.Random(3)

    def run(self) -> None:
        while not self.stopping.wait(BATCH_EVERY_S):
            now = datetime.now(UTC)
            new = _alerts([f"dev-{n}" for n in self._some(BATCH_ROWS // 2)], now, "MEDIUM", "batch")
            seen = log_rows(
                new.select("alert_id", changed_at=pl.lit(now), windows_sustained=pl.lit(2)), "sustained", "batch"
            )
            self.rows += self.log.append(pl.concat([created(new, "batch"), seen])).written

    def _some(self, count: int) -> list[int]:
        return self._chance.sample(range(self.devices), count)


def measure(work: Path, seconds: float, standing: int) -> dict[str, float | None]:
    lake = Lake(str(work / "lake")).create()
    _stock(lake, standing)
    with mail_receiver() as (mail_port, mails), hook_receiver() as (hook_port, calls):
        routes = work / "notify.toml"
        routes.write_text(
            # Each by itself, so that each can be timed: in a storm they would be one message.
            f'storm_above = 1000\n[channels.mail]\nurl = "mailto://127.0.0.1:{mail_port}?mode=insecure&'
            f'from=refrig@example.org&to=ops@example.org"\n[channels.hook]\nurl = "json://127.0.0.1:{hook_port}/x"\n'
            '[[routes]]\nchannels = ["mail", "hook"]\nseverities = ["CRITICAL", "HIGH"]\n'
        )
        with notifier(lake, routes, work / "notifier.log"):
            began = time.time()
            _wait_for(lambda: _first_arrives(lake, standing, mails, calls), "the notifier does not answer", work)
            ready_s = time.time() - began
            batch = Batch(lake, standing)
            batch.start()
            written = _write_criticals(lake, standing, seconds)
            batch.stopping.set()
            batch.join()
            _wait_for(lambda: set(written) <= set(mails.at) & set(calls.at), "not everything arrived", work)
    waits = {
        name: np.array([max(0.0, received.at[notice] - at) for notice, at in written.items()])
        for name, received in (("smtp", mails), ("webhook", calls))
    }
    both = np.maximum(waits["smtp"], waits["webhook"])
    return {
        "critical_to_notification_p99_s": float(np.quantile(both, 0.99)),
        "critical_to_notification_median_s": float(median(both)),
        "critical_to_notification_most_s": float(both.max()),
        **{f"{name}_p99_s": float(np.quantile(w, 0.99)) for name, w in waits.items()},
        "alerts": float(len(written)),
        "repeats": float(mails.letters - len(mails.at) + calls.letters - len(calls.at)),
        "rows_by_the_batch_meanwhile": float(batch.rows),
        "alerts_in_the_log_before": float(standing),
        "first_start_s": ready_s,
    }


def _stock(lake: Lake, standing: int) -> None:
    """A registry, and a log that holds many alerts already: old ones, which are told to nobody."""
    devices = [f"dev-{n}" for n in range(standing)]
    registry = pl.DataFrame({"device_id": devices, "site_id": [f"site-{n // 50}" for n in range(standing)]})
    known = registry.with_columns(
        cohort_id=pl.lit("cohort"),
        expected_sensors=pl.lit(list(SENSOR_NAMES)),
        **{name: pl.lit(value) for name, value in REGISTRY_DEFAULTS.items()},
    )
    lake.table(DEVICE_REGISTRY).replace_all(DEVICE_REGISTRY.conform(known))
    old = datetime(2026, 1, 5, 10, tzinfo=UTC)
    AlertLog(lake).append(created(_alerts(devices, old, "MEDIUM", "batch"), "batch"))


def _first_arrives(lake: Lake, standing: int, mails: Received, calls: Received) -> bool:
    """Tell of one alert until it arrives; its time does not count."""
    if not mails.at and not calls.at:
        AlertLog(lake).append(
            critical(f"dev-{standing - 1}", datetime.now(UTC).replace(minute=0, second=0, microsecond=0))
        )
    return bool(mails.at and calls.at)


def _write_criticals(lake: Lake, standing: int, seconds: float) -> dict[str, float]:
    """The notices to come, and when their alerts' commits began; at random moments, so that no poll is favoured."""
    log, chance, written = AlertLog(lake), random.Random(7), dict[str, float]()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(CRITICAL_EVERY_S * 2 * chance.random())
        now = datetime.now(UTC)
        rows = critical(f"dev-{len(written) % (standing - 1)}", now)
        written[identity(rows["alert_id"][0], "severity:CRITICAL")] = now.timestamp()
        log.append(rows)
    return written


def _wait_for(done: Callable[[], bool], said: str, work: Path) -> None:
    until = time.monotonic() + _PATIENCE_S
    while not done():
        if time.monotonic() > until:
            raise SystemExit(f"{said} within {_PATIENCE_S:g} s:\n{(work / 'notifier.log').read_text()[-3000:]}")
        time.sleep(0.5)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="shorter, with a smaller log: a first look")
    parser.add_argument("--seconds", type=float, help="how long alerts are written")
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")
    given = parser.parse_args(arguments)
    seconds = given.seconds or (QUICK_SECONDS if given.quick else SECONDS)
    with tempfile.TemporaryDirectory(prefix="refrig-notify-") as work:
        figures = measure(Path(work), seconds, QUICK_STANDING if given.quick else STANDING)
    bars = {"critical_to_notification_p99_s": Bar(figures["critical_to_notification_p99_s"], MAX_P99_S)}
    print_report(figures, bars, 1, given.json, title="Notifications")
    return 0 if all(bar.holds for bar in bars.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
