"""`refrig maintenance`: work planned and done on machines: imported, added by hand, listed."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from refrig_assets.cli.alerts_options import Span
from refrig_assets.cli.alerts_telling import SHORT_ID, counted, stamp
from refrig_assets.cli.common import Moment, debug_option, json_option, lake_option, now, print_json, print_table
from refrig_assets.cli.group import LazyGroup

if TYPE_CHECKING:
    from refrig_assets.pipeline.maintenance import Import

_HERE = "refrig_assets.cli.maintenance"
EVENT_TYPES = ("preventive", "corrective", "emergency")
_SHOWN = 20
COMMANDS = {
    "import": (f"{_HERE}:import_", "Take events from a CSV, Parquet or JSON file."),
    "add": (f"{_HERE}:add", "Say of one machine what was done or is planned."),
    "list": (f"{_HERE}:list_", "What was done and what is planned."),
}
maintenance = LazyGroup(
    name="maintenance",
    commands_at=COMMANDS,
    help="""Work planned and done on machines.

What was done explains why a machine behaves differently, and which windows training must leave out: the two days
after each repair, and the time a machine was broken.

\b
Examples:
  refrig maintenance import cmms-export.csv --dry-run
  refrig maintenance add RF-000017 --type corrective --work "condenser fan replaced" --part fan
  refrig maintenance list --device RF-000017
""",
)
close_option = click.option("--close-alerts", is_flag=True, help="Resolve the alert that led to a corrective or "
                            "emergency work, once it is done.")  # fmt: skip


def _columns(_ctx: click.Context, _param: click.Parameter, value: tuple[str, ...]) -> dict[str, str]:
    pairs = [one.partition("=") for one in value]
    wrong = [one for one, (_, sign, column) in zip(value, pairs, strict=True) if not sign or not column]
    if wrong:
        raise click.BadParameter(f"{wrong[0]!r} is not NAME=COLUMN")
    return {name: column for name, _, column in pairs}


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--column", "columns", multiple=True, callback=_columns, metavar="NAME=COLUMN",
              help="Which of the file's columns is which, where its name does not tell. May be repeated.")  # fmt: skip
@close_option
@click.option("--dry-run", is_flag=True, help="Say what would become of the rows; write nothing.")
@lake_option
@json_option
@debug_option
@click.pass_context
def import_(
    ctx: click.Context, file: Path, columns: dict[str, str], close_alerts: bool, dry_run: bool, lake_uri: str,
    as_json: bool,
) -> None:  # fmt: skip
    """Import maintenance events from a CSV, Parquet or JSON file (an array, or one object a line).

    Columns are found by their names, without regard to case, spaces and underscores: event_id, device_id, event_type
    (preventive, corrective, emergency), scheduled_date, completed_date, work_description, parts_replaced (semicolons
    between), triggered_by_alert_id, pre_maintenance_score, post_maintenance_score. Times are ISO 8601, without an
    offset UTC. Device, type and a date are needed; an event without identity is given one of these three.

    Importing again writes nothing new. An event that is done replaces its planned form; one that was done is not
    changed any more. Rows that cannot be taken are told with their number and the reason; the others are taken, and
    the command ends with 1.

    \b
    Examples:
      refrig maintenance import cmms-export.csv --dry-run
      refrig maintenance import cmms-export.csv --column event_id=Ticket --column event_type="Order kind"
      refrig maintenance import done.parquet --close-alerts --json
    """
    from refrig_assets.cli.alerts import open_board
    from refrig_assets.pipeline.maintenance import import_file

    lake = open_board(lake_uri)
    found = import_file(lake, file, now(), columns=columns, close_alerts=close_alerts, dry_run=dry_run)
    if as_json:
        print_json(_document(found, dry_run))
    else:
        _tell(found, dry_run)
    ctx.exit(1 if found.rejected else 0)


@click.command()
@click.argument("device")
@click.option("--type", "event_type", required=True, type=click.Choice(EVENT_TYPES), help="Kind of work.")
@click.option("--work", default="", metavar="TEXT", help="What was done.")
@click.option("--planned", type=Moment(), help="For when it is or was planned, in UTC  [default: when it was done]")
@click.option("--done", type=Moment(), help="When it was done, in UTC  [default: now, unless --planned is given]")
@click.option("--part", "parts", multiple=True, metavar="PART", help="A part that was replaced. May be repeated.")
@click.option("--alert", metavar="ID", help="The alert that led to it.")
@click.option("--id", "event_id", metavar="ID", help="Its identity elsewhere; said again, it is the same work.")
@close_option
@lake_option
@json_option
@debug_option
def add(
    device: str, event_type: str, work: str, planned: datetime | None, done: datetime | None, parts: tuple[str, ...],
    alert: str | None, event_id: str | None, close_alerts: bool, lake_uri: str, as_json: bool,
) -> None:  # fmt: skip
    """Say of one machine what was done, or with --planned what is to be done.

    \b
    Examples:
      refrig maintenance add RF-000017 --type corrective --work "new fan" --part fan --alert 3f2a9c10 --close-alerts
      refrig maintenance add RF-000017 --type preventive --planned 2026-04-01T08:00 --id WO-1234
      refrig maintenance add RF-000017 --type preventive --planned 2026-04-01T08:00 --done 2026-04-01T10:15 --id WO-1234
    """
    from refrig_assets.cli.alerts import open_board
    from refrig_assets.pipeline.maintenance import write_events
    from refrig_assets.pipeline.maintenance_source import source_of
    from refrig_assets.pipeline.operators import find_alerts

    lake, moment = open_board(lake_uri), now()
    row = {
        "device_id": device, "event_type": event_type, "work_description": work, "event_id": event_id,
        "scheduled_date": planned, "completed_date": done or (None if planned else moment),
        "parts_replaced": list(parts), "triggered_by_alert_id": find_alerts(lake, [alert])[0] if alert else None,
    }  # fmt: skip
    found = write_events(lake, source_of(lake, row, moment), moment, close_alerts=close_alerts)
    if as_json:
        print_json(_document(found, dry_run=False))
    else:
        _tell(found, dry_run=False)
    if found.rejected:
        raise SystemExit(1)


@click.command("list")
@click.option("--device", metavar="DEVICE", help="Only of this device.")
@click.option("--type", "event_type", type=click.Choice(EVENT_TYPES), help="Only this kind of work.")
@click.option("--planned", is_flag=True, help="Only what is not done yet.")
@click.option("--newer", type=Span(), help="Only of that time, like 30d.")
@click.option("--limit", type=click.IntRange(0), default=50, show_default=True, help="So many of them; 0 is all.")
@lake_option
@json_option
@debug_option
def list_(
    device: str | None, event_type: str | None, planned: bool, newer: timedelta | None, limit: int, lake_uri: str,
    as_json: bool,
) -> None:  # fmt: skip
    """List work done and planned, the latest first.

    \b
    Examples:
      refrig maintenance list --device RF-000017
      refrig maintenance list --planned --json
    """
    import polars as pl

    from refrig_assets.cli.alerts import open_board
    from refrig_assets.pipeline.maintenance import read_events

    events = read_events(open_board(lake_uri))
    tests: list[Any] = [pl.lit(value=True)]
    tests += [pl.col("device_id") == device] if device else []
    tests += [pl.col("event_type") == event_type] if event_type else []
    tests += [pl.col("completed_date").is_null()] if planned else []
    tests += [pl.coalesce("completed_date", "scheduled_date") > now() - newer] if newer else []
    events = events.filter(tests)
    shown = (events.head(limit) if limit else events).to_dicts()
    if as_json:
        print_json({"found": events.height, "events": shown})
        return
    if not shown:
        click.echo("No maintenance is known" + (" like that" if len(tests) > 1 else ""))
        return
    cells = [
        (e["event_id"][:20], e["device_id"], e["event_type"], stamp(e["scheduled_date"]), stamp(e["completed_date"]),
         e["work_description"], ", ".join(e["parts_replaced"]), (e["triggered_by_alert_id"] or "")[:SHORT_ID])
        for e in shown
    ]  # fmt: skip
    headers = ("event", "device", "kind", "planned (UTC)", "done (UTC)", "work", "parts", "alert")
    print_table(counted(events.height, "event"), headers, cells)


def _document(found: "Import", dry_run: bool) -> dict[str, Any]:
    return {"dry_run": dry_run, "accepted": found.accepted, **vars(found)}


def _tell(found: "Import", dry_run: bool) -> None:
    would = "would be " if dry_run else ""
    parts = [("new", found.new), ("done now, planned before", found.completed), ("planned otherwise", found.changed)]
    told = ", ".join(f"{count:,} {what}" for what, count in parts if count)
    click.echo(f"✓ {found.accepted:,} {would}taken" + (f": {told}" if told else ""))
    if found.duplicates:
        click.echo(f"{found.duplicates:,} known already")
    if found.closed:
        click.echo(f"{counted(len(found.closed), 'alert')} resolved: {', '.join(a[:SHORT_ID] for a in found.closed)}")
    for one in found.rejected[:_SHOWN]:
        click.echo(
            f"{click.style('✗', fg='red')} row {one.row}{f' ({one.event_id})' if one.event_id else ''}: {one.why}"
        )
    if len(found.rejected) > _SHOWN:
        click.echo(f"{click.style('✗', fg='red')} and {len(found.rejected) - _SHOWN:,} more rows")
    if found.rejected:
        click.echo(f"{counted(len(found.rejected), 'row')} {would}left out")
    if found.unused_columns:
        click.echo(f"Columns without a meaning here: {', '.join(found.unused_columns)}")
