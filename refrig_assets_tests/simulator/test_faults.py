"""Faults: each moves what it should and in the right direction, the acute ones fire their rules, slight ones hide."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import polars as pl
import pytest

from refrig_assets.simulator import FAULTS, FaultPlan, Fleet, make_fleet, no_faults, parse_faults, plan_faults
from refrig_assets.simulator import simulate_hour as hour_of
from refrig_assets.simulator.faults import BY_NAME

from .helpers import HOUR, START, simulate
from .rules import fired

# What each gradual fault does to the means of running, not defrosting machines when it is nearly full: -1, +1.
MOVES: dict[str, dict[str, int]] = {
    "refrigerant_leak_slow": {"superheat": 1, "subcooling": -1, "pressure_low_side": -1, "temperature_discharge": 1},
    "bearing_wear": {"vibration_compressor": 1, "current_compressor": 1},
    "condenser_fouling": {"pressure_high_side": 1, "temperature_condenser": 1, "temperature_discharge": 1,
                          "current_compressor": 1},
    "evaporator_icing": {"pressure_low_side": -1, "temperature_evaporator": -1, "superheat": -1},
    "door_seal": {"humidity": 1, "current_compressor": 1},
}  # fmt: skip
RULES = {
    "refrigerant_leak_fast": "acute_pressure_loss",
    "compressor_seizure": "compressor_overload",
    "compressor_overload": "compressor_overload",
    "liquid_slugging": "vibration_spike",
    "power_loss": "total_cooling_loss",
}


def _means(fleet: Fleet, plan: FaultPlan, hour: datetime) -> pl.DataFrame:
    calm = hour_of(fleet, plan, hour).filter(~pl.col("defrost_cycle"))
    return calm.group_by("device_id").agg(pl.col(pl.Float64).mean())


def _difference(kind: str, part: float, severity: float = 1.0) -> pl.DataFrame:
    """Faulty minus healthy hourly means of the same devices, `part` of the way from onset to full level."""
    fleet = make_fleet(300, 7, START)
    plan = plan_faults(fleet, START, START + timedelta(days=8), 5, {kind: 0.1}, severity)
    rows = []
    for truth in plan.truth.head(8).iter_rows(named=True):
        full = truth["failure_time"] or truth["onset"] + timedelta(days=2)
        hour = (truth["onset"] + (full - truth["onset"]) * part).replace(minute=0, second=0)
        mine = pl.col("device_id") == truth["device_id"]
        sick, well = _means(fleet, plan, hour).filter(mine), _means(fleet, no_faults(fleet), hour).filter(mine)
        if sick.height and well.height:
            rows.append(sick.drop("device_id") - well.drop("device_id"))
    return pl.concat(rows)


@pytest.mark.parametrize("kind", MOVES)
def test_gradual_faults_move_the_sensors_they_should(kind: str) -> None:
    moved = _difference(kind, 0.9)
    for sensor, direction in MOVES[kind].items():
        assert (moved[sensor].drop_nulls() * direction > 0).mean() >= 0.8, (sensor, moved[sensor].to_list())


def test_a_hunting_valve_swings_the_superheat() -> None:
    fleet = make_fleet(300, 7, START)
    plan = plan_faults(fleet, START, START + timedelta(days=8), 5, "valve_hunting=0.05")
    last = hour_of(fleet, plan, START + timedelta(days=8)).filter(~pl.col("defrost_cycle"))
    sick = pl.col("device_id").is_in(plan.truth["device_id"].implode())
    spread = last.group_by("device_id", sick.alias("sick")).agg(pl.col("superheat").std())
    assert spread.filter("sick")["superheat"].min() > 2 * spread.filter(~pl.col("sick"))["superheat"].median()


@pytest.mark.parametrize("kind", MOVES)
def test_slight_faults_lie_inside_healthy_wander(kind: str) -> None:
    """A tenth of the way, a fault moves its sensors less than healthy days differ."""
    early = _difference(kind, 0.1)
    fleet = make_fleet(300, 7, START)
    days = [_means(fleet, no_faults(fleet), START + timedelta(days=d, hours=12)) for d in range(0, 16, 5)]
    wander = pl.concat(days).group_by("device_id").agg(pl.col(pl.Float64).std())
    for sensor in MOVES[kind]:
        assert early[sensor].abs().mean() < 2 * wander[sensor].mean(), sensor


@pytest.mark.parametrize("kind", RULES)
def test_acute_faults_fire_their_rule_and_not_before(kind: str) -> None:
    fleet = make_fleet(160, 7, START)
    plan = plan_faults(fleet, START + HOUR * 4, START + HOUR * 6, 5, {kind: 0.15})
    seen = simulate(fleet, plan, START, 8)
    found = []
    for truth in plan.truth.iter_rows(named=True):
        device = fleet.registry.row(by_predicate=pl.col("device_id") == truth["device_id"], named=True)
        mine = seen.filter(pl.col("device_id") == truth["device_id"]).sort("timestamp_device")
        lacks_probe = "vibration_compressor" not in device["expected_sensors"] and kind == "liquid_slugging"
        around = mine.filter(pl.col("defrost_cycle"), (pl.col("timestamp_device") - truth["onset"]).abs() < HOUR)
        if device["expected_interval_s"] > 60 or lacks_probe or around.height:
            continue
        before = mine.filter(pl.col("timestamp_device") < truth["onset"])
        threshold = device["current_threshold_a"]
        assert fired(before.tail(1), threshold)[RULES[kind]] == 0
        found.append(fired(mine, threshold)[RULES[kind]] > fired(before, threshold)[RULES[kind]])
    assert len(found) >= 5
    assert all(found), found


def test_failed_machines_stand_still_until_they_are_repaired() -> None:
    fleet = make_fleet(200, 7, START)
    plan = plan_faults(fleet, START, START + timedelta(days=10), 5, "bearing_wear=0.05")
    truth = plan.truth.row(0, named=True)
    mine = pl.col("device_id") == truth["device_id"]
    failed = hour_of(fleet, plan, truth["failure_time"].replace(minute=0, second=0) + HOUR * 2).filter(mine)
    assert failed["current_compressor"].max() < 1
    assert failed["temperature_evaporator"].min() > 5
    repaired = hour_of(fleet, plan, truth["ended_at"].replace(minute=0, second=0) + HOUR * 8).filter(mine)
    assert repaired["current_compressor"].max() > 2


def _only(kind: str, share: float = 0.1, hours: int = 30) -> tuple[Fleet, FaultPlan, pl.DataFrame]:
    fleet = make_fleet(200, 7, START)
    plan = plan_faults(fleet, START, START + HOUR * 10, 5, {kind: share})
    return fleet, plan, simulate(fleet, plan, START + HOUR * (hours - 6), 6)


@pytest.mark.parametrize("kind", ["sensor_stuck", "sensor_dead"])
def test_broken_probes(kind: str) -> None:
    _, plan, seen = _only(kind)
    for truth in plan.truth.iter_rows(named=True):
        values = seen.filter(pl.col("device_id") == truth["device_id"])[truth["sensor"]]
        assert values.n_unique() == 1
        assert values.is_null().all() == (kind == "sensor_dead")


def test_a_drifting_probe_leaves_the_others_alone() -> None:
    fleet, plan, seen = _only("sensor_drift")
    well = simulate(fleet, no_faults(fleet), START + HOUR * 24, 6)
    for truth in plan.truth.iter_rows(named=True):
        mine = pl.col("device_id") == truth["device_id"]
        difference = seen.filter(mine).select(pl.col(pl.Float64)) - well.filter(mine).select(pl.col(pl.Float64))
        assert difference[truth["sensor"]].abs().mean() > 0
        assert (difference.drop(truth["sensor"]).fill_null(0) == 0).min_horizontal().all()


def test_dropouts_are_silences_of_tens_of_minutes() -> None:
    fleet, plan, seen = _only("dropouts")
    gap = pl.col("timestamp_device").diff().over("device_id")
    longest = seen.group_by("device_id").agg(gap.max().alias("gap"), pl.len())
    sick = longest.filter(pl.col("device_id").is_in(plan.truth["device_id"].implode()))
    assert (sick["gap"] > timedelta(minutes=10)).mean() > 0.8
    assert sick["gap"].max() < timedelta(hours=2)
    usual = longest.join(sick, on="device_id", how="anti").join(fleet.registry, on="device_id")
    assert (usual["gap"].dt.total_seconds() <= usual["expected_interval_s"] + 1).all()


def test_a_drifted_clock_is_off_by_more_than_a_day() -> None:
    _, plan, seen = _only("clock_drift")
    off = (seen["timestamp_device"] - seen["timestamp_ingested"]).abs() > timedelta(hours=24)
    assert set(seen.filter(off)["device_id"]) == set(plan.truth["device_id"])
    assert set(seen.filter(~off)["device_id"]).isdisjoint(plan.truth["device_id"])


def test_a_firmware_scales_all_its_pressures() -> None:
    fleet, plan, seen = _only("firmware_scale", 0.05)
    versions = fleet.registry.filter(pl.col("device_id").is_in(plan.truth["device_id"].implode()))["firmware_version"]
    assert versions.n_unique() == 1
    assert len(versions) == (fleet.registry["firmware_version"] == versions[0]).sum()
    sick = seen.filter(pl.col("device_id").is_in(plan.truth["device_id"].implode()))
    well = simulate(fleet, no_faults(fleet), START + HOUR * 24, 6).join(sick, on=["device_id", "timestamp_device"])
    assert (well["pressure_low_side_right"] / well["pressure_low_side"]).median() == pytest.approx(6.895, rel=0.01)


def test_truth_says_what_was_planned() -> None:
    fleet = make_fleet(2000, 7, START)
    end = START + timedelta(days=21)
    truth = plan_faults(fleet, START, end, 5).truth
    counts = dict(truth.group_by("fault").len().iter_rows())
    assert set(counts) == {f.name for f in FAULTS}
    for name, count in counts.items():
        if name != "firmware_scale":
            assert abs(count - BY_NAME[name].usual_share * 2000) <= 1
    assert truth["device_id"].is_unique().all()
    assert truth["onset"].is_between(START, end).all()
    gradual = truth.filter("is_gradual", pl.col("failure_time").is_not_null())
    grows = gradual["failure_time"] - gradual["onset"]
    assert grows.is_between(timedelta(days=1), timedelta(days=6)).all()
    assert (gradual["failure_time"] <= end).all()
    never = truth.filter(pl.col("failure_time").is_null())["fault"].unique()
    assert set(never) == {f.name for f in FAULTS if not f.fails}
    assert truth["sensor"].is_not_null().to_list() == truth["fault"].str.starts_with("sensor_").to_list()


@pytest.mark.parametrize(
    ("text", "shares"),
    [
        ("none", {}),
        ("bearing_wear=0.02, door_seal=0.01", {"bearing_wear": 0.02, "door_seal": 0.01}),
        ("power_loss", {"power_loss": BY_NAME["power_loss"].usual_share}),
    ],
)
def test_faults_are_read_from_text(text: str, shares: Mapping[str, float]) -> None:
    assert parse_faults(text) == shares


@pytest.mark.parametrize("text", ["bering_wear=0.1", "door_seal=many", "door_seal=2", "door_seal=.6,power_loss=.6"])
def test_wrong_faults_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"fault|share|sum"):
        parse_faults(text)
