"""The jobs on a real instance: a range in one run, repeatable, with metadata and checks an operator can read."""

from datetime import timedelta

import dagster as dg
import polars as pl
import pytest

from refrig_assets.contracts import CLEAN_READINGS, DATA_QUALITY_DAILY, DEVICE_FEATURES, RAW_READINGS
from refrig_assets.defs.partitions import hour_key
from refrig_assets.lake import HOUR
from refrig_assets.pipeline.pending import stale
from refrig_assets_tests.defs.conftest import DEVICES, HOURS, START, Plant

TABLES = (RAW_READINGS, CLEAN_READINGS, DEVICE_FEATURES)


def _checks(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {f"{e.asset_key.to_user_string()}/{e.check_name}": e for e in result.get_asset_check_evaluations()}


def test_a_range_of_hours_is_one_run_with_a_materialisation_an_hour(plant: Plant) -> None:
    result = plant.backfill()
    assert result.success
    for asset in (
        "raw_sensor_readings",
        "dead_letter",
        "clean_sensor_readings",
        "quarantine_sensor_readings",
        "device_features",
    ):
        made = plant.instance.get_materialized_partitions(dg.AssetKey(asset))
        assert made == {hour_key(START + i * HOUR) for i in range(HOURS)}
    assert all(e.passed for e in _checks(result).values() if e.blocking)
    assert stale(plant.lake, plant.now)[0].hours == {}
    assert stale(plant.lake, plant.now)[1].hours == {}


def test_running_again_gives_the_same_tables(plant: Plant) -> None:
    plant.backfill()
    before = {c.name: plant.lake.table(c).read() for c in TABLES}
    assert plant.run("hourly", START).success
    for contract in TABLES:
        after = plant.lake.table(contract).read()
        assert after.equals(before[contract.name]) or after.sort(contract.columns).equals(
            before[contract.name].sort(contract.columns)
        )


def test_one_hour_at_a_time_gives_the_tables_of_one_range(
    plant: Plant, tmp_path_factory: pytest.TempPathFactory
) -> None:
    plant.backfill()
    whole = {c.name: plant.lake.table(c).read().sort(list(c.columns)) for c in (CLEAN_READINGS, DEVICE_FEATURES)}
    alone = Plant(tmp_path_factory.mktemp("alone"), plant.instance, plant.account, plant.now)
    (alone.root / "landing").symlink_to(plant.landing)
    (alone.root / "registry.parquet").symlink_to(plant.root / "registry.parquet")
    alone.run("registry")
    for number in range(HOURS):
        alone.run("hourly", START + number * HOUR, hours=1)
    for hour in sorted(stale(alone.lake, alone.now)[0].hours):
        alone.run("clean_and_features", hour, hours=1)
    for hour in sorted(stale(alone.lake, alone.now)[1].hours):
        alone.run("features", hour, hours=1)
    for contract in (CLEAN_READINGS, DEVICE_FEATURES):
        assert alone.lake.table(contract).read().sort(list(contract.columns)).equals(whole[contract.name])


def test_ten_times_the_mess_is_accounted_for_to_the_row(messy_plant: Plant) -> None:
    result = messy_plant.backfill()
    checks, sent = _checks(result), messy_plant.account
    conservation = checks["clean_sensor_readings/conservation"]
    assert conservation.passed
    counted = {k: v.value for k, v in conservation.metadata.items() if k != "finding"}
    assert counted["duplicate"] == sent["expected_duplicates"]
    assert counted["quarantined"] == sent["expected_quarantined"]
    assert counted["dead_letter"] == sent["expected_dead_letters_all_null"]
    letters = messy_plant.lake.table("dead_letter").read()
    assert letters.filter(pl.col("stage") == "landing").height == sent["expected_dead_letters_at_landing"]
    log = messy_plant.lake.table("landing_log").read()
    assert log["messages"].sum() == sent["lines"]
    assert log["rows_landed"].sum() + log["messages_joined"].sum() + log["dead_letters"].sum() == sent["lines"]
    rate = checks["dead_letter/dead_letter_rate"]
    assert not rate.passed
    assert rate.metadata["part"].value == sent["expected_dead_letters_at_landing"]
    assert 0 < len(rate.metadata["sample"].value) <= 20  # type: ignore[arg-type]


def test_a_materialisation_shows_what_an_operator_looks_for(plant: Plant) -> None:
    plant.backfill()
    found = {}
    for asset in ("raw_sensor_readings", "clean_sensor_readings", "device_features"):
        event = plant.instance.get_latest_materialization_event(dg.AssetKey(asset))
        assert event is not None
        assert event.asset_materialization is not None
        found[asset] = event.asset_materialization.metadata
    assert found["raw_sensor_readings"].keys() >= {
        "dagster/partition_row_count",
        "devices",
        "files",
        "throughput",
        "null_rates",
        "delta_version",
        "bytes_written",
    }
    assert found["clean_sensor_readings"].keys() >= {
        "accounts",
        "flags",
        "late_rows",
        "late_rows_by_hour",
        "seconds",
        "read_it",
    }
    assert found["device_features"].keys() >= {"devices", "late_rows_used", "devices_by_window", "delta_version"}
    assert "data:image/png;base64," in str(found["raw_sensor_readings"]["throughput"].value)
    version = found["clean_sensor_readings"]["delta_version"].value
    assert isinstance(version, int)
    assert plant.lake.table(CLEAN_READINGS).read(version=version).height > 0


def test_the_day_has_windows_and_a_quality_row(plant: Plant) -> None:
    plant.backfill()
    plant.now = START.replace(hour=0) + timedelta(days=1, minutes=30)
    assert plant.run("daily", START.replace(hour=0), hours=24).success
    days = plant.lake.table(DEVICE_FEATURES).read().filter(pl.col("window_duration_minutes") == 1440)
    assert days.height == DEVICES
    row = plant.lake.table(DATA_QUALITY_DAILY).read().row(0, named=True)
    accounts = (row["clean_rows"], row["duplicate_rows"], row["quarantined_rows"])
    silent = plant.lake.table("dead_letter").read().filter(pl.col("stage") == "clean").height
    assert row["raw_rows"] == sum(accounts) + silent
    assert row["hours_present"] == HOURS
    assert row["messages"] == plant.account["lines"]


def test_a_table_another_writer_changed_stops_the_chain(plant: Plant) -> None:
    from deltalake.schema import Field, PrimitiveType

    plant.run("registry")
    plant.lake.table(RAW_READINGS).open().alter.add_columns([Field("temperature_lid", PrimitiveType("double"))])
    result = plant.run("hourly", START, raise_on_error=False)
    assert not result.success
    found = _checks(result)["raw_sensor_readings/schema"]
    assert not found.passed
    assert "temperature_lid" in (found.description or "")
    assert plant.instance.get_materialized_partitions(dg.AssetKey("clean_sensor_readings")) == set()
    assert plant.lake.table(CLEAN_READINGS).read().is_empty()


def test_a_registry_cut_short_is_taken_only_when_the_launchpad_says_so(plant: Plant) -> None:
    plant.run("registry")
    file = plant.root / "registry.parquet"
    cut = pl.read_parquet(file).head(DEVICES - 11)
    file.unlink()  # it may be a link to one shared with other tests
    cut.write_parquet(file)
    assert not plant.run("registry", raise_on_error=False).success
    assert plant.lake.table("device_registry").read().height == DEVICES
    meant = {"ops": {"device_registry": {"config": {"allow_removal": True}}}}
    assert plant.run("registry", run_config=meant).success
    assert plant.lake.table("device_registry").read().height == DEVICES - 11


def test_an_hour_without_a_single_row_is_not_a_success(plant: Plant) -> None:
    plant.run("registry")
    result = plant.run("hourly", START - 3 * HOUR, hours=1)
    found = _checks(result)
    assert not found["raw_sensor_readings/zero_rows"].passed
    assert not found["clean_sensor_readings/zero_rows"].passed
    assert not found["device_features/zero_rows"].passed


def test_an_hour_of_the_future_is_refused_by_name(plant: Plant) -> None:
    plant.now = START - timedelta(minutes=1)
    with pytest.raises(ValueError, match="2026-03-10 06:00 UTC lies in the future"):
        plant.run("hourly", START, hours=1)
    assert plant.lake.table(RAW_READINGS).read().is_empty()


def test_the_running_hour_has_only_its_closed_windows(plant: Plant) -> None:
    plant.run("registry")
    plant.now = START + timedelta(minutes=37)
    assert plant.run("hourly", START, hours=1).success
    ends = plant.lake.table(DEVICE_FEATURES).read()["window_end"].unique().sort().to_list()
    assert ends == [START + timedelta(minutes=15), START + timedelta(minutes=30)]


@pytest.mark.parametrize("dry_run", [True, False])
def test_upkeep_says_what_it_does_and_changes_nothing_when_dry(plant: Plant, dry_run: bool) -> None:
    plant.backfill()
    plant.now = START + timedelta(days=120)
    rows = plant.lake.table(CLEAN_READINGS).read().height
    config = {"ops": {"keep_tables_up": {"config": {"dry_run": dry_run}}}}
    assert plant.run("upkeep", run_config=config).success
    assert plant.lake.table(RAW_READINGS).read().is_empty() is not dry_run
    assert plant.lake.table(CLEAN_READINGS).read().height == rows
