"""Runs one stream by settings given as JSON, as `refrig stream` does; for tests that kill it."""

import signal
import sys

from streaming.logs import log_as_json
from streaming.settings import StreamSettings
from streaming.status import Status
from streaming.supervise import Supervisor


def main() -> None:
    log_as_json("supervisor")
    supervisor = Supervisor(StreamSettings.from_json(sys.argv[1]), Status())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: supervisor.stopping.set())
    supervisor.run()


if __name__ == "__main__":
    main()
