"""Sends batches at the pace of a clock, or so many messages a second. What is sent, and where to, is not known here."""

import math
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from refrig_assets.simulator.live import Batch, partition_name

_TICK_S = 0.1
_REMEMBERED_TICKS = 200_000


class Target(Protocol):
    """Where lines go: a spool, a broker."""

    def write(self, partition: str, lines: bytes | memoryview) -> None: ...

    def close(self) -> None: ...


@dataclass
class Sent:
    """What has been sent so far, and when: `reached_us` is the fleet's time."""

    begun: float = 0.0
    now: float = 0.0
    messages: int = 0
    bytes: int = 0
    reached_us: int = 0
    _ticks: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=_REMEMBERED_TICKS))

    @property
    def seconds(self) -> float:
        return self.now - self.begun

    @property
    def rate(self) -> float:
        return self.messages / self.seconds if self.seconds > 0 else 0.0

    def note(self, now: float, messages: int, size: int, reached_us: int) -> None:
        self.now, self.reached_us = now, reached_us
        self.messages += messages
        self.bytes += size
        if messages:
            self._ticks.append((reached_us, now))

    def sent_at(self, fleet_us: int) -> float | None:
        """When what arrived at this time of the fleet was sent; None: not yet, or too long ago to remember."""
        ticks = list(self._ticks)
        if not ticks or fleet_us > ticks[-1][0]:
            return None
        return next(at for reached, at in ticks if reached >= fleet_us)


@dataclass(frozen=True)
class Pacer:
    """The clock, how to wait, when to stop, and who is told after each tick."""

    target: Target
    clock: Callable[[], float]
    wait: Callable[[float], object]
    stopped: Callable[[], bool] = lambda: False
    tell: Callable[[Sent], None] = lambda _sent: None
    sent: Sent = field(default_factory=Sent)

    def by_clock(self, batches: Iterator[Batch], speed: float) -> Sent:
        """Each message when its time has come, `speed` times faster than it arrives, but never ahead of the clock.

        So a feed that begins in the past catches up with the present, and goes on in real time. An infinite speed
        sends all that the clock allows at once.
        """
        begun = self.sent.begun = self.sent.now = self.clock()
        start_us: int | None = None
        for batch in _ahead(batches):
            start_us = batch.begin_us if start_us is None else start_us
            at = [0] * len(batch.lines)
            while self.sent.reached_us < batch.end_us and not self.stopped():
                now = self.clock()
                ahead = batch.end_us if math.isinf(speed) else start_us + int((now - begun) * speed * 1e6)
                reached = max(min(ahead, int(now * 1e6), batch.end_us), batch.begin_us)
                to = [int(np.searchsorted(lines.at_us, reached)) for lines in batch.lines]
                self._send(batch, at, to, reached)
                at = to
                if reached < batch.end_us:
                    self.wait(_TICK_S)
            if self.stopped():
                break
        return self.sent

    def by_rate(self, batches: Iterator[Batch], rate: float, messages: int | None = None) -> Sent:
        """`rate` messages a second of the clock, whatever the messages' own times; infinite: as fast as possible."""
        begun = self.sent.begun = self.sent.now = self.clock()
        limit = math.inf if messages is None else messages
        for batch in batches:
            at, done, whole = [0] * len(batch.lines), 0, batch.messages
            while done < whole and self.sent.messages < limit and not self.stopped():
                allowed = min((self.clock() - begun) * rate, limit) if math.isfinite(rate) else limit
                step = int(min(allowed - self.sent.messages, whole - done))
                if step <= 0:
                    self.wait(_TICK_S / 5)
                    continue
                done += step
                to = [int(np.searchsorted(lines.order, done)) for lines in batch.lines]
                last = max(int(lines.at_us[n - 1]) for lines, n in zip(batch.lines, to, strict=True) if n)
                self._send(batch, at, to, last)
                at = to
            if self.stopped() or self.sent.messages >= limit:
                break
        return self.sent

    def _send(self, batch: Batch, first: list[int], last: list[int], reached_us: int) -> None:
        size = 0
        for lines, begin, end in zip(batch.lines, first, last, strict=True):
            if end > begin:
                part = lines.part(begin, end)
                self.target.write(partition_name(lines.partition), part)
                size += len(part)
        self.sent.note(self.clock(), sum(last) - sum(first), size, reached_us)
        self.tell(self.sent)


def _ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The same batches, the next made while one is sent."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = pool.submit(next, batches, None)
            yield batch
