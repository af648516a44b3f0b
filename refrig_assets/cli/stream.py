"""`refrig stream`: options, signals and the summary at the end. The stream itself is the package `streaming`."""

import json
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from refrig_assets.cli.common import debug_option, json_option, lake_option, now

DEFAULT_SOURCE = "spool:data/spool"
DEFAULT_PORT = 9464


@click.command()
@lake_option
@click.option("--source", envvar="REFRIG_SOURCE", default=DEFAULT_SOURCE, show_default=True, show_envvar=True,
              metavar="URI", help="spool:DIR, or kafka://host:9093/topic[,topic2].")  # fmt: skip
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE",
              help="Property of the Kafka client, e.g. sasl.password=env:KAFKA_PASSWORD. Repeatable.")  # fmt: skip
@click.option("--processes", type=click.IntRange(1), default=1, show_default=True,
              help="Worker processes; about one a core pays.")  # fmt: skip
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Threads a process.")
@click.option("--commit-every", "commit_every_s", type=click.FloatRange(0.2, 300), default=15.0, show_default=True,
              metavar="SECONDS", help="How often rows, offsets and state are committed.")  # fmt: skip
@click.option("--until-eof", is_flag=True, help="End when everything that is there has been read.")
@click.option("--port", type=click.IntRange(0, 65535), default=None, metavar="PORT",
              help=f"Where /metrics, /health and /status are served; 0 is any free port.  [default: {DEFAULT_PORT}, "
              "none with --until-eof]")  # fmt: skip
@click.option("--host", default="127.0.0.1", show_default=True, help="The address these are served on.")
@click.option("--state-dir", default="", metavar="DIR",
              help="Where lock, recovery store and heartbeat live.  [default: the lake, or data/stream]")  # fmt: skip
@json_option
@debug_option
def stream(
    lake_uri: str,
    source: str,
    options: Sequence[str],
    port: int | None,
    host: str,
    as_json: bool,
    **settings: Any,
) -> None:
    """Land messages as they come and raise CRITICAL alerts within seconds.

    Reads device messages from a spool or from Kafka, lands them in raw_sensor_readings (each once, whatever dies in
    between), dead-letters what cannot be read, judges the four acute rules, and appends alerts to device_alerts.
    Ctrl-C or SIGTERM finishes what it holds and ends with 0. Logs are JSON lines on stderr.

    \b
    Examples:
      refrig stream
      refrig stream --source spool:/srv/refrig/spool --processes 2
      refrig stream --until-eof            # catch up, then end
      refrig stream --source kafka://ns.servicebus.windows.net:9093/telemetry \\
        --option security.protocol=SASL_SSL --option sasl.mechanism=PLAIN \\
        --option 'sasl.username=$ConnectionString' --option sasl.password=env:EVENT_HUBS
    """
    from streaming.health import serve
    from streaming.logs import log_as_json
    from streaming.settings import StreamSettings
    from streaming.status import Status
    from streaming.supervise import Supervisor
    from streaming.transports.opening import open_transport

    log_as_json("supervisor")
    storage = json.loads(os.environ.get("REFRIG_STORAGE_OPTIONS", "{}"))
    chosen = StreamSettings(lake_uri, source, storage, _properties(options), **settings)
    open_transport(chosen.source, chosen.source_options)  # a wrong URI is said here, not by a dying worker
    status = Status()
    supervisor = Supervisor(chosen, status)
    if port is None and not chosen.until_eof:
        port = DEFAULT_PORT
    with _stopped_by_signals(supervisor.stopping), serve(status, chosen, host, port):
        supervisor.run()
    report = status.report(chosen, now())
    if as_json:
        click.echo(json.dumps(report))
    else:
        click.echo(
            f"{report['messages']:,} messages: {report['rows']:,} rows and {report['dead']:,} dead letters landed, "
            f"{report['joined']:,} joined; {report['alerts']:,} alerts, {report['suppressed']:,} more suppressed"
        )


def _properties(options: Sequence[str]) -> dict[str, str]:
    found = {}
    for option in options:
        name, sign, value = option.partition("=")
        if not sign or not name:
            raise click.BadParameter(f"{option!r} is not NAME=VALUE", param_hint="--option")
        found[name] = value
    return found


@contextmanager
def _stopped_by_signals(stopping: threading.Event) -> Iterator[None]:
    """The first signal asks for an orderly end; the default handling comes back for a second one."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def stop(number: int, _frame: object) -> None:
        click.echo("finishing what is held, then ending (once more: end at once)", err=True)
        for one, handler in before.items():
            signal.signal(one, handler)
        stopping.set()

    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
