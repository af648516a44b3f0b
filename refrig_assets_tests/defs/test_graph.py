"""What the graph promises before anything runs: descriptions, owners, columns, partitions, everything switched off."""

import dagster as dg
import pytest

from refrig_assets.contracts import BY_NAME, Contract
from refrig_assets.contracts.scoring import DETECTORS
from refrig_assets.definitions import defs

GRAPH = defs.resolve_asset_graph()
CHAIN = ["raw_sensor_readings", "clean_sensor_readings", "device_features"]


def contract_of(asset: str) -> Contract:
    """Features come by the hour and the day, scores by the model, into one table each."""
    if asset.startswith("scores_") or asset in ("rules_fallback", "threshold_baseline"):
        return BY_NAME["model_scores"]
    return BY_NAME[asset.removesuffix("_daily") if "features" in asset else asset]


def test_a_code_server_can_load_it() -> None:
    dg.Definitions.validate_loadable(defs)


@pytest.mark.parametrize("key", sorted(GRAPH.get_all_asset_keys(), key=str), ids=lambda k: k.to_user_string())
def test_every_asset_says_what_it_is(key: dg.AssetKey) -> None:
    node = GRAPH.get(key)
    assert node.description
    assert node.owners == ["team:data-platform"]
    assert node.group_name
    if key.to_user_string().startswith("model_"):  # versions in the registry, not rows of a table
        assert node.kinds >= {"mlflow"}
        return
    if node.group_name == "reports":  # Markdown
        assert node.kinds >= {"markdown"}
        return
    assert node.kinds >= {"deltalake"}
    assert "contract" in node.tags
    schema = node.metadata["dagster/column_schema"]
    contract = contract_of(key.to_user_string())
    assert [c.name for c in schema.columns] == list(contract.columns)
    assert all(c.description for c in schema.columns)


def test_units_and_ranges_reach_the_columns() -> None:
    schema = GRAPH.get(dg.AssetKey("clean_sensor_readings")).metadata["dagster/column_schema"]
    pressure = next(c for c in schema.columns if c.name == "pressure_high_side")
    assert "kPa" in pressure.description
    assert pressure.constraints.other == [">= 500", "<= 3500"]


def test_hours_flow_from_raw_to_features() -> None:
    assert GRAPH.get(dg.AssetKey(CHAIN[1])).parent_keys >= {dg.AssetKey(CHAIN[0]), dg.AssetKey("device_registry")}
    assert GRAPH.get(dg.AssetKey(CHAIN[2])).parent_keys == {dg.AssetKey(CHAIN[1])}
    for name in CHAIN:
        node = GRAPH.get(dg.AssetKey(name))
        assert isinstance(node.partitions_def, dg.HourlyPartitionsDefinition)
        assert node.partitions_def.end_offset == 1
        assert node.backfill_policy == dg.BackfillPolicy.single_run()


def test_bad_data_is_stopped_where_it_would_go_on() -> None:
    blocking = {(c.asset_key.to_user_string(), c.name) for c in GRAPH.asset_check_keys if GRAPH.get(c).blocking}
    assert blocking >= {
        ("raw_sensor_readings", "schema"),
        ("clean_sensor_readings", "schema"),
        ("clean_sensor_readings", "key"),
        ("clean_sensor_readings", "ranges"),
        ("clean_sensor_readings", "conservation"),
        ("device_features", "window_alignment"),
        ("device_registry", "key"),
    }
    assert ("device_features", "ranges") not in blocking


def test_everything_is_off_until_switched_on_but_what_starts_nothing() -> None:
    for schedule in defs.schedules or []:
        assert isinstance(schedule, dg.ScheduleDefinition)
        assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED
    for sensor in defs.sensors or []:
        assert isinstance(sensor, dg.SensorDefinition)
        # Runs that are launched by hand are killed as well.
        on = sensor.name == "lost_runs"
        assert (sensor.default_status == dg.DefaultSensorStatus.RUNNING) is on


def test_alerts_come_of_every_score_and_the_board_of_their_log() -> None:
    log, board = GRAPH.get(dg.AssetKey("device_alerts")), GRAPH.get(dg.AssetKey("alert_board"))
    scores = {dg.AssetKey(f"scores_{model}") for model in DETECTORS}
    assert log.parent_keys >= {*scores, dg.AssetKey("rules_fallback"), dg.AssetKey("raw_sensor_readings")}
    assert log.pools == {"device_alerts"}
    assert board.parent_keys == {log.key}
    checks = {(k.asset_key.to_user_string(), k.name) for k in GRAPH.asset_check_keys}
    assert checks >= {("raw_sensor_readings", "stream_alive"), ("device_alerts", "stream_alive")}


def test_writers_of_a_table_share_its_pool() -> None:
    for name in CHAIN:
        assert GRAPH.get(dg.AssetKey(name)).pools == {name}
    assert GRAPH.get(dg.AssetKey("device_features_daily")).pools == {"device_features"}
