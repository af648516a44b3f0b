"""Trends against a reference that looks at one device and feature at a time; nothing of the hour itself or after."""

from datetime import datetime, timedelta

import polars as pl
import pytest

from refrig_assets.contracts import DEVICE_TRENDS
from refrig_assets.contracts.base import TS
from refrig_assets.contracts.trends import (
    CHANGE_H,
    DERIVED,
    HORIZONS_H,
    TREND_NAMES,
    TRENDED,
    change_name,
    trend_name,
)
from refrig_assets.transforms.trends import TREND_INPUTS, HourOfWindows, trend_rows, with_derived
from refrig_assets_tests.builders import HOUR, ONE_HOUR
from refrig_assets_tests.windows import windows

DEVICES = [f"dev-{n}" for n in range(6)]


def held_of(frame: pl.DataFrame) -> dict[datetime, HourOfWindows]:
    return {start: HourOfWindows.of(rows.select(TREND_INPUTS)) for (start,), rows in frame.group_by("window_start")}


def made_before(hours: int, holes: float = 0.0) -> pl.DataFrame:
    return windows(DEVICES, HOUR - hours * ONE_HOUR, hours, minutes=(60,), holes=holes, seed=3)


def naive(frame: pl.DataFrame, device: str, feature: str, hours: int, hour: datetime) -> float | None:
    rows = with_derived(frame).filter(pl.col("device_id") == device)
    values = [
        value
        for start, value in rows.select("window_start", feature).iter_rows()
        if hour - timedelta(hours=hours) <= start < hour and value is not None
    ]
    return sum(values) / len(values) if len(values) >= hours / 3 else None


def test_trends_are_what_a_plain_mean_says() -> None:
    frame = made_before(26, holes=0.6).filter(~((pl.col("device_id") == "dev-3") & (pl.col("window_start") > HOUR)))
    gone = (pl.col("device_id") == "dev-4") & (pl.col("window_start") < HOUR - 5 * ONE_HOUR)
    frame = frame.filter(~gone)
    found = trend_rows(held_of(frame), HOUR)
    assert found["device_id"].to_list() == DEVICES
    nulls = 0
    for row in found.iter_rows(named=True):
        for feature in TRENDED:
            for hours in HORIZONS_H:
                expected = naive(frame, row["device_id"], feature, hours, HOUR)
                value = row[trend_name(feature, hours)]
                nulls += expected is None
                assert value == (None if expected is None else pytest.approx(expected, rel=1e-12))
    assert 0 < nulls < found.height * len(TREND_NAMES)
    assert DEVICE_TRENDS.violations(found) == []


def test_nothing_at_or_after_the_hour_is_used() -> None:
    before = made_before(24)
    after = windows(DEVICES, HOUR, 3, minutes=(60,), seed=9).with_columns(pl.col("temp_evaporator_mean") * 0 + 29)
    assert trend_rows(held_of(pl.concat([before, after])), HOUR).equals(trend_rows(held_of(before), HOUR))


def test_the_same_windows_give_the_same_bits_in_any_order_and_beside_any_others() -> None:
    frame = made_before(30, holes=0.1)
    found = trend_rows(held_of(frame), HOUR)
    shuffled = frame.sample(fraction=1.0, shuffle=True, seed=1)
    assert trend_rows(held_of(shuffled), HOUR).equals(found)
    alone = trend_rows(held_of(frame.filter(pl.col("device_id") == "dev-2")), HOUR)
    assert alone.equals(found.filter(pl.col("device_id") == "dev-2"))


@pytest.mark.parametrize(
    ("hours", "six", "day"), [(1, False, False), (2, True, False), (7, True, False), (8, True, True)]
)
def test_a_third_of_the_hours_is_enough(hours: int, six: bool, day: bool) -> None:
    found = trend_rows(held_of(made_before(hours)), HOUR)
    assert found["hours_present"].to_list() == [hours] * len(DEVICES)
    assert (found["pressure_ratio_6h"].null_count() == 0) == six
    assert (found["pressure_ratio_24h"].null_count() == 0) == day


def test_no_windows_no_trends() -> None:
    assert trend_rows({}, HOUR).equals(DEVICE_TRENDS.empty())
    assert trend_rows(held_of(windows(DEVICES, HOUR, 1, minutes=(60,))), HOUR).is_empty()


def test_a_device_with_one_sensor_has_the_trends_of_that_sensor() -> None:
    frame = made_before(24).with_columns(
        pl.lit(None, dtype=pl.Float64).alias(n)
        for n in TREND_INPUTS
        if n not in ("device_id", "window_start", "temp_evaporator_mean")
    )
    found = trend_rows(held_of(frame), HOUR)
    known = [n for n in TREND_NAMES if found[n].null_count() == 0]
    assert known == ["temp_evaporator_mean_6h", "temp_evaporator_mean_24h"]
    assert set(DERIVED) <= set(TRENDED)


def repaired(at: datetime, device: str = "dev-2") -> pl.DataFrame:
    return pl.DataFrame({"device_id": [device], "completed_date": [at]}, schema_overrides={"completed_date": TS})


def test_nothing_of_before_a_repair_is_used() -> None:
    frame = made_before(24)
    # The hour in which it was done counts as before, and two more until the machine has settled.
    for minutes, hours_left in ((0, 4), (20, 3)):
        at = HOUR - 6 * ONE_HOUR + timedelta(minutes=minutes)
        found = trend_rows(held_of(frame), HOUR, None, repaired(at))
        since = frame.filter(
            (pl.col("device_id") != "dev-2") | (pl.col("window_start") >= HOUR - hours_left * ONE_HOUR)
        )
        assert found.equals(trend_rows(held_of(since), HOUR))
    just_now = trend_rows(held_of(frame), HOUR, None, repaired(HOUR))
    assert just_now["device_id"].to_list() == [d for d in DEVICES if d != "dev-2"]
    assert trend_rows(held_of(frame), HOUR, None, repaired(HOUR + ONE_HOUR)).equals(trend_rows(held_of(frame), HOUR))


@pytest.mark.parametrize(("hours_ago", "known"), [(10, False), (79, False), (81, True), (None, True)])
def test_a_change_is_the_difference_to_three_days_before_unless_a_repair_lies_between(
    hours_ago: int | None, known: bool
) -> None:
    then = HOUR - CHANGE_H * ONE_HOUR
    frame = windows(DEVICES, then - 24 * ONE_HOUR, 24 + CHANGE_H, minutes=(60,), seed=5)
    held = held_of(frame)
    earlier = trend_rows(held, then).filter(pl.col("device_id") != "dev-5")
    done = None if hours_ago is None else repaired(HOUR - hours_ago * ONE_HOUR)
    found = trend_rows(held, HOUR, earlier, done)
    name = change_name("superheat_mean")
    by_device = dict(found.select("device_id", name).iter_rows())
    six = trend_name("superheat_mean", 6)
    now = dict(found.select("device_id", six).iter_rows())
    before = dict(earlier.select("device_id", six).iter_rows())
    assert by_device["dev-0"] == pytest.approx(now["dev-0"] - before["dev-0"])
    assert by_device["dev-5"] is None
    assert (by_device["dev-2"] is not None) is known
