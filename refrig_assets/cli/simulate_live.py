"""`refrig simulate --live`: a feed from start to end, its progress and truth. How a fleet is fed is `simulator/`."""

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from refrig_assets.cli.common import console, human_bytes, now, print_json, print_table
from refrig_assets.cli.simulate_options import Duration, Live

if TYPE_CHECKING:
    import polars as pl

    from refrig_assets.simulator import Mess
    from refrig_assets.simulator.acute import Acute, Injector
    from refrig_assets.simulator.pace import Pacer, Sent, Target

_DAY = timedelta(hours=24)
_LAP_MESSAGES = 200_000


def feed(live: Live, devices: int, seed: int, faults: str, mess: "Mess", start: datetime | None, interval_s: int,
         out: Path | None, as_json: bool) -> None:  # fmt: skip
    """Feed until the end, Ctrl-C or SIGTERM; then say what was sent."""
    from refrig_assets.simulator import make_fleet, plan_faults
    from refrig_assets.simulator.acute import Injector
    from refrig_assets.simulator.live import Feed

    begin = (start or _default_start(live, devices, interval_s)).replace(second=0, microsecond=0)
    lap = timedelta(minutes=max(1, min(60, _LAP_MESSAGES // devices)))
    duration = lap if live.rate else live.duration
    end = begin + duration if duration else None
    fleet = make_fleet(devices, seed, begin.replace(minute=0), interval_s)
    # A day's faults: in the ten minutes of a short feed are only those that fall into them.
    plan = plan_faults(fleet, fleet.start, max(end or begin, begin + _DAY), seed, faults)
    injector = Injector(fleet, plan, seed, begin, end, live.acute, _injected(live.inject, begin))
    folder = out or live.spool or Path("data/live")
    folder.mkdir(parents=True, exist_ok=True)
    fleet.registry.write_parquet(folder / "registry.parquet")
    truth = _TruthFile(folder / "truth.parquet", injector)
    target, where = _target(live, folder)
    source = Feed(injector, mess, begin, live.partitions)
    with _stop_on_signals() as stop, _progress(injector) as show:
        from refrig_assets.simulator.pace import Pacer

        def tell(sent: "Sent") -> None:
            truth.write_if_grown()
            show(sent)

        pacer = Pacer(target, time.time, stop.wait, stop.is_set, tell)
        try:
            laps = _send(live, source, pacer, duration)
        finally:
            target.close()
    truth.write(lap, laps)
    _report(pacer.sent, begin, where, folder, truth.rows, as_json)


def _default_start(live: Live, devices: int, interval_s: int) -> datetime:
    """Now in real time; faster than time, so that it ends now, or catches up with it."""
    if live.rate and live.duration:
        return now() - timedelta(seconds=live.duration.total_seconds() * live.rate * interval_s / devices)
    if live.rate:
        return now() - _DAY
    return now() if live.speed == 1 else now() - (live.duration or _DAY)


def _send(live: Live, source: Any, pacer: "Pacer", duration: timedelta | None) -> int:
    """Returns how many laps were begun, one where there are none."""
    from refrig_assets.simulator.laps import Laps

    minutes = None if duration is None else max(1, round(duration.total_seconds() / 60))
    if live.rate is None or minutes is None:
        pacer.by_clock(source.batches(minutes), live.speed)
        return 1
    laps = Laps(next(source.batches(minutes, minutes)))
    if not laps.batch.messages:
        raise ValueError(f"the fleet sends nothing in {minutes} minutes; choose more devices")
    begun = 0

    def batches() -> Iterator[Any]:
        nonlocal begun
        while True:
            begun += 1
            yield laps.lap(begun - 1)

    limit = round(live.rate * live.duration.total_seconds()) if live.duration else None
    pacer.by_rate(batches(), live.rate, limit)
    return begun


def _injected(texts: tuple[str, ...], begin: datetime) -> list["Acute"]:
    from refrig_assets.simulator.acute import Acute

    found = []
    for text in texts:
        what, at, after = text.partition("@+")
        kind, _, device = what.partition(":")
        if not at:
            raise click.BadParameter(f"{text!r} is not like power_loss@+5m", param_hint="--inject")
        found.append(Acute(kind, begin + Duration().convert(after, None, None), device or None))
    return found


def _target(live: Live, folder: Path) -> tuple["Target", str]:
    if live.to:
        from refrig_assets.simulator.kafka_writer import KafkaWriter

        for text in live.kafka_options:
            if "=" not in text:
                raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--option")
        options = dict(text.split("=", 1) for text in live.kafka_options)
        return KafkaWriter(live.to, live.partitions, options), live.to
    from refrig_assets.simulator.spool_writer import Spool

    spool = live.spool or folder / "spool"
    return Spool(spool), f"spool:{spool}"


class _TruthFile:
    """The truth so far, beside the spool, never in it."""

    def __init__(self, path: Path, injector: "Injector") -> None:
        self._path, self._injector = path, injector
        self.rows = injector.truth
        self.write()

    def write_if_grown(self) -> None:
        if self._injector.added != self._added:
            self.write()

    def write(self, lap: timedelta = timedelta(0), laps: int = 1) -> None:
        import polars as pl

        self._added = self._injector.added
        times = pl.col("onset", "failure_time", "ended_at", "crossed_at")
        self.rows = pl.concat([self._injector.truth.with_columns(times + lap * n) for n in range(laps)])
        half = self._path.with_name(self._path.name + ".tmp")
        self.rows.write_parquet(half)
        half.replace(self._path)


@contextmanager
def _stop_on_signals() -> Iterator[threading.Event]:
    """Ctrl-C and SIGTERM end the feed at a whole message."""
    stop = threading.Event()
    before = {s: signal.signal(s, lambda *_: stop.set()) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)


@contextmanager
def _progress(injector: "Injector") -> Iterator[Callable[["Sent"], None]]:
    """A line on stderr, renewed in a terminal, else one every ten seconds."""
    terminal = sys.stderr.isatty()
    shown = [0.0]

    def show(sent: "Sent") -> None:
        if sent.now - shown[0] >= (0.5 if terminal else 10):
            shown[0] = sent.now
            click.echo(("\r\x1b[2K" if terminal else "") + progress_line(sent, injector), err=True, nl=not terminal)

    yield show
    if terminal and shown[0]:
        click.echo(err=True)


def progress_line(sent: "Sent", injector: "Injector") -> str:
    reached = _moment(sent.reached_us)
    active = injector.active(reached)
    named = ", ".join(f"{fault} {device}" for device, fault in active[:3]) + (" …" if len(active) > 3 else "")
    faults = f"{len(active)} faults active" + (f": {named}" if active else "")
    return f"{sent.messages:,} messages, {sent.rate:,.0f}/s, fleet time {reached:%Y-%m-%d %H:%M:%S}, {faults}"


def _moment(fleet_us: int) -> datetime:
    return datetime.fromtimestamp(fleet_us / 1e6, now().tzinfo)


def _report(sent: "Sent", begin: datetime, where: str, folder: Path, truth: "pl.DataFrame", as_json: bool) -> None:
    crossed = dict(truth.drop_nulls("rule").group_by("rule").len().sort("rule").iter_rows())
    document = {
        "source": where, "registry": str(folder / "registry.parquet"), "truth": str(folder / "truth.parquet"),
        "messages": sent.messages, "bytes": sent.bytes, "seconds": round(sent.seconds, 3), "rate": round(sent.rate, 1),
        "start": begin, "end": max(begin, _moment(sent.reached_us)),
        "faults": truth.select("device_id", "onset").n_unique(), "limits_crossed": crossed,
    }  # fmt: skip
    if as_json:
        return print_json(document)
    rows = [(rule, f"{count:,}") for rule, count in crossed.items()]
    print_table("Limits crossed (the truth, beside the data)", ("rule", "faults"), rows, right=(1,))
    console().print(
        f"{sent.messages:,} messages ({human_bytes(sent.bytes)}) in {sent.seconds:.1f} s, {sent.rate:,.0f} a second, "
        f"fleet time {document['start']:%H:%M} to {document['end']:%H:%M} UTC, to {where}"
    )
    console().print(
        f"Next: REFRIG_REGISTRY={document['registry']} refrig doctor --create (registers these devices in a new lake; "
        f"in another the job registry does), then refrig stream --source {where}",
        soft_wrap=True,
    )
    return None
