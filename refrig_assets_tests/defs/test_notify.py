"""Notifications out of Dagster: runs, checks and the stream's life, on a real instance, until they arrive."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from refrig_assets.definitions import defs
from refrig_assets.defs.notify import notify_pass, notify_run_failures, notify_run_successes
from refrig_assets.defs.partitions import hourly
from refrig_assets.defs.sensors import stream_reported
from refrig_assets.lake import Lake
from refrig_assets.pipeline.alert_log import append_changes
from refrig_assets_tests.alerting.makers import alert, created_alerts
from refrig_assets_tests.builders import NOW
from refrig_assets_tests.defs.conftest import Plant
from refrig_assets_tests.defs.stream_commits import beat
from refrig_assets_tests.notify.receivers import Hook, web_hook

ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN
Found = tuple[bool, dg.AssetCheckSeverity]


class Duty:
    """Runs things on the instance, ticks the sensors as the daemon does, and sees what arrives."""

    def __init__(self, plant: Plant, hook: Hook) -> None:
        self.plant, self.hook = plant, hook

    def passes(self, span: timedelta) -> None:
        self.plant.now += span

    def run(
        self, assets: list[Any], name: str = "hourly", partition: str | None = None, tags: dict[str, str] | None = None
    ) -> dg.DagsterRun:
        """Run a job of these assets, and tell the run sensors of it."""
        made = dg.Definitions(assets=assets, jobs=[dg.define_asset_job(name)]).resolve_job_def(name)
        result = made.execute_in_process(
            instance=self.plant.instance, raise_on_error=False, partition_key=partition, tags=tags
        )
        run, failed = result.dagster_run, not result.success
        kind = dg.DagsterEventType.RUN_FAILURE if failed else dg.DagsterEventType.RUN_SUCCESS
        (event,) = [e for e in result.all_events if e.event_type == kind]
        resources = {k: v for k, v in self.plant.resources.items() if k in ("lake", "clock")}
        context = dg.build_run_status_sensor_context(
            "notify", event, self.plant.instance, run, resources=resources
        )  # fmt: skip
        if failed:
            notify_run_failures(context.for_run_failure())
        else:
            notify_run_successes(context)
        return run

    def tick(self) -> str:
        result = notify_pass(self.plant.sensor_context())
        if isinstance(result, dg.SkipReason):
            return str(result.skip_message)
        assert isinstance(result, dg.SensorResult)
        for event in result.asset_events:
            self.plant.instance.report_runless_asset_event(event)
        return str(result.skip_reason)

    @property
    def titles(self) -> list[str]:
        self.tick()
        return [c.body["title"] for c in self.hook.calls]


@pytest.fixture
def duty(tmp_path: Path, lake: Lake, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> Any:
    with web_hook() as hook:
        routes = tmp_path / "notify.toml"
        routes.write_text(
            f'storm_above = 100\n[channels.hook]\nurl = "{hook.url()}"\n[[routes]]\nchannels = ["hook"]\nsend = "now"\n'
        )
        monkeypatch.setenv("REFRIG_ROUTES", str(routes))
        monkeypatch.setenv("REFRIG_UI_URL", "http://ui.example")
        yield Duty(Plant(tmp_path, instance, {}, NOW), hook)


def checked(asset: str, found: Callable[[], Found], *, blocking: bool = False, partitions: Any = None) -> Any:
    """An asset whose check finds what it is told to."""

    @dg.asset(
        name=asset, partitions_def=partitions, check_specs=[dg.AssetCheckSpec("key", asset=asset, blocking=blocking)]
    )
    def made() -> dg.MaterializeResult:  # type: ignore[type-arg]
        passed, severity = found()
        result = dg.AssetCheckResult(
            passed=passed, check_name="key", severity=severity, description="3 rows twice",
            metadata={"duplicates": 3, "finding": "3 rows twice"},
        )  # fmt: skip
        return dg.MaterializeResult(check_results=[result])

    return made


def test_a_failed_check_that_stops_nothing_is_told_with_all_that_one_needs(duty: Duty) -> None:
    run = duty.run([checked("device_features", lambda: (False, WARN))])
    assert duty.titles == ["Check key of device_features warns"]
    (call,) = duty.hook.calls
    for part in (
        "Asset: device_features",
        "Finding: 3 rows twice (warning)",
        "Counts: duplicates 3",
        "http://ui.example/assets/device_features?view=checks&checkDetail=key",
        f"http://ui.example/runs/{run.run_id}",
    ):
        assert part in call.body["message"]
    assert call.body["severity"] == "MEDIUM"
    (row,) = duty.plant.lake.table("notifications").read().to_dicts()
    assert (row["kind"], row["subject"]) == ("data_quality", "check:device_features/key")


def test_what_keeps_failing_is_not_told_each_time_and_its_end_is(duty: Duty) -> None:
    for minutes in (5, 5, 5):
        duty.run([checked("device_features", lambda: (False, ERROR))])
        duty.passes(timedelta(minutes=minutes))
    duty.passes(timedelta(hours=24))
    duty.run([checked("device_features", lambda: (False, ERROR))])
    duty.run([checked("device_features", lambda: (True, ERROR))])
    assert duty.titles == [
        "Check key of device_features fails",
        "Check key of device_features still fails",
        "Well again: Check key of device_features",
    ]


NINE, TEN, ELEVEN = (f"2026-03-02-{hour:02}:00" for hour in (9, 10, 11))


def test_each_partition_that_fails_is_told_and_well_is_said_when_all_are(duty: Duty) -> None:
    for hour, passed in ((NINE, False), (TEN, False), (ELEVEN, True), (NINE, True), (TEN, True)):
        duty.run([checked("device_features", lambda passed=passed: (passed, ERROR), partitions=hourly)], partition=hour)
        duty.passes(timedelta(minutes=20))
    assert duty.titles == [
        "Check key of device_features fails",
        "Check key of device_features fails for 1 more partition",
        "Well again: Check key of device_features",
    ]
    first, second, _ = (c.body["message"] for c in duty.hook.calls)
    assert f"Partitions: {NINE}\n" in first
    assert f"Partitions: {TEN}\nNot well since before: {NINE}\n" in second


def test_failed_runs_are_told_with_their_partitions_and_well_when_all_went_through(duty: Duty) -> None:
    broken = True

    @dg.asset(name="clean_sensor_readings", partitions_def=hourly, backfill_policy=dg.BackfillPolicy.single_run())
    def clean() -> None:
        if broken:
            raise RuntimeError("disk full")

    duty.run([clean], partition=NINE)
    over = {"dagster/asset_partition_range_start": TEN, "dagster/asset_partition_range_end": ELEVEN}
    duty.run([clean], tags=over)
    broken = False
    for hour in (NINE, TEN, ELEVEN):
        assert "Well again: Job hourly" not in duty.titles
        duty.run([clean], partition=hour)
    assert duty.titles == [
        "Job hourly fails",
        "Job hourly fails for 2 more partitions",
        "Well again: Job hourly",
    ]
    assert f"Partitions: {TEN}, {ELEVEN}\n" in duty.hook.calls[1].body["message"]


def test_a_check_that_blocks_is_told_and_so_is_what_it_stopped(duty: Duty) -> None:
    stopped = dg.AssetSpec("after", deps=["scores_isolation_forest"])

    @dg.multi_asset(specs=[stopped])
    def after() -> dg.MaterializeResult:  # type: ignore[type-arg]
        return dg.MaterializeResult()

    duty.run([checked("scores_isolation_forest", lambda: (False, ERROR), blocking=True), after], "scores")
    assert sorted(duty.titles) == ["Check key of scores_isolation_forest fails", "Job scores fails"]
    assert set(duty.plant.lake.table("notifications").read()["kind"]) == {"model"}


def test_a_failed_run_is_told_with_its_error_and_that_it_is_well_again(duty: Duty) -> None:
    broken = True

    @dg.asset(name="clean_sensor_readings")
    def clean() -> None:
        if broken:
            raise RuntimeError("disk\nfull")

    run = duty.run([clean])
    broken = False
    duty.run([clean])
    assert duty.titles == ["Job hourly fails", "Well again: Job hourly"]
    said = duty.hook.calls[0].body["message"]
    assert "clean_sensor_readings: RuntimeError: disk full" in said
    assert f"http://ui.example/runs/{run.run_id}" in said
    assert set(duty.plant.lake.table("notifications").read()["kind"]) == {"pipeline_failure"}


def test_a_silent_stream_is_told_once_and_that_it_is_back(duty: Duty) -> None:
    cursor: str | None = None
    for minutes, alive in ((0, True), (10, False), (6, False), (6, True)):
        duty.passes(timedelta(minutes=minutes))
        if alive:
            beat(duty.plant.lake, duty.plant.now)
        result = stream_reported(duty.plant.sensor_context(cursor))
        assert isinstance(result, dg.SensorResult)
        for event in result.asset_events:
            duty.plant.instance.report_runless_asset_event(event)
        cursor = result.cursor
        duty.tick()
    assert sorted(duty.titles) == [
        "Check stream_alive of device_alerts fails",
        "Check stream_alive of raw_sensor_readings fails",
        "Well again: Check stream_alive of device_alerts",
        "Well again: Check stream_alive of raw_sensor_readings",
    ]
    assert set(duty.plant.lake.table("notifications").read()["kind"]) == {"stream"}


def test_alerts_are_sent_where_no_daemon_runs(duty: Duty) -> None:
    append_changes(duty.plant.lake, created_alerts(alert()))
    assert duty.titles == ["CRITICAL: dev-1: compressor draws 55 A"]
    assert len(duty.titles) == 1
    (shown,) = duty.plant.instance.fetch_materializations(dg.AssetKey("notifications"), limit=9).records
    assert shown.asset_materialization is not None
    assert shown.asset_materialization.metadata["attempts_recorded"].value == 1


def test_without_a_routing_file_the_sensors_say_so(duty: Duty, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFRIG_ROUTES", "nowhere.toml")
    assert "no routing file nowhere.toml" in duty.tick()
    duty.run([checked("device_features", lambda: (False, ERROR))])
    assert duty.hook.calls == []


def test_the_sensors_are_there_and_off() -> None:
    found = {s.name: s for s in defs.sensors or ()}
    for name in ("notify", "notify_run_failures", "notify_run_successes"):
        assert found[name].default_status == dg.DefaultSensorStatus.STOPPED
