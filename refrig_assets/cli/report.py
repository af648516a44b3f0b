"""`refrig report`: the fleet's health in an hour, or the digest of a day, in the terminal or as a file."""

import os
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from refrig_assets.cli.common import (
    Moment,
    console,
    debug_option,
    json_option,
    lake_option,
    now,
    open_lake,
    print_json,
)
from refrig_assets.cli.models import models_option, open_registry

if TYPE_CHECKING:
    from refrig_assets.pipeline.fleet_report import FleetReport
    from refrig_assets.pipeline.fleet_report_digest import Digest

_IMAGE = re.compile(r"!\[([^\]]*)\]\(data:image/png;base64,[^)]*\)\n*")
_STYLE = """body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 62rem; margin: 2rem auto }
table { border-collapse: collapse; font-size: 13px; margin: 1rem 0 } th { background: #f3f4f6 }
th, td { border: 1px solid #d8dbe0; padding: .25rem .6rem; text-align: left; vertical-align: top }
td[style*=right], th[style*=right] { text-align: right } img { max-width: 100% } h2 { margin-top: 2.2rem }"""


@dataclass(frozen=True)
class _Told:
    """A report as Markdown, and its figures."""

    text: str
    figures: dict[str, Any]


@click.command()
@lake_option
@models_option
@click.option("--hour", type=Moment(), default=None, help="The hour to report on; by default the last whole one.")
@click.option("--day", type=Moment(), default=None, help="The digest of this day instead.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), default=None, metavar="FILE",
              help="Write it there, with its pictures: .html or .md.")  # fmt: skip
@json_option
@debug_option
def report(
    lake_uri: str, uri: str, hour: datetime | None, day: datetime | None, out: Path | None, as_json: bool
) -> None:  # fmt: skip
    """How the fleet does: who reported, what stands, which failures are expected next; or how a day ended.

    Dagster makes the same reports each hour and each day; this one is made now, from the lake alone.

    \b
    Examples:
      refrig report
      refrig report --hour 2026-03-02T10:00 --out health.html
      refrig report --day 2026-03-02
      refrig report --json | jq '.expected[0]'
    """
    if hour is not None and day is not None:
        raise click.UsageError("give --hour or --day, not both")
    if out is not None and out.suffix not in (".html", ".md"):
        raise click.BadParameter(f"{out} must end in .html or .md", param_hint="--out")
    told = _digest(lake_uri, day) if day is not None else _health(lake_uri, uri, hour)
    if out is not None:
        from refrig_assets.pipeline.fleet_report_files import write_report

        write_report(out, told.text if out.suffix == ".md" else as_html(told.text))
    if as_json:
        print_json(told.figures | ({"file": str(out)} if out else {}))
    elif out is not None:
        click.echo(f"Written to {out} ({out.stat().st_size / 1000:.0f} KB)")
    else:
        from rich.markdown import Markdown

        console().print(Markdown(_IMAGE.sub("", told.text)))


def _health(lake_uri: str, models_uri: str, hour: datetime | None) -> _Told:
    from refrig_assets.pipeline.fleet_report import fleet_report
    from refrig_assets.pipeline.fleet_report_text import compose
    from refrig_assets.pipeline.hours import floor_hour
    from refrig_assets.pipeline.stream_reports import stream_home

    at, lake = now(), open_lake(lake_uri)
    asked = floor_hour(hour or at - timedelta(hours=1))
    home = stream_home(lake, os.environ.get("REFRIG_STREAM_STATE", ""))
    found = fleet_report(lake, open_registry(models_uri), asked, at, home)
    return _Told(compose(found), _health_figures(found))


def _health_figures(found: "FleetReport") -> dict[str, Any]:
    return {
        "hour": found.hour, "as_of": found.as_of, "fleet": vars(found.fleet),
        "created": found.created.height, "closed": found.closed.height, "standing": found.stands.height,
        "urgent": found.urgent.to_dicts(), "expected": found.expected.to_dicts(), "sites": found.sites.to_dicts(),
        "top": found.top.to_dicts(), "data": vars(found.quality), "flagged": found.flagged.to_dicts(),
        "models": found.models.as_dict() if found.models else None, "models_problem": found.models_problem,
        "stream": found.stream,
    }  # fmt: skip


def _digest(lake_uri: str, day: datetime) -> _Told:
    from refrig_assets.pipeline.fleet_report_digest import compose, daily_digest

    digest = daily_digest(open_lake(lake_uri), day.replace(hour=0, minute=0, second=0, microsecond=0), now())
    return _Told(compose(digest), _digest_figures(digest))


def _digest_figures(digest: "Digest") -> dict[str, Any]:
    frames = ("by_hour", "failures", "predictions", "deadlines", "devices", "models", "incidents", "labels")
    told: dict[str, Any] = {name: getattr(digest, name).to_dicts() for name in frames}
    return {"day": digest.day, "as_of": digest.as_of, "standing": digest.stands.height, "work": digest.handling} | told


def as_html(text: str) -> str:
    """The report as one page that needs no other file."""
    from markdown_it import MarkdownIt

    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    title = text.splitlines()[0].lstrip("# ")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>\n'
        f"<style>{_STYLE}</style></head>\n<body>\n{body}</body></html>\n"
    )
