"""An hour's alerts on real tables: once, in order, from the scores that may speak, and whole after a kill."""

import random
import shutil
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from refrig_assets.alerting.changes import operator_action
from refrig_assets.contracts import DEVICE_ALERTS, DEVICE_REGISTRY, MAINTENANCE_EVENTS, MODEL_SCORES
from refrig_assets.contracts.scoring import HOURLY_DETECTORS, RULES_FALLBACK
from refrig_assets.lake import Lake
from refrig_assets.pipeline import alerting as alerting_module
from refrig_assets.pipeline import diagnosing
from refrig_assets.pipeline.alert_log import append_changes, current_board
from refrig_assets.pipeline.alerting import Alerting, AlertReport, alert_hour
from refrig_assets.pipeline.mutes import add_mute
from refrig_assets_tests.alerting.test_severity import frame, score
from refrig_assets_tests.builders import HOUR, ONE_HOUR, registry_of
from refrig_assets_tests.pipeline.make_alerts import judge
from refrig_assets_tests.pipeline.scored_lake import Source

NOW = HOUR + timedelta(minutes=65)
NOBODY = Source(champion=None)
DEVICES = [f"dev-{n}" for n in range(6)]
_ROOT = Path(__file__).parents[2]


def scored(
    lake: Lake, start: datetime, hours: int, high: dict[str, float], models: tuple[str, ...] = HOURLY_DETECTORS
) -> None:
    """Every quarter of the hours all devices are scored, low but for those named."""
    if not lake.table(DEVICE_REGISTRY).read().height:
        lake.table(DEVICE_REGISTRY).replace_all(registry_of(DEVICES))
    for hour in range(hours):
        rows = [
            score(model, high.get(device, 0.2), device_id=device, top_contributors=["superheat_mean"],
                  start=start + hour * ONE_HOUR + quarter * timedelta(minutes=15))
            for device in DEVICES for quarter in range(4) for model in models
        ]  # fmt: skip
        lake.table(MODEL_SCORES).append(frame(*rows))


def told(lake: Lake) -> pl.DataFrame:
    return current_board(lake).filter(~pl.col("suppressed"))


def test_an_hour_is_judged_once_however_often_it_is_asked_for(lake: Lake) -> None:
    scored(lake, HOUR, 1, {"dev-1": 0.9, "dev-2": 0.65})
    report = alert_hour(lake, NOBODY, HOUR, NOW)
    assert report.by_severity == {"LOW": 1, "MEDIUM": 1}
    assert (report.windows, report.devices) == (48, 6)
    assert dict(told(lake).select("device_id", "severity").iter_rows()) == {
        "dev-1": "HIGH",
        "dev-2": "LOW",
    }  # no failure looks like this
    version = lake.table(DEVICE_ALERTS).version
    again = alert_hour(lake, NOBODY, HOUR, NOW + timedelta(minutes=10))
    assert again.written == 0
    assert lake.table(DEVICE_ALERTS).version == version
    assert current_board(lake)["anomaly_score"].max() == 0.9


def test_one_that_is_kept_sees_what_others_wrote(lake: Lake) -> None:
    scored(lake, HOUR, 2, {"dev-1": 0.9})
    alerting = Alerting(lake, NOBODY)
    alerting.hour(HOUR, NOW)
    alert = told(lake)["alert_id"].item()
    append_changes(lake, operator_action(alert, "false_positive", "ann", NOW))
    alerting.hour(HOUR + ONE_HOUR, NOW + ONE_HOUR)
    assert told(lake)["status"].to_list() == ["FALSE_POSITIVE"]
    assert current_board(lake).filter("suppressed")["suppressed_by"].unique().to_list() == [alert]


def test_a_registry_that_was_lost_ends_no_alert(lake: Lake) -> None:
    scored(lake, HOUR, 2, {"dev-1": 0.9})
    alert_hour(lake, NOBODY, HOUR, NOW)
    lake.table(DEVICE_REGISTRY).replace_all(DEVICE_REGISTRY.empty())
    alert_hour(lake, NOBODY, HOUR + ONE_HOUR, NOW + ONE_HOUR)
    assert told(lake)["status"].to_list() == ["OPEN"]


def test_hours_long_past_are_told_as_of_their_end(lake: Lake) -> None:
    scored(lake, HOUR, 1, {"dev-1": 0.9})
    report = alert_hour(lake, NOBODY, HOUR, HOUR + timedelta(days=9))
    assert report.judged_at == HOUR + timedelta(minutes=65)
    assert told(lake)["alert_created_at"].to_list() == [report.judged_at]


@pytest.mark.parametrize(
    ("minutes_late", "source", "alerts"), [(30, "batch", 1), (150, "fallback", 1), (300, "stream", 0)]
)
def test_who_speaks_follows_from_the_age_of_the_scores(lake: Lake, minutes_late: int, source: str, alerts: int) -> None:
    scored(lake, HOUR, 1, {"dev-1": 0.9})
    hour = HOUR + timedelta(hours=minutes_late // 60)
    if source == "fallback":
        rules = [
            score(RULES_FALLBACK, 0.0, flag=True, device_id="dev-3", start=hour + n * timedelta(minutes=15),
                  top_contributors=["temp_evaporator_mean"])
            for n in range(2)
        ]  # fmt: skip
        lake.table(MODEL_SCORES).append(frame(*rules))
    report = alert_hour(lake, NOBODY, hour, HOUR + timedelta(minutes=60 + minutes_late))
    assert report.source == source
    found = told(lake)
    assert found.height == alerts
    if source == "fallback":
        assert found.select("device_id", "source", "severity").rows() == [("dev-3", "fallback", "LOW")]
        assert "rules on features" in found["description"].item()


def test_a_machine_restarted_within_the_hour_is_diagnosed_by_what_came_before(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored(lake, HOUR, 1, {"dev-2": 0.9})
    repaired = HOUR + timedelta(minutes=35)
    event = {
        "event_id": "e-1", "device_id": "dev-2", "event_type": "corrective", "scheduled_date": HOUR,
        "completed_date": repaired, "work_description": "bearing replaced", "parts_replaced": ["bearing"],
    }  # fmt: skip
    lake.table(MAINTENANCE_EVENTS).append(MAINTENANCE_EVENTS.conform(pl.DataFrame([event])))
    asked: list[pl.DataFrame] = []

    def diagnose(of: Lake, registry: Source, windows: pl.DataFrame) -> pl.DataFrame:
        asked.append(windows)
        return diagnosing.diagnose(of, registry, windows)

    monkeypatch.setattr(alerting_module, "diagnose", diagnose)
    alert_hour(lake, NOBODY, HOUR, NOW)
    assert pl.concat(asked).select("device_id", "window_end").rows() == [("dev-2", HOUR + timedelta(minutes=30))]


def test_mutes_and_fresh_repairs_keep_alerts_silent_with_their_reason(lake: Lake) -> None:
    scored(lake, HOUR, 1, {"dev-1": 0.9, "dev-2": 0.9, "dev-3": 0.9})
    add_mute(
        lake, reason="defrost test", made_by="ann", made_at=HOUR, starts_at=HOUR, ends_at=HOUR + 2 * ONE_HOUR,
        device_id="dev-1",
    )  # fmt: skip
    event = {
        "event_id": "e-1", "device_id": "dev-2", "event_type": "corrective", "scheduled_date": HOUR,
        "completed_date": HOUR, "work_description": "valve replaced", "parts_replaced": ["valve"],
    }  # fmt: skip
    lake.table(MAINTENANCE_EVENTS).append(
        MAINTENANCE_EVENTS.conform(pl.DataFrame([event]).with_columns(pl.col("scheduled_date", "completed_date")))
    )
    report = alert_hour(lake, NOBODY, HOUR, NOW)
    assert report.muted == 8
    assert told(lake)["device_id"].to_list() == ["dev-3"]
    silent = current_board(lake).filter(pl.col("suppressed_by").str.starts_with("mute:"))
    assert dict(silent.select("device_id", "note").iter_rows()) == {
        "dev-1": "defrost test", "dev-2": "settles after maintenance",
    }  # fmt: skip


def test_a_mute_that_began_after_the_window_silences_the_alert_that_it_makes(lake: Lake) -> None:
    scored(lake, HOUR, 1, {"dev-1": 0.9, "dev-2": 0.9})
    begins = HOUR + timedelta(minutes=61)
    add_mute(lake, reason="works", made_by="ann", made_at=HOUR, starts_at=begins, ends_at=begins + ONE_HOUR,
             device_id="dev-1")  # fmt: skip
    alert_hour(lake, NOBODY, HOUR, NOW)
    assert told(lake)["device_id"].to_list() == ["dev-2"]
    assert current_board(lake).filter(pl.col("device_id") == "dev-1")["note"].drop_nulls().to_list() == ["works"]


def test_retired_devices_and_other_roles_make_no_alert(lake: Lake) -> None:
    registry = registry_of(DEVICES).with_columns(
        status=pl.when(pl.col("device_id") == "dev-1").then(pl.lit("retired")).otherwise("status")
    )
    lake.table(DEVICE_REGISTRY).replace_all(registry)
    scored(lake, HOUR, 1, {"dev-1": 0.97})
    shadow = [score(HOURLY_DETECTORS[0], 0.97, device_id="dev-2", deployment_role="shadow", model_version="2")]
    lake.table(MODEL_SCORES).append(frame(*shadow))
    alert_hour(lake, NOBODY, HOUR, NOW)
    assert told(lake).is_empty()


def test_an_hour_without_scores_says_nothing(lake: Lake) -> None:
    lake.table(DEVICE_REGISTRY).replace_all(registry_of(DEVICES))
    report = alert_hour(lake, NOBODY, HOUR, HOUR + timedelta(days=2))
    assert isinstance(report, AlertReport)
    assert (report.windows, report.hits, report.written) == (0, 0, 0)


def _process(lake: Lake, now: datetime, hours: list[datetime]) -> "subprocess.Popen[str]":
    told = [now.isoformat(), *(h.isoformat() for h in hours)]
    command = [sys.executable, "-m", "refrig_assets_tests.pipeline.make_alerts", lake.uri, *told]
    return subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_killed_and_started_again_the_log_is_that_of_an_undisturbed_run(lake: Lake, tmp_path: Path) -> None:
    hours = [HOUR + n * ONE_HOUR for n in range(8)]
    now = hours[-1] + timedelta(days=2)
    for n, hour in enumerate(hours):
        scored(lake, hour, 1, {"dev-1": 0.9, "dev-2": 0.65 if n < 3 else 0.2, f"dev-{3 + n % 3}": 0.97})
    undisturbed = Lake(str(shutil.copytree(lake.uri, tmp_path / "twin")))
    begun = time.monotonic()
    judge(undisturbed.uri, now.isoformat(), [h.isoformat() for h in hours])
    whole = time.monotonic() - begun  # only for where to aim
    dice, kills = random.Random(5), 0
    for _ in range(60):
        process = _process(lake, now, hours)
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "ready\n"
        process.stdin.write("go\n")
        process.stdin.flush()
        time.sleep(whole * dice.random())
        process.kill()
        kills += process.wait() == -9
        process.stdout.close()
        process.stdin.close()
        if kills == 5:
            break
    assert kills == 5
    judge(lake.uri, now.isoformat(), [h.isoformat() for h in hours])
    key = ["alert_id", "change_id", "change", "changed_at"]
    mine, its = (lk.table(DEVICE_ALERTS).read().sort("change_id") for lk in (lake, undisturbed))
    assert mine["change_id"].is_unique().all()
    assert mine.select(key).equals(its.select(key))
    assert current_board(lake).equals(current_board(undisturbed))
