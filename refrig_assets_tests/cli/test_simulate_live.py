"""`refrig simulate --live`: what it leaves, how it ends, and which options it refuses."""

import json
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner, Result

from refrig_assets.cli import main
from refrig_assets.cli.simulate_options import Duration
from refrig_assets.contracts import DEVICE_REGISTRY
from refrig_assets.simulator.live import partition_of

AN_HOUR = ("--live", "--devices", "30", "--start", "2026-03-02T06:10", "--for", "60m", "--speed", "max", "--seed", "5")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["simulate", *map(str, arguments)])


def lines_of(spool: Path) -> dict[str, bytes]:
    return {p.name: b"".join(s.read_bytes() for s in sorted(p.iterdir())) for p in sorted(spool.glob("part-*"))}


def test_it_leaves_a_spool_with_registry_and_truth_beside_it(tmp_path: Path) -> None:
    options = (*AN_HOUR, "--partitions", "3", "--acute", "10", "--inject", "power_loss:RF-000004@+8m", "--json")
    result = run(*options, "--out", tmp_path / "a")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    lines = lines_of(tmp_path / "a" / "spool")
    assert found["source"] == f"spool:{tmp_path / 'a' / 'spool'}"
    assert found["messages"] == sum(text.count(b"\n") for text in lines.values()) > 30 * 55
    assert found["bytes"] == sum(map(len, lines.values()))
    assert list(lines) == ["part-000", "part-001", "part-002"]
    for name, text in lines.items():
        whole = [json.loads(line) for line in text.splitlines() if line.endswith(b"}") and b"\xff" not in line]
        assert {partition_of(m["device_id"], 3) for m in whole if "device_id" in m} == {int(name[-1])}
    assert DEVICE_REGISTRY.validate(pl.read_parquet(found["registry"])).height == 30
    truth = pl.read_parquet(found["truth"])
    assert truth.filter(device_id="RF-000004")["onset"].to_list() == [datetime.fromisoformat("2026-03-02T06:18Z")]
    assert found["limits_crossed"] == dict(truth.drop_nulls("rule").group_by("rule").len().sort("rule").iter_rows())
    assert len(found["limits_crossed"]) == 4
    again = run(*options, "--out", tmp_path / "b")
    assert again.exit_code == 0
    assert lines_of(tmp_path / "b" / "spool") == lines


def test_run_again_it_appends(tmp_path: Path) -> None:
    for _ in range(2):
        assert run(*AN_HOUR, "--mess", "none", "--spool", tmp_path).exit_code == 0
    for text in lines_of(tmp_path).values():
        half = len(text) // 2
        assert text[:half] == text[half:]
    assert (tmp_path / "truth.parquet").exists()


def test_a_rate_does_not_depend_on_the_fleets_time(tmp_path: Path) -> None:
    result = run("--live", "--devices", "50", "--mess", "none", "--rate", "20000", "--for", "0.5s", "--acute", "60",
                 "--inject", "compressor_seizure@+10m", "--out", tmp_path, "--json")  # fmt: skip
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    messages = b"".join(lines_of(tmp_path / "spool").values()).splitlines()
    assert found["messages"] == len(messages) == 10_000
    assert len({json.loads(m)["event_id"] for m in messages}) == 10_000
    truth = pl.read_parquet(found["truth"])
    seizures = truth.filter(fault="compressor_seizure", rule="vibration_spike")["crossed_at"].sort()
    assert len(seizures) >= 3
    assert timedelta(hours=1) in (seizures - seizures[0]).to_list()


def test_a_signal_ends_it_cleanly(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "refrig_assets.cli", "simulate", "--live", "--devices", "300", "--json", "--out"]
    for number, which in enumerate((signal.SIGINT, signal.SIGTERM)):
        out = tmp_path / str(number)
        with subprocess.Popen([*command, str(out)], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            until = time.monotonic() + 60
            while not list(out.glob("spool/*/*.ndjson")) and time.monotonic() < until:
                time.sleep(0.05)
            process.send_signal(which)
            stdout, stderr = process.communicate(timeout=60)
        assert process.returncode == 0, stderr
        found = json.loads(stdout)
        lines = lines_of(out / "spool")
        assert found["messages"] == sum(text.count(b"\n") for text in lines.values())
        assert all(not text or text.endswith(b"\n") for text in lines.values())
        assert b"fleet time" in stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--speed", "3", "--out", "x"), "--speed needs --live"),
        (("--acute", "3", "--out", "x"), "--acute needs --live"),
        ((), "Missing option '--out'"),
        (("--live", "--hours", "2"), "--hours is not for --live"),
        (("--live", "--spool", "x", "--to", "kafka://h:1/t"), "choose one"),
        (("--live", "--for", "soon"), "'soon' is not a duration like 90s, 10m, 2h or 1d"),
        (("--live", "--speed", "-1"), "'-1' is not a speed like 1, 60 or max"),
        (("--live", "--speed", "nan"), "'nan' is not a speed"),
        (("--live", "--inject", "power_loss"), "is not like power_loss@+5m"),
        (("--live", "--inject", "gremlins@+5m"), "unknown acute fault 'gremlins'"),
        (("--live", "--to", "nowhere:9092"), "is not an address like kafka://localhost:9092/readings"),
        (("--live", "--to", "kafka://h:1/t", "--option", "x"), "'x' is not NAME=VALUE"),
    ],
)  # fmt: skip
def test_wrong_options_are_named(
    arguments: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code != 0
    assert said in result.stderr


def test_durations() -> None:
    read = Duration().convert
    assert read("90s", None, None) == timedelta(seconds=90)
    assert read("1.5h", None, None) == timedelta(minutes=90)
    assert read("2d", None, None) == timedelta(days=2)
