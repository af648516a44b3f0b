"""A million messages that went wrong on their way: each is a row, part of one, or a dead letter; the stream goes on."""

import base64
import json
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from refrig_assets.contracts import DEAD_LETTER, RAW_READINGS
from refrig_assets.lake import Lake
from refrig_assets_tests.streaming.harness import devices, minute_of, run_to_end, settings, stocked
from refrig_assets_tests.streaming.mutants import mutated
from streaming.transports.spool import position_of, segment_of

NAMES = devices(60)
MESSAGES = 1_000_000
PARTITIONS, SEGMENTS = 4, 4
_EACH = MESSAGES // (PARTITIONS * SEGMENTS)
Positions = npt.NDArray[np.int64]


def good_lines() -> list[bytes]:
    """Wide and narrow messages of half an hour."""
    minutes = [minute_of(NAMES, minute) for minute in range(30, 60)]
    return [line for minute in minutes for part in minute for line in part if line.startswith(b'{"')]


def segment(spool: Path, partition: int, number: int) -> Path:
    return spool / f"p{partition}" / f"{number}.ndjson"


def write_segment(spool: Path, good: Sequence[bytes], partition: int, number: int) -> int:
    """A segment of mutated lines; how many are not blank."""
    lines = list(mutated(good, _EACH, seed=partition * SEGMENTS + number))
    path = segment(spool, partition, number)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\n".join(lines) + b"\n")
    return sum(not is_blank(line) for line in lines)


def is_blank(line: bytes) -> bool:
    if len(line) > 50:
        return False
    try:
        return not line.decode().strip().removeprefix("\ufeff")
    except UnicodeDecodeError:
        return False


@pytest.mark.slow
def test_a_million_mutated_messages_are_accounted_for_to_the_message(tmp_path: Path) -> None:
    spool, good = tmp_path / "spool", good_lines()
    places = [(p, s) for p in range(PARTITIONS) for s in range(1, SEGMENTS + 1)]
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        sent = sum(pool.map(write_segment, *zip(*[(spool, good, p, s) for p, s in places], strict=True)))
    lake = stocked(tmp_path / "own" / "lake", NAMES)
    chosen = settings(lake, spool, processes=2, commit_every_s=5.0)
    assert run_to_end(chosen, timeout=600) == 0
    beat = json.loads((chosen.home / "heartbeat.json").read_text())
    assert beat["restarts"] == 0
    assert beat["messages"] == sent == beat["rows"] + beat["joined"] + beat["dead"]
    assert sent > 0.9 * MESSAGES
    assert min(beat["rows"], beat["dead"]) > 0.2 * MESSAGES
    dead = lake.table(DEAD_LETTER).read()
    assert dead.height == beat["dead"]
    assert_positions(lake, dead, spool, beat["rows"])
    for number in range(PARTITIONS):
        assert_payloads(dead.filter(pl.col("source_partition") == f"spool/p{number}"), spool, number)


def assert_positions(lake: Lake, dead: pl.DataFrame, spool: Path, rows: int) -> None:
    """Rows and dead letters stand where lines begin, each at a line of its own."""
    raw = lake.table(RAW_READINGS).scan().select("_sequence_number").collect()["_sequence_number"]
    assert len(raw) == rows
    begins = np.concatenate([line_starts(spool, p, s) for p in range(PARTITIONS) for s in range(1, SEGMENTS + 1)])
    assert np.isin(raw.to_numpy(), begins).all()
    by_partition = dead["source_partition"].str.extract(r"(\d+)$").cast(pl.Int64)
    for number in range(PARTITIONS):
        offsets = dead.filter(by_partition == number)["source_offset"]
        own = np.concatenate([line_starts(spool, number, s) for s in range(1, SEGMENTS + 1)])
        assert offsets.is_unique().all()
        assert np.isin(offsets.to_numpy(), own).all()


def line_starts(spool: Path, partition: int, number: int) -> Positions:
    data = np.frombuffer(segment(spool, partition, number).read_bytes(), np.uint8)
    return position_of(number) + np.append(0, np.flatnonzero(data == ord("\n"))[:-1] + 1)


def assert_payloads(dead: pl.DataFrame, spool: Path, partition: int) -> None:
    """Every dead letter holds the bytes of its line, in base64 where they are no text."""
    content = {s: segment(spool, partition, s).read_bytes() for s in range(1, SEGMENTS + 1)}
    encodings = set()
    for offset, payload, encoding in dead.select("source_offset", "payload", "payload_encoding").iter_rows():
        number, byte = segment_of(offset)
        line = content[number][byte : content[number].index(b"\n", byte)].rstrip(b"\r")
        kept = payload.encode() if encoding == "utf-8" else base64.b64decode(payload)
        assert kept == line
        assert (encoding == "utf-8") == is_text(line)
        encodings.add(encoding)
    assert encodings == {"utf-8", "base64"}


def is_text(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True
