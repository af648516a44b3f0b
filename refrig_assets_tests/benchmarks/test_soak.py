"""The soak, small: its messages are what they should be, and its stream lands them all and tells of every fault."""

import json
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks.soak import soak
from benchmarks.soak_feed import PARTITIONS, SoakFeed, segment_path
from refrig_assets.contracts import DEVICE_REGISTRY
from refrig_assets.transforms.wire import read_lines

START = datetime(2026, 3, 2, tzinfo=UTC)


def test_an_hour_has_every_device_as_often_as_it_reports_in_order_of_time(tmp_path: Path) -> None:
    feed = SoakFeed(devices=90, every=20, start=START, days=1)
    DEVICE_REGISTRY.validate(feed.registry())
    for number in range(PARTITIONS):
        segment_path(tmp_path, number, 5).parent.mkdir()
    feed.write(tmp_path, 5)
    events, devices = set(), set(feed.registry()["device_id"])
    for number in range(PARTITIONS):
        block = segment_path(tmp_path, number, 5).read_bytes()
        assert not read_lines(block).dead
        messages = [json.loads(line) for line in block.splitlines()]
        assert all(one["timestamp"] <= other["timestamp"] for one, other in pairwise(messages))
        assert all(m["timestamp"].startswith("2026-03-02T05:") and m["device_id"] in devices for m in messages)
        events |= {m["event_id"] for m in messages}
    assert len(events) == 90 * 3 == feed.messages_an_hour


@pytest.mark.slow
def test_each_message_lands_each_fault_is_told_and_what_is_read_is_deleted(tmp_path: Path) -> None:
    days, bars = soak(tmp_path, devices=300, days=2, every=30, commit_every_s=0.5)
    promised = {name: bar for name, bar in bars.items() if name != "growth_of_memory"}  # too short to tell
    assert all(bar.holds for bar in promised.values()), promised
    assert [day.day for day in days] == [1, 2]
    assert sum(day.messages for day in days) == sum(day.rows for day in days) == 300 * 2 * 24 * 2
    assert all(day.rss_mb > 50 and day.state_mb > 0 and day.recovery_mb > 0 for day in days)
    left = list((tmp_path / "spool").rglob("*.ndjson"))
    assert {int(segment.stem) for segment in left} <= {48}
