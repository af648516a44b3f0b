"""A small fleet's messages, a spool, a stream in processes of its own, and what it left behind. Asserts nothing."""

import json
import os
import pickle
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from refrig_assets.contracts import DEAD_LETTER, DEVICE_ALERTS, DEVICE_REGISTRY, RAW_READINGS
from refrig_assets.lake import Lake
from refrig_assets_tests.builders import registry_of
from streaming.settings import StreamSettings

START = datetime(2026, 3, 2, 8, tzinfo=UTC)
ROOT = Path(__file__).parents[2]
PARTITIONS = 3
HEALTHY = {
    "temperature_evaporator": -25.0,
    "pressure_low_side": 200.0,
    "current_compressor": 12.0,
    "vibration_compressor": 3.0,
    "defrost_cycle": False,
    "humidity": 45.0,
}


def devices(count: int) -> list[str]:
    return [f"dev-{n:03d}" for n in range(count)]


def minute_of(names: Sequence[str], minute: int, seed: int = 0) -> list[list[bytes]]:
    """One minute's lines by partition: wide and narrow messages, what cannot be read, duplicates, acute faults."""
    lines: list[list[bytes]] = [[] for _ in range(PARTITIONS)]
    for number, name in enumerate(names):
        rng = random.Random(f"{seed} {name} {minute}")
        moment = START + timedelta(minutes=minute, seconds=number % 50, milliseconds=rng.randrange(1000))
        values = {k: v if isinstance(v, bool) else round(v + rng.gauss(0, 0.2), 2) for k, v in HEALTHY.items()}
        values |= _fault(number, minute)
        part = lines[number % PARTITIONS]
        if number % 7 == 3:  # an old device
            part += [_narrow(name, moment, sensor, value) for sensor, value in values.items()]
        else:
            part.append(_wide(name, moment, values, f"{name}-{minute}"))
        if rng.random() < 0.03:
            part.append(part[-1])
        if rng.random() < 0.02:
            part.append(rng.choice([b"{broken", b"\xff\xfe", b"[]", b'{"device_id":"x"}', b'"text"']))
    return lines


def _fault(number: int, minute: int) -> dict[str, float]:
    """Four devices fail, each by another rule, at minutes of its own; two of them again later."""
    if number == 1 and minute >= 30:
        return {"current_compressor": 46.0}
    if number == 2 and 80 <= minute < 85:
        return {"vibration_compressor": 30.0}
    if number == 3 and minute >= 40:
        return {"pressure_low_side": 200.0 * 0.9 ** (minute - 39)} if minute < 50 else {"pressure_low_side": 70.0}
    if number == 4 and minute >= 50:
        return {"temperature_evaporator": min(20.0, -25.0 + 3.0 * (minute - 49))}
    return {}


def _wide(name: str, moment: datetime, values: dict[str, Any], event: str) -> bytes:
    return json.dumps(
        {
            "event_id": event,
            "device_id": name,
            "timestamp": moment.isoformat(),
            "timestamp_ingested": (moment + timedelta(seconds=2)).isoformat(),
            "readings": values,
        }
    ).encode()


def _narrow(name: str, moment: datetime, sensor: str, value: Any) -> bytes:
    return json.dumps(
        {
            "device_id": name,
            "timestamp": moment.isoformat(),
            "timestamp_ingested": (moment + timedelta(seconds=2)).isoformat(),
            "sensor_type": sensor,
            "value": value,
        }
    ).encode()


@dataclass
class Spool:
    """A gateway that appends."""

    path: Path

    def append(self, lines: Sequence[Sequence[bytes]], segment: int = 1) -> None:
        for number, part in enumerate(lines):
            file = self.path / f"p{number}" / f"{segment:08d}.ndjson"
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("ab") as out:
                out.write(b"".join(line + b"\n" for line in part))

    def messages(self) -> int:
        return sum(f.read_bytes().count(b"\n") for f in self.path.rglob("*.ndjson"))


def stocked(path: Path, names: Sequence[str]) -> Lake:
    lake = Lake(str(path)).create()
    lake.table(DEVICE_REGISTRY).replace_all(registry_of(names))
    return lake


def settings(lake: Lake, spool: Path, **changes: Any) -> StreamSettings:
    quick = StreamSettings(
        lake.uri, f"spool:{spool}", commit_every_s=0.4, poll_every_s=0.02, hold_s=0.2, shards=3, slots=4
    )
    return replace(quick, **changes)


def start(chosen: StreamSettings) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "refrig_assets_tests.streaming.run_stream", chosen.to_json()]
    log = (Path(chosen.home).parent.parent / "stream.log").open("ab")
    return subprocess.Popen(command, cwd=ROOT, stderr=log, start_new_session=True)


def run_to_end(chosen: StreamSettings, timeout: float = 120) -> int:
    process = start(replace(chosen, until_eof=True))
    return process.wait(timeout)


@contextmanager
def running(chosen: StreamSettings) -> Iterator["subprocess.Popen[bytes]"]:
    process = start(chosen)
    try:
        yield process
    finally:
        for one in [*children(process.pid), process.pid]:
            kill(one)
        process.wait()


def children(pid: int) -> list[int]:
    """The processes it has started."""
    try:
        return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def wait_until(condition: Any, what: str, timeout: float = 60) -> None:
    """Poll for something; how long it takes is no matter of these tests."""
    until = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > until:
            raise AssertionError(f"not within {timeout:.0f} s: {what}")
        time.sleep(0.02)


@dataclass(frozen=True)
class Left:
    """What a stream leaves: rows, dead letters, alerts, and what the rules remember."""

    raw: pl.DataFrame
    dead: pl.DataFrame
    changes: pl.DataFrame
    state: dict[str, Any]


def left_by(lake: Lake, chosen: StreamSettings) -> Left:
    changes = lake.table(DEVICE_ALERTS).read()
    moments = [c for c in ("changed_at", "alert_created_at", "sla_deadline") if c in changes.columns]
    dead = lake.table(DEAD_LETTER).read().drop("timestamp_ingested")
    return Left(
        lake.table(RAW_READINGS).read().sort(pl.all()),
        dead.sort("source_partition", "source_offset", "reason"),
        changes.drop(moments).sort("change_id"),
        judged_state(chosen.recovery_dir),
    )


def judged_state(store: Path) -> dict[str, Any]:
    """The newest kept state of each shard's judge."""
    found: dict[str, tuple[int, Any]] = {}
    for file in store.glob("*.sqlite3"):
        with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as database:
            rows = database.execute("SELECT step_id, state_key, snap_epoch, ser_change FROM snaps").fetchall()
        for step, key, epoch, packed in rows:
            if step.endswith("judge") and packed is not None and epoch >= found.get(key, (-1, None))[0]:
                found[key] = (epoch, pickle.loads(packed))
    return {key: state for key, (_, state) in found.items()}


def same_state(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Where two kept states differ; nothing where they are the same to the bit."""
    differing = sorted(one.keys() ^ other.keys())
    for key in one.keys() & other.keys():
        for name, value in one[key].items():
            if not np.array_equal(np.asarray(value), np.asarray(other[key][name]), equal_nan=_floats(value)):
                differing.append(f"{key}.{name}")
    return differing


def _floats(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"
