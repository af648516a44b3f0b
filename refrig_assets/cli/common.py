"""What commands share: options, one JSON document, progress bars, tables. No command's own logic."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import is_dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from refrig_assets.cli.group import DEBUG

if TYPE_CHECKING:
    from rich.console import Console

    from refrig_assets.lake import Lake

DEFAULT_LANDING = "data/landing"
DEFAULT_REGISTRY = "data/registry.parquet"
MARKS = {"ok": "[green]✓[/]", "warn": "[yellow]![/]", "error": "[red]✗[/]"}


def _debug(_ctx: click.Context, _param: click.Parameter, value: bool) -> bool:
    if value:
        os.environ[DEBUG] = "1"
    return value


def _json(_ctx: click.Context, _param: click.Parameter, value: bool) -> bool:
    if value:
        os.environ["REFRIG_JSON_ERRORS"] = "1"
    else:
        os.environ.pop("REFRIG_JSON_ERRORS", None)
    return value


json_option = click.option("--json", "as_json", is_flag=True, callback=_json, is_eager=True,
                           help="Print one JSON document on stdout, nothing else there.")  # fmt: skip
debug_option = click.option("--debug", is_flag=True, expose_value=False, callback=_debug, is_eager=True,
                            help="Show tracebacks.")  # fmt: skip
lake_option = click.option("--lake", "lake_uri", envvar="REFRIG_LAKE", default="data/lake", show_default=True,
                           show_envvar=True, metavar="URI", help="The lake: folder or object store's URI.")  # fmt: skip
landing_option = click.option("--landing", envvar="REFRIG_LANDING", default=DEFAULT_LANDING, show_default=True,
                              show_envvar=True, metavar="DIR", type=click.Path(path_type=Path),
                              help="Where landing files are put and found.")  # fmt: skip
registry_option = click.option("--registry", envvar="REFRIG_REGISTRY", default=DEFAULT_REGISTRY, show_default=True,
                               show_envvar=True, metavar="FILE", type=click.Path(path_type=Path),
                               help="The device registry's file.")  # fmt: skip


def open_lake(uri: str) -> "Lake":
    from refrig_assets.lake import Lake

    return Lake(uri, json.loads(os.environ.get("REFRIG_STORAGE_OPTIONS", "{}")))


def now() -> datetime:
    return datetime.now(UTC)


class Moment(click.ParamType[datetime]):
    """A time in ISO 8601; without an offset it is UTC."""

    name = "ISO"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a time in ISO 8601, like 2026-03-01T00:00", param, ctx)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def console(*, stderr: bool = False) -> "Console":
    """A console; where output is not a terminal, wide enough that no word is cut."""
    from rich.console import Console

    made = Console(stderr=stderr, highlight=False)
    return made if made.is_terminal else Console(stderr=stderr, highlight=False, width=max(made.width, 140))


def print_json(document: dict[str, Any]) -> None:
    click.echo(json.dumps(document, default=_plain, ensure_ascii=False, indent=2))


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if is_dataclass(value):
        return vars(value)
    return str(value)


def print_table(
    title: str, headers: Sequence[str], rows: Sequence[Sequence[object]], right: Sequence[int] = ()
) -> None:
    """A table of the given cells; `right` names the columns that align right."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False,
        show_header=any(headers),
    )  # fmt: skip
    for number, header in enumerate(headers):
        table.add_column(header, justify="right" if number in right else "left", overflow="fold")
    for row in rows:
        # A plant may well call a column "Temp [F]": only our own marks are markup.
        table.add_row(*(Text.from_markup(c) if c in MARKS.values() else Text(c) for c in map(_cell, row)))
    console().print(table)


def _cell(value: object) -> str:
    return "" if value is None else str(value)


@contextmanager
def progress_bar(what: str, *, of_bytes: bool = False) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, fed with (done, all)."""
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    amount = DownloadColumn() if of_bytes else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), amount, TimeRemainingColumn())
    with Progress(*columns, console=console(stderr=True), transient=True) as bars:
        task = bars.add_task(what, total=None)
        yield partial(_advance, bars, task)


def _advance(bars: Any, task: Any, done: int, total: int) -> None:
    bars.update(task, completed=done, total=total)


def human_bytes(size: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
