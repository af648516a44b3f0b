"""A small plant on disk and a real Dagster instance, shared by the tests of the Dagster layer."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from refrig_assets.definitions import defs
from refrig_assets.defs.launch import run_job
from refrig_assets.defs.resources import ClockResource, FilesResource, LakeResource, ModelsResource
from refrig_assets.lake import Lake
from refrig_assets.simulator import FleetSpec, Mess, make_fleet, plan_faults, write_landing

START = datetime(2026, 3, 10, 6, tzinfo=UTC)
HOURS = 4
DEVICES = 30


@dataclass
class Plant:
    """Landing files of a few hours, an empty lake, an instance, and a clock that tests set."""

    root: Path
    instance: dg.DagsterInstance
    account: Mapping[str, int]
    now: datetime

    @property
    def lake(self) -> Lake:
        return Lake(str(self.root / "lake"))

    @property
    def landing(self) -> Path:
        return self.root / "landing"

    @property
    def resources(self) -> dict[str, Any]:
        return {
            "lake": LakeResource(uri=self.lake.uri),
            "files": FilesResource(
                landing_dir=str(self.landing),
                registry_file=str(self.root / "registry.parquet"),
                reports_dir=str(self.root / "reports"),
                settle_seconds=0,
            ),
            "models": ModelsResource(uri=f"sqlite:///{self.root / 'models' / 'mlflow.db'}"),
            "clock": ClockResource(fixed=self.now.isoformat()),
        }

    def run(
        self, job: str, start: datetime | None = None, hours: int = HOURS, **options: Any
    ) -> dg.ExecuteInProcessResult:
        end = None if start is None else start + timedelta(hours=hours)
        return run_job(defs, job, self.instance, start=start, end=end, resources=self.resources, quiet=True, **options)

    def backfill(self) -> dg.ExecuteInProcessResult:
        """Registry, then every hour from raw to features, as one run."""
        self.run("registry")
        return self.run("hourly", START)

    def sensor_context(self, cursor: str | None = None) -> dg.SensorEvaluationContext:
        return dg.build_sensor_context(
            instance=self.instance, resources=self.resources, cursor=cursor, definitions=defs
        )


def make_plant(root: Path, instance: dg.DagsterInstance, mess: Mess) -> Plant:
    fleet = make_fleet(DEVICES, 5, START)
    plan = plan_faults(fleet, START, START + timedelta(hours=HOURS), 5)
    account = write_landing(FleetSpec(DEVICES, 5, START, HOURS, plan, mess), root).account
    Lake(str(root / "lake")).create()
    return Plant(root, instance, account, START + timedelta(hours=HOURS, minutes=4))


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    home = tmp_path / "dagster"
    home.mkdir()
    with dg.instance_for_test(temp_dir=str(home)) as made:
        yield made


@pytest.fixture
def plant(tmp_path: Path, instance: dg.DagsterInstance) -> Plant:
    """With the usual mess."""
    return make_plant(tmp_path, instance, Mess.usual())


@pytest.fixture
def messy_plant(tmp_path: Path, instance: dg.DagsterInstance) -> Plant:
    """With ten times the usual mess."""
    return make_plant(tmp_path, instance, Mess.usual().times(10))
