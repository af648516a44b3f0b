"""The alert asset through Dagster: a range of hours in one run, what its page shows, and what asks for it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from refrig_assets.contracts import DEVICE_REGISTRY, HOUR_ACCOUNTS
from refrig_assets.contracts.scoring import HOURLY_DETECTORS
from refrig_assets.definitions import defs
from refrig_assets.defs.asked import MOST_ATTEMPTS, Asked, Memory
from refrig_assets.defs.launch import run_job
from refrig_assets.defs.partitions import hour_key
from refrig_assets.defs.resources import ClockResource, FilesResource, LakeResource, ModelsResource
from refrig_assets.defs.sensors import scores_to_alert
from refrig_assets.lake import Lake
from refrig_assets.pipeline.alert_log import current_board
from refrig_assets.pipeline.hours import floor_hour
from refrig_assets.pipeline.judged import note_judged, scores_seen, waiting_scores
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


def judged(instance: dg.DagsterInstance, resources: dict[str, Any], now: datetime) -> dg.AssetCheckEvaluation:
    """What the job that runs every five minutes says of it."""
    clock = {"clock": ClockResource(fixed=now.isoformat()), "files": FilesResource()}
    result = run_job(defs, "freshness", instance, resources=resources | clock, quiet=True)
    return next(e for e in result.get_asset_check_evaluations() if e.check_name == "judged")


@pytest.mark.parametrize(
    ("minutes", "passed", "severity"),
    [(4, True, None), (16, False, "WARN"), (31, False, "ERROR"), (150, False, "ERROR")],
)
def test_scores_that_nobody_judges_warn_and_then_fail(
    daemon: Daemon, minutes: int, passed: bool, severity: str | None
) -> None:
    found = judged(daemon.instance, daemon.resources, HOUR + ONE_HOUR + timedelta(minutes=minutes))
    assert found.passed is passed
    assert severity is None or found.severity.value == severity
    # The second hour is scored an hour later.
    assert found.metadata["windows"].value == (8 if minutes < 60 else 16)


def test_a_judgement_that_changes_nothing_is_one(daemon: Daemon, lake: Lake) -> None:
    for hour in (HOUR, HOUR + ONE_HOUR):
        run_job(
            defs, "alerts", daemon.instance, start=hour, end=hour + ONE_HOUR, resources=daemon.resources, quiet=True
        )
    late = NOW + timedelta(minutes=40)
    assert judged(daemon.instance, daemon.resources, late).passed
    # The same hour once more, quiet again: until somebody has looked, nobody knows.
    rows = [score("isolation_forest", 0.2, start=HOUR + ONE_HOUR, scored_at=NOW + timedelta(minutes=1))]
    part = write_part(lake, HOUR + ONE_HOUR, "isolation_forest", 0, frame(*rows))
    replace_scores(lake, HOUR + ONE_HOUR, "isolation_forest", part, None)
    found = judged(daemon.instance, daemon.resources, late)
    assert not found.passed
    assert [r.data["hour"][:13] for r in found.metadata["sample"].records] == [f"{HOUR + ONE_HOUR:%Y-%m-%d %H}"]
    run_job(defs, "alerts", daemon.instance, start=HOUR + ONE_HOUR, end=NOW, resources=daemon.resources, quiet=True)
    assert judged(daemon.instance, daemon.resources, late).passed


def test_hours_long_past_leave_no_trace_and_are_not_waited_for(daemon: Daemon, lake: Lake) -> None:
    late = {"clock": ClockResource(fixed=(NOW + timedelta(days=2)).isoformat())}
    run_job(defs, "alerts", daemon.instance, start=HOUR, end=NOW, resources=daemon.resources | late, quiet=True)
    assert lake.table(HOUR_ACCOUNTS).read().is_empty()
    assert judged(daemon.instance, daemon.resources, NOW + timedelta(days=2)).passed


def test_an_hour_that_is_scored_again_and_again_waits_since_the_first_time(lake: Lake) -> None:
    begun = datetime.now(UTC)  # commits are dated by the computer's clock
    hour, now = floor_hour(begun), begun + timedelta(minutes=40)
    for scored_at in (begun, now - timedelta(minutes=1)):
        rows = frame(score("isolation_forest", 0.9, start=hour, scored_at=scored_at))
        replace_scores(lake, hour, "isolation_forest", write_part(lake, hour, "isolation_forest", 0, rows), None)
    (waiting,) = waiting_scores(lake, now).to_dicts()
    assert (waiting["hour"], waiting["windows"], waiting["highest"]) == (hour, 1, 0.9)
    assert waiting["since"] < now - timedelta(minutes=1)
    note_judged(lake, hour, scores_seen(lake, hour), now)
    assert waiting_scores(lake, now).is_empty()
