"""The stream's counts as Prometheus metrics. Worker processes send theirs to the supervisor, which alone exposes the
sum: nothing is shared between processes, and nothing is counted here.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from streaming.counts import ALERT_SECONDS, COMMIT_SECONDS
from streaming.status import Status

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_PREFIX = "refrig_stream_"
_COUNTERS = {
    "messages": ("messages", "Messages read, blank lines left out"),
    "rows": ("rows", "Rows landed in raw_sensor_readings"),
    "joined": ("joined_messages", "Narrow messages that went into the row of another one"),
    "dead": ("dead_letters", "Messages that could not be read and went to dead_letter"),
    "unknown_fields": ("unknown_field_messages", "Messages with a value in a field that nobody knows"),
    "judged": ("rule_evaluations", "Readings that were held against the rules"),
    "findings": ("findings", "Readings at which a rule became true or was true for long"),
    "unregistered": ("unregistered_readings", "Readings of devices that are not registered or not active"),
    "alerts": ("alerts_written", "Alerts written that are to be acted on"),
    "suppressed": ("alerts_suppressed", "Alerts written as suppressed"),
    "commits": ("commits", "Commits to the lake"),
}
_MOMENTS = {
    "last_commit_at": ("last_commit_timestamp_seconds", "When the last commit was made"),
    "newest_event": ("newest_event_timestamp_seconds", "The newest device time landed"),
    "newest_ingested": ("newest_ingested_timestamp_seconds", "The newest gateway time landed"),
}
_STATES = ("starting", "running", "waiting_for_lake", "stopping", "stopped")


class StreamCollector(Collector):
    """Reads the status anew at each scrape."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        totals = self._status.totals()
        for name, (shown, text) in _COUNTERS.items():
            yield CounterMetricFamily(_PREFIX + shown, text, value=totals["numbers"].get(name, 0))
        yield CounterMetricFamily(_PREFIX + "restarts", "Restarts of the processes", value=self._status.restarts)
        yield from _by_partition(totals["partitions"])
        for name, (shown, text) in _MOMENTS.items():
            if totals[name] is not None:
                yield GaugeMetricFamily(_PREFIX + shown, text, value=totals[name])
        yield _histogram("commit_seconds", "Time a commit took", COMMIT_SECONDS, totals["commit_seconds"])
        yield _histogram(
            "event_to_alert_seconds", "From an event to its alert in the table", ALERT_SECONDS, totals["alert_seconds"]
        )
        yield _state(self._status.state, totals["waiting"])


def metrics_page(status: Status) -> bytes:
    """What a Prometheus server scrapes."""
    registry = CollectorRegistry()
    registry.register(StreamCollector(status))
    return generate_latest(registry)


def _by_partition(partitions: dict[str, dict[str, int]]) -> Iterator[Metric]:
    lag = GaugeMetricFamily(
        _PREFIX + "lag", "Not read yet: bytes of a spool, messages of a Kafka topic", labels=["partition"]
    )
    position = GaugeMetricFamily(_PREFIX + "position", "Where reading goes on from", labels=["partition"])
    for name, part in sorted(partitions.items()):
        lag.add_metric([name], part["lag"])
        position.add_metric([name], part["position"])
    yield lag
    yield position


def _histogram(name: str, text: str, bounds: Sequence[float], told: dict[str, Any]) -> HistogramMetricFamily:
    counts = told["counts"] or [0] * (len(bounds) + 1)  # nobody has told anything yet
    limits = [*(str(float(b)) for b in bounds), "+Inf"]
    buckets = list(zip(limits, accumulate(map(float, counts)), strict=True))
    return HistogramMetricFamily(_PREFIX + name, text, buckets=buckets, sum_value=told["total"])


def _state(state: str, waiting: str | None) -> GaugeMetricFamily:
    now = "waiting_for_lake" if waiting and state == "running" else state
    gauge = GaugeMetricFamily(_PREFIX + "state", "1 for the state the stream is in", labels=["state"])
    for one in _STATES:
        gauge.add_metric([one], float(one == now))
    return gauge
