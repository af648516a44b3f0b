"""Healthy machines: inside their ranges in every climate, and coherent as a vapour-compression cycle is."""

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from refrig_assets.contracts.sensors import NUMERIC_SENSORS, SENSOR_NAMES
from refrig_assets.simulator import Fleet, catalogue, make_fleet, no_faults, refrigerant, simulate_hour

from .helpers import HOUR, START, simulate
from .rules import fired

REFRIGERANT = {c.name: c.refrigerant for c in catalogue.COHORTS}


@pytest.mark.parametrize("month", [1, 4, 7, 10])
def test_healthy_values_are_inside_their_ranges(month: int) -> None:
    """Strictly inside: values at an end of the range would have been clipped there by the transmitter."""
    start = datetime(2026, month, 16, tzinfo=UTC)
    fleet = make_fleet(4000, 11, start)
    for hour in (3, 14, 21):
        found = simulate_hour(fleet, no_faults(fleet), start + HOUR * hour)
        for s in NUMERIC_SENSORS:
            low, high = found[s.name].min(), found[s.name].max()
            assert s.low < low, (s.name, low)
            assert high < s.high, (s.name, high)
    assert found.join(fleet.registry, on="device_id").filter(
        pl.col("current_compressor") > 0.9 * pl.col("current_threshold_a")).is_empty()  # fmt: skip


def test_saturation_agrees_with_coolprop() -> None:
    from CoolProp.CoolProp import PropsSI

    temperature = np.array([-37.13, -10.02, 24.9, 55.55], dtype=np.float32)
    for number, name in enumerate(refrigerant.REFRIGERANTS):
        found = refrigerant.saturation_pressure(np.full(4, number), temperature)
        true = np.array([PropsSI("P", "T", float(t) + 273.15, "Q", 1, name) / 1000 for t in temperature])
        assert np.allclose(found, true, rtol=2e-4)
        assert np.allclose(refrigerant.saturation_temperature(name, true), temperature, atol=0.01)


def test_pressures_are_those_of_saturation(healthy_day: pl.DataFrame) -> None:
    for (cohort,), rows in healthy_day.group_by("cohort_id"):
        fluid = REFRIGERANT[str(cohort)]
        calm = rows.filter(~pl.col("defrost_cycle"))
        condensing = refrigerant.saturation_temperature(fluid, calm["pressure_high_side"].to_numpy())
        evaporating = refrigerant.saturation_temperature(fluid, calm["pressure_low_side"].to_numpy())
        assert np.abs(condensing - calm["temperature_condenser"].to_numpy() - 0.7).max() < 2
        # The coil is a little warmer than the refrigerant in it; openings and the pull-down after defrosts more so.
        above = calm["temperature_evaporator"].to_numpy() - evaporating
        assert 0.8 < np.median(above) < 3
        # Suction gas: evaporating, plus superheat, plus what the line takes up from the air.
        outlet = evaporating + calm["superheat"].to_numpy()
        line = calm["temperature_suction"].to_numpy() - outlet
        warmer = np.maximum(calm["temperature_ambient"].to_numpy() - outlet, 0)
        assert np.abs(line - 0.18 * warmer).max() < 4
        assert np.corrcoef(line, warmer)[0, 1] > 0.2


def test_heat_flows_the_right_way(healthy_day: pl.DataFrame) -> None:
    hot = pl.col("temperature_discharge") > pl.col("temperature_condenser")
    rejects = pl.col("temperature_condenser") > pl.col("temperature_ambient")
    ratio = pl.col("pressure_high_side") / pl.col("pressure_low_side")
    told = healthy_day.select(hot.mean(), rejects.mean().alias("r"), ratio.min().alias("p")).row(0)
    assert told[0] > 0.995
    assert told[1] > 0.99
    assert told[2] > 1.5
    calm = healthy_day.filter(~pl.col("defrost_cycle"))
    colder = calm["temperature_evaporator"] < calm["temperature_ambient"]
    outdoors = calm["cohort_id"].str.starts_with("walk-in")
    assert colder.filter(~outdoors).mean() == 1.0


def test_current_follows_the_lift(healthy_day: pl.DataFrame) -> None:
    calm = healthy_day.filter(~pl.col("defrost_cycle"), pl.col("cohort_id") == "walk-in-freezer")
    hourly = calm.group_by("device_id", pl.col("timestamp_device").dt.hour().alias("hour")).agg(
        pl.col("current_compressor", "pressure_high_side").mean()
    )
    within = hourly.with_columns(pl.col("current_compressor", "pressure_high_side") / pl.col(
        "current_compressor", "pressure_high_side").mean().over("device_id"))  # fmt: skip
    assert within.select(pl.corr("current_compressor", "pressure_high_side")).item() > 0.5


def test_defrosts_doors_and_orientation_values(healthy_day: pl.DataFrame) -> None:
    assert 0.07 < healthy_day["defrost_cycle"].mean() < 0.09
    assert 0.04 < healthy_day["door_open_close"].mean() < 0.06
    clock = pl.col("timestamp_device").dt.hour()
    western = healthy_day.filter(pl.col("region") == "eu-west").group_by(clock.alias("hour")).agg(
        pl.col("door_open_close").mean()).sort("hour")["door_open_close"]  # fmt: skip
    assert western[16] > 5 * western[2]
    freezer = healthy_day.filter(pl.col("cohort_id") == "reach-in-freezer", ~pl.col("defrost_cycle"))
    for name, low, high in (
        ("temperature_evaporator", -28, -22), ("temperature_condenser", 28, 42), ("temperature_discharge", 50, 80),
        ("pressure_high_side", 1000, 1700), ("pressure_low_side", 150, 250), ("superheat", 6, 10),
        ("subcooling", 3, 7), ("vibration_compressor", 2, 4),
    ):  # fmt: skip
        assert low < freezer[name].mean() < high, (name, freezer[name].mean())


def test_healthy_machines_fire_no_streaming_rule(healthy_day: pl.DataFrame) -> None:
    count = dict.fromkeys(("compressor_overload", "vibration_spike", "acute_pressure_loss", "total_cooling_loss"), 0)
    for _, rows in healthy_day.group_by("device_id"):
        late = rows.sort("timestamp_device")
        for rule, times in fired(late, late["current_threshold_a"][0]).items():
            # A vibration mean needs some hours before it is one.
            count[rule] += times if rule != "vibration_spike" else fired(late.tail(600))["vibration_spike"] > 30
    assert count == dict.fromkeys(count, 0)


def test_a_range_is_its_hours_and_time_flows_through(fleet: Fleet) -> None:
    """What an hour holds does not depend on what was simulated before, and there is no seam between hours."""
    plan = no_faults(fleet)
    forward = simulate(fleet, plan, START + HOUR * 5, 3)
    backward = [simulate_hour(fleet, plan, START + HOUR * h) for h in (7, 6, 5)]
    assert forward.equals(pl.concat(backward[::-1]))
    slow = forward.filter(pl.col("device_id") == "RF-000004").with_columns(
        pl.col("temperature_ambient", "pressure_high_side").diff().abs().name.suffix("_step"),
        seam=pl.col("timestamp_device").dt.hour().diff() != 0,
    )
    seam, inside = slow.filter("seam"), slow.filter(~pl.col("seam"))
    for name in ("temperature_ambient_step", "pressure_high_side_step"):
        assert seam[name].max() <= inside[name].max() * 1.2


def test_healthy_machines_wander_from_day_to_day() -> None:
    fleet = make_fleet(60, 3, START)
    noon = [simulate_hour(fleet, no_faults(fleet), START + HOUR * (24 * d + 12)) for d in range(0, 20, 4)]
    means = pl.concat(
        frame.filter(~pl.col("defrost_cycle")).group_by("device_id").agg(
            pl.col("superheat", "subcooling", "current_compressor").mean(), day=pl.lit(d)
        )
        for d, frame in enumerate(noon)
    )  # fmt: skip
    spread = means.group_by("device_id").agg(pl.col("superheat", "subcooling").std()).drop("device_id").mean()
    assert 0.4 < spread["superheat"][0] < 1.5
    assert 0.25 < spread["subcooling"][0] < 1.2
    assert set(SENSOR_NAMES) <= set(noon[0].columns)
