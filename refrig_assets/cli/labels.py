"""`refrig label`: what field engineers and the data team say was true of a machine."""

from datetime import datetime
from typing import Any

import click

from refrig_assets.cli.alerts_options import MODES, Person, person_option
from refrig_assets.cli.alerts_telling import SHORT_ID, counted, stamp
from refrig_assets.cli.common import Moment, debug_option, json_option, lake_option, now, print_json, print_table
from refrig_assets.cli.group import LazyGroup

_HERE = "refrig_assets.cli.labels"
TYPES = ("failure_confirmed", "anomaly_confirmed", "false_positive", "planned_maintenance", "normal_operation")
COMMANDS = {
    "add": (f"{_HERE}:add", "Say what was true of a machine at a time."),
    "list": (f"{_HERE}:list_", "What was said so far, and by whom."),
}
label = LazyGroup(
    name="label",
    commands_at=COMMANDS,
    help="""What was true of machines; the models learn from it.

Closing an alert writes its label by itself (`refrig alerts resolve`, `false-positive`). Here one says what no alert
tells of: a failure that was missed, a machine that was checked and is well.

\b
Examples:
  refrig label add RF-000017 failure_confirmed --at 2026-03-02T04:10 --found bearing_wear --as field_engineer:ben
  refrig label list --device RF-000017
""",
)


@click.command()
@click.argument("device")
@click.argument("label_type", metavar="LABEL", type=click.Choice(TYPES))
@click.option("--at", "event", type=Moment(), required=True, help="When it was so, in UTC.")
@click.option("--found", type=click.Choice(MODES), help="What was wrong.")
@click.option("--note", metavar="TEXT", help="What to remember.")
@click.option("--confidence", type=click.FloatRange(0, 1), help="How far to trust it  [default: 0.9 of a field "
              "engineer, 0.7 of others; below 0.5 nobody hears it]")  # fmt: skip
@person_option
@lake_option
@json_option
@debug_option
def add(
    device: str, label_type: str, event: datetime, found: str | None, note: str | None, confidence: float | None,
    person: Person, lake_uri: str, as_json: bool,
) -> None:  # fmt: skip
    """Say what was true of a machine at a time. LABEL is one of

    \b
    failure_confirmed    it had failed: the seven days before led to it
    anomaly_confirmed    it was not well: the day before
    false_positive       there was nothing wrong: the day before
    normal_operation     it was checked and is well: the day before
    planned_maintenance  it was worked on: the two days after are left out

    Training knows of it from a day after it was said. Said again it is written once.

    \b
    Examples:
      refrig label add RF-000017 failure_confirmed --at 2026-03-02T04:10 --found bearing_wear --as field_engineer:ben
      refrig label add RF-000021 normal_operation --at 2026-03-02T12:00 --note "checked on the round"
    """
    from refrig_assets.cli.alerts import open_board
    from refrig_assets.pipeline.labelling import add_label

    done = add_label(
        open_board(lake_uri), device, label_type, event=event, said_at=now(), role=person.role, confidence=confidence,
        failure_mode=found, notes=f"{note} ({person.name})" if note else f"said by {person.name}",
    )  # fmt: skip
    if as_json:
        print_json({"device_id": device, "label_type": label_type, "event_timestamp": event, "new": bool(done.written)})
    else:
        said = "noted" if done.written else "was said already"
        click.echo(f"✓ {device}: {label_type} at {stamp(event)} UTC {said}")


@click.command("list")
@click.option("--device", metavar="DEVICE", help="Only of this device.")
@click.option("--type", "label_type", type=click.Choice(TYPES), help="Only this label.")
@click.option("--alert", metavar="ID", help="Only of this alert.")
@click.option("--limit", type=click.IntRange(0), default=50, show_default=True, help="So many of them; 0 is all.")
@lake_option
@json_option
@debug_option
def list_(
    device: str | None, label_type: str | None, alert: str | None, limit: int, lake_uri: str, as_json: bool
) -> None:  # fmt: skip
    """List labels, the last said first. A confidence of 0 takes back what was said of the alert before.

    \b
    Examples:
      refrig label list --type failure_confirmed
      refrig label list --alert 3f2a9c10 --json
    """
    import polars as pl

    from refrig_assets.cli.alerts import open_board
    from refrig_assets.pipeline.labelling import read_labels
    from refrig_assets.pipeline.operators import find_alerts

    lake = open_board(lake_uri)
    tests: list[Any] = [pl.lit(value=True)]
    tests += [pl.col("device_id") == device] if device else []
    tests += [pl.col("label_type") == label_type] if label_type else []
    tests += [pl.col("alert_id") == find_alerts(lake, [alert])[0]] if alert else []
    labels = read_labels(lake).filter(tests)
    shown = (labels.head(limit) if limit else labels).to_dicts()
    if as_json:
        print_json({"found": labels.height, "labels": shown})
        return
    if not shown:
        click.echo("No labels" + (" like that" if len(tests) > 1 else ": nobody has said anything yet"))
        return
    cells = [
        (stamp(r["labeled_at"]), r["device_id"], r["label_type"], stamp(r["event_timestamp"]), r["label_source"],
         f"{r['label_confidence']:.2f}", r["failure_mode"], (r["alert_id"] or "")[:SHORT_ID], r["notes"])
        for r in shown
    ]  # fmt: skip
    headers = ("said (UTC)", "device", "label", "of (UTC)", "by", "trust", "failure mode", "alert", "notes")
    print_table(counted(labels.height, "label"), headers, cells, right=(5,))
