"""What Prometheus gets: the sum over worker processes and restarts, read back with Prometheus' own parser."""

import json

from prometheus_client.parser import text_string_to_metric_families

from streaming.counts import Counts
from streaming.metrics import metrics_page
from streaming.status import Status


def scraped(status: Status) -> dict[tuple[str, str], float]:
    """Samples by name and the value of their label."""
    families = text_string_to_metric_families(metrics_page(status).decode())
    return {(s.name, "".join(s.labels.values())): s.value for f in families for s in f.samples}


def worker_counts(partition: str, messages: int) -> Counts:
    counts = Counts()
    counts.landed(partition, 1 << 40, 17, messages=messages, rows=messages - 2, joined=1, dead=1, unknown_fields=3)
    counts.committed(0.3, 1_750_000_000.0, 1_749_999_990.5, 1_749_999_991.0)
    counts.judged(messages - 2, 4)
    counts.unregistered(1)
    counts.alerted(2, 1, [0.7, 20.0, 5000.0])
    return counts


def test_a_stream_that_has_not_begun_has_all_counters_at_nought() -> None:
    samples = scraped(Status())
    assert samples["refrig_stream_messages_total", ""] == 0
    assert samples["refrig_stream_commit_seconds_count", ""] == 0
    assert samples["refrig_stream_commit_seconds_bucket", "+Inf"] == 0
    assert samples["refrig_stream_state", "starting"] == 1


def test_counts_are_summed_over_processes_and_restarts() -> None:
    status = Status(state="running")
    for number, pid, partition, messages in ((0, 10, "a", 100), (1, 11, "b", 50), (0, 12, "a", 7)):
        status.heard(number, pid, json.dumps(worker_counts(partition, messages).to_json()))
        status.heard(number, pid, json.dumps(worker_counts(partition, messages).to_json()))  # told again, not counted
    status.restarted("a worker died")
    samples = scraped(status)
    expected = {
        "messages": 157,
        "rows": 151,
        "joined_messages": 3,
        "dead_letters": 3,
        "unknown_field_messages": 9,
        "rule_evaluations": 151,
        "findings": 12,
        "unregistered_readings": 3,
        "alerts_written": 6,
        "alerts_suppressed": 3,
        "commits": 3,
        "restarts": 1,
    }
    assert {name: samples[f"refrig_stream_{name}_total", ""] for name in expected} == expected


def test_lag_and_position_are_by_partition() -> None:
    status = Status(state="running")
    for number, partition in enumerate(("readings-0", 'odd "name"\n')):
        status.heard(number, number, json.dumps(worker_counts(partition, 5).to_json()))
    samples = scraped(status)
    assert samples["refrig_stream_lag", "readings-0"] == 17
    assert samples["refrig_stream_lag", 'odd "name"\n'] == 17
    assert samples["refrig_stream_position", "readings-0"] == 1 << 40
    assert samples["refrig_stream_newest_event_timestamp_seconds", ""] == 1_749_999_990.5


def test_histograms_are_cumulative_and_hold_what_lies_beyond_all_bounds() -> None:
    status = Status(state="running")
    status.heard(0, 1, json.dumps(worker_counts("a", 5).to_json()))
    samples = scraped(status)
    name = "refrig_stream_event_to_alert_seconds"
    assert [samples[f"{name}_bucket", bound] for bound in ("0.5", "1.0", "10.0", "30.0", "3600.0", "+Inf")] == [
        0,
        1,
        1,
        2,
        2,
        3,
    ]
    assert samples[f"{name}_count", ""] == 3
    assert samples[f"{name}_sum", ""] == 5020.7
    assert samples["refrig_stream_commit_seconds_bucket", "0.5"] == 1
    assert samples["refrig_stream_commit_seconds_bucket", "0.25"] == 0


def test_the_state_is_one_and_waiting_shows() -> None:
    status = Status(state="running")
    counts = worker_counts("a", 5)
    counts.waiting("the disk is full")
    status.heard(0, 1, json.dumps(counts.to_json()))
    states = {label: value for (name, label), value in scraped(status).items() if name == "refrig_stream_state"}
    assert states == {"starting": 0, "running": 0, "waiting_for_lake": 1, "stopping": 0, "stopped": 0}
