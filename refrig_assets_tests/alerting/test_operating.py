"""Actions: what fits which alert, what each sets, whose clock counts; and the labels that follow from closing."""

from datetime import datetime
from typing import Any

import polars as pl
import pytest

from refrig_assets.alerting.changes import operator_actions
from refrig_assets.alerting.fold import fold
from refrig_assets.alerting.labelling import LABEL_KEY, labels_of, unsaid
from refrig_assets.alerting.naming import UnknownNameError, closest, resolve
from refrig_assets.alerting.operating import Action, ActionError, planned
from refrig_assets.contracts import LABEL_EVENTS
from refrig_assets_tests.alerting.makers import alert, created_alerts
from refrig_assets_tests.builders import HOUR, at

LOG = created_alerts(alert("dev-1"))
ONE = LOG["alert_id"][0]
ANN = "operator:ann"
LATER = at(5)


def standing(**changes: Any) -> dict[str, Any]:
    """The alert as the board has it."""
    return fold(LOG).row(0, named=True) | changes


def done(action: Action, row: dict[str, Any], now: datetime = LATER, holder: str | None = None) -> Any:
    """What the action sets, or why it does not fit."""
    rows, refused = planned(action, [row], now, {ONE: HOUR}, {ONE: holder} if holder else {})
    return rows[0] if rows else refused[0].why


@pytest.mark.parametrize("change", ["acknowledged", "started", "resolved", "false_positive", "escalated"])
@pytest.mark.parametrize("status", ["RESOLVED", "FALSE_POSITIVE"])
def test_a_closed_alert_is_left_as_it_is(change: str, status: str) -> None:
    why = done(Action(change, "bob"), standing(status=status, resolved_at=at(3)), holder=ANN)
    assert why == f"it is {status} since 2026-03-02 10:03 UTC by ann; `refrig alerts reopen` opens it again"


@pytest.mark.parametrize(
    ("change", "row", "holder", "why"),
    [
        ("reopened", {}, None, "it is not closed but OPEN"),
        ("acknowledged", {"status": "IN_PROGRESS"}, "operator:bob", "worked on already by bob"),
        ("acknowledged", {"status": "ACKNOWLEDGED"}, ANN, "you have acknowledged it already"),
        ("started", {"status": "IN_PROGRESS"}, ANN, "you work on it already"),
        ("escalated", {"escalation_level": "L3"}, None, "L3 has it already"),
    ],
)
def test_what_makes_no_difference_is_told(change: str, row: dict[str, Any], holder: str | None, why: str) -> None:
    assert why in done(Action(change, "ann"), standing(**row), holder=holder)


def test_a_colleague_may_take_over_and_a_note_always_fits() -> None:
    assert done(Action("acknowledged", "ann"), standing(status="ACKNOWLEDGED"), holder="operator:bob")["note"] is None
    assert done(Action("started", "ann"), standing(status="IN_PROGRESS"), holder="operator:bob")["alert_id"] == ONE
    assert done(Action("noted", "ann", note="seen"), standing(status="RESOLVED"))["note"] == "seen"


def test_escalating_goes_up_one_level_or_where_one_says() -> None:
    assert done(Action("escalated", "ann"), standing())["escalation_level"] == "L2"
    assert done(Action("escalated", "ann", level="L3"), standing()) == {
        "alert_id": ONE, "changed_at": at(5), "note": None, "escalation_level": "L3", "escalated_at": at(5),
    }  # fmt: skip
    assert done(Action("escalated", "ann", level="L2"), standing(escalation_level="L2")) == "L2 has it already"


def test_opening_again_gives_a_new_deadline() -> None:
    row = done(Action("reopened", "ann"), standing(status="RESOLVED", resolved_at=at(3), sla_breached=True))
    assert row["sla_deadline"] == at(35)
    log = pl.concat([LOG, operator_actions([row], "reopened", "ann")])
    told = fold(log).row(0, named=True)
    assert (told["status"], told["sla_breached"], told["resolved_at"]) == ("OPEN", False, None)


def test_a_person_acts_on_what_they_saw_though_their_clock_is_behind() -> None:
    rows, _ = planned(Action("resolved", "ann"), [standing()], at(5), {ONE: at(90)}, {})
    assert rows[0]["changed_at"] > at(90)
    before = operator_actions([{"alert_id": ONE, "changed_at": at(90)}], "acknowledged", "bob")
    board = fold(pl.concat([LOG, before, operator_actions(rows, "resolved", "ann")]))
    assert board["status"].item() == "RESOLVED"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"change": "exploded"}, "is no action"),
        ({"operator": " "}, "who does it"),
        ({"role": "boss"}, "is no role"),
        ({"found": "bad_mood"}, "is no failure mode"),
        ({"level": "L1"}, "escalates to L2 or L3"),
        ({"change": "noted"}, "needs a text"),
        ({"failed_at": HOUR}, "add --failed"),
    ],
)
def test_senseless_actions_are_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ActionError, match=says):
        Action(**{"change": "resolved", "operator": "ann", **given})


def closed(action: Action, minute: float = 5, log: pl.DataFrame = LOG) -> pl.DataFrame:
    """The log after the action."""
    rows, _ = planned(action, fold(log).to_dicts(), at(minute), {ONE: HOUR}, {})
    return pl.concat([log, operator_actions(rows, action.change, action.operator)])


def labels(log: pl.DataFrame) -> pl.DataFrame:
    return LABEL_EVENTS.validate(labels_of(log, fold(log)))


@pytest.mark.parametrize(
    ("action", "kind", "source", "confidence", "mode"),
    [
        (Action("resolved", "ann"), "anomaly_confirmed", "operator_feedback", 0.7, None),
        (Action("resolved", "ann", found="door_seal"), "anomaly_confirmed", "operator_feedback", 0.7, "door_seal"),
        (Action("resolved", "ben", "field_engineer", failed=True), "failure_confirmed", "field_engineer", 0.9, None),
        (Action("false_positive", "ann"), "false_positive", "operator_feedback", 0.7, None),
    ],
)
def test_closing_says_what_was_true(
    action: Action, kind: str, source: str, confidence: float, mode: str | None
) -> None:
    label = labels(closed(action)).row(0, named=True)
    assert (label["label_type"], label["label_source"], label["label_confidence"]) == (kind, source, confidence)
    assert (label["device_id"], label["alert_id"], label["failure_mode"]) == ("dev-1", ONE, mode)
    assert (label["event_timestamp"], label["labeled_at"]) == (HOUR, at(5))


def test_when_it_failed_may_be_said_but_not_later_than_now() -> None:
    early = closed(Action("resolved", "ann", failed=True, failed_at=at(-120)))
    assert labels(early)["event_timestamp"].item() == at(-120)
    late = closed(Action("resolved", "ann", failed=True, failed_at=at(600)))
    assert labels(late)["event_timestamp"].item() == at(5)


def test_opening_again_takes_the_label_back_and_closing_again_gives_another() -> None:
    log = closed(Action("false_positive", "ann"))
    log = closed(Action("reopened", "bob"), 6, log)
    log = closed(Action("resolved", "bob"), 7, log)
    told = labels(log).select("label_type", "label_confidence", "labeled_at").rows()
    assert told == [("false_positive", 0.7, at(5)), ("false_positive", 0.0, at(6)), ("anomaly_confirmed", 0.7, at(7))]


def test_the_same_rows_make_the_same_labels_and_others_close_without_any() -> None:
    log = closed(Action("resolved", "ann"))
    assert labels(log.sample(fraction=1.0, shuffle=True, seed=1)).equals(labels(log))
    assert unsaid(pl.concat([labels(log)] * 2), LABEL_EVENTS.empty()).height == 1
    assert unsaid(labels(log), labels(log)).is_empty()
    assert labels(log).select(LABEL_KEY).is_unique().all()
    by_batch = log.with_columns(actor=pl.lit("batch"))
    assert labels(by_batch).is_empty()


def test_names_are_found_by_their_beginning_and_what_was_meant_is_told() -> None:
    names = ["abcdef01", "abcdef02", "abxyz999"]
    assert resolve("abxyz9", names, "alert") == resolve("abxyz999", names, "alert") == "abxyz999"
    with pytest.raises(UnknownNameError, match=r"beginning of 2 alerts: abcdef01, abcdef02\. Write more"):
        resolve("abcdef", names, "alert")
    with pytest.raises(UnknownNameError, match="there is no alert 'abxyz'; the closest are abxyz999"):
        resolve("abxyz", names, "alert")
    assert closest("RF-00021", [f"RF-{n:06d}" for n in range(50)])[0] == "RF-000021"
    with pytest.raises(UnknownNameError, match=r"there is no alert 'abcdef77'$"):
        resolve("abcdef77", [], "alert")
