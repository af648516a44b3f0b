"""The Kafka protocol: Kafka, Redpanda, Event Hubs. A partition of a topic is a partition here, `topic-3`; a position is
an offset. Partitions are assigned by hand and nothing is committed to the broker: the lake keeps the positions.

How far a partition reaches is known from the broker's answers to fetches, the only figure that all brokers agree to
give: before the first answer the lag is 0 and nothing is at its end. What is known stays while the broker is away.
"""

import json
import logging
import threading
import time
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from refrig_assets.transforms.wire import Dead
from streaming.transports.base import Block
from streaming.transports.told import Told

_LOG = logging.getLogger(__name__)
_OURS: dict[str, str | int | bool] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "error",  # an offset that is gone is to be told, not passed over
}
_USUAL: dict[str, str | int | bool] = {
    "group.id": "refrig-stream",
    "session.timeout.ms": 6000,
    "reconnect.backoff.max.ms": 2000,
    "queued.max.messages.kbytes": 32768,  # a partition
    "log_level": 2,  # what matters comes as an error, too, and is told once
}
_MOST_MESSAGES = 100_000
_FIRST_ANSWER_S, _ANSWER_S = 5.0, 1.0
_FRESH_S = 1.0
_RETRY_S = 5.0
_GONE = {
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError._UNKNOWN_TOPIC,
}


class KafkaTransport:
    """The partitions of some topics. A wrong property is a ValueError; a broker that is away is waited for."""

    def __init__(self, servers: str, topics: Sequence[str], properties: Mapping[str, str]) -> None:
        taken = sorted(set(properties) & set(_OURS))
        if taken:
            raise ValueError(
                f"{', '.join(taken)}: set by the stream, which keeps the offsets in the lake; leave it out"
            )
        self._topics = list(topics)
        self._told = Told(_LOG, f"kafka {servers}")
        self._conf = {**_USUAL, **properties, **_OURS, "bootstrap.servers": servers, "error_cb": self._on_error}
        self._known: dict[str, list[str]] = {}
        self._ask_at, self._patience = 0.0, _FIRST_ANSWER_S
        self._lock = threading.Lock()
        try:
            self._client = Consumer(self._conf)
        except KafkaException as error:
            raise ValueError(f"kafka {servers}: {error.args[0].str()}; see librdkafka's CONFIGURATION.md") from error

    def partitions(self) -> list[str]:
        """All partitions of the topics; while no broker answers, those known from before. Asked as often as one likes,
        the broker is asked now and then.
        """
        with self._lock:
            if time.monotonic() >= self._ask_at:
                answered = self._ask()
                self._ask_at = time.monotonic() + (_FRESH_S if answered else _RETRY_S)
            return sorted(name for names in self._known.values() for name in names)

    def _ask(self) -> bool:
        patience, self._patience = self._patience, _ANSWER_S
        self._client.poll(0)  # hands over errors
        for topic in self._topics:
            try:
                found = self._client.list_topics(topic, timeout=patience).topics[topic]
            except KafkaException as error:
                self._told.warn("down", f"no answer, waiting: {error.args[0].str()}")
                return False
            self.answered()
            if found.error is None:
                self._known[topic] = [f"{topic}-{number}" for number in sorted(found.partitions)]
                self._told.over(topic, f"topic {topic} is there")
            else:
                self._known.pop(topic, None)
                self._told.warn(topic, f"topic {topic} cannot be read ({found.error.str()}); waiting for it")
        return True

    def open(self, partition: str, position: int) -> "KafkaReader":
        topic, _, number = partition.rpartition("-")
        if topic not in self._topics or not number.isdecimal():
            raise ValueError(f"{partition} is no partition of {', '.join(self._topics)}")
        return KafkaReader(self, Consumer(self._conf), topic, int(number), position)

    def answered(self) -> None:
        self._told.over("down", "answers again")

    def _on_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._told.warn("down", f"no broker can be reached, waiting: {error.str()}")
        else:
            self._told.warn(error.name(), error.str())


class KafkaReader:
    """One partition, through a consumer of its own."""

    def __init__(self, transport: KafkaTransport, consumer: Consumer, topic: str, number: int, position: int) -> None:
        self._transport = transport
        self._consumer = consumer
        self._topic, self._number = topic, number
        self._name = f"{topic}-{number}"
        self._told = Told(_LOG, f"kafka partition {self._name}")
        self._next = position
        self._begun = position > 0
        self._message_bytes = 512.0
        self._asked_end = self._end_seen = self._gone = False
        self._aim: int | None = None
        self._retry_at: float | None = None
        self._assign(position if position else OFFSET_BEGINNING)

    def poll(self, max_bytes: int) -> Block | None:
        if self._retry_at is not None and time.monotonic() >= self._retry_at:
            self._find_offset()
        most = max(1, min(_MOST_MESSAGES, int(max_bytes / self._message_bytes)))
        try:
            found = self._consumer.consume(most, timeout=0)
        except KafkaException as error:
            self._told.warn("consume", f"cannot be read, trying again: {error.args[0].str()}")
            return None
        messages = []
        for message in found:
            event = message.error()
            if event is None:
                messages.append(message)
            else:
                self._on_event(event, message.offset())
        self._note_end()
        return self._block(messages) if messages else None

    def lag(self) -> int:
        """Messages up to the end that the broker told last."""
        low, high = self._known_ends()
        return max(0, high - max(self._next, low))

    def at_end(self) -> bool:
        if not self._asked_end:
            self._asked_end = True
            self._note_end()
        return self._gone or self._end_seen or (self._aim is not None and self._next >= self._aim)

    def close(self) -> None:
        self._consumer.close()

    def _block(self, messages: list[Message]) -> Block:
        first, last = messages[0].offset() or 0, messages[-1].offset() or 0
        if not self._begun and first > 0:
            self._told.warn("begin", f"the oldest message that is kept has offset {first}; begins there")
        self._begun, self._gone, self._next = True, False, last + 1
        self._transport.answered()
        self._told.over("gone", "is there again")
        lines, offsets, wrong = lines_of(messages)
        self._message_bytes = max(1.0, len(lines) / len(messages))
        return Block(self._name, first, last + 1, lines, time.time(), offsets, wrong)

    def _on_event(self, error: KafkaError, offset: int | None) -> None:
        code = error.code()
        if code == KafkaError._PARTITION_EOF:
            self._transport.answered()
            # What lies before may be markers of transactions, which are no messages.
            self._next = max(self._next, offset or 0)
            self._end_seen = self._asked_end or self._end_seen
        elif code == KafkaError._AUTO_OFFSET_RESET:
            self._find_offset()
        elif code in _GONE:
            self._gone = True
            self._told.warn("gone", f"is not there (any more), waiting for it: {error.str()}")
        else:
            self._told.warn(error.name(), error.str())

    def _find_offset(self) -> None:
        """The offset is not there: older ones are deleted, or the topic was made anew."""
        self._retry_at = None
        try:
            low, high = self._consumer.get_watermark_offsets(self._at(0), timeout=_ANSWER_S)
        except KafkaException:
            self._retry_at = time.monotonic() + _RETRY_S
            return
        if low > self._next:
            self._told.warn(f"lost {low}", f"offsets {self._next} to {low - 1} were deleted before they were read")
            self._next = low
        elif high < self._next:
            self._told.warn("anew", self._anew(high))
            self._aim = high
            self._retry_at = time.monotonic() + _RETRY_S
            return
        self._told.over("anew", "offsets go on")
        self._assign(self._next)

    def _assign(self, offset: int) -> None:
        self._consumer.assign([self._at(offset)])

    def _at(self, offset: int) -> TopicPartition:
        return TopicPartition(self._topic, self._number, offset)

    def _known_ends(self) -> tuple[int, int]:
        try:
            low, high = self._consumer.get_watermark_offsets(self._at(0), cached=True)
        except KafkaException:
            return 0, 0
        return low, high  # negative while not known

    def _note_end(self) -> None:
        if self._asked_end and self._aim is None:
            high = self._known_ends()[1]
            self._aim = high if high >= 0 else None

    def _anew(self, high: int) -> str:
        return (
            f"ends at offset {high}, but was read up to {self._next}: the topic was made anew. Waiting for that offset;"
            " to read from the beginning, give the topic another name"
        )


def lines_of(messages: Sequence[Message]) -> tuple[bytes, npt.NDArray[np.int64], tuple[Dead, ...]]:
    """Values as lines, the offset of each line, and values that cannot be a line. No value: a blank line."""
    values = [m.value() or b"" for m in messages]
    offsets = np.fromiter((m.offset() for m in messages), np.int64, len(messages))
    lines = b"\n".join(values) + b"\n"
    wrong: list[Dead] = []
    if lines.count(b"\n") != len(values):
        kept = []
        for number, value in enumerate(values):
            line = _one_line(value)
            if line is None:
                wrong.append(Dead(int(offsets[number]), "a message of several lines that is not one JSON value", value))
            else:
                kept.append((number, line))
        offsets = offsets[[number for number, _ in kept]]
        lines = b"".join(line + b"\n" for _, line in kept)
    return lines, offsets, tuple(wrong)


def _one_line(value: bytes) -> bytes | None:
    """JSON over several lines as one line: between its parts a space does as well. None where it is no JSON, so that
    its bytes are kept as they came.
    """
    stripped = value.rstrip(b"\r\n")
    if b"\n" not in stripped:
        return stripped
    try:
        json.loads(stripped)
    except (ValueError, RecursionError):
        return None
    return stripped.replace(b"\n", b" ")
