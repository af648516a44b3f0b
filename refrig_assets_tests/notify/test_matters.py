"""What alerts give to tell: a table of lives of an alert, and what holds of any life whatever."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refrig_assets.alerting.changes import log_rows, operator_action, suppressed
from refrig_assets.alerting.deadlines import escalations
from refrig_assets.alerting.fold import fold
from refrig_assets.notify.matters import Matter, Told, plan, told_of
from refrig_assets_tests.alerting.makers import alert, created_alerts
from refrig_assets_tests.builders import HOUR, at, registry_of

REGISTRY = registry_of(["dev-1"], region="north", maintenance_contact="fix@example.org", model="F1").select(
    "device_id", "site_id", "site_name", "region", "model", "site_manager", "maintenance_contact"
)
A = alert()["alert_id"]
NOW = at(30)


def plans(rows: pl.DataFrame | Sequence[pl.DataFrame], told: Told | None = None, now: datetime = NOW) -> list[Matter]:
    frame = rows if isinstance(rows, pl.DataFrame) else pl.concat(list(rows))
    return plan(frame, {A: told} if told else {}, REGISTRY, now).new


def events(rows: pl.DataFrame | Sequence[pl.DataFrame], told: Told | None = None, now: datetime = NOW) -> list[str]:
    return [e for m in plans(rows, told, now) for e in m.events]


def change(kind: str, minute: float, actor: str = "batch", **fields: object) -> pl.DataFrame:
    return log_rows([{"alert_id": A, "changed_at": at(minute), **fields}], kind, actor, f"{minute}")


NEW = created_alerts(alert())
HIGH = created_alerts(alert(severity="HIGH"), actor="batch")
WORSE = change("escalated", 10, severity="CRITICAL")
EASED = change("eased", 10, severity="MEDIUM")
HUSHED = suppressed([A], "storm", at(5), "stream", change="grouped")
UNMUTED = change("unmuted", 15, suppressed=False)
TAKEN = operator_action(A, "acknowledged", "ann", at(5))
DONE = operator_action(A, "resolved", "ann", at(20), "belt replaced")
SILENT = change("resolved", 20, status="RESOLVED", resolved_at=at(20))
NOTED = operator_action(A, "noted", "ann", at(25), "waiting for parts")
CRITICAL_TOLD = Told(3)


@pytest.mark.parametrize(
    ("rows", "told", "expected"),
    [
        ([NEW], None, ["severity:CRITICAL"]),
        ([NEW], CRITICAL_TOLD, []),
        ([NEW, NOTED], CRITICAL_TOLD, []),
        ([HIGH], None, ["severity:HIGH"]),
        ([HIGH, WORSE], Told(2), ["severity:CRITICAL"]),
        ([HIGH, WORSE], None, ["severity:CRITICAL"]),
        ([NEW, EASED], CRITICAL_TOLD, []),
        ([NEW, EASED], None, ["severity:MEDIUM"]),
        ([NEW, HUSHED], None, []),
        ([created_alerts(alert(suppressed=True))], None, []),
        ([NEW, HUSHED, UNMUTED], None, ["severity:CRITICAL"]),
        ([NEW, HUSHED, UNMUTED], CRITICAL_TOLD, []),
        ([NEW, TAKEN], None, ["severity:CRITICAL"]),
        ([NEW, DONE], None, []),
        ([NEW, DONE], CRITICAL_TOLD, ["closed"]),
        ([NEW, SILENT], CRITICAL_TOLD, ["closed"]),
        ([NEW, SILENT], Told(3, closed=True), []),
        ([NEW, HUSHED, SILENT], CRITICAL_TOLD, []),
        # Its beginning has not arrived: whose severity and site would one tell of?
        ([WORSE], None, []),
    ],
)
def test_a_life(rows: list[pl.DataFrame], told: Told | None, expected: list[str]) -> None:
    assert events(rows, told) == expected


def test_a_breach_is_told_to_the_next_level_once_a_level() -> None:
    late = escalations(fold(NEW), at(31))
    (found,) = plans([NEW, late], CRITICAL_TOLD, at(32))
    assert (found.events, found.about.level) == (("level:L2",), "L2")
    assert events([NEW, late], Told(3, frozenset({"L2"})), at(32)) == []
    higher = change("escalated", 60, escalation_level="L3", escalated_at=at(60))
    assert events([NEW, late, higher], Told(3, frozenset({"L2"})), at(61)) == ["level:L3"]
    # Who was not told at all is told of both in one.
    assert [m.events for m in plans([NEW, late], None, at(32))] == [("severity:CRITICAL", "level:L2")]
    assert events([NEW, late, DONE], CRITICAL_TOLD, at(32)) == ["closed"]


REOPENED = change(
    "reopened", 40, "operator:ann", status="OPEN", escalation_level="L1", sla_breached=False, sla_deadline=at(70)
)


def test_opened_again_it_has_levels_and_an_end_of_its_own() -> None:
    log, told = [NEW, escalations(fold(NEW), at(31))], [(A, "severity:CRITICAL")]

    def tells(now: datetime) -> list[tuple[str, ...]]:
        found = plan(pl.concat(log), told_of(told), REGISTRY, now).new
        told.extend((A, e) for one in found for e in one.events)
        return [one.events for one in found]

    assert tells(at(32)) == [("level:L2",)]
    log.append(operator_action(A, "resolved", "ann", at(35)))
    assert tells(at(36)) == [("closed",)]
    log.append(REOPENED)
    assert tells(at(41)) == []
    log.append(escalations(fold(pl.concat(log)), at(71)))
    assert tells(at(72)) == [("level:L2#1",)]
    assert tells(at(73)) == []
    log.append(operator_action(A, "resolved", "ann", at(75)))
    assert tells(at(76)) == [("closed#1",)]
    assert tells(at(77)) == []


def test_a_level_that_a_reopening_left_is_no_news_until_the_new_deadline() -> None:
    late = escalations(fold(NEW), at(31))
    left = change("reopened", 40, "operator:ann", status="OPEN", sla_breached=False, sla_deadline=at(70))
    log = [NEW, late, operator_action(A, "resolved", "ann", at(35)), left]
    assert events(log, Told(3, frozenset({"L2"}), closed=True), at(41)) == []
    log.append(escalations(fold(pl.concat(log)), at(71)))
    assert events(log, Told(3, frozenset({"L2"}), closed=True), at(72)) == ["level:L2#1"]


def test_where_and_whom_come_from_the_registry() -> None:
    (found,) = plans(NEW)
    assert (found.about.site_id, found.about.region, found.about.level) == ("site-1", "north", "L1")
    assert (found.facts["model"], found.facts["maintenance_contact"]) == ("F1", "fix@example.org")
    (unknown,) = plan(created_alerts(alert("new", site_id="elsewhere")), {}, REGISTRY, at(1)).new
    assert (unknown.about.site_id, unknown.about.region, unknown.facts["model"]) == ("elsewhere", None, None)


@pytest.mark.parametrize(
    ("rows", "now", "old"),
    [
        ([NEW], HOUR + timedelta(hours=5), False),
        ([NEW], HOUR + timedelta(hours=7), True),
        # Scored now, seen three weeks ago.
        ([created_alerts(alert(alert_created_at=HOUR + timedelta(days=21)))], HOUR + timedelta(days=21), True),
        ([HIGH, WORSE], at(10) + timedelta(hours=5, minutes=59), False),
        ([created_alerts(alert(moment=HOUR - timedelta(days=9))), HUSHED, UNMUTED], at(30), False),
    ],
)
def test_history_is_told_to_nobody(rows: list[pl.DataFrame], now: datetime, old: bool) -> None:
    lone = pl.concat(rows)
    frame = lone.with_columns(pl.lit(lone["alert_id"][0]).alias("alert_id"))
    found = plan(frame, {}, REGISTRY, now)
    assert (len(found.new), len(found.history)) == ((0, 1) if old else (1, 0))


LATE_JUDGED = created_alerts(alert(severity="HIGH"), actor="batch")
JUDGED_AT = HOUR + timedelta(hours=8)


def test_of_what_was_history_to_the_first_level_the_next_is_not_told() -> None:
    told = [(A, "severity:HIGH"), (A, "history:HIGH")]
    board = fold(LATE_JUDGED)
    rows = [LATE_JUDGED, escalations(board, JUDGED_AT)]
    found = plan(pl.concat(rows), told_of(told), REGISTRY, JUDGED_AT)
    assert (found.new, [m.events for m in found.history]) == ([], [("level:L2",)])
    # Told at the time, its level is told however late the board ran.
    assert [m.events for m in plan(pl.concat(rows), told_of(told[:1]), REGISTRY, JUDGED_AT).new] == [("level:L2",)]
    # Worse since then, it is news, and so is its level from then on.
    minutes = 8 * 60 + 30
    rows.append(change("escalated", minutes, severity="CRITICAL"))
    (worse,) = plan(pl.concat(rows), told_of(told), REGISTRY, at(minutes)).new
    assert worse.events == ("severity:CRITICAL", "level:L2")
    told += [(A, e) for e in worse.events]
    rows.append(change("escalated", minutes + 40, escalation_level="L3", escalated_at=at(minutes + 40)))
    assert [m.events for m in plan(pl.concat(rows), told_of(told), REGISTRY, at(minutes + 41)).new] == [("level:L3",)]


def test_judged_late_and_escalated_before_anybody_looked_it_is_history() -> None:
    rows = pl.concat([LATE_JUDGED, escalations(fold(LATE_JUDGED), JUDGED_AT)])
    found = plan(rows, {}, REGISTRY, JUDGED_AT)
    assert (len(found.new), len(found.history)) == (0, 1)


def test_what_nobody_took_while_no_notifier_ran_is_told_to_whom_has_it_now() -> None:
    breached = HOUR + timedelta(hours=7)
    slow = created_alerts(alert(severity="LOW", sla_deadline=breached))
    rows = pl.concat([slow, escalations(fold(slow), breached + timedelta(minutes=5))])
    (found,) = plan(rows, {}, REGISTRY, breached + timedelta(minutes=6)).new
    assert found.events == ("severity:LOW", "level:L2")


def test_a_time_ahead_of_ours_is_no_history() -> None:
    assert events(NEW, now=HOUR - timedelta(days=30)) == ["severity:CRITICAL"]


def test_closed_or_suppressed_before_it_went_out_it_is_withdrawn() -> None:
    for rows, why in (([NEW, HUSHED], "suppressed"), ([NEW, DONE], "closed")):
        withdrawn = plan(pl.concat(rows), {A: CRITICAL_TOLD}, REGISTRY, at(30)).withdrawn
        assert list(withdrawn) == [A]
        assert withdrawn[A].startswith(why)


_SEVERITIES = st.sampled_from(["LOW", "MEDIUM", "HIGH", "CRITICAL"])
_BY = {"reopened": "operator:ann"}
_CHANGE = st.one_of(
    st.tuples(st.just("escalated"), st.fixed_dictionaries({"severity": _SEVERITIES})),
    st.tuples(st.just("eased"), st.fixed_dictionaries({"severity": _SEVERITIES})),
    st.tuples(st.just("suppressed"), st.just({"suppressed": True, "suppressed_by": "other"})),
    st.tuples(st.just("unmuted"), st.just({"suppressed": False})),
    st.tuples(st.just("resolved"), st.just({"status": "RESOLVED"})),
    st.tuples(st.just("reopened"), st.just({"status": "OPEN", "escalation_level": "L1"})),
    st.tuples(st.just("sustained"), st.just({"status": "OPEN"})),
    st.tuples(st.just("escalated"), st.fixed_dictionaries({"escalation_level": st.sampled_from(["L2", "L3"])})),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(_CHANGE, max_size=8), st.booleans(), _SEVERITIES, st.lists(st.integers(1, 9), max_size=4))
def test_suppressed_alerts_are_never_told_and_nothing_is_told_twice(
    changes: list[tuple[str, dict[str, object]]], born_suppressed: bool, severity: str, cuts: list[int]
) -> None:
    """Whatever happens to it, and after however many of its changes the notifier looks, also twice at the same."""
    log = [created_alerts(alert(severity=severity, suppressed=born_suppressed))]
    log += [change(kind, n, _BY.get(kind, "batch"), **fields) for n, (kind, fields) in enumerate(changes, 1)]
    told: list[tuple[str, str]] = []
    ranks: list[int] = []
    for upto in [*sorted(cuts), *[len(log)] * 2]:
        rows = pl.concat(log[:upto])
        (now_is,) = fold(rows).to_dicts()
        for one in plan(rows, told_of(told), REGISTRY, at(60)).new:
            assert not now_is["suppressed"]
            if one.about.closing:
                assert now_is["status"] == "RESOLVED"
            else:
                assert now_is["status"] != "RESOLVED"
                assert one.about.severity == now_is["severity"]
            ranks += [one.rank] if any(e.startswith("severity") for e in one.events) else []
            told += [(one.subject, e) for e in one.events]
    assert len(told) == len(set(told))
    assert ranks == sorted(set(ranks))
