"""Findings on good tables, and on tables that another writer damaged."""

from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from refrig_assets.contracts import BY_NAME, CLEAN_READINGS, DEVICE_FEATURES, DEVICE_HOURS, Contract
from refrig_assets.contracts.base import SAMPLE_ROWS
from refrig_assets.lake import HOUR as ONE_HOUR
from refrig_assets.lake import Lake
from refrig_assets.lake.files import write_data_file
from refrig_assets.monitoring.findings import (
    Finding,
    alignment_finding,
    completeness_finding,
    conservation_finding,
    key_finding,
    presence_finding,
    range_finding,
    rate_finding,
    schema_finding,
)
from refrig_assets.monitoring.freshness import describe, judge_age
from refrig_assets.pipeline.quality import counted_accounts
from refrig_assets_tests.builders import HOUR, NOW, everything
from refrig_assets_tests.readings import land, make, steady_rows, stocked

MANY = 30


@pytest.fixture
def full(lake: Lake) -> Lake:
    """An hour of three devices, cleaned and computed."""
    land(stocked(lake), steady_rows(["dev-a", "dev-b", "dev-c"], [HOUR], 2))
    make(lake, [HOUR])
    return lake


def damage(lake: Lake, contract: Contract, rows: pl.DataFrame) -> None:
    """Add rows that nobody validated, as another writer might."""
    table = lake.table(contract)
    file = write_data_file(
        table.uri, rows, tag="foreign", partition_date=HOUR.date(), storage_options=table.storage_options
    )
    table._commit(lambda _table: ([file], []), (), None)


def rows_of(lake: Lake, contract: Contract) -> pl.LazyFrame:
    return lake.table(contract).scan(HOUR, HOUR + ONE_HOUR)


def _holds(finding: Finding) -> None:
    assert finding.passed, finding.says
    assert list(finding.sample) == []


def test_good_tables_pass(full: Lake) -> None:
    for contract in (CLEAN_READINGS, DEVICE_FEATURES, DEVICE_HOURS):
        rows = rows_of(full, contract)
        _holds(schema_finding(contract, dict(rows.collect_schema())))
        _holds(range_finding(contract, rows))
        _holds(key_finding(contract, rows))
    _holds(alignment_finding(rows_of(full, DEVICE_FEATURES)))
    finding = conservation_finding({"10": counted_accounts(full, HOUR)})
    _holds(finding)
    assert finding.counts == {"raw": 90, "clean": 90, "duplicate": 0, "quarantined": 0, "dead_letter": 0}


def test_empty_tables_pass(lake: Lake) -> None:
    for contract in (CLEAN_READINGS, DEVICE_FEATURES):
        _holds(range_finding(contract, rows_of(lake, contract)))
        _holds(key_finding(contract, rows_of(lake, contract)))
    _holds(alignment_finding(rows_of(lake, DEVICE_FEATURES)))
    _holds(conservation_finding({}))


def test_values_out_of_range_are_counted_and_shown(full: Lake) -> None:
    bad = everything(full, CLEAN_READINGS.name)[:MANY].with_columns(
        pl.lit(101.0).alias("humidity"),
        pl.Series("superheat", [float("nan")] * 7 + [1.0] * (MANY - 7)),
        pl.Series("device_id", [None] * 2 + ["dev-a"] * (MANY - 2)),
    )
    damage(full, CLEAN_READINGS, bad)
    finding = range_finding(CLEAN_READINGS, rows_of(full, CLEAN_READINGS))
    assert not finding.passed
    assert finding.severe
    assert finding.counts == {"device_id null": 2, "humidity above 100": MANY, "superheat above 50": 7}
    assert len(finding.sample) == SAMPLE_ROWS
    assert set(finding.sample[0]) == {"event_id", "device_id"}
    assert f"humidity above 100: {MANY} rows" in finding.says
    assert not range_finding(CLEAN_READINGS, rows_of(full, CLEAN_READINGS), severe=False).severe


def test_rows_that_repeat_a_key_are_counted_and_shown(full: Lake) -> None:
    rows = everything(full, CLEAN_READINGS.name)
    damage(full, CLEAN_READINGS, pl.concat([rows[:MANY], rows[:1]]))
    finding = key_finding(CLEAN_READINGS, rows_of(full, CLEAN_READINGS))
    assert not finding.passed
    assert finding.counts == {"rows": 90 + MANY + 1, "repeated": MANY + 1}
    assert len(finding.sample) == SAMPLE_ROWS
    first = rows["event_id"][0]
    assert {"event_id": first, "rows": 3} in [
        dict(r) for r in key_finding(CLEAN_READINGS, rows_of(full, CLEAN_READINGS).filter(event_id=first)).sample
    ]


def test_a_key_of_several_columns(full: Lake) -> None:
    rows = everything(full, DEVICE_FEATURES.name)
    damage(full, DEVICE_FEATURES, rows[:2])
    finding = key_finding(DEVICE_FEATURES, rows_of(full, DEVICE_FEATURES))
    assert finding.counts == {"rows": 17, "repeated": 2}
    assert set(finding.sample[0]) == {*DEVICE_FEATURES.key, "rows"}


@pytest.mark.parametrize("minutes", [1, -1])
def test_windows_off_the_clock_are_found(full: Lake, minutes: int) -> None:
    off = timedelta(minutes=minutes)
    rows = everything(full, DEVICE_FEATURES.name)
    moved = rows[:3].with_columns(pl.col("window_start") + abs(off), pl.col("window_end") + abs(off))
    longer = rows[3:5].with_columns(pl.col("window_end") + off)
    damage(full, DEVICE_FEATURES, pl.concat([moved, longer]))
    finding = alignment_finding(rows_of(full, DEVICE_FEATURES))
    assert not finding.passed
    assert finding.counts == {"misaligned": 5}
    assert len(finding.sample) == 5
    damage(full, DEVICE_FEATURES, pl.concat([moved] * 10))
    assert len(alignment_finding(rows_of(full, DEVICE_FEATURES)).sample) == SAMPLE_ROWS


def test_rows_that_are_missing_or_too_many_break_conservation(full: Lake) -> None:
    rows = everything(full, CLEAN_READINGS.name)
    damage(full, CLEAN_READINGS, rows[:4])
    finding = conservation_finding({"10": counted_accounts(full, HOUR)})
    assert not finding.passed
    assert finding.sample[0]["missing"] == -4
    full.table(CLEAN_READINGS).replace_hour(HOUR, full.table(CLEAN_READINGS).write_files(rows[1:]))
    finding = conservation_finding({"10": counted_accounts(full, HOUR)})
    assert finding.sample[0] == {
        "hour": "10",
        "raw": 90,
        "clean": 89,
        "duplicate": 0,
        "quarantined": 0,
        "dead_letter": 0,
        "missing": 1,
    }
    hours = {f"{n}": {"raw": 2, "clean": 1, "duplicate": 0, "quarantined": 0, "dead_letter": 0} for n in range(MANY)}
    finding = conservation_finding(hours)
    assert finding.says == f"{MANY} hours do not add up, off by {MANY} rows"
    assert len(finding.sample) == SAMPLE_ROWS


def test_errors_of_opposite_sign_do_not_hide_each_other() -> None:
    hours: dict[str, dict[str, int]] = {
        "1": {"raw": 2, "clean": 1, "duplicate": 0, "quarantined": 0, "dead_letter": 0},
        "2": {"raw": 1, "clean": 2, "duplicate": 0, "quarantined": 0, "dead_letter": 0},
    }
    assert not conservation_finding(hours).passed
    assert conservation_finding(hours).says == "2 hours do not add up, off by 2 rows"


def test_a_schema_that_is_not_the_contracts_is_told_column_by_column() -> None:
    columns: dict[str, Any] = dict(CLEAN_READINGS.dtypes)
    del columns["humidity"]
    columns |= {"superheat": pl.Float32(), "colour": pl.String()}
    finding = schema_finding(CLEAN_READINGS, columns)
    assert not finding.passed
    assert finding.counts == {"columns": len(CLEAN_READINGS.columns), "wrong": 2, "unknown": 1}
    for told in ("humidity is missing, not Float64", "superheat is Float32, not Float64", "colour is unknown"):
        assert told in finding.says


@pytest.mark.parametrize(("part", "passed"), [(0, True), (10, True), (11, False)])
def test_a_rate_may_reach_its_limit_and_not_pass_it(part: int, passed: bool) -> None:
    finding = rate_finding("letters", part, 1000, 0.01, "messages", sample=[{"a": 1}])
    assert finding.passed is passed
    assert list(finding.sample) == ([] if passed else [{"a": 1}])
    assert finding.counts["rate"] == part / 1000
    assert rate_finding("letters", 0, 0, 0.01, "messages").passed


def test_completeness_by_part() -> None:
    enough = {f"{n}": 99 for n in range(MANY)}
    _holds(completeness_finding("c", enough, 100, 0.99, "devices"))
    short = completeness_finding("c", enough | {"x": 98}, 100, 0.99, "devices")
    assert not short.passed
    assert not short.severe
    assert list(short.sample) == [{"part": "x", "found": 98, "share": 0.98}]
    assert short.counts == {"least": 98, "expected": 100, "short": 1}
    assert not completeness_finding("c", {}, 100, 0.99, "devices").passed, "nothing where something is expected"
    assert completeness_finding("c", {}, 0, 0.99, "devices").passed
    many = completeness_finding("c", dict.fromkeys(enough, 1), 100, 0.99, "devices")
    assert many.counts["short"] == MANY
    assert len(many.sample) == SAMPLE_ROWS


def test_no_rows_where_rows_are_expected() -> None:
    _holds(presence_finding({"a": 1, "b": 2}, True))
    assert not presence_finding({"a": 0, "b": 2}, True).passed
    assert presence_finding({"a": 0}, False).passed
    many = presence_finding({f"{n}": 0 for n in range(MANY)}, True)
    assert many.counts == {"rows": 0, "empty_partitions": MANY}
    assert len(many.sample) == SAMPLE_ROWS
    assert "…" in many.says


@pytest.mark.parametrize(
    ("minutes", "level"),
    [(-5, "ok"), (0, "ok"), (15, "ok"), (15.1, "late"), (30, "late"), (30.1, "warn"), (60, "warn"), (60.1, "error")],
)
def test_freshness_has_the_levels_of_the_contract(minutes: float, level: str) -> None:
    age = judge_age(CLEAN_READINGS, NOW - timedelta(minutes=minutes), NOW)
    assert age.level == level
    assert "clean_sensor_readings is" in age.says


def test_freshness_of_nothing_and_of_tables_without_a_promise() -> None:
    assert judge_age(CLEAN_READINGS, None, NOW).level == "empty"
    assert "empty" in judge_age(CLEAN_READINGS, None, NOW).says
    assert judge_age(BY_NAME["dead_letter"], NOW - timedelta(days=900), NOW).level == "ok"


@pytest.mark.parametrize(
    ("span", "told"),
    [
        (timedelta(seconds=119), "119 s"),
        (timedelta(minutes=2), "2 min"),
        (timedelta(hours=2, minutes=5), "2 h 5 min"),
        (timedelta(hours=47), "47 h 0 min"),
        (timedelta(days=2), "2 days"),
    ],
)
def test_spans_read_well(span: timedelta, told: str) -> None:
    assert describe(span) == told
