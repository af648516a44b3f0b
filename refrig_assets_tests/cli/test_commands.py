"""`refrig` itself, `simulate`, `status` and `doctor`: what they print, how they end, what they leave."""

import json
import os
import re
import subprocess
import sys
import time
from datetime import timedelta
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from refrig_assets.cli import COMMANDS, main
from refrig_assets.cli.checkup import model_registry, package_versions, torch_version
from refrig_assets.contracts import MODEL_SCORES
from refrig_assets.lake import Lake
from refrig_assets.pipeline.landing import land_hour
from refrig_assets_tests.alerting.test_severity import frame, score
from refrig_assets_tests.builders import HOUR, NOW, land_file, minutes_of
from refrig_assets_tests.models.registry_tools import MODEL, fitted, registry_at

ROOT = Path(__file__).parents[2]


def run(*arguments: str | Path, **environment: str) -> Result:
    return CliRunner(env=environment).invoke(main, [str(a) for a in arguments])


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom refrig_assets.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "assert not {'polars', 'dagster', 'deltalake', 'rich'} & set(sys.modules), 'heavy'"
    )
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in COMMANDS)
    assert time.monotonic() - begun < 2  # 0.1 s alone; machines that test are busy


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_has_examples(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "Examples:" in result.output


# -- simulate ----------------------------------------------------------------------------------------------------


def test_simulate_writes_a_fleet_the_same_each_time(tmp_path: Path) -> None:
    options = ("--devices", "20", "--hours", "2", "--start", "2026-03-02T00:00", "--seed", "5", "--json")
    first, again = (run("simulate", *options, "--out", tmp_path / name) for name in ("a", "b"))
    assert first.exit_code == 0, first.output
    found = json.loads(first.stdout)
    assert found["account"]["lines"] > 20 * 60
    assert found["account"] == json.loads(again.stdout)["account"]
    names = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.ndjson"))
    assert [n.parent.as_posix() for n in names] == ["landing/2026-03-02/00", "landing/2026-03-02/01"]
    assert all((tmp_path / "a" / n).read_bytes() == (tmp_path / "b" / n).read_bytes() for n in names)


def test_simulate_names_what_is_wrong(tmp_path: Path) -> None:
    out = ("--devices", "5", "--hours", "1", "--out", tmp_path)
    assert (
        "unknown fault 'gremlins'; known are: refrigerant_leak_slow"
        in run("simulate", *out, "--faults", "gremlins").stderr
    )
    assert "'lots' is none of: usual, none" in run("simulate", *out, "--mess", "lots").stderr
    assert "is not a time in ISO 8601" in run("simulate", *out, "--start", "tomorrow").stderr
    assert "bearing_wear" in run("simulate", "--help").output


def test_simulate_takes_a_factor_of_mess(tmp_path: Path) -> None:
    options = ("simulate", "--devices", "50", "--hours", "1", "--start", "2026-03-02T00:00", "--json")
    usual, ten, none = (
        json.loads(run(*options, "--mess", m, "--out", tmp_path / m).stdout)["account"] for m in ("1", "10x", "none")
    )
    assert none["normal"] == none["lines"]
    assert ten["broken_json"] + ten["near_duplicates"] > usual["broken_json"] + usual["near_duplicates"]


# -- status ------------------------------------------------------------------------------------------------------


def status(lake: Path | str, *options: str | Path, **environment: str) -> tuple[int, dict[str, object]]:
    result = run("status", "--lake", lake, "--landing", "nowhere", "--json", *options, **environment)
    return result.exit_code, json.loads(result.stdout)


def test_status_of_an_empty_lake_is_calm(empty_lake: Path) -> None:
    code, found = status(empty_lake, DAGSTER_HOME="")
    assert code == 0
    assert {t["level"] for t in found["tables"]} == {"empty"}  # type: ignore[attr-defined]
    assert found["dagster"]["unreadable"] == "DAGSTER_HOME is not set"  # type: ignore[index]


def test_status_of_no_lake_says_so(tmp_path: Path) -> None:
    result = run("status", "--lake", tmp_path / "none", "--json")
    assert result.exit_code == 1
    assert "there is no lake at" in json.loads(result.stdout)["error"]
    assert "refrig doctor --create" in result.stderr


def test_status_of_a_filled_lake(lake: Lake, landing: Path) -> None:
    land_file(landing, "a.ndjson", [*minutes_of(3), "not json"])
    land_hour(lake, landing, HOUR, NOW)
    soon = (HOUR + timedelta(minutes=61)).isoformat()
    code, found = status(lake.uri, "--as-of", soon)
    tables = {t["table"]: t for t in found["tables"]}  # type: ignore[attr-defined]
    raw = tables["raw_sensor_readings"]
    assert (raw["rows"], raw["level"], raw["newest_hour"]) == (180, "ok", HOUR.isoformat())
    assert raw["bytes"] > 0
    assert code == 1
    assert tables["clean_sensor_readings"]["says"] == "empty, though raw_sensor_readings is not"
    assert sum(found["dead_letters_24h"].values()) == 1  # type: ignore[attr-defined]
    assert list(found["waiting"]) == ["clean_sensor_readings"]  # type: ignore[call-overload]
    _, later = status(lake.uri, "--as-of", (HOUR + timedelta(hours=2)).isoformat())
    raw = next(t for t in later["tables"] if t["table"] == "raw_sensor_readings")  # type: ignore[attr-defined]
    assert (raw["level"], raw["says"]) == ("error", "61 min old, over 15 min")


def test_status_shows_what_waits_to_land(lake: Lake, landing: Path) -> None:
    path = land_file(landing, "a.ndjson", minutes_of(1))
    os.utime(path, (HOUR.timestamp(), HOUR.timestamp()))
    result = run("status", "--lake", lake.uri, "--landing", landing, "--as-of", NOW.isoformat())
    assert "raw_sensor_readings: 1 hours wait to be made" in result.stdout


def test_status_reads_failures_from_the_instance(lake: Lake, tmp_path: Path) -> None:
    import dagster as dg

    @dg.asset
    def broken() -> None:
        raise RuntimeError("no")

    @dg.asset_check(asset="raw_sensor_readings")
    def failing() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=False, description="3 rows are wrong")

    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        dg.materialize([broken], instance=instance, raise_on_error=False)
        checks = dg.Definitions(
            asset_checks=[failing], jobs=[dg.define_asset_job("c", dg.AssetSelection.all_asset_checks())]
        )
        checks.resolve_job_def("c").execute_in_process(instance=instance)
    code, found = status(lake.uri, DAGSTER_HOME=str(home))
    assert code == 1
    failed = found["dagster"]["failed_checks"][0]  # type: ignore[index]
    assert (failed["asset"], failed["check"], failed["description"]) == (
        "raw_sensor_readings", "failing", "3 rows are wrong",
    )  # fmt: skip
    assert len(found["dagster"]["failed_runs"]) == 1  # type: ignore[index]


# -- status of models --------------------------------------------------------------------------------------------


def test_status_makes_no_registry_by_looking(empty_lake: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    code, found = status(empty_lake, DAGSTER_HOME="", REFRIG_MODELS=str(models))
    assert code == 0
    assert found["model_registry"]["missing"]  # type: ignore[index,call-overload]
    assert found["models"] == []
    assert found["scores"]["status"] == "expired"  # type: ignore[index,call-overload]
    shown = run("status", "--lake", empty_lake, "--models", models)
    assert re.search(r"· models: no models yet at sqlite:.*train_all makes the first", shown.stdout)
    assert "scores:" not in shown.stdout
    assert not models.exists()


def test_status_tells_who_scores_and_how_old_the_scores_are(lake: Lake, tmp_path: Path) -> None:
    registry = registry_at(tmp_path / "models", 0, 1, 2)
    registry.rollback(MODEL, by="ann", now=NOW)
    registry.promote(MODEL, registry.register(fitted(3)), "shadow", by="ann", now=NOW)
    registry.routes_file.write_text(f'[[route]]\nmodel = "{MODEL}"\ncohort = "c-7"\nversion = 1\n')
    lake.table(MODEL_SCORES).append(frame(score(MODEL, 0.9, start=HOUR)))
    end = HOUR + timedelta(minutes=15)

    def at(minutes: int) -> tuple[int, Any, str]:
        options = ("--as-of", (end + timedelta(minutes=minutes)).isoformat(), "--models", registry.uri)
        code, found = status(lake.uri, *options, DAGSTER_HOME="")
        return code, found, run("status", "--lake", lake.uri, *options, DAGSTER_HOME="").stdout

    code, found, shown = at(10)
    assert (code, found["scores"]["status"], found["scores"]["use"]) == (0, "fresh", "scores")
    (told,) = found["models"]
    assert (told["model_id"], told["champion"], told["pinned"], told["level"]) == (MODEL, "2", True, "ok")
    assert told["beside"] == {"shadow": "4", "cohort c-7": "1"}
    assert told["newest"] == end.isoformat()
    assert re.search(rf"✓ +{MODEL} +2 \(pinned\) +shadow: 4, cohort c-7: 1 +.* 10 min old", shown)
    assert "! scores: the newest scores are 10 min old" in shown  # the other hourly model has none
    code, found, shown = at(150)
    assert (code, found["scores"]["status"], found["models"][0]["level"]) == (1, "very_stale", "warn")
    assert "! scores: the newest scores are 2 h 30 min old, very stale: alerts come from the rules" in shown
    code, found, shown = at(600)
    assert (found["scores"]["status"], found["scores"]["use"]) == ("expired", "stream")
    assert any(error.startswith("scores: the newest scores are 10 h") for error in found["errors"])


def test_status_of_a_registry_that_cannot_be_read(empty_lake: Path, tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("not a database at all, though it has some length")
    code, found = status(empty_lake, DAGSTER_HOME="", REFRIG_MODELS=str(tmp_path))
    assert code == 1
    assert "does not answer as it should" in found["model_registry"]["problem"]  # type: ignore[index,call-overload]
    assert "✗ models: the model registry" in run("status", "--lake", empty_lake, "--models", tmp_path).stdout


# -- doctor ------------------------------------------------------------------------------------------------------


def doctor(*options: str | Path, **environment: str) -> tuple[int, dict[str, dict[str, str]]]:
    result = run("doctor", "--json", *options, **environment)
    return result.exit_code, {e["name"]: e for e in json.loads(result.stdout)["examinations"]}


def test_doctor_creates_what_is_missing(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    code, found = doctor("--lake", lake)
    assert code == 0
    assert found["tables"]["level"] == "warn"
    assert not lake.exists()
    code, found = doctor("--lake", lake, "--create")
    assert (code, found["tables"]["found"]) == (0, "all there")


def test_doctor_registers_the_devices_of_a_new_lake_and_says_what_is_not_registered(tmp_path: Path) -> None:
    from refrig_assets.contracts.registry import DEVICE_REGISTRY
    from refrig_assets.lake import Lake

    lake, file = tmp_path / "lake", tmp_path / "devices.csv"

    def devices(*options: str) -> dict[str, str]:
        return doctor("--lake", lake, "--registry", file, *options)[1]["devices"]

    found = devices("--create")
    assert found["level"] == "warn"
    assert "no device is registered" in found["found"]
    assert "devices.csv is not there" in found["found"]
    file.write_text("device_id,site_id,cohort_id\na,s1\n")
    assert devices("--create")["level"] == "warn"
    file.write_text("device_id,site_id,cohort_id\na,s1,c1\n")
    assert "refrig doctor --create" in devices()["remedy"]
    assert devices("--create") == {"name": "devices", "level": "ok", "found": f"1 devices, as in {file}", "remedy": ""}
    assert Lake(str(lake)).table(DEVICE_REGISTRY).read()["device_id"].to_list() == ["a"]
    file.write_text("device_id,site_id,cohort_id\na,s1,c1\nb,s1,c1\n")
    assert "job registry" in devices("--create")["remedy"]


def test_doctor_on_a_lake_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    code, found = doctor("--lake", tmp_path / "file" / "lake")
    assert code == 1
    assert found["lake"]["level"] == "error"
    assert "file is a file" in found["lake"]["found"]
    assert "REFRIG_LAKE" in found["lake"]["remedy"]
    shown = run("doctor", "--lake", tmp_path / "file" / "lake")
    assert "✗ lake" in shown.stdout
    result = run("doctor", "--lake", tmp_path / "file" / "lake", "--create")
    assert "is not writable" in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize("uri", ["nosuchstore://bucket/lake", "s3://bucket/lake"])
def test_doctor_on_a_store_that_is_not_reachable(uri: str) -> None:
    options = {"aws_endpoint_url": "http://127.0.0.1:9", "aws_access_key_id": "x", "aws_secret_access_key": "y",
               "aws_region": "us-east-1", "aws_allow_http": "true", "max_retries": "0"}  # fmt: skip
    code, found = doctor("--lake", uri, REFRIG_STORAGE_OPTIONS=json.dumps(options))
    assert code == 1
    assert "cannot be reached" in found["lake"]["found"]
    assert "REFRIG_STORAGE_OPTIONS" in found["lake"]["remedy"]


def test_doctor_sees_a_taken_port_and_a_home_without_settings(tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        _, found = doctor("--lake", tmp_path, "--port", port, DAGSTER_HOME=str(tmp_path))
    assert found["port"]["level"] == "warn"
    assert "has no dagster.yaml" in found["dagster home"]["found"]


def test_doctor_names_what_a_home_of_an_earlier_version_lacks(tmp_path: Path) -> None:
    settings = tmp_path / "dagster.yaml"
    settings.write_text("telemetry: {enabled: false}\nconcurrency: {pools: {default_limit: 1}}\n")
    found = doctor("--lake", tmp_path, DAGSTER_HOME=str(tmp_path))[1]["dagster home"]
    assert found["level"] == "warn"
    assert "lacks run_monitoring" in found["found"]
    assert "run_retries" in found["found"]
    assert "pools of one" not in found["found"]
    settings.write_text(Path("dagster.yaml").read_text())
    assert doctor("--lake", tmp_path, DAGSTER_HOME=str(tmp_path))[1]["dagster home"]["level"] == "ok"
    settings.write_text("telemetry: {")
    assert "lacks sense" in doctor("--lake", tmp_path, DAGSTER_HOME=str(tmp_path))[1]["dagster home"]["found"]


def test_doctor_looks_at_the_model_registry(tmp_path: Path) -> None:
    lake, models = tmp_path / "lake", tmp_path / "models"
    _, found = doctor("--lake", lake, "--models", models)
    assert found["models"]["level"] == "ok"
    assert "none yet at" in found["models"]["found"]
    assert not models.exists()
    registry = registry_at(models, 0)
    _, found = doctor("--lake", lake, "--models", models)
    assert found["models"]["found"] == f"{registry.uri} is readable and writable; 1 models released"
    registry.routes_file.write_text("[[route]]\nmodel = 'oracle'\nversion = 1\ncohort = 'a'")
    code, found = doctor("--lake", lake, "--models", models)
    assert code == 1
    assert "there is no model 'oracle'" in found["models"]["found"]
    (models / "mlflow.db").write_text("not a database at all, though it has some length")
    assert "does not answer as it should" in doctor("--lake", lake, "--models", models)[1]["models"]["found"]
    (tmp_path / "file").write_text("in the way")
    _, found = doctor("--lake", lake, "--models", tmp_path / "file" / "models")
    assert found["models"]["level"] == "error"
    assert "file is a file" in found["models"]["found"]


def test_doctor_on_a_registry_that_can_only_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = registry_at(tmp_path / "models", 0)
    monkeypatch.setattr(os, "access", lambda path, _mode: not str(path).endswith("mlflow.db"))
    found = model_registry(registry)
    assert found.level == "warn"
    assert "scoring goes on" in found.found


def test_doctor_says_which_torch_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, found = doctor("--lake", tmp_path / "lake")
    assert re.match(r"torch \d+\.\d+", found["torch"]["found"])
    monkeypatch.setitem(sys.modules, "torch", None)
    assert torch_version().level == "warn"
    assert "all else works" in torch_version().found


def test_a_build_of_a_version_is_that_version(tmp_path: Path) -> None:
    constraints = tmp_path / "constraints.txt"
    constraints.write_text(f"polars=={metadata.version('polars')}+cpu\n")
    assert package_versions(constraints).level == "ok"
    constraints.write_text("polars==0.0.1\n")
    assert package_versions(constraints).level == "warn"


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    code = "from refrig_assets.cli import main; main()"
    command = [sys.executable, "-c", code, "status", "--lake", str(tmp_path / "none")]
    plain, full = (
        subprocess.run([*command, *more], cwd=ROOT, capture_output=True, text=True) for more in ([], ["--debug"])
    )
    assert "Traceback" not in plain.stderr
    assert "Traceback" in full.stderr
    assert plain.returncode == full.returncode == 1
