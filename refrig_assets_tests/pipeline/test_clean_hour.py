"""clean_hour on real tables: the reference's rows, whatever the files, and whatever order the hours are made in."""

from datetime import timedelta

import polars as pl
import pytest

from refrig_assets.contracts import (
    CLEAN_READINGS,
    DEAD_LETTER,
    DEVICE_HOURS,
    DEVICE_REGISTRY,
    EVENT_INDEX,
    QUARANTINE_READINGS,
    RAW_READINGS,
)
from refrig_assets.lake import Lake
from refrig_assets.pipeline import hours as hours_module
from refrig_assets.pipeline.clean import clean_hour, clean_hours
from refrig_assets.pipeline.event_index import index_raw
from refrig_assets.pipeline.hours import read_accounts, stale_clean_hours
from refrig_assets.pipeline.quality import counted_accounts
from refrig_assets.pipeline.upkeep import expire
from refrig_assets_tests.builders import HOUR, NOTHING, ONE_HOUR, everything, raw_rows
from refrig_assets_tests.readings import (
    FLEET,
    MADE,
    differences,
    land,
    make,
    refresh,
    state,
    steady_rows,
    stocked,
    twin,
    ugly_rows,
)
from refrig_assets_tests.reference_clean import judge_hours

WEEK = timedelta(days=7)
CLEANED = [t for t in MADE if t != "device_features"]


def _named(lake: Lake) -> set[object]:
    return set(stale_clean_hours(read_accounts(lake, HOUR - 3 * WEEK, HOUR + 3 * WEEK)))


@pytest.mark.parametrize("seed", [1, 2])
def test_hours_in_order_hold_the_rows_of_the_reference(lake: Lake, seed: int) -> None:
    hours = [HOUR + n * ONE_HOUR for n in (0, 1, 30, 168, 170)]
    raw = ugly_rows(seed, 300, hours)
    land(stocked(lake), raw)
    judged = judge_hours(raw.to_dicts(), FLEET)
    for hour in hours:
        report = clean_hour(lake, hour)
        expected = judged[hour]
        parts = (expected.clean, expected.quarantine, expected.dead)
        assert [report.accounts[k] for k in ("clean", "quarantined", "dead_letter")] == [len(p) for p in parts]
        assert report.accounts["duplicate"] == expected.duplicates
        assert counted_accounts(lake, hour) == report.accounts
    refresh(lake, hours[-1] + ONE_HOUR)  # duplicates that came later are known to the earlier hours now
    for contract, part in ((CLEAN_READINGS, "clean"), (QUARANTINE_READINGS, "quarantine")):
        rows = [r for hour in hours for r in getattr(judged[hour], part)]
        wanted = pl.DataFrame(rows, schema=contract.dtypes, orient="row").sort("event_id")
        assert everything(lake, contract.name).sort("event_id").to_dicts() == wanted.to_dicts()
    dead = sorted(r["event_id"] for hour in hours for r in judged[hour].dead)
    letters = everything(lake, DEAD_LETTER.name)
    assert sorted(letters["event_id"]) == dead
    assert set(letters["stage"]) == {"clean"}


def test_the_same_rows_in_other_files_and_order_make_the_same_partition(lake: Lake) -> None:
    raw = ugly_rows(3, 200, [HOUR, HOUR + ONE_HOUR])
    other = twin(lake)
    land(stocked(lake), raw)
    land(stocked(other), raw.sample(fraction=1, shuffle=True, seed=4), files=7)
    for one in (lake, other):
        make(one, [HOUR, HOUR + ONE_HOUR])
        refresh(one, HOUR + 2 * ONE_HOUR)
    before = state(lake)
    assert differences(before, state(other)) == {}
    partitions = [one.table(CLEAN_READINGS).read(HOUR, HOUR + ONE_HOUR) for one in (lake, other)]
    assert partitions[0].equals(partitions[1]), "also in the order of its rows"
    other.table(RAW_READINGS).open().optimize.compact()
    make(other, [HOUR, HOUR + ONE_HOUR])
    assert differences(before, state(other)) == {}


@pytest.mark.parametrize("order", [(2, 1, 0), (1, 0, 2), (2, 0, 1)])
def test_hours_made_in_another_order_equal_one_pass_once_refreshed(lake: Lake, order: tuple[int, ...]) -> None:
    hours = [HOUR, HOUR + ONE_HOUR, HOUR + 50 * ONE_HOUR]
    raw = ugly_rows(7, 250, hours)
    straight = twin(stocked(lake))
    land(straight, raw)
    now = hours[-1] + ONE_HOUR
    make(straight, hours, now)
    refresh(straight, now)
    for number in order:
        # Each hour lands only when its turn comes, as an outage of a gateway would have it.
        arrived = pl.col("timestamp_ingested").dt.truncate("1h") == hours[number]
        land(lake, raw.filter(arrived))
        make(lake, [hours[number]], now)
    refresh(lake, now)
    assert differences(state(straight), state(lake)) == {}


@pytest.mark.parametrize("at_once", [1, 300, 10_000])
def test_hours_made_together_hold_what_each_would_alone(
    lake: Lake, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hours_module, "ROWS_AT_ONCE", at_once)
    hours = [HOUR + n * ONE_HOUR for n in (0, 1, 2, 30, 168, 169, 170)]
    raw = pl.concat([ugly_rows(5, 400, hours), steady_rows(["late"], hours)])
    landed = land(stocked(lake), raw.filter(pl.col("device_id") != "late"))
    one_by_one, now = twin(lake), hours[-1] + ONE_HOUR
    for hour in landed:
        clean_hour(one_by_one, hour)
    assert [r.hour for r in clean_hours(lake, landed)] == landed
    for one in (lake, one_by_one):
        refresh(one, now)
    assert differences(state(one_by_one), state(lake)) == {}

    for one in (lake, one_by_one):  # hours that others were made behind already
        land(one, raw.filter(pl.col("device_id") == "late"))
    for hour in landed[:4]:
        clean_hour(one_by_one, hour)
    made = list(clean_hours(lake, landed[:4]))
    assert _named(lake) == _named(one_by_one)
    for report in made:
        assert counted_accounts(lake, report.hour) == report.accounts
    for one in (lake, one_by_one):
        refresh(one, now)
    assert differences(state(one_by_one), state(lake)) == {}


def test_nothing_is_stale_after_hours_made_in_order(lake: Lake) -> None:
    hours = [HOUR + n * ONE_HOUR for n in range(5)]
    land(stocked(lake), steady_rows([*FLEET, "ghost"], hours))
    assert _named(lake) == set(hours)
    for done, hour in enumerate(hours, start=1):
        clean_hour(lake, hour)
        assert _named(lake) == set(hours[done:])


@pytest.mark.parametrize(("apart", "found"), [(WEEK, True), (WEEK + ONE_HOUR, False)])
@pytest.mark.parametrize("later_first", [False, True])
def test_a_duplicate_is_found_seven_days_apart_and_no_further(
    lake: Lake, apart: timedelta, found: bool, later_first: bool
) -> None:
    first, second = HOUR, HOUR + apart
    rows = [{"event_id": e, "device_id": "dev-a", "hour": h} for h in (first, second) for e in ("x", f"{h}")]
    land(stocked(lake), raw_rows(rows))
    for hour in (second, first) if later_first else (first, second):
        clean_hour(lake, hour)
    assert _named(lake) == ({second if later_first else first} if found else set())
    for hour in _named(lake):
        clean_hour(lake, hour)
    assert _named(lake) == set()
    copies = everything(lake, "clean_sensor_readings").filter(event_id="x").sort("timestamp_ingested")
    flagged = ["DUPLICATE_REMOVED" in f for f in copies["quality_flags"]]
    assert flagged == ([True] if found else [False, False])
    assert counted_accounts(lake, second)["duplicate"] == int(found)


def test_a_reading_gap_goes_when_the_hour_before_arrives_after_all(lake: Lake) -> None:
    """No event is shared and no raw row is new: only the device's history changed."""
    stocked(lake)
    hours = [HOUR + n * ONE_HOUR for n in range(4)]
    for hour in (hours[0], hours[2], hours[3]):
        land(lake, steady_rows(["dev-a", "dev-b"], [hour]))
        clean_hour(lake, hour)

    def gaps() -> list[str]:
        rows = everything(lake, "clean_sensor_readings").filter(pl.col("quality_flags").list.contains("READING_GAP"))
        return sorted(rows["event_id"])

    assert gaps() == [f"{d}@{hours[2]:%m-%d %H}:00" for d in ("dev-a", "dev-b")]
    land(lake, steady_rows(["dev-a"], [hours[1]]))
    clean_hour(lake, hours[1])
    assert _named(lake) == {hours[2]}, "only the next hour looks back to it"
    clean_hour(lake, hours[2])
    assert gaps() == [f"dev-b@{hours[2]:%m-%d %H}:00"]
    assert _named(lake) == set()


def test_a_sensor_reported_in_an_hour_that_arrives_late_is_missed_later(lake: Lake) -> None:
    stocked(lake)
    later = [HOUR + n * ONE_HOUR for n in (1, 2)]
    for hour in later:
        land(lake, steady_rows(["dev-c"], [hour], 30, vibration_compressor=None))
        clean_hour(lake, hour)
    land(lake, steady_rows(["dev-c"], [HOUR], 30))
    clean_hour(lake, HOUR)
    assert _named(lake) == set(later)
    for hour in later:
        clean_hour(lake, hour)
    flags = everything(lake, "clean_sensor_readings").filter(pl.col("vibration_compressor").is_null())["quality_flags"]
    assert len(flags) == 4
    assert all("SENSOR_GAP" in f for f in flags)
    assert _named(lake) == set()


def test_cleaning_again_changes_nothing_and_names_nothing(lake: Lake) -> None:
    hours = [HOUR, HOUR + ONE_HOUR]
    land(stocked(lake), ugly_rows(9, 120, hours))
    make(lake, hours)
    refresh(lake, hours[-1] + ONE_HOUR)
    before = state(lake)
    make(lake, hours, hours[-1] + ONE_HOUR)
    assert differences(before, state(lake)) == {}
    assert _named(lake) == set()


def test_an_index_dropped_with_age_is_made_again_when_needed(lake: Lake) -> None:
    hours = [HOUR, HOUR + timedelta(days=5)]
    rows = [{"event_id": e, "device_id": "dev-a", "hour": h} for h in hours for e in ("x", f"{h}")]
    land(stocked(lake), raw_rows(rows))
    make(lake, hours)
    refresh(lake, hours[-1] + ONE_HOUR)
    before = state(lake)
    assert expire(lake, EVENT_INDEX, HOUR + timedelta(days=16), dry_run=False) == 1
    clean_hour(lake, hours[1])
    assert differences(before, state(lake)) == {}


def test_an_index_of_another_scheme_is_made_again(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    hours = [HOUR, HOUR + ONE_HOUR]
    rows = [{"event_id": e, "device_id": "dev-a", "hour": h} for h in hours for e in ("x", f"{h}")]
    land(stocked(lake), raw_rows(rows))
    with monkeypatch.context() as patch:
        patch.setattr("refrig_assets.pipeline.event_index.scheme", lambda: 1)
        patch.setattr(
            "refrig_assets.pipeline.event_index.event_hashes",
            lambda ids: ids.hash(seed=9).reinterpret(signed=True).rename("event_hash"),
        )
        index_raw(lake, [HOUR])
    assert clean_hour(lake, hours[1]).accounts["duplicate"] == 1


def test_an_hour_without_rows(lake: Lake) -> None:
    report = clean_hour(stocked(lake), HOUR)
    assert set(report.accounts.values()) == {0}
    assert report.flags == report.rows_by_event_hour == {}
    assert _named(lake) == set()


def test_an_hour_keeps_its_neighbours_and_their_dead_letters(lake: Lake) -> None:
    hours = [HOUR, HOUR + ONE_HOUR]
    rows = [
        {"event_id": f"{n}-{h}", "device_id": d, "hour": h, "minute": n, **NOTHING, "humidity": v}
        for h in hours
        for n, (d, v) in enumerate([("dev-a", 1.0), ("dev-a", None), ("ghost", 2.0)])
    ]
    land(stocked(lake), raw_rows(rows))
    letter = DEAD_LETTER.conform(
        pl.DataFrame(
            {"timestamp_ingested": [HOUR], "source_partition": ["f"], "source_offset": [0], "reason": ["?"]}
        ).with_columns(payload=pl.lit("{"), payload_encoding=pl.lit("utf-8"), stage=pl.lit("landing"))
    )
    lake.table(DEAD_LETTER).append(letter)
    make(lake, hours)
    before = state(lake)
    clean_hour(lake, HOUR)
    assert differences(before, state(lake)) == {}
    assert everything(lake, DEAD_LETTER.name)["stage"].sort().to_list() == ["clean", "clean", "landing"]
    assert everything(lake, QUARANTINE_READINGS.name).height == 2
    assert everything(lake, DEVICE_HOURS.name)["device_id"].to_list() == ["dev-a", "dev-a"]


def test_late_rows_lie_in_files_of_their_own(lake: Lake) -> None:
    rows = [
        {"device_id": "dev-a", "minute": m, "hour": HOUR, "timestamp_ingested": HOUR + timedelta(minutes=59)}
        for m in (-90, -30, 5, 10)
    ]
    land(stocked(lake), raw_rows(rows))
    report = clean_hour(lake, HOUR)
    assert report.late_rows == 2
    assert report.rows_by_event_hour == {HOUR - 2 * ONE_HOUR: 1, HOUR - ONE_HOUR: 1, HOUR: 2}
    table = lake.table(CLEAN_READINGS)
    assert len(table.files()) == 2
    assert len(table.files(start=HOUR, end=HOUR + ONE_HOUR, column="timestamp_utc")) == 1


def test_a_fleet_without_a_registry_is_quarantined_whole(lake: Lake) -> None:
    land(lake, steady_rows(["dev-a"], [HOUR]))
    report = clean_hour(lake, HOUR)
    assert report.accounts["quarantined"] == report.accounts["raw"] == 12
    assert lake.table(DEVICE_REGISTRY).read().is_empty()
