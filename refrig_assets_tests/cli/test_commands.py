"""`refrig` itself, `simulate`, `status` and `doctor`: what they print, how they end, what they leave."""

import json
import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from refrig_assets.cli import COMMANDS, main
from refrig_assets.lake import Lake
from refrig_assets.pipeline.landing import land_hour
from refrig_assets_tests.builders import HOUR, NOW, land_file, minutes_of

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


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    code = "from refrig_assets.cli import main; main()"
    command = [sys.executable, "-c", code, "status", "--lake", str(tmp_path / "none")]
    plain, full = (
        subprocess.run([*command, *more], cwd=ROOT, capture_output=True, text=True) for more in ([], ["--debug"])
    )
    assert "Traceback" not in plain.stderr
    assert "Traceback" in full.stderr
    assert plain.returncode == full.returncode == 1
