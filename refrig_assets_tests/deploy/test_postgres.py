"""Dagster and the models' registry on PostgreSQL, by the example files of deploy/ and the environment alone."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml

from refrig_assets.contracts import CLEAN_READINGS
from refrig_assets.defs.home import prepare_home
from refrig_assets.models.registry import Registry
from refrig_assets.simulator import Mess
from refrig_assets_tests.defs.conftest import START, make_plant
from refrig_assets_tests.deploy.postgres import PASSWORD, USER, Cluster, binaries, running
from refrig_assets_tests.deploy.processes import DEPLOY, free_port, listens, service, tool, wait_until
from refrig_assets_tests.models.registry_tools import MODEL, fitted, release, rows

IN_CI = os.environ.get("REFRIG_CI") == "true"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(binaries() is None and not IN_CI, reason="PostgreSQL is not installed (apt install postgresql)"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    found = binaries()
    assert found is not None, "CI installs PostgreSQL: .ci/run"
    with running(found) as made:
        yield made


@pytest.fixture
def home(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Dagster home whose instance is in a database of its own."""
    database = f"dagster_{tmp_path.name.lower()}"
    cluster.create_database(database)
    path = tmp_path / "dagster"
    path.mkdir()
    shutil.copyfile(DEPLOY / "dagster-postgres.yaml", path / "dagster.yaml")
    told = {"HOST": "127.0.0.1", "PORT": str(cluster.port), "USER": USER, "PASSWORD": PASSWORD, "DB": database}
    for name, value in told.items():
        monkeypatch.setenv(f"REFRIG_PG_{name}", value)
    monkeypatch.setenv("DAGSTER_HOME", str(path))
    return prepare_home(path)


def test_an_hour_is_made_and_remembered_in_postgres(home: Path, cluster: Cluster, tmp_path: Path) -> None:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        plant = make_plant(tmp_path, instance, Mess.usual())
        plant.run("registry")
        assert plant.run("hourly", START, 1).success
    assert plant.lake.table(CLEAN_READINGS).read().height > 1000
    database = os.environ["REFRIG_PG_DB"]
    assert cluster.ask(database, "SELECT status, count(*) FROM runs GROUP BY 1") == [("SUCCESS", 2)]
    assert not list(home.rglob("*.db"))  # nothing fell back to SQLite
    with dg.DagsterInstance.from_config(str(home)) as instance:  # a second process' view
        keys = instance.get_materialized_partitions(dg.AssetKey("clean_sensor_readings"))
        assert keys == {f"{START:%Y-%m-%d-%H:%M}"}


def test_the_daemon_starts_what_is_queued(home: Path, tmp_path: Path) -> None:
    """Code location server, daemon and whoever launches are processes of their own that share only the database."""
    port = free_port()
    workspace = yaml.safe_load((DEPLOY / "workspace.yaml").read_text())
    workspace["load_from"][0]["grpc_server"]["port"] = port
    (tmp_path / "workspace.yaml").write_text(yaml.safe_dump(workspace))
    at = ("-w", str(tmp_path / "workspace.yaml"))
    environment = {**os.environ, "REFRIG_LAKE": str(tmp_path / "lake"), "REFRIG_CODE_HOST": "127.0.0.1"}
    code = (
        tool("dagster"),
        "code-server",
        "start",
        "-m",
        "refrig_assets.definitions",
        "-h",
        "127.0.0.1",
        "-p",
        str(port),
    )
    launch = (tool("dagster"), "job", "launch", *at, "-j", "upkeep")
    with dg.DagsterInstance.from_config(str(home)) as instance, service(tmp_path / "code.log", environment, *code):
        wait_until(lambda: listens(port), "the code location server listens")
        with service(tmp_path / "daemon.log", environment, tool("dagster-daemon"), "run", *at):
            told = subprocess.run(launch, cwd=tmp_path, env=environment, capture_output=True, text=True)
            assert told.returncode == 0, told.stderr[-2000:]
            assert instance.get_runs_count() == 1
            wait_until(lambda: all(run.is_finished for run in instance.get_runs()), "the queued run has ended")
        assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.SUCCESS]


def test_the_models_registry_in_postgres(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its address has no password: libpq takes that from the environment."""
    cluster.create_database("mlflow")
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    uri = f"postgresql+psycopg2://{USER}@127.0.0.1:{cluster.port}/mlflow"
    registry = Registry(uri, artifacts=str(tmp_path / "models"))
    release(registry, 0)
    again = Registry(uri, artifacts=str(tmp_path / "models"))
    assert [(s.version, s.role) for s in again.serving(MODEL)] == [("1", "champion")]
    model, _ = again.load(MODEL, "released")
    assert model.score(rows(2)).equals(fitted(0).score(rows(2)))
