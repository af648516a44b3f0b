"""Killed runs: found by their process, ended as failed, and the pool they held is free for the next run."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import psutil
import pytest
import yaml

from refrig_assets.defs import home
from refrig_assets.defs.launch import run_job
from refrig_assets.defs.lost_runs import HOST, Worker, end_lost, is_gone, this_host
from refrig_assets_tests.deploy.processes import DEPLOY, ROOT, free_port, listens, service, tool, wait_until

STARTED, FAILURE, SUCCESS = dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS
POOL = "device_alerts"
# A step that says it is in the pool and stays there until it may go on.
STEP = f'''
import os, time
from pathlib import Path
import dagster as dg
from refrig_assets.defs.launch import run_job
from refrig_assets.defs.lost_runs import lost_runs

HERE = Path({{here!r}})

@dg.asset(pool="{POOL}")
def hour() -> None:
    with (HERE / "entered").open("a") as entered:
        entered.write(f"{{{{os.getpid()}}}}\\n")
    while not (HERE / "go").exists():
        time.sleep(0.1)

job = dg.define_asset_job("alerts", [hour], executor_def=dg.in_process_executor)
defs = dg.Definitions(assets=[hour], jobs=[job], sensors=[lost_runs])

if __name__ == "__main__":
    with dg.DagsterInstance.get() as instance:
        run_job(defs, "alerts", instance, quiet=True)
'''


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a real Dagster home under the project's own settings, only faster; code; a workspace."""
    path = tmp_path / "home"
    path.mkdir()
    settings = yaml.safe_load((ROOT / "dagster.yaml").read_text())
    settings["run_monitoring"] |= {"poll_interval_seconds": 1, "free_slots_after_run_end_seconds": 1}
    (path / "dagster.yaml").write_text(yaml.safe_dump(settings))
    (tmp_path / "plant.py").write_text(STEP.format(here=str(tmp_path)))
    at = {"host": "127.0.0.1", "port": free_port(), "location_name": "plant"}
    (tmp_path / "workspace.yaml").write_text(yaml.safe_dump({"load_from": [{"grpc_server": at}]}))
    monkeypatch.setenv("DAGSTER_HOME", str(home.prepare_home(path)))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    yield tmp_path
    (tmp_path / "go").touch()


def entered(place: Path) -> list[int]:
    """The processes that have been in the pool, in order."""
    told = place / "entered"
    return [int(line) for line in told.read_text().split()] if told.exists() else []


@contextmanager
def code_server(place: Path, log: str) -> Iterator[subprocess.Popen[bytes]]:
    port = yaml.safe_load((place / "workspace.yaml").read_text())["load_from"][0]["grpc_server"]["port"]
    command = (
        tool("dagster"),
        "code-server",
        "start",
        "-f",
        str(place / "plant.py"),
        "-h",
        "127.0.0.1",
        "-p",
        str(port),
    )
    with service(place / log, os.environ, *command) as process:
        wait_until(lambda: listens(port), "the code server listens")
        yield process


def launch(place: Path) -> None:
    command = (tool("dagster"), "job", "launch", "-w", str(place / "workspace.yaml"), "-j", "alerts")
    told = subprocess.run(command, cwd=place, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr[-2000:]


def kill_all(process: subprocess.Popen[bytes]) -> None:
    """As the kernel or an orchestrator would: the server and every process of it."""
    for one in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
        one.kill()
    process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("with_its_server", [False, True], ids=["the run alone", "with the code server"])
def test_a_run_killed_in_its_pool_is_ended_and_the_next_goes_through(place: Path, with_its_server: bool) -> None:
    daemon = (tool("dagster-daemon"), "run", "-w", str(place / "workspace.yaml"))
    with dg.DagsterInstance.from_config(str(place / "home")) as instance, code_server(place, "code.log") as code:
        with service(place / "daemon.log", os.environ, *daemon):
            launch(place)
            wait_until(lambda: len(entered(place)) == 1, "the run is in the pool")
            (first,) = instance.get_runs()
            if with_its_server:
                kill_all(code)
            else:
                os.kill(entered(place)[0], signal.SIGKILL)
            with code_server(place, "again.log") if with_its_server else _nothing():
                wait_until(lambda: len(entered(place)) == 2, "it is made again, in the pool that was freed", 240)
                (place / "go").touch()
                launch(place)
                wait_until(lambda: _ended(instance) == 3, "all have ended", 240)
        statuses = {run.run_id: run.status for run in instance.get_runs()}
        assert statuses.pop(first.run_id) == FAILURE
        assert set(statuses.values()) == {SUCCESS}


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _ended(instance: dg.DagsterInstance) -> int:
    return sum(run.is_finished for run in instance.get_runs())


def test_a_run_of_a_command_line_that_was_killed_is_ended_as_failed(place: Path) -> None:
    with (
        dg.DagsterInstance.from_config(str(place / "home")) as instance,
        service(place / "run.log", os.environ, sys.executable, str(place / "plant.py")) as process,
    ):
        wait_until(lambda: bool(entered(place)), "the run is in the pool")
        (run,) = instance.get_runs()
        assert end_lost(instance, "plant", this_host()) == []
        process.kill()
        process.wait()
        assert end_lost(instance, "plant", "another-machine") == []
        assert instance.get_runs()[0].status == STARTED
        assert end_lost(instance, "plant", this_host()) == [f"alerts {run.run_id}"]
        assert instance.get_runs()[0].status == FAILURE
        assert end_lost(instance, "plant", this_host()) == []


def test_a_number_that_another_process_has_now_is_no_sign_of_life() -> None:
    mine = psutil.Process()
    assert not is_gone(Worker(mine.pid, time.time()))
    assert is_gone(Worker(mine.pid, mine.create_time() - 3600))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert is_gone(Worker(ended.pid, time.time()))


def test_runs_of_other_launchers_and_places_are_left_alone(instance: dg.DagsterInstance) -> None:
    run = instance.create_run_for_job(dg.job(name="elsewhere")(lambda: None), status=STARTED, tags={HOST: "elsewhere"})
    assert end_lost(instance, "plant", this_host()) == []
    kept = instance.get_run_by_id(run.run_id)
    assert kept is not None
    assert kept.status == STARTED


def test_runs_of_a_command_line_say_where_they_are_and_may_take_long(instance: dg.DagsterInstance) -> None:
    @dg.asset
    def anything() -> None: ...

    defs = dg.Definitions(assets=[anything], jobs=[dg.define_asset_job("any", [anything])])
    run = run_job(defs, "any", instance, quiet=True).dagster_run
    assert run.tags[HOST] == this_host()
    assert int(run.tags["dagster/max_runtime_seconds"]) > 7200


def test_every_instance_we_set_up_frees_pools_and_makes_again_what_was_killed() -> None:
    kubernetes = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())
    files = {
        "dagster.yaml": (ROOT / "dagster.yaml").read_text(),
        "deploy/dagster-postgres.yaml": (DEPLOY / "dagster-postgres.yaml").read_text(),
        "deploy/kubernetes.yaml": next(d for d in kubernetes if d["metadata"]["name"] == "refrig-dagster-home")["data"][
            "dagster.yaml"
        ],
        "installed without the project's folder": home._LEAST,
    }
    told = {name: yaml.safe_load(text) for name, text in files.items()}
    ours = told["dagster.yaml"]
    for name, settings in told.items():
        assert settings["run_monitoring"]["enabled"], name
        assert settings["run_monitoring"]["free_slots_after_run_end_seconds"] > 0, name
        for key in ("run_monitoring", "run_retries", "concurrency"):
            assert settings[key] == ours[key], (name, key)
