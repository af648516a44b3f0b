"""`refrig demo`: a fleet with history on this machine, made by the same jobs a plant would run, then the UI."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from refrig_assets.cli.common import console, debug_option, json_option, now, print_json, print_table, progress_bar

if TYPE_CHECKING:
    import dagster as dg

    from refrig_assets.cli.demo_live import LiveDemo
    from refrig_assets.simulator import FaultPlan, Fleet

_MARKER = ".refrig-demo"
_HOURS_A_RUN = 24


@click.command()
@click.option("--devices", default=200, show_default=True, help="How many machines.")
@click.option("--hours", default=48, show_default=True, help="How many hours of history.")
@click.option("--seed", default=7, show_default=True, help="Another seed is another fleet.")
@click.option("--faults", default="usual", show_default=True, help="Faults to inject, as in `refrig simulate`.")
@click.option("--mess", default=1.0, show_default=True, help="How messy the telemetry is, in multiples of the usual.")
@click.option("--acute", default=20.0, show_default=True, type=click.FloatRange(0),
              help="Acute faults an hour in the live part.")  # fmt: skip
@click.option("--dir", "home", default="data/demo", show_default=True, type=click.Path(path_type=Path),
              help="Where the demo lives. Made anew each time.")  # fmt: skip
@click.option("--port", default=3000, show_default=True, help="The UI's port.")
@click.option("--once", is_flag=True, help="End with the summary instead of leaving the UI running.")
@json_option
@debug_option
def demo(devices: int, hours: int, seed: int, faults: str, mess: float, acute: float, home: Path, port: int, once: bool,
         as_json: bool) -> None:  # fmt: skip
    """Simulate a fleet with history, land it, make raw, clean and features through Dagster, and open the UI.

    Then the fleet goes on live: its messages go through the stream, acute faults are injected, and the alerts are
    shown as they come, each with the time it took and the truth. With --once a short live part is compared instead.

    Nothing but this machine is needed: no server, no account. Everything is written under --dir.

    \b
    Examples:
      refrig demo
      refrig demo --once --devices 1000 --hours 24
    """
    from refrig_assets.cli.demo_live import ONCE_MINUTES, LiveDemo, run_once
    from refrig_assets.simulator import Mess

    # Early enough that the first live minutes lie in the past, too.
    end = (now() - timedelta(minutes=ONCE_MINUTES + 1)).replace(minute=0, second=0, microsecond=0)
    start = end - timedelta(hours=hours)
    environment = _prepare(home, start)
    took: dict[str, float] = {}
    account, fleet, plan = _simulate(home, devices, hours, seed, faults, mess, start, took)
    counted = _make(home, start, hours, took)
    document: dict[str, Any] = {"sent": account, "counted": counted, "seconds": took, "home": str(home)}
    going_on = (home, environment["REFRIG_LAKE"], fleet, plan, Mess.usual().times(mess), end)
    if once:
        document["live"] = run_once(*going_on)
    if as_json:
        print_json(document)
    else:
        _show(document, plan)
    if not once:
        _serve(home, environment, port, LiveDemo(*going_on, acute, environment))


def _prepare(home: Path, start: datetime) -> dict[str, str]:
    """An empty home and the environment that points everything to it."""
    if home.exists():
        if not (home / _MARKER).exists() and any(home.iterdir()):
            raise ValueError(f"{home} holds something else than a demo; choose another --dir")
        shutil.rmtree(home)
    home.mkdir(parents=True)
    (home / _MARKER).touch()
    environment = {
        "REFRIG_LAKE": str(home / "lake"),
        "REFRIG_LANDING": str(home / "landing"),
        "REFRIG_REGISTRY": str(home / "registry.parquet"),
        "REFRIG_FIRST_DAY": f"{start:%Y-%m-%d}",
        "REFRIG_SETTLE_SECONDS": "0",
        "REFRIG_AUTOMATION": "on",
        "DAGSTER_HOME": str((home / "dagster").resolve()),
    }
    os.environ.update(environment)
    return environment


def _simulate(
    home: Path, devices: int, hours: int, seed: int, faults: str, mess: float, start: datetime, took: dict[str, float]
) -> tuple[Mapping[str, int], "Fleet", "FaultPlan"]:
    from refrig_assets.simulator import FleetSpec, Mess, make_fleet, plan_faults, write_landing

    begun = time.perf_counter()
    fleet = make_fleet(devices, seed, start)
    # Faults go on for a day after now, so that the live hours have some growing, too.
    plan = plan_faults(fleet, start, start + timedelta(hours=hours + 24), seed, faults)
    spec = FleetSpec(devices, seed, start, hours, plan, Mess.usual().times(mess))
    with progress_bar(f"Simulating {devices:,} machines over {hours} hours") as progress:
        summary = write_landing(spec, home, progress)
    took["simulate"] = time.perf_counter() - begun
    return dict(summary.account), fleet, plan


def _make(home: Path, start: datetime, hours: int, took: dict[str, float]) -> dict[str, Any]:
    """Registry, hours and days, each through its Dagster job."""
    import dagster as dg

    from refrig_assets.definitions import defs
    from refrig_assets.defs.home import prepare_home
    from refrig_assets.defs.launch import run_job

    end = start + timedelta(hours=hours)
    checks: list[dict[str, Any]] = []
    with dg.DagsterInstance.from_config(str(prepare_home(home / "dagster", renew=True))) as instance:
        begun = time.perf_counter()
        _note(checks, run_job(defs, "registry", instance, quiet=True))
        with progress_bar("Landing, cleaning, making features") as progress:
            for done in range(0, hours, _HOURS_A_RUN):
                progress(done, hours)
                first = start + timedelta(hours=done)
                last = min(end, first + timedelta(hours=_HOURS_A_RUN))
                _note(checks, run_job(defs, "hourly", instance, start=first, end=last, quiet=True))
        took["raw, clean, features"] = time.perf_counter() - begun
        begun = time.perf_counter()
        midnight = start.replace(hour=0)
        _note(checks, run_job(defs, "daily", instance, start=midnight, end=end, quiet=True))
        took["daily"] = time.perf_counter() - begun
    return {**_counted(), "checks": checks}


def _note(checks: list[dict[str, Any]], result: "dg.ExecuteInProcessResult") -> None:
    """Each check's last word over the runs, a failure not forgotten."""
    for found in result.get_asset_check_evaluations():
        name = f"{found.asset_key.to_user_string()}/{found.check_name}"
        known = next((c for c in checks if c["check"] == name), None)
        entry = {"check": name, "passed": found.passed, "severity": found.severity.value, "says": found.description}
        if known is None:
            checks.append(entry)
        elif known["passed"]:
            known.update(entry)


def _counted() -> dict[str, Any]:
    """What the tables hold."""
    import polars as pl

    from refrig_assets.contracts import CLEAN_READINGS, DEAD_LETTER, DEVICE_FEATURES, LANDING_LOG
    from refrig_assets.lake import Lake
    from refrig_assets.pipeline.hours import read_accounts

    lake = Lake.from_environment()
    log = lake.table(LANDING_LOG).read()
    accounts = read_accounts(lake, datetime.fromisoformat("2000-01-01T00:00:00+00:00"), now() + timedelta(days=1))
    clean = accounts.filter((pl.col("table") == CLEAN_READINGS.name) & pl.col("other_hour").is_null())
    by_account = dict(clean.group_by("account").agg(pl.col("rows").sum()).sort("account").iter_rows())
    letters = lake.table(DEAD_LETTER).read()
    windows = (
        lake.table(DEVICE_FEATURES).scan().group_by("window_duration_minutes").len().sort("window_duration_minutes")
    )
    return {
        "lines": int(log["messages"].sum()),
        "rows_landed": int(log["rows_landed"].sum()),
        "messages_joined": int(log["messages_joined"].sum()),
        "dead_letters_at_landing": letters.filter(pl.col("stage") == "landing").height,
        "accounts": {k: v for k, v in by_account.items() if not k.startswith("flag:")},
        "flags": {k.removeprefix("flag:"): v for k, v in by_account.items() if k.startswith("flag:")},
        "windows": {f"{minutes} min": n for minutes, n in windows.collect().iter_rows()},
    }


def _show(document: Mapping[str, Any], plan: "FaultPlan") -> None:
    from refrig_assets.cli.demo_live import show_once

    counted, sent = document["counted"], document["sent"]
    landed = counted["rows_landed"] + counted["messages_joined"] + counted["dead_letters_at_landing"]
    rows = [
        ("lines sent", f"{sent['lines']:,}", ""),
        ("= rows landed", f"{counted['rows_landed']:,}", ""),
        ("+ narrow messages joined to a row", f"{counted['messages_joined']:,}", ""),
        (
            "+ dead letters",
            f"{counted['dead_letters_at_landing']:,}",
            "✓ to the row" if landed == sent["lines"] else "✗",
        ),
    ]
    accounts = counted["accounts"]
    rows.append(("raw rows", f"{accounts['raw']:,}", ""))
    for name in ("clean", "duplicate", "quarantined", "dead_letter"):
        rows.append((f"{'=' if name == 'clean' else '+'} {name}", f"{accounts[name]:,}", ""))
    whole = sum(accounts[n] for n in ("clean", "duplicate", "quarantined", "dead_letter"))
    rows[-1] = (*rows[-1][:2], "✓ to the row" if whole == accounts["raw"] else "✗")
    print_table("Where every message went", ("", "count", ""), rows, right=(1,))
    print_table("Quality flags", ("flag", "rows"), [(k, f"{v:,}") for k, v in counted["flags"].items()], right=(1,))
    print_table(
        "Feature windows", ("length", "windows"), [(k, f"{v:,}") for k, v in counted["windows"].items()], right=(1,)
    )
    marks = {True: "✓", False: "✗"}
    print_table(
        "Asset checks",
        ("", "check", "finding"),
        [(marks[c["passed"]], c["check"], c["says"]) for c in counted["checks"]],
    )
    if "live" in document:
        show_once(document["live"])
    truth = plan.truth.group_by("fault").len("devices").sort("fault")
    print_table("Faults injected (the truth, beside the data)", ("fault", "devices"), truth.rows(), right=(1,))
    console().print("Took " + ", ".join(f"{name} {seconds:.0f} s" for name, seconds in document["seconds"].items()))
    console().print(
        f"A failed dead_letter_rate or completeness check is the injected mess, found. Data: {document['home']}"
    )


def _serve(home: Path, environment: Mapping[str, str], port: int, live: "LiveDemo") -> None:
    """The UI with schedules and sensors on, the fleet going on reporting, and its alerts, until interrupted."""
    command = [sys.executable, "-m", "dagster", "dev", "-m", "refrig_assets.definitions", "-p", str(port)]
    with (home / "dagster-dev.log").open("w") as log:
        server = subprocess.Popen(command, env={**os.environ, **environment}, stdout=log, stderr=subprocess.STDOUT)
        console().print(f"\n[bold]The UI: http://localhost:{port}[/]  (log: {log.name}; Ctrl-C ends)")
        console().print(f"The stream's alerts, as they come (log: {home / 'stream.log'}):")
        try:
            live.watch(lambda: server.poll() is None)
            raise RuntimeError(f"the Dagster UI ended with code {server.returncode}; see {log.name}")
        except KeyboardInterrupt:
            console().print("\nending the UI and the stream …")
        finally:
            server.terminate()
            server.wait()
