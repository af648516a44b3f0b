"""A process that is killed at any moment and started again leaves the tables of one that never was."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from refrig_assets.contracts import CONTRACTS
from refrig_assets.lake import Lake
from refrig_assets.pipeline.upkeep import vacuum_table
from refrig_assets_tests.builders import HOUR, ONE_HOUR
from refrig_assets_tests.pipeline.make_hours import run
from refrig_assets_tests.readings import differences, land, state, stocked, twin, ugly_rows

KILLS = 15
# Out of order, so that refreshing what became stale is among what is interrupted.
HOURS = [HOUR + n * ONE_HOUR for n in (2, 0, 1)]
NOW = HOUR + 3 * ONE_HOUR
_ROOT = Path(__file__).parents[2]


def _start(lake: Lake) -> "subprocess.Popen[str]":
    hours = [h.isoformat() for h in HOURS]
    command = [sys.executable, "-m", "refrig_assets_tests.pipeline.make_hours", lake.uri, NOW.isoformat(), *hours]
    return subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _go(process: "subprocess.Popen[str]") -> None:
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == "ready\n"
    process.stdin.write("go\n")
    process.stdin.flush()


@pytest.mark.slow
def test_killed_and_started_again_the_tables_are_those_of_an_undisturbed_run(lake: Lake) -> None:
    land(stocked(lake), ugly_rows(31, 150, sorted(HOURS)))
    undisturbed = twin(lake)
    begun = time.monotonic()
    run(undisturbed.uri, HOURS, NOW)
    # Only for where to aim: how long a whole run takes here and now.
    whole = time.monotonic() - begun
    rng = random.Random(17)
    kills = 0
    waiting = _start(lake)
    try:
        for number in range(4 * KILLS):
            if kills == KILLS:
                break
            process, waiting = waiting, _start(lake)
            _go(process)
            # From the first milliseconds to near the end, each run further than some and shorter than others.
            time.sleep(whole * 0.9 * (number % 4 + rng.random()) / 4)
            process.kill()
            killed = process.wait() == -9
            kills += killed
            # One that ended by itself leaves the later ones less to do: aim earlier.
            whole *= 1.0 if killed else 0.7
        _go(waiting)
        assert waiting.wait() == 0
    finally:
        waiting.kill()
    assert kills == KILLS
    assert differences(state(undisturbed), state(lake)) == {}
    for contract in CONTRACTS:
        vacuum_table(lake, contract, dry_run=False, retention=NOW - NOW)
    assert differences(state(undisturbed), state(lake)) == {}
    files = {lake.table(c).uri: len(lake.table(c).files()) for c in CONTRACTS}
    for uri, referenced in files.items():
        assert len([p for p in Path(uri).rglob("*.parquet") if "_delta_log" not in p.parts]) == referenced
