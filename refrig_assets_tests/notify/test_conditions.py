"""Checks, runs and the stream: told on a change, each day while it lasts, and when well again."""

from datetime import datetime, timedelta

from refrig_assets.notify.conditions import Condition, Level, Said, tell
from refrig_assets_tests.builders import HOUR

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


def story(*seen: tuple[Level, timedelta]) -> list[str]:
    """The titles told when a condition is seen so, each so long after the first."""
    said, titles = Said(), []
    for level, after in seen:
        now = HOUR + after
        condition = Condition("data_quality", "check:a/b", level, "Check b of a", [], now)
        found = tell(said, condition, now)
        if found is not None:
            one, said = found
            said = Said.of(said.to_json())
            titles.append(f"{one.about.severity} {one.facts['title']}")
    return titles


FAILS, WARNS, WELL = "HIGH Check b of a fails", "MEDIUM Check b of a warns", "HIGH Well again: Check b of a"


def test_what_keeps_failing_is_told_once_a_day() -> None:
    every_5_minutes: list[tuple[Level, timedelta]] = [("error", n * 5 * MINUTE) for n in range(12 * 24 + 2)]
    assert story(*every_5_minutes) == [FAILS, "HIGH Check b of a still fails"]


def test_what_was_well_from_the_beginning_is_not_told() -> None:
    assert story(("ok", 0 * MINUTE), ("ok", DAY)) == []


def test_a_change_of_level_and_its_end_are_told() -> None:
    assert story(("warn", 0 * MINUTE), ("error", MINUTE), ("ok", 5 * MINUTE)) == [WARNS, FAILS, WELL]
    assert story(("error", 0 * MINUTE), ("warn", MINUTE)) == [FAILS, WARNS]


def test_what_comes_and_goes_is_not_told_each_time() -> None:
    flapping: list[tuple[Level, timedelta]] = [("ok" if n % 2 else "error", n * 5 * MINUTE) for n in range(12)]
    assert story(*flapping) == [FAILS, WELL]
    assert story(*flapping, ("error", 70 * MINUTE)) == [FAILS, WELL, FAILS]


def test_a_clock_set_back_hides_no_change() -> None:
    assert story(("error", DAY), ("ok", 0 * MINUTE), ("error", MINUTE)) == [FAILS, WELL, FAILS]


def test_each_telling_has_its_own_identity() -> None:
    seen = Condition("model", "run:x", "error", "Job x", [], HOUR, "run-1")
    later: datetime = HOUR + 2 * DAY
    first, again = tell(Said(), seen, HOUR), tell(Said(), seen, later)
    assert first is not None
    assert again is not None
    assert first[0].matter_id != again[0].matter_id
