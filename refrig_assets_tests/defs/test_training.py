"""Trends and training through Dagster on a real lake and registry: partitions, jobs, checks, cards in the UI."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from refrig_assets.contracts import DEVICE_TRENDS, FEATURE_BASELINES, SUGGESTED_THRESHOLDS, TRAINING_DATA
from refrig_assets.definitions import defs
from refrig_assets.defs.launch import run_job
from refrig_assets.defs.resources import ClockResource, FilesResource, LakeResource, ModelsResource
from refrig_assets.defs.schedules import monthly_training, weekly_training
from refrig_assets.defs.training import splits_finding, trained_asset_of
from refrig_assets.lake import Lake
from refrig_assets.models import MODELS
from refrig_assets_tests.builders import ONE_HOUR
from refrig_assets_tests.models.registry_tools import registry_at
from refrig_assets_tests.pipeline.train_models import small_views
from refrig_assets_tests.pipeline.training_lake import DAY, START, plant

DAYS = 3
END = START + DAYS * DAY


class Works:
    """A lake with features of three days, an empty registry of models, and an instance."""

    def __init__(self, root: Path, lake: Lake, instance: dg.DagsterInstance) -> None:
        self.root, self.lake, self.instance = root, lake, instance
        self.models = registry_at(root / "models")
        plant(lake, 12, days=DAYS)

    @property
    def resources(self) -> dict[str, Any]:
        return {
            "lake": LakeResource(uri=self.lake.uri),
            "files": FilesResource(registry_file=str(self.root / "registry.csv")),
            "clock": ClockResource(fixed=END.isoformat()),
            "models": ModelsResource(uri=self.models.uri),
        }

    def run(self, job: str, **options: Any) -> dg.ExecuteInProcessResult:
        return run_job(defs, job, self.instance, resources=self.resources, quiet=True, **options)

    def shown(self, asset: str) -> dict[str, Any]:
        event = self.instance.get_latest_materialization_event(dg.AssetKey(asset))
        assert event is not None
        assert event.asset_materialization is not None
        return {k: v.value for k, v in event.asset_materialization.metadata.items()}


@pytest.fixture
def works(tmp_path: Path, lake: Lake, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> Works:
    small_views(monkeypatch.setattr)
    return Works(tmp_path, lake, instance)


def checks(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {f"{e.asset_key.to_user_string()}/{e.check_name}": e for e in result.get_asset_check_evaluations()}


def test_train_all_makes_data_models_baselines_and_suggestions(works: Works) -> None:
    result = works.run("train_all", start=END - DAY, end=END)
    assert result.success
    found = checks(result)
    assert all(found[f"{TRAINING_DATA.name}/{c}"].passed for c in ("schema", "key", "ranges", "splits"))
    assert found.keys() >= {f"{trained_asset_of(m)}/promises" for m in MODELS}
    for model_id in MODELS:
        assert works.models.aliases(model_id)["staging"] == "1"
        shown = works.shown(trained_asset_of(model_id))
        assert shown["model_card"].startswith(f"# {model_id}")
        assert shown["next"] == f"refrig models promote {model_id} 1 --to released"  # nothing to compare the first with
        assert "](data:image/png;base64," in shown["model_card"]
    data = works.shown(TRAINING_DATA.name)
    assert data["dagster/row_count"] == works.lake.table(TRAINING_DATA).read().height
    assert works.shown(FEATURE_BASELINES.name)["model_version"] == f"snapshot-{data['snapshot_id']}"
    assert works.lake.table(SUGGESTED_THRESHOLDS).read().height == 12
    assert (works.root / "suggested_thresholds.csv").is_file()


def test_a_version_of_the_data_and_settings_can_be_asked_for(works: Works) -> None:
    few = {"ops": {TRAINING_DATA.name: {"config": {"max_rows": 500}}}}
    works.run("train_weekly", start=END - DAY, end=END, run_config=few)
    first = works.shown(TRAINING_DATA.name)
    works.run("train_weekly", start=END - DAY, end=END)
    assert works.shown(TRAINING_DATA.name)["dagster/row_count"] > first["dagster/row_count"]
    asset = trained_asset_of("isolation_forest")
    config = {"ops": {asset: {"config": {"training_version": first["delta_version"], "settings": {"trees": 10}}}}}
    result = dg.materialize(
        [defs.get_assets_def(asset)],
        instance=works.instance,
        resources=works.resources,
        run_config=config,
        selection=[asset],
    )
    assert result.success
    assert works.shown(asset)["training_data_version"] == first["delta_version"]
    assert works.models.load("isolation_forest", "staging")[0].info.settings["trees"] == 10


def test_a_registry_that_cannot_be_written_fails_the_training_and_nothing_else(works: Works) -> None:
    (works.root / "in_the_way").write_text("")
    nowhere = ModelsResource(uri=f"sqlite:///{works.root}/in_the_way/mlflow.db")
    result = run_job(
        defs, "train_weekly", works.instance, start=END - DAY, end=END, quiet=True, raise_on_error=False,
        resources={**works.resources, "models": nowhere},
    )  # fmt: skip
    assert not result.success
    failed = {e.step_key: e.step_failure_data.error for e in result.all_events if e.is_step_failure}
    assert failed.keys() == {trained_asset_of(m) for m in ("statistical_baseline", "isolation_forest")}
    assert all("REFRIG_MODELS" in str(error) for error in failed.values())
    assert works.lake.table(FEATURE_BASELINES).read().height > 0


def test_a_range_of_trends_is_one_run_with_checks(works: Works) -> None:
    table = works.lake.table(DEVICE_TRENDS)
    before = table.read(END - 3 * ONE_HOUR, END).sort("device_id", "window_start")
    table.replace_range(END - 3 * ONE_HOUR, END, [])
    result = works.run("trends", start=END - 3 * ONE_HOUR, end=END)
    assert result.success
    found = checks(result)
    assert all(found[f"{DEVICE_TRENDS.name}/{c}"].passed for c in ("schema", "key", "completeness"))
    assert table.read(END - 3 * ONE_HOUR, END).sort("device_id", "window_start").equals(before)
    made = works.instance.get_materialized_partitions(dg.AssetKey(DEVICE_TRENDS.name))
    assert len(made) == 3


def test_trends_of_a_plants_first_hour_are_none_and_no_failure(works: Works) -> None:
    result = works.run("trends", start=START, end=START + ONE_HOUR)
    assert result.success
    assert all(c.passed for c in checks(result).values())
    assert works.shown(DEVICE_TRENDS.name)["dagster/partition_row_count"] == 0


def test_schedules_train_up_to_the_last_closed_day() -> None:
    tick = END + timedelta(hours=4)
    for schedule, job in ((weekly_training, "train_weekly"), (monthly_training, "train_monthly")):
        request = schedule(dg.build_schedule_context(scheduled_execution_time=tick))
        assert isinstance(request, dg.RunRequest)
        assert request.partition_key == f"{END - DAY:%Y-%m-%d}"
        assert schedule.job_name == job


def test_splits_that_touch_or_share_devices_are_found() -> None:
    rows = pl.DataFrame(
        {
            "split": ["train", "validation", "held_out"],
            "device_id": ["a", "b", "c"],
            "window_start": [START, START + 2 * DAY, START + 2 * DAY],
            "window_end": [START + ONE_HOUR, START + 2 * DAY + ONE_HOUR, START + 2 * DAY + ONE_HOUR],
        }
    )
    assert splits_finding(rows).passed
    assert not splits_finding(rows.with_columns(device_id=pl.lit("a"))).passed
    assert not splits_finding(rows.with_columns(window_start=pl.lit(START + 2 * ONE_HOUR))).passed


def test_training_waits_for_data_and_trends_for_features() -> None:
    graph = defs.resolve_asset_graph()
    for model_id in MODELS:
        assert graph.get(dg.AssetKey(trained_asset_of(model_id))).parent_keys == {dg.AssetKey(TRAINING_DATA.name)}
    parents = graph.get(dg.AssetKey(TRAINING_DATA.name)).parent_keys
    assert parents == {dg.AssetKey("device_features"), dg.AssetKey(DEVICE_TRENDS.name)}
    trends = graph.get(dg.AssetKey(DEVICE_TRENDS.name))
    assert trends.parent_keys == {dg.AssetKey("device_features")}
