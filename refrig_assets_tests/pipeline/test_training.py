"""Training against a real registry: versions, cards and proxies; killed anywhere and at once with another."""

import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from refrig_assets.contracts import FEATURE_BASELINES, SUGGESTED_THRESHOLDS, TRAINING_DATA
from refrig_assets.lake import Lake
from refrig_assets.models import MODELS
from refrig_assets.models.registry import Registry, RegistryUnavailableError
from refrig_assets.pipeline.baselines import DEVICE_FEATURES_TOLD, write_baselines
from refrig_assets.pipeline.registry import read_registry
from refrig_assets.pipeline.thresholds import LEAST_WINDOWS, suggested_thresholds, write_thresholds
from refrig_assets.pipeline.training import train
from refrig_assets.pipeline.training_data import assemble_training_data
from refrig_assets.pipeline.training_rows import read_training_rows
from refrig_assets.pipeline.training_sample import SampleSettings, TrainingDataError
from refrig_assets_tests.builders import registry_of
from refrig_assets_tests.models.registry_tools import registry_at
from refrig_assets_tests.pipeline import train_models
from refrig_assets_tests.pipeline.train_models import STOPS, small_views
from refrig_assets_tests.pipeline.training_lake import END, START, names, plant, say
from refrig_assets_tests.windows import windows

CHEAP = "statistical_baseline"
SETTINGS = SampleSettings(held_out_share=0.3, max_rows=2000)


@pytest.fixture(scope="module")
def trained_lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with training data of three cohorts. Not to be written to: it is what `ready` copies."""
    path = tmp_path_factory.mktemp("trained") / "lake"
    lake = Lake(str(path)).create()
    plant(lake, 18, days=3)
    assemble_training_data(lake, START + timedelta(days=3), SETTINGS)
    return path


@pytest.fixture
def ready(tmp_path: Path, trained_lake: Path) -> Lake:
    return Lake(str(shutil.copytree(trained_lake, tmp_path / "lake")))


@pytest.fixture
def models(tmp_path: Path) -> Registry:
    return registry_at(tmp_path / "models")


@pytest.fixture(autouse=True)
def few_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    small_views(monkeypatch.setattr)


def test_devices_held_out_to_judge_a_model_are_known_to_it_afterwards(ready: Lake, models: Registry) -> None:
    held_out = read_training_rows(ready).split("held_out")
    assert held_out["device_id"].n_unique() > 2
    model = train(ready, models, CHEAP, END).model
    assert model.score(held_out)["granularity"].unique().to_list() == ["device"]
    assert model.info.trained["devices_held_out"] == held_out["device_id"].n_unique()


@pytest.mark.parametrize("model_id", sorted(MODELS))
def test_each_model_comes_to_staging_with_a_card_and_its_figures(ready: Lake, models: Registry, model_id: str) -> None:
    done = train(ready, models, model_id, END)
    model, version = models.load(model_id, "staging")
    assert version.version == done.version == "1"
    assert version.tags["snapshot_id"] == str(done.snapshot_id)
    rows = read_training_rows(ready).split("held_out")
    assert model.score(rows, reasons="all").equals(done.model.score(rows, reasons="all"))
    metrics, _ = models.figures(model_id, "1")
    assert metrics["held_out_rows"] == rows.height
    assert metrics.keys() >= {"held_out_above_0.6", "held_out_above_0.95", "held_out_flag_rate", "held_out_flips"}
    assert models.card(model_id, "1").keys() == {"card.md", "scores.png", "tail.png"}
    assert f"| snapshot id | {done.snapshot_id} |" in done.card.text
    assert [p.limit for p in done.promises] == [0.6, 0.7, 0.85, 0.95]


def test_the_same_data_and_seed_give_the_same_model(ready: Lake, models: Registry) -> None:
    first, second = (train(ready, models, "isolation_forest", END, seed=5) for _ in range(2))
    assert (first.version, second.version) == ("1", "2")
    assert models.get("isolation_forest", "2").digest == models.get("isolation_forest", "1").digest
    assert models.aliases("isolation_forest")["staging"] == "2"


@pytest.mark.parametrize("where", STOPS)
def test_killed_anywhere_it_can_be_run_again(ready: Lake, models: Registry, where: str) -> None:
    process = _start(ready, models, where)
    assert process.stdout is not None
    assert process.stdout.readline() == f"{where}\n"
    process.kill()
    process.communicate()
    before = _versions(models)
    assert before == (["1"] if where == "version" else [])
    for version in before:  # whatever is there can be loaded
        models.load(CHEAP, version)
    done = train(ready, models, CHEAP, END)
    assert _versions(models) == [done.version, *before]
    assert models.aliases(CHEAP)["staging"] == done.version
    models.load(CHEAP, done.version)


def test_two_at_once_give_two_versions(ready: Lake, models: Registry) -> None:
    both = [_start(ready, models, "none") for _ in range(2)]
    told = {p.communicate()[0].strip() for p in both}
    assert told == {"made 1", "made 2"}
    assert sorted(_versions(models)) == ["1", "2"]
    for version in ("1", "2"):
        models.load(CHEAP, version)


def _versions(models: Registry) -> list[str]:
    return [v.version for v in models.versions(CHEAP)]


def _start(lake: Lake, models: Registry, where: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", train_models.__name__, lake.uri, models.uri, CHEAP, where]
    root = Path(__file__).parents[2]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root)


def test_without_a_registry_to_write_to_it_says_which(ready: Lake, tmp_path: Path) -> None:
    in_the_way = tmp_path / "models"
    in_the_way.write_text("not a directory")
    with pytest.raises(RegistryUnavailableError, match="REFRIG_MODELS"):
        train(ready, Registry(f"sqlite:///{in_the_way}/mlflow.db"), CHEAP, END)


def test_unknown_models_and_empty_splits_are_named(ready: Lake, models: Registry) -> None:
    with pytest.raises(TrainingDataError, match="no model 'crystal_ball'"):
        train(ready, models, "crystal_ball", END)
    table = ready.table(TRAINING_DATA)
    table.replace_all(table.read().filter(pl.col("split") != "validation"))
    with pytest.raises(TrainingDataError, match="0 to calibrate on"):
        train(ready, models, CHEAP, END)


@pytest.mark.parametrize("model_id", sorted(MODELS))
def test_few_devices_constant_features_and_lone_sensors_train(lake: Lake, models: Registry, model_id: str) -> None:
    """Three devices in one cohort: nothing ever changes, and one of them has a single sensor."""
    frame = windows(names(3), START, 96, noise=0.0)
    kept = ("temp_evaporator_mean", "sensor_completeness")
    lone = pl.col("device_id") == "dev-002"
    frame = frame.with_columns(
        pl.when(lone).then(None).otherwise(pl.col(c)).alias(c)
        for c, t in frame.schema.items()
        if t == pl.Float64 and c not in kept
    )
    plant(lake, 3, frame=frame)
    assemble_training_data(lake, END, SampleSettings(held_out_share=0.0))
    done = train(lake, models, model_id, END)
    assert done.metrics["validation_flag_rate"] == 0.0
    assert "No device was held out" in done.card.text


def test_windows_labelled_ill_are_not_learnt_from(lake: Lake, models: Registry) -> None:
    plant(lake, 6)
    say(lake, "dev-001", "anomaly_confirmed", START + 2 * (END - START) / 8, END)
    assemble_training_data(lake, END, SampleSettings(held_out_share=0.0))
    done = train(lake, models, CHEAP, END)
    assert done.model.info.trained["rows_labelled_ill"] == 96
    data = read_training_rows(lake)
    assert done.model.info.trained["rows"] == data.split("train").height - 96


def test_baselines_tell_of_the_fleet_the_cohorts_and_the_devices(ready: Lake) -> None:
    data = read_training_rows(ready)
    report = write_baselines(ready, data, END)
    found = ready.table(FEATURE_BASELINES).read()
    assert FEATURE_BASELINES.violations(found) == []
    assert report.rows == found.height
    rows = data.split("train", healthy=True)
    (mine,) = found.filter(
        (pl.col("feature_name") == "superheat_mean") & (pl.col("device_id") == rows["device_id"][0])
    ).to_dicts()
    values = rows.filter(pl.col("device_id") == rows["device_id"][0])["superheat_mean"]
    assert mine["baseline_mean"] == pytest.approx(values.mean())
    assert mine["baseline_p95"] == pytest.approx(values.quantile(0.95, "linear"))
    assert mine["model_version"] == f"snapshot-{data.snapshot_id}"
    scopes = dict(found["granularity"].value_counts().iter_rows())
    assert scopes["cohort"] == 3 * scopes["fleet"]
    assert scopes["device"] == len(DEVICE_FEATURES_TOLD) * rows["device_id"].n_unique()
    write_baselines(ready, data, END)
    assert ready.table(FEATURE_BASELINES).read().height == found.height


def test_thresholds_are_suggested_and_can_be_merged_into_a_registry(ready: Lake, tmp_path: Path) -> None:
    data = read_training_rows(ready)
    report = write_thresholds(ready, data, END, tmp_path / "out" / "suggested.csv")
    found = ready.table(SUGGESTED_THRESHOLDS).read()
    assert found["device_id"].to_list() == names(18)
    assert found["current_threshold_a"].is_between(15, 17).all()  # windows' maxima lie near 12 A
    assert found["vibration_baseline_mm_s"].is_between(2.9, 3.2).all()
    assert found["current_threshold_a_now"].unique().to_list() == [40.0]
    assert report.would_change == 18
    base = registry_of(names(18)).select("device_id", "site_id", "cohort_id")
    merged = base.join(pl.read_csv(tmp_path / "out" / "suggested.csv"), on="device_id")
    merged.write_csv(tmp_path / "registry.csv")
    read = read_registry(tmp_path / "registry.csv")
    assert read["current_threshold_a"].to_list() == found["current_threshold_a"].to_list()


def test_a_device_far_from_its_cohort_or_hardly_known_is_given_what_the_cohort_allows(ready: Lake) -> None:
    data = read_training_rows(ready)
    first = data.rows["device_id"][0]
    wild = data.rows.with_columns(
        current_compressor_max=pl.when(pl.col("device_id") == first).then(45.0).otherwise("current_compressor_max")
    )
    known = suggested_thresholds(type(data)(data.version, data.snapshot_id, wild), registry_of(names(20)), END)
    by_device = {d: (a, b) for d, a, b in known.select("device_id", "current_threshold_a", "basis").iter_rows()}
    usual = by_device["dev-001"][0]
    assert by_device[first][0] == pytest.approx(1.5 * usual, rel=0.05)
    assert by_device["dev-019"] == (pytest.approx(usual, rel=0.05), "cohort")
    few = wild.group_by("device_id").head(LEAST_WINDOWS - 1)
    nobody = suggested_thresholds(type(data)(data.version, data.snapshot_id, few), registry_of(names(3)), END)
    assert nobody["current_threshold_a"].null_count() == 3
