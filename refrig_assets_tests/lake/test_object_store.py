"""The same lake in an object store, by its URI alone: an S3 server on loopback, spoken to over HTTP."""

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from refrig_assets.alerting.changes import operator_action
from refrig_assets.contracts import (
    ALERT_BOARD,
    CLEAN_READINGS,
    CONTRACTS,
    DEVICE_ALERTS,
    DEVICE_FEATURES,
    DEVICE_REGISTRY,
    RAW_READINGS,
)
from refrig_assets.lake import Lake, commits_since
from refrig_assets.pipeline.alert_log import CHANGES_KEY, append_changes
from refrig_assets.pipeline.clean import clean_hour
from refrig_assets.pipeline.features import feature_hour
from refrig_assets.pipeline.published import publish_board
from refrig_assets.pipeline.stream_reports import stream_home
from refrig_assets.simulator import Mess, make_fleet, no_faults, raw_hour
from refrig_assets_tests.alerting.makers import alert, created_alerts

HOUR = datetime(2026, 3, 10, 6, tzinfo=UTC)


@pytest.fixture
def bucket() -> Iterator[dict[str, str]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(100):
            try:
                urllib.request.urlopen(urllib.request.Request(f"{url}/plant", method="PUT"), timeout=1)
                break
            except OSError:
                time.sleep(0.2)
        yield {
            "AWS_ACCESS_KEY_ID": "anyone",
            "AWS_SECRET_ACCESS_KEY": "anything",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": url,
            "AWS_ALLOW_HTTP": "true",
        }
    finally:
        server.terminate()
        server.wait()


def test_an_hour_in_an_object_store_is_the_hour_on_disk(bucket: dict[str, str], tmp_path: Path) -> None:
    fleet = make_fleet(20, 1, HOUR)
    raw = raw_hour(fleet, no_faults(fleet), HOUR, Mess.usual())
    lakes = Lake(str(tmp_path / "lake")).create(), Lake("s3://plant/lake", bucket).create()
    for lake in lakes:
        lake.table(DEVICE_REGISTRY).replace_all(fleet.registry)
        lake.table(RAW_READINGS).append(raw)
        for _ in range(2):  # the second time replaces
            clean_hour(lake, HOUR)
            feature_hour(lake, HOUR, HOUR + timedelta(days=1))
    disk, store = lakes
    assert store.missing_tables() == []
    assert store.table(CLEAN_READINGS).read().height > 1000
    for contract in (CLEAN_READINGS, DEVICE_FEATURES):
        assert store.table(contract).read().equals(disk.table(contract).read())
        assert all(f.size > 0 for f in store.table(contract).files())
    assert len(CONTRACTS) == len(store.versions)


def test_the_alert_log_and_its_commits_in_an_object_store(bucket: dict[str, str]) -> None:
    lake = Lake("s3://plant/lake", bucket).create()
    rows = created_alerts(alert("dev-1", HOUR), alert("dev-2", HOUR + timedelta(days=1)))
    assert [append_changes(lake, rows).written for _ in range(2)] == [2, 0]
    assert publish_board(lake).days_written == 2
    append_changes(lake, operator_action(rows["alert_id"][0], "resolved", "ann", HOUR))
    assert publish_board(lake).days_written == 1
    assert sorted(lake.table(ALERT_BOARD).read()["status"]) == ["OPEN", "RESOLVED"]
    notes = commits_since(lake.table(DEVICE_ALERTS), 0, [CHANGES_KEY])
    assert [json.loads(c.metadata[CHANGES_KEY])["written"] for c in notes.commits] == [2, 1]
    assert stream_home(lake) == stream_home(Lake("s3://plant/lake"))
    assert stream_home(lake, "/var/stream") == Path("/var/stream")


APPENDER = """
import json, sys
from refrig_assets.lake import Lake
from refrig_assets.pipeline.alert_log import append_changes
from refrig_assets_tests.alerting.makers import alert, created_alerts
lake = Lake("s3://plant/lake", json.loads(sys.argv[1]))
for turn in range(10):
    append_changes(lake, created_alerts(alert(f"{sys.argv[2]}-{turn}"), alert(f"both-{turn}")))
"""


def test_processes_that_append_at_once_lose_nothing_in_an_object_store(bucket: dict[str, str]) -> None:
    """Two commits of one version: the store refuses the second's log entry (put if absent), and it looks again."""
    lake = Lake("s3://plant/lake", bucket).create()
    workers = [subprocess.Popen([sys.executable, "-c", APPENDER, json.dumps(bucket), n]) for n in ("a", "b")]
    assert [worker.wait() for worker in workers] == [0, 0]
    held = lake.table(DEVICE_ALERTS).read()["device_id"]
    assert sorted(held) == sorted(f"{who}-{turn}" for who in ("a", "b", "both") for turn in range(10))
