"""An alert log that has grown for months under 100,000 devices: does the board's minute stay what it was on day two?

The lake is real: a log as hourly judgements leave it (41,000 rows a day: most are repetitions, written for audit), its
days compacted as the nightly upkeep does, and published. Each piece of work runs in a process of its own, on a log of
two days and on one of three months. Making the lakes is not measured.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

from benchmarks.aged_log import append_day, newest_rows, register, score_hour
from benchmarks.board import listed
from benchmarks.measure import own_peak_bytes, run_module
from benchmarks.report import GB, Bar, print_report
from refrig_assets.alerting.operating import Action
from refrig_assets.lake import HOUR, Lake
from refrig_assets.models.registry import Registry
from refrig_assets.notify.lake_side import news
from refrig_assets.notify.notifier import LOOKED_BACK
from refrig_assets.pipeline.alert_log import append_changes, escalate_overdue, release_relapses
from refrig_assets.pipeline.alerting import Alerting
from refrig_assets.pipeline.fleet_report import fleet_report
from refrig_assets.pipeline.hours import floor_hour
from refrig_assets.pipeline.labelling import settle_labels
from refrig_assets.pipeline.operators import act
from refrig_assets.pipeline.published import publish_board

DEVICES, YOUNG, OLD = 100_000, 2, 90
# The board is promised to be current within a minute: a third of it for the work. An hour's alerts are promised within
# five minutes; this is the part of it that knows the log.
MAX_MINUTE_S, MAX_HOUR_S, MAX_GB = 20.0, 60.0, 4.0


def make(home: Path, days: int, devices: int) -> Lake:
    lake = Lake(str(home / "lake")).create()
    now = floor_hour(datetime.now(UTC))
    register(lake, devices)
    for back in range(days, 0, -1):
        append_day(lake, now - timedelta(days=back), devices, standing=back <= 5 or back % 7 == 0)
    score_hour(lake, now - HOUR, devices)
    publish_board(lake)
    return lake


def minute(home: Path, now: datetime) -> None:
    """What the board's run does each minute, after an hour's worth of changes."""
    lake = Lake(str(home / "lake"))
    release_relapses(lake, now)
    escalate_overdue(lake, now)
    settle_labels(lake)
    publish_board(lake)


def hour(home: Path, now: datetime) -> None:
    """An hour judged in which nothing new is seen: reading what stands, and weighing its silence."""
    Alerting(Lake(str(home / "lake")), Registry(str(home / "models"))).hour(floor_hour(now) - HOUR, now)


def report(home: Path, now: datetime) -> None:
    fleet_report(Lake(str(home / "lake")), None, floor_hour(now), now)


def notifier(home: Path, now: datetime) -> None:
    """A notifier whose journal is new looks at the log."""
    news(Lake(str(home / "lake")), set(), now - LOOKED_BACK)


WORK: Mapping[str, Callable[[Path, datetime], None]] = {
    "minute": minute, "hour": hour, "report": report, "notifier": notifier,
}  # fmt: skip


def measure(home: Path, runs: int) -> dict[str, float]:
    """Median seconds of each piece of work, and the most memory that one of them took."""
    found: dict[str, list[float]] = {}
    peak = 0.0
    for _ in range(runs):
        lake, rows = Lake(str(home / "lake")), newest_rows(datetime.now(UTC), 500)
        append_changes(lake, rows)
        for name in WORK:
            told = run_module("benchmarks.aged", "--do", name, "--home", home)
            found.setdefault(name, []).append(told["seconds"])
            peak = max(peak, told["peak_bytes"] / GB)
        found.setdefault("list", []).append(listed(home, "alerts", "list")[0])
        began = time.perf_counter()
        act(lake, Action("acknowledged", "somebody"), [rows["alert_id"][0]], datetime.now(UTC))
        found.setdefault("act", []).append(time.perf_counter() - began)
    return {name: median(took) for name, took in found.items()} | {"peak_gb": peak}


def _do(name: str, home: Path) -> None:
    began = time.perf_counter()
    WORK[name](home, datetime.now(UTC))
    print(json.dumps({"seconds": time.perf_counter() - began, "peak_bytes": own_peak_bytes()}))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.aged", description=__doc__)
    parser.add_argument("--days", type=int, help=f"age of the old log ({OLD}; with --quick 20)")
    parser.add_argument("--devices", type=int, help=f"({DEVICES:,}; with --quick 5,000)")
    parser.add_argument("--runs", type=int, help="(3; with --quick 1); medians are told")
    parser.add_argument("--quick", action="store_true", help="a first look")
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")
    parser.add_argument("--do", choices=list(WORK), help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.do:
        return _do(arguments.do, arguments.home)
    quick = arguments.quick
    days, devices = arguments.days or (20 if quick else OLD), arguments.devices or (5_000 if quick else DEVICES)
    runs = arguments.runs or (1 if quick else 3)
    found = {}
    for name, age in (("young", YOUNG), ("old", days)):
        with tempfile.TemporaryDirectory(prefix="refrig-aged-") as home:
            print(f"making a log of {age} days of {devices:,} devices", file=sys.stderr, flush=True)
            make(Path(home), age, devices)
            found[name] = measure(Path(home), runs)
    figures: dict[str, float | None] = {
        f"{work}_{name}{'' if work == 'peak_gb' else '_s'}": took
        for name, measured in found.items()
        for work, took in measured.items()
    }
    grown = {work: took / found["young"][work] for work, took in found["old"].items()}
    figures |= {f"{work}_growth": ratio for work, ratio in grown.items()} | {"days": days, "devices": devices}
    bars = {
        "minute_old_s": Bar(found["old"]["minute"], MAX_MINUTE_S),
        "hour_old_s": Bar(found["old"]["hour"], MAX_HOUR_S),
        "peak_gb_old": Bar(found["old"]["peak_gb"], MAX_GB),
    }
    notes = ("At this size the bars say little: they are for 100,000 devices.",) if quick else ()
    return print_report(figures, bars, runs, arguments.json, title="An alert log that has aged", notes=notes)


if __name__ == "__main__":
    main()
