"""The Kafka transport against a real broker, and, for what that one does not do, librdkafka's own broker."""

import json
import logging
import time
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from confluent_kafka import Producer

from refrig_assets_tests.streaming.broker import Broker
from streaming.transports.base import Block, Reader
from streaming.transports.opening import open_transport

BIG = 1 << 26
PATIENCE_S = 60.0


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


def read(reader: Reader, messages: int, max_bytes: int = BIG) -> list[Block]:
    """Blocks until so many messages came."""
    blocks: list[Block] = []

    def enough() -> bool:
        block = reader.poll(max_bytes)
        if block is not None:
            blocks.append(block)
        return sum(_count(b) for b in blocks) >= messages

    until(enough)
    return blocks


def _count(block: Block) -> int:
    assert block.offsets is not None
    assert block.lines.count(b"\n") == len(block.offsets)
    return len(block.offsets) + len(block.wrong)


def polled_to_end(reader: Reader) -> list[Block]:
    blocks: list[Block] = []

    def ended() -> bool:
        block = reader.poll(BIG)
        if block is not None:
            blocks.append(block)
        return block is None and reader.at_end()

    until(ended)
    return blocks


def lines(blocks: list[Block]) -> list[bytes]:
    return b"".join(b.lines for b in blocks).splitlines()


def offsets(blocks: list[Block]) -> list[int]:
    return [int(o) for b in blocks if b.offsets is not None for o in b.offsets]


def numbers(first: int, last: int) -> list[bytes]:
    return [b'{"n":%d}' % n for n in range(first, last)]


@pytest.fixture
def topic(kafka_broker: Broker) -> str:
    kafka_broker.create("readings", 3)
    return "readings"


def test_partitions_of_several_topics_are_listed_and_new_ones_found(kafka_broker: Broker, topic: str) -> None:
    transport = open_transport(kafka_broker.uri(topic, "more-readings"), {})
    assert transport.partitions() == ["readings-0", "readings-1", "readings-2"]
    kafka_broker.create("more-readings", 1)
    until(lambda: transport.partitions() == ["more-readings-0", "readings-0", "readings-1", "readings-2"])
    kafka_broker.delete("more-readings")
    until(lambda: transport.partitions() == ["readings-0", "readings-1", "readings-2"])


def test_messages_come_in_order_with_their_offsets_and_go_on_from_any(kafka_broker: Broker, topic: str) -> None:
    kafka_broker.produce(topic, numbers(0, 5000), 1)
    transport = open_transport(kafka_broker.uri(topic), {})
    reader = transport.open("readings-1", 0)
    blocks = read(reader, 5000, max_bytes=2000)
    assert len(blocks) > 10
    assert lines(blocks) == numbers(0, 5000)
    assert offsets(blocks) == list(range(5000))
    assert all(b.end == a.start for b, a in pairwise(blocks))
    assert (blocks[0].partition, blocks[0].start, blocks[-1].end) == ("readings-1", 0, 5000)
    reader.close()
    resumed = transport.open("readings-1", 4990)
    assert lines(read(resumed, 10)) == numbers(4990, 5000)
    kafka_broker.produce(topic, numbers(5000, 5003), 1)
    assert lines(read(resumed, 3)) == numbers(5000, 5003)
    resumed.close()


def test_lag_and_end_follow_what_the_broker_tells(kafka_broker: Broker, topic: str) -> None:
    kafka_broker.produce(topic, numbers(0, 3000), 0)
    transport = open_transport(kafka_broker.uri(topic), {})
    reader, empty = transport.open("readings-0", 0), transport.open("readings-2", 0)
    assert not reader.at_end()
    assert lines(polled_to_end(reader)) == numbers(0, 3000)
    assert reader.lag() == 0
    kafka_broker.produce(topic, numbers(3000, 4000), 0)
    assert reader.at_end()
    reader.close()
    again = transport.open("readings-0", 1000)
    first = read(again, 1, max_bytes=1)
    until(lambda: again.lag() == 4000 - first[-1].end)
    again.close()
    assert polled_to_end(empty) == []
    assert empty.lag() == 0
    empty.close()


def test_values_become_lines_and_what_cannot_is_kept_as_it_came(kafka_broker: Broker, topic: str) -> None:
    pretty = json.dumps({"device_id": "a", "n": [1, 2]}, indent=1).encode()
    two = b'{"n":1}\n{"n":2}'
    values: list[bytes | None] = [b'{"n":0}', pretty, None, b'{"n":3}\r\n', two, b"\xff\xfe", b"", b'{"n":7}']
    kafka_broker.produce(topic, values, 0)
    reader = open_transport(kafka_broker.uri(topic), {}).open("readings-0", 0)
    blocks = read(reader, len(values))
    reader.close()
    assert lines(blocks) == [b'{"n":0}', pretty.replace(b"\n", b" "), b"", b'{"n":3}', b"\xff\xfe", b"", b'{"n":7}']
    assert offsets(blocks) == [0, 1, 2, 3, 5, 6, 7]
    (dead,) = [d for b in blocks for d in b.wrong]
    assert (dead.offset, dead.payload) == (4, two)


def test_a_broker_that_goes_and_comes_back_is_waited_for_and_nothing_is_lost(
    kafka_broker: Broker, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    kafka_broker.produce(topic, numbers(0, 1000), 0)
    transport = open_transport(kafka_broker.uri(topic), {})
    known = transport.partitions()
    reader = transport.open("readings-0", 0)
    got = read(reader, 1000)
    kafka_broker.stop()
    until(lambda: reader.poll(BIG) is None and "no broker can be reached" in caplog.text)
    assert transport.partitions() == known == ["readings-0", "readings-1", "readings-2"]
    assert (reader.poll(BIG), reader.lag()) == (None, 0)
    kafka_broker.start()
    kafka_broker.produce(topic, numbers(1000, 2000), 0)
    got += read(reader, 1000)
    reader.close()
    assert lines(got) == numbers(0, 2000)
    assert offsets(got) == list(range(2000))
    assert caplog.text.count("no broker can be reached") == 1
    assert caplog.text.count("answers again") == 1


def test_a_broker_that_is_not_there_at_first_is_waited_for(
    kafka_broker: Broker, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    kafka_broker.produce(topic, numbers(0, 10), 0)
    kafka_broker.stop()
    transport = open_transport(kafka_broker.uri(topic), {})
    reader = transport.open("readings-0", 0)
    assert (reader.poll(BIG), reader.lag(), reader.at_end()) == (None, 0, False)
    kafka_broker.start()
    assert lines(read(reader, 10)) == numbers(0, 10)
    assert transport.partitions() == ["readings-0", "readings-1", "readings-2"]
    reader.close()


def test_a_broker_that_comes_back_empty_goes_on_at_the_offset(kafka_broker: Broker, topic: str) -> None:
    kafka_broker.produce(topic, numbers(0, 100), 0)
    transport = open_transport(kafka_broker.uri(topic), {})
    reader = transport.open("readings-0", 0)
    assert len(lines(read(reader, 100))) == 100
    kafka_broker.lose_all()
    kafka_broker.create(topic, 3)
    kafka_broker.produce(topic, numbers(0, 150), 0)
    assert lines(read(reader, 50)) == numbers(100, 150)
    reader.close()


def test_a_topic_that_is_not_there_is_told_and_waited_for(
    kafka_broker: Broker, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    transport = open_transport(kafka_broker.uri("nothing"), {})
    assert transport.partitions() == []
    assert caplog.text.count("topic nothing cannot be read") == 1
    kafka_broker.create("nothing", 1)
    until(lambda: transport.partitions() == ["nothing-0"])


@pytest.fixture
def forgetful() -> tuple[Producer, str]:
    """librdkafka's own broker, which keeps 5 MB a partition and refuses offsets that are gone."""
    producer = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "ignored", "log_level": 0})
    (broker,) = producer.list_topics(timeout=10).brokers.values()
    return producer, f"kafka://{broker.host}:{broker.port}/big"


def _fill(producer: Producer, count: int, size: int) -> None:
    for n in range(count):
        producer.produce("big", b'{"n":%d,"x":"%s"}' % (n, b"x" * size), partition=0)
        if n % 50 == 49:
            assert producer.flush(30) == 0
    assert producer.flush(30) == 0


def test_the_beginning_is_the_oldest_message_kept(
    forgetful: tuple[Producer, str], caplog: pytest.LogCaptureFixture
) -> None:
    producer, uri = forgetful
    _fill(producer, 1000, 10_000)
    reader = open_transport(uri, {}).open("big-0", 0)
    blocks = polled_to_end(reader)
    assert blocks[0].start > 0
    assert offsets(blocks) == list(range(blocks[0].start, 1000))
    assert f"the oldest message that is kept has offset {blocks[0].start}" in caplog.text
    reader.close()


def test_offsets_deleted_before_they_were_read_are_told_and_reading_goes_on_with_the_earliest(
    forgetful: tuple[Producer, str], caplog: pytest.LogCaptureFixture
) -> None:
    producer, uri = forgetful
    _fill(producer, 1000, 10_000)
    reader = open_transport(uri, {}).open("big-0", 7)
    blocks = polled_to_end(reader)
    earliest = blocks[0].start
    assert offsets(blocks) == list(range(earliest, 1000))
    assert f"offsets 7 to {earliest - 1} were deleted before they were read" in caplog.text
    reader.close()


def test_a_topic_made_anew_is_told(forgetful: tuple[Producer, str], caplog: pytest.LogCaptureFixture) -> None:
    producer, uri = forgetful
    _fill(producer, 10, 10)
    reader = open_transport(uri, {}).open("big-0", 5000)
    until(lambda: reader.poll(BIG) is None and reader.at_end())
    assert "ends at offset 10, but was read up to 5000" in caplog.text
    reader.close()


def test_a_large_partition_is_read_whole(kafka_broker: Broker, topic: str) -> None:
    kafka_broker.produce(topic, numbers(0, 100_000), 2)
    reader = open_transport(kafka_broker.uri(topic), {}).open("readings-2", 0)
    blocks = polled_to_end(reader)
    reader.close()
    assert np.array_equal(np.concatenate([b.offsets for b in blocks if b.offsets is not None]), np.arange(100_000))
    assert lines(blocks)[-1] == b'{"n":99999}'
