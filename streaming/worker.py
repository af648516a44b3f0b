"""One worker process: reads its orders from stdin, runs the dataflow, tells its counts on stdout, ends with a reason.

The supervisor starts it and stops it by a word on stdin; when the supervisor is gone, so is stdin, and it stops, too.
"""

import json
import logging
import os
import sys
import threading
import time
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

from bytewax._bytewax import cluster_main
from bytewax.recovery import RecoveryConfig

from refrig_assets.lake import OUTSIDE_ERRORS
from streaming.counts import Counts
from streaming.flow import build_flow
from streaming.lander import AnotherStreamError, StoppedWaitingError
from streaming.logs import log_as_json
from streaming.process import Process
from streaming.settings import StreamSettings

STOP = "stop"
EXIT_ANOTHER_STREAM, EXIT_STOPPED_WAITING, EXIT_LAKE = 65, 66, 67
_TELL_EVERY_S = 1.0
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Orders:
    """What a worker process is told at its start."""

    settings: str
    number: int
    addresses: list[str]
    raw_version: int

    def to_line(self) -> str:
        return json.dumps(asdict(self)) + "\n"


def main() -> None:
    orders = Orders(**json.loads(sys.stdin.readline()))
    log_as_json(f"worker-{orders.number}")
    settings = StreamSettings.from_json(orders.settings)
    stopping, counts = threading.Event(), Counts()
    threading.Thread(target=_listen, args=(stopping,), daemon=True).start()
    threading.Thread(target=_tell, args=(counts,), daemon=True).start()
    code = _run(orders, settings, counts, stopping)
    _say(counts)
    sys.stdout.flush()
    os._exit(code)  # threads of a cluster whose other half has died would keep the process


def _run(orders: Orders, settings: StreamSettings, counts: Counts, stopping: threading.Event) -> int:
    try:
        process = Process.start(settings, orders.raw_version, counts, stopping)
        cluster_main(
            build_flow(process),
            orders.addresses,
            orders.number,
            epoch_interval=timedelta(seconds=settings.commit_every_s),
            recovery_config=RecoveryConfig(Path(settings.recovery_dir)),
            worker_count_per_proc=settings.workers,
        )
    except BaseException as error:
        return _reason(error)
    return 0


def _reason(error: BaseException) -> int:
    """The exit code that tells the supervisor what to do. Bytewax wraps what operators raise."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    for one in seen:
        if isinstance(one, AnotherStreamError):
            _LOG.error("%s", one)
            return EXIT_ANOTHER_STREAM
        if isinstance(one, StoppedWaitingError):
            return EXIT_STOPPED_WAITING
    if any(isinstance(one, OUTSIDE_ERRORS) for one in seen):
        _LOG.error("the lake or the source cannot be used: %s", seen[-1])
        return EXIT_LAKE
    _LOG.error("the dataflow failed: %s", " < ".join(str(s).strip().replace("\n", " ") for s in seen), exc_info=seen[0])
    return 1


def _listen(stopping: threading.Event) -> None:
    """Until told to stop, or until nobody is there to tell."""
    for line in sys.stdin:
        if line.strip() == STOP:
            break
    stopping.set()


def _tell(counts: Counts) -> None:
    while True:
        time.sleep(_TELL_EVERY_S)
        _say(counts)


def _say(counts: Counts) -> None:
    sys.stdout.write(json.dumps(counts.to_json()) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
