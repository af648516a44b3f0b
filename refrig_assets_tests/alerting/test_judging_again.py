"""Hours that are judged again, clocks that jump, people who change their mind: what the board makes of it."""

from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from refrig_assets.alerting.changes import operator_action
from refrig_assets.alerting.deadlines import escalations
from refrig_assets.alerting.mutes import mute_row
from refrig_assets_tests.alerting.makers import alert, created_alerts
from refrig_assets_tests.alerting.night import Night, quarters
from refrig_assets_tests.builders import HOUR


def _again(night: Night, minutes: float, hour: int = 0) -> pl.DataFrame:
    return night.judge(hour, now=HOUR + timedelta(minutes=minutes))


@pytest.mark.parametrize("closing", [None, "false_positive", "resolved"])
def test_scored_again_another_failure_is_another_alert(closing: str | None) -> None:
    night = Night(quarters(15, 60, "MEDIUM"))
    night.judge(0)
    if closing is not None:
        night.add(operator_action(night.told["alert_id"].item(), closing, "ann", HOUR + timedelta(minutes=70)))
    night.windows = quarters(15, 60, "CRITICAL", contributor="vibration_compressor_mean")
    night.diagnoses = {"dev-1": ("bearing_wear", 0.9)}
    _again(night, 75)
    told = night.told.sort("alert_created_at")
    assert told["severity"].to_list() == ["MEDIUM", "CRITICAL"]
    closed = {None: "RESOLVED", "resolved": "RESOLVED", "false_positive": "FALSE_POSITIVE"}[closing]
    assert told["status"].to_list() == [closed, "OPEN"]
    assert _again(night, 80).is_empty()


def test_a_repetition_leaves_its_window_to_a_failure_found_there_later() -> None:
    late = [*quarters(75, 90, "MEDIUM", contributor="vibration_compressor_mean"),
            *quarters(105, 120, "CRITICAL", contributor="vibration_compressor_mean")]  # fmt: skip
    night = Night([*quarters(15, 60, "MEDIUM"), *late], {"dev-1": ("refrigerant_leak", 0.9)})
    night.judge(0)
    night.judge(1, until=15)
    night.diagnoses = {"dev-1": ("bearing_wear", 0.9)}
    for until in (30, 45, 60):
        night.judge(1, until=until)
    told = dict(night.told.select("failure_mode", "severity").iter_rows())
    assert told == {"refrigerant_leak": "MEDIUM", "bearing_wear": "CRITICAL"}


def test_an_hour_judged_again_mutes_nothing_that_was_seen_later() -> None:
    ended = mute_row(mute_id="m1", device_id="dev-1", reason="door seal", made_by="ann", starts_at=HOUR,
                     ends_at=HOUR + timedelta(minutes=90), made_at=HOUR)  # fmt: skip
    night = Night([*quarters(15, 60), *quarters(180, 240, "CRITICAL")], mutes=[ended])
    night.judge_all(4)
    _again(night, 250)
    assert night.told["severity"].to_list() == ["CRITICAL"]


def test_who_read_a_milder_alert_has_not_read_the_stream_s() -> None:
    night = Night(quarters(15, 120, "MEDIUM", contributor="current_compressor_mean"),
                  {"dev-1": ("compressor_overload", 0.9)})  # fmt: skip
    night.judge(0)
    night.add(operator_action(night.told["alert_id"].item(), "acknowledged", "ann", HOUR + timedelta(minutes=66)))
    event = HOUR + timedelta(minutes=70)
    night.add(created_alerts(alert("dev-1", event, top_contributors=["current_compressor_max"],
                                   failure_mode="compressor_overload")))  # fmt: skip
    night.judge(1)
    assert night.told.select("severity", "status").rows() == [("CRITICAL", "OPEN")]
    assert escalations(night.board, event + timedelta(hours=5)).height == 1


def test_what_a_clock_that_was_ahead_said_does_not_hide_what_comes_after() -> None:
    night = Night([*quarters(15, 60, "HIGH"), *quarters(75, 300, "MEDIUM"), *quarters(315, 480, "CRITICAL")])
    for hour in range(4):
        night.judge(hour)
    eased = night.judge(4, now=HOUR + timedelta(days=1, minutes=305))
    assert "eased" in eased["change"].to_list()
    night.judge(5)
    assert night.told.select("severity", "status").rows() == [("CRITICAL", "OPEN")]
    assert night.told["sla_deadline"].item() < HOUR + timedelta(hours=7)


def test_a_closing_by_a_clock_that_was_ahead_answers_for_two_hours_like_any_other() -> None:
    night = Night([*quarters(15, 60, "MEDIUM"), *quarters(195, 420, "CRITICAL")])
    night.judge(0)
    closed = night.told["alert_id"].item()
    night.add(operator_action(closed, "resolved", "ann", HOUR + timedelta(days=1, minutes=70)))
    night.judge_all(7)
    assert dict(night.told.select("severity", "status").iter_rows()) == {"MEDIUM": "RESOLVED", "CRITICAL": "OPEN"}


def test_what_a_person_opened_again_is_not_closed_by_the_quiet_before() -> None:
    night = Night([*quarters(15, 60, "HIGH"), *quarters(75, 900)])
    for hour in range(6):
        night.judge(hour)
    assert night.told["status"].item() == "RESOLVED"
    again = HOUR + timedelta(minutes=370)
    night.add(operator_action(night.told["alert_id"].item(), "reopened", "ann", again))
    for hour in range(6, 10):
        night.judge(hour)
        assert night.told.select("status", "escalation_level").row(0) == ("OPEN", "L1")
    for hour in range(10, 12):
        night.judge(hour)
    assert night.told["status"].item() == "RESOLVED"


def test_hours_of_long_ago_are_on_record_and_leave_today_s_alert_alone() -> None:
    days = 60 * 24 * 21
    night = Night([*quarters(15, 60, "CRITICAL"), *quarters(75, 300), *quarters(days - 300, days),
                   *quarters(days + 15, days + 60, "MEDIUM")])  # fmt: skip
    night.judge(24 * 21)
    before = night.told.row(0, named=True)
    _again(night, 65)
    told = night.told.sort("first_detected_at")
    assert told.select("severity", "status").rows() == [("CRITICAL", "RESOLVED"), ("MEDIUM", "OPEN")]
    assert told.row(1, named=True) == before
    assert _again(night, 65).is_empty()


@pytest.mark.parametrize(("how", "told"), [("MEDIUM", ["RESOLVED"]), ("CRITICAL", ["RESOLVED", "OPEN"])])
def test_what_was_resolved_echoes_no_worse_than_it_was(how: str, told: list[str]) -> None:
    night = Night([*quarters(15, 60, "MEDIUM"), *quarters(75, 120, how)])
    night.judge(0)
    night.add(operator_action(night.told["alert_id"].item(), "resolved", "ann", HOUR + timedelta(minutes=62)))
    night.judge(1)
    assert night.told.sort("first_detected_at")["status"].to_list() == told


@pytest.mark.parametrize(("minute", "odd"), [(5, quarters(15, 15, "CRITICAL")), (20, quarters(15, 30, "HIGH"))])
def test_windows_of_a_transient_of_the_stream_are_not_told_when_judged_again(
    minute: int, odd: list[dict[str, Any]]
) -> None:
    """The batch took them for part of the stream's alert and then found the alert transient: they remain its part."""
    night = Night([*odd, *quarters(15 * len(odd) + 15, 60)])
    moment = HOUR + timedelta(minutes=minute)
    night.add(created_alerts(alert("dev-1", moment, top_contributors=["current_compressor_max"])))
    night.judge(0)
    assert night.told["status"].to_list() == ["RESOLVED"]
    assert _again(night, 100).is_empty()


def test_a_window_put_under_an_alert_that_has_ended_since_is_not_told_of_another() -> None:
    night = Night([*quarters(15, 60, "HIGH"), *quarters(75, 90, "HIGH"), *quarters(105, 120)])
    night.judge(0)
    night.diagnoses = {"dev-1": ("compressor_overload", 0.8)}
    told = {"top_contributors": ["current_compressor_max"], "failure_mode": "compressor_overload"}
    night.add(created_alerts(alert("dev-1", HOUR + timedelta(minutes=80), **told)))
    night.judge(1)
    assert night.told["status"].to_list() == ["OPEN", "RESOLVED"]
    assert _again(night, 160, hour=1).is_empty()


def test_an_alert_is_born_silent_where_a_mute_has_begun_since_its_window() -> None:
    begins = HOUR + timedelta(minutes=36)
    works = mute_row(mute_id="m1", device_id="dev-1", reason="works", made_by="ann", starts_at=begins,
                     ends_at=HOUR + timedelta(minutes=96), made_at=HOUR)  # fmt: skip
    night = Night([*quarters(15, 30, "MEDIUM"), *quarters(45, 60)], mutes=[works])
    night.judge(0)
    assert night.told.is_empty()
    assert night.board["suppressed_by"].to_list() == ["mute:m1"]
    assert _again(night, 100).is_empty()
