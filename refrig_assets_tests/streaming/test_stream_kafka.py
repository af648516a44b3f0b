"""The whole stream from a real broker of the Kafka protocol: it leaves what it leaves when it reads a spool."""

import json
import os
import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from refrig_assets.contracts import RAW_READINGS
from refrig_assets.lake import Lake
from refrig_assets_tests.streaming.broker import Broker
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
    running,
    settings,
    stocked,
    wait_until,
)
from streaming.settings import StreamSettings

NAMES = devices(12)
MINUTES = 60
TOPIC = "readings"
_PLACES = ("source_partition", "source_offset")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return stocked(tmp_path / "own" / "lake", NAMES)


@pytest.fixture
def chosen(tmp_path: Path, lake: Lake, kafka_broker: Broker) -> StreamSettings:
    """A stream of a topic that is there and empty."""
    kafka_broker.create(TOPIC, PARTITIONS)
    return settings(lake, tmp_path, source=kafka_broker.uri(TOPIC))


def produce(broker: Broker, first: int, last: int, topic: str = TOPIC) -> None:
    for minute in range(first, last):
        for partition, lines in enumerate(minute_of(NAMES, minute)):
            broker.produce(topic, lines, partition)


def rows(lake: Lake) -> int:
    return sum(f.rows for f in lake.table(RAW_READINGS).files())


def from_spool(tmp_path: Path, minutes: Sequence[int]) -> Left:
    """What the same messages leave when they come through a spool."""
    spool = Spool(tmp_path / "spool")
    for minute in minutes:
        spool.append(minute_of(NAMES, minute))
    lake = stocked(tmp_path / "calm" / "lake", NAMES)
    calm = settings(lake, spool.path)
    assert run_to_end(calm) == 0
    return left_by(lake, calm)


def assert_alike(found: Left, expected: Left) -> None:
    """But for positions, which are offsets here and bytes there."""
    without = pl.exclude("_sequence_number")
    assert found.raw.select(without).sort(pl.all()).equals(expected.raw.select(without).sort(pl.all()))
    assert dead_letters(found).equals(dead_letters(expected))
    assert found.changes.equals(expected.changes)
    assert found.changes.height > 0


def dead_letters(left: Left) -> pl.DataFrame:
    """In the order of each partition."""
    number = pl.col("source_partition").str.extract(r"(\d+)$").alias("number")
    order = pl.col("source_offset").rank("dense").over("source_partition").alias("order")
    return left.dead.with_columns(number, order).drop(_PLACES).sort("number", "order", "payload")


def beat(chosen: StreamSettings) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((chosen.home / "heartbeat.json").read_text())
    return told


def test_a_topic_leaves_what_a_spool_leaves_and_each_start_goes_on_from_the_offsets(
    tmp_path: Path, kafka_broker: Broker, lake: Lake, chosen: StreamSettings
) -> None:
    sent = 0
    for first, last in ((0, 25), (25, 26), (26, MINUTES)):
        produce(kafka_broker, first, last)
        now = sum(len(part) for minute in range(first, last) for part in minute_of(NAMES, minute))
        assert run_to_end(chosen) == 0
        told = beat(chosen)
        assert told["messages"] == now == told["rows"] + told["joined"] + told["dead"]
        sent += now
        assert sum(p["position"] for p in told["partitions"].values()) == sent
    assert run_to_end(chosen) == 0
    assert beat(chosen)["messages"] == 0
    assert_alike(left_by(lake, chosen), from_spool(tmp_path, range(MINUTES)))


def test_a_signal_ends_it_in_order_and_the_next_start_goes_on(
    tmp_path: Path, kafka_broker: Broker, lake: Lake, chosen: StreamSettings
) -> None:
    produce(kafka_broker, 0, 30)
    with running(chosen) as stream:
        wait_until(lambda: rows(lake) > 100, "it lands")
        os.kill(stream.pid, signal.SIGTERM)
        produce(kafka_broker, 30, MINUTES)
        assert stream.wait(60) == 0
    assert beat(chosen)["state"] == "stopped"
    assert run_to_end(chosen) == 0
    assert_alike(left_by(lake, chosen), from_spool(tmp_path, range(MINUTES)))


def test_a_broker_that_goes_and_comes_back_in_the_middle_costs_nothing(
    tmp_path: Path, kafka_broker: Broker, lake: Lake, chosen: StreamSettings
) -> None:
    expected = from_spool(tmp_path, range(MINUTES))
    log = Path(chosen.home).parents[1] / "stream.log"
    with running(chosen) as stream:
        for first in range(0, MINUTES, 20):
            produce(kafka_broker, first, first + 20)
            before, said = rows(lake), log.read_text().count("no broker can be reached")
            wait_until(lambda before=before: rows(lake) > before, "it lands what came before")
            kafka_broker.stop()
            wait_until(lambda said=said: log.read_text().count("no broker can be reached") > said, "it says so")
            assert stream.poll() is None
            kafka_broker.start()
        wait_until(lambda: rows(lake) == expected.raw.height, "it lands everything")
        os.kill(stream.pid, signal.SIGTERM)
        assert stream.wait(60) == 0
    assert beat(chosen)["restarts"] == 0
    assert_alike(left_by(lake, chosen), expected)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_killed_in_the_middle_each_message_lands_once(
    tmp_path: Path, kafka_broker: Broker, lake: Lake, chosen: StreamSettings, processes: int
) -> None:
    cluster = settings(lake, tmp_path, source=chosen.source, processes=processes)
    rng = random.Random(processes)
    with running(cluster) as stream:
        for first in range(0, 40, 8):
            produce(kafka_broker, first, first + 8)
            wait_until(lambda: len(children(stream.pid)) == processes, "the workers are there")
            time.sleep(0.5 + rng.random() * 2)
            workers = children(stream.pid)
            if workers:  # else they are about to be started again
                kill(rng.choice(workers))
        wait_until(lambda: len(children(stream.pid)) == processes, "the workers are there again")
        for one in [stream.pid, *children(stream.pid)]:
            kill(one)
    produce(kafka_broker, 40, MINUTES)
    wait_until(lambda: run_to_end(cluster) == 0, "the last start reads to the end")
    assert_alike(left_by(lake, cluster), from_spool(tmp_path, range(MINUTES)))


def test_a_topic_that_appears_later_is_picked_up(
    tmp_path: Path, kafka_broker: Broker, lake: Lake, chosen: StreamSettings
) -> None:
    both = settings(lake, tmp_path, source=kafka_broker.uri(TOPIC, "late"))
    produce(kafka_broker, 0, 20)
    with running(both) as stream:
        wait_until(lambda: rows(lake) > 50, "the first topic lands")
        kafka_broker.create("late", PARTITIONS)
        before = rows(lake)
        produce(kafka_broker, 20, 40, "late")
        wait_until(lambda: rows(lake) > before and "late-2" in _followed(both), "the new topic lands")
        os.kill(stream.pid, signal.SIGTERM)
        assert stream.wait(60) == 0
    assert run_to_end(both) == 0
    without = pl.exclude("_sequence_number")
    expected = from_spool(tmp_path, range(40)).raw.select(without).sort(pl.all())
    assert left_by(lake, both).raw.select(without).sort(pl.all()).equals(expected)


def _followed(chosen: StreamSettings) -> set[str]:
    return set(beat(chosen)["partitions"])


@pytest.mark.slow
def test_reading_to_the_end_of_a_broker_that_is_away_is_an_error_and_reads_all_once_it_is_back(
    tmp_path: Path, kafka_broker: Broker, lake: Lake, chosen: StreamSettings
) -> None:
    produce(kafka_broker, 0, MINUTES)
    kafka_broker.stop()
    assert run_to_end(chosen) == 1
    assert rows(lake) == 0
    said = (Path(chosen.home).parents[1] / "stream.log").read_text()
    assert f"StreamFailedError: {chosen.source} cannot be read to its end" in said
    assert "Check that it runs" in said
    kafka_broker.start()
    assert run_to_end(chosen) == 0
    assert_alike(left_by(lake, chosen), from_spool(tmp_path, range(MINUTES)))


@pytest.mark.parametrize("there", [False, True])
def test_a_spool_with_nothing_in_it_is_read_to_its_end_with_a_warning(tmp_path: Path, lake: Lake, there: bool) -> None:
    spool = tmp_path / "spool"
    if there:
        spool.mkdir()
    nothing = settings(lake, spool)
    assert run_to_end(nothing) == 0
    assert beat(nothing)["messages"] == rows(lake) == 0
    assert "there is nothing to read" in (Path(nothing.home).parents[1] / "stream.log").read_text()
