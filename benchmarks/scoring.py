"""Training on 500,000 rows; an hour of 100,000 devices scored and its alerts made, on a real lake and registry.

The fleet's windows are tiled from a few simulated devices (see scoring_fleet.py); that is not measured.
"""

import argparse
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.measure import run_module
from benchmarks.report import GB, Bar, print_report
from refrig_assets.contracts.scoring import DETECTORS

STAGES = "benchmarks.scoring_stages"
FULL = {"devices": 100_000, "donors": 1_500, "rows": 500_000}
QUICK = {"devices": 5_000, "donors": 200, "rows": 25_000}
MAX_HOURLY_S, MAX_ALL_FOUR_S, MAX_TRAINING_S, MAX_PEAK_GB = 60.0, 60.0, 300.0, 4.0
MAX_ALERTS_S = 300.0  # C6: within five minutes of scoring


@dataclass
class Measured:
    lake: dict[str, Any]
    training: dict[str, dict[str, Any]] = field(default_factory=dict)
    hourly: list[dict[str, Any]] = field(default_factory=list)
    alerts: list[dict[str, Any]] = field(default_factory=list)
    all_four: list[dict[str, Any]] = field(default_factory=list)


def _tell(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def measure(home: Path, devices: int, donors: int, rows: int, runs: int) -> Measured:
    _tell(f"making a lake of {devices:,} devices from {donors:,} simulated ones")
    found = Measured(run_module(STAGES, "simulate", home, str(devices), str(donors), str(rows)))
    for model_id in DETECTORS:
        _tell(f"training {model_id} on {rows:,} rows")
        found.training[model_id] = run_module(STAGES, "train", home, model_id)
    for number in range(runs):
        _tell(f"scoring, run {number + 1} of {runs}")
        found.hourly.append(run_module(STAGES, "hourly", home))
        found.alerts.append(run_module(STAGES, "alerts", home))
        found.all_four.append(run_module(STAGES, "all_four", home))
    return found


def figures_of(found: Measured) -> dict[str, float | None]:
    """Medians over the runs; the stable names first. The peak is the highest of any stage."""
    stages = [*found.training.values(), *found.hourly, *found.alerts, *found.all_four]
    hourly, all_four = found.hourly[-1], found.all_four[-1]
    return {
        "hourly_s": median(run["seconds"] for run in found.hourly),
        "all_four_s": median(run["seconds"] for run in found.all_four),
        "training_s": sum(run["seconds"] for run in found.training.values()),
        "peak_gb": max(run["peak_bytes"] for run in stages) / GB,
        "alerts_s": median(run["seconds"] for run in found.alerts),
        "alerts_written": found.alerts[-1]["written"],
        "alerts_diagnosed": found.alerts[-1]["diagnosed"],
        **{f"alerts_{stage}_s": seconds for stage, seconds in found.alerts[-1]["stages"].items()},
        "hourly_rows": hourly["rows"],
        "hourly_flagged": hourly["flagged"],
        "hourly_cpu_s": median(run["cpu_s"] for run in found.hourly),
        "hourly_peak_gb": max(run["peak_bytes"] for run in found.hourly) / GB,
        "all_four_rows": all_four["rows"],
        "all_four_cpu_s": median(run["cpu_s"] for run in found.all_four),
        "all_four_peak_gb": max(run["peak_bytes"] for run in found.all_four) / GB,
        **{f"hourly_{n}": v for n, v in hourly.items() if n.endswith("_s") and n not in ("cpu_s", "process_s")},
        **{f"all_four_{n}": v for n, v in all_four.items() if n.endswith("_s") and n not in ("cpu_s", "process_s")},
        "training_rows": found.lake["training_rows"],
        **{f"training_{m}_s": run["seconds"] for m, run in found.training.items()},
        "training_cpu_s": sum(run["cpu_s"] for run in found.training.values()),
        **{f"training_{m}_cpu_s": run["cpu_s"] for m, run in found.training.items()},
        **{f"training_{m}_peak_gb": run["peak_bytes"] / GB for m, run in found.training.items()},
    }


def bars_of(figures: dict[str, float | None]) -> dict[str, Bar]:
    return {
        "hourly_s": Bar(figures["hourly_s"], MAX_HOURLY_S),
        "all_four_s": Bar(figures["all_four_s"], MAX_ALL_FOUR_S),
        "training_s": Bar(figures["training_s"], MAX_TRAINING_S),
        "peak_gb": Bar(figures["peak_gb"], MAX_PEAK_GB),
        "alerts_s": Bar(figures["alerts_s"], MAX_ALERTS_S),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scoring", description=__doc__)
    parser.add_argument("--devices", type=int, help="fleet size (100,000; with --quick 5,000)")
    parser.add_argument("--rows", type=int, help="training rows (500,000; with --quick 25,000)")
    parser.add_argument("--runs", type=int, help="runs of scoring (3; with --quick 1); training runs once")
    parser.add_argument("--quick", action="store_true", help="a first look, in under a minute")
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")
    arguments = parser.parse_args()
    size = {**(QUICK if arguments.quick else FULL)}
    if arguments.devices:
        size["devices"] = arguments.devices
        size["donors"] = min(size["donors"], arguments.devices)
    size["rows"] = arguments.rows or size["rows"]
    runs = arguments.runs or (1 if arguments.quick else 3)
    with tempfile.TemporaryDirectory(prefix="refrig-scoring-") as home:
        found = measure(Path(home), **size, runs=runs)
    figures = figures_of(found)
    notes = ("At this size the bars say little: they are for 100,000 devices.",) if arguments.quick else ()
    title = f"Scoring {size['devices']:,} devices, trained on {size['rows']:,} rows"
    print_report(figures, bars_of(figures), runs, arguments.json, title=title, notes=notes)


if __name__ == "__main__":
    main()
