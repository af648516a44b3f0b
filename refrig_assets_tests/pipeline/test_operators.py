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

from refrig_assets.alerting.changes import log_rows, operator_action, operator_actions
from refrig_assets.alerting.naming import UnknownNameError
from refrig_assets.alerting.operating import Action, ActionError, planned
from refrig_assets.contracts import LABEL_EVENTS
from refrig_assets.lake import Lake, MarkTakenError
from refrig_assets.pipeline import operators
from refrig_assets.pipeline.alert_log import append_changes, current_board, read_log
from refrig_assets.pipeline.alert_reading import alert_ids, history, holders_of
from refrig_assets.pipeline.labelling import LabelError, add_label, read_labels, settle_labels
from refrig_assets.pipeline.operators import act, find_alerts, mute_alerts, unmute_alerts
from refrig_assets.pipeline.published import publish_board
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


def test_alerts_of_a_muted_device_are_silenced_once_and_told_again_when_it_ends(lake: Lake) -> None:
    one, other = raise_alerts(lake)
    publish_board(lake)
    mute = {"device_id": "dev-0", "starts_at": HOUR, "ends_at": at(60), "reason": "fan"}
    made, silenced = mute_alerts(lake, made_by="ann", now=at(5), **mute)
    assert silenced == 1
    assert mute_alerts(lake, made_by="ann", now=at(6), **mute) == (
        made.__class__(made.mute | {"made_at": at(6)}, False),
        0,
    )
    board = {row["alert_id"]: row for row in current_board(lake).to_dicts()}
    assert (board[one]["suppressed_by"], board[one]["note"]) == (f"mute:{made.mute_id}", "fan")
    assert not board[other]["suppressed"]
    ended, told = unmute_alerts(lake, made.mute_id[:8], by="bob", now=at(9))
    assert (ended.written, told) == (True, 1)
    assert not current_board(lake)["suppressed"].any()
    assert unmute_alerts(lake, made.mute_id, by="bob", now=at(10))[1] == 0
    later = mute | {"starts_at": at(100), "ends_at": at(200)}
    assert mute_alerts(lake, made_by="ann", now=at(11), **later)[1] == 0


def test_a_mute_that_ends_tells_nothing_while_another_covers_the_device(lake: Lake) -> None:
    one, other = raise_alerts(lake)
    span: dict[str, Any] = {"starts_at": HOUR, "ends_at": at(600)}
    site, _ = mute_alerts(lake, made_by="bob", now=at(1), site_id="site-1", reason="power works", **span)
    assert unmute_alerts(lake, site.mute_id, by="bob", now=at(2))[1] == 2
    belt, _ = mute_alerts(lake, made_by="ann", now=at(3), device_id="dev-0", reason="belt", **span)
    again, _ = mute_alerts(lake, made_by="bob", now=at(4), site_id="site-1", reason="power works", **span)
    for _ in range(2):  # said again, it changes nothing
        assert unmute_alerts(lake, belt.mute_id, by="ann", now=at(10))[1] == 0
    board = {row["alert_id"]: row for row in current_board(lake).to_dicts()}
    by = f"mute:{again.mute_id}"
    assert [(board[a]["suppressed_by"], board[a]["note"]) for a in (one, other)] == [(by, "power works")] * 2
    assert unmute_alerts(lake, again.mute_id, by="bob", now=at(20))[1] == 2
    assert not current_board(lake)["suppressed"].any()


def test_a_mute_that_comes_again_takes_over_what_it_had_silenced_before(lake: Lake) -> None:
    (one,) = raise_alerts(lake, 1)
    nightly, _ = mute_alerts(
        lake, made_by="bob", now=at(1), site_id="site-1", reason="washing", repeats="daily",
        starts_at=HOUR, ends_at=at(60),
    )  # fmt: skip
    over = [{"alert_id": one, "changed_at": at(70), "suppressed": False}]
    append_changes(lake, log_rows(over, "unmuted", "batch"))  # seen after the first washing
    span = {"starts_at": at(80), "ends_at": at(3000)}
    belt, _ = mute_alerts(lake, made_by="ann", now=at(90), device_id="dev-0", reason="belt", **span)
    assert unmute_alerts(lake, belt.mute_id, by="ann", now=at(24 * 60 + 10))[1] == 0
    assert current_board(lake)["suppressed_by"].to_list() == [f"mute:{nightly.mute_id}"]


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
