"""The registry: taken as a whole or not at all, and what it releases from quarantine."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from refrig_assets.contracts import DEVICE_REGISTRY
from refrig_assets.contracts.sensors import SENSOR_NAMES
from refrig_assets.lake import Lake
from refrig_assets.pipeline.clean import clean_hour
from refrig_assets.pipeline.quality import counted_accounts
from refrig_assets.pipeline.registry import RegistryError, hours_to_release, read_registry, write_registry
from refrig_assets_tests.builders import HOUR, ONE_HOUR, everything
from refrig_assets_tests.readings import FLEET, land, registry_frame, steady_rows, stocked
from refrig_assets_tests.reference_clean import Device

HEAD = "device_id,site_id,cohort_id"


def csv(folder: Path, *lines: str) -> Path:
    path = folder / "registry.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def parquet(folder: Path, **columns: Any) -> Path:
    path = folder / "registry.parquet"
    pl.DataFrame({"device_id": ["a", "b"], "site_id": ["s", "s"], "cohort_id": ["c", "c"]} | columns).write_parquet(
        path
    )
    return path


def test_a_minimal_csv_gets_the_defaults(tmp_path: Path) -> None:
    found = read_registry(csv(tmp_path, HEAD, "b,s1,c1", "a,s1,c1"))
    assert dict(found.schema) == dict(DEVICE_REGISTRY.empty().schema)
    assert found["device_id"].to_list() == ["a", "b"]
    row = found.row(0, named=True)
    assert row["expected_sensors"] == list(SENSOR_NAMES)
    assert (row["expected_interval_s"], row["status"], row["current_threshold_a"]) == (60, "active", 40.0)
    assert (row["pressure_drop_fraction"], row["temperature_rise_c_per_min"]) == (0.3, 2.0)
    assert row["vibration_baseline_mm_s"] is row["install_date"] is row["site_manager"] is None


def test_thresholds_times_and_lists_of_a_csv_by_device(tmp_path: Path) -> None:
    found = read_registry(
        csv(
            tmp_path,
            f"{HEAD},expected_sensors,expected_interval_s,current_threshold_a,vibration_baseline_mm_s,install_date",
            "a,s,c,humidity;superheat, 300 ,35.5,2.5,2024-01-05",
            'b,s,c,"humidity, door_open_close",,,,2024-01-05T10:00:00+02:00',
            "d,s,c,humidity superheat|subcooling,,,,",
            "e,s,c,,,,,",
        )
    ).rows_by_key("device_id", named=True, unique=True)
    assert found["a"]["expected_sensors"] == ["humidity", "superheat"]
    assert (found["a"]["expected_interval_s"], found["a"]["current_threshold_a"]) == (300, 35.5)
    assert found["a"]["vibration_baseline_mm_s"] == 2.5
    assert found["a"]["install_date"] == datetime(2024, 1, 5, tzinfo=UTC)
    assert found["b"]["install_date"] == datetime(2024, 1, 5, 8, tzinfo=UTC)
    assert found["b"]["expected_sensors"] == ["humidity", "door_open_close"]
    assert (found["b"]["expected_interval_s"], found["b"]["current_threshold_a"]) == (60, 40.0)
    assert found["d"]["expected_sensors"] == ["humidity", "superheat", "subcooling"]
    assert found["e"]["expected_sensors"] == list(SENSOR_NAMES), "unset is the default, as a missing column is"


def test_parquet_of_other_widths(tmp_path: Path) -> None:
    found = read_registry(
        parquet(
            tmp_path, expected_interval_s=[300, None], expected_sensors=[["humidity"], []], current_threshold_a=[30, 40]
        )
    )
    assert dict(found.schema) == dict(DEVICE_REGISTRY.empty().schema)
    assert found["expected_interval_s"].to_list() == [300, 60]
    assert found["expected_sensors"].to_list() == [["humidity"], []]
    assert found["current_threshold_a"].to_list() == [30.0, 40.0]
    written = tmp_path / "again.parquet"
    found.write_parquet(written)
    assert read_registry(written).equals(found)


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        ((HEAD, "a,s,c", "b,s,c", "a,s,c"), ["device_id", "not unique", "2 rows", "'a'"]),
        ((f"{HEAD},expected_interval_s", "a,s,c,soon"), ["expected_interval_s", "soon"]),
        ((f"{HEAD},expected_interval_s", "a,s,c,0"), ["expected_interval_s", "not above 0", "'a'"]),
        ((f"{HEAD},expected_interval_s", "a,s,c,60.5"), ["expected_interval_s", "60.5"]),
        ((f"{HEAD},install_date", "a,s,c,soon"), ["install_date", "not times", "soon"]),
        ((f"{HEAD},expected_sensors", "a,s,c,humidity warp"), ["expected_sensors", "warp"]),
        ((f"{HEAD},colour,size", "a,s,c,red,3"), ["unknown columns", "colour", "size"]),
        ((f"{HEAD},status", "a,s,c,lost"), ["status", "not an allowed value", "'a'"]),
        ((f"{HEAD},pressure_drop_fraction", "a,s,c,30"), ["pressure_drop_fraction", "above 1", "'a'"]),
        ((f"{HEAD},current_threshold_a", "a,s,c,nan"), ["current_threshold_a", "NaN", "'a'"]),
        ((HEAD, "a,s,"), ["cohort_id", "null", "'a'"]),
        (("device_id,site_id", "a,s"), ["cohort_id", "missing"]),
        ((HEAD, "a,s,c,d"), ["registry.csv"]),
        ((HEAD,), ["holds no devices"]),
        (("",), ["registry.csv"]),
    ],
)
def test_a_registry_with_a_mistake_is_refused_and_the_mistake_named(
    lake: Lake, tmp_path: Path, lines: tuple[str, ...], named: list[str]
) -> None:
    stocked(lake)
    before = lake.table(DEVICE_REGISTRY).version, everything(lake, DEVICE_REGISTRY.name)
    with pytest.raises(RegistryError) as refused:
        write_registry(lake, read_registry(csv(tmp_path, *lines)))
    for word in named:
        assert word in str(refused.value)
    assert lake.table(DEVICE_REGISTRY).version == before[0]
    assert everything(lake, DEVICE_REGISTRY.name).equals(before[1])


@pytest.mark.parametrize(
    ("columns", "named"),
    [
        ({"expected_interval_s": [60.0, 60.5]}, ["expected_interval_s", "60.5"]),
        ({"expected_interval_s": [[60], [60]]}, ["expected_interval_s"]),
        ({"expected_sensors": [["humidity"], ["warp"]]}, ["expected_sensors", "warp"]),
        ({"device_id": ["a", "a"]}, ["device_id", "not unique"]),
        ({"device_id": ["a", None]}, ["device_id", "null"]),
        ({"extra": [1, 2]}, ["unknown columns", "extra"]),
    ],
)
def test_a_parquet_with_a_mistake_is_refused(tmp_path: Path, columns: dict[str, Any], named: list[str]) -> None:
    with pytest.raises(RegistryError) as refused:
        read_registry(parquet(tmp_path, **columns))
    for word in named:
        assert word in str(refused.value)


@pytest.mark.parametrize("name", ["registry.parquet", "registry.csv", "registry.xlsx"])
def test_a_file_that_is_no_registry_is_refused_by_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x00\xff\x93PK" * 9)
    with pytest.raises(RegistryError, match=name):
        read_registry(tmp_path / name)
    with pytest.raises(RegistryError, match="no such file"):
        read_registry(tmp_path / f"absent-{name}".replace("xlsx", "csv"))


def test_an_equal_registry_writes_no_version(lake: Lake) -> None:
    registry = registry_frame(FLEET).sort("device_id")
    first = write_registry(lake, registry)
    assert (first.devices, first.added, first.removed, first.changed) == (3, 3, 0, 0)
    again = write_registry(lake, registry)
    assert (again.added, again.removed, again.changed) == (0, 0, 0)
    assert again.version == first.version == lake.table(DEVICE_REGISTRY).version


def test_a_change_is_counted(lake: Lake) -> None:
    write_registry(lake, registry_frame(FLEET).sort("device_id"))
    other = registry_frame({k: v for k, v in FLEET.items() if k != "dev-a"} | {"dev-x": Device()}).sort("device_id")
    other = other.with_columns(
        pl.when(pl.col("device_id") == "dev-b").then(35.0).otherwise("current_threshold_a").alias("current_threshold_a")
    )
    change = write_registry(lake, other)
    assert (change.devices, change.added, change.removed, change.changed) == (3, 1, 1, 1)
    assert lake.table(DEVICE_REGISTRY).read().sort("device_id").equals(other)
    sensors = other.with_columns(pl.lit(["humidity"]).alias("expected_sensors"))
    assert write_registry(lake, sensors).changed == 3


def test_a_file_that_was_cut_short_is_refused_unless_it_is_meant(lake: Lake) -> None:
    whole = registry_frame({f"dev-{n:03}": Device() for n in range(200)}).sort("device_id")
    version = write_registry(lake, whole).version
    assert write_registry(lake, whole.head(180)).removed == 20  # a tenth may go
    lake.table(DEVICE_REGISTRY).replace_all(whole)
    with pytest.raises(RegistryError, match=r"lacks 21 of the 200 .*dev-179.*retired.*allow_removal: true"):
        write_registry(lake, whole.head(179))
    assert lake.table(DEVICE_REGISTRY).read().height == 200
    gone = whole.with_columns(pl.when(pl.col("device_id") < "dev-150").then(pl.lit("retired")).alias("status"))
    assert write_registry(lake, gone.with_columns(pl.col("status").fill_null("active"))).changed == 150
    assert write_registry(lake, whole.head(5), allow_removal=True).removed == 195
    assert lake.table(DEVICE_REGISTRY).version > version


def test_quarantined_rows_are_released_once_their_device_is_known(lake: Lake) -> None:
    hours = [HOUR, HOUR + ONE_HOUR]
    land(stocked(lake), steady_rows(["dev-a", "ghost", "stranger"], hours, 20))
    for hour in hours:
        clean_hour(lake, hour)
    assert hours_to_release(lake) == {}
    write_registry(lake, registry_frame({**FLEET, "ghost": Device()}).sort("device_id"))
    assert hours_to_release(lake) == {hours[0]: 3, hours[1]: 3}
    for hour in hours:
        clean_hour(lake, hour)
        accounts = counted_accounts(lake, hour)
        assert accounts == {"raw": 9, "clean": 6, "quarantined": 3, "dead_letter": 0, "duplicate": 0}
    assert hours_to_release(lake) == {}
    assert set(everything(lake, "quarantine_sensor_readings")["device_id"]) == {"stranger"}
    released = everything(lake, "clean_sensor_readings").filter(device_id="ghost")
    assert not any("DEVICE_UNKNOWN" in f for f in released["quality_flags"])
