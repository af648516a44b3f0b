"""Board, incidents, work orders and reports as Dagster shows them, materialised on a real instance."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from refrig_assets.contracts import DEVICE_REGISTRY, INCIDENTS, WORK_ORDERS
from refrig_assets.definitions import defs
from refrig_assets.defs.partitions import hour_key
from refrig_assets.defs.schedules import closed_day_digest, hourly_report
from refrig_assets.lake import Lake
from refrig_assets.pipeline.alert_log import append_changes
from refrig_assets_tests.alerting.makers_board import found, log_of, raised
from refrig_assets_tests.builders import HOUR, NOW, at, registry_of
from refrig_assets_tests.defs.conftest import Plant


@pytest.fixture
def plant(tmp_path: Path, lake: Lake, instance: dg.DagsterInstance) -> Plant:
    """A site of ten devices, six of which leak at once, one of which is about to fail, and one that just did."""
    lake.table(DEVICE_REGISTRY).replace_all(registry_of([f"dev-{n}" for n in range(10)], site_name="Harbour"))
    leaks = [found(f"dev-{n}", n, incident_id="leaks") for n in range(6)]
    worst = found("dev-7", 20, severity="HIGH", failure_mode="bearing_wear", work_order_at=at(20), hours_left=9.0)
    append_changes(lake, log_of(*leaks, worst, raised("dev-8", 50)))
    return Plant(tmp_path, instance, {}, NOW)


def shown(plant: Plant, asset: str, partition: str | None = None) -> dict[str, Any]:
    records = plant.instance.fetch_materializations(dg.AssetKey(asset), limit=9, ascending=False).records
    events = [r.asset_materialization for r in records if r.partition_key == partition]
    assert events[0] is not None
    tables = (dg.TableMetadataValue,)
    return {
        name: [dict(r.data) for r in value.records] if isinstance(value, tables) else value.value
        for name, value in events[0].metadata.items()
    }


def test_board_incidents_and_work_orders_are_shown_and_judged(plant: Plant) -> None:
    result = plant.run("publish_alerts")
    checks = {(e.asset_key.to_user_string(), e.check_name): e.passed for e in result.get_asset_check_evaluations()}
    assert {name for (asset, name) in checks if asset == "alert_board"} == {
        "schema", "key", "ranges", "log_key", "duplicates", "deadlines", "silenced", "promptness", "last_level",
    }  # fmt: skip
    assert [name for name, passed in checks.items() if not passed] == [("alert_board", "deadlines")]  # dev-8's, at 80
    board = shown(plant, "alert_board")
    assert (board["standing"], board["standing_critical"], board["deadline_breached"]) == (8, 1, 1)
    assert [r["device"] for r in board["most_urgent"]][:2] == ["dev-8", "dev-7"]
    assert board["by_severity"][0] == {
        "severity": "CRITICAL",
        "OPEN": 1,
        "ACKNOWLEDGED": 0,
        "IN_PROGRESS": 0,
        "all": 1,
    }
    assert board["by_site"][0]["site"] == "Harbour (site-1)"
    assert board["board"].startswith("![standing alerts](data:image/png;base64,")
    assert "## Most urgent" in board["board"]
    assert len(board["board"]) < 40_000  # each minute's lies in the event log

    incidents, orders = shown(plant, INCIDENTS.name), shown(plant, WORK_ORDERS.name)
    assert (incidents["open"], incidents["closed"], incidents["largest"]) == (1, 0, 6)
    assert "refrigerant leak on 6 of 10" in incidents["incidents"][0]["title"]
    assert (orders["open"], orders["urgent"], orders["done"], orders["overdue"]) == (2, 1, 0, 0)
    assert [r["device_id"] for r in orders["next_due"]] == ["dev-8", "dev-7"]
    assert "- Seen: superheat high" in orders["page"]
    assert "look at what they share" in incidents["page"]


def test_two_that_stand_for_one_failure_stop_what_is_made_of_the_board(plant: Plant) -> None:
    append_changes(plant.lake, log_of(found("dev-1", 40)))
    result = plant.run("publish_alerts", raise_on_error=False)
    failed = {e.check_name: e for e in result.get_asset_check_evaluations() if not e.passed}
    assert failed["duplicates"].blocking
    assert not result.success
    assert plant.instance.get_latest_materialization_event(dg.AssetKey("work_orders")) is None


def test_a_board_without_alerts(tmp_path: Path, lake: Lake, instance: dg.DagsterInstance) -> None:
    empty = Plant(tmp_path, instance, {}, NOW)
    result = empty.run("publish_alerts")
    assert all(e.passed for e in result.get_asset_check_evaluations())
    assert shown(empty, "alert_board")["standing"] == 0


def test_each_hours_report_and_each_days_digest(plant: Plant) -> None:
    result = plant.run("report", HOUR, hours=2)
    assert result.success
    files = plant.root / "reports"
    assert {f.name for f in files.iterdir()} == {"2026-03-02-10.md", "2026-03-02-11.md"}
    told = shown(plant, "fleet_report", hour_key(HOUR))
    assert told["report"] == (files / "2026-03-02-10.md").read_text(encoding="utf-8")
    assert (told["alerts_new"], told["alerts_standing"], told["failures_expected"]) == (8, 8, 1)
    assert shown(plant, "fleet_report", hour_key(HOUR + timedelta(hours=1)))["alerts_new"] == 0

    plant.run("digest", HOUR.replace(hour=0), hours=24)
    told = shown(plant, "daily_digest", "2026-03-02")
    assert told["digest"] == (files / "2026-03-02.md").read_text(encoding="utf-8")
    assert (told["failures"], told["failures_warned"]) == (1, 0)
    assert "false_share" not in told


def test_schedules_ask_for_what_has_just_closed() -> None:
    for schedule, tick, key in (
        (hourly_report, datetime(2026, 3, 2, 11, 20, tzinfo=UTC), "2026-03-02-10:00"),
        (closed_day_digest, datetime(2026, 3, 3, 0, 45, tzinfo=UTC), "2026-03-02"),
    ):
        request = schedule(dg.build_schedule_context(scheduled_execution_time=tick))
        assert isinstance(request, dg.RunRequest)
        assert request.partition_key == key
        assert (
            defs.resolve_schedule_def(schedule.name).cron_schedule == f"{tick.minute} {'*' if tick.hour else 0} * * *"
        )
