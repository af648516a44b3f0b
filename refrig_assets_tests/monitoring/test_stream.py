"""Whether the stream lives: silent, stopped, behind, or with nobody sending."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from refrig_assets.monitoring.stream import Heartbeat, stream_finding
from refrig_assets_tests.builders import NOW

RAW, ALERTS = "raw_sensor_readings", "device_alerts"


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def heart(age_s: float = 3, lag: int = 0, **told: Any) -> Heartbeat:
    base = {
        "at": ago(age_s).isoformat(),
        "state": "running",
        "partitions": {"a": {"position": 1, "lag": 0}, "b": {"position": 1, "lag": lag}},
        "behind_s": 4,
        "last_commit_at": ago(10).isoformat(),
        "messages": 7,
    }
    return Heartbeat.of(base | told)


def judged(beat: Heartbeat | None, table: str = RAW, last: datetime | None = None) -> tuple[bool, bool, str]:
    found = stream_finding(table, beat, last, NOW)
    return found.passed, found.severe, found.says


def test_a_stream_that_was_never_started_is_no_failure() -> None:
    passed, _, says = judged(None)
    assert passed
    assert "was ever started" in says


def test_without_a_heartbeat_the_last_commit_speaks() -> None:
    assert judged(None, last=ago(60))[0]
    passed, severe, says = judged(None, last=ago(600))
    assert (passed, severe) == (False, True)
    assert "REFRIG_STREAM_STATE" in says


@pytest.mark.parametrize("table", [RAW, ALERTS])
def test_silence_and_a_stop_are_errors(table: str) -> None:
    assert judged(heart(119), table)[0]
    passed, severe, says = judged(heart(200, state="waiting_for_lake", why="disk is full"), table)
    assert (passed, severe) == (False, True)
    assert "no sign of life for 3 min (limit 2 min), last state waiting_for_lake (disk is full)" in says
    passed, severe, says = judged(heart(1, state="stopped"), table)
    assert (passed, severe) == (False, True)
    assert "`refrig stream`" in says


@pytest.mark.parametrize(
    ("behind", "raw", "alerts"),
    [
        (50, "ok", "ok"),
        (61, "ok", "ok"),
        (119, "ok", "ok"),
        (121, "error", "warn"),
        (299, "error", "warn"),
        (301, "error", "error"),
    ],
)
def test_behind_is_judged_by_what_is_promised_of_each_table(behind: int, raw: str, alerts: str) -> None:
    for table, expected in ((RAW, raw), (ALERTS, alerts)):
        passed, severe, says = judged(heart(lag=5000, behind_s=behind), table)
        assert ("ok" if passed else "error" if severe else "warn") == expected
        if not passed:
            assert "5,000 unread in 1 partitions" in says
    if behind == 61:
        assert "alive, 61 s behind" in judged(heart(lag=5000, behind_s=behind), ALERTS)[2]


def test_a_stream_that_waits_for_the_lake_is_behind_by_its_last_commit() -> None:
    waiting = {"state": "waiting_for_lake", "why": "disk is full"}
    assert judged(heart(**waiting, last_commit_at=ago(60).isoformat()))[0]
    passed, severe, says = judged(heart(**waiting, last_commit_at=ago(130).isoformat()))
    assert (passed, severe) == (False, True)
    assert "disk is full" in says
    assert not judged(heart(**waiting, last_commit_at=None, behind_s=None), last=ago(500))[0]
    assert judged(heart(**waiting, last_commit_at=None, behind_s=None), last=ago(20))[0]


def test_nobody_sending_is_not_the_streams_fault() -> None:
    assert judged(heart(behind_s=290))[0]
    passed, severe, says = judged(heart(behind_s=400))
    assert (passed, severe) == (False, False)
    assert "gateways" in says
    assert judged(heart(behind_s=None, last_commit_at=None)) == (True, True, "alive, waits for its first message")


def test_counts_say_where_it_stands() -> None:
    found = stream_finding(RAW, heart(lag=5, behind_s=400), None, NOW)
    assert found.counts == {
        "heartbeat_age_s": 3.0,
        "unread": 5,
        "behind_s": 400.0,
        "last_commit_age_s": 10.0,
        "partitions": 2,
        "messages": 7,
    }
    assert found.sample == [{"partition": "b", "unread": 5}]


def test_a_heartbeat_of_another_version_is_understood_as_far_as_it_goes() -> None:
    found = Heartbeat.of({"at": NOW.isoformat(), "state": "running", "stranger": 1})
    assert (found.lag, found.partitions, found.behind) == (0, 0, None)
    with pytest.raises(KeyError):
        Heartbeat.of({"state": "running"})
