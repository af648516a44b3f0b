"""The stream, NDJSON bytes to committed rows and alerts: ours, the limit, Flink, and the fleet's rate in real time."""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.measure import ChildError, run_child
from benchmarks.report import GB, Bar, print_report
from benchmarks.stream_live import FLEET_RATE, at_rate

STAGES = "benchmarks.stream_stages"
DEVICES, MINUTES, LIVE_SECONDS = 100_000, 31, 60.0
QUICK_DEVICES, QUICK_MINUTES, QUICK_LIVE_SECONDS = 50_000, 5, 15.0
OVERLOADS_A_SECOND = 5
SENSOR_VALUES = 14
MIN_MSGS_PER_S, MIN_VS_LIMIT, MAX_ALERT_P99_S, MAX_CORES, MIN_SCALING = 71_500.0, 0.5, 5.0, 1.0, 1.6

Reported = dict[str, Any]


@dataclass(frozen=True)
class Way:
    """How ours is run: worker processes, and threads of Polars in each (None: as the stream sets them)."""

    processes: int
    threads: int | None


ONE, ONE_THREAD, TWO = Way(1, None), Way(1, 1), Way(2, 1)


@dataclass
class Measured:
    """What each run of each contender reported."""

    made: Reported = field(default_factory=dict)
    ours: dict[Way, list[Reported]] = field(default_factory=lambda: {way: [] for way in (ONE, ONE_THREAD, TWO)})
    limit: list[Reported] = field(default_factory=list)
    live: list[Reported] = field(default_factory=list)
    flink: Reported = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def _tell(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _stage(*arguments: str | Path, threads: int | None = None) -> Reported:
    """What a stage reports, and the highest memory of it and its children."""
    environment = {"POLARS_MAX_THREADS": str(threads)} if threads else None
    out, peak = run_child([sys.executable, "-m", STAGES, *arguments], environment=environment)
    found: Reported = json.loads(out.splitlines()[-1])
    return found | {"tree_peak_bytes": peak}


def measure(work: Path, devices: int, minutes: int, live_seconds: float, runs: int, with_flink: bool) -> Measured:
    found, messages = Measured(), work / "messages"
    _tell(f"making {minutes} minutes of {devices:,} devices")
    found.made = _stage("make", messages, str(devices), str(minutes))
    _tell(f"  {found.made['messages']:,} messages, {found.made['bytes'] / 1e6:,.0f} MB")
    for number in range(runs):  # one of each in turn: a busy moment of the machine touches all alike
        _tell(f"run {number + 1} of {runs}")
        for way, reported in found.ours.items():
            reported.append(_ours(messages, work, way, found.made))
        found.limit.append(_limit(messages, work, found.made))
        _tell(f"  {FLEET_RATE:,.0f} messages a second for {live_seconds:g} s")
        found.live.append(_live(work, live_seconds))
        if number == 0 and with_flink:
            _tell("  Flink")
            _measure_flink(found, messages, work)
    if not with_flink:
        found.notes.append("Flink was skipped: vs_flink is not measured.")
    return found


def _ours(messages: Path, work: Path, way: Way, made: Reported) -> Reported:
    lake = work / "lake"
    try:
        found = _stage("ours", messages, lake, str(way.processes), threads=way.threads)
    finally:
        shutil.rmtree(lake, ignore_errors=True)
    _same("ours", found["messages"], made["messages"])
    _same("ours, rows and dead letters", found["rows"] + found["joined"] + found["dead"], made["messages"])
    return found


def _limit(messages: Path, work: Path, made: Reported) -> Reported:
    target = work / "limit"
    found = _stage("limit", messages, target)
    shutil.rmtree(target)
    _same("the limit", found["rows"], made["plain_messages"])
    return found


def _live(work: Path, seconds: float) -> Reported:
    """In one process, as it is sized for this rate; with devices enough that each sends once a minute."""
    folder = work / "live"
    folder.mkdir()
    try:
        return at_rate(folder, seconds, FLEET_RATE, round(OVERLOADS_A_SECOND * seconds))
    finally:
        shutil.rmtree(folder)


def _measure_flink(found: Measured, messages: Path, work: Path) -> None:
    from benchmarks.flink_env import FlinkUnavailableError, run_flink

    target = work / "flink"
    try:
        done = run_flink(messages / "plain", messages / "registry.parquet", target)
    except (FlinkUnavailableError, ChildError) as problem:
        found.notes.append(f"vs_flink is not measured: {problem}")
        return
    finally:
        shutil.rmtree(target, ignore_errors=True)
    found.flink = done.told | {"peak_bytes": done.peak_bytes}
    found.notes.append("Flink writes rows as CSV, not Parquet, and keeps simpler rules; both are in its favour.")


def _same(who: str, count: int, wanted: int) -> None:
    if count != wanted:
        raise SystemExit(f"{who}: {count:,} messages of {wanted:,}; what is measured must be right")


def figures_of(found: Measured) -> dict[str, float | None]:
    """Medians over the runs; the stable names first."""
    made = found.made["messages"]
    rates = {way: made / _median(runs, "seconds") for way, runs in found.ours.items()}
    best = max(rates, key=lambda way: rates[way])
    limit_rate = found.made["plain_messages"] / _median(found.limit, "seconds")
    flink_rate = found.made["plain_messages"] / found.flink["seconds"] if found.flink else None
    return {
        "msgs_per_s": rates[best],
        "vs_limit": rates[best] / limit_rate,
        "alert_p99_s": _median(found.live, "p99_s"),
        "cores_at_fleet_rate": _median(found.live, "cores"),
        "scaling_2_processes": rates[TWO] / rates[ONE_THREAD],
        "vs_flink": rates[best] / flink_rate if flink_rate else None,
        "sensor_values_per_s": rates[best] * SENSOR_VALUES,
        "messages": made,
        "input_mb": found.made["bytes"] / 1e6,
        "best_processes": best.processes,
        **_ours_figures("one_process", found.ours[ONE], made),
        **_ours_figures("one_thread", found.ours[ONE_THREAD], made),
        **_ours_figures("two_processes", found.ours[TWO], made),
        "limit_msgs_per_s": limit_rate,
        "limit_cpu_us_a_message": _median(found.limit, "cpu_s") / found.made["plain_messages"] * 1e6,
        "limit_peak_gb": _median(found.limit, "peak_bytes") / GB,
        "live_msgs_per_s": _median(found.live, "rate"),
        "live_alerts": _median(found.live, "alerts"),
        "alert_p50_s": _median(found.live, "p50_s"),
        "alert_most_s": _median(found.live, "most_s"),
        "live_peak_gb": _median(found.live, "peak_bytes") / GB,
        **_flink_figures(found.flink, flink_rate),
    }


def _ours_figures(name: str, runs: Sequence[Reported], messages: int) -> dict[str, float | None]:
    return {
        f"{name}_msgs_per_s": messages / _median(runs, "seconds"),
        f"{name}_start_s": _median(runs, "start_s"),
        f"{name}_commit_s": _median(runs, "commit_s"),
        f"{name}_cpu_us_a_message": _median(runs, "cpu_s") / messages * 1e6,
        f"{name}_peak_gb": _median(runs, "tree_peak_bytes") / GB,
        f"{name}_alerts": _median(runs, "alerts"),
    }


def _flink_figures(told: Reported, rate: float | None) -> dict[str, float | None]:
    if not told:
        return {}
    return {
        "flink_msgs_per_s": rate,
        "flink_with_start_s": told["with_start_s"],
        "flink_cpu_s": told["cpu_s"],
        "flink_peak_gb": told["peak_bytes"] / GB,
    }


def bars_of(figures: dict[str, float | None]) -> dict[str, Bar]:
    return {
        "msgs_per_s": Bar(figures["msgs_per_s"], MIN_MSGS_PER_S, at_most=False),
        "vs_limit": Bar(figures["vs_limit"], MIN_VS_LIMIT, at_most=False),
        "alert_p99_s": Bar(figures["alert_p99_s"], MAX_ALERT_P99_S),
        "cores_at_fleet_rate": Bar(figures["cores_at_fleet_rate"], MAX_CORES),
        "scaling_2_processes": Bar(figures["scaling_2_processes"], MIN_SCALING, at_most=False),
    }


def _median(runs: Sequence[Reported], name: str) -> float:
    return float(median(run[name] for run in runs))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stream", description=__doc__)
    parser.add_argument("--devices", type=int, help=f"fleet size ({DEVICES:,}; with --quick {QUICK_DEVICES:,})")
    parser.add_argument("--minutes", type=int, help=f"of its messages ({MINUTES}; with --quick {QUICK_MINUTES})")
    parser.add_argument(
        "--live-seconds", type=float, help=f"at the fleet's rate ({LIVE_SECONDS:g}; with --quick {QUICK_LIVE_SECONDS})"
    )
    parser.add_argument("--runs", type=int, help="runs of ours and of the limit (3; with --quick 1)")
    parser.add_argument("--quick", action="store_true", help="a first look, in about a minute; without Flink")
    parser.add_argument("--no-flink", action="store_true")
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")
    given = parser.parse_args()
    full, quick = (DEVICES, MINUTES, LIVE_SECONDS, 3), (QUICK_DEVICES, QUICK_MINUTES, QUICK_LIVE_SECONDS, 1)
    asked = (given.devices, given.minutes, given.live_seconds, given.runs)
    sizes = [a or usual for a, usual in zip(asked, quick if given.quick else full, strict=True)]
    devices, minutes, live_seconds, runs = int(sizes[0]), int(sizes[1]), float(sizes[2]), int(sizes[3])
    with_flink = not (given.no_flink or given.quick)
    with tempfile.TemporaryDirectory(prefix="refrig-stream-") as work:
        found = measure(Path(work), devices, minutes, live_seconds, runs, with_flink)
    figures = figures_of(found)
    title = f"The stream: {found.made['messages']:,} messages of {devices:,} devices; {FLEET_RATE:,.0f} a second live"
    print_report(figures, bars_of(figures), runs, given.json, title=title, notes=tuple(found.notes))


if __name__ == "__main__":
    main()
