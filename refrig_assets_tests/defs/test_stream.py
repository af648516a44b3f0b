"""The stream in Dagster: reported late but once, its life judged, the board kept current. On a real instance."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from refrig_assets.alerting.changes import log_rows, operator_action
from refrig_assets.contracts import ALERT_BOARD
from refrig_assets.defs.partitions import hour_key
from refrig_assets.defs.sensors import alert_log_changed, stream_reported
from refrig_assets.lake import Lake
from refrig_assets.pipeline.alert_log import append_changes
from refrig_assets_tests.alerting.makers import alert, created_alerts
from refrig_assets_tests.builders import HOUR, NOW, ONE_HOUR, at
from refrig_assets_tests.defs.conftest import Plant
from refrig_assets_tests.defs.stream_commits import beat, land

RAW, ALERTS, BOARD = (dg.AssetKey(n) for n in ("raw_sensor_readings", "device_alerts", "alert_board"))


@pytest.fixture
def small(tmp_path: Path, lake: Lake, instance: dg.DagsterInstance) -> Plant:
    """A lake without files to land."""
    return Plant(tmp_path, instance, {}, NOW)


class Daemon:
    """Does with the sensor's result what Dagster's daemon does: events are reported, then the cursor is kept."""

    def __init__(self, plant: Plant, instance: dg.DagsterInstance | None = None) -> None:
        self.plant, self.cursor = plant, None
        self.instance = instance or plant.instance

    def tick(self) -> list[Any]:
        result = stream_reported(self.plant.sensor_context(self.cursor))
        if isinstance(result, dg.SkipReason):
            return []
        assert isinstance(result, dg.SensorResult)
        for event in result.asset_events:
            self.instance.report_runless_asset_event(event)
        self.cursor = result.cursor
        return list(result.asset_events)


def materialized(instance: dg.DagsterInstance, key: dg.AssetKey) -> list[dg.AssetMaterialization]:
    records = instance.fetch_materializations(key, limit=100, ascending=True).records
    return [r.asset_materialization for r in records if r.asset_materialization is not None]


def values(event: dg.AssetMaterialization | dg.AssetObservation) -> dict[str, Any]:
    return {k: v.value for k, v in event.metadata.items()}


def outcomes(instance: dg.DagsterInstance, key: dg.AssetKey) -> list[str]:
    """What was said of the stream's life, oldest first."""
    records = instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(key, "stream_alive"), limit=99
    )
    return [r.status.value for r in records[::-1]]


def test_what_happened_before_dagster_was_there_is_reported_later_and_once(small: Plant) -> None:
    land(small.lake, {HOUR: 3}, dead=2, lag=40)
    land(small.lake, {HOUR: 2, HOUR + ONE_HOUR: 4}, lag=7)
    last = land(small.lake, {HOUR + ONE_HOUR: 1})
    append_changes(small.lake, created_alerts(alert("dev-1"), alert("dev-2", suppressed=True)))
    append_changes(small.lake, operator_action(alert("dev-1")["alert_id"], "acknowledged", "ann", at(20)))
    beat(small.lake, NOW)

    daemon = Daemon(small)
    daemon.tick()
    first, second = materialized(small.instance, RAW)
    assert (first.partition, second.partition) == (hour_key(HOUR), hour_key(HOUR + ONE_HOUR))
    told = values(first)
    assert (told["rows_landed"], told["dagster/partition_row_count"], told["commits"]) == (5, 5, 2)
    assert (told["messages"], told["dead_letters"], told["lag"]) == (5, 2, 40)
    told = values(second)
    assert (told["rows_landed"], told["messages"], told["commits"], told["delta_version"]) == (5, 7, 2, last)
    assert (told["lag"], told["newest_event"]) == (0, at(3, HOUR + ONE_HOUR).isoformat())
    (alerts,) = materialized(small.instance, ALERTS)
    told = values(alerts)
    assert (told["changes"], told["alerts_raised"], told["suppressed"], told["commits"]) == (3, 2, 1, 2)
    assert len(told["latest"]) == 2
    (observed,) = small.instance.fetch_observations(RAW, limit=10).records
    assert observed.asset_observation is not None
    assert values(observed.asset_observation)["state"] == "running"
    assert outcomes(small.instance, RAW) == outcomes(small.instance, ALERTS) == ["SUCCEEDED"]

    assert daemon.tick() == []
    assert len(materialized(small.instance, RAW)) == 2
    land(small.lake, {HOUR: 1})
    (event,) = daemon.tick()
    assert values(event)["rows_landed"] == 1
    assert values(event)["dagster/partition_row_count"] == 6


def test_a_new_instance_hears_everything_from_the_beginning(small: Plant, tmp_path: Path) -> None:
    land(small.lake, {HOUR: 3})
    Daemon(small).tick()
    with dg.instance_for_test(temp_dir=str(tmp_path / "dagster")) as fresh:
        Daemon(small, fresh).tick()
        assert [values(m)["rows_landed"] for m in materialized(fresh, RAW)][-1] == 3


def test_rows_of_other_writers_are_not_the_streams(small: Plant) -> None:
    batch = log_rows(
        [{"alert_id": alert()["alert_id"], "changed_at": at(1), "anomaly_score": 0.9}], "sustained", "batch"
    )
    append_changes(small.lake, batch)
    assert Daemon(small).tick() == []
    assert materialized(small.instance, ALERTS) == materialized(small.instance, RAW) == []


def test_without_a_stream_nothing_is_said_and_the_check_passes(small: Plant) -> None:
    daemon = Daemon(small)
    assert daemon.tick() == daemon.tick() == []
    found = {
        e.asset_key: e for e in small.run("freshness").get_asset_check_evaluations() if e.check_name == "stream_alive"
    }
    assert {e.passed for e in found.values()} == {True}
    assert set(found) == {RAW, ALERTS}
    assert "was ever started" in (found[RAW].description or "")


def test_a_silent_stream_fails_the_check_and_is_well_again(small: Plant) -> None:
    land(small.lake, {HOUR: 3})
    daemon = Daemon(small)
    beat(small.lake, small.now)
    daemon.tick()
    small.now += timedelta(minutes=3)
    daemon.tick()
    beat(small.lake, small.now)
    daemon.tick()
    beat(small.lake, small.now, state="stopped")
    daemon.tick()
    assert outcomes(small.instance, RAW) == ["SUCCEEDED", "FAILED", "SUCCEEDED", "FAILED"]
    assert outcomes(small.instance, ALERTS) == outcomes(small.instance, RAW)
    (record,) = small.instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(RAW, "stream_alive"), limit=1
    )
    assert record.evaluation is not None
    assert record.evaluation.severity == dg.AssetCheckSeverity.ERROR
    assert "refrig stream" in (record.evaluation.description or "")


def test_what_stays_as_it_was_is_told_again_only_now_and_then(small: Plant) -> None:
    daemon = Daemon(small)
    for _ in range(40):
        beat(small.lake, small.now)
        daemon.tick()
        small.now += timedelta(seconds=30)
    assert outcomes(small.instance, RAW) == ["SUCCEEDED"] * 4
    assert len(small.instance.fetch_observations(RAW, limit=100).records) == 4


def test_a_stream_that_is_behind_warns_of_alerts_before_it_fails_them(small: Plant) -> None:
    lagging = {"partitions": {"gateway-1": {"position": 1, "lag": 900}}, "behind_s": 150}
    beat(small.lake, small.now, **lagging)
    found = {
        e.asset_key: e for e in small.run("freshness").get_asset_check_evaluations() if e.check_name == "stream_alive"
    }
    assert (found[RAW].passed, found[RAW].severity.value) == (False, "ERROR")
    assert (found[ALERTS].passed, found[ALERTS].severity.value) == (False, "WARN")
    assert found[RAW].metadata["unread"].value == 900


def test_a_heartbeat_that_cannot_be_read_is_no_sign_of_life(small: Plant) -> None:
    beat(small.lake, NOW)
    (Path(small.lake.uri) / "_stream" / "heartbeat.json").write_text('{"at": 3')
    daemon = Daemon(small)
    small.now += timedelta(days=400)  # the file was written now
    daemon.tick()
    assert outcomes(small.instance, RAW) == ["FAILED"]


def test_a_run_over_the_past_does_not_judge_the_stream(small: Plant) -> None:
    result = small.run("hourly", HOUR, hours=1)
    assert "stream_alive" not in {e.check_name for e in result.get_asset_check_evaluations()}


def _board_request(plant: Plant) -> dg.RunRequest | None:
    result = alert_log_changed(plant.sensor_context())
    if isinstance(result, dg.SkipReason):
        return None
    assert isinstance(result, dg.SensorResult)
    (request,) = result.run_requests or []
    assert request.job_name == "publish_alerts"
    return request


def test_the_board_is_published_when_the_log_changed_and_when_a_deadline_passes(small: Plant) -> None:
    small.now = at(10)
    append_changes(small.lake, created_alerts(alert("dev-1"), alert("dev-2", severity="HIGH")))
    request = _board_request(small)
    assert request is not None
    assert request.tags["reason"] == "the log has changed"
    result = small.run("publish_alerts")
    assert all(e.passed for e in result.get_asset_check_evaluations())
    assert small.lake.table(ALERT_BOARD).read()["status"].to_list() == ["OPEN", "OPEN"]
    assert _board_request(small) is None

    small.now = at(31)
    late = _board_request(small)
    assert late is not None
    assert late.tags["reason"] == "1 alerts were not taken in time"
    assert late.run_key != request.run_key
    small.run("publish_alerts")
    assert sorted(small.lake.table(ALERT_BOARD).read()["escalation_level"]) == ["L1", "L2"]
    assert _board_request(small) is None
    told = [values(m) for m in materialized(small.instance, BOARD)]
    assert [t["escalated_by_this_run"] for t in told] == [0, 1]
    assert told[-1]["standing"] == 2
    assert told[-1]["dagster/row_count"] == 2


def test_an_alert_that_nobody_takes_goes_up_to_the_last_level_though_nothing_else_happens(small: Plant) -> None:
    append_changes(small.lake, created_alerts(alert("dev-1")))
    asked: dict[int, str] = {}
    for minute in range(10, 300, 10):  # a CRITICAL alert has half an hour at each level
        small.now = at(minute)
        if _board_request(small) is not None:
            small.run("publish_alerts")
            asked[minute] = small.lake.table(ALERT_BOARD).read()["escalation_level"].item()
    assert list(asked.values()) == ["L1", "L2", "L3"]
    assert max(asked) < 120
