"""The operators' jobs on a real instance: what the launchpad offers, what they change, and what they show."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from refrig_assets.contracts import ALERT_BOARD, DEVICE_ALERTS, MODEL_SCORES
from refrig_assets.definitions import defs
from refrig_assets.defs.launch import run_job
from refrig_assets.defs.partitions import hour_key
from refrig_assets.defs.resources import ClockResource, FilesResource, LakeResource, ModelsResource
from refrig_assets.lake import Lake
from refrig_assets.models.registry import Registry
from refrig_assets.pipeline.alert_log import append_changes
from refrig_assets.pipeline.labelling import read_labels
from refrig_assets.pipeline.maintenance import read_events
from refrig_assets.pipeline.mutes import read_mutes
from refrig_assets.pipeline.registry import write_registry
from refrig_assets_tests.alerting.makers import alert, created_alerts
from refrig_assets_tests.builders import HOUR, registry_of
from refrig_assets_tests.pipeline.scored_lake import HOURS, fill, fit

JOBS = {
    "acknowledge_alerts": "acknowledge",
    "resolve_alerts": "resolve",
    "false_positive_alerts": "call_false",
    "mute": "mute_one",
    "re_score": "score_again",
}
NOW = HOUR + timedelta(minutes=70)
MODEL = "statistical_baseline"


@dataclass
class Plant:
    """A lake, an instance, and a clock that stands still; nothing is simulated."""

    lake: Lake
    root: Path
    instance: dg.DagsterInstance
    now: datetime = NOW

    @property
    def models(self) -> str:
        return f"sqlite:///{self.root}/models/mlflow.db"

    def run(self, job: str, **options: Any) -> dg.ExecuteInProcessResult:
        resources = {
            "lake": LakeResource(uri=self.lake.uri),
            "models": ModelsResource(uri=self.models),
            "files": FilesResource(),
            "clock": ClockResource(fixed=self.now.isoformat()),
        }
        return run_job(defs, job, self.instance, resources=resources, quiet=True, **options)


@pytest.fixture
def plant(lake: Lake, tmp_path: Path, instance: dg.DagsterInstance) -> Plant:
    write_registry(lake, registry_of([f"RF-00000{n}" for n in range(3)], site_id="S-0000"))
    return Plant(lake, tmp_path, instance)


@pytest.fixture
def alerts(plant: Plant) -> list[str]:
    made = [alert(f"RF-00000{n}", plant.now - timedelta(minutes=5), site_id="S-0000") for n in range(3)]
    append_changes(plant.lake, created_alerts(*made))
    return [a["alert_id"] for a in made]


def work(plant: Plant, job: str, **config: Any) -> dg.ExecuteInProcessResult:
    run_config = {"ops": {JOBS[job]: {"config": config}}}
    return plant.run(job, run_config=run_config, raise_on_error=False)


def shown(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    """The metadata of the run's one step."""
    outputs = [e for e in result.all_events if e.event_type == dg.DagsterEventType.STEP_OUTPUT]
    data = outputs[0].event_specific_data
    return {name: value.value for name, value in data.metadata.items()}  # type: ignore[union-attr]


def statuses(plant: Plant) -> list[str]:
    """As published: the board in the UI is current when the run ends."""
    return plant.lake.table(ALERT_BOARD).read().sort("device_id")["status"].to_list()


@pytest.mark.parametrize("job", JOBS)
def test_the_launchpad_says_what_every_setting_means(job: str) -> None:
    resolved = defs.resolve_job_def(job)
    assert resolved.description
    fields = resolved.graph.node_named(JOBS[job]).definition.config_schema.config_type.fields  # type: ignore[union-attr]
    assert fields["operator"].is_required
    assert all(field.description for field in fields.values())


def test_alerts_are_acknowledged_resolved_and_shown(plant: Plant, alerts: list[str]) -> None:
    first = work(plant, "acknowledge_alerts", operator="ann", alerts=[alerts[0][:8]], note="seen")
    assert first.success
    rows = shown(first)["alerts"].records
    assert [(r.data["device_id"], r.data["status"], r.data["note"]) for r in rows] == [
        ("RF-000000", "ACKNOWLEDGED", "seen")
    ]
    done = work(
        plant,
        "resolve_alerts",
        operator="ben",
        role="field_engineer",
        sites=["S-0000"],
        failed=True,
        found="power_loss",
    )
    assert shown(done)["labels_written"] == 3
    assert statuses(plant) == ["RESOLVED"] * 3
    assert set(read_labels(plant.lake)["label_confidence"]) == {0.9}
    again = work(plant, "false_positive_alerts", operator="ann", alerts=alerts[:1])
    assert not again.success


def test_a_dry_run_changes_nothing_and_half_a_choice_is_refused(plant: Plant, alerts: list[str]) -> None:
    tried = work(plant, "false_positive_alerts", operator="ann", at_least="HIGH", dry_run=True)
    assert len(shown(tried)["alerts"].records) == 3
    assert read_labels(plant.lake).is_empty()
    assert not work(plant, "acknowledge_alerts", operator="ann").success
    assert not work(plant, "acknowledge_alerts", operator="ann", alerts=alerts, sites=["S-0000"]).success
    with pytest.raises(dg.DagsterInvalidConfigError):
        work(plant, "acknowledge_alerts", operator="ann", at_least="AWFUL")


def test_a_mute_from_the_launchpad(plant: Plant, alerts: list[str]) -> None:
    done = work(plant, "mute", operator="ann", device="RF-000001", hours=2, reason="fan", repeats="weekly")
    assert shown(done)["alerts_silenced"] == 1
    mute = read_mutes(plant.lake).row(0, named=True)
    assert (mute["made_by"], mute["repeats"], mute["ends_at"] - mute["starts_at"]) == (
        "ann",
        "weekly",
        timedelta(hours=2),
    )
    assert plant.lake.table(ALERT_BOARD).read()["suppressed"].sum() == 1
    assert not work(plant, "mute", operator="ann", device="RF-000001", site="S-0000", reason="fan").success


def test_hours_are_scored_and_judged_again(plant: Plant) -> None:
    start = HOUR - timedelta(hours=HOURS - 1)
    fill(plant.lake, start)
    registry = Registry(plant.models)
    version = registry.register(fit(plant.lake, start, MODEL))
    for stage in ("staging", "released"):
        registry.promote(MODEL, version, stage, by="test", now=NOW)  # type: ignore[arg-type]
    config = {"operator": "ann", "first_hour": (HOUR - timedelta(hours=1)).isoformat(), "hours": 2, "models": MODEL}
    result = work(plant, "re_score", **config)
    assert result.success
    told = [(r.data["hour"], r.data["model"], r.data["rows"] > 0) for r in shown(result)["scores"].records]
    hours = [hour_key(HOUR - timedelta(hours=1)), hour_key(HOUR)]
    assert told == [(hour, MODEL, True) for hour in hours]
    assert plant.instance.get_materialized_partitions(dg.AssetKey(f"scores_{MODEL}")) == set(hours)
    scores, log = (plant.lake.table(c).read() for c in (MODEL_SCORES, DEVICE_ALERTS))
    assert work(plant, "re_score", **config, devices=["dev-01"]).success
    assert plant.lake.table(MODEL_SCORES).read().height == scores.height
    assert plant.lake.table(DEVICE_ALERTS).read().height == log.height
    assert not work(plant, "re_score", operator="ann", first_hour="soon").success


def test_maintenance_is_imported_from_the_file_that_is_named(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    assert plant.run("import_maintenance").success
    file = plant.root / "work.csv"
    file.write_text(
        "device_id,event_type,scheduled_date\nRF-000001,preventive,2026-03-11\nRF-9,preventive,2026-03-11\n"
    )
    monkeypatch.setenv("REFRIG_MAINTENANCE", str(file))
    result = plant.run("import_maintenance")
    [made] = result.asset_materializations_for_node("maintenance_events")
    assert (made.metadata["new"].value, made.metadata["dagster/row_count"].value) == (1, 1)
    left = made.metadata["left_out"].value.records  # type: ignore[union-attr]
    assert [r.data["row"] for r in left] == [2]
    assert read_events(plant.lake)["device_id"].to_list() == ["RF-000001"]
