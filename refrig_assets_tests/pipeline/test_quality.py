"""The daily quality row adds up, and hours count as their tables do."""

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from refrig_assets.contracts import DATA_QUALITY_DAILY, DEAD_LETTER
from refrig_assets.contracts.readings import QUALITY_FLAGS
from refrig_assets.contracts.sensors import SENSOR_NAMES
from refrig_assets.lake import Lake
from refrig_assets.pipeline.clean import clean_hour
from refrig_assets.pipeline.landing import land_hour
from refrig_assets.pipeline.quality import counted_accounts, quality_day, write_quality_day
from refrig_assets_tests.builders import HEALTHY, HOUR, NOW, ONE_HOUR, everything, iso, land_file, minutes_of, wide
from refrig_assets_tests.readings import FLEET, land, make, stocked, ugly_rows
from refrig_assets_tests.reference_clean import Device

DAY = HOUR.replace(hour=0)


def test_a_day_of_files_adds_up(lake: Lake, landing: Path) -> None:
    good = minutes_of(2, 60)
    readings = dict(HEALTHY) | {"humidity": None}
    odd = [
        good[3],  # a duplicate
        wide("ghost", 5),
        wide("dev-1", 30.5, readings={}, event_id="void"),
        wide("dev-0", 31.5, readings=readings, event_id="without"),
        wide("dev-0", 0, event_id="late", timestamp=iso(HOUR - timedelta(minutes=10))),
        "{broken",
    ]
    land_file(landing, "a.ndjson", good + odd)
    stocked(lake, {f"dev-{n}": Device() for n in range(3)})
    land_hour(lake, landing, HOUR, NOW)
    clean_hour(lake, HOUR)
    row = quality_day(lake, DAY).row(0, named=True)
    assert row["day"] == DAY.date()
    assert row["messages"] == 126
    assert row["raw_rows"] == 125
    assert row["clean_rows"] + row["duplicate_rows"] + row["quarantined_rows"] + 1 == row["raw_rows"]
    assert (row["clean_rows"], row["duplicate_rows"], row["quarantined_rows"]) == (122, 1, 1)
    assert row["dead_letters"] == 2
    assert row["late_rows"] == 1
    assert row["landed_fraction"] == pytest.approx(125 / 126)
    assert (row["devices_reporting"], row["devices_active"], row["hours_present"]) == (2, 3, 1)
    assert row["completeness"] == pytest.approx(122 / (3 * 1440))
    assert row["flag_duplicate_removed"] == row["flag_device_unknown"] == 1
    assert row["null_rate_humidity"] == pytest.approx(1 / 122)
    assert row["null_rate_superheat"] == 0.0
    letters = everything(lake, DEAD_LETTER.name)
    assert sorted(letters["stage"]) == ["clean", "landing"]


@pytest.mark.parametrize("seed", [41, 42])
def test_a_messy_day_says_what_the_tables_hold(lake: Lake, seed: int) -> None:
    hours = [HOUR, HOUR + 3 * ONE_HOUR]
    land(stocked(lake), ugly_rows(seed, 150, hours))
    make(lake, hours)
    row = quality_day(lake, DAY).row(0, named=True)
    counted = [counted_accounts(lake, h) for h in hours]
    for name, account in (("raw_rows", "raw"), ("clean_rows", "clean"), ("duplicate_rows", "duplicate")):
        assert row[name] == sum(c[account] for c in counted)
    assert sum(sum(c[p] for p in c if p != "raw") for c in counted) == row["raw_rows"] == 150
    tables = [everything(lake, t) for t in ("clean_sensor_readings", "quarantine_sensor_readings")]
    flags = pl.concat([t["quality_flags"] for t in tables]).explode()
    assert {f: row[f"flag_{f.lower()}"] for f in QUALITY_FLAGS} == {f: (flags == f).sum() for f in QUALITY_FLAGS}
    clean = tables[0]
    assert {s: row[f"null_rate_{s}"] for s in SENSOR_NAMES} == {
        s: clean[s].null_count() / clean.height for s in SENSOR_NAMES
    }
    measured, arrived = (clean[c].dt.truncate("1h") for c in ("timestamp_utc", "timestamp_ingested"))
    assert row["late_rows"] == (measured != arrived).sum()
    assert row["devices_reporting"] == clean["device_id"].n_unique()
    assert row["hours_present"] == 2
    assert row["landed_fraction"] == 1.0


def test_a_day_is_written_once_however_often(lake: Lake) -> None:
    land(stocked(lake), ugly_rows(43, 40, [HOUR]))
    make(lake, [HOUR])
    for day in (DAY, DAY + timedelta(days=1), DAY, DAY - timedelta(days=1)):
        write_quality_day(lake, day)
    table = everything(lake, DATA_QUALITY_DAILY.name)
    assert table["day"].to_list() == [(DAY + timedelta(days=n)).date() for n in (-1, 0, 1)]
    assert table["raw_rows"].to_list() == [0, 40, 0]


def test_an_empty_day(lake: Lake) -> None:
    row = quality_day(stocked(lake), DAY).row(0, named=True)
    assert row["raw_rows"] == row["clean_rows"] == row["hours_present"] == 0
    assert row["completeness"] == 0.0
    assert row["landed_fraction"] == 1.0
    assert row["devices_active"] == len(FLEET)
