"""What is stale is named, exactly, and nothing is once it has been made again."""

import os
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from refrig_assets.contracts import CLEAN_READINGS, DEVICE_FEATURES
from refrig_assets.lake import Lake
from refrig_assets.pipeline.clean import clean_hour
from refrig_assets.pipeline.features import feature_day, feature_hour
from refrig_assets.pipeline.landing import land_hour
from refrig_assets.pipeline.pending import LOOK_BACK, Waiting, stale, stale_days, unlanded
from refrig_assets_tests.builders import HOUR, NOW, ONE_HOUR, everything, land_file, minutes_of, raw_rows
from refrig_assets_tests.readings import differences, land, make, refresh, state, steady_rows, stocked, twin, ugly_rows
from refrig_assets_tests.transforms.test_features import bits

DAY = HOUR.replace(hour=0)
HOURS = [HOUR + n * ONE_HOUR for n in range(4)]
LATER = HOURS[-1] + ONE_HOUR


def late(device: str, measured: datetime, arrived: datetime, event: str = "late") -> pl.DataFrame:
    row = {"event_id": event, "device_id": device, "timestamp_device": measured, "timestamp_ingested": arrived}
    return raw_rows([row])


def named(lake: Lake, now: datetime = LATER) -> tuple[set[datetime], set[datetime], set[datetime]]:
    clean, features = stale(lake, now)
    return set(clean.hours), set(features.hours), set(stale_days(lake, now).hours)


@pytest.fixture
def full(lake: Lake) -> Lake:
    """Four hours of three devices, cleaned and computed, with the day."""
    land(stocked(lake), steady_rows(["dev-a", "dev-b", "dev-c"], HOURS, 10))
    make(lake, HOURS)
    feature_day(lake, DAY)
    return lake


def test_nothing_is_stale_after_a_backfill_in_order(full: Lake) -> None:
    assert named(full) == (set(), set(), set())


def test_nothing_is_stale_after_a_messy_backfill_and_one_refresh(lake: Lake) -> None:
    land(stocked(lake), ugly_rows(21, 200, HOURS))
    make(lake, HOURS, LATER)
    refresh(lake, LATER)
    assert named(lake) == (set(), set(), set())


def test_what_landed_and_was_never_made_is_stale(lake: Lake) -> None:
    land(stocked(lake), steady_rows(["dev-a"], HOURS[:2]))
    assert named(lake)[0] == set(HOURS[:2])
    clean_hour(lake, HOURS[0])
    assert named(lake) == ({HOURS[1]}, {HOURS[0]}, set())


def test_late_rows_refresh_the_windows_they_fall_into_and_no_others(full: Lake) -> None:
    """An outage's backlog arrives in the last hour: two earlier hours and the day are named, and change alone."""
    before = everything(full, DEVICE_FEATURES.name)
    backlog = [
        late("dev-b", HOURS[n] + timedelta(minutes=m), HOURS[3] + timedelta(minutes=50), f"l{n}{m}")
        for n, m in ((0, 17), (0, 18), (2, 3))
    ]
    land(full, pl.concat(backlog))
    assert named(full) == ({HOURS[3]}, set(), set())
    clean_hour(full, HOURS[3])
    assert named(full) == (set(), {HOURS[0], HOURS[2]}, {DAY})
    feature_hour(full, HOURS[0], LATER)
    assert named(full) == (set(), {HOURS[2]}, {DAY})
    feature_hour(full, HOURS[2], LATER)
    feature_day(full, DAY)
    assert named(full) == (set(), set(), set())
    after = everything(full, DEVICE_FEATURES.name)
    changed = set(bits(after)) ^ set(bits(before))
    windows = {(r[0], r[1], r[3]) for r in changed}
    quarter = timedelta(minutes=15)
    assert windows == {
        ("dev-b", HOURS[0] + quarter, 15),
        ("dev-b", HOURS[2], 15),
        ("dev-b", HOURS[0], 60),
        ("dev-b", HOURS[2], 60),
        ("dev-b", DAY, 1440),
    }
    assert len(changed) == 2 * len(windows)


def test_a_duplicate_that_came_later_is_told_to_the_hour_and_its_windows(full: Lake) -> None:
    """As many rows as before, but one of them says that it had a copy: features count flags."""
    before = everything(full, DEVICE_FEATURES.name)
    first = everything(full, CLEAN_READINGS.name).filter(device_id="dev-a")["event_id"][0]
    land(full, late("dev-a", HOURS[0], HOURS[3] + timedelta(minutes=30), first))
    clean_hour(full, HOURS[3])
    assert named(full)[0] == {HOURS[0]}
    clean_hour(full, HOURS[0])
    assert named(full) == (set(), {HOURS[0]}, {DAY})
    refresh(full, LATER)
    after = everything(full, DEVICE_FEATURES.name)
    more = (after["quality_flag_count"] - before["quality_flag_count"]).to_list()
    assert sorted(more, reverse=True)[:4] == [1, 1, 1, 0], "its 15 and 60 minutes, and its day"
    assert after.drop("quality_flag_count").equals(before.drop("quality_flag_count"))
    straight = twin(full)
    make(straight, HOURS, LATER)
    feature_day(straight, DAY)
    assert differences(state(full), state(straight)) == {}


def test_an_hour_that_grew_is_stale_and_only_it(full: Lake) -> None:
    land(full, late("dev-c", HOURS[1] + timedelta(minutes=5), HOURS[1] + timedelta(minutes=5)))
    assert named(full) == ({HOURS[1]}, set(), set())
    done = refresh(full, LATER)
    assert done == ({HOURS[1]}, {HOURS[1]}, {DAY})


def test_a_day_made_before_it_had_any_row_is_stale_when_it_has(lake: Lake) -> None:
    feature_day(stocked(lake), DAY)
    assert named(lake)[2] == set()
    land(lake, steady_rows(["dev-a"], [HOUR]))
    make(lake, [HOUR])
    assert named(lake)[2] == {DAY}
    feature_day(lake, DAY)
    assert named(lake)[2] == set()


@pytest.mark.parametrize("ahead", [-20, 20])
def test_nothing_is_named_for_having_grown_old(lake: Lake, ahead: int) -> None:
    """Rows that came hours late, or from clocks ahead, do not make hours stale as the look-back passes by them."""
    stocked(lake)
    hours = [HOUR, HOUR + abs(ahead) * ONE_HOUR]
    rows = [
        late("dev-a", hours[0], hours[1]),
        late("dev-a", hours[1], hours[0], "ahead"),
        late("dev-b", hours[0], hours[0], "plain"),
    ]
    land(lake, pl.concat(rows if ahead > 0 else rows[:1] + rows[2:]))
    make(lake, hours, hours[-1] + ONE_HOUR)
    days = {h.replace(hour=0) for h in hours}
    for day in days:
        feature_day(lake, day)
    refresh(lake, hours[-1] + ONE_HOUR)
    for border in (*hours, *days):
        for shift in (-1, 0, 1):
            now = border + LOOK_BACK + shift * timedelta(minutes=30)
            assert named(lake, now) == (set(), set(), set()), (border, shift)


def test_hours_older_than_the_look_back_are_left_alone(full: Lake) -> None:
    land(full, late("dev-c", HOURS[1], HOURS[1]))
    assert named(full, HOURS[1] + LOOK_BACK)[0] == {HOURS[1]}
    assert named(full, HOURS[1] + LOOK_BACK + timedelta(seconds=1))[0] == set()


def test_the_running_hour_waits_for_its_end(lake: Lake) -> None:
    land(stocked(lake), steady_rows(["dev-a"], [HOUR], 10))
    make(lake, [HOUR], HOUR + timedelta(minutes=40))
    assert named(lake, HOUR + timedelta(minutes=40)) == (set(), set(), set())
    assert named(lake, HOUR + ONE_HOUR) == (set(), {HOUR}, set())


def test_a_mark_changes_with_what_waits() -> None:
    one = Waiting({HOUR: "a", HOURS[1]: "b"})
    assert one.mark(HOURS[:2]) == one.mark(HOURS[1::-1]) != Waiting({HOUR: "a", HOURS[1]: "c"}).mark(HOURS[:2])
    assert one.mark([HOUR]) != one.mark(HOURS[:2])


def _aged(paths: Iterable[Path], now: datetime, seconds: float) -> None:
    for path in paths:
        os.utime(path, (now.timestamp() - seconds,) * 2)


def test_unlanded_names_files_the_log_does_not_know(lake: Lake, landing: Path) -> None:
    none = timedelta(0)
    assert unlanded(lake, landing, NOW, none).hours == {}
    first = land_file(landing, "a.ndjson", minutes_of(1, 2))
    other = land_file(landing, "b.ndjson", minutes_of(2, 1, 5), HOUR + ONE_HOUR)
    land_file(landing, "c.ndjson", minutes_of(1, 1), HOUR + 5 * ONE_HOUR)
    _aged([first, other], NOW, 30)
    assert set(unlanded(lake, landing, NOW, none).hours) == {HOUR, HOUR + ONE_HOUR}, "not hours to come"
    assert unlanded(lake, landing, NOW, timedelta(seconds=31)).hours == {}
    land_hour(stocked(lake), landing, HOUR, NOW)
    assert set(unlanded(lake, landing, NOW, none).hours) == {HOUR + ONE_HOUR}
    land_hour(lake, landing, HOUR + ONE_HOUR, NOW)
    assert unlanded(lake, landing, NOW, none).hours == {}
    mark = unlanded(lake, landing, NOW, none).mark([])
    grown = land_file(landing, "a.ndjson", minutes_of(1, 3))
    _aged([grown], NOW, 30)
    waiting = unlanded(lake, landing, NOW, none)
    assert list(waiting.hours) == [HOUR]
    assert waiting.mark([HOUR]) != mark
    land_hour(lake, landing, HOUR, NOW)
    assert unlanded(lake, landing, NOW, none).hours == {}


def test_files_that_hold_nothing_new_or_nothing_readable_are_asked_for_once(lake: Lake, landing: Path) -> None:
    content = minutes_of(1, 2)
    for name, body in (
        ("a.ndjson", content),
        ("twin.ndjson", content),
        ("empty.ndjson", b""),
        ("noise.parquet", b"noise"),
    ):
        land_file(landing, name, body)
    none = timedelta(0)
    assert list(unlanded(lake, landing, NOW + timedelta(days=400), none).hours) == [HOUR]
    land_hour(stocked(lake), landing, HOUR, NOW)
    assert unlanded(lake, landing, NOW + timedelta(days=400), none).hours == {}
