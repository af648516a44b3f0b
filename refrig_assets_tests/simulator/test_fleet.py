"""Fleets: the registry keeps its contract, fleets vary, and a bigger one contains the smaller."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from refrig_assets.contracts import DEVICE_REGISTRY
from refrig_assets.contracts.sensors import SENSOR_NAMES
from refrig_assets.simulator import Fleet, make_fleet

from .helpers import START


def test_registry_keeps_the_contract(fleet: Fleet) -> None:
    registry = DEVICE_REGISTRY.validate(fleet.registry)
    assert registry["cohort_id"].n_unique() >= 6
    assert registry["climate_zone"].n_unique() >= 4
    assert registry.select("site_manager", "maintenance_contact").null_count().sum_horizontal().item() == 0
    a_site = registry.group_by("site_id").agg(pl.col("region", "site_name", "site_manager").n_unique())
    assert a_site.drop("site_id").max().row(0) == (1, 1, 1)


def test_old_firmware_and_some_regions_lack_sensors() -> None:
    registry = make_fleet(3000, 7, START).registry
    lists = registry.with_columns(n=pl.col("expected_sensors").list.len())
    lacks_vibration = lists.filter(~pl.col("expected_sensors").list.contains("vibration_compressor"))
    assert set(lacks_vibration["firmware_version"]) == {"1.4.2", "1.9.4"}
    assert set(lists.filter(~pl.col("expected_sensors").list.contains("humidity"))["region"]) == {"nordics"}
    assert lists["n"].max() == len(SENSOR_NAMES)
    assert registry["expected_interval_s"].unique().sort().to_list() == [60, 300]


def test_a_bigger_fleet_contains_the_smaller() -> None:
    small, big = make_fleet(50, 7, START).registry, make_fleet(200, 7, START).registry
    assert big.head(50).equals(small)
    assert not make_fleet(50, 8, START).registry.equals(small)


@pytest.mark.parametrize(
    ("devices", "start", "interval", "says"),
    [
        (0, START, 60, "at least one device"),
        (5, datetime(2026, 3, 2, 1, 30, tzinfo=UTC), 60, "full hour"),
        (5, START.replace(tzinfo=None), 60, "time zone"),
        (5, START, 90, "whole minutes"),
    ],
)
def test_impossible_fleets_are_refused(devices: int, start: datetime, interval: int, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make_fleet(devices, 1, start, interval)


def test_start_in_another_time_zone_is_the_same_moment() -> None:
    from datetime import timezone

    there = START.astimezone(timezone(timedelta(hours=5)))
    assert make_fleet(5, 1, there).registry.equals(make_fleet(5, 1, START).registry)
