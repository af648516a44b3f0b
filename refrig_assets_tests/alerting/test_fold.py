"""The fold: the same board whatever order rows arrive in; what operators closed stays closed."""

from datetime import timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refrig_assets.alerting.changes import alert_id, log_rows, operator_action, suppressed
from refrig_assets.alerting.fold import fold
from refrig_assets.contracts.alerts import ALERT_BOARD, DEVICE_ALERTS
from refrig_assets_tests.alerting.makers import RULE, alert, created_alerts
from refrig_assets_tests.builders import HOUR, at

A = alert_id("dev-1", RULE, HOUR)
CLOSING = ("resolved", "false_positive")


def batch(minute: float, change: str = "sustained", **fields: Any) -> pl.DataFrame:
    return log_rows([{"alert_id": A, "changed_at": at(minute), **fields}], change, "batch", str(minute))


def board_of(*changes: pl.DataFrame) -> dict[str, Any]:
    """The one alert of the board."""
    (row,) = ALERT_BOARD.validate(fold(pl.concat([created_alerts(alert()), *changes]))).to_dicts()
    return row


def test_each_field_is_the_last_one_set() -> None:
    row = board_of(
        batch(30, anomaly_score=0.7, note="half an hour"),
        batch(90, anomaly_score=0.9, alert_type="ANOMALY_SUSTAINED"),
        operator_action(A, "acknowledged", "ann", at(60), action_id="act-1"),
    )
    assert (row["anomaly_score"], row["note"], row["status"]) == (0.9, "half an hour", "ACKNOWLEDGED")
    assert (row["alert_type"], row["action_id"], row["title"]) == (
        "ANOMALY_SUSTAINED", "act-1", "dev-1: compressor draws 55 A",
    )  # fmt: skip


def test_the_first_detection_is_the_earliest_that_anybody_tells_of() -> None:
    assert board_of(batch(30, first_detected_at=at(-90)))["first_detected_at"] == at(-90)
    assert board_of(batch(30, first_detected_at=at(20)))["first_detected_at"] == HOUR


@pytest.mark.parametrize("closing", CLOSING)
def test_what_an_operator_closed_stays_closed(closing: str) -> None:
    closed = operator_action(A, closing, "ann", at(10))
    for later in (
        batch(20, status="OPEN", alert_type="ANOMALY_SUSTAINED"),
        batch(20, "resolved", status="RESOLVED", resolved_at=at(20)),
    ):
        row = board_of(closed, later)
        assert row["status"] == closed["status"][0]
        assert row["resolved_at"] == at(10)


def test_an_operator_may_open_again_what_an_operator_closed() -> None:
    reopened = [
        operator_action(A, "resolved", "ann", at(10)),
        operator_action(A, "reopened", "ann", at(15)),
        operator_action(A, "started", "bob", at(20)),
    ]
    row = board_of(*reopened)
    assert (row["status"], row["resolved_at"]) == ("IN_PROGRESS", None)
    again = board_of(*reopened, batch(30, "resolved", status="RESOLVED", resolved_at=at(30)))
    assert (again["status"], again["resolved_at"]) == ("RESOLVED", at(30))


@pytest.mark.parametrize("closing", CLOSING)
@pytest.mark.parametrize("taking", ["acknowledged", "started"])
def test_who_takes_what_was_closed_meanwhile_does_not_open_it(closing: str, taking: str) -> None:
    closed = operator_action(A, closing, "ann", at(10))
    row = board_of(closed, operator_action(A, taking, "bob", at(10.01)))
    assert (row["status"], row["resolved_at"]) == (closed["status"][0], at(10))


def test_an_acknowledged_alert_can_be_resolved_by_the_batch() -> None:
    row = board_of(
        operator_action(A, "acknowledged", "ann", at(10)),
        batch(30, "resolved", status="RESOLVED", resolved_at=at(30), note="transient"),
    )
    assert (row["status"], row["resolved_at"], row["note"]) == ("RESOLVED", at(30), "transient")


def test_a_clock_that_is_behind_does_not_undo_a_change() -> None:
    row = board_of(operator_action(A, "acknowledged", "ann", at(-5)), suppressed([A], "group", HOUR, "stream"))
    assert (row["status"], row["suppressed"], row["suppressed_by"]) == ("ACKNOWLEDGED", True, "group")


def test_changes_to_an_alert_that_is_not_created_wait_for_it() -> None:
    acknowledged = operator_action(A, "acknowledged", "ann", at(10))
    assert fold(acknowledged).equals(ALERT_BOARD.empty())
    assert board_of(acknowledged)["status"] == "ACKNOWLEDGED"
    assert fold(DEVICE_ALERTS.empty()).equals(ALERT_BOARD.empty())


def test_no_longer_suppressed_means_by_nobody() -> None:
    row = board_of(suppressed([A], "group", at(1), "stream"), batch(2, "noted", suppressed=False))
    assert (row["suppressed"], row["suppressed_by"]) == (False, None)


_DEVICES = ["dev-1", "dev-2", "dev-3"]


@st.composite
def _logs(draw: st.DrawFn) -> pl.DataFrame:
    """Changes of a few alerts by everybody, with times that often coincide."""
    parts = [created_alerts(*(alert(d) for d in _DEVICES))]
    ids = [alert_id(d, RULE, HOUR) for d in _DEVICES]
    for number in range(draw(st.integers(0, 12))):
        one, moment = draw(st.sampled_from(ids)), at(draw(st.integers(-2, 6)))
        kind = draw(st.sampled_from(["operator", "batch", "grouped"]))
        if kind == "operator":
            change = draw(st.sampled_from(["acknowledged", "started", "reopened", *CLOSING, "muted", "noted"]))
            parts.append(operator_action(one, change, draw(st.sampled_from(["ann", "bob"])), moment, f"note {number}"))
        elif kind == "grouped":
            parts.append(suppressed([one], draw(st.sampled_from(ids)), moment, "stream", change="grouped"))
        else:
            fields = {
                "status": draw(st.sampled_from([None, "OPEN", "RESOLVED"])),
                "resolved_at": draw(st.sampled_from([None, moment])),
                "first_detected_at": draw(st.sampled_from([None, at(-30)])),
                "top_contributors": draw(st.sampled_from([None, ["a", "b"]])),
            }
            row = {"alert_id": one, "changed_at": moment, **fields}
            parts.append(log_rows([row], "sustained", draw(st.sampled_from(["batch", "stream"])), str(number)))
    return pl.concat(parts).filter(pl.col("change_id").is_first_distinct())  # the log holds each change once


@settings(max_examples=60, deadline=None, database=None)
@given(_logs(), st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(log: pl.DataFrame, chance: Any) -> None:
    expected = ALERT_BOARD.validate(fold(log))
    order = list(range(log.height))
    chance.shuffle(order)
    assert fold(log[order]).equals(expected)
    assert fold(pl.concat([log[order], log])).equals(expected)
    assert expected.height == len(_DEVICES)


@settings(max_examples=60, deadline=None, database=None)
@given(_logs(), st.sampled_from(CLOSING), st.integers(0, 30))
def test_nothing_but_operators_changes_what_they_closed(log: pl.DataFrame, closing: str, minutes: int) -> None:
    theirs = log.filter(pl.col("actor").str.starts_with("operator"))["changed_at"].max() or HOUR
    closed = operator_action(A, closing, "zoe", theirs + timedelta(minutes=1))  # type: ignore[operator]
    later = batch(60 + minutes, status="OPEN", resolved_at=at(99), alert_type="ANOMALY_SUSTAINED")
    (row,) = fold(pl.concat([log, closed, later])).filter(pl.col("alert_id") == A).to_dicts()
    assert (row["status"], row["resolved_at"]) == (closed["status"][0], closed["resolved_at"][0])
    assert row["alert_type"] == "ANOMALY_SUSTAINED"
