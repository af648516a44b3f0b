"""`refrig alerts ack|start|resolve|false-positive|reopen|escalate|note`: actions on alerts, named or filtered."""

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from refrig_assets.cli.alerts_options import LEVELS, MODES, Person, filter_options, person_option
from refrig_assets.cli.common import Moment, debug_option, json_option, lake_option, now, print_json

if TYPE_CHECKING:
    from refrig_assets.lake import Lake
    from refrig_assets.pipeline.operators import Acted

_SAMPLE = 10
note_option = click.option("--note", metavar="TEXT", help="What to remember; it is shown with the alert.")
_DONE = {
    "acknowledged": "acknowledged", "started": "being worked on", "resolved": "resolved", "reopened": "open again",
    "false_positive": "closed as false positive", "escalated": "escalated", "noted": "noted",
}  # fmt: skip


def _acting(command: Callable[..., None]) -> Callable[..., None]:
    """The arguments and options of every action."""
    options = [
        click.argument("alerts", nargs=-1, metavar="[ID]..."),
        click.option("--members", is_flag=True, help="Also the alerts that these stand for: a storm's, an incident's, "
                     "repetitions."),
        click.option("--dry-run", is_flag=True, help="Say which alerts it would be; change nothing."),
        click.option("--yes", is_flag=True, help="Do not ask, also where it is many."),
        person_option, note_option, filter_options, lake_option, json_option, debug_option,
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@_acting
def ack(**given: Any) -> None:
    """Acknowledge alerts: you have seen them and care for them. Their deadline is kept by that.

    Of somebody else's acknowledged alert it takes over. Named are single alerts by id, or many by filters.

    \b
    Examples:
      refrig alerts ack 3f2a9c10 --as ann
      refrig alerts ack 3f2a9c10 71be02d4 --note "rang the site, door was open"
      refrig alerts ack --site site-004 --at-least HIGH --dry-run
    """
    _do("acknowledged", given)


@click.command()
@_acting
def start(**given: Any) -> None:
    """Start work on alerts: somebody is at the machine, or on the way.

    \b
    Examples:
      refrig alerts start 3f2a9c10 --as field_engineer:ben
    """
    _do("started", given)


@click.command()
@_acting
@click.option("--failed", is_flag=True, help="The machine had failed; else it was unusual, and cared for in time.")
@click.option("--failed-at", type=Moment(), help="When it failed, in UTC  [default: when it was last seen]")
@click.option("--found", type=click.Choice(MODES), help="What was wrong, as found at the machine.")
def resolve(**given: Any) -> None:
    """Close alerts that were true and are dealt with.

    Writes a label: anomaly_confirmed, or with --failed failure_confirmed. It is believed at 0.9 from a field engineer
    (--as field_engineer:NAME), at 0.7 from others, and reaches training data from a day later on. `reopen` takes it
    back.

    \b
    Examples:
      refrig alerts resolve 3f2a9c10 --found condenser_fouling --note "coil cleaned"
      refrig alerts resolve 3f2a9c10 --failed --failed-at 2026-03-02T04:10 --as field_engineer:ben
      refrig alerts resolve 9d0c44aa --members                    # a storm and all it covers
      refrig alerts resolve --incident 5c1e77b0-… --dry-run
    """
    _do("resolved", given, failed=given.pop("failed"), failed_at=given.pop("failed_at"), found=given.pop("found"))


@click.command("false-positive")
@_acting
def false_positive(**given: Any) -> None:
    """Close alerts where nothing was wrong with the machine.

    Writes the label false_positive: such windows may then be learned as healthy. A sensor that lies is not a false
    positive but a sensor fault: `resolve --found sensor_fault`.

    \b
    Examples:
      refrig alerts false-positive 3f2a9c10 --note "deliveries, doors open all morning"
      refrig alerts false-positive --device RF-000017 --newer 1d --yes
    """
    _do("false_positive", given)


@click.command()
@_acting
def reopen(**given: Any) -> None:
    """Open closed alerts again: closed by mistake, or it is back.

    They are OPEN again with a new deadline, and what closing them said to the models is taken back.

    \b
    Examples:
      refrig alerts reopen 3f2a9c10 --note "wrong machine"
    """
    _do("reopened", given)


@click.command()
@_acting
@click.option("--to", "level", type=click.Choice(LEVELS[1:]), help="To whom  [default: the next level]")
def escalate(**given: Any) -> None:
    """Hand alerts to the next level. What nobody takes in time goes there by itself.

    \b
    Examples:
      refrig alerts escalate 3f2a9c10 --note "third time this week"
      refrig alerts escalate 3f2a9c10 --to L3
    """
    _do("escalated", given, level=given.pop("level"))


@click.command()
@click.argument("alert", metavar="ID")
@click.argument("text")
@person_option
@lake_option
@json_option
@debug_option
def note(alert: str, text: str, person: Person, lake_uri: str, as_json: bool) -> None:
    """Write a note to an alert, also to a closed one. Nothing else changes.

    \b
    Examples:
      refrig alerts note 3f2a9c10 "spare fan ordered, arrives Thursday" --as ann
    """
    given = {"alerts": (alert,), "note": text, "person": person, "lake_uri": lake_uri, "as_json": as_json}
    _do("noted", given | {"members": False, "dry_run": False, "yes": True})


def _do(change: str, given: dict[str, Any], **more: Any) -> None:
    from refrig_assets.alerting.operating import CLOSING, Action
    from refrig_assets.cli.alerts import open_board
    from refrig_assets.cli.alerts_telling import counted
    from refrig_assets.pipeline.operators import act

    named, person, lake_uri, as_json, text, members, dry_run, yes = (
        given.pop(k) for k in ("alerts", "person", "lake_uri", "as_json", "note", "members", "dry_run", "yes")
    )
    action = Action(change, person.name, person.role, text, **more)
    lake = open_board(lake_uri)
    ids = _meant(lake, named, given, members, change)
    many = bool(not named or len(ids) > len(named))
    if dry_run:
        _tell_meant(lake, ids, change, as_json)
        return
    if many and not yes:
        _tell_meant(lake, ids, change, as_json=False, err=as_json)
        if ids:
            click.confirm(f"{counted(len(ids), 'alert')} will be {_DONE[change]}. Go on?", abort=True, err=True)
    moment = now()
    done = act(lake, action, ids, moment, strict=not many) if ids else None
    _tell(done, change, moment, as_json)
    if done is not None and change in CLOSING and not members and not as_json:
        _offer_members(lake, ids)


def _meant(lake: "Lake", named: tuple[str, ...], filters: dict[str, Any], members: bool, change: str) -> list[str]:
    """The alerts that are named, or that the filters choose; with members, also those they stand for."""
    from refrig_assets.cli.alerts import chosen
    from refrig_assets.pipeline.alert_families import members_of
    from refrig_assets.pipeline.operators import find_alerts

    if named and any(filters.values()):
        raise click.UsageError("Name alerts by their ids or choose them by filters, not both")
    if named:
        ids = find_alerts(lake, named)
    elif any(filters.values()):
        if change == "reopened" and not filters["statuses"]:
            filters["statuses"] = ("RESOLVED", "FALSE_POSITIVE")
        board, found = chosen(lake, filters)
        ids = board["alert_id"][found].to_list()
    else:
        raise click.UsageError("Which alerts? Name them by id, or choose them by filters such as --site or --device")
    return [*ids, *members_of(lake, ids)] if members else ids


def _offer_members(lake: "Lake", closed: list[str]) -> None:
    from refrig_assets.cli.alerts_telling import counted
    from refrig_assets.pipeline.alert_families import members_of

    left = members_of(lake, closed)
    if left:
        said = counted(len(left), "alert that it stood for is", "alerts that it stood for are")
        click.echo(f"{said} open still; the same with --members closes them, too")


def _tell_meant(lake: "Lake", ids: list[str], change: str, as_json: bool, err: bool = False) -> None:
    from refrig_assets.alerting.selecting import by_urgency
    from refrig_assets.cli.alerts_telling import alerts_table, counted
    from refrig_assets.cli.common import console
    from refrig_assets.pipeline.alert_reading import holders_of, read_board

    if as_json:
        print_json({"dry_run": True, "would_be": change, "alerts": ids})
        return
    rows = by_urgency(read_board(lake, alerts=ids)).head(_SAMPLE)
    console(stderr=err).print(alerts_table(rows.to_dicts(), holders_of(lake, rows["alert_id"].to_list()), now()))
    more = f", of which {rows.height} are shown" if rows.height < len(ids) else ""
    click.echo(f"{counted(len(ids), 'alert')}{more}", err=err)


def _tell(done: "Acted | None", change: str, moment: datetime, as_json: bool) -> None:
    """What was done: the alerts by name while they are few."""
    from refrig_assets.cli.alerts_telling import SHORT_ID, alert_document, counted

    rows = [] if done is None else done.changed.to_dicts()
    refused = [] if done is None else done.refused
    labels = 0 if done is None else done.labels
    if as_json:
        left = [{"alert_id": r.alert_id, "why": r.why} for r in refused]
        changed = [alert_document(row, None, moment) for row in rows]
        print_json({"change": change, "at": moment, "changed": changed, "left": left, "labels": labels})
        return
    for row in rows[:_SAMPLE]:
        level = f" to {row['escalation_level']}" if change == "escalated" else ""
        click.echo(f"✓ {row['alert_id'][:SHORT_ID]} {row['device_id']} {_DONE[change]}{level}: {row['title']}")
    if len(rows) > _SAMPLE:
        click.echo(f"✓ and {len(rows) - _SAMPLE:,} more")
    for one in refused[:_SAMPLE]:
        click.echo(f"! {one.alert_id[:SHORT_ID]} left as it is: {one.why}")
    if len(refused) > _SAMPLE:
        click.echo(f"! and {len(refused) - _SAMPLE:,} more left as they are")
    if not rows and not refused:
        click.echo("No alerts like that")
    if labels:
        click.echo(f"{counted(labels, 'label')} written")
