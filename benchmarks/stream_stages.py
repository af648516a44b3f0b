"""The measured pieces of the stream benchmark, each run in a process of its own: make the messages, ours, the limit."""

import argparse
import json
import os
import re
import resource
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from benchmarks.measure import own_peak_bytes
from refrig_assets.contracts import DEAD_LETTER, DEVICE_ALERTS, DEVICE_REGISTRY, RAW_READINGS
from refrig_assets.contracts.sensors import SENSORS
from refrig_assets.lake import Lake
from refrig_assets.lake.files import COMPRESSION_LEVEL, ROW_GROUP_ROWS

START = datetime(2026, 11, 20, 10, tzinfo=UTC)
SEED = 20
PARTITIONS = 8
PLAIN_FILES = 2
ACUTE_AN_HOUR = 120.0
"""faults made to cross the rules' limits, beside the fleet's usual ones"""
BLOCK_BYTES, FILE_ROWS = 16 << 20, 600_000
"""as the stream's own settings have it"""
_BEGINS = re.compile(r'"at": "([^"]+)".*"message": "partition \S+ is read from ')
_WIRE = {
    **dict.fromkeys(("event_id", "device_id", "timestamp", "timestamp_ingested"), pl.String()),
    "readings": pl.Struct({s.name: pl.Boolean() if s.is_bool else pl.Float64() for s in SENSORS}),
}


def make(folder: str, devices: str, minutes: str) -> dict[str, Any]:
    """A spool of a fleet's messages in order of arrival, with the usual faults and mess, and its registry.

    Wide messages alone, so that a message is a row. For those we are compared with, the same lines in `plain`, less the
    few that are no JSON, which Polars alone would stop at; in two files, as Flink's two sources read one each side by
    side and would take what stands in a third for late.
    """
    from refrig_assets.simulator import Mess, make_fleet, plan_faults
    from refrig_assets.simulator.acute import Injector
    from refrig_assets.simulator.live import Feed, partition_name

    end = START + timedelta(minutes=int(minutes))
    fleet = make_fleet(int(devices), SEED, START - timedelta(days=2))
    plan = plan_faults(fleet, fleet.start, START + timedelta(days=1), SEED, kinds="usual")
    injector = Injector(fleet, plan, SEED, START, end, per_hour=ACUTE_AN_HOUR)
    mess = replace(Mess.usual(), narrow_devices=0.0)
    root, made = Path(folder), {"messages": 0, "bytes": 0, "plain_messages": 0, "plain_bytes": 0}
    root.mkdir(parents=True)
    fleet.registry.write_parquet(root / "registry.parquet")
    # A minute at a time, so that what stands side by side in a plain file was sent within a minute.
    for batch in Feed(injector, mess, START, PARTITIONS).batches(int(minutes), step=1):
        made["messages"] += batch.messages
        for lines in batch.lines:
            made["bytes"] += len(lines.data)
            _append(root / "spool" / partition_name(lines.partition) / "1.ndjson", lines.data)
            plain, left_out = _json_lines(lines.data, lines.ends)
            made["plain_messages"] += len(lines.ends) - left_out
            made["plain_bytes"] += len(plain)
            _append(root / "plain" / f"{lines.partition % PLAIN_FILES}.ndjson", plain)
    return made


def _json_lines(data: bytes | bytearray, ends: npt.NDArray[np.int64]) -> tuple[bytes, int]:
    """The lines less those the simulator's mess made no JSON, and how many these are.

    They are cut short, have a bare NaN, or bytes that are no text.
    """
    bad = np.frombuffer(data, np.uint8)[ends - 2] != ord("}")
    at = [found.start() for found in re.finditer(rb":NaN|\xff", data)]
    bad[np.searchsorted(ends, at, side="right")] = True
    begins = np.r_[0, ends[:-1]]
    kept, since = [], 0
    for number in np.flatnonzero(bad).tolist():
        kept.append(bytes(data[since : int(begins[number])]))
        since = int(ends[number])
    return b"".join([*kept, bytes(data[since:])]), int(bad.sum())


def _append(path: Path, data: bytes | bytearray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(data)


def ours(folder: str, lake_uri: str, processes: str) -> dict[str, Any]:
    """NDJSON in a spool to committed rows and alerts, until everything is read.

    `seconds` is from the first worker's first look at its partition to the last commit of any table.
    """
    from streaming.settings import StreamSettings
    from streaming.status import Status
    from streaming.supervise import Supervisor

    lake = Lake(lake_uri).create()
    lake.table(DEVICE_REGISTRY).replace_all(pl.read_parquet(f"{folder}/registry.parquet"))
    settings = StreamSettings(lake_uri, f"{folder}/spool", processes=int(processes), until_eof=True)
    status, log = Status(), Path(f"{lake_uri}.log")
    began, cpu = time.time(), _cpu_s()
    with _stderr_to(log):
        Supervisor(settings, status).run()
    ended = time.time()
    first, last = _first_read(log), _last_commit(lake)
    numbers = status.totals()["numbers"]
    return {
        "seconds": last - first,
        "start_s": first - began,
        "stop_s": ended - last,
        "cpu_s": _cpu_s() - cpu,
        "restarts": status.restarts,
        "bytes_written": sum(f.size for f in lake.table(RAW_READINGS).files()),
        **{name: numbers[name] for name in ("messages", "rows", "dead", "joined", "judged", "commits")},
        "alerts": numbers["alerts"] + numbers["suppressed"],
        "commit_s": status.totals()["commit_seconds"]["total"],
    }


@contextmanager
def _stderr_to(log: Path) -> Iterator[None]:
    """The workers' log into a file: it tells when they began to read. Where they fail, its end is shown."""
    usual = os.dup(2)
    try:
        with log.open("wb") as file:
            os.dup2(file.fileno(), 2)
        yield
    except BaseException:
        os.write(usual, log.read_bytes()[-2000:])
        raise
    finally:
        os.dup2(usual, 2)
        os.close(usual)


def reading_begun(log: Path) -> list[float]:
    """When each partition that is read so far was first looked at."""
    return [datetime.fromisoformat(found).timestamp() for found in _BEGINS.findall(log.read_text())]


def _first_read(log: Path) -> float:
    return min(reading_begun(log))


def _last_commit(lake: Lake) -> float:
    logs = [Path(lake.table(t).uri) / "_delta_log" for t in (RAW_READINGS, DEAD_LETTER, DEVICE_ALERTS)]
    return max(commit.stat().st_mtime for log in logs for commit in log.glob("*.json"))


def _cpu_s() -> float:
    """Of this process and of its children that have ended."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(u.ru_utime + u.ru_stime for u in used)


def limit(folder: str, target: str) -> dict[str, Any]:
    """Polars parses the same lines in blocks and writes the same columns as Parquet: nothing can go below.

    Nothing is set aside, judged, looked up, committed or kept.
    """
    Path(target).mkdir()
    began, cpu = time.perf_counter(), time.process_time()
    paths = sorted((Path(folder) / "plain").glob("*.ndjson"))
    with ThreadPoolExecutor(len(paths)) as pool:  # as many as there are cores: Polars alone would not fill them
        rows = sum(pool.map(lambda path: _convert(path, Path(target) / path.stem), paths))
    return {"seconds": time.perf_counter() - began, "cpu_s": time.process_time() - cpu, "rows": rows}


def _convert(path: Path, target: Path) -> int:
    waiting: list[pl.DataFrame] = []
    rows = files = 0
    for block, at in _blocks(path):
        waiting.append(_rows(pl.read_ndjson(block, schema=_WIRE), at))
        if sum(frame.height for frame in waiting) >= FILE_ROWS:
            rows, files = rows + _write(waiting, f"{target}-{files}.parquet"), files + 1
    return rows + _write(waiting, f"{target}-{files}.parquet") if waiting else rows


def _blocks(path: Path) -> Iterator[tuple[bytes, int]]:
    """Whole lines, and where they begin."""
    with path.open("rb") as file:
        at, rest = 0, b""
        while read := file.read(BLOCK_BYTES):
            cut = read.rfind(b"\n") + 1
            block, rest = rest + read[:cut], read[cut:]
            yield block, at
            at += len(block)


def _rows(messages: pl.DataFrame, at: int) -> pl.DataFrame:
    times = (
        pl.col(wire).str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us", time_zone="UTC", strict=False).alias(name)
        for wire, name in (("timestamp", "timestamp_device"), ("timestamp_ingested", "timestamp_ingested"))
    )
    number = pl.int_range(at, at + pl.len(), dtype=pl.Int64).alias("_sequence_number")
    return (
        messages.with_columns(*times, pl.col("device_id").alias("_partition_key"), number)
        .unnest("readings")
        .select(list(RAW_READINGS.columns))
    )


def _write(frames: list[pl.DataFrame], target: str) -> int:
    rows = pl.concat(frames)
    frames.clear()
    rows.write_parquet(
        target,
        compression="zstd",
        compression_level=COMPRESSION_LEVEL,
        row_group_size=ROW_GROUP_ROWS,
        statistics=True,
    )
    return rows.height


STAGES: dict[str, Callable[..., dict[str, Any]]] = {"make": make, "ours": ours, "limit": limit}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("arguments", nargs="+", help="as the stage's function takes them")
    given = parser.parse_args()
    began = time.perf_counter()
    found = STAGES[given.stage](*given.arguments)
    found["process_s"] = time.perf_counter() - began
    found["peak_bytes"] = own_peak_bytes()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
