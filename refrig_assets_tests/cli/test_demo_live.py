"""The demo's live part: comparing alerts with the truth, and the real feed and stream side by side."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from refrig_assets.cli.demo_live import LiveDemo, alert_line, compare, run_once, show_once
from refrig_assets.lake import Lake
from refrig_assets.pipeline.registry import write_registry
from refrig_assets.simulator import Mess, make_fleet, no_faults
from refrig_assets.simulator.acute import LIVE_TRUTH_SCHEMA, Acute, Injector
from refrig_assets.simulator.pace import Sent

START = datetime(2026, 3, 2, 6, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def _truth(*rows: tuple[str, str, str | None, datetime | None]) -> pl.DataFrame:
    columns = ("device_id", "fault", "rule", "crossed_at")
    frame = pl.DataFrame(rows, schema={name: LIVE_TRUTH_SCHEMA[name] for name in columns}, orient="row")
    return frame.with_columns(onset=pl.col("crossed_at") - SECOND * 90)


def _board(*rows: tuple[str, str, datetime, bool]) -> pl.DataFrame:
    names = ["device_id", "rule", "first_detected_at", "suppressed"]
    frame = pl.DataFrame(rows, schema=names, orient="row")
    return frame.with_columns(source=pl.lit("streaming"), title=pl.lit("Compressor overloaded"))


def test_crossings_are_matched_with_their_alerts() -> None:
    truth = _truth(
        ("RF-1", "compressor_seizure", "vibration_spike", START),
        ("RF-1", "compressor_seizure", "compressor_overload", START),
        ("RF-2", "power_loss", "total_cooling_loss", START + SECOND * 60),
        ("RF-3", "valve_hunting", None, None),
    )
    board = _board(
        ("RF-1", "vibration_spike", START, False),
        ("RF-2", "total_cooling_loss", START + SECOND * 120, False),
        ("RF-2", "total_cooling_loss", START + SECOND * 180, True),
        ("RF-9", "acute_pressure_loss", START, False),
    )
    found = compare(truth, board)
    assert (found["crossed"], found["found"]) == (3, 2)
    delays = {(limit["device_id"], limit["rule"]): limit["delay_s"] for limit in found["limits"]}
    assert delays == {
        ("RF-1", "vibration_spike"): 0,
        ("RF-1", "compressor_overload"): None,
        ("RF-2", "total_cooling_loss"): 60,
    }
    assert [alert["device_id"] for alert in found["other_alerts"]] == ["RF-9"]


def test_an_alert_is_shown_with_its_truth_and_its_time() -> None:
    fleet = make_fleet(40, 7, START)
    given = [Acute("power_loss", START + SECOND * 600, "RF-000011")]
    injector = Injector(fleet, no_faults(fleet), 7, START, START + SECOND * 3600, given=given)
    injector.until(START + SECOND * 3600)
    crossed = injector.truth.row(0, named=True)["crossed_at"]
    sent = Sent()
    sent.note(1000.0, 5, 100, int((crossed + SECOND).timestamp() * 1e6))
    alert = {
        "device_id": "RF-000011",
        "rule": "total_cooling_loss",
        "severity": "CRITICAL",
        "title": "No cooling, RF-000011",
        "first_detected_at": crossed,
    }
    line = alert_line(alert, injector, sent, 1002.5)
    assert "CRITICAL No cooling, RF-000011 (injected: power_loss at 06:10:00, limit crossed 06:1" in line
    assert "readable 2.5 s after the event" in line
    stranger = alert_line({**alert, "device_id": "RF-000012"}, injector, sent, 1002.5)
    assert "(not in the truth" in stranger


def test_a_short_live_part_finds_what_was_injected(
    lake: Lake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet = make_fleet(60, 7, START)
    write_registry(lake, fleet.registry)
    live = run_once(tmp_path, lake.uri, fleet, no_faults(fleet), Mess.none(), START)
    assert live["crossed"] >= 6
    assert live["found"] == live["crossed"]
    assert {limit["rule"] for limit in live["limits"]} == {
        "compressor_overload", "vibration_spike", "acute_pressure_loss", "total_cooling_loss",
    }  # fmt: skip
    assert {limit["delay_s"] for limit in live["limits"]} == {0}
    assert live["other_alerts"] == []
    show_once(live)
    assert f"{live['found']} of {live['crossed']} crossings alerted, 0 other alerts" in capsys.readouterr().out


def test_beside_the_ui_alerts_are_shown_as_they_come(
    lake: Lake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begin = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=40)
    fleet = make_fleet(60, 7, begin.replace(minute=0))
    write_registry(lake, fleet.registry)
    live = LiveDemo(tmp_path, lake.uri, fleet, no_faults(fleet), Mess.none(), begin, 30.0, {})
    shown, until = "", time.monotonic() + 120

    def alive() -> bool:
        nonlocal shown
        shown += capsys.readouterr().out
        return "injected:" not in shown and time.monotonic() < until

    live.watch(alive)
    assert "CRITICAL" in shown, (tmp_path / "stream.log").read_text()
    assert "limit crossed" in shown
