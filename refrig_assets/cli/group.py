"""The command group: loads a command when it is called, and turns errors into sentences. Knows no command."""

import importlib
import json
import os
import sys
from collections.abc import Mapping
from typing import Any

import click

DEBUG = "REFRIG_DEBUG"


class LazyGroup(click.Group):
    """A group whose commands are named by module and attribute, with the line of help shown in the list."""

    def __init__(self, *, commands_at: Mapping[str, tuple[str, str]], **options: Any) -> None:
        super().__init__(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}, **options)
        self.commands_at = commands_at

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands_at)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.commands_at:
            return None
        module, _, attribute = self.commands_at[cmd_name][0].partition(":")
        found = getattr(importlib.import_module(module), attribute)
        assert isinstance(found, click.Command)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, short) for name, (_, short) in self.commands_at.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except BrokenPipeError:  # the reader has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(1)
        except Exception as error:
            if os.environ.get(DEBUG):
                raise
            _tell(error)
            ctx.exit(1)


def _tell(error: Exception) -> None:
    """What went wrong, on stderr; for scripts that asked for JSON also as the one document on stdout."""
    said = sentence(error)
    click.echo(f"{click.style('Error:', fg='red')} {said}", err=True)
    if "--json" in sys.argv or os.environ.get("REFRIG_JSON_ERRORS"):
        click.echo(json.dumps({"error": said, "kind": type(error).__name__}))


def sentence(error: Exception) -> str:
    """An error as one reads it. Ours say what to do; of others the kind is named, and how to see more."""
    own = type(error).__module__.startswith(("refrig_assets", "streaming"))
    if own or type(error) is ValueError:
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}{_remedy(error)}"
    first = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {first} (run again with --debug for the traceback)"


def _remedy(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return ". Correct its permissions, or choose another place"
    if isinstance(error, FileNotFoundError):
        return ". Check the path"
    if error.errno == 28:
        return ". Free some space, or choose another disk"
    return ""
