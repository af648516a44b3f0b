"""A landing run killed at any moment and started again leaves the tables of one that was never killed."""

import gzip
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

import refrig_assets
from refrig_assets.lake import Lake
from refrig_assets_tests.builders import HOUR, ONE_HOUR, at, everything, iso, land_file, lines, narrow, raw_rows, wide

TABLES = ("raw_sensor_readings", "dead_letter", "landing_log", "hour_accounts")
HOURS = 3
# Small chunks and a commit for each few of them: many moments to be killed at.
WORKER = f"""
import sys
from datetime import datetime, timedelta
from pathlib import Path
from refrig_assets.lake import Lake
from refrig_assets.pipeline import landing, sources
sources.CHUNK_BYTES, sources.CHUNK_ROWS, landing.FLUSH_ROWS = 6000, 10, int(sys.argv[3])
lake, start = Lake(sys.argv[1]), datetime.fromisoformat({HOUR.isoformat()!r})
hours = [start + timedelta(hours=n) for n in range({HOURS})]
for _ in landing.land_batches(lake, Path(sys.argv[2]), hours, start + timedelta(hours=9)):
    pass
"""


def _worker(lake: Path, landing: Path, flush: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", WORKER, str(lake), str(landing), str(flush)]
    return subprocess.Popen(command, cwd=Path(refrig_assets.__file__).parents[1], stderr=subprocess.PIPE)


def _fill(landing: Path) -> None:
    for n in range(HOURS):
        hour = HOUR + n * ONE_HOUR
        clock = {"timestamp": iso(at(5, hour)), "timestamp_ingested": iso(at(6, hour))}
        old = {"timestamp": clock["timestamp"]}
        plain = [wide(f"a{n}-{d}", d, **clock) for d in range(80)]
        plain[::9] = [b"{ broken"] * len(plain[::9])
        plain[4] = wide(f"late{n}", 1, timestamp_ingested=iso(at(-90, hour)))
        joined = [narrow(s, d, f"o{n}-{d}", **old) for d in range(30) for s in ("humidity", "superheat")]
        packed = [wide(f"c{n}-{d}", d, **clock) for d in range(40)]
        land_file(landing, "a.ndjson", plain, hour)
        land_file(landing, "b.ndjson", joined, hour)
        land_file(landing, "c.ndjson.gz", gzip.compress(lines(packed)), hour)
        land_file(landing, "d.ndjson", plain, hour)
        rows = raw_rows([{"event_id": f"p{n}-{m}", "minute": m % 60, "hour": hour} for m in range(60)])
        rows.write_parquet(land_file(landing, "e.parquet", b"", hour))
        text = rows.with_columns(pl.col("event_id") + "csv", pl.col(pl.Datetime).dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
        land_file(landing, "f.csv", text.write_csv().encode() + b"short,\n", hour)
        land_file(landing, "g.parquet", b"PAR1 and nothing else, %d" % n, hour)


def _commits(lake: Path) -> int:
    return sum(1 for t in TABLES for _ in (lake / t / "_delta_log").glob("*.json"))


def _run_and_kill(lake: Path, landing: Path, flush: int, chance: random.Random) -> bool:
    """Kill a run some commits after it began, or a little later; False where it came to its end before."""
    until = _commits(lake) + chance.randint(0, 6)
    worker = _worker(lake, landing, flush)
    while worker.poll() is None and _commits(lake) < until:
        time.sleep(0.001)
    time.sleep(chance.uniform(0, 0.04))
    worker.kill()
    _, told = worker.communicate()
    assert worker.returncode in (-9, 0), told.decode()
    return worker.returncode == -9


# A commit for every few chunks; or hours together, where fewer moments are left.
@pytest.mark.parametrize(("flush", "runs", "least"), [(20, 16, 15), (500, 8, 3)])
def test_killed_again_and_again_nothing_is_lost_or_there_twice(
    tmp_path: Path, empty_lake: Path, flush: int, runs: int, least: int
) -> None:
    landing, calm, killed = tmp_path / "landing", tmp_path / "calm", tmp_path / "killed"
    _fill(landing)
    shutil.copytree(empty_lake, calm)
    shutil.copytree(empty_lake, killed)
    uninterrupted = _worker(calm, landing, flush)
    _, told = uninterrupted.communicate()
    assert uninterrupted.returncode == 0, told.decode()

    chance = random.Random(11)
    kills = sum(_run_and_kill(killed, landing, flush, chance) for _ in range(runs))
    assert kills >= least
    half_way = everything(Lake(str(killed)), "raw_sensor_readings")
    assert half_way["event_id"].is_unique().all()
    last = _worker(killed, landing, flush)
    _, told = last.communicate()
    assert last.returncode == 0, told.decode()

    for table in TABLES:
        without = ["landed_at"] if table == "landing_log" else []
        expected = everything(Lake(str(calm)), table, without)
        assert everything(Lake(str(killed)), table, without).equals(expected), table
    raw = everything(Lake(str(killed)), "raw_sensor_readings")
    log = everything(Lake(str(killed)), "landing_log")
    # a: 80 lines of which 9 are broken; b: 30 pairs; c: 40; d: the bytes of a; e, f: 60 each, f with a bad line; g: bad
    assert raw.height == log["rows_landed"].sum() == HOURS * (71 + 30 + 40 + 60 + 60)
    assert raw["event_id"].is_unique().all()
    letters = everything(Lake(str(killed)), "dead_letter")
    assert letters.height == log["dead_letters"].sum() == HOURS * (9 + 1 + 1)
