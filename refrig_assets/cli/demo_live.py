"""The demo's live part: a feed with acute faults, `refrig stream` beside it, and its alerts against the truth.

How a fleet is fed is `simulator/`, how alerts are raised is the stream's; here both are started, watched and compared.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from refrig_assets.cli.common import console, print_table

if TYPE_CHECKING:
    from refrig_assets.simulator import FaultPlan, Fleet, Mess
    from refrig_assets.simulator.acute import Injector
    from refrig_assets.simulator.pace import Sent

PARTITIONS = 4
ONCE_MINUTES = 15
_CATCH_UP_SPEED = 120.0
_LOOK_S = 1.0
_STREAM_ENDS_S = 60.0
# Minute and kind: early enough that each crosses its limit in the time there is.
_ONCE = (
    (1, "compressor_overload"),
    (2, "compressor_seizure"),
    (3, "power_loss"),
    (4, "refrigerant_leak_fast"),
    (5, "compressor_seizure"),
    (6, "power_loss"),
)


# -- a short part, to its end ----------------------------------------------------------------------------------------


def run_once(home: Path, lake_uri: str, fleet: "Fleet", plan: "FaultPlan", mess: "Mess", begin: datetime
             ) -> dict[str, Any]:  # fmt: skip
    """Some minutes after the history, fed at once and streamed to the end; what was injected, and what was found."""
    from refrig_assets.lake import Lake
    from refrig_assets.pipeline.alert_log import current_board
    from refrig_assets.simulator.acute import Acute, Injector
    from refrig_assets.simulator.live import Feed
    from refrig_assets.simulator.pace import Pacer
    from refrig_assets.simulator.spool_writer import Spool

    end = begin + timedelta(minutes=ONCE_MINUTES)
    given = [Acute(kind, begin + timedelta(minutes=minute)) for minute, kind in _ONCE]
    injector = Injector(fleet, plan, fleet.seed, begin, end, given=given, known_since=fleet.start)
    spool = Spool(home / "spool")
    try:
        feed = Feed(injector, mess, begin, PARTITIONS).batches(ONCE_MINUTES)
        sent = Pacer(spool, time.time, time.sleep).by_clock(feed, float("inf"))
    finally:
        spool.close()
    injector.truth.write_parquet(home / "live-truth.parquet")
    begun = time.perf_counter()
    with (home / "stream.log").open("w") as log:
        code = subprocess.call(_stream_command(home, lake_uri, "--until-eof"), stdout=log, stderr=subprocess.STDOUT)
    if code:
        raise RuntimeError(f"the stream ended with code {code}; see {home / 'stream.log'}")
    seconds = time.perf_counter() - begun
    found = compare(injector.truth, current_board(Lake(lake_uri)))
    return {"messages": sent.messages, "stream_seconds": round(seconds, 1), "start": begin, "end": end, **found}


def compare(truth: pl.DataFrame, board: pl.DataFrame) -> dict[str, Any]:
    """Each limit that a fault crossed with the alert it got, and the alerts that no fault explains."""
    columns = ["device_id", "rule", "first_detected_at", "title", "suppressed"]
    alerts = board.filter(pl.col("source") == "streaming").select(columns).sort("first_detected_at")
    first = alerts.unique(["device_id", "rule"], keep="first", maintain_order=True)
    crossed = truth.drop_nulls("crossed_at").sort("crossed_at")
    joined = crossed.join(first, on=["device_id", "rule"], how="left", maintain_order="left").with_columns(
        delay_s=(pl.col("first_detected_at") - pl.col("crossed_at")).dt.total_milliseconds() / 1000
    )
    limits = joined.select(
        "device_id", "fault", "rule", "onset", "crossed_at", "first_detected_at", "delay_s", "title"
    )  # fmt: skip
    others = first.join(crossed, on=["device_id", "rule"], how="anti")
    return {
        "crossed": limits.height,
        "found": limits["first_detected_at"].count(),
        "limits": limits.to_dicts(),
        "other_alerts": others.to_dicts(),
    }


def show_once(live: Mapping[str, Any]) -> None:
    rows = [
        (
            _mark(limit["first_detected_at"]), limit["device_id"], limit["fault"], limit["rule"],
            f"{limit['onset']:%H:%M:%S}", f"{limit['crossed_at']:%H:%M:%S}", _seconds(limit["delay_s"]),
        )
        for limit in live["limits"]
    ]  # fmt: skip
    headers = ("", "device", "fault injected", "limit crossed", "onset", "crossed", "alert after")
    print_table("The live part: faults injected, limits crossed, and alerts", headers, rows, right=(6,))
    others = live["other_alerts"]
    console().print(
        f"{live['found']} of {live['crossed']} crossings alerted, {len(others)} other alerts; "
        f"{live['messages']:,} messages streamed in {live['stream_seconds']:.0f} s (with the start of the stream)"
    )
    for alert in others:
        console().print(f"  other: {alert['device_id']} {alert['rule']}: {alert['title']}")


def _mark(found: datetime | None) -> str:
    return "✗" if found is None else "✓"


def _seconds(delay: float | None) -> str:
    return "" if delay is None else f"{delay:.0f} s"


def _stream_command(home: Path, lake_uri: str, *more: str) -> list[str]:
    source = f"spool:{(home / 'spool').resolve()}"
    return [sys.executable, "-m", "refrig_assets.cli", "stream", "--lake", lake_uri, "--source", source, *more]


# -- on and on, beside the UI ----------------------------------------------------------------------------------------


class LiveDemo:
    """A feed from the end of the history on, which catches up with the clock, and the stream beside it."""

    def __init__(self, home: Path, lake_uri: str, fleet: "Fleet", plan: "FaultPlan", mess: "Mess", begin: datetime,
                 acute: float, environment: Mapping[str, str]) -> None:  # fmt: skip
        from refrig_assets.lake import Lake
        from refrig_assets.simulator.acute import Injector

        self._home, self._uri, self._mess, self._begin = home, lake_uri, mess, begin
        self._environment = environment
        self._lake = Lake(lake_uri)
        self._injector = Injector(fleet, plan, fleet.seed, begin, per_hour=acute, known_since=fleet.start)
        self._shown: set[str] = set()
        self._version = -1

    def watch(self, alive: Callable[[], bool]) -> None:
        """Show alerts as they come, for as long as `alive()` says so. A stream that ends is an error."""
        with self._stream() as stream, self._feed() as (sent, failure):
            while alive():
                self._show_new(sent)
                if (error := failure()) is not None:
                    raise error
                if stream.poll() is not None:
                    raise RuntimeError(f"the stream ended with code {stream.returncode}; see {self._home}/stream.log")
                time.sleep(_LOOK_S)

    @contextmanager
    def _stream(self) -> Iterator["subprocess.Popen[bytes]"]:
        with (self._home / "stream.log").open("w") as log:
            command = _stream_command(self._home, self._uri, "--port", "0")
            environment = {**os.environ, **self._environment}
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
            try:
                yield process
            finally:
                process.terminate()
                try:
                    process.wait(_STREAM_ENDS_S)
                except subprocess.TimeoutExpired:
                    process.kill()

    @contextmanager
    def _feed(self) -> Iterator[tuple["Sent", Any]]:
        """What is sent, and a look at whether the feed failed. It runs beside, until the block is left."""
        from refrig_assets.simulator.live import Feed
        from refrig_assets.simulator.pace import Pacer
        from refrig_assets.simulator.spool_writer import Spool

        stop, spool = threading.Event(), Spool(self._home / "spool")
        pacer = Pacer(spool, time.time, stop.wait, stop.is_set)
        batches = Feed(self._injector, self._mess, self._begin, PARTITIONS).batches()
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(pacer.by_clock, batches, _CATCH_UP_SPEED)
            try:
                yield pacer.sent, lambda: running.exception() if running.done() else None
            finally:
                stop.set()
                running.exception()  # waits for its end
                spool.close()

    def _show_new(self, sent: "Sent") -> None:
        from refrig_assets.contracts import DEVICE_ALERTS
        from refrig_assets.pipeline.alert_log import read_log

        version = self._lake.table(DEVICE_ALERTS).version
        if version == self._version:
            return
        self._version, seen_at = version, time.time()
        streamed = (pl.col("actor") == "stream") & (pl.col("change") == "created") & ~pl.col("suppressed")
        new = read_log(self._lake).filter(streamed & ~pl.col("alert_id").is_in(sorted(self._shown)))
        self._shown.update(new["alert_id"])
        for alert in new.sort("first_detected_at").iter_rows(named=True):
            console().print(alert_line(alert, self._injector, sent, seen_at), soft_wrap=True, markup=False)


def alert_line(alert: Mapping[str, Any], injector: "Injector", sent: "Sent", seen_at: float) -> str:
    """One alert with its truth: how long after its message was sent it could be read."""
    event: datetime = alert["first_detected_at"]
    sent_at = sent.sent_at(int(event.timestamp() * 1e6))
    took = "" if sent_at is None else f", readable {max(seen_at - sent_at, 0):.1f} s after the event"
    return f"{event:%H:%M:%S} {alert['severity']} {alert['title']} ({_told(alert, injector.truth)}{took})"


def _told(alert: Mapping[str, Any], truth: pl.DataFrame) -> str:
    """What the truth says of it."""
    crossed = truth.filter(
        (pl.col("device_id") == alert["device_id"]) & (pl.col("rule") == alert["rule"])
        & ((pl.col("crossed_at") - alert["first_detected_at"]).abs() < timedelta(hours=1))
    )  # fmt: skip
    if crossed.is_empty():
        return "not in the truth"
    fault = crossed.row(0, named=True)
    onset, limit = f"{fault['onset']:%H:%M:%S}", f"{fault['crossed_at']:%H:%M:%S}"
    return f"injected: {fault['fault']} at {onset}, limit crossed {limit}"
