"""How the stream is doing, over all its worker processes and restarts: what heartbeat, health and metrics show."""

import json
import logging
import os
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from streaming.heartbeat import write_heartbeat
from streaming.settings import StreamSettings

_LOG = logging.getLogger(__name__)
_YEAR_9999 = 253_370_764_800.0


@dataclass
class Status:
    """Counts of processes that have ended are kept: restarting loses none."""

    state: str = "starting"
    restarts: int = 0
    last_restart: str | None = None
    _heard: dict[tuple[int, int], dict[str, Any]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def heard(self, number: int, pid: int, line: str) -> None:
        """A worker's counts. What is no JSON is something a library printed."""
        try:
            told = json.loads(line)
        except ValueError:
            _LOG.info("worker %s says: %s", number, line.rstrip())
            return
        with self._lock:
            self._heard[number, pid] = told

    def restarted(self, why: str) -> None:
        self.restarts += 1
        self.last_restart = why
        with self._lock:
            self._heard = {who: told | {"waiting": None} for who, told in self._heard.items()}

    @property
    def messages(self) -> int:
        return int(self.totals()["numbers"].get("messages", 0))

    def totals(self) -> dict[str, Any]:
        """All processes' counts together; of partitions and moments what was told last."""
        with self._lock:
            heard = list(self._heard.values())
        numbers: dict[str, int] = {}
        partitions: dict[str, dict[str, int]] = {}
        for told in heard:
            for name, number in told["numbers"].items():
                numbers[name] = numbers.get(name, 0) + number
            partitions |= told["partitions"]
        return {
            "numbers": numbers,
            "partitions": partitions,
            "commit_seconds": _sum([t["commit_seconds"] for t in heard]),
            "alert_seconds": _sum([t["alert_seconds"] for t in heard]),
            "waiting": next((t["waiting"] for t in heard[::-1] if t["waiting"]), None),
            "last_commit_at": _newest("last_commit_at", heard),
            "newest_event": _newest("newest_event", heard),
            "newest_ingested": _newest("newest_ingested", heard),
        }

    def report(self, settings: StreamSettings, now: datetime) -> dict[str, Any]:
        """What the heartbeat says."""
        totals = self.totals()
        numbers, newest = totals["numbers"], totals["newest_ingested"]
        waiting = totals["waiting"] if self.state == "running" else None
        return {
            "at": now.isoformat(),
            "state": "waiting_for_lake" if waiting else self.state,
            "why": waiting or self.last_restart,
            "processes": settings.processes,
            "workers": settings.workers,
            "restarts": self.restarts,
            "partitions": totals["partitions"],
            **{name: numbers.get(name, 0) for name in ("messages", "rows", "dead", "alerts", "suppressed", "joined")},
            "newest_event": _iso(totals["newest_event"]),
            "behind_s": max(0.0, now.timestamp() - newest) if newest else None,
            "last_commit_at": _iso(totals["last_commit_at"]),
            "pid": os.getpid(),
            "version": version("refrig-assets"),
        }

    def beat(self, settings: StreamSettings) -> None:
        """Write the heartbeat. A disk that is full must not end the stream that waits for it."""
        try:
            write_heartbeat(settings.home, self.report(settings, datetime.now(UTC)))
        except OSError as error:
            _LOG.error("the heartbeat cannot be written: %s", error)


def _newest(name: str, heard: list[dict[str, Any]]) -> float | None:
    return max((t[name] for t in heard if t[name]), default=None)


def _iso(moment: float | None) -> str | None:
    """Clocks that were never set show years beyond all calendars."""
    return datetime.fromtimestamp(moment, UTC).isoformat() if moment and moment < _YEAR_9999 else None


def _sum(histograms: list[dict[str, Any]]) -> dict[str, Any]:
    counts = [sum(c) for c in zip(*(h["counts"] for h in histograms), strict=True)]
    return {"counts": counts, "total": sum(h["total"] for h in histograms)}
