"""Scoring through Dagster on a real lake and a real model registry: assets, checks, schedules, sensor, command."""

import json
import shutil
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from click.testing import CliRunner

from refrig_assets.cli import main
from refrig_assets.contracts.scoring import DETECTORS
from refrig_assets.definitions import defs
from refrig_assets.defs.launch import run_job
from refrig_assets.defs.partitions import hour_key
from refrig_assets.defs.resources import ClockResource, LakeResource, ModelsResource
from refrig_assets.defs.schedules import schedules
from refrig_assets.defs.score_quality import model_freshness_finding, score_age_finding
from refrig_assets.defs.sensors import scores_changed
from refrig_assets.lake import Lake
from refrig_assets.models.registry import Registry
from refrig_assets.pipeline.score_age import score_age
from refrig_assets_tests.builders import HOUR, ONE_HOUR, everything
from refrig_assets_tests.pipeline.scored_lake import DEVICES, HOURS, fill, fit

STAT, FOREST, AUTO, DBSCAN = DETECTORS
START = HOUR - timedelta(hours=HOURS - 1)
NOW = HOUR + timedelta(minutes=70)


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory, empty_lake: Path) -> tuple[Path, str]:
    """A lake with features, and a registry: two models released, one more staged, one spoilt, one never trained."""
    root = tmp_path_factory.mktemp("scored")
    lake = Lake(str(shutil.copytree(empty_lake, root / "lake")))
    fill(lake, START)
    registry = Registry(f"sqlite:///{root}/models/mlflow.db")
    for model_id, seed in ((STAT, 0), (FOREST, 0), (FOREST, 1)):
        version = registry.register(fit(lake, START, model_id, seed))
        registry.promote(model_id, version, "staging", by="test", now=NOW)
        if seed == 0:
            registry.promote(model_id, version, "released", by="test", now=NOW)
    _spoilt(registry, lake, root)
    return root / "lake", registry.uri


def _spoilt(registry: Registry, lake: Lake, root: Path) -> None:
    """A released autoencoder whose files somebody has changed since."""
    other = fit(lake, START)  # any model will do: it is never restored
    other.info = type(other.info)(**{**vars(other.info), "model_id": AUTO})
    before = set(root.rglob("arrays.npz"))
    version = registry.register(other)
    for file in set(root.rglob("arrays.npz")) - before:
        file.write_bytes(file.read_bytes()[:-7] + b"changed")
    with registry._store.writing() as client:
        client.set_registered_model_alias(AUTO, "released", version)


@dataclass
class Plant:
    lake: Lake
    instance: dg.DagsterInstance
    uri: str
    now: datetime = NOW

    @property
    def resources(self) -> dict[str, Any]:
        return {
            "lake": LakeResource(uri=self.lake.uri),
            "models": ModelsResource(uri=self.uri),
            "clock": ClockResource(fixed=self.now.isoformat()),
        }

    def run(self, job: str, hour: datetime = HOUR, hours: int = 1, **options: Any) -> dg.ExecuteInProcessResult:
        return run_job(
            defs, job, self.instance, start=hour, end=hour + hours * ONE_HOUR, resources=self.resources, quiet=True,
            raise_on_error=False, **options,
        )  # fmt: skip

    def scores(self) -> pl.DataFrame:
        return everything(self.lake, "model_scores")


@pytest.fixture
def plant(scored: tuple[Path, str], tmp_path: Path, instance: dg.DagsterInstance) -> Plant:
    return Plant(Lake(str(shutil.copytree(scored[0], tmp_path / "lake"))), instance, scored[1])


def checks(result: dg.ExecuteInProcessResult) -> dict[tuple[str, str], dg.AssetCheckEvaluation]:
    found = result.get_asset_check_evaluations()
    return {(c.asset_key.to_user_string(), c.check_name): c for c in found}  # type: ignore[misc]


def metadata(plant: Plant, asset: str, hour: datetime = HOUR) -> dict[str, Any]:
    event = plant.instance.get_latest_materialization_event(dg.AssetKey(asset))
    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.partition == hour_key(hour)
    return {k: v.value for k, v in event.asset_materialization.metadata.items()}


def test_hourly_scores_of_a_range_with_checks_and_pictures(plant: Plant) -> None:
    result = plant.run("scores", HOUR - ONE_HOUR, 2)
    assert result.success
    assert all(c.passed for c in checks(result).values())
    assert ("scores_isolation_forest", "coverage") in checks(result)
    found = plant.scores().group_by("model_id").len().sort("model_id")
    assert found.rows() == [(FOREST, 2 * 96), (STAT, 2 * 96)]
    told = metadata(plant, "scores_isolation_forest")
    assert told["dagster/partition_row_count"] == 96
    assert "24 of 24" in told["devices_scored"]
    assert told["score_distribution"].startswith("![isolation_forest")
    shown = [r.data["device"] for r in told["highest"].records]
    assert len(shown) == len(set(shown)) == 10


def test_one_model_failing_never_stops_the_others(plant: Plant) -> None:
    result = plant.run("scores_all")
    assert not result.success
    failed = {e.step_key: e.step_failure_data.error for e in result.all_events if e.is_step_failure}
    assert set(failed) == {"scores_autoencoder", "scores_dbscan_cohort"}
    assert "was changed" in str(failed["scores_autoencoder"])
    assert "dbscan_cohort" in str(failed["scores_dbscan_cohort"])
    assert set(plant.scores()["model_id"]) == {STAT, FOREST}


def test_devices_of_one_model_on_demand(plant: Plant) -> None:
    config = {"ops": {"scores_isolation_forest": {"config": {"devices": DEVICES[:2]}}}}
    result = plant.run("score_isolation_forest", run_config=config)
    assert result.success
    assert set(plant.scores()["device_id"]) == set(DEVICES[:2])
    assert checks(result)["scores_isolation_forest", "coverage"].passed


def test_missing_devices_fail_the_coverage(plant: Plant) -> None:
    from refrig_assets.contracts import DEVICE_FEATURES
    from refrig_assets_tests.windows import write_windows

    rows = plant.lake.table(DEVICE_FEATURES).read(HOUR, HOUR + ONE_HOUR)
    write_windows(plant.lake, rows.filter(pl.col("device_id") != DEVICES[0]))
    result = plant.run("score_isolation_forest")
    check = checks(result)["scores_isolation_forest", "coverage"]
    assert not check.passed
    assert "23 of 24" in str(check.description)


def test_no_registry_says_where_it_was_looked_for(plant: Plant, tmp_path: Path) -> None:
    plant.uri = f"sqlite:///{tmp_path}/nowhere/mlflow.db"
    result = plant.run("scores")
    errors = [str(e.step_failure_data.error) for e in result.all_events if e.is_step_failure]
    assert len(errors) == 2
    assert all("nowhere" in e for e in errors)
    assert plant.scores().is_empty()


def test_quality_follows_every_run_of_scores(plant: Plant) -> None:
    context = dg.build_sensor_context(instance=plant.instance, resources=plant.resources, definitions=defs)
    nothing = scores_changed(context)
    assert isinstance(nothing, dg.SensorResult)
    assert not nothing.run_requests
    plant.run("scores", HOUR - ONE_HOUR, 2)
    context = dg.build_sensor_context(
        instance=plant.instance, resources=plant.resources, definitions=defs, cursor=nothing.cursor
    )
    asked = scores_changed(context)
    assert isinstance(asked, dg.SensorResult)
    assert [r.tags["dagster/asset_partition_range_end"] for r in asked.run_requests or []] == [hour_key(HOUR)]
    result = plant.run("judge_scores", HOUR - ONE_HOUR, 2)
    assert result.success
    found = checks(result)
    assert {name for _, name in found} == {"flag_rate", "flag_flips", "rank_correlation", "agreement"}
    assert all(c.severity == dg.AssetCheckSeverity.WARN for c in found.values())
    rows = everything(plant.lake, "score_quality")
    assert sorted(rows["measure"]) == ["model"] * 4 + ["pair"] * 2
    told = metadata(plant, "score_quality")
    assert told["scores_of_isolation_forest"].startswith("![")
    assert 0 <= told["flagged_by_isolation_forest"] <= 1
    assert [r.data["models"] for r in told["agreement"].records] == [f"{FOREST} and {STAT}"]


def test_the_canary_names_its_gates(plant: Plant) -> None:
    result = plant.run("canary")
    assert result.success
    found = checks(result)
    gates = {"mean_difference", "flag_rate_change", "top_devices_overlap", "score_divergence"}
    assert {name for _, name in found} == gates
    rows = everything(plant.lake, "canary_reports")
    assert rows["candidate_role"].unique().to_list() == ["staging"]
    assert {name for (_, name), c in found.items() if c.passed} == set(rows.filter(outcome="pass")["gate"])
    told = {name: str(c.description) for (_, name), c in found.items()}
    assert all("1 comparisons pass" in told[n] if c.passed else f"{FOREST} 2: " in told[n]
               for (_, n), c in found.items())  # fmt: skip
    assert plant.scores().is_empty()
    assert metadata(plant, "canary_reports")["scores_of_isolation_forest_2"].startswith("![")
    kept = Registry(plant.uri).get(FOREST, "2").canary
    assert kept is not None
    assert (kept.old_version, kept.rows) == ("1", 96)


def silent(plant: Plant) -> dg.ExecuteInProcessResult:
    config = {"ops": {"rules_fallback": {"config": {"only_when_silent": True}}}}
    return plant.run("fallback", run_config=config)


def test_the_rules_take_over_when_scores_are_very_stale_and_only_then(plant: Plant) -> None:
    earlier = HOUR - 2 * ONE_HOUR
    plant.now = HOUR + timedelta(minutes=59)
    plant.run("scores", earlier)
    plant.now = HOUR  # an hour after the newest window: stale
    assert silent(plant).success
    assert "rules_fallback" not in set(plant.scores()["model_id"])
    plant.now = HOUR + timedelta(minutes=61)
    result = silent(plant)
    assert result.success
    rules = plant.scores().filter(model_id="rules_fallback")
    assert rules.height == 96
    assert rules["anomaly_score"].max() == 0.0
    plant.now = HOUR + timedelta(hours=4)
    before = plant.lake.table("model_scores").version
    assert silent(plant).success
    assert plant.lake.table("model_scores").version == before
    assert plant.run("fallback").success  # by hand it always writes
    assert plant.lake.table("model_scores").version > before


def test_ages_are_judged_by_the_clock_in_the_job_for_it(plant: Plant) -> None:
    plant.run("score_isolation_forest")
    fresh, old = (score_age(plant.lake, now) for now in (NOW, HOUR + timedelta(hours=3, minutes=1)))
    assert model_freshness_finding(fresh, FOREST).passed
    assert not model_freshness_finding(fresh, STAT).passed  # never ran
    warned = model_freshness_finding(old, FOREST)
    assert (warned.passed, warned.severe) == (False, False)
    assert not score_age_finding(fresh).passed  # one of the two is failing
    assert not score_age_finding(fresh).severe
    assert score_age_finding(old).severe
    judged = defs.resolve_job_def("freshness").asset_layer.asset_graph.asset_check_keys
    names = {k.to_user_string() for k in judged}
    assert {"rules_fallback:score_age", "scores_isolation_forest:freshness"} <= names


def ticks(name: str, at: datetime) -> dg.RunRequest:
    schedule = next(s for s in schedules if s.name == name)
    context = dg.build_schedule_context(scheduled_execution_time=at)
    request = schedule(context)
    assert isinstance(request, dg.RunRequest)
    return request


def test_schedules_ask_for_closed_windows() -> None:
    at = datetime(2026, 3, 10, 14, 10, tzinfo=HOUR.tzinfo)
    assert ticks("closed_hour_scores", at).partition_key == "2026-03-10-13:00"
    assert ticks("running_hour_scores", at.replace(minute=23)).partition_key == "2026-03-10-14:00"
    assert ticks("daily_scores", at.replace(hour=3)).partition_key == "2026-03-10-02:00"
    assert ticks("daily_canary", at.replace(hour=3, minute=40)).partition_key == "2026-03-10-02:00"
    assert ticks("silent_models", at.replace(minute=12)).partition_key == "2026-03-10-13:00"
    assert ticks("silent_models", at.replace(minute=27)).partition_key == "2026-03-10-14:00"
    crons = {s.name: str(s.cron_schedule) for s in schedules if isinstance(s, dg.ScheduleDefinition)}
    hours = crons["closed_hour_scores"].split()[1].split(",")
    assert sorted([*map(int, hours), int(crons["daily_scores"].split()[1])]) == list(range(24))


@pytest.fixture
def command(plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("REFRIG_LAKE", plant.lake.uri)
    monkeypatch.setenv("REFRIG_MODELS", plant.uri)
    return CliRunner()


def test_the_command_makes_no_lake(command: CliRunner, tmp_path: Path) -> None:
    done = command.invoke(main, ["score", "--lake", str(tmp_path / "elsewhere")])
    assert done.exit_code == 1
    assert "there is no lake" in done.stderr
    assert not (tmp_path / "elsewhere").exists()


def test_the_command_scores_and_shows_who_stands_out(command: CliRunner, plant: Plant, tmp_path: Path) -> None:
    watched = tmp_path / "watched.txt"
    watched.write_text(f"{DEVICES[2]}\n{DEVICES[3]}\n")
    hour = f"{HOUR:%Y-%m-%dT%H:%M}"
    asked = ["score", "--hour", hour, "--devices", f"{DEVICES[1]},{DEVICES[0]}", "--devices", f"@{watched}", "--json"]
    refused = command.invoke(main, asked)
    assert refused.exit_code == 1
    assert "--even-stale" in json.loads(refused.stdout)["failed"][0]
    done = command.invoke(main, [*asked, "--even-stale", "--model", "isolation_forest", "--model", "rules_fallback"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["failed"] == []
    assert told["models"] == [FOREST, "rules_fallback"]
    assert sorted(r["device_id"] for r in told["highest"]) == DEVICES[:4]  # each once
    assert {r["windows"] for r in told["highest"]} == {4}
    best = plant.scores().group_by("device_id").agg(pl.col("anomaly_score").max())
    assert {r["device_id"]: r["anomaly_score"] for r in told["highest"]} == dict(best.iter_rows())
    assert set(plant.scores()["device_id"]) == set(DEVICES[:4])
