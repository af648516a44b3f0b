"""A running stream seen from outside: what it says of itself, its memory, what it keeps. Feeds it nothing."""

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.measure import PROJECT, ChildError
from benchmarks.soak_feed import PARTITIONS
from refrig_assets.lake import Lake
from streaming.settings import StreamSettings
from streaming.transports.spool import segment_of

MB = 1e6
PATIENCE_S = 300.0
_BUCKET = re.compile(r'refrig_stream_commit_seconds_bucket\{le="([^"]+)"\} (\S+)')


@dataclass
class Watch:
    """A running stream seen from outside: what it says of itself, and its memory."""

    process: "subprocess.Popen[bytes]"
    address: str
    settings: StreamSettings
    log: Path
    status: dict[str, Any] = field(default_factory=dict)
    rss: list[tuple[float, float]] = field(default_factory=list)

    def look(self) -> None:
        """Its status and memory now."""
        self._check_runs()
        try:
            self.status = json.loads(self._get("/status"))
        except OSError:  # not listening yet
            return
        supervisor = psutil.Process(self.process.pid)
        workers = sum(child.memory_info().rss for child in supervisor.children(recursive=True))
        self.rss.append((supervisor.memory_info().rss / MB, workers / MB))

    def hours_committed(self) -> int:
        """Hours of which every partition is committed: a position is in the segment of the first hour that is not."""
        parts = self.status.get("partitions", {})
        if len(parts) < PARTITIONS:
            return 0
        return min(segment_of(part["position"])[0] for part in parts.values()) - 1

    def number(self, name: str) -> int:
        return int(self.status.get(name, 0))

    def commit_buckets(self) -> dict[float, float]:
        return {float(bound): float(count) for bound, count in _BUCKET.findall(self._get("/metrics").decode())}

    def stop(self) -> None:
        """In order, as an operator would."""
        os.kill(self.process.pid, signal.SIGTERM)
        if self.process.wait(PATIENCE_S):
            raise ChildError(f"the stream ended with {self.process.returncode}:\n{self._said()}")

    def _check_runs(self) -> None:
        if self.process.poll() is not None:
            raise ChildError(f"the stream ended by itself with {self.process.returncode}:\n{self._said()}")

    def _said(self) -> str:
        return self.log.read_text()[-3000:]

    def _get(self, page: str) -> bytes:
        with urllib.request.urlopen(f"http://{self.address}{page}", timeout=10) as answer:
            read: bytes = answer.read()
            return read


@contextmanager
def running_stream(lake: Lake, spool: Path, work: Path, processes: int, commit_every_s: float) -> Iterator[Watch]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "refrig_assets.cli", "stream", "--lake", lake.uri, "--source", f"spool:{spool}"]
    command += ["--processes", str(processes), "--commit-every", str(commit_every_s), "--port", str(port)]
    log = work / "stream.log"
    with log.open("wb") as said:
        process = subprocess.Popen(command, cwd=PROJECT, stdout=said, stderr=said)
        try:
            yield Watch(process, f"127.0.0.1:{port}", StreamSettings(lake.uri, f"spool:{spool}"), log)
        finally:
            process.kill()  # closes the workers' stdin, too, and they end
            process.wait()


def state_bytes(store: Path) -> int:
    """What the newest kept states of all judges come to."""
    newest: dict[str, tuple[int, int]] = {}
    for file in store.glob("*.sqlite3"):
        with sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=30) as database:
            found = database.execute(
                "SELECT state_key, max(snap_epoch), length(ser_change) FROM snaps WHERE step_id LIKE '%judge' "
                "AND ser_change IS NOT NULL GROUP BY state_key"
            ).fetchall()
        for key, epoch, size in found:
            newest[key] = max(newest.get(key, (-1, 0)), (epoch, size))
    return sum(size for _, size in newest.values())
