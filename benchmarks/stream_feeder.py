"""Feeds a fleet's messages into a spool at a steady rate, in a process of its own, and notes when each was written.

Everything is made beforehand; it says `ready`, waits for a line on stdin, feeds, and tells when which byte was written.
"""

import argparse
import json
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.stream_stages import PARTITIONS, SEED
from refrig_assets.contracts import DEVICE_REGISTRY
from refrig_assets.lake import Lake
from refrig_assets.simulator import Mess, make_fleet, plan_faults
from refrig_assets.simulator.acute import Injector
from refrig_assets.simulator.fleet import Fleet
from refrig_assets.simulator.live import Feed, partition_name
from refrig_assets.simulator.pace import Pacer
from refrig_assets.simulator.spool_writer import Spool

_ONE_SEGMENT = 1 << 39
_LOW_THRESHOLD_A = 1.0


@dataclass
class NotedSpool:
    """A spool that remembers up to which byte each partition was written when."""

    spool: Spool
    written: dict[str, list[tuple[int, float]]] = field(default_factory=dict)

    def write(self, partition: str, lines: bytes | memoryview) -> None:
        began = time.time()
        self.spool.write(partition, lines)
        notes = self.written.setdefault(partition, [])
        notes.append(((notes[-1][0] if notes else 0) + len(lines), began))

    def close(self) -> None:
        self.spool.close()


def registry_with_overloads(fleet: Fleet, count: int) -> pl.DataFrame:
    """The fleet's registry; some devices are allowed so little current that their compressor, running, is too much.

    So alerts come evenly over the time, as the devices report, with messages as they are.
    """
    chosen = np.random.default_rng(SEED).choice(fleet.size, size=count, replace=False)
    threshold = fleet.registry["current_threshold_a"].scatter(np.sort(chosen), _LOW_THRESHOLD_A)
    return fleet.registry.with_columns(threshold)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lake")
    parser.add_argument("spool", type=Path)
    parser.add_argument("--devices", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True, help="messages a second")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--overloads", type=int, required=True)
    given = parser.parse_args()
    start = datetime.now(UTC).replace(second=0, microsecond=0)
    fleet = make_fleet(given.devices, SEED, start.replace(minute=0) - timedelta(days=2))
    lake = Lake(given.lake).create()
    lake.table(DEVICE_REGISTRY).replace_all(registry_with_overloads(fleet, given.overloads))
    plan = plan_faults(fleet, fleet.start, start + timedelta(hours=1), SEED, kinds="usual")
    injector = Injector(fleet, plan, SEED, start, start + timedelta(minutes=1))
    batch = next(Feed(injector, Mess.usual(), start, PARTITIONS).batches(1))
    target = NotedSpool(Spool(given.spool, _ONE_SEGMENT, float("inf")))
    for number in range(PARTITIONS):
        target.write(partition_name(number), b"")
    print("ready", flush=True)
    sys.stdin.readline()
    wanted = round(given.rate * given.seconds)
    sent = Pacer(target, time.time, time.sleep).by_rate(iter([batch]), given.rate, wanted)
    target.close()
    print(json.dumps({"messages": sent.messages, "seconds": sent.seconds, "written": target.written}), flush=True)


if __name__ == "__main__":
    main()
