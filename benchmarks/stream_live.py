"""The stream at the fleet's rate: how long from a message's arrival to its alert being readable, and what it costs."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psutil

from benchmarks.measure import PROJECT, ChildError
from benchmarks.stream_stages import PARTITIONS, reading_begun
from refrig_assets.contracts import DEVICE_ALERTS, RAW_READINGS
from refrig_assets.lake import Lake
from refrig_assets.simulator.live import partition_name, partition_of

FLEET_RATE = 16_667.0
SPARE = 1.06  # messages of a minute's devices that are on their way when it ends are not among its messages
_LOOK_EVERY_S, _READY_WITHIN_S, _AFTER_S = 0.05, 300.0, 5.0
_BYTE = (1 << 40) - 1


@dataclass
class Seen:
    """What the log of alerts held when: one row an alert, with the moment it could first be read."""

    lake: Lake
    frames: list[pl.DataFrame] = field(default_factory=list)
    _known: set[str] = field(default_factory=set)

    def look(self) -> None:
        """Read the files that have come since the last look, as any reader of the table does."""
        table = self.lake.table(DEVICE_ALERTS)
        fresh = [f for f in table.files() if f.path not in self._known]
        if not fresh:
            return
        rows = table.scan_files(fresh).filter(pl.col("change") == "created").collect(engine="in-memory")
        self._known |= {f.path for f in fresh}
        self.frames.append(rows.with_columns(pl.lit(time.time()).alias("readable_at")))

    def alerts(self) -> pl.DataFrame:
        return pl.concat(self.frames) if self.frames else DEVICE_ALERTS.empty().with_columns(readable_at=pl.lit(0.0))


@dataclass
class Cost:
    """Processor time and highest memory of a process and its children, polled."""

    process: psutil.Process
    peak_bytes: float = 0.0
    cpu: list[tuple[float, float]] = field(default_factory=list)

    def look(self) -> None:
        members = [self.process, *self.process.children(recursive=True)]
        times = [member.cpu_times() for member in members]
        self.cpu.append((time.time(), sum(t.user + t.system for t in times)))
        self.peak_bytes = max(self.peak_bytes, sum(member.memory_info().rss for member in members))

    def cores(self) -> float:
        (began, before), (ended, after) = self.cpu[0], self.cpu[-1]
        return (after - before) / (ended - began)


def at_rate(work: Path, seconds: float, rate: float, overloads: int, processes: int = 1) -> dict[str, Any]:
    """A feeder and a stream, each in a process of its own, for so long."""
    if not 0 < seconds <= 60:
        raise ValueError(f"the feed is of a minute's messages, it cannot last {seconds} s")
    lake, spool, log = Lake(str(work / "lake")), work / "spool", work / "stream.log"
    feeder = [sys.executable, "-m", "benchmarks.stream_feeder", str(work / "lake"), str(spool)]
    feeder += ["--devices", str(round(rate * seconds * SPARE)), "--rate", str(rate), "--seconds", str(seconds)]
    with _running([*feeder, "--overloads", str(overloads)], work / "feeder.log") as feeding:
        _wait_for_line(feeding, "ready")
        stream = [sys.executable, "-m", "benchmarks.stream_live", str(work / "lake"), str(spool), str(processes)]
        with _running(stream, log) as streaming:
            _wait_until_read(streaming, log)
            seen, cost = Seen(lake), Cost(psutil.Process(streaming.pid))
            fed = _feed(feeding, seen, cost)
            _say(streaming, "")
            if streaming.wait():
                raise ChildError(f"the stream ended with {streaming.returncode}:\n{log.read_text()[-3000:]}")
            seen.look()
    waits = alert_waits(lake, seen.alerts(), fed["written"])
    return {
        "messages": fed["messages"],
        "rate": fed["messages"] / fed["seconds"],
        "alerts": len(waits),
        "p50_s": float(np.quantile(waits, 0.5)),
        "p99_s": float(np.quantile(waits, 0.99)),
        "most_s": float(waits.max()),
        "cores": cost.cores(),
        "peak_bytes": cost.peak_bytes,
        "rows": sum(f.rows for f in lake.table(RAW_READINGS).files()),
    }


def _feed(feeding: "subprocess.Popen[str]", seen: Seen, cost: Cost) -> dict[str, Any]:
    """Let the feeder begin, look at the alerts until it has ended and for a little longer; what the feeder tells."""
    told: list[str] = []
    assert feeding.stdout is not None
    listener = threading.Thread(target=lambda stdout: told.append(stdout.readline()), args=(feeding.stdout,))
    cost.look()
    _say(feeding, "go")
    listener.start()
    looked = time.monotonic()
    while listener.is_alive():
        seen.look()
        if time.monotonic() - looked >= 0.5:
            cost.look()
            looked = time.monotonic()
        time.sleep(_LOOK_EVERY_S)
    cost.look()
    until = time.monotonic() + _AFTER_S
    while time.monotonic() < until:
        seen.look()
        time.sleep(_LOOK_EVERY_S)
    if not told[0]:
        raise ChildError("the feeder ended before it had sent everything")
    fed: dict[str, Any] = json.loads(told[0])
    return fed


def alert_waits(lake: Lake, alerts: pl.DataFrame, written: dict[str, list[list[float]]]) -> np.ndarray[Any, Any]:
    """Seconds from the writing of the line that fired each alert to the alert being readable.

    The line is the one of the alert's device and moment; its place in the spool is the row's sequence number. Alerts of
    a whole site or firmware have no line of their own.
    """
    raw = lake.table(RAW_READINGS).read().select("device_id", "timestamp_device", "_sequence_number")
    fired = alerts.join(
        raw, left_on=["device_id", "first_detected_at"], right_on=["device_id", "timestamp_device"], how="inner"
    ).unique("alert_id")
    waits = []
    for device, number, readable in fired.select("device_id", "_sequence_number", "readable_at").iter_rows():
        notes = np.array(written[partition_name(partition_of(device, PARTITIONS))])
        waits.append(readable - notes[np.searchsorted(notes[:, 0], number & _BYTE, side="right"), 1])
    if not waits:
        raise ChildError("no alert came: there is nothing to measure")
    return np.array(waits)


@contextmanager
def _running(command: list[str], log: Path) -> "Iterator[subprocess.Popen[str]]":
    with log.open("w") as errors:
        process = subprocess.Popen(
            command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        try:
            yield process
        finally:
            process.kill()  # closes the workers' stdin, too, and they end
            process.wait()


def _say(process: "subprocess.Popen[str]", line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def _wait_for_line(process: "subprocess.Popen[str]", wanted: str) -> None:
    assert process.stdout is not None
    if process.stdout.readline().strip() != wanted:
        raise ChildError(f"the feeder did not get ready (exit code {process.wait()})")


def _wait_until_read(streaming: "subprocess.Popen[str]", log: Path) -> None:
    """All partitions are looked at: the stream has started."""
    until = time.monotonic() + _READY_WITHIN_S
    while len(reading_begun(log)) < PARTITIONS:
        if streaming.poll() is not None or time.monotonic() > until:
            raise ChildError(f"the stream did not start:\n{log.read_text()[-3000:]}")
        time.sleep(0.2)


def _stream(lake: str, spool: str, processes: str) -> None:
    """The stream until a line, or the end, comes on stdin."""
    from streaming.settings import StreamSettings
    from streaming.status import Status
    from streaming.supervise import Supervisor

    supervisor = Supervisor(StreamSettings(lake, spool, processes=int(processes)), Status())

    def listen() -> None:
        os.read(0, 1)
        supervisor.stopping.set()

    threading.Thread(target=listen, daemon=True).start()
    supervisor.run()


if __name__ == "__main__":
    _stream(*sys.argv[1:])
