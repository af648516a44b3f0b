"""`refrig alerts mute|unmute|mutes`: maintenance during which nobody is told."""

from datetime import datetime, timedelta
from typing import Any

import click

from refrig_assets.cli.alerts_options import Person, Span, person_option
from refrig_assets.cli.alerts_telling import SHORT_ID, counted, span, stamp
from refrig_assets.cli.common import Moment, debug_option, json_option, lake_option, now, print_json, print_table


@click.command()
@click.argument("alert", required=False, metavar="[ID]")
@click.option("--device", "device_id", metavar="DEVICE", help="The device under maintenance.")
@click.option("--site", "site_id", metavar="SITE", help="A whole site under maintenance.")
@click.option("--from", "starts_at", type=Moment(), help="From when, in UTC  [default: now]")
@click.option("--for", "length", type=Span(), help="How long it lasts, like 4h; or say --to.")
@click.option("--to", "ends_at", type=Moment(), help="Until when, in UTC.")
@click.option("--daily", "repeats", flag_value="daily", help="Again each day at the same time, UTC.")
@click.option("--weekly", "repeats", flag_value="weekly", help="Again each week at the same time, UTC.")
@click.option("--until", type=Moment(), help="When a recurring mute ends for good  [default: never]")
@click.option("--reason", required=True, metavar="TEXT", help="Why; it is shown with every alert that is suppressed.")
@person_option
@lake_option
@json_option
@debug_option
def mute(
    alert: str | None, device_id: str | None, site_id: str | None, starts_at: datetime | None,
    length: timedelta | None, ends_at: datetime | None, repeats: str | None, until: datetime | None, reason: str,
    person: Person, lake_uri: str, as_json: bool,
) -> None:  # fmt: skip
    """Mute a device or a site while it is worked on, once or again each day or week.

    While a mute is on, alerts of it are written suppressed, with the reason: they are in the log, and nobody is told.
    Alerts that stand when it begins are suppressed, too. ID is an alert whose device is meant. Saying the same again
    makes no second mute.

    \b
    Examples:
      refrig alerts mute --device RF-000017 --for 4h --reason "fan is replaced"
      refrig alerts mute 3f2a9c10 --for 1d --reason "waits for a spare part"
      refrig alerts mute --site site-004 --from 2026-03-02T22:00 --for 90m --weekly --reason "defrost heaters tested"
    """
    from refrig_assets.cli.alerts import open_board
    from refrig_assets.pipeline.operators import mute_alerts

    if (length is None) == (ends_at is None):
        raise click.UsageError("How long? Say either --for SPAN or --to TIME")
    lake, moment = open_board(lake_uri), now()
    if alert is not None:
        if device_id or site_id:
            raise click.UsageError("Name an alert, a device or a site, not several")
        device_id = _device_of(lake, alert)
    begin = starts_at or moment
    made, silenced = mute_alerts(
        lake, made_by=person.name, now=moment, device_id=device_id, site_id=site_id, starts_at=begin,
        ends_at=ends_at or begin + (length or timedelta()), repeats=repeats or "once", until=until, reason=reason,
    )  # fmt: skip
    if as_json:
        print_json({"mute": made.mute, "new": made.written, "alerts_silenced": silenced})
        return
    said = "muted" if made.written else "is muted already"
    click.echo(f"✓ {_target(made.mute)} {said} {_times(made.mute)}: {reason} (mute {made.mute_id[:SHORT_ID]})")
    if silenced:
        click.echo(f"{counted(silenced, 'alert that stood is', 'alerts that stood are')} suppressed")


@click.command()
@click.argument("mute", metavar="MUTE")
@person_option
@lake_option
@json_option
@debug_option
def unmute(mute: str, person: Person, lake_uri: str, as_json: bool) -> None:
    """End a mute before its time; alerts that it silenced and that are not closed are told again.

    \b
    Examples:
      refrig alerts unmute 71be02d4 --as ann                    # ids are in `refrig alerts mutes`
    """
    from refrig_assets.cli.alerts import open_board
    from refrig_assets.pipeline.operators import unmute_alerts

    ended, told = unmute_alerts(open_board(lake_uri), mute, by=person.name, now=now())
    if as_json:
        print_json({"mute": ended.mute, "new": ended.written, "alerts_told_again": told})
        return
    if ended.written:
        click.echo(f"✓ {_target(ended.mute)} is no longer muted (mute {ended.mute_id[:SHORT_ID]})")
    else:
        click.echo(f"It was ended before, at {stamp(ended.mute['made_at'])} UTC by {ended.mute['made_by']}")
    if told:
        click.echo(f"{counted(told, 'alert is', 'alerts are')} told again")


@click.command()
@click.option("--all", "everything", is_flag=True, help="Also mutes that are over or were ended.")
@lake_option
@json_option
@debug_option
def mutes(everything: bool, lake_uri: str, as_json: bool) -> None:
    """List the mutes that are on or to come: of what, when, why, by whom.

    \b
    Examples:
      refrig alerts mutes
      refrig alerts mutes --all --json
    """
    from refrig_assets.alerting.mutes import active, standing
    from refrig_assets.cli.alerts import open_board
    from refrig_assets.pipeline.mutes import read_mutes

    log, moment = read_mutes(open_board(lake_uri)), now()
    rows = (standing(log) if everything else active(log, moment)).to_dicts()
    if as_json:
        print_json({"at": moment, "mutes": rows})
        return
    if not rows:
        click.echo("Nothing is muted")
        return
    cells = [
        (r["mute_id"][:SHORT_ID], _target(r), _times(r), r["reason"], r["made_by"],
         f"ended {stamp(r['cancelled_at'])} by {r['cancelled_by']}" if r["cancelled_at"] else _when(r, moment))
        for r in rows
    ]  # fmt: skip
    print_table("Mutes", ("mute", "of", "when (UTC)", "why", "by", ""), cells)


def _device_of(lake: Any, alert: str) -> str:
    from refrig_assets.pipeline.alert_reading import read_board
    from refrig_assets.pipeline.operators import find_alerts

    one = find_alerts(lake, [alert])[0]
    return str(read_board(lake, alerts=[one])["device_id"].item())


def _target(mute: dict[str, Any]) -> str:
    return str(mute["device_id"] or f"site {mute['site_id']}")


def _times(mute: dict[str, Any]) -> str:
    begin, end = mute["starts_at"], mute["ends_at"]
    if mute["repeats"] == "once":
        return f"{stamp(begin)} to {stamp(end)} ({span(end - begin)})"
    day = "each day" if mute["repeats"] == "daily" else f"each {begin:%A}"
    until = f", until {stamp(mute['until'])}" if mute["until"] else ""
    return f"{day} {begin:%H:%M} to {end:%H:%M} from {begin:%Y-%m-%d} on{until}"


def _when(mute: dict[str, Any], moment: datetime) -> str:
    if mute["starts_at"] > moment:
        return f"begins in {span(mute['starts_at'] - moment)}"
    if mute["repeats"] == "once":
        left = mute["ends_at"] - moment
        return f"{span(left)} left" if left > timedelta(0) else "over"
    return "recurring" if mute["until"] is None or mute["until"] > moment else "over"
