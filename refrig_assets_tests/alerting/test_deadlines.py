"""Deadlines: who is late, who is not, and that nobody is escalated twice."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refrig_assets.alerting.changes import operator_action, operator_actions, suppressed
from refrig_assets.alerting.deadlines import escalations, overdue
from refrig_assets.alerting.fold import fold
from refrig_assets.contracts.alerts import DEVICE_ALERTS, SEVERITIES, SLA_BY_SEVERITY
from refrig_assets_tests.alerting.makers import alert, created_alerts
from refrig_assets_tests.builders import HOUR, at


def test_an_alert_is_overdue_once_its_deadline_has_passed() -> None:
    board = fold(created_alerts(*(alert(s, severity=s) for s in ("CRITICAL", "HIGH", "MEDIUM", "LOW"))))
    for minutes, expected in ((30, []), (30.1, ["CRITICAL"]), (121, ["CRITICAL", "HIGH"]), (24 * 60, board.height - 1)):
        found = overdue(board, at(minutes))["severity"].sort().to_list()
        assert (len(found) if isinstance(expected, int) else found) == expected


def test_only_what_is_open_and_told_can_be_late() -> None:
    alerts = [alert(f"dev-{n}") for n in range(4)]
    ids = [a["alert_id"] for a in alerts]
    log = pl.concat(
        [
            created_alerts(*alerts),
            operator_action(ids[0], "acknowledged", "ann", at(5)),
            operator_action(ids[1], "false_positive", "ann", at(5)),
            suppressed([ids[2]], "group", at(5), "stream"),
        ]
    )
    assert overdue(fold(log), at(60))["alert_id"].to_list() == [ids[3]]


def levels(log: pl.DataFrame) -> list[tuple[object, ...]]:
    shown = ("escalation_level", "escalated_at", "sla_breached", "alert_type")
    return fold(log).sort("device_id").select(shown).rows()


def escalated(log: pl.DataFrame, minute: float) -> pl.DataFrame:
    """The log after the deadlines were looked at."""
    return pl.concat([log, DEVICE_ALERTS.validate(escalations(fold(log), at(minute)))])


def test_a_breached_alert_goes_up_one_level_once() -> None:
    log = created_alerts(alert("dev-1"), alert("dev-2", escalation_level="L2"))
    changes = DEVICE_ALERTS.validate(escalations(fold(log), at(31)))
    assert levels(pl.concat([log, changes])) == [
        ("L2", at(31), True, "ANOMALY_ESCALATED"),
        ("L2", None, True, "ANOMALY_DETECTED"),
    ]
    assert escalations(fold(pl.concat([log, changes])), at(59)).is_empty()
    assert escalations(fold(log), at(45))["change_id"].to_list() == changes["change_id"].to_list()
    assert escalations(fold(log), HOUR).equals(DEVICE_ALERTS.empty())


def test_as_long_again_after_that_it_goes_to_the_third_level_and_no_further() -> None:
    log = escalated(created_alerts(alert("dev-1"), alert("dev-2", escalation_level="L2")), 31)
    # The second has had L2's attention since its deadline, the first for half an hour since it was escalated.
    log = escalated(log, 60.5)
    assert [row[0] for row in levels(log)] == ["L2", "L3"]
    log = escalated(log, 61.5)
    assert levels(log) == [
        ("L3", at(61.5), True, "ANOMALY_ESCALATED"),
        ("L3", at(60.5), True, "ANOMALY_ESCALATED"),
    ]
    assert escalations(fold(log), at(10_000)).is_empty()


@pytest.mark.parametrize("severity", SEVERITIES)
def test_after_a_long_silence_each_level_still_has_its_time(severity: str) -> None:
    allowed = SLA_BY_SEVERITY[severity].total_seconds() / 60
    log = escalated(created_alerts(alert(severity=severity)), 10 * allowed)
    assert levels(log)[0][0] == "L2"
    assert levels(escalated(log, 11 * allowed))[0][0] == "L2"
    assert levels(escalated(log, 11 * allowed + 1))[0][0] == "L3"


def test_who_takes_it_at_the_second_level_ends_the_climb() -> None:
    log = escalated(created_alerts(alert()), 31)
    taken = pl.concat([log, operator_action(log["alert_id"][0], "acknowledged", "ann", at(40))])
    assert escalations(fold(taken), at(500)).is_empty()


def test_an_alert_that_is_opened_again_has_a_new_deadline_and_climbs_again() -> None:
    log = escalated(created_alerts(alert()), 31)
    one = log["alert_id"][0]
    again = {"alert_id": one, "changed_at": at(50), "sla_deadline": at(80), "escalation_level": "L1"}
    log = pl.concat(
        [log, operator_action(one, "resolved", "ann", at(40)), operator_actions([again], "reopened", "ann")]
    )
    assert escalations(fold(log), at(79)).is_empty()
    assert levels(escalated(log, 81)) == [("L2", at(81), True, "ANOMALY_ESCALATED")]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 3000), min_size=1, max_size=12))
def test_however_often_one_looks_each_level_is_reached_once_and_in_order(minutes: list[int]) -> None:
    log = created_alerts(*(alert(s, severity=s) for s in SEVERITIES))
    for minute in sorted(minutes):
        log = escalated(log, minute)
    up = log.filter(pl.col("change") == "escalated").sort("changed_at")
    for reached in up.group_by("alert_id").agg("escalation_level")["escalation_level"]:
        assert reached.to_list() == ["L2", "L3"][: len(reached)]
