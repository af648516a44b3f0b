"""feature_hour and feature_day on real tables: closed windows only, late rows included, the same bits each time."""

import random
from datetime import datetime, timedelta

import polars as pl
import pytest

from refrig_assets.contracts import CLEAN_READINGS, DEVICE_FEATURES
from refrig_assets.lake import Lake
from refrig_assets.pipeline import clean as clean_module
from refrig_assets.pipeline import features as features_module
from refrig_assets.pipeline.features import feature_day, feature_hour
from refrig_assets.pipeline.hours import write_accounts
from refrig_assets.transforms.features import window_features
from refrig_assets_tests.builders import HOUR, ONE_HOUR, at, everything
from refrig_assets_tests.readings import FLEET, differences, land, make, state, steady_rows, stocked, twin, ugly_rows
from refrig_assets_tests.reference_features import features_of
from refrig_assets_tests.transforms.test_features import _assert_alike, bits

DAY = HOUR.replace(hour=0)
FEATURES = DEVICE_FEATURES.name


def put_clean(lake: Lake, rows: pl.DataFrame, tag: str = "t") -> Lake:
    """Clean rows straight into their table."""
    table = lake.table(CLEAN_READINGS)
    table.append(rows.sort("device_id", "timestamp_utc"), tag=tag)
    return lake


def clean_of(raw: pl.DataFrame) -> pl.DataFrame:
    return CLEAN_READINGS.conform(
        raw.with_columns(
            timestamp_utc="timestamp_device",
            quality_flags=pl.lit([], dtype=pl.List(pl.String())),
            sensor_null_count=pl.lit(0),
        )
    )


def _of(lake: Lake, minutes: int) -> pl.DataFrame:
    return everything(lake, FEATURES).filter(window_duration_minutes=minutes)


def test_every_window_is_as_the_reference_has_it(lake: Lake) -> None:
    hours = [HOUR, HOUR + ONE_HOUR, HOUR + 2 * ONE_HOUR]
    land(stocked(lake), ugly_rows(11, 250, hours))
    make(lake, hours, hours[-1] + ONE_HOUR)
    clean = everything(lake, CLEAN_READINGS.name).to_dicts()
    inside = [r for r in clean if HOUR <= r["timestamp_utc"] < hours[-1] + ONE_HOUR]
    _assert_alike(everything(lake, FEATURES), [f for m in (15, 60) for f in features_of(inside, m)])
    days = sorted({r["timestamp_utc"].replace(hour=0, minute=0, second=0, microsecond=0) for r in clean})
    for day in days:
        feature_day(lake, day)
    _assert_alike(_of(lake, 1440), features_of(clean, 1440))
    assert _of(lake, 60).height > 0, "daily windows stand beside the hourly ones"


@pytest.mark.parametrize(
    ("minute", "closed"), [(-5, 0), (0, 0), (14.999, 0), (15, 1), (44, 2), (45, 3), (59.99, 3), (60, 5), (500, 5)]
)
def test_only_closed_windows_of_the_running_hour_are_made(lake: Lake, minute: float, closed: int) -> None:
    put_clean(lake, clean_of(steady_rows(["dev-a"], [HOUR])))
    report = feature_hour(lake, HOUR, at(minute))
    made = everything(lake, FEATURES)
    assert report.rows == made.height == closed
    assert all(end <= at(minute) for end in made["window_end"])


def test_a_closed_window_does_not_change_as_the_hour_goes_on(lake: Lake) -> None:
    rows = clean_of(steady_rows(["dev-a", "dev-b"], [HOUR], 1))
    put_clean(lake, rows.filter(pl.col("timestamp_utc") < at(31)))
    feature_hour(lake, HOUR, at(31))
    before = everything(lake, FEATURES)
    put_clean(lake, rows.filter(pl.col("timestamp_utc") >= at(31)))
    feature_hour(lake, HOUR, at(61))
    after = everything(lake, FEATURES)
    assert before.height == 4
    assert bits(after.join(before, on=list(DEVICE_FEATURES.key), how="semi")) == bits(before)


def test_rows_come_from_every_hour_of_arrival_and_only_of_the_hour(lake: Lake) -> None:
    rows = clean_of(steady_rows(["dev-a", "dev-b"], [HOUR - ONE_HOUR, HOUR, HOUR + ONE_HOUR]))
    shifted = rows.with_columns(
        pl.when(pl.col("timestamp_utc").dt.minute() == 20)
        .then(pl.col("timestamp_ingested") + timedelta(hours=5))
        .otherwise("timestamp_ingested")
        .alias("timestamp_ingested")
    )
    for number, part in enumerate(shifted.group_by(pl.col("timestamp_ingested").dt.hour())):
        put_clean(lake, part[1], f"t{number}")
    report = feature_hour(lake, HOUR, HOUR + 9 * ONE_HOUR)
    assert report.source_rows == {HOUR: 22, HOUR + 5 * ONE_HOUR: 2}
    assert report.late_rows == 2
    assert report.devices_by_window == {"10:00/15": 2, "10:15/15": 2, "10:30/15": 2, "10:45/15": 2, "10:00/60": 2}
    expected = window_features(rows.filter(pl.col("timestamp_utc").is_between(HOUR, at(59.9))), (15, 60))
    assert bits(everything(lake, FEATURES)) == bits(expected)


def test_the_files_that_rows_lie_in_change_no_bit(lake: Lake) -> None:
    rng = random.Random(3)
    rows = clean_of(steady_rows(["dev-a", "dev-b", "dev-c"], [HOUR], 1)).with_columns(
        # Several readings of one instant, whose sum depends on their order unless one is chosen.
        pl.col("timestamp_utc").dt.truncate("4m"),
        pl.Series("temperature_evaporator", [rng.uniform(-60, 30) for _ in range(180)]),
    )
    made = []
    for parts in (1, 2, 5):
        other = twin(lake)
        numbers = [rng.randrange(parts) for _ in range(rows.height)]
        for part in range(parts):
            put_clean(other, rows.filter(pl.Series(numbers) == part), f"t{rng.random()}")
        feature_hour(other, HOUR, at(60))
        made.append(bits(everything(other, FEATURES)))
        if parts > 1:
            other.table(CLEAN_READINGS).open().optimize.compact()
            feature_hour(other, HOUR, at(60))
            made.append(bits(everything(other, FEATURES)))
    assert all(one == made[0] for one in made)


def test_hours_in_many_files_equal_hours_in_few(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of an hour are read one after the other, late rows beside them: each device is made whole."""
    hours = [HOUR, HOUR + ONE_HOUR]
    devices = [f"dev-{n:02d}" for n in range(12)]
    stocked(lake, dict.fromkeys(devices, FLEET["dev-a"]))
    land(lake, ugly_rows(19, 300, hours, devices))
    other = twin(lake)
    make(lake, hours, hours[-1] + ONE_HOUR)
    monkeypatch.setattr(clean_module, "FILE_ROWS", 20)
    make(other, hours, hours[-1] + ONE_HOUR)
    own = [f for f in other.table(CLEAN_READINGS).files() if "late" not in f.path]
    assert len(own) >= 12
    assert differences(state(lake), state(other)) == {}


def test_days_in_ranges_of_devices_equal_a_day_in_one_pass(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    devices = [f"dev-{n:02d}" for n in range(9)]
    stocked(lake, dict.fromkeys(devices[1:-1], FLEET["dev-a"]))  # rows of devices before and after all known ones, too
    put_clean(lake, clean_of(steady_rows(devices, [DAY + n * ONE_HOUR for n in (0, 7, 23)], 7)))
    feature_day(lake, DAY)
    whole = _of(lake, 1440)
    assert whole.height == 9
    for rows_at_once in (1440 * 2, 1440, 5000):
        monkeypatch.setattr(features_module, "_ROWS_AT_ONCE", rows_at_once)
        assert len(features_module._device_ranges(lake)) > 1
        report = feature_day(lake, DAY)
        assert report.rows == report.devices == 9
        assert report.source_rows == {DAY + n * ONE_HOUR: 81 for n in (0, 7, 23)}
        assert bits(_of(lake, 1440)) == bits(whole)


def test_a_day_takes_its_own_rows_only_and_leaves_the_hours(lake: Lake) -> None:
    hours = [DAY - ONE_HOUR, DAY, DAY + 24 * ONE_HOUR]
    put_clean(stocked(lake), clean_of(steady_rows(["dev-a"], hours, 20)))
    for hour in hours:
        feature_hour(lake, hour, hour + ONE_HOUR)
    before = everything(lake, FEATURES)
    feature_day(lake, DAY)
    assert _of(lake, 1440)["reading_count"].to_list() == [3]
    assert everything(lake, FEATURES).filter(pl.col("window_duration_minutes") != 1440).equals(before)
    feature_hour(lake, DAY, DAY + ONE_HOUR)
    assert _of(lake, 1440).height == 1


def test_a_device_that_sent_nothing_has_no_row(lake: Lake) -> None:
    put_clean(stocked(lake), clean_of(steady_rows(["dev-a"], [HOUR])))
    feature_hour(lake, HOUR, at(60))
    assert set(everything(lake, FEATURES)["device_id"]) == {"dev-a"}
    assert feature_hour(lake, HOUR + ONE_HOUR, at(120)).rows == 0
    assert feature_day(lake, DAY + timedelta(days=3)).rows == 0


def test_windows_of_rows_that_are_gone_go(lake: Lake) -> None:
    put_clean(lake, clean_of(steady_rows(["dev-a"], [HOUR])))
    feature_hour(lake, HOUR, at(60))
    lake.table(CLEAN_READINGS).replace_hour(HOUR, [])
    feature_hour(lake, HOUR, at(60))
    assert everything(lake, FEATURES).is_empty()


def test_accounts_of_an_hour_replace_those_before_and_no_others(lake: Lake) -> None:
    hour: datetime = HOUR
    write_accounts(lake, "one", hour, {"rows": 1, "more": 2}, {"other": {hour: 3, hour + ONE_HOUR: 4}})
    write_accounts(lake, "two", hour, {"rows": 5})
    write_accounts(lake, "one", hour + ONE_HOUR, {"rows": 6})
    write_accounts(lake, "one", hour, {"rows": 7})
    found = everything(lake, "hour_accounts").select("hour", "table", "account", "rows").rows()
    assert found == [(hour, "one", "rows", 7), (hour, "two", "rows", 5), (hour + ONE_HOUR, "one", "rows", 6)]
