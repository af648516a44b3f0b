"""An hour's windows and the alerts that stand: what opens, what repeats, what worsens, what ends."""

from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from refrig_assets.alerting.changes import log_rows, operator_action
from refrig_assets.alerting.mutes import mute_row
from refrig_assets_tests.alerting.makers import alert, created_alerts
from refrig_assets_tests.alerting.night import Night, quarters, window
from refrig_assets_tests.builders import HOUR


def at(minutes: float) -> Any:
    return HOUR + timedelta(minutes=minutes)


def only(frame: pl.DataFrame) -> dict[str, Any]:
    assert frame.height == 1, frame
    return frame.row(0, named=True)


@pytest.mark.parametrize(
    ("severities", "severity"),
    [
        (["CRITICAL"], "CRITICAL"),
        (["HIGH"], "MEDIUM"),
        (["HIGH", "HIGH"], "HIGH"),
        (["HIGH", None, "HIGH"], "MEDIUM"),
        (["MEDIUM"], "LOW"),
        (["MEDIUM", "MEDIUM"], "MEDIUM"),
        (["MEDIUM", "HIGH"], "MEDIUM"),
        (["LOW", "LOW"], "LOW"),
        (["LOW"] * 4, "MEDIUM"),
        (["LOW", "LOW", None, "LOW"], "LOW"),
    ],
)
def test_what_windows_in_a_row_make(severities: list[str | None], severity: str) -> None:
    night = Night([window(15 * n, s) for n, s in enumerate(severities, start=1)])
    night.judge(0)
    assert only(night.told)["severity"] == severity


@pytest.mark.parametrize("severities", [[None] * 4, ["LOW", None, "LOW", None]])
def test_what_makes_no_alert(severities: list[str | None]) -> None:
    night = Night([window(15 * n, s) for n, s in enumerate(severities, start=1)])
    night.judge(0)
    assert night.log.is_empty()


def test_a_row_of_windows_reaches_over_the_hour_and_over_one_that_was_not_scored() -> None:
    night = Night([window(60, "HIGH"), window(90, "HIGH")])
    night.judge_all(2)
    assert only(night.told)["severity"] == "HIGH"


def test_an_alert_says_what_was_seen_by_when_it_must_be_taken_and_whether_it_is_work() -> None:
    night = Night(quarters(15, 30, "HIGH"), {"dev-1": ("refrigerant_leak", 0.9)})
    night.judge(0)
    row = only(night.told)
    assert (row["first_detected_at"], row["last_seen_at"], row["status"]) == (at(15), at(30), "OPEN")
    assert row["alert_created_at"] == at(65)
    assert row["sla_deadline"] <= at(65) + timedelta(hours=2)
    assert row["work_order_at"] is not None
    assert row["failure_mode"] == "refrigerant_leak"
    assert row["title"].startswith("Refrigerant leak, dev-1")
    assert "superheat high" in row["description"]


def test_medium_is_no_work_order() -> None:
    night = Night(quarters(15, 60, "MEDIUM"))
    night.judge(0)
    assert only(night.told)["work_order_at"] is None


def test_judging_again_changes_nothing_nor_does_judging_an_hour_in_parts() -> None:
    windows = [*quarters(15, 240, "MEDIUM"), *quarters(15, 240, "LOW", "dev-2"), *quarters(255, 600)]
    whole, parts = Night(list(windows)), Night(list(windows))
    for hour in range(6):
        whole.judge(hour)
        assert whole.judge(hour, now=at(60 * hour + 90)).is_empty()
        for until in (15, 30, 45, 60):
            parts.judge(hour, until)
    same = ["alert_id", "severity", "status", "first_detected_at"]
    assert whole.told.select(same).sort("alert_id").equals(parts.told.select(same).sort("alert_id"))


def test_a_repetition_is_written_suppressed_once_an_hour_and_keeps_the_alert_fresh() -> None:
    night = Night(quarters(15, 180, "MEDIUM")).judge_all(3)
    row = only(night.told)
    again = night.board.filter("suppressed")
    assert again["suppressed_by"].unique().to_list() == [row["alert_id"]]
    assert again.height == 3
    assert row["last_seen_at"] == again["last_seen_at"].max() > at(120)


def test_another_first_contributor_is_another_failure_unless_the_diagnosis_is_the_same() -> None:
    windows = [*quarters(15, 60, "MEDIUM"), *quarters(75, 120, "MEDIUM", contributor="vibration_compressor_mean")]
    assert Night(list(windows)).judge_all(2).told.height == 2
    assert Night(list(windows), {"dev-1": ("refrigerant_leak", 0.9)}).judge_all(2).told.height == 1


def test_a_machine_known_to_fail_that_stands_still_is_the_same_story_and_worse() -> None:
    night = Night(quarters(15, 60, "MEDIUM"), {"dev-1": ("condenser_fouling", 0.9)})
    night.judge(0)
    night.windows += quarters(75, 120, "CRITICAL", contributor="current_compressor_mean")
    night.diagnoses = {"dev-1": ("power_loss", 0.9)}
    night.judge(1)
    row = only(night.told)
    assert (row["severity"], row["failure_mode"]) == ("CRITICAL", "condenser_fouling")


def test_statistics_of_one_sensor_are_one_failure() -> None:
    windows = [*quarters(15, 60, "MEDIUM"), *quarters(75, 120, "MEDIUM", contributor="superheat_mean_6h")]
    assert Night(windows).judge_all(2).told.height == 1


def test_worse_is_escalated_with_an_earlier_deadline() -> None:
    night = Night([*quarters(15, 60, "MEDIUM"), *quarters(75, 120, "HIGH")])
    night.judge(0)
    before = only(night.told)
    night.judge(1)
    row = only(night.told)
    assert (row["severity"], row["alert_type"]) == ("HIGH", "ANOMALY_ESCALATED")
    assert row["sla_deadline"] == min(before["sla_deadline"], at(125) + timedelta(hours=2))
    assert row["work_order_at"] is not None
    assert row["first_detected_at"] == before["first_detected_at"]


def test_calmer_for_hours_is_eased_and_silent_for_hours_resolved() -> None:
    night = Night([*quarters(15, 60, "HIGH"), *quarters(75, 360, "LOW"), *quarters(375, 720)])
    night.judge_all(6)
    assert only(night.told)["severity"] == "MEDIUM"  # LOW for hours is MEDIUM
    assert "eased" in night.log["change"].to_list()
    night.judge(8)
    assert only(night.told)["status"] == "OPEN"
    night.judge(9)
    row = only(night.told)
    assert (row["status"], row["alert_type"]) == ("RESOLVED", "ANOMALY_RESOLVED")
    assert "4 hours" in row["note"]


def test_without_scores_nothing_is_resolved() -> None:
    night = Night([*quarters(15, 60, "HIGH"), *quarters(600, 630)])
    night.judge_all(11)
    assert only(night.told)["status"] == "OPEN"


def test_what_a_daily_model_found_waits_until_it_has_looked_again() -> None:
    night = Night([*quarters(15, 30, "HIGH", model_id="autoencoder"), *quarters(45, 1620)])
    for hour in range(26):
        night.judge(hour)
        assert only(night.told)["status"] == "OPEN"
    night.judge(26)
    assert only(night.told)["status"] == "RESOLVED"


def test_a_person_at_work_is_not_overtaken_by_quiet_scores() -> None:
    night = Night([*quarters(15, 60, "HIGH"), *quarters(75, 720)])
    night.judge(0)
    night.add(operator_action(only(night.told)["alert_id"], "started", "ann", at(70)))
    for hour in range(1, 12):
        night.judge(hour)
    assert only(night.told)["status"] == "IN_PROGRESS"


@pytest.mark.parametrize("closing", ["resolved", "false_positive"])
def test_scores_made_again_do_not_bring_back_what_a_person_closed(closing: str) -> None:
    night = Night(quarters(15, 60, "MEDIUM"))
    night.judge(0)
    night.add(operator_action(only(night.told)["alert_id"], closing, "ann", at(70)))
    night.windows = quarters(15, 60, "CRITICAL")
    night.judge(0, now=at(130))
    row = only(night.told)
    assert row["status"] == {"resolved": "RESOLVED", "false_positive": "FALSE_POSITIVE"}[closing]


def test_what_was_called_false_stays_silent_for_a_day_unless_it_becomes_worse() -> None:
    night = Night([*quarters(15, 60, "MEDIUM"), *quarters(180, 240, "MEDIUM"), *quarters(300, 360, "HIGH")])
    night.judge(0)
    first = only(night.told)["alert_id"]
    night.add(operator_action(first, "false_positive", "ann", at(70)))
    for hour in (1, 2, 3):
        night.judge(hour)
    assert night.told["alert_id"].to_list() == [first]
    assert night.board.filter("suppressed")["suppressed_by"].unique().to_list() == [first]
    night.judge(4)
    night.judge(5)
    assert night.told.filter(pl.col("status") == "OPEN")["severity"].to_list() == ["HIGH"]


def test_late_scores_bring_the_detection_forward_and_make_no_second_alert() -> None:
    night = Night([*quarters(75, 120, "MEDIUM")])
    night.judge(1)
    night.windows += quarters(15, 60, "MEDIUM")
    night.judge(0, now=at(140))
    night.judge(1, now=at(141))
    assert only(night.told)["first_detected_at"] == at(15)


def test_an_alert_whose_windows_no_longer_show_anything_is_withdrawn() -> None:
    night = Night(quarters(15, 60, "MEDIUM"))
    night.judge(0)
    night.windows = quarters(15, 60)
    night.judge(0, now=at(130))
    row = only(night.told)
    assert row["status"] == "RESOLVED"
    assert "scored again" in row["note"]


def test_a_failed_probe_wakes_nobody() -> None:
    night = Night(quarters(15, 60, "CRITICAL"), {"dev-1": ("sensor_fault", 0.9)})
    night.judge(0)
    row = only(night.told)
    assert (row["severity"], row["work_order_at"]) == ("MEDIUM", None)
    unsure = Night(quarters(15, 60, "CRITICAL"), {"dev-1": ("sensor_fault", 0.4)})
    unsure.judge(0)
    assert only(unsure.told)["severity"] == "CRITICAL"


def test_under_a_mute_an_alert_is_written_suppressed_with_the_reason_and_told_when_the_mute_is_over() -> None:
    when = {"starts_at": HOUR, "ends_at": at(90), "made_at": HOUR}
    mute = mute_row(mute_id="m1", site_id="site-1", reason="compressor swap", made_by="ann", **when)
    night = Night(quarters(15, 180, "HIGH"), mutes=[mute])
    night.judge(0)
    assert night.told.is_empty()
    row = only(night.board.filter(pl.col("suppressed_by") == "mute:m1"))
    assert row["note"] == "compressor swap"
    night.judge(1)
    row = only(night.told)
    assert row["sla_deadline"] == at(125) + timedelta(hours=2)
    assert row["first_detected_at"] == at(15)


# --- the stream's CRITICALs -----------------------------------------------------------------------------------------


def with_stream(windows: list[dict[str, Any]], minutes: float = 5, **more: Any) -> Night:
    told = alert("dev-1", at(minutes), top_contributors=["current_compressor_max"], failure_mode="compressor_overload")
    night = Night(windows)
    night.add(created_alerts(told | more))
    return night


@pytest.mark.parametrize(
    ("windows", "status", "alert_type"),
    [
        ([*quarters(15, 60, "HIGH", contributor="current_compressor_mean")], "OPEN", "ANOMALY_SUSTAINED"),
        (quarters(15, 60), "RESOLVED", "ANOMALY_RESOLVED"),
        ([*quarters(15, 60, "MEDIUM", contributor="current_compressor_mean")], "OPEN", "ANOMALY_DETECTED"),
        ([], "OPEN", "ANOMALY_DETECTED"),
        (quarters(15, 15), "OPEN", "ANOMALY_DETECTED"),  # the window that holds the event says nothing of what follows
    ],
)
def test_the_models_confirm_or_soften_what_the_stream_said(
    windows: list[dict[str, Any]], status: str, alert_type: str
) -> None:
    night = with_stream(windows)
    night.judge(0)
    row = only(night.told)
    assert (row["status"], row["alert_type"], row["severity"]) == (status, alert_type, "CRITICAL")
    assert row["first_detected_at"] == at(5)


def test_one_failure_seen_on_both_paths_is_one_alert_with_the_earliest_detection() -> None:
    night = Night(quarters(15, 120, "HIGH", contributor="current_compressor_mean"),
                  {"dev-1": ("compressor_overload", 0.9)})  # fmt: skip
    night.judge(0)
    batch = only(night.told)["alert_id"]
    stream = alert("dev-1", at(70), top_contributors=["current_compressor_max"], failure_mode="compressor_overload")
    night.add(created_alerts(stream))
    night.judge(1)
    row = only(night.told)
    assert row["alert_id"] == stream["alert_id"]
    assert row["first_detected_at"] == at(15)
    assert night.board.filter(pl.col("alert_id") == batch)["suppressed_by"].item() == stream["alert_id"]


def test_a_storm_is_over_when_most_of_its_devices_are_quiet_and_not_when_one_is() -> None:
    storm = alert("dev-1", at(5))
    members = [alert(f"dev-{n}", at(5), suppressed=True, suppressed_by=storm["alert_id"]) for n in range(2, 8)]
    night = Night(quarters(15, 60, None, "dev-1"))
    night.add(created_alerts(storm | {"suppressed": False, "suppressed_by": None}, *members))
    night.judge(0)
    assert only(night.told)["status"] == "OPEN"
    night.windows += [w for n in range(2, 8) for w in quarters(15, 60, None, f"dev-{n}")]
    night.judge(0, now=at(70))
    assert only(night.told)["status"] == "RESOLVED"


# --- sites ----------------------------------------------------------------------------------------------------------


def test_many_devices_of_a_site_with_one_sign_are_one_incident() -> None:
    devices = [f"dev-{n}" for n in range(1, 13)]
    night = Night([w for d in devices[:8] for w in quarters(15, 60, "MEDIUM", d)] + quarters(15, 60, None, "dev-12"))
    night.judge(0)
    assert night.told.height == 8
    incident = night.told["incident_id"].unique().to_list()
    assert len(incident) == 1
    assert incident[0] is not None
    night.windows += quarters(75, 120, "MEDIUM", "dev-9")
    night.judge(1)
    assert night.told.filter(pl.col("device_id") == "dev-9")["incident_id"].to_list() == incident


def test_a_few_devices_of_a_site_are_looked_at_one_by_one() -> None:
    night = Night([w for n in range(1, 5) for w in quarters(15, 60, "MEDIUM", f"dev-{n}")])
    night.judge(0)
    assert night.told["incident_id"].null_count() == 4


# --- what must not be lost or closed by mistake ----------------------------------------------------------------------


def test_rules_on_features_open_alerts_and_end_none() -> None:
    night = with_stream(quarters(15, 120, "LOW", anomaly_score=0.0, model_id="rules_fallback"))
    night.source = "fallback"
    night.judge(0)
    assert night.told.filter(pl.col("source") == "streaming")["status"].item() == "OPEN"
    models = Night(quarters(15, 60, "HIGH"))
    models.judge(0)
    models.source, models.windows = "fallback", quarters(15, 60, anomaly_score=0.0)
    models.judge(0, now=at(200))
    assert only(models.told)["status"] == "OPEN"


def test_worse_scores_of_windows_already_judged_raise_the_alert() -> None:
    night = Night(quarters(15, 60, "MEDIUM"))
    night.judge(0)
    night.windows = quarters(15, 60, "HIGH")  # the daily models have looked at the same windows
    night.judge(0, now=at(75))
    row = only(night.told)
    assert row["severity"] == "HIGH"
    assert row["note"] == "worse: it was MEDIUM"
    assert night.judge(0, now=at(80)).is_empty()


def test_an_hour_judged_after_the_next_one_may_be_worse() -> None:
    night = Night([*quarters(15, 60, "MEDIUM"), window(75, "CRITICAL"), *quarters(90, 180, "MEDIUM")])
    night.judge(0)
    night.judge(2)
    night.judge(1, now=at(190))
    assert only(night.told)["severity"] == "CRITICAL"


def test_what_was_eased_is_not_raised_again_by_its_own_past() -> None:
    night = Night([*quarters(15, 60, "HIGH"), *quarters(75, 420, "MEDIUM")])
    night.judge_all(7)
    assert only(night.told)["severity"] == "MEDIUM"
    night.judge(0, now=at(430))
    assert only(night.told)["severity"] == "MEDIUM"


def test_hours_judged_late_in_one_go_do_not_swallow_a_relapse() -> None:
    night = Night([*quarters(15, 60, "HIGH"), *quarters(75, 360), *quarters(375, 420, "CRITICAL")])
    for hour in range(7):
        night.judge(hour, now=at(900 + hour))
    assert night.told.filter(pl.col("status") == "OPEN")["severity"].to_list() == ["CRITICAL"]


def test_a_mute_that_begins_while_an_alert_stands_silences_it_and_gives_it_back() -> None:
    when = {"starts_at": at(70), "ends_at": at(130), "made_at": HOUR}
    mute = mute_row(mute_id="m1", device_id="dev-1", reason="planned works", made_by="ann", **when)
    night = Night([*quarters(15, 60, "MEDIUM"), *quarters(75, 120, "CRITICAL"), *quarters(135, 180, "CRITICAL")])
    night.mutes = [mute]
    night.judge(0)
    assert not only(night.told)["suppressed"]
    night.judge(1)
    assert night.told.is_empty()
    night.judge(2)
    row = only(night.told)
    assert row["severity"] == "CRITICAL"
    assert row["sla_deadline"] > at(180)


def test_a_muted_critical_of_the_stream_ends_when_the_machine_is_quiet() -> None:
    night = with_stream(quarters(15, 240), suppressed=True, suppressed_by="mute:m1")
    night.judge_all(2)
    assert only(night.board)["status"] == "RESOLVED"


def test_what_names_nothing_is_one_alert_not_one_a_window() -> None:
    night = Night(quarters(15, 240, "MEDIUM", top_contributors=None, contributor_scores=None)).judge_all(4)
    assert night.told.height == 1


def test_nobody_is_asked_to_look_at_a_retired_machine() -> None:
    night = Night(quarters(15, 60, "HIGH"))
    night.judge(0)
    night.retired = ["dev-1"]
    night.judge(1)
    row = only(night.told)
    assert (row["status"], row["note"]) == ("RESOLVED", "the device is retired")


def test_whoever_is_at_a_machine_keeps_it_when_the_stream_joins_in() -> None:
    night = Night(quarters(15, 120, "HIGH", contributor="current_compressor_mean"))
    night.diagnoses = {"dev-1": ("compressor_overload", 0.9)}
    night.judge(0)
    night.add(operator_action(only(night.told)["alert_id"], "started", "ann", at(66)))
    stream = alert("dev-1", at(70), top_contributors=["current_compressor_max"], failure_mode="compressor_overload")
    night.add(created_alerts(stream))
    night.judge(1)
    row = only(night.told)
    assert (row["alert_id"], row["status"]) == (stream["alert_id"], "IN_PROGRESS")


def test_what_was_reopened_and_then_went_quiet_was_not_closed_by_a_person() -> None:
    night = Night([*quarters(15, 60, "MEDIUM"), *quarters(75, 360), *quarters(375, 420, "HIGH")])
    night.judge(0)
    first = only(night.told)["alert_id"]
    night.add(operator_action(first, "false_positive", "ann", at(66)))
    night.add(operator_action(first, "reopened", "ann", at(67)))
    for hour in range(1, 7):
        night.judge(hour)
    assert night.told.filter(pl.col("alert_id") == first)["status"].item() == "RESOLVED"
    assert night.told.filter(pl.col("status") == "OPEN")["severity"].to_list() == ["HIGH"]


def test_a_diagnosis_without_hours_left_takes_back_those_of_the_one_before() -> None:
    night = Night(quarters(15, 60, "MEDIUM"))
    night.judge(0)
    one = only(night.told)["alert_id"]
    told = {"alert_id": one, "failure_mode": "refrigerant_leak", "diagnosis_confidence": 0.9}
    night.add(log_rows([told | {"changed_at": at(70), "hours_left": 59.0}], "diagnosed", "batch", "1"))
    night.add(log_rows([told | {"changed_at": at(80), "hours_left": None}], "diagnosed", "batch", "2"))
    assert only(night.told)["hours_left"] is None


@pytest.mark.parametrize(
    ("flagging", "minutes", "severity"),
    [
        (["dbscan_cohort"], 60, "MEDIUM"),
        (["autoencoder", "dbscan_cohort"], 60, "MEDIUM"),
        (["autoencoder", "isolation_forest"], 60, "CRITICAL"),
        (["statistical_baseline"], 60, "CRITICAL"),
    ],
)
def test_daily_models_alone_wake_nobody(flagging: list[str], minutes: float, severity: str) -> None:
    night = Night(quarters(15, minutes, "CRITICAL", flagging=flagging))
    night.judge(0)
    assert only(night.told)["severity"] == severity


def test_the_forest_alone_must_last() -> None:
    night = Night(quarters(15, 300, "MEDIUM", model_id="isolation_forest"))
    night.judge_all(3)
    assert only(night.told)["severity"] == "LOW"
    night.judge(3)
    assert only(night.told)["severity"] == "MEDIUM"


def test_a_title_says_what_the_newest_diagnosis_does() -> None:
    night = Night(quarters(15, 120, "HIGH"))
    night.judge(0)
    assert only(night.told)["title"].startswith("Unusual")
    night.diagnoses = {"dev-1": ("condenser_fouling", 0.9)}
    night.judge(1)
    row = only(night.told)
    assert (row["failure_mode"], row["title"].split(",")[0]) == ("condenser_fouling", "Fouled condenser")
    night.diagnoses = {"dev-1": ("unknown", 0.9)}
    night.windows += quarters(135, 180, "HIGH")
    night.judge(2)
    assert only(night.told)["title"] == row["title"], "a name is not taken back for none"
