"""Model input: gaps filled from the device's last windows and no farther, ranges of devices, what pins the state."""

from datetime import timedelta

import polars as pl
from polars.testing import assert_frame_equal

from refrig_assets.contracts import DEVICE_FEATURES
from refrig_assets.lake import Lake
from refrig_assets.pipeline.model_input import (
    FILL_FROM,
    FILLED,
    ModelInput,
    forward_filled,
    model_inputs,
    without_young,
)
from refrig_assets.pipeline.model_rows import model_rows
from refrig_assets_tests.builders import HOUR
from refrig_assets_tests.pipeline.scored_lake import DEVICES, fill
from refrig_assets_tests.windows import windows, write_windows

END = HOUR + timedelta(hours=1)
EARLIER = HOUR - timedelta(hours=3)


def inputs(lake: Lake, **options: int) -> ModelInput:
    parts = list(model_inputs(lake, HOUR, END, **options))
    return ModelInput(
        pl.concat(p.rows for p in parts),
        sum(p.windows for p in parts), sum(p.incomplete for p in parts),
        sum(p.filled for p in parts), sum(p.new_devices for p in parts),
    )  # fmt: skip


def reference(lake: Lake) -> pl.DataFrame:
    """The same by one step a value: for each gap the newest value of the device within the look-back."""
    rows = model_rows(lake, HOUR, END).to_dicts()
    before = model_rows(lake, EARLIER, END).to_dicts()
    known: dict[str, list[dict[str, object]]] = {}
    for row in before:
        known.setdefault(row["device_id"], []).append(row)
    for row in rows:
        for name in FILLED:
            if row[name] is None:
                since = row["window_start"] - FILL_FROM
                held = [
                    one[name]
                    for one in known[row["device_id"]]
                    if since <= one["window_start"] < row["window_start"] and one[name] is not None  # type: ignore[operator]
                ]
                row[name] = held[-1] if held else None
    return pl.DataFrame(rows, schema=model_rows(lake, HOUR, END).schema)


def test_without_gaps_it_is_the_model_rows(lake: Lake) -> None:
    fill(lake, EARLIER, 4)
    found = inputs(lake)
    assert_frame_equal(found.rows.drop("region"), model_rows(lake, HOUR, END))
    assert (found.windows, found.filled, found.incomplete, found.new_devices) == (96, 0, 0, 0)


def test_gaps_are_filled_as_one_would_by_hand(lake: Lake) -> None:
    fill(lake, EARLIER, 4, holes=0.5)
    found = inputs(lake)
    expected = reference(lake)
    assert_frame_equal(found.rows.drop("region"), expected)
    had = model_rows(lake, HOUR, END)
    nulls = [frame.select(FILLED).null_count().sum_horizontal().item() for frame in (had, expected)]
    assert found.filled == nulls[0] - nulls[1] > 1000
    assert_frame_equal(inputs(lake, devices_at_once=7).rows, found.rows)


def test_two_hours_are_the_limit_and_other_devices_are_no_help() -> None:
    start = HOUR - timedelta(hours=2)
    rows = windows(["a", "b"], HOUR, 1, minutes=[15]).sort("device_id", "window_start")
    rows = rows.with_columns(condenser_approach=pl.lit(18.0), humidity_mean=pl.lit(None, dtype=pl.Float64))
    earlier = rows.filter(device_id="b").head(1).with_columns(
        window_start=pl.lit(start, dtype=DEVICE_FEATURES.dtypes["window_start"]), humidity_mean=pl.lit(33.0)
    )  # fmt: skip
    found, count = forward_filled(rows, earlier)
    # Of b, the window that starts two hours later is just within reach.
    assert found["humidity_mean"].to_list() == [None] * 4 + [33.0, None, None, None]
    assert count == 1


def test_a_window_too_thin_to_score_still_fills_the_next(lake: Lake) -> None:
    fill(lake, HOUR, 1)
    rows = lake.table(DEVICE_FEATURES).read().sort("device_id", "window_start")
    first = (pl.col("window_start") == HOUR) & (pl.col("window_duration_minutes") == 15)
    gap = pl.when(first).then("humidity_mean").alias("humidity_mean")
    write_windows(lake, rows.with_columns(gap, sensor_completeness=pl.when(first).then(0.1).otherwise(1.0)))
    found = inputs(lake)
    assert (found.windows, found.incomplete, found.rows.height, found.filled) == (96, 24, 72, 72)


def test_longer_windows_are_not_looked_at(lake: Lake) -> None:
    fill(lake, EARLIER, 4)
    rows = lake.table(DEVICE_FEATURES).read()
    quarter = pl.col("window_duration_minutes") == 15
    write_windows(lake, rows.with_columns(pl.when(~quarter).then("humidity_mean").alias("humidity_mean")))
    found = inputs(lake)
    assert found.filled == 0
    assert found.rows["humidity_mean"].null_count() == 96


def test_young_devices_lose_their_name_only() -> None:
    rows = pl.DataFrame({"device_id": ["new", "old", "unknown"], "device_age_days": [29.9, 30.0, None], "x": [1.0] * 3})
    assert without_young(rows, "device_id")["device_id"].to_list() == [None, "old", "unknown"]
    assert without_young(rows, None).equals(rows)


def test_each_device_once_whatever_the_ranges(lake: Lake) -> None:
    fill(lake, HOUR, 1)
    found = inputs(lake, devices_at_once=1).rows
    assert found["device_id"].unique(maintain_order=True).to_list() == DEVICES
