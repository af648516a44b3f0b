"""The stream over a simulated week, as fast as it goes: does its memory stay flat, and does every message land?

Hours of messages are written just ahead of the stream and deleted once they are read and committed. Usage:
python -m benchmarks.soak [--devices 100000] [--days 7] [--every 30] [--json]
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.measure import ChildError
from benchmarks.report import Bar, machine
from benchmarks.soak_feed import PARTITIONS, SoakFeed, segment_path
from benchmarks.soak_watch import MB, PATIENCE_S, Watch, running_stream, state_bytes
from refrig_assets.contracts import DEVICE_REGISTRY, RAW_READINGS
from refrig_assets.lake import Lake
from refrig_assets.simulator.live import partition_name

GROWTH_BAR = 0.10
_AHEAD_MESSAGES, _AHEAD_HOURS = 1_000_000, 3
_LOOK_EVERY_S = 0.25


@dataclass(frozen=True)
class Day:
    """What a simulated day came to, from when its first hour was written until its last was committed."""

    day: int
    seconds: float
    messages: int
    rows: int
    alerts: int
    supervisor_mb: float
    workers_mb: float
    most_mb: float
    commit_p50_s: float
    state_mb: float
    recovery_mb: float
    spool_mb: float

    @property
    def rss_mb(self) -> float:
        return self.supervisor_mb + self.workers_mb


class Soak:
    """Feeds a stream hour by hour, never far ahead of it."""

    def __init__(self, feed: SoakFeed, watch: Watch, spool: Path, days: int) -> None:
        self._feed, self._watch, self._spool = feed, watch, spool
        self._hours = days * 24
        self._ahead = max(_AHEAD_HOURS, _AHEAD_MESSAGES // feed.messages_an_hour)
        self._deleted = 0
        self._days: list[Day] = []
        self._since = time.monotonic()
        self._numbers = dict.fromkeys(("messages", "rows", "alerts"), 0)
        self._buckets: dict[float, float] = {}
        self._most_spool = 0.0

    def run(self) -> list[Day]:
        for hour in range(self._hours):
            self._feed.write(self._spool, hour)
            self._wait_for_hours(hour + 1 - self._ahead)
        # Of the last hour no later segment tells that it is read, but the count of messages does.
        self._wait_for(lambda: self._watch.number("messages") >= self._hours * self._feed.messages_an_hour)
        if len(self._days) < self._hours // 24:
            self._end_day()
        return self._days

    def _wait_for_hours(self, hours: int) -> None:
        self._wait_for(lambda: self._watch.hours_committed() >= hours)

    def _wait_for(self, done: Callable[[], bool]) -> None:
        """Look at the stream at least once, delete what it is done with, until it has come so far."""
        progress, moved = -1, time.monotonic()
        while True:
            self._watch.look()
            self._clear()
            if done():
                return
            if self._watch.number("messages") != progress:
                progress, moved = self._watch.number("messages"), time.monotonic()
            if time.monotonic() - moved > PATIENCE_S:
                raise ChildError(f"the stream has not gone on for {PATIENCE_S:.0f} s: {self._watch.status}")
            time.sleep(_LOOK_EVERY_S)

    def _clear(self) -> None:
        written = [f.stat().st_size for f in self._spool.rglob("*.ndjson")]
        self._most_spool = max(self._most_spool, sum(written) / MB)
        while self._deleted < self._watch.hours_committed():
            for number in range(PARTITIONS):
                segment_path(self._spool, number, self._deleted).unlink()
            self._deleted += 1
            if self._deleted % 24 == 0:
                self._end_day()

    def _end_day(self) -> None:
        watch = self._watch
        numbers, buckets = {name: watch.number(name) for name in self._numbers}, watch.commit_buckets()
        store = watch.settings.recovery_dir
        supervisor, workers = (statistics.median(one) for one in zip(*watch.rss, strict=True))
        day = Day(
            day=len(self._days) + 1,
            seconds=time.monotonic() - self._since,
            **{name: numbers[name] - before for name, before in self._numbers.items()},
            supervisor_mb=supervisor,
            workers_mb=workers,
            most_mb=max(sum(one) for one in watch.rss),
            commit_p50_s=_median(self._buckets, buckets),
            state_mb=state_bytes(store) / MB,
            recovery_mb=sum(f.stat().st_size for f in store.iterdir()) / MB,
            spool_mb=self._most_spool,
        )
        print(f"day {day.day}: {day.messages:,} messages, {day.rss_mb:,.0f} MB", file=sys.stderr, flush=True)
        self._days.append(day)
        self._since, self._most_spool = time.monotonic(), 0.0
        self._numbers, self._buckets = numbers, buckets
        watch.rss = watch.rss[-1:]


def _median(before: dict[float, float], now: dict[float, float]) -> float:
    """Of a histogram's growth, straight between its bounds."""
    counts = [(bound, count - before.get(bound, 0.0)) for bound, count in sorted(now.items())]
    half = counts[-1][1] / 2
    for (low, under), (high, count) in pairwise([(0.0, 0.0), *counts]):
        if count >= half > under:
            return low if high == float("inf") else low + (high - low) * (half - under) / (count - under)
    return 0.0


def soak(
    work: Path, devices: int, days: int, every: int, processes: int = 1, commit_every_s: float = 5.0
) -> tuple[list[Day], dict[str, Bar]]:
    """The days, and what is promised of them."""
    lake, spool = Lake(str(work / "lake")).create(), work / "spool"
    for number in range(PARTITIONS):
        (spool / partition_name(number)).mkdir(parents=True)
    # In the past, and whole hours: a gateway clock in the future is a wrong one.
    start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=days)
    feed = SoakFeed(devices, every, start, days)
    lake.table(DEVICE_REGISTRY).replace_all(feed.registry())
    with running_stream(lake, spool, work, processes, commit_every_s) as watch:
        found = Soak(feed, watch, spool, days).run()
        watch.stop()
    sent = days * 24 * feed.messages_an_hour
    landed = sum(f.rows for f in lake.table(RAW_READINGS).files())
    told = json.loads((watch.settings.home / "heartbeat.json").read_text())
    first = found[min(1, len(found) - 2)] if len(found) > 1 else found[0]
    return found, {
        "growth_of_memory": Bar(found[-1].rss_mb / first.rss_mb - 1, GROWTH_BAR),
        "messages_not_landed": Bar(abs(sent - landed), 0),
        "alerts_not_of_a_fault": Bar(abs(told["alerts"] + told["suppressed"] - feed.faults), 0),
        "restarts": Bar(told["restarts"], 0),
    }


def print_days(days: list[Day], bars: dict[str, Bar], as_json: bool) -> None:
    if as_json:
        promised = {name: bar.as_json() for name, bar in bars.items()}
        print(json.dumps({"machine": machine(), "days": [asdict(day) for day in days], "bars": promised}))
        return
    names = (
        "day",
        "messages",
        "rows",
        "alerts",
        "RSS MB",
        "most MB",
        "commit p50",
        "state MB",
        "recovery MB",
        "seconds",
    )
    table = Table(*names, title="The stream over simulated days (RSS: median of supervisor and workers together)")
    for column in table.columns:
        column.justify = "right"
    for d in days:
        counts = (d.day, d.messages, d.rows, d.alerts, round(d.rss_mb), round(d.most_mb))
        sizes = (d.state_mb, d.recovery_mb, d.seconds)
        table.add_row(*(f"{n:,}" for n in counts), f"{d.commit_p50_s:.3f}", *(f"{n:,.1f}" for n in sizes))
    console = Console(width=120)
    console.print(table)
    for name, bar in bars.items():
        told = "holds" if bar.holds else "MISSED"
        console.print(f"{name.replace('_', ' ')}: {bar.value:.3g} (promised {bar.condition}), {told}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=100_000)
    parser.add_argument("--days", type=int, default=7)
    parser.add_argument("--every", type=int, default=30, help="minutes between a device's messages; 1 is the fleet's")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--commit-every", type=float, default=5.0, help="seconds")
    parser.add_argument("--work", type=Path, help="a directory with room for the lake; by default a temporary one")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.work, prefix="soak-") as work:
        days, bars = soak(
            Path(work), given.devices, given.days, given.every, given.processes, commit_every_s=given.commit_every
        )
    print_days(days, bars, given.json)
    sys.exit(0 if all(bar.holds for bar in bars.values()) else 1)


if __name__ == "__main__":
    main()
