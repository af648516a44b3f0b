"""Sends lines to a topic of anything that speaks Kafka's protocol, one message a line. What is in a line is not known.

The topic's partitions stand for the spool's: a device's messages stay in order in one of them.
"""

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

_WAIT_S = 30.0
_FROM_ENVIRONMENT = "env:"


def parse_address(address: str) -> tuple[str, str, dict[str, str]]:
    """Brokers, topic and properties of `kafka://host:9092,other:9092/topic?property=value`."""
    # In queries a plus is a blank, but passwords are written as they are.
    parts = urlsplit(address.replace("+", "%2B"))
    topic = unquote(parts.path.strip("/"))
    if parts.scheme != "kafka" or not parts.netloc or not topic or "/" in topic or "," in topic:
        raise ValueError(f"{address!r} is not an address like kafka://localhost:9092/readings")
    return parts.netloc, topic, dict(parse_qsl(parts.query, keep_blank_values=True))


def _value(name: str, text: str) -> str:
    """`env:NAME` stands for what the environment variable holds: secrets need not be typed."""
    if not text.startswith(_FROM_ENVIRONMENT):
        return text
    found = os.environ.get(text.removeprefix(_FROM_ENVIRONMENT))
    if found is None:
        raise ValueError(f"{name}: the environment variable {text.removeprefix(_FROM_ENVIRONMENT)} is not set")
    return found


class KafkaWriter:
    """`options` are librdkafka's, such as security.protocol, and pass through."""

    def __init__(self, address: str, partitions: int, options: Mapping[str, str] | None = None) -> None:
        from confluent_kafka import Producer

        brokers, self._topic, properties = parse_address(address)
        given = {name: _value(name, text) for name, text in {**properties, **(options or {})}.items()}
        common = {"bootstrap.servers": brokers, **given}
        _ensure_topic(common, self._topic, partitions)
        self._failed: str | None = None
        self._producer: Any = Producer({"linger.ms": "20", "enable.idempotence": "true", **common})

    def write(self, partition: str, lines: bytes | memoryview) -> None:
        number = int(partition.rpartition("-")[2])
        for line in bytes(lines).split(b"\n")[:-1]:
            self._produce(number, line)
        self._producer.poll(0)
        self._check()

    def close(self) -> None:
        """Returns when all is delivered; what the brokers did not take is an error."""
        left = self._producer.flush(_WAIT_S)
        self._check()
        if left:
            raise ValueError(f"{left} messages were not taken by the brokers within {_WAIT_S:.0f} s")

    def _produce(self, number: int, line: bytes) -> None:
        while True:
            try:
                self._producer.produce(self._topic, value=line, partition=number, on_delivery=self._delivered)
                return
            except BufferError:  # the brokers are slower than we are
                self._producer.poll(0.2)
                self._check()

    def _delivered(self, error: Any, _message: Any) -> None:
        if error is not None and self._failed is None:
            self._failed = str(error)

    def _check(self) -> None:
        if self._failed is not None:
            raise ValueError(f"the brokers did not take a message for {self._topic}: {self._failed}")


def _ensure_topic(common: Mapping[str, str], topic: str, partitions: int) -> None:
    """Made where it is missing; Event Hubs and guarded clusters want it made beforehand."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

    admin: Any = AdminClient(dict(common))
    try:
        known = admin.list_topics(timeout=_WAIT_S).topics
        if topic not in known:
            admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(_WAIT_S)
            return
    except KafkaException as error:
        raise ValueError(f"cannot use the brokers at {common['bootstrap.servers']}: {error}") from None
    there = len(known[topic].partitions)
    if there < partitions:
        raise ValueError(f"topic {topic} has {there} partitions; choose --partitions {there} or fewer")
