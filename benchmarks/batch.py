"""One hour of a fleet, raw to clean to features: ours, the physical limit, PySpark, and how ours grows."""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.measure import ChildError, run_module
from benchmarks.pyspark_env import SparkUnavailableError, run_hours
from benchmarks.report import GB, Bar, print_report

STAGES = "benchmarks.batch_stages"
FULL_DEVICES, QUICK_DEVICES = 100_000, 5_000
MAX_VS_LIMIT, MIN_VS_PYSPARK, MAX_PEAK_GB, MAX_GROWTH = 6.0, 8.0, 4.0, 12.0
GROWTH_STEP = 10


@dataclass
class Measured:
    """What each run of each contender reported."""

    ours: list[dict[str, Any]] = field(default_factory=list)
    small: list[dict[str, Any]] = field(default_factory=list)
    limit: list[dict[str, Any]] = field(default_factory=list)
    spark: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def _tell(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def measure(work: Path, devices: int, runs: int, with_spark: bool, quick: bool) -> Measured:
    found = Measured()
    full, small = work / "full", work / "small"
    for lake, size in ((full, devices), (small, max(devices // GROWTH_STEP, 1))):
        _tell(f"simulating an hour of {size:,} devices")
        _tell(f"  {run_module(STAGES, 'simulate', lake, str(size))['rows']:,} raw rows")
    for number in range(runs):  # one of each in turn: a busy moment of the machine touches all alike
        _tell(f"run {number + 1} of {runs}")
        found.ours.append(_ours(full, work))
        found.limit.append(_limit(full, work))
        found.small.append(_ours(small, work))
        if number == 0 and with_spark:
            _tell("PySpark")
            _measure_spark(found, full, work, quick)
    if not with_spark:
        found.notes.append("PySpark was skipped: vs_pyspark is not measured, so its bar does not hold.")
    return found


def _ours(lake: Path, work: Path) -> dict[str, Any]:
    """On a lake that has only raw, as the first time: each run gets its own."""
    fresh = work / "fresh"
    shutil.copytree(lake, fresh)
    try:
        return run_module(STAGES, "ours", fresh)
    finally:
        shutil.rmtree(fresh)


def _limit(lake: Path, work: Path) -> dict[str, Any]:
    target = work / "limit.parquet"
    found = run_module(STAGES, "limit", lake, target)
    found["bytes"] = target.stat().st_size
    target.unlink()
    return found


def _measure_spark(found: Measured, lake: Path, work: Path, quick: bool) -> None:
    """The hour in a session that has just started, as ours is, and once more in the same session, warm.

    vs_pyspark compares the fresh ones, neither with its start; the warm one is shown beside it.
    """
    from benchmarks.batch_stages import HOUR, raw_files, table_files

    hours = [
        {
            "raw": raw_files(str(lake)),
            "registry": table_files(str(lake), "device_registry")[0],
            "out": str(work / f"spark-{number}"),
            "hour": HOUR.isoformat(),
        }
        for number in range(1 if quick else 2)
    ]
    if quick:
        found.notes.append("At this size PySpark mostly warms up: vs_pyspark says something from 100,000 devices on.")
    try:
        # What runs for seconds is over sooner where the JVM optimises less.
        done = run_hours(hours, work, jvm_options="-XX:TieredStopAtLevel=1" if quick else "")
    except (SparkUnavailableError, ChildError) as problem:
        found.notes.append(f"vs_pyspark is not measured, so its bar does not hold: {problem}")
        return
    first, warm = done.seconds[0], done.seconds[-1]
    found.spark = {
        "pyspark_s": first["total_s"],
        "pyspark_with_start_s": first["with_start_s"],
        "pyspark_clean_s": first["clean_s"],
        "pyspark_features_s": first["features_s"],
        "pyspark_cpu_s": first["cpu_s"],
        "pyspark_peak_gb": done.peak_bytes / GB,
    }
    if not quick:
        found.spark |= {"pyspark_warm_s": warm["total_s"], "pyspark_warm_cpu_s": warm["cpu_s"]}


def figures_of(found: Measured) -> dict[str, float | None]:
    """Medians over the runs; the four stable names first."""
    ours_s, limit_s = _median(found.ours, "seconds"), _median(found.limit, "seconds")
    last = found.ours[-1]
    return {
        "vs_limit": ours_s / limit_s,
        "vs_pyspark": found.spark["pyspark_s"] / ours_s if found.spark else None,
        "peak_gb": _median(found.ours, "peak_bytes") / GB,
        "growth_10x": ours_s / _median(found.small, "seconds"),
        "ours_s": ours_s,
        "ours_process_s": _median(found.ours, "process_s"),
        "ours_cpu_s": _median(found.ours, "cpu_s"),
        "limit_s": limit_s,
        "limit_cpu_s": _median(found.limit, "cpu_s"),
        "small_fleet_s": _median(found.small, "seconds"),
        "limit_peak_gb": _median(found.limit, "peak_bytes") / GB,
        "limit_written_mb": found.limit[-1]["bytes"] / 1e6,
        "ours_written_mb": last["bytes_written"] / 1e6,
        **found.spark,
        **{f"rows_{account}": rows for account, rows in last["accounts"].items()},
        "rows_features": last["feature_rows"],
        **{f"stage_{s}_s": median(run["stages"][s] for run in found.ours) for s in last["stages"]},
    }


def bars_of(figures: dict[str, float | None]) -> dict[str, Bar]:
    return {
        "vs_limit": Bar(figures["vs_limit"], MAX_VS_LIMIT),
        "vs_pyspark": Bar(figures["vs_pyspark"], MIN_VS_PYSPARK, at_most=False),
        "peak_gb": Bar(figures["peak_gb"], MAX_PEAK_GB),
        "growth_10x": Bar(figures["growth_10x"], MAX_GROWTH),
    }


def _median(runs: Sequence[dict[str, Any]], name: str) -> float:
    return float(median(run[name] for run in runs))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batch", description=__doc__)
    parser.add_argument("--devices", type=int, help=f"fleet size ({FULL_DEVICES:,}; with --quick {QUICK_DEVICES:,})")
    parser.add_argument("--runs", type=int, help="runs of ours and of the limit (3; with --quick 1)")
    parser.add_argument("--quick", action="store_true", help="a first look, in under a minute")
    parser.add_argument("--skip-pyspark", action="store_true")
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")
    arguments = parser.parse_args()
    devices = arguments.devices or (QUICK_DEVICES if arguments.quick else FULL_DEVICES)
    runs = arguments.runs or (1 if arguments.quick else 3)
    with tempfile.TemporaryDirectory(prefix="refrig-batch-") as work:
        found = measure(Path(work), devices, runs, not arguments.skip_pyspark, arguments.quick)
    figures = figures_of(found)
    title = f"One hour of {devices:,} devices: raw → clean → features"
    print_report(figures, bars_of(figures), runs, arguments.json, title=title, notes=tuple(found.notes))


if __name__ == "__main__":
    main()
