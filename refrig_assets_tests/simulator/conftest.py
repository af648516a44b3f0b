"""A small fleet and a day of it, shared by the simulator's tests."""

import polars as pl
import pytest

from refrig_assets.simulator import Fleet, make_fleet, no_faults

from .helpers import START, simulate


@pytest.fixture(scope="session")
def fleet() -> Fleet:
    return make_fleet(300, 7, START)


@pytest.fixture(scope="session")
def healthy_day(fleet: Fleet) -> pl.DataFrame:
    """A day of 300 healthy devices, with the registry's columns joined."""
    day = simulate(fleet, no_faults(fleet), START, 24)
    return day.join(fleet.registry.drop("install_date"), on="device_id").sort("device_id", "timestamp_device")
