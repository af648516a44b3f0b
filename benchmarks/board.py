"""Listing a board of 100,000 open alerts, as an operator does: `refrig alerts list` in a process of its own.

The lake is real: the alerts are appended to the log and published; then some are acted on, and not published again, so
that the list has to join the board with what the log holds since. Making the lake is not measured.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import polars as pl

from benchmarks.measure import PROJECT
from benchmarks.report import Bar, print_report
from refrig_assets.alerting.changes import created
from refrig_assets.alerting.operating import Action
from refrig_assets.contracts import DEVICE_REGISTRY
from refrig_assets.contracts.alerts import FAILURE_MODES, SEVERITIES
from refrig_assets.contracts.registry import REGISTRY_DEFAULTS
from refrig_assets.contracts.sensors import SENSOR_NAMES
from refrig_assets.lake import Lake
from refrig_assets.pipeline.alert_log import append_changes
from refrig_assets.pipeline.operators import act
from refrig_assets.pipeline.published import publish_board
from refrig_assets.pipeline.registry import write_registry

FULL, QUICK = 100_000, 5_000
MAX_LIST_S = 1.0
_ACTIONS = 40
_SITES = 500
_DAYS = 14


def alerts(count: int, now: datetime) -> pl.DataFrame:
    """Log rows of alerts as the hourly judgement writes them: one a device, raised over two weeks."""
    number = pl.int_range(count, eager=True)
    raised = pl.lit(now) - pl.duration(seconds=number * (_DAYS * 86_400) // count)
    device = pl.format("RF-{}", number.cast(pl.String).str.zfill(6))
    frame = pl.DataFrame({"number": number}).with_columns(
        alert_id=pl.format("{}-0000-5000-8000-000000000000", number.cast(pl.String).str.zfill(8)),
        device_id=device,
        site_id=pl.format("S-{}", (number % _SITES).cast(pl.String).str.zfill(4)),
        severity=(number % 10).replace_strict(dict(enumerate("0111222233")), return_dtype=pl.String).replace(
            {"0": SEVERITIES[3], "1": SEVERITIES[2], "2": SEVERITIES[1], "3": SEVERITIES[0]}),
        title=pl.format("Condenser runs warm: 47.3 °C, 6.1 K above the usual, {}", device),
        description=pl.lit("The condenser is 6.1 K warmer than usual at this ambient, since six hours and up. " * 4),
        source=pl.lit("batch"),
        model_id=pl.lit("isolation_forest"),
        anomaly_score=pl.lit(0.91),
        top_contributors=pl.lit(["temp_condenser_mean", "pressure_high_mean", "current_compressor_mean"]),
        models_flagging=pl.lit(2),
        first_detected_at=raised,
        alert_created_at=raised,
        last_seen_at=raised,
        failure_mode=(number % len(FAILURE_MODES)).replace_strict(dict(enumerate(FAILURE_MODES))),
        diagnosis_confidence=pl.lit(0.8),
        evidence=pl.lit(["condenser 6.1 K above the usual", "high side 180 kPa above the usual"]),
        first_check=pl.lit("Look at the condenser coil: dust, leaves, a stalled fan."),
        hours_left=pl.lit(90.0), hours_left_low=pl.lit(40.0), hours_left_high=pl.lit(160.0),
    )  # fmt: skip
    return created(frame.drop("number"), "batch")


def registry(count: int) -> pl.DataFrame:
    known: dict[str, Any] = {**REGISTRY_DEFAULTS, "cohort_id": "cohort-1", "model": "KX-200"}
    number = pl.int_range(count, eager=True)
    frame = pl.DataFrame({"device_id": number}).select(
        pl.format("RF-{}", pl.col("device_id").cast(pl.String).str.zfill(6)).alias("device_id"),
        pl.format("S-{}", (pl.col("device_id") % _SITES).cast(pl.String).str.zfill(4)).alias("site_id"),
        pl.lit(list(SENSOR_NAMES)).alias("expected_sensors"),
        *(pl.lit(value).alias(name) for name, value in known.items()),
    )
    return DEVICE_REGISTRY.conform(frame)


def make(home: Path, count: int) -> dict[str, float]:
    """The lake, and how long its parts took."""
    lake, now = Lake(str(home / "lake")).create(), datetime.now(UTC)
    write_registry(lake, registry(count))
    rows = alerts(count, now - timedelta(minutes=5))
    found = {}
    for name, work in (("append_s", lambda: append_changes(lake, rows)), ("publish_s", lambda: publish_board(lake))):
        began = time.perf_counter()
        work()
        found[name] = time.perf_counter() - began
    ids, took = rows["alert_id"].to_list(), []
    for number in range(_ACTIONS):
        began = time.perf_counter()
        act(lake, Action("acknowledged", f"operator-{number % 3}"), [ids[number * 7]], datetime.now(UTC))
        took.append(time.perf_counter() - began)
    return found | {"act_s": median(took)}


def listed(home: Path, *arguments: str) -> tuple[float, float]:
    """Seconds of a command from its start to its end, the interpreter's start included, and of processors."""
    command = [sys.executable, "-m", "refrig_assets.cli", *arguments]
    environment = {**os.environ, "REFRIG_LAKE": str(home / "lake")}
    before, began = os.times(), time.perf_counter()
    subprocess.run(command, cwd=PROJECT, env=environment, stdout=subprocess.DEVNULL, check=True)
    took, after = time.perf_counter() - began, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return took, cpu


COMMANDS: dict[str, Sequence[str]] = {
    "board_list": ("alerts", "list"),
    "start_up": ("--help",),
    "list_filtered": ("alerts", "list", "--site", "S-0004", "--at-least", "HIGH", "--breached"),
    "list_json": ("alerts", "list", "--json"),
    "list_json_all": ("alerts", "list", "--json", "--limit", "0"),
    "show": ("alerts", "show", "00000007"),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.board", description=__doc__)
    parser.add_argument("--alerts", type=int, help="open alerts (100,000; with --quick 5,000)")
    parser.add_argument("--runs", type=int, help="runs of each command (5; with --quick 1); medians are told")
    parser.add_argument("--quick", action="store_true", help="a first look")
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")
    arguments = parser.parse_args()
    count = arguments.alerts or (QUICK if arguments.quick else FULL)
    runs = arguments.runs or (1 if arguments.quick else 5)
    with tempfile.TemporaryDirectory(prefix="refrig-board-") as home:
        print(f"making a lake of {count:,} open alerts", file=sys.stderr, flush=True)
        made = make(Path(home), count)
        found: dict[str, float] = {}
        for name, words in COMMANDS.items():
            measured = [listed(Path(home), *words) for _ in range(runs)]
            found[f"{name}_s"] = median(took for took, _ in measured)
            found[f"{name}_cpu_s"] = median(cpu for _, cpu in measured)
    figures: dict[str, float | None] = {**found, **made, "alerts": count}
    notes = ("Whole commands, the interpreter's start included; --limit 0 --json writes every alert in full.",)
    if arguments.quick:
        notes = (*notes, "At this size the bar says little: it is for 100,000 alerts.")
    bars = {"board_list_s": Bar(figures["board_list_s"], MAX_LIST_S)}
    print_report(figures, bars, runs, arguments.json, title=f"A board of {count:,} open alerts", notes=notes)


if __name__ == "__main__":
    main()
