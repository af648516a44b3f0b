"""Deadlines: who is late, who is not, and that nobody is escalated twice."""

import polars as pl

from refrig_assets.alerting.changes import operator_action, suppressed
from refrig_assets.alerting.deadlines import escalations, overdue
from refrig_assets.alerting.fold import fold
from refrig_assets.contracts.alerts import DEVICE_ALERTS
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


def test_a_breached_alert_goes_up_one_level_once() -> None:
    log = created_alerts(alert("dev-1"), alert("dev-2", escalation_level="L2"))
    changes = DEVICE_ALERTS.validate(escalations(fold(log), at(31)))
    board = fold(pl.concat([log, changes])).sort("device_id").to_dicts()
    assert [(r["escalation_level"], r["escalated_at"], r["sla_breached"], r["alert_type"]) for r in board] == [
        ("L2", at(31), True, "ANOMALY_ESCALATED"),
        ("L2", None, True, "ANOMALY_DETECTED"),
    ]
    assert escalations(fold(pl.concat([log, changes])), at(99)).is_empty()
    assert escalations(fold(log), at(45))["change_id"].to_list() == changes["change_id"].to_list()
    assert escalations(fold(log), HOUR).equals(DEVICE_ALERTS.empty())
