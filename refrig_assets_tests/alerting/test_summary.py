"""Numbers of the board and of a day: who comes first, what is counted, how the day ended."""

from datetime import timedelta

import polars as pl
import pytest

from refrig_assets.alerting.changes import log_rows, operator_action
from refrig_assets.alerting.ended import by_hour, deadlines_kept, failures, handling, noisiest, predictions_ended
from refrig_assets.alerting.summary import (
    board_at,
    by_age,
    by_deadline,
    by_mode,
    by_severity,
    by_site,
    most_urgent,
    predicted,
    standing,
)
from refrig_assets.contracts import LABEL_EVENTS
from refrig_assets_tests.alerting.makers_board import board_of, closed, found, log_of, raised
from refrig_assets_tests.builders import HOUR, at

NOW = at(120)
DAY = HOUR.replace(hour=0)
END = DAY + timedelta(days=1)
ALERTS = [
    raised("dev-1", 110),
    found("dev-2", 0, severity="HIGH", hours_left=30.0, hours_left_low=20.0, hours_left_high=50.0),
    found("dev-3", 60, severity="HIGH", status="ACKNOWLEDGED", hours_left=4.0),
    found("dev-4", -60 * 30, severity="LOW", failure_mode="unknown"),
    found("dev-5", 30, site_id="site-2", status="IN_PROGRESS", sla_breached=True),
    found("dev-6", 30, suppressed=True, suppressed_by="mute:1"),
    closed(found("dev-7", 30), timedelta(hours=1)),
]
STANDS = standing(board_of(*ALERTS))


def test_who_stands_the_most_severe_first() -> None:
    assert STANDS["device_id"].to_list() == ["dev-1", "dev-2", "dev-3", "dev-5", "dev-4"]
    assert most_urgent(STANDS, NOW)["device"].to_list() == ["dev-1", "dev-2", "dev-3", "dev-5", "dev-4"]


def test_tables_count_every_alert_that_stands_once() -> None:
    for table in (by_severity(STANDS), by_age(STANDS, NOW), by_deadline(STANDS, NOW), by_mode(STANDS)):
        assert table["all"].sum() == STANDS.height
    assert by_severity(STANDS).row(1) == ("HIGH", 1, 1, 0, 2)
    assert dict(by_deadline(STANDS, NOW).select("deadline", "all").iter_rows()) == {
        "breached": 1, "due soon": 1, "in time": 1, "taken": 1, "taken late": 1,
    }  # fmt: skip
    assert dict(by_age(STANDS, NOW).select("age", "all").iter_rows()) == {
        "under 1 h": 1, "1-4 h": 3, "4-24 h": 0, "1-7 days": 1, "over 7 days": 0,
    }  # fmt: skip
    assert dict(by_mode(STANDS).select("failure_mode", "all").iter_rows())["refrigerant_leak"] == 3


def test_sites_come_by_their_severest() -> None:
    sites = pl.DataFrame({"site_id": ["site-1", "site-2"], "site_name": ["Harbour", None], "devices": [40, 7]})
    found_sites = by_site(STANDS, sites)
    assert found_sites.select("site", "devices", "CRITICAL", "HIGH", "all", "breached").rows() == [
        ("Harbour (site-1)", "4 of 40", 1, 2, 4, 0),
        ("site-2", "1 of 7", 0, 0, 1, 1),
    ]


def test_hours_left_are_told_as_of_now() -> None:
    rows = predicted(STANDS, NOW)
    assert rows.select("device_id", "left", "low", "high").rows() == [
        ("dev-3", 3.0, None, None),
        ("dev-2", 28.0, 18.0, 48.0),
    ]
    assert predicted(STANDS, NOW + timedelta(days=9))["left"].to_list() == [0.0, 0.0]


def test_the_board_as_it_was() -> None:
    log = pl.concat([log_of(*ALERTS[:2]), operator_action(ALERTS[1]["alert_id"], "resolved", "ann", at(60))])
    assert [standing(board_at(log, at(m))).height for m in (0, 1, 60, 61, 111)] == [0, 1, 1, 0, 1]


def test_nothing_stands() -> None:
    none = STANDS.clear()
    for table in (by_severity(none), by_age(none, NOW), by_deadline(none, NOW)):
        assert table["all"].sum() == 0
    assert by_mode(none).is_empty()
    assert most_urgent(none, NOW).is_empty()


@pytest.mark.parametrize(
    ("before", "warned_of"),
    [
        ([], None),
        ([found("dev-1", -60, failure_mode="power_loss")], "power_loss"),
        ([found("dev-1", -90, failure_mode="door_seal"), found("dev-1", -60, failure_mode="power_loss")], "power_loss"),
        ([found("dev-1", -60, failure_mode="door_seal")], "door_seal"),
        ([found("dev-1", 60)], None),
        ([found("dev-1", -60 * 24 * 8)], None),
        ([found("dev-1", -60, suppressed=True, suppressed_by="mute:1")], None),
        ([closed(found("dev-1", -60), timedelta(hours=1), "FALSE_POSITIVE")], None),
        ([found("dev-2", -60)], None),
    ],
)
def test_who_was_warned_of_a_failure(before: list[dict[str, object]], warned_of: str | None) -> None:
    ended = failures(board_of(raised("dev-1", 30), *before), LABEL_EVENTS.empty(), DAY, END)
    assert ended.select("device_id", "at", "warned_of").rows() == [("dev-1", at(30), warned_of)]


def test_a_failure_that_somebody_confirmed_counts_and_one_called_false_does_not() -> None:
    label = {"device_id": "dev-8", "event_timestamp": at(5), "label_type": "failure_confirmed",
             "label_source": "field_engineer", "label_confidence": 0.9, "labeled_at": at(90)}  # fmt: skip
    labels = LABEL_EVENTS.conform(pl.DataFrame([label, label | {"device_id": "dev-9", "label_confidence": 0.0}]))
    board = board_of(found("dev-8", -600), closed(raised("dev-1", 30), timedelta(hours=1), "FALSE_POSITIVE"))
    ended = failures(board, labels, DAY, END)
    assert ended.select("device_id", "said_by", "hours_before").rows() == [
        ("dev-8", "field_engineer", pytest.approx(10 + 5 / 60))
    ]


def test_predictions_that_ended() -> None:
    one = closed(found("dev-1", 0, hours_left=10.0), timedelta(hours=3))
    board = board_of(one, found("dev-2", hours_left=3.0), closed(found("dev-3"), timedelta(hours=1)))
    ended = predictions_ended(board, DAY, END)
    assert ended.select("device_id", "status", "expected_at").rows() == [("dev-1", "RESOLVED", at(600))]


def test_how_fast_people_work() -> None:
    alerts = [found(f"dev-{n}") for n in range(4)]
    ids = [a["alert_id"] for a in alerts]
    by_itself = {"alert_id": ids[2], "changed_at": at(30), "status": "RESOLVED", "resolved_at": at(30)}
    log = pl.concat([
        log_of(*alerts),
        operator_action(ids[0], "acknowledged", "ann", at(60)),
        operator_action(ids[0], "resolved", "ann", at(240)),
        operator_action(ids[1], "false_positive", "bob", at(120)),
        log_rows([by_itself], "resolved", "batch"),
    ])  # fmt: skip
    done = handling(log, board_at(log, END), DAY, END)
    assert done == {
        "taken": 2, "hours_to_take": pytest.approx(1.5), "closed": 2, "hours_to_close": pytest.approx(3.0),
        "false_positives": 1, "false_share": 0.5,
    }  # fmt: skip
    nothing = handling(log, board_at(log, END), END, END + timedelta(days=1))
    assert (nothing["taken"], nothing["hours_to_take"], nothing["false_share"]) == (0, None, None)


def test_deadlines_are_kept_by_who_takes_before_them() -> None:
    alerts = [found(f"dev-{n}") for n in range(4)]  # MEDIUM: 4 hours
    log = pl.concat([
        log_of(*alerts, found("quiet", suppressed=True, suppressed_by="mute:1")),
        operator_action(alerts[0]["alert_id"], "acknowledged", "ann", at(239)),
        operator_action(alerts[1]["alert_id"], "acknowledged", "ann", at(241)),
        operator_action(alerts[2]["alert_id"], "resolved", "ann", at(10)),
    ])  # fmt: skip
    kept = deadlines_kept(log, board_at(log, END), DAY, END).filter(pl.col("severity") == "MEDIUM")
    assert kept.rows() == [("MEDIUM", 4, 2, 50.0)]
    assert deadlines_kept(log, board_at(log, END), END, END + timedelta(days=1))["deadlines"].sum() == 0


def test_who_is_noisy_and_when() -> None:
    alerts = [*(found("dev-1", 60 * n, failure_mode=None) for n in range(3)), found("dev-2", 5, severity="HIGH"),
              found("dev-1", 7, suppressed=True, suppressed_by="x"), found("dev-3", -60 * 30)]  # fmt: skip
    board = board_of(*alerts)
    assert noisiest(board, "device_id", DAY, END).select("device_id", "alerts", "suppressed").rows() == [
        ("dev-1", 3, 1),
        ("dev-2", 1, 0),
    ]
    hours = by_hour(board, DAY, END)
    assert hours.height == 24
    assert hours.filter(pl.col("MEDIUM") > 0)["hour"].to_list() == [10, 11, 12]
    assert hours["HIGH"].sum() == 1
