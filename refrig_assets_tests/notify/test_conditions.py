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
        one, said = tell(said, condition, now)
        said = Said.of(said.to_json())
        if one is not None:
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
    (first, _), (again, _) = tell(Said(), seen, HOUR), tell(Said(), seen, later)
    assert first is not None
    assert again is not None
    assert first.matter_id != again.matter_id


def partitions(*seen: tuple[str, Level, timedelta], said: Said | None = None) -> list[tuple[str, dict[str, str]]]:
    """What is told when partitions are seen so, each so long after the first: titles and lines."""
    said, told = said or Said(), []
    for names, level, after in seen:
        now = HOUR + after
        each: dict[str, Level] = dict.fromkeys(names.split(), level)
        condition = Condition(
            "data_quality", "check:a/b", level, "Check b of a", [("Finding", level)], now,
            where=[("Asset", "a")], links=[("In the UI", "http://ui")], partitions=each,
        )  # fmt: skip
        one, said = tell(said, condition, now)
        said = Said.of(said.to_json())
        if one is not None:
            told.append((one.facts["title"], dict(one.facts["lines"])))
    return told


def test_each_partition_that_fails_is_told_and_well_are_all_or_none() -> None:
    first, second, well = partitions(
        ("09", "error", 0 * MINUTE),
        ("10", "error", 20 * MINUTE),
        ("11", "ok", 60 * MINUTE),
        ("09", "ok", 70 * MINUTE),
        ("10", "error", 75 * MINUTE),
        ("10", "ok", 80 * MINUTE),
    )
    assert first == (
        "Check b of a fails",
        {"Asset": "a", "Partitions": "09", "Finding": "error", "In the UI": "http://ui"},
    )
    assert second[0] == "Check b of a fails for 1 more partition"
    assert (second[1]["Partitions"], second[1]["Not well since before"]) == ("10", "09")
    assert well[0] == "Well again: Check b of a"


def test_an_hourly_check_that_keeps_failing_does_not_speak_up_each_hour_and_loses_no_partition() -> None:
    hours = [f"{n:03}" for n in range(72)]
    told = partitions(*((hour, "error", n * 60 * MINUTE) for n, hour in enumerate(hours)))
    assert [title for title, _ in told[:6]] == [
        "Check b of a fails",
        *(f"Check b of a fails for {n} more partition{'s' if n > 1 else ''}" for n in (1, 1, 2, 4, 8)),
    ]
    assert len(told) == 8
    (_, lines) = partitions(*((hour, "error", n * 60 * MINUTE) for n, hour in enumerate(hours[:9])))[-1]
    assert lines["Partitions"] == "005, 006, 007, 008"


def test_what_was_held_back_is_told_when_another_partition_passes() -> None:
    told = partitions(
        ("09", "error", 0 * MINUTE),
        ("10", "error", 20 * MINUTE),
        ("11", "error", 25 * MINUTE),  # as long again as it has lasted is waited for: until minute 40
        ("12", "ok", 60 * MINUTE),
    )
    title, lines = told[-1]
    assert (len(told), title) == (3, "Check b of a fails for 1 more partition")
    assert lines == {
        "Asset": "a", "Partitions": "11", "Not well since before": "09, 10", "In the UI": "http://ui",
    }  # fmt: skip


def test_many_partitions_at_once_are_one_message() -> None:
    ((title, lines),) = partitions((" ".join(f"{n:02}" for n in range(30)), "error", 0 * MINUTE))
    assert (title, lines["Partitions"]) == ("Check b of a fails", "00, 01, 02, 03, 04 and 25 more")


def test_a_partition_that_becomes_worse_is_told_and_one_that_eases_is_not() -> None:
    told = partitions(
        ("09", "error", 0 * MINUTE),
        ("10", "warn", MINUTE),
        ("10", "error", 10 * MINUTE),
        ("10", "warn", 20 * MINUTE),
        ("09", "ok", 30 * MINUTE),
    )
    more = "Check b of a fails for 1 more partition"
    assert [title for title, _ in told] == ["Check b of a fails", more, more, "Check b of a warns"]


def test_a_partition_that_nobody_looks_at_again_is_let_go_in_silence() -> None:
    told = partitions(
        ("09", "error", 0 * MINUTE),
        ("10", "ok", DAY),
        ("11", "ok", 9 * DAY),
        ("12", "ok", 9 * DAY),
        ("12", "error", 10 * DAY),
    )
    assert [title for title, _ in told] == ["Check b of a fails", "Check b of a still fails", "Check b of a fails"]


def test_what_was_said_before_there_were_partitions_is_understood() -> None:
    before = Said.of('{"level": "error", "at": {"error": "2026-03-02T00:00:00.000000+00:00"}}')
    assert [title for title, _ in partitions(("09", "ok", 0 * MINUTE), said=before)] == ["Well again: Check b of a"]
