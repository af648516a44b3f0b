"""What the models see of a refrigerator's rows: columns that exist, each with one meaning, none forgotten."""

import pytest

from refrig_assets.contracts.features import FEATURE_NAMES, STATISTICS
from refrig_assets.contracts.trends import HORIZONS_H, MODEL_ROW_FEATURES, change_name, trend_name
from refrig_assets.models import MODELS
from refrig_assets.models.detector import SHARED_SETTINGS
from refrig_assets.models.views import CONTEXT, FAULT_SIGNS, SETTINGS, VIEWS

FAULTY = SETTINGS["statistical_baseline"]


def test_every_model_has_a_view_and_settings_it_knows() -> None:
    assert set(VIEWS) == set(SETTINGS) == set(MODELS)
    for name, settings in SETTINGS.items():
        assert set(settings) <= {*SHARED_SETTINGS, *MODELS[name].core_type.defaults}


@pytest.mark.parametrize("name", VIEWS)
def test_columns_exist_and_mean_one_thing(name: str) -> None:
    roles = VIEWS[name]
    columns = (*roles.features, *roles.context)
    assert set(columns) <= set(MODEL_ROW_FEATURES)
    assert len(set(columns)) == len(columns)
    assert set(roles.columns) - set(columns) == {"device_id", "cohort_id", "window_start"}


@pytest.mark.parametrize("name", VIEWS)
def test_conditions_are_never_scored_at_any_horizon(name: str) -> None:
    """What comes of the weather, of doors and of defrosts is no machine's fault."""
    for feature in VIEWS[name].features:
        assert feature not in CONTEXT
        assert not feature.startswith(("temp_ambient", "door_open", "defrost_active"))


@pytest.mark.parametrize("name", VIEWS)
def test_families_cover_every_sensor_but_vibration(name: str) -> None:
    features, families = VIEWS[name].features, SETTINGS[name]["families"]
    assert set(families) == set(STATISTICS) - {"vibration_compressor", "temp_ambient"}
    for sensor, columns in families.items():
        own = {f for f in features if f.startswith(f"{sensor}_")}
        assert own
        assert own <= set(columns) <= set(features)
    left = set(features) - {c for columns in families.values() for c in columns}
    assert left
    assert all(f.startswith("vibration_compressor_") for f in left)


def test_what_is_computed_of_several_sensors_is_in_each_of_their_families() -> None:
    families = SETTINGS["isolation_forest"]["families"]

    def of(start: str) -> set[str]:
        return {sensor for sensor, columns in families.items() if any(c.startswith(start) for c in columns)}

    assert of("pressure_ratio") == {"pressure_high", "pressure_low"}
    assert of("temp_spread_discharge_suction") == {"temp_discharge", "temp_suction"}
    assert of("current_per_temp_spread") == {"current_compressor", "temp_evaporator", "temp_condenser"}


def test_signs_of_faults_name_features_that_are_seen() -> None:
    features = set(VIEWS["statistical_baseline"].features)
    for fault, signs in FAULT_SIGNS.items():
        assert signs
        levels, changes = FAULTY["faults"][fault], FAULTY["coming"][fault]
        assert levels == {trend_name(c, min(HORIZONS_H)): s for c, s in signs.items()}
        assert changes == {change_name(c): s for c, s in signs.items()}
        assert {*levels, *changes} <= features
        assert all(0 < abs(s) <= 1 for s in signs.values())
    assert set(FAULTY["faults"]) == set(FAULTY["coming"]) == set(FAULT_SIGNS)


def test_faults_are_told_apart() -> None:
    directions = [frozenset(signs.items()) for signs in FAULT_SIGNS.values()]
    assert len(set(directions)) == len(directions)


def test_groups_are_of_features() -> None:
    groups = FAULTY["groups"]
    assert all(groups)
    columns = [c for group in groups for c in group]
    assert len(set(columns)) == len(columns)
    assert set(columns) <= set(VIEWS["statistical_baseline"].features)


@pytest.mark.parametrize("name", VIEWS)
def test_how_columns_move_within_a_window_is_not_looked_at(name: str) -> None:
    """It tells of defrosts and starts; averaged over hours it tells of hunting valves."""
    for feature in set(VIEWS[name].features) & set(FEATURE_NAMES):
        assert not feature.endswith(("_std", "_min", "_max", "_slope", "_p95"))
