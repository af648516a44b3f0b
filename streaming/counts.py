"""What a worker process counts, plainly. It travels to the supervisor as JSON; nothing here exposes or stores it."""

import threading
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Any

COMMIT_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
ALERT_SECONDS = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 3600.0)


@dataclass
class Histogram:
    """Counts by upper bound, the last for what lies beyond all."""

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = self.counts or [0] * (len(self.bounds) + 1)

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Counts:
    """Everything since the process started. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers: dict[str, int] = dict.fromkeys(
            (
                "messages",
                "rows",
                "joined",
                "dead",
                "unknown_fields",
                "judged",
                "findings",
                "unregistered",
                "alerts",
                "suppressed",
                "commits",
            ),
            0,
        )
        self._partitions: dict[str, dict[str, int]] = {}
        self._commit_seconds = Histogram(COMMIT_SECONDS)
        self._alert_seconds = Histogram(ALERT_SECONDS)
        self._waiting: str | None = None
        self._last_commit_at: float | None = None
        self._newest_event: float | None = None
        self._newest_ingested: float | None = None

    def landed(self, partition: str, position: int, lag: int, **numbers: int) -> None:
        """A partition's share of a commit."""
        with self._lock:
            self._partitions[partition] = {"position": position, "lag": lag}
            for name, number in numbers.items():
                self._numbers[name] += number

    def committed(self, seconds: float, at: float, newest_event: float | None, newest_ingested: float | None) -> None:
        with self._lock:
            self._numbers["commits"] += 1
            self._commit_seconds.add(seconds)
            self._last_commit_at = at
            self._newest_event = max(filter(None, (newest_event, self._newest_event)), default=None)
            self._newest_ingested = max(filter(None, (newest_ingested, self._newest_ingested)), default=None)

    def behind(self, partition: str, lag: int) -> None:
        """What a partition holds that is not read yet."""
        with self._lock:
            self._partitions.setdefault(partition, {"position": 0, "lag": 0})["lag"] = lag

    def judged(self, rows: int, findings: int) -> None:
        with self._lock:
            self._numbers["judged"] += rows
            self._numbers["findings"] += findings

    def unregistered(self, rows: int) -> None:
        with self._lock:
            self._numbers["unregistered"] += rows

    def alerted(self, alerts: int, suppressed: int, seconds: list[float]) -> None:
        """Alerts written, and how long after their event each was."""
        with self._lock:
            self._numbers["alerts"] += alerts
            self._numbers["suppressed"] += suppressed
            for one in seconds:
                self._alert_seconds.add(one)

    def waiting(self, why: str | None) -> None:
        """What the process waits for, or None when it goes on."""
        with self._lock:
            self._waiting = why

    def to_json(self) -> dict[str, Any]:
        with self._lock:
            return {
                "numbers": dict(self._numbers),
                "partitions": {name: dict(part) for name, part in self._partitions.items()},
                "commit_seconds": {"counts": list(self._commit_seconds.counts), "total": self._commit_seconds.total},
                "alert_seconds": {"counts": list(self._alert_seconds.counts), "total": self._alert_seconds.total},
                "waiting": self._waiting,
                "last_commit_at": self._last_commit_at,
                "newest_event": self._newest_event,
                "newest_ingested": self._newest_ingested,
            }
