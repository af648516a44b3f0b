"""Replacing only the days that differ, under a mark."""

from datetime import timedelta

import polars as pl
import pytest

from refrig_assets.contracts import RAW_READINGS
from refrig_assets.lake import Lake, MarkTakenError, Table
from refrig_assets_tests.builders import HOUR, raw_rows

EVERYTHING = pl.lit(value=True)
DAY = timedelta(days=1)


def days(*numbers: int) -> pl.DataFrame:
    return raw_rows([{"event_id": f"e{n}", "hour": HOUR + n * DAY, "minute": 0} for n in numbers])


@pytest.fixture
def raw(lake: Lake) -> Table:
    return lake.table(RAW_READINGS)


def paths(raw: Table) -> dict[str | None, str]:
    return {f.partition_date: f.path for f in raw.files()}


def test_only_days_that_differ_are_written(raw: Table) -> None:
    assert raw.replace_changed_days(days(0, 1, 2), EVERYTHING, ("app", 1), {}).files == 3
    before = paths(raw)
    changed = days(0, 1, 3).with_columns(humidity=pl.when(pl.col("event_id") == "e1").then(99.0).otherwise("humidity"))
    assert raw.replace_changed_days(changed, EVERYTHING, ("app", 2), {"told": "yes"}).files == 2
    after = paths(raw)
    assert raw.read().sort("event_id").equals(changed)
    assert {d for d in before if before[d] == after.get(d)} == {"2026-03-02"}
    assert raw.open().history(1)[0]["told"] == "yes"


def test_rows_that_are_there_already_move_the_mark_alone(raw: Table) -> None:
    raw.replace_changed_days(days(0, 1), EVERYTHING, ("app", 1), {})
    before = paths(raw)
    assert raw.replace_changed_days(days(0, 1), EVERYTHING, ("app", 5), {}).files == 0
    assert paths(raw) == before
    assert raw.transaction_version("app") == 5
    assert raw.replace_changed_days(days(), EVERYTHING, ("app", 6), {}).files == 0
    assert raw.read().is_empty()


def test_an_older_state_does_not_take_the_place_of_a_newer_one(raw: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    write, met = raw._write_actions, []

    def meet(*arguments: object) -> None:
        if not met:
            met.append(1)
            raw.replace_changed_days(days(0, 1, 2), EVERYTHING, ("app", 9), {})
        write(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(raw, "_write_actions", meet)
    with pytest.raises(MarkTakenError):
        raw.replace_changed_days(days(0), EVERYTHING, ("app", 8), {})
    assert raw.read().height == 3


def test_a_newer_state_that_met_an_older_one_compares_again(raw: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    raw.replace_changed_days(days(0), EVERYTHING, ("app", 1), {})
    write, met = raw._write_actions, []

    def meet(*arguments: object) -> None:
        if not met:
            met.append(1)
            raw.replace_changed_days(days(0, 1), EVERYTHING, ("app", 2), {})
        write(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(raw, "_write_actions", meet)
    raw.replace_changed_days(days(0), EVERYTHING, ("app", 3), {})  # nothing differs from the state before the meeting
    assert raw.read().equals(days(0))
