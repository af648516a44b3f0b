"""The alert asset through Dagster: a range of hours in one run, what its page shows, and what asks for it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from refrig_assets.contracts import DEVICE_REGISTRY
from refrig_assets.contracts.scoring import HOURLY_DETECTORS
from refrig_assets.definitions import defs
from refrig_assets.defs.asked import MOST_ATTEMPTS, Asked, Memory
from refrig_assets.defs.launch import run_job
from refrig_assets.defs.partitions import hour_key
from refrig_assets.defs.resources import ClockResource, LakeResource, ModelsResource
from refrig_assets.defs.sensors import scores_to_alert
from refrig_assets.lake import Lake
from refrig_assets.pipeline.alert_log import current_board
from refrig_assets.pipeline.score_rows import replace_scores, write_part
from refrig_assets_tests.alerting.test_severity import frame, score
from refrig_assets_tests.builders import HOUR, ONE_HOUR, registry_of

NOW = HOUR + 2 * ONE_HOUR + timedelta(minutes=5)


@pytest.fixture
def resources(lake: Lake, tmp_path: Path) -> dict[str, Any]:
    return {
        "lake": LakeResource(uri=lake.uri),
        "models": ModelsResource(uri=f"sqlite:///{tmp_path}/models/mlflow.db"),
        "clock": ClockResource(fixed=NOW.isoformat()),
    }


def scored(lake: Lake) -> None:
    lake.table(DEVICE_REGISTRY).replace_all(registry_of(["dev-0", "dev-1"]))
    for hour in (HOUR, HOUR + ONE_HOUR):
        for model in HOURLY_DETECTORS:
            rows = [
                score(model, 0.9 if device == "dev-1" else 0.2, device_id=device, scored_at=hour + ONE_HOUR,
                      start=hour + quarter * timedelta(minutes=15))
                for device in ("dev-0", "dev-1") for quarter in range(4)
            ]  # fmt: skip
            replace_scores(lake, hour, model, write_part(lake, hour, model, 0, frame(*rows)), None)


def test_a_range_of_hours_in_one_run(lake: Lake, resources: dict[str, Any], instance: dg.DagsterInstance) -> None:
    scored(lake)
    result = run_job(defs, "alerts", instance, start=HOUR, end=HOUR + 2 * ONE_HOUR, resources=resources, quiet=True)
    assert result.success
    assert current_board(lake).filter(~current_board(lake)["suppressed"])["severity"].to_list() == ["HIGH"]
    events = instance.fetch_materializations(dg.AssetKey("device_alerts"), limit=10).records
    shown = {e.asset_materialization.partition: e.asset_materialization.metadata for e in events}  # type: ignore[union-attr]
    assert set(shown) == {hour_key(HOUR), hour_key(HOUR + ONE_HOUR)}
    first = shown[hour_key(HOUR)]
    assert first["judged_by"].value == "the models' scores"
    assert [r.data["device_id"] for r in first["alerts"].records] == ["dev-1"]


class Daemon:
    """Asks the sensor and keeps its cursor. Runs are made as the daemon would, or fail, or never come to be."""

    def __init__(self, instance: dg.DagsterInstance, resources: dict[str, Any]) -> None:
        self.instance, self.resources = instance, resources
        self.cursor: str | None = None

    def tick(self, later: timedelta = timedelta()) -> list[dg.RunRequest]:
        context = dg.build_sensor_context(instance=self.instance, definitions=defs, cursor=self.cursor)
        clock = ClockResource(fixed=(datetime.now(UTC) + later).isoformat())
        asked = scores_to_alert(context, lake=self.resources["lake"], clock=clock)
        assert isinstance(asked, dg.SensorResult)
        self.cursor = asked.cursor
        return list(asked.run_requests or [])

    def make(self, request: dg.RunRequest, status: dg.DagsterRunStatus) -> None:
        """A run of this request, with the outcome: a real one where it is to succeed."""
        job = defs.resolve_job_def("alerts")
        if status == dg.DagsterRunStatus.SUCCESS:
            assert job.execute_in_process(
                instance=self.instance, tags=dict(request.tags), resources=self.resources
            ).success
            return
        run = self.instance.create_run_for_job(job, tags=dict(request.tags), status=dg.DagsterRunStatus.STARTED)
        if status == dg.DagsterRunStatus.FAILURE:
            self.instance.report_run_failed(run)
        if status == dg.DagsterRunStatus.CANCELED:
            self.instance.report_run_canceled(run)


@pytest.fixture
def daemon(lake: Lake, resources: dict[str, Any], instance: dg.DagsterInstance) -> Daemon:
    scored(lake)
    return Daemon(instance, resources)


def test_hours_that_were_scored_ask_for_their_alerts_once(daemon: Daemon) -> None:
    (request,) = daemon.tick()
    assert request.job_name == "alerts"
    assert request.tags["dagster/asset_partition_range_end"] == hour_key(HOUR + ONE_HOUR)
    daemon.make(request, dg.DagsterRunStatus.SUCCESS)
    assert daemon.tick() == []
    assert daemon.tick(timedelta(days=1)) == []


def test_what_never_came_to_be_a_run_is_asked_for_by_the_same_key(daemon: Daemon) -> None:
    (request,) = daemon.tick()
    assert [r.run_key for r in daemon.tick()] == [request.run_key]


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELED])
def test_a_run_that_goes_on_or_that_somebody_ended_is_not_asked_for_again(
    daemon: Daemon, status: dg.DagsterRunStatus
) -> None:
    daemon.make(daemon.tick()[0], status)
    assert daemon.tick(timedelta(days=1)) == []


def test_hours_whose_alerts_failed_are_asked_for_again_later_and_not_for_ever(daemon: Daemon) -> None:
    (request,) = daemon.tick()
    keys, waits = [request.run_key], []
    for _ in range(10):
        daemon.make(request, dg.DagsterRunStatus.FAILURE)
        assert daemon.tick() == []  # not at once
        for minutes in range(0, 200, 5):
            if again := daemon.tick(timedelta(minutes=minutes, seconds=30)):
                (request,) = again
                keys.append(request.run_key)
                waits.append(minutes)
                break
        else:
            break
    assert waits == [5, 10, 20, 40]
    assert len(set(keys)) == MOST_ATTEMPTS
    assert Memory.of(daemon.cursor).open == {}
    assert request.tags["dagster/asset_partition_range_start"] == hour_key(HOUR)


def test_the_daemons_own_retry_of_a_failed_run_is_waited_for(daemon: Daemon) -> None:
    (request,) = daemon.tick()
    daemon.make(request, dg.DagsterRunStatus.FAILURE)
    daemon.make(request, dg.DagsterRunStatus.STARTED)
    assert daemon.tick(timedelta(hours=3)) == []
    assert len(Memory.of(daemon.cursor).open) == 1


def test_hours_that_are_scored_again_are_asked_for_once_not_for_each_time(daemon: Daemon, lake: Lake) -> None:
    (request,) = daemon.tick()
    daemon.make(request, dg.DagsterRunStatus.FAILURE)
    scored(lake)
    (again,) = daemon.tick(timedelta(hours=3))
    assert again.run_key != request.run_key
    assert list(Memory.of(daemon.cursor).open) == [again.run_key]


def test_a_cursor_of_an_earlier_version_is_understood(daemon: Daemon) -> None:
    assert Memory.of("17") == Memory(17)
    assert Memory.of(None) == Memory()
    memory = Memory(3, {"key": Asked("a", "b", "c", 2)})
    assert Memory.of(memory.to_json()) == memory


def test_hours_whose_alerts_are_made_are_not_asked_for_when_the_sensor_is_new(daemon: Daemon) -> None:
    run_job(defs, "alerts", daemon.instance, start=HOUR, end=HOUR + ONE_HOUR, resources=daemon.resources, quiet=True)
    requests = daemon.tick()
    assert [r.tags["dagster/asset_partition_range_start"] for r in requests] == [hour_key(HOUR + ONE_HOUR)]
