"""The channels' threads: each sends what is due of its channel. A slow one holds up no other, an error ends none."""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime

from refrig_assets.notify.outbox import LOST, Outbox, Taken
from refrig_assets.notify.routing import Channel, Routing
from refrig_assets.notify.secrets import Scrubber
from refrig_assets.notify.sending import Outcome, send

_LOG = logging.getLogger(__name__)
# So long until what could not be written down is tried to be written down again.
_WRITE_AGAIN_S = 1.0


class Channels:
    def __init__(self, outbox: Outbox, environment: Mapping[str, str], clock: Callable[[], datetime]) -> None:
        self.outbox, self.environment, self.clock = outbox, environment, clock
        self._sending: dict[str, threading.Thread] = {}
        self._stopping = threading.Event()

    def begin(self) -> None:
        self._stopping.clear()

    def dispatch(self, routing: Routing, scrub: Scrubber) -> None:
        """A thread for each channel that has something due. What a thread left behind that is gone is sent again."""
        busy = [name for name, thread in self._sending.items() if thread.is_alive()]
        again = self.outbox.recover(self.clock(), LOST, busy)
        if again:
            _LOG.error("%d messages were left by the thread that was sending them: they are sent again", again)
        for name in self.outbox.channels_due(self.clock()):
            if name in routing.channels and name not in busy:
                channel = routing.channels[name]
                thread = threading.Thread(target=self._drain, args=(channel, scrub), name=f"notify-{name}", daemon=True)
                self._sending[name] = thread
                thread.start()

    def wait(self, patience_s: float) -> None:
        until = time.monotonic() + patience_s
        while (left := until - time.monotonic()) > 0:
            alive = [t for t in self._sending.values() if t.is_alive()]
            if not alive:
                return
            alive[0].join(left)

    def end(self) -> None:
        """Let what is being sent come to its end: a channel's timeout bounds it."""
        self._stopping.set()
        for thread in self._sending.values():
            thread.join()

    def _drain(self, channel: Channel, scrub: Scrubber) -> None:
        try:
            while not self._stopping.is_set():
                taken = self.outbox.take(channel.name, self.clock())
                if taken is None:
                    return
                outcome = send(channel, taken.recipient, taken.letter, self.environment, scrub)
                if not outcome.accepted:
                    _LOG.warning("channel %s, attempt %d: %s", channel.name, taken.letter.attempt, outcome.detail)
                if not self._settled(taken, outcome, channel):
                    return
        except Exception as error:
            _LOG.exception("channel %s: %s; the next pass goes on", channel.name, type(error).__name__)
        finally:
            self.outbox.journal.close()

    def _settled(self, taken: Taken, outcome: Outcome, channel: Channel) -> bool:
        """Write down what became of it, however long the disk is full: forgotten, it would be sent twice."""
        while True:
            try:
                self.outbox.settle(taken, outcome, channel, self.clock())
            except sqlite3.Error as error:
                _LOG.error("channel %s: attempt %d cannot be written down: %s: %s; will try again",
                           channel.name, taken.letter.attempt, type(error).__name__, error)  # fmt: skip
                if self._stopping.wait(_WRITE_AGAIN_S):
                    return False
            else:
                return True
