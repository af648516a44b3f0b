"""`refrig demo`: a fleet with history on this machine, made by the same jobs a plant would run, then the UI."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from refrig_assets.cli.common import console, debug_option, json_option, now, print_json
from refrig_assets.cli.demo_plan import LEAST_DAYS, LEAST_DEVICES, DemoSpec

if TYPE_CHECKING:
    from refrig_assets.cli.demo_live import LiveDemo

_MARKER = ".refrig-demo"
_SERVER_ENDS_S = 30.0


@click.command()
@click.option(
    "--devices", default=300, show_default=True, type=click.IntRange(LEAST_DEVICES), help="How many machines."
)
@click.option("--days", default=21, show_default=True, type=click.IntRange(LEAST_DAYS),
              help="Days of history. The first two thirds are trained on, the rest is scored.")  # fmt: skip
@click.option("--seed", default=7, show_default=True, help="Another seed is another fleet with other faults.")
@click.option("--mess", default=1.0, show_default=True, help="How messy the telemetry is, in multiples of the usual.")
@click.option("--acute", default=20.0, show_default=True, type=click.FloatRange(0),
              help="Acute faults an hour in the live part.")  # fmt: skip
@click.option("--dir", "home", default="data/demo", show_default=True, type=click.Path(path_type=Path),
              help="Where the demo lives. Made anew each time.")  # fmt: skip
@click.option("--port", default=3000, show_default=True, help="The UI's port.")
@click.option("--once", is_flag=True, help="End with the summary instead of leaving the UI running.")
@json_option
@debug_option
def demo(devices: int, days: int, seed: int, mess: float, acute: float, home: Path, port: int, once: bool,
         as_json: bool) -> None:  # fmt: skip
    """A whole fleet with three weeks of history: from messages to alerts with diagnoses, then live, in the UI.

    Machines are simulated with faults of known kind, size and time. Their messages land, are cleaned, and become
    windows and trends; four models are trained on the first two thirds and score the rest hour by hour; what stands
    out becomes alerts. All of it runs as Dagster runs. Then what was injected is held against what was found.

    After that the fleet goes on live: its messages go through the stream, acute faults are injected, and the alerts
    are shown as they come, each with the time it took and the truth. With --once a short live part is compared.

    Nothing but this machine is needed: no server, no account. Everything is written under --dir, which is emptied
    first: a second demo begins anew. Ctrl-C ends the UI, the stream and the feed, and leaves the data.

    \b
    Examples:
      refrig demo
      refrig demo --once
      refrig demo --devices 40 --days 6 --once --json
    """
    from refrig_assets.cli.demo_live import ONCE_MINUTES

    if as_json and not once:
        raise click.UsageError("--json prints one document at the end: it goes with --once")
    begun = time.perf_counter()
    # Early enough that the first live minutes lie in the past, too.
    end = (now() - timedelta(minutes=ONCE_MINUTES + 1)).replace(minute=0, second=0, microsecond=0)
    spec = DemoSpec(devices, 24 * days, seed, end)
    environment = _prepare(home, spec.start)
    with _ended_by_sigterm():
        document, live = _make(spec, mess, acute, home, environment, once)
        document["wall_seconds"] = round(time.perf_counter() - begun, 1)
        if as_json:
            print_json(document)
        else:
            _show(document, home, None if once else f"http://localhost:{port}")
        if not once:
            _serve(home, environment, port, live)


def _prepare(home: Path, start: datetime) -> dict[str, str]:
    """An empty home and the environment that points everything to it."""
    if home.exists():
        if not (home / _MARKER).exists() and any(home.iterdir()):
            raise ValueError(f"{home} holds something else than a demo; choose another --dir")
        shutil.rmtree(home)
    home.mkdir(parents=True)
    (home / _MARKER).touch()
    return {
        "REFRIG_LAKE": str(home / "lake"),
        "REFRIG_LANDING": str(home / "landing"),
        "REFRIG_REGISTRY": str(home / "registry.parquet"),
        "REFRIG_MODELS": f"sqlite:///{(home / 'models' / 'mlflow.db').resolve()}",
        "REFRIG_REPORTS": str(home / "reports"),
        "REFRIG_FIRST_DAY": f"{start:%Y-%m-%d}",
        "REFRIG_SETTLE_SECONDS": "0",
        "REFRIG_AUTOMATION": "on",
        "DAGSTER_HOME": str((home / "dagster").resolve()),
    }


def _make(
    spec: DemoSpec, mess_times: float, acute: float, home: Path, environment: Mapping[str, str], once: bool
) -> tuple[dict[str, Any], "LiveDemo"]:
    """The history and, with `once`, the short live part; what came of both, and the live demo that may follow."""
    from refrig_assets.cli import demo_work
    from refrig_assets.cli.demo_found import compare_history
    from refrig_assets.cli.demo_history import helpers, make_history, totals
    from refrig_assets.cli.demo_live import LiveDemo, run_once
    from refrig_assets.cli.demo_plan import demo_plan
    from refrig_assets.cli.demo_progress import stages
    from refrig_assets.lake import Lake
    from refrig_assets.pipeline.alert_log import read_log
    from refrig_assets.simulator import Mess

    fleet, lake, mess = spec.fleet(), Lake(environment["REFRIG_LAKE"]), Mess.usual().times(mess_times)
    plan = demo_plan(fleet, spec)
    going_on = (home, lake.uri, fleet, plan, mess, spec.end)
    with stages(totals(spec)) as tell, helpers(environment, tell) as made:
        history = make_history(spec, home, lake.uri, plan, mess, made, tell)
        document: dict[str, Any] = {
            "home": str(home),
            "sent": history.account,
            "counted": _counted(lake, spec.end),
            "history": compare_history(read_log(lake), plan.truth, fleet.device_ids, spec.trained_until, spec.end),
        }
        if once:
            document["live"] = run_once(*going_on)
            history.note("live", made.models.submit(demo_work.live_hour, spec.end).result())
    document |= {"checks": list(history.checks.values()), "seconds": history.seconds, "processor_seconds": history.busy}
    return document, LiveDemo(*going_on, acute, environment)


def _counted(lake: Any, end: datetime) -> dict[str, Any]:
    """What became of the messages, by the tables' own books."""
    import polars as pl

    from refrig_assets.contracts import CLEAN_READINGS, DEAD_LETTER, LANDING_LOG
    from refrig_assets.pipeline.hours import read_accounts

    log = lake.table(LANDING_LOG).read()
    accounts = read_accounts(lake, datetime.fromisoformat("2000-01-01T00:00:00+00:00"), end)
    clean = accounts.filter((pl.col("table") == CLEAN_READINGS.name) & pl.col("other_hour").is_null())
    by_account = dict(clean.group_by("account").agg(pl.col("rows").sum()).sort("account").iter_rows())
    letters = lake.table(DEAD_LETTER).read()
    return {
        "lines": int(log["messages"].sum()),
        "rows_landed": int(log["rows_landed"].sum()),
        "messages_joined": int(log["messages_joined"].sum()),
        "dead_letters_at_landing": letters.filter(pl.col("stage") == "landing").height,
        "accounts": {k: v for k, v in by_account.items() if not k.startswith("flag:")},
        "flags": {k.removeprefix("flag:"): v for k, v in by_account.items() if k.startswith("flag:")},
    }


def _show(document: Mapping[str, Any], home: Path, url: str | None) -> None:
    from refrig_assets.cli.demo_telling import show, show_next

    show(document, home)
    show_next(home, document["history"]["faults"], url)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """A demo that is asked to end does so as by Ctrl-C: helpers, stream and UI end with it."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _serve(home: Path, environment: Mapping[str, str], port: int, live: "LiveDemo") -> None:
    """The UI with schedules and sensors on, the fleet going on reporting, and its alerts, until interrupted."""
    command = [sys.executable, "-m", "dagster", "dev", "-m", "refrig_assets.definitions", "-p", str(port)]
    environment = {**environment, "REFRIG_UI_URL": f"http://localhost:{port}"}
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
            try:
                server.wait(_SERVER_ENDS_S)
            except subprocess.TimeoutExpired:
                server.kill()
