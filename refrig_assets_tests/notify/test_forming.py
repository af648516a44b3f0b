"""Which matters share a message, and when each is tried: incidents, storms, digests, back-off, clocks that jump."""

import random
from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from refrig_assets.notify.forming import Draft, Recent, Waiting, form
from refrig_assets.notify.matters import Matter
from refrig_assets.notify.pacing import LONGEST_WAIT, is_due, is_given_up, next_try, wait_after
from refrig_assets_tests.builders import HOUR, at
from refrig_assets_tests.notify.makers import matter

SECOND = timedelta(seconds=1)


def waits(one: Matter, channel: str = "hook", **changes: Any) -> Waiting:
    told: dict[str, Any] = {"recipient": "{}", "due": HOUR, "planned_at": HOUR, "collected": False} | changes
    return Waiting(one, channel, **told)


def went(shape: str = "single", at: Any = HOUR, incident: str | None = None, rank: int = 3) -> Recent:
    return Recent("hook", "{}", shape, incident, rank, at)


def shapes(drafts: list[Draft]) -> list[tuple[str, int]]:
    return [(d.shape, len(d.matters)) for d in drafts]


def names(count: int, **changes: Any) -> list[Waiting]:
    return [waits(matter(f"m{n}", **changes)) for n in range(count)]


def test_up_to_the_limit_each_has_its_own_message_and_beyond_it_all_have_one() -> None:
    assert shapes(form(names(5), [], HOUR, 5)) == [("single", 1)] * 5
    assert shapes(form(names(6), [], HOUR, 5)) == [("storm", 6)]


def test_what_went_out_within_the_minute_counts() -> None:
    before = [went(at=HOUR - 10 * SECOND)] * 5
    assert shapes(form(names(2), before, HOUR, 5)) == [("storm", 2)]
    assert shapes(form(names(1), before, HOUR, 5)) == [("storm", 1)]
    assert shapes(form(names(2), [went(at=HOUR - 61 * SECOND)] * 5, HOUR, 5)) == [("single", 1)] * 2


def test_more_of_a_storm_is_told_after_a_minute() -> None:
    storm = [went("storm", HOUR - 30 * SECOND)]
    assert form(names(1), storm, HOUR, 5) == []
    assert shapes(form(names(1), storm, HOUR + 31 * SECOND, 5)) == [("single", 1)]
    assert shapes(form(names(1), [went("storm", HOUR + timedelta(hours=3))], HOUR, 5)) == [("single", 1)]


def test_a_storm_to_one_address_leaves_the_others_alone() -> None:
    more = [waits(matter("other"), "mail"), waits(matter("elsewhere"), recipient='{"site_manager": "x"}')]
    assert sorted(shapes(form([*names(9), *more], [], HOUR, 5))) == [("single", 1), ("single", 1), ("storm", 9)]


def test_an_incident_is_one_message_and_again_only_after_a_while_or_when_it_is_worse() -> None:
    members = names(8, incident="i-1")
    (draft,) = form(members, [], HOUR, 5)
    assert (draft.shape, draft.incident, len(draft.matters)) == ("incident", "i-1", 8)
    late = [waits(matter("late", "HIGH", incident="i-1"))]
    told = [went("incident", HOUR - timedelta(minutes=3), "i-1", rank=2)]
    assert form(late, told, HOUR, 5) == []
    assert shapes(form(late, told, HOUR + timedelta(minutes=8), 5)) == [("incident", 1)]
    worse = [waits(matter("worse", incident="i-1"))]
    assert shapes(form([*late, *worse], told, HOUR, 5)) == [("incident", 2)]


def test_the_worst_of_a_message_comes_first() -> None:
    mixed = [waits(matter(s, s)) for s in ("LOW", "CRITICAL", "MEDIUM", "HIGH")]
    (draft,) = form(mixed, [], HOUR, 1)
    assert [m.about.severity for m in draft.matters] == ["CRITICAL", "HIGH", "MEDIUM", "LOW"]


def test_what_is_collected_waits_and_is_one_message_in_the_end() -> None:
    ones = [waits(matter(f"m{n}", "MEDIUM"), due=at(60), collected=True) for n in range(30)]
    assert form(ones, [], at(59), 5) == []
    assert shapes(form(ones, [], at(60), 5)) == [("digest", 30)]


def test_a_clock_set_back_does_not_keep_a_digest_for_days() -> None:
    one = waits(matter("m", "LOW"), due=HOUR + timedelta(days=4), planned_at=HOUR + timedelta(days=3), collected=True)
    assert shapes(form([one], [], HOUR, 5)) == [("digest", 1)]


def test_a_storm_that_trickles_in_is_told_at_once_and_then_once_a_minute() -> None:
    waiting: list[Waiting] = []
    recent: list[Recent] = []
    went_out: list[tuple[int, str, int]] = []
    for second in range(180):
        now = HOUR + second * SECOND
        waiting.append(waits(matter(f"m{second}"), due=now, planned_at=now))
        for draft in form(waiting, recent, now, 5):
            waiting = [w for w in waiting if w.matter not in draft.matters]
            recent.append(went(draft.shape, now))
            went_out.append((second, draft.shape, len(draft.matters)))
    singles = [(second, "single", 1) for second in range(5)]
    assert went_out == [*singles, (5, "storm", 1), (65, "storm", 60), (125, "storm", 60)]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 400), max_size=120), st.integers(1, 6))
def test_a_minute_has_few_messages_and_nothing_waits_for_longer(seconds: list[int], limit: int) -> None:
    waiting: list[Waiting] = []
    recent: list[Recent] = []
    for second in range(470):
        now = HOUR + second * SECOND
        waiting += [
            waits(matter(f"m{n}", at=now), due=now, planned_at=now) for n, s in enumerate(seconds) if s == second
        ]
        for draft in form(waiting, recent, now, limit):
            waiting = [w for w in waiting if w.matter not in draft.matters]
            recent.append(went(draft.shape, now))
        assert all(now - w.due <= 60 * SECOND for w in waiting)
        minute = [r for r in recent if now - r.formed_at < 60 * SECOND]
        assert sum(r.shape == "single" for r in minute) <= limit
        assert sum(r.shape == "storm" for r in minute) <= 1
    assert waiting == []


@given(
    st.lists(
        st.tuples(st.integers(0, 60), st.sampled_from([None, "i-1", "i-2"]), st.booleans(), st.sampled_from("ab")),
        unique_by=lambda t: t[0],
    ),
    st.integers(1, 6),
)
def test_everything_is_told_in_the_end_and_each_once(ones: list[tuple[int, str | None, bool, str]], limit: int) -> None:
    waiting = [
        waits(matter(f"m{n}", incident=incident), channel, collected=later, due=at(30) if later else HOUR)
        for n, incident, later, channel in ones
    ]
    told: list[tuple[str, str]] = []
    recent: list[Recent] = []
    for minute in range(0, 120, 1):
        for draft in form(waiting, recent, at(minute), limit):
            done = {(draft.channel, m.matter_id) for m in draft.matters}
            told += done
            waiting = [w for w in waiting if (w.channel, w.matter.matter_id) not in done]
            rank = max(m.rank for m in draft.matters)
            recent.append(Recent(draft.channel, draft.recipient, draft.shape, draft.incident, rank, at(minute)))
    assert waiting == []
    assert len(told) == len(set(told)) == len(ones)


def test_waits_double_up_to_a_limit_and_vary() -> None:
    assert [wait_after(n) / SECOND for n in (1, 2, 3, 4)] == [2, 4, 8, 16]
    assert wait_after(100) == LONGEST_WAIT
    chance = random.Random(1)
    found = {(next_try(3, HOUR, chance) - HOUR) / SECOND for _ in range(50)}
    assert len(found) > 10
    assert all(6 <= f <= 10 for f in found)


def test_giving_up_counts_waits_and_not_what_the_clock_says() -> None:
    attempts = next(n for n in range(1, 1000) if is_given_up(n, timedelta(hours=1)))
    waited = sum((wait_after(n) for n in range(1, attempts)), timedelta())
    assert timedelta(hours=1) <= waited < timedelta(hours=1) + LONGEST_WAIT
    assert not is_given_up(1, timedelta(seconds=1))


def test_a_message_is_due_at_its_time_or_when_its_time_makes_no_sense() -> None:
    assert is_due(HOUR, HOUR, HOUR)
    assert not is_due(HOUR + SECOND, HOUR, HOUR)
    assert is_due(HOUR + timedelta(days=1), HOUR + timedelta(hours=23), HOUR)
