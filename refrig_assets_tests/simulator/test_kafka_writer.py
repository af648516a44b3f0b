"""Sending to a real broker that speaks Kafka's protocol: partitions, order, and what is refused."""

from collections.abc import Iterator

import pytest

from refrig_assets.simulator.kafka_writer import KafkaWriter
from refrig_assets_tests.streaming.broker import Broker
from streaming.transports.opening import open_transport


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    broker = Broker()
    broker.start()
    yield broker
    broker.end()


def test_lines_arrive_in_their_partition_in_order(broker: Broker) -> None:
    writer = KafkaWriter(broker.uri("readings"), 3)  # makes the topic
    for number in range(200):
        writer.write(f"part-00{number % 2}", b"%d\n%d\n" % (number, number + 1000))
    writer.close()
    transport = open_transport(broker.uri("readings"), {})
    assert transport.partitions() == ["readings-0", "readings-1", "readings-2"]
    reader = transport.open("readings-1", 0)
    lines = b""
    while lines.count(b"\n") < 200:
        block = reader.poll(100_000)
        lines += block.lines if block else b""
    reader.close()
    assert lines.split() == [b"%d" % n for i in range(1, 200, 2) for n in (i, i + 1000)]


def test_too_few_partitions_are_told(broker: Broker) -> None:
    broker.create("small", 1)
    with pytest.raises(ValueError, match="topic small has 1 partitions; choose --partitions 1 or fewer"):
        KafkaWriter(broker.uri("small"), 4)


def test_a_secret_that_is_not_there_is_told() -> None:
    with pytest.raises(ValueError, match=r"sasl.password: the environment variable REFRIG_NO_SUCH is not set"):
        KafkaWriter("kafka://127.0.0.1:9/readings", 1, {"sasl.password": "env:REFRIG_NO_SUCH"})
