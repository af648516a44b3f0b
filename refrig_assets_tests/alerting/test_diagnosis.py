"""What is said to be wrong: a table of cases for every mode, for broken telemetry, and for what nobody can tell."""

from dataclasses import replace

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refrig_assets.alerting.diagnosis import diagnosed
from refrig_assets.alerting.diagnosis_seen import BASELINES, DIAGNOSIS_SCHEMA, NOTHING, RECENT_VALUES, Seen
from refrig_assets.alerting.diagnosis_signs import like_a_defrost, vectors
from refrig_assets.alerting.diagnosis_wording import FIRST_CHECKS, LOOKS_LIKE
from refrig_assets.alerting.signatures import DEFROST, FURTHER_SIGNS, HARMLESS, INDICATORS, LOWERED, SENSED, signatures
from refrig_assets.contracts.alerts import ALERT_BOARD, FAILURE_MODES
from refrig_assets.models.views import FAULT_SIGNS
from refrig_assets_tests.alerting.diagnosis_cases import STRAY, Window, seen_of

SIGNS = signatures(FAULT_SIGNS)
LEAK = {"superheat_mean": 9, "subcooling_mean": -7, "pressure_low_mean": -6, "temp_evaporator_mean": -5}
FOULING = {"temp_condenser_mean": 8, "pressure_high_mean": 8, "temp_discharge_mean": 6, "subcooling_mean": 2}
ICING = {"temp_evaporator_mean": -8, "pressure_low_mean": -8, "temp_suction_mean": -7, "superheat_mean": -5}
BEARING = {"vibration_compressor_mean": 9, "vibration_compressor_p95": 9}
HUNTING = {"superheat_std": 12, "temp_evaporator_std": 5, "pressure_low_std": 5}
SLUGGING = {
    "superheat_mean": -9, "temp_discharge_mean": -8, "vibration_compressor_mean": 8, "vibration_compressor_p95": 8,
    "temp_suction_mean": -3,
}  # fmt: skip
DOOR = {"humidity_mean": 7, "current_compressor_mean": 5, "temp_evaporator_mean": -2.5}


def told(*windows: Window) -> pl.DataFrame:
    return diagnosed(seen_of(*windows), SIGNS)


def one(window: Window) -> dict[str, object]:
    return told(window).row(0, named=True)


@pytest.mark.parametrize(
    ("window", "mode"),
    [
        (Window(level=LEAK), "refrigerant_leak"),
        (Window(level=LEAK, change={k: v / 2 for k, v in LEAK.items()}), "refrigerant_leak"),
        (Window(level=LEAK, lacks=["pressure_low", "pressure_high", "humidity"]), "refrigerant_leak"),
        (Window(level={}, now=LEAK), "refrigerant_leak"),
        (Window(level=FOULING), "condenser_fouling"),
        (Window(level=FOULING, lacks=["pressure_high", "pressure_low", "vibration_compressor"]), "condenser_fouling"),
        (Window(level=ICING), "evaporator_icing"),
        (Window(level=BEARING), "bearing_wear"),
        (Window(level=HUNTING), "valve_hunting"),
        (Window(level=DOOR), "door_seal"),
        (Window(level={}, now=SLUGGING), "liquid_slugging"),
        (Window(now={"current_compressor_mean": 12}), "compressor_overload"),
        (Window(now={"current_compressor_mean": 6}, values={"current_compressor_max": 45.0}), "compressor_overload"),
        (Window(rests=2), "power_loss"),
        (Window(rests=24), "power_loss"),
        (Window(level={"temp_condenser_mean": 9}), "sensor_fault"),
        (Window(level={"pressure_low_mean": -9}), "sensor_fault"),
        (Window(level={"superheat_mean": 8}), "sensor_fault"),
        (Window(level={"vibration_compressor_mean": -9, "vibration_compressor_p95": -9}), "sensor_fault"),
        (Window(stuck=["temp_suction"], level={"temp_suction_mean": 4}), "sensor_fault"),
        (Window(dies=["pressure_high"]), "sensor_fault"),
        (Window(dies=["pressure_high", "pressure_low"]), "sensor_fault"),
        (Window(lacks=["subcooling"]), "sensor_fault"),
        (Window(recent={"reading_count": 6}), "sensor_fault"),
        (Window(recent={"quality_flag_count": 15}), "sensor_fault"),
        (Window(), "unknown"),
        (Window(level={"temp_condenser_mean": 9, "superheat_std": 9, "humidity_mean": -9}), "unknown"),
        (Window(now={"temp_evaporator_mean": 20}), "unknown"),
    ],
)
def test_modes_by_what_is_seen(window: Window, mode: str) -> None:
    found = one(window)
    assert found["failure_mode"] == mode
    assert 1 / 3 <= float(str(found["diagnosis_confidence"])) <= 1
    assert found["evidence"]
    assert found["first_check"] == FIRST_CHECKS[mode]


def test_a_failing_machine_with_a_broken_probe_is_no_sensor_fault() -> None:
    assert one(Window(level=LEAK, stuck=["humidity"]))["failure_mode"] == "refrigerant_leak"
    assert one(Window(level=FOULING, dies=["pressure_low"]))["failure_mode"] == "condenser_fouling"


def test_what_the_broken_probe_itself_says_is_no_evidence() -> None:
    """A stuck probe that happens to look like half a leak leaves the other half to be judged."""
    assert one(Window(level={"superheat_mean": 20, "subcooling_mean": -2}, stuck=["superheat"]))[
        "failure_mode"
    ] == "sensor_fault"  # fmt: skip


@pytest.mark.parametrize(("factor", "said"), [(6.895, "6.9 times"), (1 / 6.895, "1/6.9 of"), (14.5, "14.5 times")])
def test_pressures_off_by_one_factor_are_a_matter_of_units(factor: float, said: str) -> None:
    """A plant in psi, or in bar, that was taken for one in kPa."""
    off = {"pressure_low_mean": 200 * (factor - 1) / STRAY, "pressure_high_mean": 1500 * (factor - 1) / STRAY}
    found = one(Window(level=off))
    assert (found["failure_mode"], found["diagnosis_confidence"]) == ("sensor_fault", 0.9)
    assert any(said in s for s in found["evidence"])  # type: ignore[attr-defined]


def test_a_burst_pipe_is_no_matter_of_units() -> None:
    """Both pressures fall, though not by one factor."""
    burst = {**LEAK, "pressure_low_mean": -100 / STRAY, "pressure_high_mean": -300 / STRAY}
    assert one(Window(now=burst, level={}))["failure_mode"] == "refrigerant_leak"


def test_a_machine_at_rest_is_told_by_what_came_before() -> None:
    grown = {f: [0.0] * 26 + [0.5 * z] * 11 for f, z in LEAK.items()}
    found = one(Window(rests=8, history=grown))
    assert found["failure_mode"] == "refrigerant_leak"
    assert found["hours_left"] is None
    assert any("stands still since 16 Mar 06:00 UTC." in s for s in found["evidence"])  # type: ignore[attr-defined]


def test_the_timer_of_a_defrost_does_not_wake_a_machine_that_stands_still() -> None:
    grown = {f: [0.0] * 26 + [0.5 * z] * 11 for f, z in LEAK.items()}
    found = one(Window(rests=8, defrosts=2, history=grown))
    assert found["failure_mode"] == "refrigerant_leak"
    assert any("stands still since 16 Mar 06:00 UTC." in s for s in found["evidence"])  # type: ignore[attr-defined]


def test_a_defrost_is_no_fault() -> None:
    odd = {f: 12 * sign for f, sign in DEFROST.items()}
    assert one(Window(now=odd))["failure_mode"] == "unknown"
    hidden = Window(now=LEAK, recent={"defrost_active_fraction": 0.4})
    found = one(hidden)
    assert found["failure_mode"] == "unknown"
    assert any("defrost" in s for s in found["evidence"])  # type: ignore[attr-defined]
    assert one(replace(hidden, level=LEAK))["failure_mode"] == "refrigerant_leak"


@pytest.mark.parametrize(
    ("hours", "mode"),
    [(2, "unknown"), (3, "unknown"), (4, "valve_hunting"), (24, "valve_hunting"), (None, "valve_hunting")],
)
def test_few_hours_since_a_repair_tell_of_defrosts_not_of_the_valve(hours: int | None, mode: str) -> None:
    """In the mean of two hours one defrost moves superheat and evaporator as a hunting valve would in that of six."""
    assert one(Window(level=HUNTING, now={}, about={"level_hours": hours}))["failure_mode"] == mode
    assert one(Window(level=LEAK, now={}, about={"level_hours": hours}))["failure_mode"] == "refrigerant_leak"


def test_ice_that_may_be_a_lowered_set_point_says_so() -> None:
    """The technician looks at the controller first; the failure is named all the same."""
    lowered = {f: 8 * sign for f, sign in HARMLESS[LOWERED].items()}
    found = one(Window(level=lowered))
    assert found["failure_mode"] == "evaporator_icing"
    assert found["evidence"][-1] == (  # type: ignore[index]
        "A set point that was lowered would show so, too: superheat and compressor current are as usual."
    )
    for fault in (
        Window(level={**lowered, "superheat_mean": -3}),
        Window(level={**lowered, "current_compressor_mean": 3}),
        Window(level=lowered, lacks=["superheat"]),
        Window(level=lowered, lacks=["current_compressor"]),
        Window(level=ICING),
    ):
        assert not any("set point" in s for s in one(fault)["evidence"])  # type: ignore[attr-defined]


def test_a_resting_compressor_in_a_defrost_has_its_power() -> None:
    assert one(Window(rests=1, recent={"defrost_active_fraction": 1.0}))["failure_mode"] == "unknown"


def test_evidence_says_what_was_measured_and_what_is_usual() -> None:
    said = one(Window(level=LEAK))["evidence"]
    assert "Superheat 12.5 K, 4.5 K above what this device usually has at this ambient." in said  # type: ignore[operator]
    assert "Low side pressure 197 kPa, 3.0 kPa below what this device usually has at this ambient." in said  # type: ignore[operator]


def test_evidence_says_since_when() -> None:
    grown = [0.0] * 18 + [0.35 * n for n in range(1, 20)]
    found = one(Window(level={**LEAK, "superheat_mean": 13}, history={"superheat_mean": grown}))
    (since,) = [s for s in found["evidence"] if "rising since" in s]  # type: ignore[attr-defined]
    assert since.startswith("Superheat 14.5 K, 6.5 K above what this device usually has at this ambient, rising since ")
    assert found["hours_left"] is not None


def test_signs_that_lack_are_told() -> None:
    odd = {k: v for k, v in LEAK.items() if k != "subcooling_mean"}
    found = one(Window(level=odd))
    assert found["failure_mode"] == "refrigerant_leak"
    assert found["evidence"][-1] == "Subcooling is as usual, which speaks against it."  # type: ignore[index]


def test_a_lone_sensor_is_named_with_those_tied_to_it() -> None:
    said = one(Window(level={"temp_condenser_mean": 9}))["evidence"]
    assert "Only condenser temperature is off; high side pressure and discharge temperature are as usual." in said  # type: ignore[operator]


def test_unknown_names_what_it_leans_to() -> None:
    odd = {**LEAK, "humidity_mean": -9, "vibration_compressor_mean": -9, "temp_discharge_mean": -9}
    found = one(Window(level=odd))
    assert found["failure_mode"] == "unknown"
    assert found["hours_left"] is None


def test_without_a_champion_baselines_are_named() -> None:
    window = Window(level=FOULING, about={"expected_from": BASELINES, "champion_broken": "version 3: OSError: gone"})
    found = one(window)
    assert found["failure_mode"] == "condenser_fouling"
    assert "could not be loaded (version 3: OSError: gone)" in found["evidence"][-1]  # type: ignore[index]


def test_with_nothing_to_compare_with_the_reasons_speak() -> None:
    reasons = {
        "expected_from": NOTHING,
        "top_contributors": ["vibration_compressor_mean_6h", "vibration_compressor_p95_6h"],
        "contributor_scores": [0.6, 0.4],
    }
    blind = Window(lacks=[s.rpartition("_")[0] for s in SENSED], about={**reasons, "expected_sensors": []})
    assert one(blind)["failure_mode"] == "bearing_wear"
    by_rules = {**reasons, "top_contributors": ["vibration_compressor_max"], "contributor_scores": [1.0]}
    assert one(replace(blind, about={**by_rules, "expected_sensors": []}))["failure_mode"] == "bearing_wear"
    silent = one(replace(blind, about={"expected_from": NOTHING, "expected_sensors": []}))
    assert silent["failure_mode"] == "unknown"
    assert silent["evidence"] == ["Nothing is known of this device that it could be compared with."]


def test_a_device_without_any_data_is_unknown() -> None:
    window = Window(about={"expected_sensors": None, "expected_interval_s": None, "current_threshold_a": None})
    full = seen_of(window)
    bare = Seen(
        windows=full.windows,
        values=full.values.clear(1),
        deviation=full.deviation.clear(1),
        z=full.z.clear(1),
        recent=full.recent.clear(),
        history=full.history.clear(),
    )
    (found,) = diagnosed(bare, SIGNS).iter_rows(named=True)
    assert found["failure_mode"] == "unknown"
    assert found["hours_left"] is None
    assert found["evidence"]


def test_no_window_no_diagnosis() -> None:
    assert told().schema == pl.Schema(DIAGNOSIS_SCHEMA)
    assert told().height == 0


def test_constant_columns_are_not_all_stuck_sensors_of_a_healthy_machine() -> None:
    """Dry air at the end of the hygrometer's range stands still, and is no fault."""
    assert one(Window(recent={"humidity_mean": 100.0, "humidity_std": 0.0}))["failure_mode"] == "unknown"
    calm = seen_of(Window(stuck=["humidity"]))
    recent = calm.recent.with_columns(
        pl.when(pl.int_range(pl.len()) < 8).then(pl.lit(8.0)).otherwise("humidity_mean").alias("humidity_mean")
    )
    assert diagnosed(replace(calm, recent=recent), SIGNS)["failure_mode"].to_list() == ["unknown"], "four calm hours"
    frozen = {name: 5.0 if name.endswith("_mean") else 0.0 for name in RECENT_VALUES}
    assert one(Window(recent=frozen))["failure_mode"] == "sensor_fault"


cases = st.builds(
    Window,
    device=st.sampled_from([f"dev-{n}" for n in range(50)]),
    level=st.dictionaries(st.sampled_from(SENSED), st.floats(-25, 25), max_size=8),
    now=st.one_of(st.none(), st.dictionaries(st.sampled_from(SENSED), st.floats(-25, 25), max_size=8)),
    change=st.dictionaries(st.sampled_from(SENSED), st.floats(-25, 25), max_size=4),
    lacks=st.lists(st.sampled_from([f.rpartition("_")[0] for f in SENSED]), max_size=12),
    stuck=st.lists(st.sampled_from(["humidity", "superheat"]), max_size=1),
    rests=st.sampled_from([0, 0, 0, 3]),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(cases, min_size=2, max_size=5, unique_by=lambda w: w.device), st.randoms())
def test_windows_are_judged_each_by_itself(windows: list[Window], random: object) -> None:
    """In whatever order and company; and what is said fits the contract of alerts."""
    mixed = windows.copy()
    random.shuffle(mixed)  # type: ignore[attr-defined]
    together, apart = told(*mixed), pl.concat([told(w) for w in windows])
    assert together.sort("device_id").equals(apart.sort("device_id"))
    assert together["failure_mode"].is_in(list(FAILURE_MODES)).all()
    for name in set(DIAGNOSIS_SCHEMA) - {"device_id", "window_end"}:
        assert together.schema[name] == ALERT_BOARD.dtypes[name]
    known = together.drop_nulls("hours_left")
    assert (known["hours_left_low"] <= known["hours_left"]).all()
    assert (known["hours_left"] <= known["hours_left_high"]).all()


def test_every_mode_has_words_and_every_sign_a_column() -> None:
    assert set(FIRST_CHECKS) == set(FAILURE_MODES)
    assert set(LOOKS_LIKE) == set(HARMLESS)
    assert not set(HARMLESS) & {*SIGNS, *FAILURE_MODES}
    assert set(INDICATORS) <= set(SIGNS) <= set(FAILURE_MODES)
    assert {f for signs in SIGNS.values() for f in signs} <= set(SENSED)
    for mode, further in FURTHER_SIGNS.items():
        assert not set(further) & set(FAULT_SIGNS.get(mode, {})), "a sign stands twice"


def test_every_mode_is_its_own_best_explanation() -> None:
    windows = [Window(device=m, level={f: 8 * s for f, s in signs.items()}) for m, signs in SIGNS.items()]
    assert told(*windows)["failure_mode"].to_list() == list(SIGNS)


def test_defrosts_look_like_defrosts_and_faults_do_not() -> None:
    looks = [{f: 9 * s for f, s in pattern.items()} for pattern in (DEFROST, *SIGNS.values())]
    now = vectors(seen_of(*(Window(device=str(n), now=odd) for n, odd in enumerate(looks))).z)[1]
    assert like_a_defrost(now).tolist() == [True] + [False] * len(SIGNS)
