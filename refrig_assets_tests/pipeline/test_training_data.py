"""Training data on a lake: pinned, split in time, stratified, filtered, labelled as of its end, read back."""

from datetime import timedelta

import polars as pl
import pytest

from refrig_assets.contracts import DEVICE_FEATURES, DEVICE_TRENDS, TRAINING_DATA
from refrig_assets.contracts.trends import MODEL_ROW_FEATURES
from refrig_assets.lake import Lake
from refrig_assets.pipeline.model_rows import model_rows
from refrig_assets.pipeline.registry import write_registry
from refrig_assets.pipeline.training_data import assemble_training_data
from refrig_assets.pipeline.training_rows import read_training_rows, to_model_rows
from refrig_assets.pipeline.training_sample import (
    Outage,
    Sample,
    SampleSettings,
    Spans,
    TrainingDataError,
    device_table,
    outages_of,
)
from refrig_assets_tests.builders import ONE_HOUR, everything, registry_of
from refrig_assets_tests.pipeline.training_lake import DAY, END, START, make_trends, names, plant, repair, say
from refrig_assets_tests.windows import windows, write_windows

HELD_OUT = SampleSettings(held_out_share=0.3)


def stored(lake: Lake) -> pl.DataFrame:
    return lake.table(TRAINING_DATA).read()


def test_the_same_snapshot_gives_the_same_bytes_whatever_happened_since(lake: Lake) -> None:
    frame = plant(lake)
    report = assemble_training_data(lake, END)
    first = stored(lake)
    assert TRAINING_DATA.violations(first) == []
    assert assemble_training_data(lake, END).snapshot == report.snapshot
    assert stored(lake).equals(first)
    write_windows(lake, frame.with_columns(pl.col("superheat_mean") * 0.5))
    make_trends(lake)
    say(lake, "dev-001", "failure_confirmed", END - DAY, END - DAY)
    newer = assemble_training_data(lake, END)
    assert newer.snapshot.snapshot_id > report.snapshot.snapshot_id
    assert not stored(lake).equals(first)
    again = assemble_training_data(lake, END, snapshot_id=report.snapshot.snapshot_id)
    assert again.snapshot == report.snapshot
    assert stored(lake).equals(first)
    assert first["snapshot_id"].unique().to_list() == [report.snapshot.snapshot_id]
    assert first["assembled_at"].unique().to_list() == [END]


def test_it_is_split_in_time_with_a_gap_and_devices_held_out(lake: Lake) -> None:
    plant(lake)
    report = assemble_training_data(lake, END, HELD_OUT)
    rows = stored(lake)
    ends = rows.group_by("split").agg(pl.col("window_start").min(), pl.col("window_end").max())
    span = {s: (a, b) for s, a, b in ends.iter_rows()}
    assert span["train"] == (START, END - 2 * DAY)
    assert span["validation"] == (END - DAY, END)
    assert span["held_out"][0] >= END - DAY
    held = set(rows.filter(pl.col("split") == "held_out")["device_id"])
    assert held
    assert held.isdisjoint(rows.filter(pl.col("split") != "held_out")["device_id"])
    assert len(held) == report.held_out_devices
    assert report.by_split == dict(rows["split"].value_counts().iter_rows())


@pytest.mark.parametrize(("days", "gap"), [(2, 1), (27, 1), (28, 7), (42, 7)])
def test_the_gap_is_a_week_where_there_are_four(days: int, gap: int) -> None:
    spans = Spans.of(START, START + days * DAY, 0.25)
    assert spans.validation_start - spans.train_end == gap * DAY
    assert spans.train_end > spans.start
    assert abs((spans.end - spans.validation_start) / (days * DAY) - 0.25) < 0.03


def test_too_short_a_history_is_said(lake: Lake) -> None:
    with pytest.raises(TrainingDataError, match="device_features is empty"):
        assemble_training_data(lake, END)
    plant(lake, days=1)
    with pytest.raises(TrainingDataError, match="features of 24 hours"):
        assemble_training_data(lake, END)


def test_time_begins_with_the_windows_that_are_trained_on(lake: Lake) -> None:
    """A plant that began at noon has a day's window that begins at midnight before."""
    began = START + 12 * ONE_HOUR
    hourly = windows(names(12), began, 84)
    plant(lake, frame=pl.concat([hourly, windows(names(12), START, 24, minutes=[1440])]))
    assert assemble_training_data(lake, END).spans.start == began


def test_every_device_has_windows_of_all_days_and_hours_within_the_bound(lake: Lake) -> None:
    plant(lake)
    bound = 1500
    report = assemble_training_data(lake, END, SampleSettings(max_rows=bound, held_out_share=0.0))
    rows = stored(lake).filter(pl.col("split") == "train")
    assert report.sample.stride > 1
    assert report.rows <= bound
    each = rows.group_by("device_id").agg(
        pl.len(), days=pl.col("window_start").dt.date().n_unique(), hours=pl.col("window_start").dt.hour().n_unique()
    )
    assert each.height == 12
    assert each["len"].max() - each["len"].min() <= 1
    assert each["days"].min() == 2
    assert each["hours"].min() >= 12


def test_a_large_fleet_is_not_looked_at_in_every_hour() -> None:
    spans = Spans.of(START, START + 42 * DAY, 0.25)
    sample = Sample.plan(spans, 100_000, SampleSettings())
    looked_at = len(sample.hours) * 400_000
    assert looked_at <= 61_000_000
    assert looked_at / sample.stride <= 500_000
    assert {h.hour for h, _ in sample.hours} == set(range(24)) or len({h.hour for h, _ in sample.hours}) >= 8
    days = {h.date() for h, _ in sample.hours}
    assert len(days) > 30
    assert Sample.plan(spans, 200, SampleSettings()).stride == 2


def test_what_the_contract_asks_of_a_row(lake: Lake) -> None:
    frame = windows(names(4), START, 96)
    number = pl.col("device_id").str.slice(4).cast(int)
    frame = frame.with_columns(
        sensor_completeness=pl.when(number == 1).then(0.69).otherwise(0.7),
        reading_count=pl.when((number == 2) & (pl.col("window_duration_minutes") == 15))
        .then(9)
        .when(pl.col("window_duration_minutes") == 15)
        .then(10)
        .otherwise(40)
        .cast(pl.Int32),
        quality_flag_count=pl.when(number == 3).then(6).otherwise(5).cast(pl.Int32),
    )
    plant(lake, 4, frame=frame)
    report = assemble_training_data(lake, END, SampleSettings(held_out_share=0.0))
    assert stored(lake)["device_id"].unique().to_list() == ["dev-000"]
    assert report.left_out["completeness"] == report.left_out["readings"] == report.left_out["quality_flags"] > 0
    write_registry(lake, registry_of(names(4), expected_interval_s=300))  # three readings a window are all there are
    write_windows(lake, frame.with_columns(reading_count=pl.lit(2, dtype=pl.Int32)))
    make_trends(lake)
    assert assemble_training_data(lake, END, SampleSettings(held_out_share=0.0)).left_out["readings"] == 0


def test_a_device_in_maintenance_is_left_out_for_two_days(lake: Lake) -> None:
    plant(lake)
    at = START + timedelta(hours=5)
    repair(lake, "dev-003", at)
    repair(lake, "dev-004", END + DAY)  # not known by the end of the data
    report = assemble_training_data(lake, END, SampleSettings(held_out_share=0.0))
    mine = stored(lake).filter(pl.col("device_id") == "dev-003")
    inside = mine.filter((pl.col("window_end") > at) & (pl.col("window_start") < at + 2 * DAY))
    assert inside.is_empty()
    assert mine.filter(pl.col("window_end") <= at).height == 20
    others = stored(lake)["device_id"].value_counts().sort("device_id")["count"]
    assert report.left_out["maintenance"] == others.max() - mine.height


def test_labels_are_those_known_by_the_end_and_given_a_day_later(lake: Lake) -> None:
    plant(lake)
    failed = START + timedelta(hours=30)
    say(lake, "dev-001", "failure_confirmed", failed, failed + 6 * ONE_HOUR)
    say(lake, "dev-002", "failure_confirmed", failed, END + ONE_HOUR)  # late: nobody knew
    say(lake, "dev-005", "false_positive", failed, END - DAY)
    report = assemble_training_data(lake, END, SampleSettings(held_out_share=0.0))
    rows = stored(lake)
    labelled = rows.filter(pl.col("label") == "pre_failure")
    assert labelled["device_id"].unique().to_list() == ["dev-001"]
    assert labelled["window_end"].max() == failed + 6 * ONE_HOUR - DAY
    assert labelled["label_source"].unique().to_list() == ["field_engineer"]
    mine = rows.filter(pl.col("device_id") == "dev-001")
    assert mine["window_end"].filter(mine["label"].is_null()).is_empty()  # near the failure, and broken after it
    assert report.left_out.keys() >= {"label_buffer", "broken"}
    assert rows.filter(pl.col("device_id") == "dev-002")["label"].null_count() > 0
    cleared = rows.filter(pl.col("label") == "false_positive")
    assert (cleared["window_end"].min(), cleared["window_end"].max()) == (failed - DAY + timedelta(minutes=15), failed)
    training = read_training_rows(lake)
    assert "pre_failure" not in training.split("train", healthy=True)["label"]
    assert "false_positive" in training.split("train", healthy=True)["label"]


def test_hours_in_which_many_are_silent_are_left_out(lake: Lake) -> None:
    frame = windows(names(12), START, 96)
    site = pl.col("device_id").str.slice(4).cast(int) % 2
    hour = pl.col("window_start").dt.truncate("1h")
    first, second = START + 3 * ONE_HOUR, START + 7 * ONE_HOUR
    silent = (hour == first) & (site == 0) & (pl.col("device_id") < "dev-006")  # 3 of 6 of site-0, a quarter of all
    silent |= (hour == second) & (pl.col("device_id") < "dev-009")  # most of the fleet
    plant(lake, frame=frame.filter(~silent))
    declared = Outage(START + 9 * ONE_HOUR, START + 10 * ONE_HOUR, "site-1")
    report = assemble_training_data(lake, END, SampleSettings(held_out_share=0.0, outages=(declared,)))
    rows = stored(lake).with_columns(site=site, hour=pl.col("window_start").dt.truncate("1h"))
    left = {h: set(s) for h, s in rows.group_by("hour").agg("site").iter_rows()}
    assert left[first] == {1}
    assert second not in left
    assert left[START + 9 * ONE_HOUR] == {0}
    assert {(o["hour"], o["site_id"]) for o in report.outages} >= {(first, "site-0"), (second, "the fleet")}
    assert report.left_out["outage"] == 3 * 4 + 3 * 4 + 6 * 4


def test_usual_is_what_a_site_mostly_has() -> None:
    hours = [START + n * ONE_HOUR for n in range(10)]
    heard = pl.DataFrame({"hour": hours, "site_id": "s", "devices": [10] * 8 + [7, 6]})
    assert outages_of(heard, SampleSettings())["hour"].unique().to_list() == [hours[9]]


def test_rows_come_back_as_models_see_them(lake: Lake) -> None:
    frame = plant(lake, frame=windows(names(12), START, 96, holes=0.2))
    assemble_training_data(lake, END, HELD_OUT)
    training = read_training_rows(lake)
    live = model_rows(lake, START, END)
    back = training.rows
    assert back["pressure_ratio"].null_count() > 0
    same = back.select("device_id", "window_start").join(live, on=["device_id", "window_start"], how="left")
    same = same.sort("device_id", "window_start")
    wanted = ["device_id", "cohort_id", "device_age_days", "window_end", *MODEL_ROW_FEATURES]
    assert back.select(wanted).equals(same.select(wanted))
    assert to_model_rows(stored(lake)).select(wanted).equals(back.select(wanted))
    assert to_model_rows(stored(lake).head(0), ["a"]).is_empty()
    assert frame.height > back.height


def test_trends_must_be_there(lake: Lake) -> None:
    plant(lake)
    table = lake.table(DEVICE_TRENDS)
    table.replace_range(START, END, [])
    with pytest.raises(TrainingDataError, match="have no trends"):
        assemble_training_data(lake, END)


def test_features_written_while_it_is_put_together_are_not_seen(lake: Lake) -> None:
    frame = plant(lake)
    version = lake.table(DEVICE_FEATURES).version
    write_windows(lake, frame.with_columns(pl.col("humidity_mean") * 0 + 99))
    report = assemble_training_data(lake, END, snapshot_id=version)
    assert report.snapshot.snapshot_id == version
    assert read_training_rows(lake).rows["humidity_mean"].max() < 99


def test_who_is_held_out_depends_on_the_name_alone() -> None:
    few, many = (device_table(registry_of(names(n)), 0.1) for n in (50, 500))
    assert many.head(50).equals(few)
    assert 20 < many["held_out"].sum() < 80


def test_an_empty_table_says_what_to_do(lake: Lake) -> None:
    with pytest.raises(TrainingDataError, match="make it first"):
        read_training_rows(lake)
    assert everything(lake, TRAINING_DATA.name).is_empty()


def test_an_outage_is_told_in_text() -> None:
    told = Outage.of({"start": "2026-03-02T04:00", "end": "2026-03-02T06:00+00:00", "site_id": "site-0"})
    assert (told.end - told.start, told.site_id) == (timedelta(hours=2), "site-0")
    for wrong in ({"start": "2026-03-02"}, {"start": "x", "end": "y"}, {"start": "2026-03-03", "end": "2026-03-02"}):
        with pytest.raises(TrainingDataError, match="outage"):
            Outage.of(wrong)
