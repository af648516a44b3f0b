"""`refrig doctor`: runs the examinations of `checkup.py` and shows what each found."""

from pathlib import Path

import click

from refrig_assets.cli.common import (
    MARKS,
    console,
    debug_option,
    json_option,
    lake_option,
    landing_option,
    now,
    open_lake,
    print_json,
    registry_option,
)
from refrig_assets.cli.models import models_option, open_registry


@click.command()
@lake_option
@landing_option
@registry_option
@models_option
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="The UI's port.")
@click.option("--create", is_flag=True,
              help="Create missing tables, give older ones their new columns, and take the registry's file into an "
              "empty registry.")  # fmt: skip
@json_option
@debug_option
@click.pass_context
def doctor(
    ctx: click.Context, lake_uri: str, landing: Path, registry: Path, uri: str, port: int, create: bool, as_json: bool
) -> None:  # fmt: skip
    """Whether this installation is able to run: versions, lake, devices, models, Dagster, memory, disk, clock.

    Ends with 1 where something must be put right first.

    \b
    Examples:
      refrig doctor
      refrig doctor --create --lake s3://bucket/refrig
      refrig doctor --json | jq '.examinations[] | select(.level != "ok")'
    """
    from refrig_assets.cli.checkup import examine
    from refrig_assets.pipeline.registering import register_first

    lake = open_lake(lake_uri)
    if create:
        lake.create()
        register_first(lake, registry)
    found = examine(lake, open_registry(uri), landing, registry, port, now())
    level = "error" if any(f.level == "error" for f in found) else "ok"
    if as_json:
        print_json({"level": level, "examinations": [vars(f) for f in found]})
    else:
        out = console()
        for f in found:
            out.print(f"{MARKS[f.level]} [bold]{f.name:<12}[/] ", end="")
            out.print(f.found, markup=False)
            if f.remedy and f.level != "ok":
                out.print(f"  {'':<12} → {f.remedy}", markup=False)
    ctx.exit(1 if level == "error" else 0)
