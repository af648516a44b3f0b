"""The demo: its staged faults, what it says was found, its lanes, and the whole of it on a small fleet."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import psutil
import pytest
from click.testing import CliRunner

from refrig_assets.alerting.changes import log_rows
from refrig_assets.cli import main
from refrig_assets.cli.demo import _make, _prepare, _show
from refrig_assets.cli.demo_found import compare_history
from refrig_assets.cli.demo_history import _RunningAhead
from refrig_assets.cli.demo_plan import DemoSpec, demo_plan
from refrig_assets.contracts import ALERT_BOARD, DEVICE_ALERTS, DEVICE_TRENDS, MODEL_SCORES
from refrig_assets.contracts.scoring import DETECTORS
from refrig_assets.lake import Lake
from refrig_assets.models.registry import Registry
from refrig_assets.simulator.faults import BY_NAME
from refrig_assets.simulator.plan import TRUTH_SCHEMA
from refrig_assets_tests.alerting.makers import alert, created_alerts

END = datetime(2026, 3, 23, 9, tzinfo=UTC)
HOURS = timedelta(hours=1)
SPEC = DemoSpec(devices=300, hours=21 * 24, seed=7, end=END)


# -- what is staged ----------------------------------------------------------------------------------------------------


def test_the_parts_cover_the_history_and_stop_where_training_ends() -> None:
    parts = SPEC.parts
    assert parts[0][0] == SPEC.start
    assert parts[-1][1] == END
    assert [end for _, end in parts[:-1]] == [start for start, _ in parts[1:]]
    assert SPEC.trained_until in [end for _, end in parts]
    assert SPEC.trained_until.hour == 0
    assert SPEC.trained_until - SPEC.start == timedelta(days=13, hours=15)


@pytest.mark.parametrize("hour", range(24))
def test_the_shortest_history_still_trains_and_scores(hour: int) -> None:
    spec = DemoSpec(devices=20, hours=72, seed=1, end=END.replace(hour=hour))
    assert spec.trained_until - spec.start >= timedelta(hours=36)
    assert END.replace(hour=hour) - spec.trained_until >= timedelta(hours=12)


def test_faults_are_staged_for_what_the_demo_has_to_show() -> None:
    fleet = SPEC.fleet()
    truth = demo_plan(fleet, SPEC).truth
    assert truth["device_id"].n_unique() == truth.height
    fails = pl.col("is_gradual") & pl.col("failure_time").is_not_null()
    scored = truth.filter(fails & pl.col("failure_time").is_between(SPEC.trained_until, END))
    assert scored.height == 10
    assert scored["failure_time"].min() > SPEC.trained_until + 12 * HOURS  # type: ignore[operator]
    coming = truth.filter(fails & (pl.col("failure_time") > END))
    assert coming.height == 6
    assert coming["onset"].max() < END  # type: ignore[operator]
    assert truth.filter(fails & (pl.col("failure_time") < SPEC.trained_until)).height == 5
    others = truth.filter(~fails & (pl.col("fault") != "power_loss"))
    assert set(others["fault"]) >= {"valve_hunting", "liquid_slugging", "compressor_seizure", "sensor_drift"}
    dark = truth.filter(fault="power_loss").join(fleet.registry, on="device_id")
    assert dark.height == 20
    assert dark["site_id"].n_unique() == dark["onset"].n_unique() == 1


def test_a_fleet_of_one_site_is_spared_the_outage() -> None:
    spec = DemoSpec(devices=20, hours=72, seed=1, end=END)
    truth = demo_plan(spec.fleet(), spec).truth
    assert "power_loss" not in set(truth["fault"])
    assert truth.filter(pl.col("failure_time") > END).height >= 1


# -- what was found ----------------------------------------------------------------------------------------------------


def _fault(device: str, fault: str, onset: float, fails: float | None, ended: float) -> dict[str, Any]:
    """Times in hours before the end."""
    kind = BY_NAME[fault]
    return {
        "device_id": device, "fault": fault, "is_machine_fault": kind.is_machine_fault, "is_gradual": kind.is_gradual,
        "onset": END - onset * HOURS, "failure_time": None if fails is None else END - fails * HOURS,
        "ended_at": END - ended * HOURS, "severity": 0.8, "sensor": None,
    }  # fmt: skip


def _alert(device: str, before: float, severity: str = "MEDIUM", **more: Any) -> dict[str, Any]:
    """A batch alert of a window that ended so many hours before the end, on the full hour, known five minutes later."""
    seen = END - before * HOURS
    told = {"source": "batch", "rule": None, "failure_mode": None, "severity": severity, "last_seen_at": seen}
    return alert(device, seen, **told, alert_created_at=seen + timedelta(minutes=5)) | more


TRUTH = pl.DataFrame(
    [
        _fault("early", "bearing_wear", 60, 10, 4),
        _fault("late", "condenser_fouling", 60, 10, 4),
        _fault("coming", "refrigerant_leak_slow", 40, -20, -30),
        _fault("missed", "evaporator_icing", 60, 20, 10),
        _fault("probe", "sensor_drift", 50, None, -90),
        _fault("dark-1", "power_loss", 8, 7.5, 5),
        _fault("dark-2", "power_loss", 8, 7.5, 5),
    ],
    schema=TRUTH_SCHEMA,
)
DEVICES = pl.Series("device_id", ["early", "late", "coming", "missed", "probe", "dark-1", "dark-2", "well"])


def _log() -> pl.DataFrame:
    early, well = _alert("early", 34, failure_mode="unknown"), _alert("well", 30, "HIGH")
    first = created_alerts(
        early,
        _alert("late", 9, "CRITICAL", failure_mode="power_loss"),
        _alert(
            "coming", 12, failure_mode="refrigerant_leak", hours_left=30.0, hours_left_low=9.0, hours_left_high=50.0
        ),
        _alert("probe", 20, failure_mode="bearing_wear"),
        _alert("dark-1", 7, "CRITICAL", failure_mode="power_loss", incident_id="dark"),
        _alert("dark-2", 7, "CRITICAL", failure_mode="power_loss", incident_id="dark"),
        well,
        _alert("well", 20, suppressed=True),
        actor="batch",
    )
    told = [
        ("diagnosed", 20, {"failure_mode": "bearing_wear"}),
        ("escalated", 12, {"severity": "HIGH"}),
        ("diagnosed", 9, {"failure_mode": "power_loss"}),
    ]
    later = [
        log_rows([{"alert_id": early["alert_id"], "changed_at": END - h * HOURS, **what}], change, "batch", str(h))
        for change, h, what in told
    ]
    return pl.concat([first, *later])


def test_faults_are_told_with_what_was_found_of_them() -> None:
    found = compare_history(_log(), TRUTH, DEVICES, END - 72 * HOURS, END)
    by_device = {f["device_id"]: f for f in found["faults"]}
    early = by_device["early"]
    assert early["lead_h"] == pytest.approx(24 - 5 / 60)
    # What is said of a machine that stands still comes too late to count.
    assert (early["highest"], early["diagnosis"], early["right"]) == ("HIGH", "bearing_wear", True)
    assert by_device["late"]["lead_h"] < 0
    assert (by_device["late"]["diagnosis"], by_device["late"]["right"]) == ("power_loss", False)
    assert by_device["coming"]["hours_left_high"] == 50
    assert by_device["missed"]["found_at"] is None
    assert by_device["probe"]["right"] is False
    sums = {k: found[k] for k in ("failed", "failed_found_before", "failed_found_12h_before", "coming", "coming_found")}
    assert sums == {
        "failed": 3, "failed_found_before": 1, "failed_found_12h_before": 1, "coming": 1, "coming_found": 1,
    }  # fmt: skip


def test_a_site_in_the_dark_is_one_row() -> None:
    found = compare_history(_log(), TRUTH, DEVICES, END - 72 * HOURS, END)
    (dark,) = [f for f in found["faults"] if f["fault"] == "power_loss"]
    assert (dark["devices"], dark["devices_found"], dark["incidents"], dark["right"]) == (2, 2, 1, True)


def test_false_alarms_are_those_without_a_fault_or_of_telemetry_taken_for_a_machine() -> None:
    false = compare_history(_log(), TRUTH, DEVICES, END - 72 * HOURS, END)["false_alarms"]
    assert (false["high_or_above"], false["medium_or_above"]) == (1, 2)
    assert {(a["device_id"], a["fault"]) for a in false["alerts"]} == {("well", None), ("probe", "sensor_drift")}
    assert false["device_days"] < 8 * 3
    assert false["high_per_1000_device_days"] == pytest.approx(1000 / false["device_days"], rel=0.01)


def test_without_alerts_everything_is_missed() -> None:
    found = compare_history(DEVICE_ALERTS.empty(), TRUTH, DEVICES, END - 72 * HOURS, END)
    assert all(f["found_at"] is None for f in found["faults"])
    assert found["lead_median_h"] is None
    assert found["false_alarms"]["alerts"] == []


# -- lanes -------------------------------------------------------------------------------------------------------------


def test_what_runs_ahead_keeps_its_order_and_fails_where_it_is_taken() -> None:
    def items() -> Iterator[int]:
        yield from range(3)
        raise ValueError("the fourth is broken")

    ahead = _RunningAhead(items())
    assert [next(ahead) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="the fourth"):
        next(ahead)


# -- the whole ---------------------------------------------------------------------------------------------------------


def test_a_small_demo_runs_from_messages_to_alerts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = DemoSpec(devices=20, hours=48, seed=7, end=datetime(2026, 3, 4, 12, tzinfo=UTC))
    home = tmp_path / "demo"
    environment = _prepare(home, spec.start)
    children = {p.pid for p in psutil.Process().children(recursive=True)}
    document, _ = _make(spec, 1.0, 0.0, home, environment, once=True)

    lake = Lake(environment["REFRIG_LAKE"])
    assert document["counted"]["lines"] == document["sent"]["lines"]
    assert lake.table(DEVICE_TRENDS).read(spec.end - HOURS, spec.end).height == 20
    registry = Registry(environment["REFRIG_MODELS"])
    assert all(registry.plan(model).champion == "1" for model in DETECTORS)
    scored = lake.table(MODEL_SCORES).scan(spec.trained_until, spec.end).select("model_id").unique().collect()
    assert {"statistical_baseline", "isolation_forest", "autoencoder", "dbscan_cohort"} <= set(scored["model_id"])
    history = document["history"]
    assert history["machine_faults_found"] >= 1
    assert set(lake.table(ALERT_BOARD).read()["source"]) == {"batch", "streaming"}
    assert document["live"]["found"] == document["live"]["crossed"] >= 4
    assert not [c["check"] for c in document["checks"] if not c["passed"] and "/freshness" in c["check"]]
    assert list((home / "reports").glob("*.md"))

    _show(document | {"wall_seconds": 0.0}, home, "http://localhost:3000")
    told = capsys.readouterr().out
    assert "Faults injected, and what was found" in told
    assert "refrig alerts list" in told
    left = [p.cmdline() for p in psutil.Process().children(recursive=True) if p.pid not in children]
    assert [c for c in left if "resource_tracker" not in " ".join(c)] == []


def test_an_interrupted_demo_leaves_nothing_running(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "refrig_assets.cli", "demo", "--devices", "20", "--days", "3", "--once"]
    with (tmp_path / "log").open("w") as log:
        command += ["--dir", str(tmp_path / "demo")]
        demo = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        process, until = psutil.Process(demo.pid), time.monotonic() + 60
        while len(process.children()) < 3 and demo.poll() is None and time.monotonic() < until:  # two and their tracker
            time.sleep(0.1)
        helpers = process.children(recursive=True)
        os.kill(demo.pid, signal.SIGTERM)
        assert demo.wait(30) != 0
    assert len(helpers) >= 2, (tmp_path / "log").read_text()
    _, alive = psutil.wait_procs(helpers, timeout=20)
    assert alive == []


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("dear")
    with pytest.raises(ValueError, match="holds something else than a demo"):
        _prepare(tmp_path, END)
    assert (tmp_path / "thesis.txt").read_text() == "dear"


def test_one_document_goes_with_once(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["demo", "--json", "--dir", str(tmp_path / "demo")])
    assert result.exit_code == 2
    assert "goes with --once" in result.output
    assert not (tmp_path / "demo").exists()
