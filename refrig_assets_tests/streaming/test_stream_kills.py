"""kill -9 at any moment: nothing lost, nothing twice, the rules remember as if they had never been killed."""

import random
import shutil
import time
from pathlib import Path

import pytest

from refrig_assets_tests.streaming.harness import (
    PARTITIONS,
    Left,
    Spool,
    children,
    devices,
    kill,
    left_by,
    minute_of,
    run_to_end,
    same_state,
    settings,
    start,
    stocked,
    wait_until,
)

KILLS = 30
MINUTES = 90
NAMES = devices(24)


def _undisturbed(tmp_path: Path, spool: Path) -> Left:
    lake = stocked(tmp_path / "calm" / "lake", NAMES)
    calm = settings(lake, spool)
    assert run_to_end(calm) == 0
    return left_by(lake, calm)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_killed_at_random_moments_the_tables_are_those_of_an_undisturbed_run(tmp_path: Path, processes: int) -> None:
    spool = Spool(tmp_path / "spool")
    lake = stocked(tmp_path / "killed" / "lake", NAMES)
    chosen = settings(lake, spool.path, processes=processes)
    rng = random.Random(processes)
    stream = start(chosen)
    minutes = iter(range(MINUTES))
    for _ in range(KILLS):
        for minute in (next(minutes), next(minutes)):
            spool.append(minute_of(NAMES, minute), segment=1 + minute // 20)
        wait_until(lambda pid=stream.pid: len(children(pid)) == processes, "the workers are there")
        time.sleep(rng.random() * 2.5)  # from before the first read to after some commits
        workers = children(stream.pid)
        if rng.random() < 0.6 and workers:
            kill(rng.choice(workers))  # the supervisor starts all again
        else:
            for one in [stream.pid, *workers]:
                kill(one)
            stream.wait()
            stream = start(chosen)
    for one in [stream.pid, *children(stream.pid)]:
        kill(one)
    stream.wait()
    for minute in minutes:
        spool.append(minute_of(NAMES, minute), segment=1 + minute // 20)
    wait_until(lambda: run_to_end(chosen) == 0, "the last start reads to the end")
    found, calm = left_by(lake, chosen), _undisturbed(tmp_path, spool.path)
    assert calm.raw["device_id"].n_unique() == len(NAMES)
    assert sorted(set(calm.changes["rule"].drop_nulls())) == [
        "acute_pressure_loss",
        "compressor_overload",
        "total_cooling_loss",
        "vibration_spike",
    ]
    assert found.raw.height == calm.raw.height
    assert found.raw.equals(calm.raw)
    assert found.dead.equals(calm.dead)
    assert found.changes.equals(calm.changes)
    assert same_state(found.state, calm.state) == []
    assert len(list(spool.path.iterdir())) == PARTITIONS
    shutil.rmtree(tmp_path)
