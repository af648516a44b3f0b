"""The alert asset through Dagster: a range of hours in one run, what its page shows, and what asks for it."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from refrig_assets.contracts import DEVICE_REGISTRY
from refrig_assets.contracts.scoring import HOURLY_DETECTORS
from refrig_assets.definitions import defs
from refrig_assets.defs.launch import run_job
from refrig_assets.defs.partitions import hour_key
from refrig_assets.defs.resources import ClockResource, LakeResource, ModelsResource
from refrig_assets.defs.sensors import scores_to_alert
from refrig_assets.lake import Lake
from refrig_assets.pipeline.alert_log import current_board
from refrig_assets.pipeline.score_rows import replace_scores, write_part
from refrig_assets_tests.alerting.test_severity import frame, score
from refrig_assets_tests.builders import HOUR, ONE_HOUR, registry_of

NOW = HOUR + 2 * ONE_HOUR + timedelta(minutes=5)


@pytest.fixture
def resources(lake: Lake, tmp_path: Path) -> dict[str, Any]:
    return {
        "lake": LakeResource(uri=lake.uri),
        "models": ModelsResource(uri=f"sqlite:///{tmp_path}/models/mlflow.db"),
        "clock": ClockResource(fixed=NOW.isoformat()),
    }


def scored(lake: Lake) -> None:
    lake.table(DEVICE_REGISTRY).replace_all(registry_of(["dev-0", "dev-1"]))
    for hour in (HOUR, HOUR + ONE_HOUR):
        for model in HOURLY_DETECTORS:
            rows = [
                score(model, 0.9 if device == "dev-1" else 0.2, device_id=device, scored_at=hour + ONE_HOUR,
                      start=hour + quarter * timedelta(minutes=15))
                for device in ("dev-0", "dev-1") for quarter in range(4)
            ]  # fmt: skip
            replace_scores(lake, hour, model, write_part(lake, hour, model, 0, frame(*rows)), None)


def test_a_range_of_hours_in_one_run(lake: Lake, resources: dict[str, Any], instance: dg.DagsterInstance) -> None:
    scored(lake)
    result = run_job(defs, "alerts", instance, start=HOUR, end=HOUR + 2 * ONE_HOUR, resources=resources, quiet=True)
    assert result.success
    assert current_board(lake).filter(~current_board(lake)["suppressed"])["severity"].to_list() == ["HIGH"]
    events = instance.fetch_materializations(dg.AssetKey("device_alerts"), limit=10).records
    shown = {e.asset_materialization.partition: e.asset_materialization.metadata for e in events}  # type: ignore[union-attr]
    assert set(shown) == {hour_key(HOUR), hour_key(HOUR + ONE_HOUR)}
    first = shown[hour_key(HOUR)]
    assert first["judged_by"].value == "the models' scores"
    assert [r.data["device_id"] for r in first["alerts"].records] == ["dev-1"]


def test_hours_that_were_scored_ask_for_their_alerts_once(
    lake: Lake, resources: dict[str, Any], instance: dg.DagsterInstance
) -> None:
    scored(lake)
    context = dg.build_sensor_context(instance=instance, definitions=defs)
    asked = scores_to_alert(context, lake=resources["lake"])
    assert isinstance(asked, dg.SensorResult)
    requests = asked.run_requests or []
    assert [r.job_name for r in requests] == ["alerts"]
    assert requests[0].tags["dagster/asset_partition_range_end"] == hour_key(HOUR + ONE_HOUR)
    again = dg.build_sensor_context(instance=instance, definitions=defs, cursor=asked.cursor)
    assert isinstance(scores_to_alert(again, lake=resources["lake"]), dg.SkipReason)


def test_hours_whose_alerts_are_made_are_not_asked_for_when_the_sensor_is_new(
    lake: Lake, resources: dict[str, Any], instance: dg.DagsterInstance
) -> None:
    scored(lake)
    run_job(defs, "alerts", instance, start=HOUR, end=HOUR + ONE_HOUR, resources=resources, quiet=True)
    asked = scores_to_alert(dg.build_sensor_context(instance=instance, definitions=defs), lake=resources["lake"])
    assert isinstance(asked, dg.SensorResult)
    requests = asked.run_requests or []
    assert [r.tags["dagster/asset_partition_range_start"] for r in requests] == [hour_key(HOUR + ONE_HOUR)]
