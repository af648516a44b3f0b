"""Schedules, sensors and automation conditions, each on a real instance, through to the tables."""

import shutil
from datetime import timedelta

import dagster as dg
import polars as pl
import pytest

from refrig_assets.contracts import CLEAN_READINGS, DEVICE_FEATURES, QUARANTINE_READINGS, RAW_READINGS
from refrig_assets.definitions import defs
from refrig_assets.defs.asked import RANGE_END, RANGE_START
from refrig_assets.defs.partitions import hour_key
from refrig_assets.defs.schedules import closed_day, closed_hour, running_hour
from refrig_assets.defs.sensors import landing_files_arrived, late_data, registry_changed
from refrig_assets.lake import HOUR
from refrig_assets_tests.defs.conftest import HOURS, START, Plant


def _requests(result: object) -> list[dg.RunRequest]:
    assert isinstance(result, dg.SensorResult), result
    return list(result.run_requests or [])


def _run(plant: Plant, request: dg.RunRequest) -> None:
    """Do what the daemon would with a request."""
    job = defs.resolve_job_def(request.job_name or "hourly")
    assert job.execute_in_process(
        instance=plant.instance, tags=dict(request.tags), partition_key=request.partition_key, resources=plant.resources
    ).success


@pytest.mark.parametrize(
    ("schedule", "minute", "partition"),
    [(running_hour, 5, "2026-03-10-07:00"), (closed_hour, 3, "2026-03-10-06:00"), (closed_day, 3, "2026-03-09")],
)
def test_schedules_ask_for_the_right_partition(schedule: dg.ScheduleDefinition, minute: int, partition: str) -> None:
    tick = START + HOUR + timedelta(minutes=minute)
    request = schedule(dg.build_schedule_context(scheduled_execution_time=tick))
    assert isinstance(request, dg.RunRequest)
    assert request.partition_key == partition


def test_the_closed_hours_request_makes_the_hour(plant: Plant) -> None:
    plant.run("registry")
    plant.now = START + HOUR + timedelta(minutes=3)
    request = closed_hour(dg.build_schedule_context(scheduled_execution_time=plant.now))
    assert isinstance(request, dg.RunRequest)
    _run(plant, request)
    assert plant.lake.table(DEVICE_FEATURES).read()["window_start"].min() == START


def test_arrived_files_are_landed_once(plant: Plant) -> None:
    plant.run("registry")
    requests = _requests(landing_files_arrived(plant.sensor_context()))
    assert [(r.tags[RANGE_START], r.tags[RANGE_END]) for r in requests] == [
        (hour_key(START), hour_key(START + (HOURS - 1) * HOUR))
    ]
    assert [r.run_key for r in _requests(landing_files_arrived(plant.sensor_context()))] == [requests[0].run_key]
    _run(plant, requests[0])
    assert isinstance(landing_files_arrived(plant.sensor_context()), dg.SkipReason)
    late = plant.landing / f"{START:%Y-%m-%d}" / f"{START:%H}" / "gateway-99.ndjson"
    late.write_text(
        f'{{"event_id":"late","device_id":"x","timestamp":"{START.isoformat()}","timestamp_ingested":"{START.isoformat()}","readings":{{"humidity":40}}}}\n'
    )
    (again,) = _requests(landing_files_arrived(plant.sensor_context()))
    assert again.tags[RANGE_START] == again.tags[RANGE_END] == hour_key(START)
    assert again.run_key != requests[0].run_key


def test_late_data_refreshes_the_right_windows_and_only_those(plant: Plant) -> None:
    plant.backfill()
    assert isinstance(late_data(plant.sensor_context()), dg.SkipReason)
    before = plant.lake.table(DEVICE_FEATURES).read().sort(DEVICE_FEATURES.key)
    device = before["device_id"][0]
    minute, arrived = START + timedelta(minutes=20, seconds=7), START + 3 * HOUR + timedelta(minutes=10)
    plant.lake.table(RAW_READINGS).append(
        RAW_READINGS.conform(
            pl.DataFrame(
                {
                    "event_id": ["late-1"],
                    "device_id": [device],
                    "timestamp_device": [minute],
                    "timestamp_ingested": [arrived],
                    "temperature_ambient": [59.0],
                    "_partition_key": [device],
                    "_sequence_number": [1],
                }
            )
        )
    )
    plant.run("hourly", START + 3 * HOUR, hours=1)
    (request,) = _requests(late_data(plant.sensor_context()))
    assert request.job_name == "features"
    assert request.tags[RANGE_START] == request.tags[RANGE_END] == hour_key(START)
    _run(plant, request)
    after = plant.lake.table(DEVICE_FEATURES).read().sort(DEVICE_FEATURES.key)
    changed = after.join(before, on=after.columns, how="anti", nulls_equal=True)
    windows = (
        changed.select("device_id", "window_start", "window_duration_minutes").sort("window_duration_minutes").rows()
    )
    assert windows == [(device, START + timedelta(minutes=15), 15), (device, START, 60)]
    assert after.height == before.height
    assert isinstance(late_data(plant.sensor_context()), dg.SkipReason)


def test_a_duplicate_hours_later_flags_the_row_that_was_kept(plant: Plant) -> None:
    plant.backfill()
    kept = plant.lake.table(RAW_READINGS).read(START, START + HOUR).sort("_sequence_number").head(1)
    again = kept.with_columns(pl.col("timestamp_ingested") + timedelta(hours=2), pl.col("_sequence_number") + (1 << 40))
    plant.lake.table(RAW_READINGS).append(again)
    plant.run("hourly", START + 2 * HOUR, hours=1)
    requests = _requests(late_data(plant.sensor_context()))
    assert (START.strftime("%H"), "clean_and_features") in {(r.tags[RANGE_START][11:13], r.job_name) for r in requests}
    for request in requests:
        _run(plant, request)
    event = kept["event_id"][0]
    rows = plant.lake.table(CLEAN_READINGS).read().filter(pl.col("event_id") == event)
    assert rows.height == 1
    assert "DUPLICATE_REMOVED" in rows["quality_flags"][0]
    assert isinstance(late_data(plant.sensor_context()), dg.SkipReason)


def test_a_changed_registry_is_read_and_its_devices_released(plant: Plant) -> None:
    path = plant.root / "registry.parquet"
    whole = pl.read_parquet(path)
    whole[1:].write_parquet(path)
    plant.backfill()
    missing = whole["device_id"][0]
    assert missing in plant.lake.table(QUARANTINE_READINGS).read()["device_id"]
    first = registry_changed(plant.sensor_context())
    assert [r.job_name for r in _requests(first)] == ["registry"]
    assert isinstance(first, dg.SensorResult)
    assert isinstance(registry_changed(plant.sensor_context(first.cursor)), dg.SkipReason)
    whole.write_parquet(path)
    (reading,) = _requests(registry_changed(plant.sensor_context(first.cursor)))
    _run(plant, reading)
    released = _requests(registry_changed(plant.sensor_context("any")))
    for request in [r for r in released if r.job_name == "clean_and_features"]:
        _run(plant, request)
    assert missing not in plant.lake.table(QUARANTINE_READINGS).read()["device_id"]
    assert missing in plant.lake.table(CLEAN_READINGS).read()["device_id"]


@pytest.mark.parametrize(
    ("minutes", "passed", "severity"), [(4, True, "ERROR"), (10, False, "WARN"), (20, False, "ERROR")]
)
def test_freshness_warns_and_then_fails(plant: Plant, minutes: int, passed: bool, severity: str) -> None:
    plant.backfill()
    newest = plant.lake.table(RAW_READINGS).read()["timestamp_ingested"].max()
    plant.now = newest + timedelta(minutes=minutes)  # type: ignore[operator]
    judged = [e for e in plant.run("freshness").get_asset_check_evaluations() if e.check_name == "freshness"]
    found = {e.asset_key.to_user_string(): e for e in judged}
    assert found["raw_sensor_readings"].passed is passed
    assert found["raw_sensor_readings"].severity.value == severity or passed


def test_automation_waits_for_blocking_checks(plant: Plant) -> None:
    from deltalake.schema import Field, PrimitiveType

    plant.run("registry")
    result = dg.evaluate_automation_conditions(defs, plant.instance, evaluation_time=plant.now)
    plant.lake.table(RAW_READINGS).open().alter.add_columns([Field("temperature_lid", PrimitiveType("double"))])
    plant.run("hourly", START, raise_on_error=False)
    result = dg.evaluate_automation_conditions(
        defs, plant.instance, evaluation_time=plant.now + timedelta(minutes=1), cursor=result.cursor
    )
    assert result.get_num_requested(dg.AssetKey("clean_sensor_readings")) == 0


def test_a_landing_folder_that_is_gone_is_nothing_to_do(plant: Plant) -> None:
    shutil.rmtree(plant.landing)
    assert isinstance(landing_files_arrived(plant.sensor_context()), dg.SkipReason)
