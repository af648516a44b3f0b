"""`refrig alerts`: the operators' group, and its list. What can be done to alerts lives in pipeline/operators.py."""

from typing import TYPE_CHECKING, Any

import click

from refrig_assets.cli.alerts_options import filter_options, filters_of
from refrig_assets.cli.common import console, debug_option, json_option, lake_option, now, print_json
from refrig_assets.cli.group import LazyGroup

if TYPE_CHECKING:
    import polars as pl

    from refrig_assets.lake import Lake

_ACT, _MUTE, _SHOW = (f"refrig_assets.cli.alerts_{name}" for name in ("act", "mute", "show"))
COMMANDS = {
    "list": ("refrig_assets.cli.alerts:list_", "What stands, the most urgent first."),
    "show": (f"{_SHOW}:show", "One alert: what, why, since when, the last day, others like it."),
    "history": (f"{_SHOW}:history_", "All that happened to an alert, and who did it."),
    "ack": (f"{_ACT}:ack", "I have seen it and care for it."),
    "start": (f"{_ACT}:start", "I work on it now."),
    "resolve": (f"{_ACT}:resolve", "It was true, and is dealt with."),
    "false-positive": (f"{_ACT}:false_positive", "There was nothing wrong."),
    "reopen": (f"{_ACT}:reopen", "It was closed by mistake, or is back."),
    "escalate": (f"{_ACT}:escalate", "Somebody further up must look at it."),
    "note": (f"{_ACT}:note", "Write something to it."),
    "mute": (f"{_MUTE}:mute", "A device or site is under maintenance: do not tell of it."),
    "unmute": (f"{_MUTE}:unmute", "End a mute before its time."),
    "mutes": (f"{_MUTE}:mutes", "What is muted, until when and why."),
}

alerts = LazyGroup(
    name="alerts",
    commands_at=COMMANDS,
    help="""What needs somebody's attention, and what people do about it.

An alert is named by its id or the beginning of it (six characters are enough). Who acts is --as NAME, else
REFRIG_OPERATOR, else your login; everything is recorded with name and time. Closing an alert (resolve,
false-positive) also says what was true of the machine: the models learn from it.

\b
Examples:
  refrig alerts list --at-least HIGH --site site-004
  refrig alerts show 3f2a9c10
  refrig alerts ack 3f2a9c10 --as ann
  refrig alerts resolve 3f2a9c10 --failed --found bearing_wear --as field_engineer:ben
  refrig alerts mute --site site-004 --for 4h --reason "defrost heaters are replaced"
""",
)
DEFAULT_LIMIT = 50


@click.command("list")
@filter_options
@click.option("--limit", type=click.IntRange(0), default=DEFAULT_LIMIT, show_default=True,
              help="Show so many of them; 0 is all.")  # fmt: skip
@lake_option
@json_option
@debug_option
def list_(limit: int, lake_uri: str, as_json: bool, **filters: Any) -> None:
    """List alerts, the most urgent first: by severity, untaken before taken, by deadline.

    Without filters these are the alerts that stand: not closed and not suppressed. What the list shows is the published
    board and what was written since, so an alert is here within a second of being raised. Hours left are those left
    now, of the estimate when it was last seen.

    \b
    Examples:
      refrig alerts list
      refrig alerts list --at-least HIGH --breached
      refrig alerts list --site site-004 --site site-007 --mode refrigerant_leak
      refrig alerts list --status RESOLVED --newer 2d
      refrig alerts list --model compressor_overload --older 1h
      refrig alerts list --all --limit 0 --json | jq '.alerts[] | {device_id, status}'
    """
    from refrig_assets.cli.alerts_telling import alert_document, alerts_table, counted
    from refrig_assets.pipeline.alert_reading import holders_of

    moment, lake = now(), open_board(lake_uri)
    board, found = chosen(lake, filters)
    shown = board[found.head(limit) if limit else found]
    by = holders_of(lake, shown["alert_id"].to_list())
    if as_json:
        rows = [alert_document(row, by.get(row["alert_id"]), moment) for row in shown.iter_rows(named=True)]
        print_json({"at": moment, "found": len(found), "alerts": rows})
        return
    if shown.is_empty():
        click.echo("No alerts" + (" like that" if any(filters.values()) else ": nothing needs attention"))
        return
    console().print(alerts_table(shown.to_dicts(), by, moment))
    counts = board["severity"][found].value_counts()
    told = ", ".join(f"{n:,} {s}" for s, n in sorted(counts.iter_rows(), key=lambda pair: _ORDER.index(pair[0])))
    more = f"; the {shown.height} most urgent are shown, --limit 0 shows all" if shown.height < len(found) else ""
    click.echo(f"{counted(len(found), 'alert')}: {told}{more}")


_ORDER = ("CRITICAL", "HIGH", "MEDIUM", "LOW")


def open_board(lake_uri: str) -> "Lake":
    """The lake, if it has alerts; a lake that is not there is an error, not an empty list."""
    from refrig_assets.cli.common import open_lake
    from refrig_assets.contracts import DEVICE_ALERTS
    from refrig_assets.lake import LakeUnavailableError

    lake = open_lake(lake_uri)
    if not lake.has(DEVICE_ALERTS):
        raise LakeUnavailableError(
            f"there is no lake at {lake_uri!r}. Create it with `refrig doctor --create`, "
            "or name the right place by --lake or REFRIG_LAKE"
        )
    return lake


def chosen(lake: "Lake", filters: dict[str, Any]) -> "tuple[pl.DataFrame, pl.Series]":
    """Of the board the alerts that meet the filters, and their order, the most urgent first."""
    from refrig_assets.alerting.selecting import meet, urgency
    from refrig_assets.pipeline.alert_reading import read_board
    from refrig_assets.pipeline.operators import machines

    board = read_board(lake, where=meet(filters_of(filters), now(), machines(lake)), ordered=False)
    return board, urgency(board)
