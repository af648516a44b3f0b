"""Changes: identities that repeat, defaults of a new alert, what operators can do, what is refused."""

import uuid
from datetime import timedelta, timezone

import polars as pl
import pytest

from refrig_assets.alerting.changes import alert_id, change_id, incomplete, log_rows, operator_action, suppressed
from refrig_assets.contracts.alerts import CHANGES, DEVICE_ALERTS, SEVERITIES, SLA_BY_SEVERITY
from refrig_assets_tests.alerting.makers import RULE, alert, created_alerts
from refrig_assets_tests.builders import HOUR, at


def test_identities_are_stable_over_versions_of_the_code() -> None:
    found = alert_id("dev-1", RULE, HOUR)
    assert found == "8b118cd2-7d31-532b-8a26-f89c5cc336f3"
    assert uuid.UUID(found).version == 5
    assert change_id(found, "created") == "47db5bee-b8c2-542b-8719-0a8f751d4327"


def test_identities_tell_apart_what_differs_and_nothing_else() -> None:
    moment = HOUR + timedelta(microseconds=1)
    ids = {alert_id(d, r, m) for d in ("a", "b") for r in ("x", "y") for m in (HOUR, moment)}
    assert len(ids) == 8
    assert alert_id("a,b", "x", HOUR) != alert_id("a", "b,x", HOUR)
    elsewhere = HOUR.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert alert_id("a", "x", elsewhere) == alert_id("a", "x", HOUR)
    assert len({change_id("a", c, d) for c in CHANGES for d in ("", "1")}) == 2 * len(CHANGES)
    with pytest.raises(ValueError, match="'exploded' is no change"):
        change_id("a", "exploded")


@pytest.mark.parametrize("severity", SEVERITIES)
def test_a_new_alert_is_open_at_the_first_level_with_its_deadline(severity: str) -> None:
    (row,) = DEVICE_ALERTS.validate(created_alerts(alert(severity=severity))).to_dicts()
    assert row["sla_deadline"] == HOUR + SLA_BY_SEVERITY[severity]
    assert (row["status"], row["escalation_level"], row["suppressed"], row["sla_breached"]) == (
        "OPEN", "L1", False, False,
    )  # fmt: skip
    assert (row["change"], row["actor"], row["changed_at"], row["alert_type"]) == (
        "created", "stream", HOUR, "ANOMALY_DETECTED",
    )  # fmt: skip


def test_what_a_writer_says_of_a_new_alert_stands() -> None:
    said = alert(suppressed=True, suppressed_by="other", models_flagging=2, sla_deadline=at(5))
    (row,) = created_alerts(said, actor="batch").to_dicts()
    assert {k: row[k] for k in said} == said
    assert row["actor"] == "batch"


def test_half_an_alert_is_found() -> None:
    whole, half = alert("dev-1"), alert("dev-2", title=None)
    rows = created_alerts(whole, half)
    assert incomplete(rows)["alert_id"].to_list() == [half["alert_id"]]
    assert incomplete(created_alerts(alert(severity="LOW"))).is_empty()
    note = operator_action(half["alert_id"], "noted", "ann", HOUR, "looked")
    assert incomplete(note).is_empty()


def test_actions_of_operators_set_only_what_they_say() -> None:
    fields = {}
    for change in ("acknowledged", "started", "resolved", "false_positive", "muted", "noted"):
        rows = DEVICE_ALERTS.validate(operator_action("a1", change, "ann", HOUR, "seen", "act-1"))
        (row,) = rows.drop("change_id", "alert_id", "change", "changed_at").to_dicts()
        assert (row.pop("actor"), row.pop("note"), row.pop("action_id")) == ("operator:ann", "seen", "act-1")
        fields[change] = {k: v for k, v in row.items() if v is not None}
    assert fields == {
        "acknowledged": {"status": "ACKNOWLEDGED"},
        "started": {"status": "IN_PROGRESS"},
        "resolved": {"status": "RESOLVED", "alert_type": "ANOMALY_RESOLVED", "resolved_at": HOUR},
        "false_positive": {"status": "FALSE_POSITIVE", "resolved_at": HOUR},
        "muted": {"suppressed": True, "suppressed_by": "mute:ann"},
        "noted": {},
    }
    with pytest.raises(ValueError, match="operators cannot have 'created'"):
        operator_action("a1", "created", "ann", HOUR)


def test_an_action_is_told_apart_by_who_and_when() -> None:
    ids = [
        operator_action("a1", "noted", name, moment)["change_id"][0]
        for name in ("ann", "bob")
        for moment in (HOUR, at(1))
    ]
    assert len(set(ids)) == 4
    assert operator_action("a1", "noted", "ann", HOUR, "other words")["change_id"][0] == ids[0]


def test_a_storm_silences_its_alerts_once_each() -> None:
    rows = DEVICE_ALERTS.validate(suppressed(["a1", "a2"], "group", HOUR, "stream", change="grouped"))
    assert rows["suppressed_by"].to_list() == ["group", "group"]
    again = suppressed(["a2"], "group", at(3), "stream", change="grouped")
    assert again["change_id"][0] == rows["change_id"][1]
    assert suppressed([], "group", HOUR, "stream").equals(DEVICE_ALERTS.empty())


def test_rows_of_nothing_are_an_empty_log() -> None:
    assert log_rows([], "noted", "batch").equals(DEVICE_ALERTS.empty())
    assert created_alerts(alert()).clear().equals(DEVICE_ALERTS.empty())


def test_the_discriminator_may_differ_by_row() -> None:
    rows = pl.DataFrame({"alert_id": ["a", "a", "a"], "changed_at": [HOUR] * 3, "note": ["x", "y", "x"]})
    ids = log_rows(rows, "noted", "batch", pl.col("note"))["change_id"]
    assert ids[0] == ids[2] != ids[1]
