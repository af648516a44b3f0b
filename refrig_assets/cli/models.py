"""`refrig models`: which versions there are, which scores, moving one on or back. The rules live in the registry."""

import getpass
import os
from typing import TYPE_CHECKING, cast

import click

from refrig_assets.cli.common import debug_option, json_option, now, print_json, print_table
from refrig_assets.cli.group import LazyGroup
from refrig_assets.cli.models_telling import (
    change_dict,
    gates,
    model_dict,
    role,
    tell,
    tell_routes,
    version_dict,
    versions_of,
)

if TYPE_CHECKING:
    from refrig_assets.models.registry import Beside, Registry, Target

models_option = click.option("--models", "uri", envvar="REFRIG_MODELS", default="sqlite:///data/models/mlflow.db",
                             show_default=True, show_envvar=True, metavar="URI",
                             help="The registry: a SQLite file, a folder, or an MLflow server.")  # fmt: skip
by_option = click.option("--by", default=getpass.getuser, show_default="you", help="Who does it, for the record.")
reason_option = click.option("--reason", default=None, help="Why, for the record.")
overrule_option = click.option("--overrule", default=None, metavar="WHY",
                               help="Do it although something stands against it; the reason is kept.")  # fmt: skip

_HERE = "refrig_assets.cli.models"
COMMANDS = {
    "list": (f"{_HERE}:list_", "Every version, its stage, and which one scores."),
    "show": (f"{_HERE}:show", "A model's versions, figures, history; a version's card."),
    "compare": ("refrig_assets.cli.models_compare:compare", "Two versions over the same hours, held to the gates."),
    "promote": (f"{_HERE}:promote", "Move a version to staging, to release, or beside the champion."),
    "withdraw": (f"{_HERE}:withdraw", "End a challenger or a shadow."),
    "pin": (f"{_HERE}:pin", "Let one version score, whatever is released."),
    "unpin": (f"{_HERE}:unpin", "Let the released version score again."),
    "rollback": (f"{_HERE}:rollback", "Pin what scored before the version that scores now."),
}

models = LazyGroup(
    name="models",
    commands_at=COMMANDS,
    help="""The versions of the models, and which of them scores.

A trained version begins as a draft. In staging the canary compares it with the version that scores; once its gates
pass it may be released, and scoring takes it at the next run. A pinned version scores whatever is released; going
back (rollback) is pinning the one before. VERSION is a number, or a name: draft, staging, released, pinned,
challenger, shadow.

\b
Examples:
  refrig models list
  refrig models promote isolation_forest 4 --to staging
  refrig models compare isolation_forest released 4 --record
  refrig models promote isolation_forest 4 --to released
  refrig models rollback isolation_forest --reason "false alarms in the north"
""",
)


def open_registry(uri: str) -> "Registry":
    from refrig_assets.models.registry import Registry

    return Registry.from_environment({**os.environ, "REFRIG_MODELS": uri})


@click.command("list")
@click.argument("model", required=False)
@models_option
@json_option
@debug_option
def list_(model: str | None, uri: str, as_json: bool) -> None:
    """Every version of every model (or of MODEL), newest first, and which one scores.

    \b
    Examples:
      refrig models list
      refrig models list autoencoder --json
    """
    registry = open_registry(uri)
    names = [model] if model else registry.models()
    found = {name: versions_of(registry, name) for name in names}
    plans = {name: registry.plan(name) for name in names}
    if as_json:
        print_json({"registry": registry.shown, "models": {n: model_dict(plans[n], found[n]) for n in names}})
        return
    rows = [
        (name, v.version, v.stage, role(plans[name], v), f"{v.registered_at:%Y-%m-%d %H:%M}", gates(v))
        for name in names
        for v in found[name]
    ]
    print_table(f"Models of {registry.shown}", ("model", "version", "stage", "scores", "registered", "canary"), rows)
    for name in names:
        tell_routes(plans[name])
        if plans[name].champion is None:
            click.echo(f"! no version of {name} is released: it does not score (refrig models promote {name} VERSION)")


@click.command()
@click.argument("model")
@click.argument("version", required=False)
@click.option("--card", is_flag=True, help="Print the version's model card, as Markdown.")
@models_option
@json_option
@debug_option
def show(model: str, version: str | None, card: bool, uri: str, as_json: bool) -> None:
    """A version of MODEL (by default the one that scores, else the newest): its figures, and the model's history.

    \b
    Examples:
      refrig models show isolation_forest
      refrig models show isolation_forest 4 --card
    """
    registry = open_registry(uri)
    plan = registry.plan(model)
    found = registry.get(model, version or plan.champion or versions_of(registry, model)[0].version)
    metrics, params = registry.figures(model, found.version)
    text = registry.card(model, found.version).get("card.md", b"").decode()
    history = registry.history(model)
    if as_json:
        told = {"metrics": metrics, "params": params, "card": text, "canary": found.canary and found.canary.to_dict()}
        print_json({**version_dict(plan, found), **told, "history": [change_dict(c) for c in history]})
        return
    if card:
        click.echo(text or f"{model} {found.version} has no card")
        return
    rows = [
        ("stage", found.stage), ("scores", role(plan, found) or "no"), ("by name", ", ".join(found.aliases)),
        ("registered", f"{found.registered_at:%Y-%m-%d %H:%M} UTC"), ("digest", found.digest[:16]),
        ("run", found.run_id),
        ("canary", found.canary.says if found.canary else "none yet"),
    ]  # fmt: skip
    print_table(f"{model} {found.version}", ("", ""), rows)
    if metrics:
        print_table("Figures", ("metric", "value"), [(k, f"{v:g}") for k, v in sorted(metrics.items())], right=(1,))
    print_table("History", ("when", "what"), [(f"{c.at:%Y-%m-%d %H:%M}", c.says) for c in history])
    tell_routes(plan)


@click.command()
@click.argument("model")
@click.argument("version")
@click.option("--to", type=click.Choice(["staging", "released", "challenger", "shadow"]), default="staging",
              show_default=True, help="Where to.")  # fmt: skip
@overrule_option
@by_option
@models_option
@json_option
@debug_option
def promote(model: str, version: str, to: str, overrule: str | None, by: str, uri: str, as_json: bool) -> None:
    """Move VERSION of MODEL on. To be released it must have passed the canary against the version that scores.

    A challenger or a shadow scores beside the champion, for comparison; its scores never make an alert.

    \b
    Examples:
      refrig models promote isolation_forest 4 --to staging
      refrig models promote isolation_forest 4 --to released
      refrig models promote isolation_forest 4 --to released --overrule "new sensors, looked at by hand"
      refrig models promote autoencoder 7 --to challenger
    """
    registry = open_registry(uri)
    change = registry.promote(model, version, cast("Target", to), by=by, now=now(), overrule=overrule)
    tell(registry, change, as_json)


@click.command()
@click.argument("model")
@click.argument("beside", metavar="ROLE", type=click.Choice(["challenger", "shadow"]))
@by_option
@models_option
@json_option
@debug_option
def withdraw(model: str, beside: str, by: str, uri: str, as_json: bool) -> None:
    """End MODEL's challenger or shadow: it scores no longer.

    \b
    Examples:
      refrig models withdraw autoencoder challenger
    """
    registry = open_registry(uri)
    tell(registry, registry.withdraw(model, cast("Beside", beside), by=by, now=now()), as_json)


@click.command()
@click.argument("model")
@click.argument("version")
@reason_option
@overrule_option
@by_option
@models_option
@json_option
@debug_option
def pin(
    model: str, version: str, reason: str | None, overrule: str | None, by: str, uri: str, as_json: bool
) -> None:  # fmt: skip
    """Let VERSION of MODEL score from the next run on, whatever is released, until it is unpinned.

    \b
    Examples:
      refrig models pin isolation_forest 3 --reason "until the new sensors are sorted out"
    """
    registry = open_registry(uri)
    tell(registry, registry.pin(model, version, by=by, now=now(), reason=reason, overrule=overrule), as_json)


@click.command()
@click.argument("model")
@reason_option
@by_option
@models_option
@json_option
@debug_option
def unpin(model: str, reason: str | None, by: str, uri: str, as_json: bool) -> None:
    """Let the released version of MODEL score again, from the next run on.

    \b
    Examples:
      refrig models unpin isolation_forest
    """
    registry = open_registry(uri)
    tell(registry, registry.unpin(model, by=by, now=now(), reason=reason), as_json)


@click.command()
@click.argument("model")
@reason_option
@by_option
@models_option
@json_option
@debug_option
def rollback(model: str, reason: str | None, by: str, uri: str, as_json: bool) -> None:
    """Pin the version of MODEL that scored before the one that scores now. Effective at the next run.

    \b
    Examples:
      refrig models rollback isolation_forest --reason "false alarms in the north"
    """
    registry = open_registry(uri)
    tell(registry, registry.rollback(model, by=by, now=now(), reason=reason), as_json)
