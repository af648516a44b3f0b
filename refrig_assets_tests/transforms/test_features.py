"""The features of C3 on frames, against a reference that goes window by window."""

import random
from datetime import timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from refrig_assets.contracts import CLEAN_READINGS, DEVICE_FEATURES
from refrig_assets.contracts.sensors import NUMERIC_SENSORS, SENSOR_NAMES
from refrig_assets.transforms.features import in_order, window_features, window_start
from refrig_assets_tests.builders import HEALTHY, HOUR, NOTHING, at
from refrig_assets_tests.reference_features import features_of

KEY = ["window_duration_minutes", "device_id", "window_start"]
ALL_LENGTHS = ((15, 60), (1440,), (15,), (60,))


def clean_rows(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Clean rows from what is special about each; `minute` is the time of the reading."""
    made = []
    for number, row in enumerate(rows):
        given_values = dict(row)
        moment = at(given_values.pop("minute", number))
        whole = {
            "event_id": f"e{number}",
            "device_id": "dev-a",
            "timestamp_utc": moment,
            **HEALTHY,
            "quality_flags": [],
        }
        whole |= {"timestamp_ingested": moment} | given_values
        whole["sensor_null_count"] = sum(whole[n] is None for n in SENSOR_NAMES)
        made.append(whole)
    return pl.DataFrame(made, schema=CLEAN_READINGS.dtypes, orient="row")


@st.composite
def _rows(draw: st.DrawFn) -> list[dict[str, Any]]:
    rows = []
    for _ in range(draw(st.integers(1, 25))):
        row: dict[str, Any] = {
            "device_id": draw(st.sampled_from(["dev-a", "dev-b"])),
            "minute": draw(
                st.sampled_from([0, 0.5, 14.999999, 15, 29, 30.25, 59.9999, 60, 61, 500, 1439, 1440, -0.001])
            ),
            "quality_flags": draw(st.sampled_from([[], ["SENSOR_GAP"], ["CLOCK_DRIFT", "READING_GAP"]])),
        }
        if draw(st.integers(0, 7)) == 0:
            row |= NOTHING
        for sensor in draw(st.lists(st.sampled_from(NUMERIC_SENSORS), max_size=5, unique_by=lambda s: s.name)):
            row[sensor.name] = draw(st.none() | st.floats(sensor.low, sensor.high, allow_subnormal=False))
        for name in ("door_open_close", "defrost_cycle"):
            row[name] = draw(st.sampled_from([None, True, False]))
        rows.append(row)
    return rows


def _assert_alike(found: pl.DataFrame, expected: list[dict[str, Any]]) -> None:
    assert found.height == len(expected)
    wanted = sorted(expected, key=lambda r: [r[k] for k in KEY])
    for ours, theirs in zip(found.sort(KEY).to_dicts(), wanted, strict=True):
        assert set(ours) == set(theirs)
        for name, value in theirs.items():
            if isinstance(value, float) and ours[name] is not None:
                # A slope divides by a spread in time; a ratio or a difference may be of nearly nothing.
                assert ours[name] == pytest.approx(value, rel=1e-7, abs=1e-8), (name, ours, theirs)
            else:
                assert ours[name] == value, (name, ours, theirs)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(_rows(), st.sampled_from(ALL_LENGTHS))
def test_every_feature_is_as_the_reference_has_it(rows: list[dict[str, Any]], minutes: tuple[int, ...]) -> None:
    clean = clean_rows(rows)
    found = window_features(clean, minutes)
    _assert_alike(found, [f for m in minutes for f in features_of(clean.to_dicts(), m)])
    assert DEVICE_FEATURES.violations(found) == []


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(_rows(), st.randoms(use_true_random=False), st.sampled_from(ALL_LENGTHS))
def test_the_order_of_rows_changes_no_bit(
    rows: list[dict[str, Any]], rng: random.Random, minutes: tuple[int, ...]
) -> None:
    clean = clean_rows(rows)
    order = list(range(clean.height))
    rng.shuffle(order)
    one, other = window_features(clean, minutes), window_features(clean[order], minutes)
    assert bits(one) == bits(other)
    assert bits(one) == bits(window_features(clean, minutes))


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(_rows(), _rows(), st.sampled_from(ALL_LENGTHS))
def test_rows_elsewhere_change_no_bit_of_a_window(
    rows: list[dict[str, Any]], others: list[dict[str, Any]], minutes: tuple[int, ...]
) -> None:
    """No look-ahead, no look-back, no neighbour: only what lies inside a window makes it."""
    clean, more = clean_rows(rows), clean_rows(others)
    made = window_features(clean, minutes)
    own = made.select("window_start", "device_id", "window_duration_minutes", "window_end")
    hits = own.join_where(
        more.select("timestamp_utc", other="device_id"),
        pl.col("device_id") == pl.col("other"),
        pl.col("timestamp_utc") >= pl.col("window_start"),
        pl.col("timestamp_utc") < pl.col("window_end"),
    )
    untouched = made.join(hits, on=KEY, how="anti")
    after = window_features(pl.concat([clean, more]), minutes).join(untouched, on=KEY, how="semi")
    assert bits(after) == bits(untouched)


def bits(features: pl.DataFrame) -> list[tuple[Any, ...]]:
    """Rows in the order of their key, floats as the bits they are (0.0 and -0.0 are one)."""
    floats = [c for c, t in features.schema.items() if t == pl.Float64]
    return features.sort(KEY).with_columns((pl.col(floats) + 0.0).reinterpret(signed=False)).rows()


def test_a_window_of_one_reading() -> None:
    found = window_features(clean_rows([{"minute": 3}]), (15,)).row(0, named=True)
    assert found["reading_count"] == 1
    assert found["temp_evaporator_mean"] == found["temp_evaporator_min"] == found["temp_evaporator_max"] == -25.0
    assert found["vibration_compressor_p95"] == 3.0
    assert found["temp_evaporator_std"] is None
    assert found["temp_evaporator_slope"] is None


@pytest.mark.parametrize("value", [-25.1, 0.1, 29.99999999])
def test_a_constant_sensor_has_no_deviation_at_all(value: float) -> None:
    rows = [{"minute": m, "temperature_evaporator": value} for m in range(60)]
    for row in window_features(clean_rows(rows), (15, 60)).to_dicts():
        assert row["temp_evaporator_std"] == 0.0
        assert row["temp_evaporator_slope"] == 0.0
        assert row["temp_evaporator_mean"] == row["temp_evaporator_min"] == row["temp_evaporator_max"] == value


def test_a_small_swing_of_a_large_value_keeps_its_digits() -> None:
    rows = [{"minute": m, "pressure_high_side": 3000.0 + m % 2 * 1e-6} for m in range(60)]
    found = window_features(clean_rows(rows), (60,))
    assert found["pressure_high_std"][0] == pytest.approx(5.042e-7, rel=1e-3)


def test_a_straight_line_has_its_slope() -> None:
    rows = [{"minute": m, "temperature_evaporator": -50 + 0.25 * m} for m in range(60)]
    found = window_features(clean_rows(rows), (15, 60))
    assert found["temp_evaporator_slope"].to_list() == pytest.approx([0.25] * 5, rel=1e-12)


@pytest.mark.parametrize("minutes", [(15, 60), (1440,)])
@pytest.mark.parametrize("apart", [1e-6, 1e-3, 5.0])
def test_two_readings_close_together_late_in_a_window_have_a_slope(minutes: tuple[int, ...], apart: float) -> None:
    rows = [{"minute": 832 + m, "temperature_evaporator": v} for m, v in ((0, -30.0), (apart, 20.0))]
    clean = clean_rows([{"minute": 831, "temperature_evaporator": None}, *rows])
    exact = (clean["timestamp_utc"][2] - clean["timestamp_utc"][1]) / timedelta(minutes=1)
    for slope in window_features(clean, minutes)["temp_evaporator_slope"]:
        assert slope == pytest.approx(50 / exact, rel=1e-12)


def test_readings_of_one_instant_have_no_slope() -> None:
    rows = [{"minute": 40.1, "temperature_evaporator": v} for v in (-20.0, -21.0, -24.0)]
    found = window_features(clean_rows(rows), (15, 60))
    assert found["temp_evaporator_slope"].to_list() == [None, None]
    assert found["temp_evaporator_std"].null_count() == 0


def test_divisors_of_zero_leave_nothing() -> None:
    rows = [{"minute": m, "temperature_condenser": 25.0, "temperature_evaporator": 25.0} for m in range(3)]
    found = window_features(clean_rows(rows), (15,)).row(0, named=True)
    assert found["temp_spread_evap_cond"] == 0.0
    assert found["current_per_temp_spread"] is None
    rows = [{"minute": m, "pressure_low_side": 0.0} for m in range(3)]
    assert window_features(clean_rows(rows), (15,))["pressure_ratio"].to_list() == [None]


def test_a_feature_is_null_only_where_every_reading_behind_it_is() -> None:
    rows = [{"minute": 0, "humidity": None}, {"minute": 1, "humidity": 40.0}, {"minute": 2, "humidity": 42.0}]
    assert window_features(clean_rows(rows), (15,))["humidity_mean"].to_list() == [41.0]
    silent = clean_rows([{"minute": 0, **NOTHING, "humidity": 40.0}] * 2)
    found = window_features(silent, (15,)).row(0, named=True)
    assert {n for n in DEVICE_FEATURES.columns if found[n] is not None} == {
        *("device_id", "window_start", "window_end", "window_duration_minutes", "reading_count"),
        *("humidity_mean", "humidity_std", "sensor_completeness", "quality_flag_count"),
    }
    assert found["sensor_completeness"] == pytest.approx(1 / 14)


def test_fractions_count_only_readings_that_say() -> None:
    rows = [{"minute": m, "door_open_close": d} for m, d in enumerate([True, None, False, True])]
    found = window_features(clean_rows(rows), (15,))
    assert found["door_open_fraction"].to_list() == pytest.approx([2 / 3])


def test_windows_are_tumbling_and_aligned() -> None:
    rows = [{"minute": m} for m in (-0.0001, 0, 14.99999, 15, 59.99, 60)]
    found = window_features(clean_rows(rows), (15, 60))
    starts = found.filter(window_duration_minutes=15)["window_start"].to_list()
    assert starts == [at(m) for m in (-15, 0, 15, 45, 60)]
    assert found["reading_count"].to_list() == [1, 2, 1, 1, 1, 1, 4, 1]


def test_longer_windows_made_of_shorter_ones_equal_windows_made_directly() -> None:
    rng = random.Random(5)
    rows: list[dict[str, Any]] = []
    for _ in range(400):
        row: dict[str, Any] = {"minute": rng.random() * 180, "device_id": rng.choice(["a", "b"])}
        for sensor in NUMERIC_SENSORS:
            row[sensor.name] = None if rng.random() < 0.2 else rng.uniform(sensor.low, sensor.high)
        rows.append(row)
    clean = clean_rows(rows)
    both = window_features(clean, (15, 60)).filter(window_duration_minutes=60)
    _assert_alike(both, window_features(clean, (60,)).to_dicts())


def test_rows_of_one_file_are_left_as_they_are() -> None:
    clean = clean_rows([{"minute": m, "device_id": d} for d in ("a", "b") for m in (0, 1, 1, 5)])
    assert in_order(clean) is clean
    assert in_order(clean[::-1])["timestamp_utc"].to_list() == clean["timestamp_utc"].to_list()


def test_nothing_makes_no_windows() -> None:
    found = window_features(CLEAN_READINGS.empty(), (15, 60))
    assert found.is_empty()
    assert dict(found.schema) == dict(DEVICE_FEATURES.empty().schema)


def test_the_window_of_a_moment() -> None:
    assert window_start(HOUR + timedelta(minutes=14, seconds=59.9), 15) == HOUR
    assert window_start(HOUR + timedelta(minutes=15), 15) == at(15)
    assert window_start(HOUR, 1440) == HOUR.replace(hour=0)
