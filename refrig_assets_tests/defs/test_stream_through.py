"""From messages in a spool through the real stream to what Dagster shows of it, and to the board."""

import subprocess
import sys
from pathlib import Path

import dagster as dg
import polars as pl

from refrig_assets.contracts import ALERT_BOARD, DEAD_LETTER, DEVICE_ALERTS, RAW_READINGS
from refrig_assets.defs.sensors import alert_log_changed, stream_reported
from refrig_assets_tests.builders import NOW
from refrig_assets_tests.defs.conftest import Plant
from refrig_assets_tests.streaming.harness import ROOT, Spool, devices, minute_of, stocked
from streaming.settings import StreamSettings

MINUTES = 75


def test_what_the_stream_did_alone_is_shown_afterwards(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    names = devices(8)
    lake, spool = stocked(tmp_path / "lake", names), Spool(tmp_path / "spool")
    for minute in range(MINUTES):
        spool.append(minute_of(names, minute))
    settings = StreamSettings(lake=lake.uri, source=str(spool.path), until_eof=True)
    command = [sys.executable, "-m", "refrig_assets_tests.streaming.run_stream", settings.to_json()]
    assert subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0

    plant = Plant(tmp_path, instance, {}, NOW)
    result = stream_reported(plant.sensor_context())
    assert isinstance(result, dg.SensorResult)
    for event in result.asset_events:
        instance.report_runless_asset_event(event)
    landed = instance.fetch_materializations(dg.AssetKey("raw_sensor_readings"), limit=10).records
    told = [r.asset_materialization.metadata for r in landed if r.asset_materialization is not None]
    raw = lake.table(RAW_READINGS).read()
    assert sum(t["rows_landed"].value for t in told) == raw.height  # type: ignore[misc]
    assert sum(t["dagster/partition_row_count"].value for t in told) == raw.height  # type: ignore[misc]
    assert sum(t["messages"].value for t in told) == spool.messages()  # type: ignore[misc]
    assert sum(t["dead_letters"].value for t in told) == lake.table(DEAD_LETTER).read().height  # type: ignore[misc]
    assert {r.partition_key for r in landed} == {
        f"{h:%Y-%m-%d-%H:00}" for h in raw["timestamp_ingested"].dt.truncate("1h")
    }

    log = lake.table(DEVICE_ALERTS).read()
    (raised,) = instance.fetch_materializations(dg.AssetKey("device_alerts"), limit=10).records
    assert raised.asset_materialization is not None
    assert raised.asset_materialization.metadata["changes"].value == log.height
    assert raised.asset_materialization.metadata["alerts_raised"].value == (log["change"] == "created").sum()
    assert set(log["rule"].drop_nulls()) >= {"compressor_overload", "acute_pressure_loss", "total_cooling_loss"}

    (check,) = instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(dg.AssetKey("raw_sensor_readings"), "stream_alive"), limit=10
    )
    assert check.status.value == "FAILED"
    assert "stopped" in ((check.evaluation and check.evaluation.description) or "")

    assert isinstance(alert_log_changed(plant.sensor_context()), dg.SensorResult)
    assert plant.run("publish_alerts").success
    board = lake.table(ALERT_BOARD).read()
    assert set(board["alert_id"]) == set(log.filter(pl.col("change") == "created")["alert_id"])
