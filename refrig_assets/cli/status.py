"""`refrig status`: the lake, the models and what Dagster says fails. What is known of them: `pipeline/*status.py`."""

import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from refrig_assets.cli.common import (
    MARKS,
    Moment,
    debug_option,
    human_bytes,
    json_option,
    lake_option,
    landing_option,
    now,
    open_lake,
    print_json,
    print_table,
)
from refrig_assets.cli.models import models_option, open_registry

if TYPE_CHECKING:
    from refrig_assets.pipeline.model_status import ModelsStatus
    from refrig_assets.pipeline.status import LakeStatus

_MARK = {"ok": MARKS["ok"], "late": MARKS["warn"], "warn": MARKS["warn"], "error": MARKS["error"], "empty": "·"}
_MARK_OF = {"ok": "✓", "warn": "!", "error": "✗"}
_SHOWN = 5


@click.command()
@lake_option
@landing_option
@models_option
@click.option("--as-of", type=Moment(), default=None, help="Judge freshness at this time instead of now.")
@json_option
@debug_option
@click.pass_context
def status(
    ctx: click.Context, lake_uri: str, landing: Path, uri: str, as_of: datetime | None, as_json: bool
) -> None:  # fmt: skip
    """What is in the lake, how fresh it is against its service levels, which models score, and what fails.

    Ends with 1 where something is in error: a table past its limit, released models without scores, a check or a run
    that failed.

    \b
    Examples:
      refrig status
      refrig status --json | jq '.tables[] | select(.level == "error")'
    """
    from refrig_assets.cli.instance import read_instance
    from refrig_assets.notify.routes_toml import routes_file
    from refrig_assets.notify.state import notify_state
    from refrig_assets.pipeline.model_status import models_status
    from refrig_assets.pipeline.status import lake_status

    at = as_of or now()
    lake = lake_status(open_lake(lake_uri), at, landing, os.environ.get("REFRIG_STREAM_STATE", ""))
    models = models_status(open_lake(lake_uri), open_registry(uri), at)
    instance = read_instance(at)
    notify = notify_state(open_lake(lake_uri), routes_file(), os.environ)
    errors = lake.errors + models.errors + [f"check {c.says}" for c in instance.failed_checks if c.severe]
    errors += [f"run {r.says}" for r in instance.failed_runs]
    level = "error" if errors else "ok"
    if as_json:
        told = {**lake.as_dict(), **models.as_dict(), "dagster": instance.as_dict(), "notifications": vars(notify)}
        print_json({"level": level, "errors": errors, **told})
    else:
        _show(lake)
        _show_models(models)
        click.echo(f"{_MARK_OF[notify.level]} notifications: {notify.says}")
        _show_instance(
            instance.unreadable, [c.says for c in instance.failed_checks], [r.says for r in instance.failed_runs]
        )
        click.echo(f"{len(errors)} in error" if errors else "Nothing is in error")
    ctx.exit(1 if errors else 0)


def _show(lake: "LakeStatus") -> None:
    rows = [
        (
            _MARK[t.level], t.table, f"{t.rows:,}", f"{t.files:,}", human_bytes(t.bytes), t.version,
            f"{t.newest_hour:%Y-%m-%d %H:00}" if t.newest_hour else "", t.says,
        )
        for t in lake.tables
    ]  # fmt: skip
    headers = ("", "table", "rows", "files", "size", "version", "newest hour", "freshness")
    print_table(f"Lake {lake.uri}, at {lake.at:%Y-%m-%d %H:%M:%S} UTC", headers, rows, right=(2, 3, 4, 5))
    if lake.missing:
        click.echo(f"! tables missing: {', '.join(lake.missing)}; create them with `refrig doctor --create`")
    for table, hours in lake.waiting.items():
        click.echo(f"! {table}: {len(hours):,} hours wait to be made")
        for hour, why in list(hours.items())[:_SHOWN]:
            click.echo(f"    {hour:%Y-%m-%d %H:00}  {why[:100]}")
    if lake.stream is not None:
        click.echo(f"{'✓' if lake.stream.passed else '✗'} stream: {lake.stream.says}")
    if lake.dead_letters_24h:
        told: dict[str, Any] = lake.dead_letters_24h
        click.echo(f"Dead letters of the last 24 h: {', '.join(f'{n:,} {why}' for why, n in told.items())}")


def _show_models(found: "ModelsStatus") -> None:
    rows = [
        (
            _MARK[m.level], m.model_id, m.champion and f"{m.champion}{' (pinned)' if m.pinned else ''}",
            ", ".join(f"{who}: {version}" for who, version in m.beside.items()),
            m.newest and f"{m.newest:%Y-%m-%d %H:%M}", m.says,
        )
        for m in found.models
    ]  # fmt: skip
    if rows:
        headers = ("", "model", "version", "others", "scored until", "newest scores")
        print_table(f"Models of {found.registry}", headers, rows)
    if found.says:
        click.echo(f"{'✗' if found.problem else '·'} models: {found.says}")
    if found.released or found.scores.newest:
        mark = {"scores": "✓", "rules": "!", "stream": "✗"}[found.scores.use]
        click.echo(f"{'!' if found.scores.failing and mark == '✓' else mark} scores: {found.scores.says}")


def _show_instance(unreadable: str | None, checks: list[str], runs: list[str]) -> None:
    if unreadable:
        click.echo(f"Checks and runs are not known: {unreadable}")
        return
    for what, failed in (("checks", checks), ("runs", runs)):
        if failed:
            click.echo(f"Failed {what}:")
            for says in failed:
                click.echo(f"  ✗ {says}")
        else:
            click.echo(f"No failed {what}")
