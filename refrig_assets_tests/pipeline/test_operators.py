"""Operators in the lake: every action once, labels that never come apart from it, several people at once, kills."""

import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from refrig_assets.alerting.changes import operator_action, operator_actions
from refrig_assets.alerting.naming import UnknownNameError
from refrig_assets.alerting.operating import Action, ActionError, planned
from refrig_assets.contracts import LABEL_EVENTS
from refrig_assets.lake import Lake, MarkTakenError
from refrig_assets.pipeline import operators
from refrig_assets.pipeline.alert_log import append_changes, current_board, read_log
from refrig_assets.pipeline.alert_reading import alert_ids, history, holders_of
from refrig_assets.pipeline.labelling import LabelError, add_label, read_labels, settle_labels
from refrig_assets.pipeline.operators import act, find_alerts
from refrig_assets_tests.alerting.makers import alert, created_alerts
from refrig_assets_tests.builders import HOUR, at
from refrig_assets_tests.pipeline.write_actions import STEPS

_ROOT = Path(__file__).parents[2]
ALERTS, PEOPLE, KILLS = 6, 3, 5


def raise_alerts(lake: Lake, count: int = 2, **changes: Any) -> list[str]:
    alerts = [alert(f"dev-{n}", **changes) for n in range(count)]
    append_changes(lake, created_alerts(*alerts))
    return [a["alert_id"] for a in alerts]


def status(lake: Lake) -> dict[str, str]:
    return dict(current_board(lake).select("alert_id", "status").iter_rows())


def test_an_alert_goes_from_hand_to_hand_and_is_closed_with_its_label(lake: Lake) -> None:
    one, other = raise_alerts(lake)
    act(lake, Action("acknowledged", "ann"), [one], at(1))
    act(lake, Action("started", "ben", "field_engineer", note="on my way"), [one], at(2))
    assert holders_of(lake, [one, other]) == {one: "operator:ben"}
    done = act(lake, Action("resolved", "ben", "field_engineer", failed=True, found="bearing_wear"), [one], at(3))
    assert (done.changed["status"].item(), done.labels) == ("RESOLVED", 1)
    told = history(lake, [one]).select("change", "actor", "changed_at").rows()
    assert told == [
        ("created", "stream", HOUR),
        ("acknowledged", "operator:ann", at(1)),
        ("started", "operator:ben", at(2)),
        ("resolved", "operator:ben", at(3)),
    ]
    label = LABEL_EVENTS.validate(read_labels(lake)).row(0, named=True)
    assert (label["label_type"], label["label_source"], label["alert_id"]) == (
        "failure_confirmed",
        "field_engineer",
        one,
    )
    assert status(lake)[other] == "OPEN"


def test_what_does_not_fit_is_an_error_and_changes_nothing_unless_it_is_one_of_many(lake: Lake) -> None:
    one, other = raise_alerts(lake)
    act(lake, Action("false_positive", "ann"), [one], at(1))
    version = lake.table("device_alerts").version
    with pytest.raises(ActionError, match=rf"{one}: it is FALSE_POSITIVE since 2026-03-02 10:01 UTC by ann"):
        act(lake, Action("acknowledged", "ann"), [one, other], at(2))
    assert lake.table("device_alerts").version == version
    done = act(lake, Action("acknowledged", "ann"), [one, other], at(2), strict=False)
    assert (done.changed["alert_id"].to_list(), [r.alert_id for r in done.refused]) == ([other], [one])


@pytest.mark.parametrize("strict", [True, False])
def test_what_somebody_else_closed_while_it_was_planned_is_refused(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, strict: bool
) -> None:
    """Bob has read that it is open; before his change is written, Ann closes it."""
    (one,) = raise_alerts(lake, 1)

    def read_then_closed(where: Lake, alerts: Sequence[str]) -> pl.DataFrame:
        log = history(where, alerts)
        monkeypatch.undo()
        act(where, Action("false_positive", "ann", note="doors open"), [one], at(10))
        return log

    monkeypatch.setattr(operators, "history", read_then_closed)
    taking = Action("acknowledged", "bob")
    if strict:
        with pytest.raises(ActionError, match="it is FALSE_POSITIVE since 2026-03-02 10:10 UTC by ann"):
            act(lake, taking, [one], at(11))
    else:
        done = act(lake, taking, [one], at(11), strict=False)
        assert ([r.alert_id for r in done.refused], done.changed.height) == ([one], 0)
    assert history(lake, [one])["change"].to_list() == ["created", "false_positive"]
    assert status(lake) == {one: "FALSE_POSITIVE"}


def test_what_still_fits_after_others_were_at_it_is_done_upon_what_they_did(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = raise_alerts(lake)
    turns = iter(range(3))

    def read_then_noted(where: Lake, alerts: Sequence[str]) -> pl.DataFrame:
        log = history(where, alerts)
        turn = next(turns, None)
        if turn is not None:
            append_changes(where, operator_action(one, "noted", "ann", at(30 + turn), f"look {turn}"))
        return log

    monkeypatch.setattr(operators, "history", read_then_noted)
    done = act(lake, Action("started", "bob"), [one, other], at(10))
    assert set(done.changed["status"]) == {"IN_PROGRESS"}
    told = history(lake, [one]).select("change", "changed_at").rows()
    assert [change for change, _ in told] == ["created", "noted", "noted", "noted", "started"]
    assert told[-1][1] > at(32)


def test_who_never_comes_to_write_is_told_so(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    (one,) = raise_alerts(lake, 1)
    turns = iter(range(100))

    def read_then_noted(where: Lake, alerts: Sequence[str]) -> pl.DataFrame:
        log = history(where, alerts)
        append_changes(where, operator_action(one, "noted", "ann", at(next(turns)), "look"))
        return log

    monkeypatch.setattr(operators, "history", read_then_noted)
    monkeypatch.setattr(operators, "ATTEMPTS", 3)
    with pytest.raises(MarkTakenError, match="3 times"):
        act(lake, Action("started", "bob"), [one], at(10))
    assert status(lake) == {one: "OPEN"}


def test_alerts_are_found_by_their_beginning_and_the_closest_are_named(lake: Lake) -> None:
    one, other = raise_alerts(lake)
    assert find_alerts(lake, [one[:6], other, one]) == [one, other]
    with pytest.raises(UnknownNameError, match=f"there is no alert '{one[:7]}zz'; the closest are {one}"):
        find_alerts(lake, [f"{one[:7]}zz"])


def test_killed_between_closing_and_label_the_next_settles_it_with_its_own_time(lake: Lake) -> None:
    one, other = raise_alerts(lake)
    action = Action("resolved", "ann")
    rows, _ = planned(action, current_board(lake).filter(pl.col("alert_id") == one).to_dicts(), at(1), {one: HOUR}, {})
    append_changes(lake, operator_actions(rows, action.change, action.operator))  # and then the process was gone
    assert read_labels(lake).is_empty()
    act(lake, Action("false_positive", "bob"), [other], at(60))
    told = read_labels(lake).select("alert_id", "labeled_at").rows()
    assert told == [(other, at(60)), (one, at(1))]
    assert settle_labels(lake).written == 0
    assert read_labels(lake).height == 2


def test_a_label_taken_back_is_settled_once(lake: Lake) -> None:
    one = raise_alerts(lake, 1)
    act(lake, Action("resolved", "ann"), one, at(1))
    assert act(lake, Action("reopened", "ann"), one, at(2)).labels == 1
    assert settle_labels(lake).written == 0
    assert read_labels(lake)["label_confidence"].to_list() == [0.0, 0.7]
    assert act(lake, Action("resolved", "ann"), one, at(3)).labels == 1


def test_labels_without_an_alert_are_written_once_and_senseless_ones_refused(lake: Lake) -> None:
    said: dict[str, Any] = {"event": HOUR, "said_at": at(5), "notes": "on the round"}
    assert add_label(lake, "dev-1", "normal_operation", **said).written == 1
    assert add_label(lake, "dev-1", "normal_operation", **said | {"said_at": at(9)}).written == 0
    assert add_label(lake, "dev-1", "normal_operation", **said | {"event": at(-60)}).written == 1
    for wrong in ({"label_type": "fine"}, {"role": "boss"}, {"failure_mode": "sad"}, {"event": at(6)}):
        with pytest.raises(LabelError):
            add_label(lake, "dev-1", **{"label_type": "false_positive", **said, **wrong})
    assert read_labels(lake)["label_confidence"].to_list() == [0.9, 0.9]


@contextmanager
def operator(lake: Lake, name: str, first: int, step: int) -> Iterator["subprocess.Popen[str]"]:
    """A person at another terminal, who waits to be let go."""
    command = [
        sys.executable,
        "-m",
        "refrig_assets_tests.pipeline.write_actions",
        lake.uri,
        name,
        str(first),
        str(step),
    ]
    process = subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()


def let_go(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def assert_done_once(lake: Lake, by: list[str]) -> None:
    """Every alert was acknowledged, worked on and closed, each once, and each has one label."""
    log = read_log(lake).filter(pl.col("actor").str.starts_with("operator:"))
    assert log["change_id"].is_unique().all()
    counts = log.group_by("alert_id", "change").len()
    assert set(counts["len"]) == {1}
    assert counts.height == len(alert_ids(lake)) * len(STEPS)
    assert set(log["actor"]) == {f"operator:{name}" for name in by}
    assert set(status(lake).values()) == {"RESOLVED"}
    labels = read_labels(lake)
    assert labels["alert_id"].sort().to_list() == sorted(alert_ids(lake))


@pytest.mark.slow
def test_people_at_once_lose_nothing_and_do_nothing_twice(lake: Lake) -> None:
    raise_alerts(lake, ALERTS * PEOPLE)
    names = [f"person-{n}" for n in range(PEOPLE)]
    with (
        operator(lake, names[0], 0, PEOPLE) as one,
        operator(lake, names[1], 1, PEOPLE) as two,
        operator(lake, names[2], 2, PEOPLE) as three,
    ):
        together = (one, two, three)
        for process in together:
            let_go(process)
        assert [p.wait() for p in together] == [0, 0, 0]
    assert_done_once(lake, names)


@pytest.mark.slow
def test_killed_anywhere_and_begun_again_each_alert_is_closed_once_with_one_label(lake: Lake) -> None:
    raise_alerts(lake, ALERTS)
    chance, tables = random.Random(5), ("device_alerts", "label_events")
    for _ in range(KILLS):
        with operator(lake, "ann", 0, 1) as victim:
            before = sum(lake.table(t).version for t in tables)
            until, deadline = before + chance.randint(1, 4), time.monotonic() + 30
            let_go(victim)
            while victim.poll() is None and sum(lake.table(t).version for t in tables) < until:
                assert time.monotonic() < deadline
            time.sleep(chance.uniform(0, 0.02))
            victim.kill()
            victim.wait()
        assert settle_labels(lake).written <= 1  # what the kill left open
        closed = [one for one, stands in status(lake).items() if stands == "RESOLVED"]
        assert read_labels(lake)["alert_id"].sort().to_list() == sorted(closed)
    with operator(lake, "ann", 0, 1) as last:
        let_go(last)
        assert last.wait() == 0
    assert_done_once(lake, ["ann"])


def test_a_clock_that_jumps_back_loses_no_action(lake: Lake) -> None:
    one = raise_alerts(lake, 1)
    act(lake, Action("acknowledged", "ann"), one, HOUR + timedelta(days=400))
    act(lake, Action("resolved", "bob"), one, at(5))
    act(lake, Action("noted", "ann", note="done"), one, at(-600))
    board = current_board(lake).row(0, named=True)
    assert (board["status"], board["note"]) == ("RESOLVED", "done")
    assert holders_of(lake, one) == {one[0]: "operator:bob"}
