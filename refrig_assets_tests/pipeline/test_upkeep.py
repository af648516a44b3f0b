"""Compaction, retention and vacuum: fewer and younger files, the same rows."""

import os
import time
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from refrig_assets.contracts import BY_NAME, CLEAN_READINGS, CONTRACTS, DEVICE_FEATURES, EVENT_INDEX, RAW_READINGS
from refrig_assets.lake import Lake
from refrig_assets.pipeline.upkeep import FEW_FILES, compact_table, expire, keep_up, vacuum_table
from refrig_assets_tests.builders import HOUR, ONE_HOUR, everything, raw_rows
from refrig_assets_tests.readings import differences, land, make, refresh, state, steady_rows, stocked, twin

DAY = HOUR.replace(hour=0)
HOURS = [DAY + n * ONE_HOUR for n in range(FEW_FILES + 2)]
NEXT_DAY = DAY + timedelta(days=1, hours=3)
NOTHING = timedelta(0)


def on_disk(lake: Lake, name: str) -> set[Path]:
    return {p for p in Path(lake.table(name).uri).rglob("*.parquet") if "_delta_log" not in p.parts}


def versions(lake: Lake) -> dict[str, int]:
    return {c.name: lake.table(c).version for c in CONTRACTS}


@pytest.fixture(scope="module")
def small_hours(tmp_path_factory: pytest.TempPathFactory, empty_lake: Path) -> Lake:
    """Ten hours of two devices, each in files of its own, with a duplicate across them. Not to be written to."""
    lake = stocked(twin(Lake(str(empty_lake))))
    raw = steady_rows(["dev-a", "dev-b"], HOURS, 15)
    again = raw[:1].with_columns(pl.lit(HOURS[4]).cast(raw.schema["timestamp_ingested"]).alias("timestamp_ingested"))
    for hour in HOURS:
        land(lake, pl.concat([raw, again]).filter(pl.col("timestamp_ingested").dt.truncate("1h") == hour))
    make(lake, HOURS)
    refresh(lake, NEXT_DAY)
    return lake


@pytest.fixture
def full(small_hours: Lake) -> Lake:
    return twin(small_hours)


def test_compaction_keeps_the_rows_and_hours_can_still_be_replaced(full: Lake) -> None:
    before = state(full)
    done = {u.table: u for u in keep_up(full, NEXT_DAY, dry_run=False)}
    assert done["clean_sensor_readings"].compacted_days == 1
    for name in ("clean_sensor_readings", "raw_sensor_readings", "device_features", "device_hours", "hour_accounts"):
        assert done[name].files_after == len(full.table(name).files()) == 1 < done[name].files_before, name
    assert len(full.table(EVENT_INDEX).files()) == len(HOURS), "their names say by which hash they were made"
    assert differences(before, state(full)) == {}
    straight = twin(full)
    late = raw_rows([{"event_id": "late", "device_id": "dev-a", "hour": HOURS[3], "minute": 20}])
    land(full, late)
    assert refresh(full, NEXT_DAY)[0] == {HOURS[3]}
    land(straight, late)
    make(straight, HOURS, NEXT_DAY)
    assert differences(state(full), state(straight)) == {}
    clean = everything(full, CLEAN_READINGS.name)
    assert clean.height == before[CLEAN_READINGS.name].height + 1
    for hour in HOURS:
        make(full, [hour])
    assert differences(state(full), state(straight)) == {}


def test_the_day_that_is_still_written_to_is_left_alone(full: Lake) -> None:
    files = len(full.table(CLEAN_READINGS).files())
    assert compact_table(full, CLEAN_READINGS, DAY + timedelta(hours=20)) == (files, files, 0)


def test_a_few_files_are_left_alone(lake: Lake) -> None:
    land(stocked(lake), steady_rows(["dev-a"], HOURS[:FEW_FILES], 30), files=FEW_FILES)
    assert compact_table(lake, RAW_READINGS, NEXT_DAY) == (FEW_FILES, FEW_FILES, 0)


def test_a_dry_run_changes_nothing_and_says_what_would_go(full: Lake) -> None:
    full.table(CLEAN_READINGS).write_files(everything(full, CLEAN_READINGS.name)[:1], "orphan")
    old = NEXT_DAY + timedelta(days=100)
    before = versions(full), {c.name: on_disk(full, c.name) for c in CONTRACTS}, state(full)
    said = {u.table: u for u in keep_up(full, old, dry_run=True)}
    assert said["raw_sensor_readings"].expired_files == len(HOURS)
    assert said["event_index"].expired_files == len(HOURS)
    assert sum(u.expired_files for u in said.values()) == 2 * len(HOURS), "nothing else is ever dropped"
    after = versions(full), {c.name: on_disk(full, c.name) for c in CONTRACTS}, state(full)
    assert before[:2] == after[:2]
    assert differences(before[2], after[2]) == {}


@pytest.mark.parametrize("name", ["raw_sensor_readings", "event_index"])
def test_retention_drops_days_past_it_and_no_others(lake: Lake, name: str) -> None:
    contract = BY_NAME[name]
    assert contract.retention is not None
    days = [DAY - contract.retention + timedelta(days=n) for n in (-2, -1, 0, 1)]
    table = lake.table(contract)
    for day in days:
        if contract is RAW_READINGS:
            table.append(raw_rows([{"hour": day + 23 * ONE_HOUR}]))
        else:
            table.append(pl.DataFrame({"hour": [day], "event_hash": [1]}, schema=contract.dtypes))
    now = DAY + timedelta(hours=9)
    assert expire(lake, contract, now, dry_run=True) == 2
    assert everything(lake, name).height == 4
    assert expire(lake, contract, now, dry_run=False) == 2
    left = everything(lake, name)[contract.hour_of].dt.truncate("1d").sort().to_list()
    assert left == days[2:]
    assert expire(lake, contract, now, dry_run=False) == 0


def test_what_is_kept_for_ever_never_expires(full: Lake) -> None:
    assert expire(full, CLEAN_READINGS, DAY + timedelta(days=4000), dry_run=False) == 0
    assert expire(full, DEVICE_FEATURES, DAY + timedelta(days=4000), dry_run=False) == 0


def test_vacuum_removes_what_nothing_refers_to(full: Lake) -> None:
    """A killed writer's file and replaced ones go; a file that is referenced never does."""
    table = full.table(CLEAN_READINGS)
    make(full, HOURS[:2])  # leaves replaced files behind
    before = state(full)
    table.write_files(everything(full, CLEAN_READINGS.name)[:1], "orphan")
    referenced = {Path(table.uri) / f.path for f in table.files()}
    orphans = on_disk(full, CLEAN_READINGS.name) - referenced
    assert len(orphans) >= 3
    assert vacuum_table(full, CLEAN_READINGS, dry_run=True, retention=NOTHING) == len(orphans)
    assert on_disk(full, CLEAN_READINGS.name) == referenced | orphans
    assert vacuum_table(full, CLEAN_READINGS, dry_run=False, retention=NOTHING) == len(orphans)
    assert on_disk(full, CLEAN_READINGS.name) == referenced
    assert differences(before, state(full)) == {}


def test_vacuum_leaves_what_readers_and_writers_may_still_need(full: Lake) -> None:
    """By default a week: a file just written, not yet committed, stays; one that a writer left long ago goes."""
    table = full.table(CLEAN_READINGS)
    rows = everything(full, CLEAN_READINGS.name)[:1]
    young, old = (Path(table.uri) / f.action.path for tag in ("young", "old") for f in table.write_files(rows, tag))
    long_ago = time.time() - timedelta(days=8).total_seconds()
    os.utime(old, (long_ago, long_ago))
    before = on_disk(full, CLEAN_READINGS.name)
    assert vacuum_table(full, CLEAN_READINGS, dry_run=False) == 1
    assert on_disk(full, CLEAN_READINGS.name) == before - {old}
    assert young.exists()
