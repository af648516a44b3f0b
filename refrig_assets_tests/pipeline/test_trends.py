"""Trend hours on a lake: one by one or as a range, left alone when current, made again when their windows were."""

from datetime import timedelta

import polars as pl

from refrig_assets.contracts import DEVICE_FEATURES, DEVICE_TRENDS
from refrig_assets.lake import Lake
from refrig_assets.pipeline.hours import SOURCE_HOUR, SOURCE_MARK, write_accounts
from refrig_assets.pipeline.model_rows import MODEL_ROW_COLUMNS, empty_rows, model_rows
from refrig_assets.pipeline.registry import write_registry
from refrig_assets.pipeline.trends import stale_trend_hours, trend_hour, trend_hours
from refrig_assets_tests.builders import HOUR, ONE_HOUR, everything, registry_of
from refrig_assets_tests.windows import windows, write_windows

DEVICES = ["dev-0", "dev-1", "dev-2"]
DAY = timedelta(days=1)
LATER = HOUR + 3 * ONE_HOUR
RANGE = [HOUR + n * ONE_HOUR for n in range(4)]


def account(lake: Lake, first: int, last: int, rows: int = 60) -> None:
    """What features tell of the hours, counted from HOUR."""
    for n in range(first, last):
        hour = HOUR + n * ONE_HOUR
        sources = {SOURCE_HOUR: {hour: rows}, SOURCE_MARK: {hour: rows * 7}}
        write_accounts(lake, DEVICE_FEATURES.name, hour, {"rows": 5}, sources)


def filled(lake: Lake) -> pl.DataFrame:
    frame = windows(DEVICES, HOUR - DAY, 28, holes=0.1)
    write_windows(lake, frame)
    return frame


def test_a_range_gives_what_its_hours_give_alone(lake: Lake) -> None:
    filled(lake)
    reports = list(trend_hours(lake, RANGE, LATER + ONE_HOUR))
    together = everything(lake, DEVICE_TRENDS.name)
    assert [r.hours_read for r in reports] == [24, 1, 1, 1]
    assert [r.rows for r in reports] == [3] * 4
    for hour in reversed(RANGE):
        trend_hour(lake, hour, LATER + ONE_HOUR)
    assert everything(lake, DEVICE_TRENDS.name).equals(together)


def test_a_range_may_skip_hours(lake: Lake) -> None:
    filled(lake)
    few = [RANGE[0], RANGE[3]]
    reports = list(trend_hours(lake, few, LATER + ONE_HOUR))
    assert [r.hours_read for r in reports] == [24, 3]
    assert everything(lake, DEVICE_TRENDS.name)["window_start"].unique().sort().to_list() == few


def test_windows_still_open_do_not_exist(lake: Lake) -> None:
    filled(lake)
    trend_hour(lake, HOUR, HOUR - timedelta(minutes=1))
    found = everything(lake, DEVICE_TRENDS.name)
    assert found["hours_present"].unique().to_list() == [23]


def test_current_hours_are_left_alone_and_changed_ones_made_again(lake: Lake) -> None:
    filled(lake)
    account(lake, -24, 4)
    now = LATER + 7 * ONE_HOUR
    list(trend_hours(lake, RANGE, now))
    version = lake.table(DEVICE_TRENDS).version
    assert [r.unchanged for r in trend_hours(lake, RANGE, now)] == [True] * 4
    assert lake.table(DEVICE_TRENDS).version == version
    assert stale_trend_hours(lake, now) == {}
    account(lake, 1, 2, rows=61)  # what RANGE[1] holds has changed: trends of the hours after it look at it
    assert list(stale_trend_hours(lake, now)) == RANGE[2:]
    assert list(stale_trend_hours(lake, RANGE[2] + timedelta(hours=6))) == [RANGE[2]]
    assert [r.unchanged for r in trend_hours(lake, RANGE, now)] == [True, True, False, False]
    assert stale_trend_hours(lake, now) == {}


def test_hours_made_later_make_the_trends_after_them_stale(lake: Lake) -> None:
    filled(lake)
    account(lake, -20, 0)
    now = LATER + 7 * ONE_HOUR
    trend_hour(lake, HOUR, now)
    assert stale_trend_hours(lake, now) == {}
    account(lake, -24, -20)
    assert stale_trend_hours(lake, now) == {HOUR: "4 of the 24 hours before were made again"}


def test_model_rows_hold_the_windows_the_devices_and_the_trends_of_the_hour(lake: Lake) -> None:
    frame = filled(lake)
    write_registry(lake, registry_of(DEVICES[:2], install_date=HOUR - 40 * DAY))
    list(trend_hours(lake, RANGE, LATER + ONE_HOUR))
    rows = model_rows(lake, HOUR, HOUR + 2 * ONE_HOUR)
    assert tuple(rows.columns) == MODEL_ROW_COLUMNS
    assert rows.schema == empty_rows().schema
    assert rows.height == len(DEVICES) * 8
    assert rows.select("device_id", "window_start").equals(
        rows.select("device_id", "window_start").sort("device_id", "window_start")
    )
    first = rows.row(0, named=True)
    assert (first["device_age_days"], first["cohort_id"]) == (40.0, "cohort-1")
    assert rows.filter(pl.col("device_id") == "dev-2")["cohort_id"].null_count() == 8  # not in the registry
    trend = everything(lake, DEVICE_TRENDS.name).row(0, named=True)
    assert first["superheat_mean_24h"] == trend["superheat_mean_24h"]
    same = frame.filter((pl.col("window_duration_minutes") == 15) & (pl.col("window_start") == HOUR)).sort("device_id")
    assert first["superheat_std"] == same["superheat_std"][0]


def test_model_rows_of_some_devices_and_of_an_older_version(lake: Lake) -> None:
    frame = filled(lake)
    version = lake.table(DEVICE_FEATURES).version
    write_windows(lake, frame.with_columns(pl.col("humidity_std") + 1))
    pinned = {DEVICE_FEATURES.name: version}
    old = model_rows(lake, HOUR, HOUR + ONE_HOUR, devices=["dev-1"], versions=pinned)
    new = model_rows(lake, HOUR, HOUR + ONE_HOUR, devices=["dev-1"])
    assert old["device_id"].unique().to_list() == ["dev-1"]
    assert ((new["humidity_std"] - old["humidity_std"]).drop_nulls() - 1).abs().max() < 1e-9
    assert model_rows(lake, LATER + DAY, LATER + 2 * DAY).equals(empty_rows())
