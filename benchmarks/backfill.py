"""A small fleet's hours made in one run: hour by hour, together, and the least that anything must read and write.

Few rows an hour is what a site, a trial or a history of months brings; there the commits cost more than the rows.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.report import Bar, print_report
from refrig_assets.contracts import CLEAN_READINGS, DEVICE_FEATURES, RAW_READINGS
from refrig_assets.lake import HOUR, Lake
from refrig_assets.pipeline.clean import clean_hour, clean_hours
from refrig_assets.pipeline.event_index import index_raw
from refrig_assets.pipeline.features import feature_hour, feature_hours
from refrig_assets.pipeline.landing import land_batches, land_hour
from refrig_assets.pipeline.registry import write_registry
from refrig_assets.simulator import FleetSpec, Mess, write_landing

DEVICES, HOURS = 300, 48
QUICK_HOURS = 12
MIN_TIMES = 1.3
START = datetime(2026, 3, 2, tzinfo=UTC)


def one_by_one(lake: Lake, landing: Path, hours: Sequence[datetime], now: datetime) -> None:
    for hour in hours:
        land_hour(lake, landing, hour, now)
        index_raw(lake, [hour])
    for hour in hours:
        clean_hour(lake, hour)
    for hour in hours:
        feature_hour(lake, hour, now)


def together(lake: Lake, landing: Path, hours: Sequence[datetime], now: datetime) -> None:
    for batch in land_batches(lake, landing, hours, now):
        index_raw(lake, [report.hour for report in batch])
    for _ in clean_hours(lake, hours):
        pass
    for _ in feature_hours(lake, hours, now):
        pass


def bytes_alone(lake: Lake, landing: Path, hours: Sequence[datetime], out: Path) -> None:
    """Read what landed and each table's rows once an hour, and write those rows: no rule, no commit."""
    out.mkdir()
    for hour in hours:
        for path in sorted((landing / f"{hour:%Y-%m-%d/%H}").rglob("*")):
            path.read_bytes()
        for contract in (RAW_READINGS, CLEAN_READINGS, DEVICE_FEATURES):
            rows = lake.table(contract).read(hour, hour + HOUR)
            rows.write_parquet(out / f"{contract.name}-{hour:%d%H}.parquet", compression="zstd", compression_level=1)


def timed(act: Callable[..., None], *told: Any) -> float:
    begun = time.perf_counter()
    act(*told)
    return time.perf_counter() - begun


def measured(devices: int, hours: int, runs: int, work: Path) -> dict[str, Any]:
    spec = FleetSpec(devices, 3, START, hours, mess=Mess.usual())
    sent = write_landing(spec, work / "sent")
    starts = [START + n * HOUR for n in range(hours)]
    now = starts[-1] + timedelta(hours=3)
    taken: dict[str, list[float]] = {"one by one": [], "together": [], "bytes alone": []}
    for run in range(runs):
        lakes = []
        for name, make in (("one by one", one_by_one), ("together", together)):
            lake = Lake(str(work / f"{name.replace(' ', '-')}-{run}")).create()
            write_registry(lake, spec.fleet().registry)
            taken[name].append(timed(make, lake, sent.out / "landing", starts, now))
            lakes.append(lake)
        rows = [
            [lake.table(c).read().height for c in (RAW_READINGS, CLEAN_READINGS, DEVICE_FEATURES)] for lake in lakes
        ]
        if rows[0] != rows[1]:
            raise RuntimeError(f"made together there are other rows than made one by one: {rows}")
        out = work / f"out-{run}"
        taken["bytes alone"].append(timed(bytes_alone, lakes[1], sent.out / "landing", starts, out))
        for lake in lakes:
            shutil.rmtree(lake.uri)
        shutil.rmtree(out)
    return {
        "devices": devices,
        "hours": hours,
        "runs": runs,
        **{f"{name.replace(' ', '_')}_s_per_hour": round(median(t) / hours, 4) for name, t in taken.items()},
        "times_faster_together": round(median(taken["one by one"]) / median(taken["together"]), 2),
        "times_the_bytes_alone": round(median(taken["together"]) / median(taken["bytes alone"]), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.backfill", description=__doc__)
    parser.add_argument("--devices", type=int, default=DEVICES, help="machines that send once a minute (300)")
    parser.add_argument("--hours", type=int, help="hours to make (48; with --quick 12)")
    parser.add_argument("--runs", type=int, help="runs (3; with --quick 1); medians are told")
    parser.add_argument("--quick", action="store_true", help="a first look")
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")
    arguments = parser.parse_args()
    hours = arguments.hours or (QUICK_HOURS if arguments.quick else HOURS)
    runs = arguments.runs or (1 if arguments.quick else 3)
    print(f"simulating {hours} hours of {arguments.devices} machines", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="refrig-backfill-") as work:
        figures = measured(arguments.devices, hours, runs, Path(work))
    notes = ("Landed, indexed, cleaned and computed, one process; the same rows either way.",)
    bars = {"times_faster_together": Bar(figures["times_faster_together"], MIN_TIMES, at_most=False)}
    print_report(figures, bars, runs, arguments.json, title="Backfilling a small fleet", notes=notes)


if __name__ == "__main__":
    main()
