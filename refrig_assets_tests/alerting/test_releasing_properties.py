"""Nights of storms, closings and relapses, by the stream's own grouping: nothing told twice, nothing lost."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import polars as pl
from hypothesis import Phase, event, given, settings
from hypothesis import strategies as st

from refrig_assets.alerting.changes import operator_action
from refrig_assets.alerting.known import MUTE
from refrig_assets.alerting.releasing import releases
from refrig_assets.alerting.standing import is_standing
from refrig_assets.contracts.alerts import CLOSED_STATUSES, SUPPRESSION_WINDOW
from refrig_assets_tests.alerting.night import Night, window
from refrig_assets_tests.alerting.test_judging_properties import one_each
from refrig_assets_tests.builders import HOUR
from refrig_assets_tests.streaming.test_storms import finding, findings, fleet_of, names
from streaming.storms import Storms

HOURS, DEVICES = 6, names(9)
RULES = ("compressor_overload", "acute_pressure_loss")
# What the stream sees (how many devices, from which on, which rule), or what a person does (to which, what).
seen = st.tuples(st.just("seen"), st.sampled_from([1, 1, 1, 2, 7, 9]), st.integers(0, 8), st.sampled_from(RULES))
done = st.tuples(
    st.just("done"),
    st.integers(0, 9),
    st.sampled_from(["resolved", "resolved", "false_positive", "started", "reopened"]),
    st.booleans(),
)
nights = st.lists(st.tuples(st.integers(1, 50), st.one_of(seen, seen, done)), min_size=2, max_size=14)


class Stream:
    """As the judges of the stream tell of what they see: within four hours of an alert it is a repetition."""

    def __init__(self) -> None:
        self._storms, self._fleet = Storms(), fleet_of(len(DEVICES))
        self._alerted: dict[tuple[str, str], datetime] = {}

    def sees(self, count: int, first: int, rule: str, moment: datetime) -> pl.DataFrame:
        rows = [self._found(DEVICES[(first + n) % len(DEVICES)], rule, moment) for n in range(count)]
        return self._storms.group(findings(rows), self._fleet, moment + timedelta(seconds=2))

    def _found(self, device: str, rule: str, moment: datetime) -> dict[str, Any]:
        last = self._alerted.get((device, rule))
        told: dict[str, Any] = {"event_time": moment, "since": moment, "first_moment": moment, "reference": 15.0}
        if last is not None and moment - last < SUPPRESSION_WINDOW:
            return finding(device, 0, rule, **told, suppressed=True, suppressed_by_time=last)
        self._alerted[device, rule] = moment
        return finding(device, 0, rule, **told)


def acted(night: Night, which: int, what: str, members: bool, moment: datetime) -> None:
    """What a person does to an alert that is told, and with `members` to those it covers."""
    board = night.board
    fits = pl.col("status").is_in(list(CLOSED_STATUSES))
    told = board.filter(~pl.col("suppressed") & (fits if what == "reopened" else ~fits))
    if told.is_empty():
        return
    one = told["alert_id"][which % told.height]
    under = board.filter((pl.col("suppressed_by") == one) & ~fits)["alert_id"].to_list()
    for alert in [one, *(under if members and what != "reopened" else [])]:
        night.add(operator_action(alert, what, "ann", moment))


def released(night: Night, now: datetime) -> None:
    new = releases(night.board, now)
    told = night.add(new).filter(~pl.col("suppressed"))["alert_id"].to_list()
    board = night.board
    for alert in board.filter(pl.col("alert_id").is_in(told)).iter_rows(named=True):
        event("released")
        same = night.told.filter(is_standing(), device_id=alert["device_id"], rule=alert["rule"])
        assert same["alert_id"].to_list() == [alert["alert_id"]]
    assert releases(board, now).is_empty()
    assert list(lost(board)) == []


def lost(board: pl.DataFrame) -> Iterator[str]:
    """Events that are silent, though nothing of theirs stands and nobody closed anything since."""
    rows = {row["alert_id"]: row for row in board.iter_rows(named=True)}
    for row in rows.values():
        silent = row["suppressed"] and row["source"] == "streaming" and row["status"] not in CLOSED_STATUSES
        if silent and not any(_answers(one, row) for one in _told_for(row, rows)):
            yield row["alert_id"]


def _told_for(row: dict[str, Any], rows: dict[str, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The alerts that may speak for one: what it is under, in the end, and its device's own of that rule."""
    root = row
    while root["suppressed"] and not root["suppressed_by"].startswith(MUTE):
        root = rows[root["suppressed_by"]]
    yield root
    same = (row["device_id"], row["rule"])
    yield from (one for one in rows.values() if not one["suppressed"] and (one["device_id"], one["rule"]) == same)


def _answers(told: dict[str, Any], row: dict[str, Any]) -> bool:
    return told["status"] not in CLOSED_STATUSES or told["resolved_at"] >= row["alert_created_at"]


@settings(max_examples=40, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(nights, st.sampled_from([None, 0.97]), st.integers(0, 8))
def test_of_a_device_and_rule_one_alert_is_told_and_none_is_lost(
    steps: Sequence[tuple[int, tuple[Any, ...]]], ill: float | None, which: int
) -> None:
    windows = [window(at, None, device) for device in DEVICES for at in range(15, 60 * HOURS + 1, 15)]
    if ill is not None:  # the models see it, too, or else call the stream's alerts transient
        for one in windows:
            one |= {"anomaly_score": ill} if one["device_id"] == DEVICES[which] else {}
    night, stream = Night(windows, sites=dict.fromkeys(DEVICES, "site-0")), Stream()
    clock, judged = HOUR, 0
    for minutes, (kind, *what) in steps:
        clock += timedelta(minutes=minutes)
        if kind == "seen":
            count, first, rule = what
            night.add(stream.sees(count, first, rule, clock))
        else:
            alert, change, members = what
            acted(night, alert, change, members, clock)
        released(night, clock + timedelta(minutes=0.5))
        while judged < HOURS and HOUR + timedelta(hours=judged + 1) <= clock:
            night.judge(judged, now=clock + timedelta(minutes=0.75))
            one_each(night)
            judged += 1
        released(night, clock + timedelta(minutes=0.8))
