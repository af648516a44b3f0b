"""`refrig simulate`: options to the simulator's, and what it says. What a fleet does is `simulator/`."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from refrig_assets.cli.common import (
    Moment,
    debug_option,
    human_bytes,
    json_option,
    now,
    print_json,
    print_table,
    progress_bar,
)
from refrig_assets.cli.simulate_live import feed
from refrig_assets.cli.simulate_options import gather, live_options

if TYPE_CHECKING:
    from refrig_assets.simulator import LandingSummary, Mess


class _SimulateCommand(click.Command):
    """Lists the kinds of faults in its help, from the simulator itself."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from refrig_assets.simulator.faults import FAULTS

        with formatter.section("Kinds of faults (usual share of devices)"):
            formatter.write_dl([(f.name, f"{f.usual_share:.2%}{'' if f.is_machine_fault else ', of the telemetry'}")
                                for f in FAULTS])  # fmt: skip
        super().format_epilog(ctx, formatter)


@click.command(cls=_SimulateCommand)
@click.option("--devices", type=click.IntRange(1), default=1000, show_default=True, help="Devices in the fleet.")
@click.option("--hours", type=click.IntRange(1), default=24, show_default=True, help="Hours of arrival.")
@click.option("--seed", type=int, default=1, show_default=True, help="Same seed, same bytes.")
@click.option("--faults", default="usual", show_default=True, metavar="TEXT",
              help='"usual", "none", or kinds with shares of devices: "bearing_wear=0.02,door_seal=0.01".')  # fmt: skip
@click.option("--mess", default="usual", show_default=True, metavar="usual|none|10x|FLOAT",
              help="How messy the telemetry is: a factor on the usual rates.")  # fmt: skip
@click.option("--start", type=Moment(), default=None, help="First full hour (default: so that it ends now).")
@click.option("--interval", "interval_s", type=int, default=60, show_default=True,
              help="Seconds between a device's readings.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path, file_okay=False),
              help="Folder for landing/, registry.parquet, truth.parquet, mess.json. "
                   "[live default: the spool, or data/live]")  # fmt: skip
@click.option("--compress", is_flag=True, help="Write gzip.")
@live_options
@json_option
@debug_option
def simulate(
    devices: int, hours: int, seed: int, faults: str, mess: str, start: datetime | None,
    interval_s: int, out: Path | None, compress: bool, as_json: bool, **live_given: Any,
) -> None:  # fmt: skip
    """Write a simulated fleet's landing files, its registry, and the truth about its faults; or feed it live.

    Live, the fleet's messages are appended to a spool (or sent to Kafka) in order of arrival, and the truth about its
    faults, with the time each first crosses a streaming rule's limit, is kept in truth.parquet beside the spool.
    Ctrl-C ends; started again on the same spool, it goes on after the last whole line.

    \b
    Examples:
      refrig simulate --devices 200 --hours 48 --out data/sim
      refrig simulate --devices 100000 --hours 1 --faults none --mess none --out /tmp/fleet
      refrig simulate --faults refrigerant_leak_slow=0.05 --mess 10x --out data/sim
      refrig simulate --live --devices 1000 --acute 30 --out data/live
      refrig simulate --live --for 2h --speed max --inject power_loss@+20m --spool data/spool
      refrig simulate --live --devices 100000 --rate 80000 --for 60s --mess none --spool /tmp/spool
      refrig simulate --live --to kafka://localhost:9092/readings --partitions 8
    """
    live = gather(**live_given)
    if live is not None:
        return feed(live, devices, seed, faults, _mess(mess), start, interval_s, out, as_json)
    if out is None:
        raise click.UsageError("Missing option '--out'.")
    from refrig_assets.simulator import FleetSpec, make_fleet, plan_faults, write_landing

    begin = start or now().replace(minute=0, second=0, microsecond=0) - timedelta(hours=hours - 1)
    fleet = make_fleet(devices, seed, begin, interval_s)
    plan = plan_faults(fleet, begin, begin + timedelta(hours=hours), seed, faults)
    spec = FleetSpec(devices, seed, begin, hours, plan, _mess(mess), interval_s)
    with progress_bar(f"Simulating {devices:,} devices, hours") as progress:
        summary = write_landing(spec, out, progress, compress)
    _report(summary, begin, hours, plan.truth.height, as_json)
    return None


def _mess(text: str) -> "Mess":
    """usual, none, or a factor on the usual rates."""
    from refrig_assets.simulator import Mess

    if text in ("usual", "none"):
        return Mess.usual() if text == "usual" else Mess.none()
    try:
        factor = float(text.lower().removesuffix("x"))
    except ValueError:
        factor = -1.0
    if not 0 <= factor < float("inf"):
        raise click.BadParameter(f"{text!r} is none of: usual, none, a factor like 10x or 0.5", param_hint="--mess")
    return Mess.usual().times(factor)


def _report(summary: "LandingSummary", begin: datetime, hours: int, faults: int, as_json: bool) -> None:
    end = begin + timedelta(hours=hours)
    document: dict[str, Any] = {
        "out": str(summary.out), "landing": str(summary.out / "landing"), "start": begin, "end": end,
        "files": summary.files, "bytes": summary.bytes, "faults": faults, "account": summary.account,
    }  # fmt: skip
    if as_json:
        return print_json(document)
    rows = [(name.replace("_", " "), f"{count:,}") for name, count in summary.account.items() if count]
    print_table("What was written", ("lines", "count"), rows, right=(1,))
    click.echo(
        f"{summary.files:,} files, {human_bytes(summary.bytes)}, {faults} faults, "
        f"{begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC, in {summary.out}"
    )
    click.echo(f"Next: REFRIG_LANDING={summary.out}/landing REFRIG_REGISTRY={summary.out}/registry.parquet "
               "for the assets, or refrig demo")  # fmt: skip
    return None
