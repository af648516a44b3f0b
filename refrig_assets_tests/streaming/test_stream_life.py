"""A stream's life: it ends in order, is alone on its lake, and goes on whatever was lost, added or taken away."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from refrig_assets.contracts import DEAD_LETTER, DEVICE_ALERTS, DEVICE_REGISTRY, RAW_READINGS
from refrig_assets.lake import Lake
from refrig_assets_tests.builders import registry_of
from refrig_assets_tests.streaming.harness import (
    ROOT,
    Left,
    Spool,
    children,
    devices,
    kill,
    left_by,
    minute_of,
    run_to_end,
    running,
    same_state,
    settings,
    stocked,
    wait_until,
)

NAMES = devices(12)
MINUTES = 60


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


@pytest.fixture
def own_lake(tmp_path: Path) -> Lake:
    return stocked(tmp_path / "own" / "lake", NAMES)


def feed(spool: Spool, first: int, last: int) -> None:
    for minute in range(first, last):
        spool.append(minute_of(NAMES, minute), segment=1 + minute // 20)


def rows(lake: Lake) -> int:
    return sum(f.rows for f in lake.table(RAW_READINGS).files())


def calm(tmp_path: Path, spool: Spool) -> Left:
    lake = stocked(tmp_path / "calm" / "lake", NAMES)
    chosen = settings(lake, spool.path)
    assert run_to_end(chosen) == 0
    return left_by(lake, chosen)


def assert_alike(found: Left, expected: Left, *, state: bool = True) -> None:
    assert found.raw.equals(expected.raw)
    assert found.dead.equals(expected.dead)
    assert found.changes.equals(expected.changes)
    if state:
        assert same_state(found.state, expected.state) == []


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order_and_nothing_is_left_open(
    tmp_path: Path, spool: Spool, own_lake: Lake, sign: signal.Signals
) -> None:
    chosen = settings(own_lake, spool.path, commit_every_s=300.0)
    feed(spool, 0, 40)
    with running(chosen) as stream:
        wait_until(lambda: (chosen.home / "heartbeat.json").exists() and children(stream.pid), "it runs")
        wait_until(lambda: own_lake.table(DEVICE_ALERTS).files(), "it has judged")
        os.kill(stream.pid, sign)
        assert stream.wait(60) == 0
    assert json.loads((chosen.home / "heartbeat.json").read_text())["state"] == "stopped"
    feed(spool, 40, MINUTES)
    assert run_to_end(chosen) == 0
    assert_alike(left_by(own_lake, chosen), calm(tmp_path, spool))


def test_a_second_stream_on_the_lake_is_refused(tmp_path: Path, spool: Spool, own_lake: Lake) -> None:
    feed(spool, 0, 2)
    chosen = settings(own_lake, spool.path)
    with running(chosen) as stream:
        wait_until(lambda: rows(own_lake) > 0, "it lands")
        command = [str(Path(sys.executable).parent / "refrig"), "stream", "--lake", own_lake.uri, "--until-eof"]
        elsewhere = ["--source", chosen.source, "--state-dir", str(tmp_path / "elsewhere")]
        for more in ([], elsewhere):
            second = subprocess.run([*command, *more], cwd=ROOT, capture_output=True, text=True, timeout=60)
            assert second.returncode == 1
            assert f"another stream runs on this lake (process {stream.pid}" in second.stderr
            assert "One lake has one stream" in second.stderr


@pytest.mark.parametrize("harm", ["lost", "cut", "scribbled", "emptied"])
def test_a_recovery_store_that_is_lost_or_broken_is_made_anew_from_the_lake(
    tmp_path: Path, spool: Spool, own_lake: Lake, harm: str
) -> None:
    chosen = settings(own_lake, spool.path)
    feed(spool, 0, 45)
    assert run_to_end(chosen) == 0
    for file in chosen.recovery_dir.glob("*.sqlite3"):
        _harm(file, harm)
    feed(spool, 45, MINUTES)
    assert run_to_end(chosen) == 0
    assert_alike(left_by(own_lake, chosen), calm(tmp_path, spool))


def _harm(file: Path, harm: str) -> None:
    if harm == "lost":
        shutil.rmtree(file.parent, ignore_errors=True)
    elif harm == "emptied":
        file.write_bytes(b"")
    elif harm == "cut":
        file.write_bytes(file.read_bytes()[:5000])
    else:
        content = bytearray(file.read_bytes())
        content[100:9000] = os.urandom(8900)
        file.write_bytes(bytes(content))


def test_alerts_that_were_found_but_not_written_are_written_after_all(
    tmp_path: Path, spool: Spool, own_lake: Lake
) -> None:
    """The recovery store and the alerts of the last minutes are lost together: rows tell what was found in them."""
    feed(spool, 0, MINUTES)
    chosen = settings(own_lake, spool.path)
    assert run_to_end(chosen) == 0
    shutil.rmtree(chosen.recovery_dir)
    shutil.rmtree(own_lake.table(DEVICE_ALERTS).uri)
    own_lake.create()
    assert run_to_end(chosen) == 0
    late = pl.col("first_detected_at") >= left_by(own_lake, chosen).raw["timestamp_ingested"].max() - pl.duration(
        minutes=55
    )
    expected = calm(tmp_path, spool).changes.filter(late)
    assert expected.height > 0
    assert left_by(own_lake, chosen).changes.filter(late).equals(expected)


def test_processes_and_workers_may_change_between_starts(tmp_path: Path, spool: Spool, own_lake: Lake) -> None:
    for number, shape in enumerate(({"processes": 1}, {"processes": 2}, {"workers": 2}, {"processes": 1})):
        feed(spool, number * 15, (number + 1) * 15)
        assert run_to_end(settings(own_lake, spool.path, **shape)) == 0
    assert_alike(left_by(own_lake, settings(own_lake, spool.path)), calm(tmp_path, spool))


def test_partitions_come_and_go(tmp_path: Path, spool: Spool, own_lake: Lake) -> None:
    chosen = settings(own_lake, spool.path)
    feed(spool, 0, 5)
    moved = tmp_path / "moved"
    with running(chosen):
        wait_until(lambda: rows(own_lake) > 40, "the first partitions land")
        (spool.path / "p2").rename(moved)
        more = Spool(tmp_path / "more")
        more.append(minute_of(["dev-new"], 7))
        shutil.move(more.path / "p0", spool.path / "late-7")
        wait_until(lambda: _has(own_lake, "dev-new"), "the new partition lands")
    assert run_to_end(chosen) == 0  # with one gone of which it remembers the position
    moved.rename(spool.path / "p2")
    feed(spool, 5, 8)
    assert run_to_end(chosen) == 0
    assert_alike(left_by(own_lake, chosen), calm(tmp_path, spool), state=False)


def _has(lake: Lake, device: str) -> bool:
    return bool(lake.table(RAW_READINGS).read().filter(pl.col("device_id") == device).height)


def test_while_the_lake_cannot_be_written_it_waits_says_so_and_goes_on(
    tmp_path: Path, spool: Spool, own_lake: Lake
) -> None:
    chosen = settings(own_lake, spool.path)
    log = Path(own_lake.table(RAW_READINGS).uri) / "_delta_log"
    hidden = log.with_name("hidden")
    with running(chosen) as stream:
        feed(spool, 0, 3)
        wait_until(lambda: rows(own_lake) > 20, "it lands")
        before = rows(own_lake)
        log.rename(hidden)
        feed(spool, 3, 30)
        wait_until(lambda: _beat(chosen.home).get("state") == "waiting_for_lake", "it says that it waits")
        assert _beat(chosen.home)["why"]
        assert children(stream.pid)
        hidden.rename(log)
        wait_until(lambda: rows(own_lake) > before, "it goes on")
        wait_until(lambda: _beat(chosen.home).get("state") == "running", "it says that it goes on")
        os.kill(stream.pid, signal.SIGTERM)
        assert stream.wait(60) == 0
    assert run_to_end(chosen) == 0
    assert_alike(left_by(own_lake, chosen), calm(tmp_path, spool))


def _beat(home: Path) -> dict[str, Any]:
    try:
        told: dict[str, Any] = json.loads((home / "heartbeat.json").read_text())
    except FileNotFoundError:
        return {}
    return told


def test_thresholds_that_change_count_without_a_restart(spool: Spool, own_lake: Lake) -> None:
    chosen = settings(own_lake, spool.path, registry_every_s=0.1)
    with running(chosen):
        feed(spool, 0, 3)
        wait_until(lambda: rows(own_lake) > 20, "it lands")
        assert not own_lake.table(DEVICE_ALERTS).files()
        own_lake.table(DEVICE_REGISTRY).replace_all(registry_of(NAMES, current_threshold_a=5.0))
        time.sleep(0.3)
        feed(spool, 3, 5)
        wait_until(lambda: own_lake.table(DEVICE_ALERTS).files(), "the new limit counts")
    said = own_lake.table(DEVICE_ALERTS).read()
    assert set(said["rule"].drop_nulls()) == {"compressor_overload"}


def test_every_message_is_landed_joined_or_a_dead_letter(spool: Spool, own_lake: Lake) -> None:
    feed(spool, 0, 30)
    chosen = settings(own_lake, spool.path)
    assert run_to_end(chosen) == 0
    beat = _beat(chosen.home)
    assert beat["messages"] == spool.messages() == beat["rows"] + beat["joined"] + beat["dead"]
    assert rows(own_lake) == beat["rows"]
    assert sum(f.rows for f in own_lake.table(DEAD_LETTER).files()) == beat["dead"] > 0


def test_without_its_supervisor_a_worker_ends_in_order(spool: Spool, own_lake: Lake) -> None:
    feed(spool, 0, 3)
    chosen = settings(own_lake, spool.path, commit_every_s=300.0)
    with running(chosen) as stream:
        wait_until(lambda: children(stream.pid), "the worker is there")
        worker = children(stream.pid)[0]
        time.sleep(2.5)
        kill(stream.pid)
        stream.wait()
        wait_until(lambda: not Path(f"/proc/{worker}").exists() or _is_zombie(worker), "the worker has ended")
    assert run_to_end(chosen) == 0
    assert rows(own_lake) > 20


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
