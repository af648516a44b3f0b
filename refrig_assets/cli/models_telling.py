"""How versions, roles and changes of models read, as text and as JSON."""

from typing import TYPE_CHECKING, Any

import click

from refrig_assets.cli.common import print_json

if TYPE_CHECKING:
    from refrig_assets.models.registry import Change, ModelVersion, Registry, ServingPlan


def versions_of(registry: "Registry", model: str) -> "list[ModelVersion]":
    found = registry.versions(model)
    if not found:
        registry.get(model, "1")  # says what there is instead
    return found


def role(plan: "ServingPlan", version: "ModelVersion") -> str:
    beside = {plan.challenger: "challenger", plan.shadow: "shadow"}
    roles = [beside[version.version]] if version.version in beside else []
    if plan.champion == version.version:
        roles = ["champion (pinned)" if plan.pinned else "champion"]
    return ", ".join([*roles, *(r.whom for r in plan.routes if r.version == version.version)])


def gates(version: "ModelVersion") -> str:
    report = version.canary
    if report is None:
        return ""
    return f"{report.outcome} against {report.old_version}" + "".join(f", {g.name}" for g in report.failed)


def tell_routes(plan: "ServingPlan") -> None:
    for route in plan.routes:
        click.echo(f"  {route.whom} is scored by {plan.model_id} {route.version}, as the routes file says")


def tell(registry: "Registry", change: "Change", as_json: bool) -> None:
    plan = registry.plan(change.model_id, routed=False)
    if as_json:
        print_json({**change_dict(change), "champion": plan.champion, "pinned": plan.pinned})
        return
    click.echo(f"✓ {change.says}")
    if change.what == "released" and plan.pinned and plan.champion != change.version:
        click.echo(
            f"! {plan.champion} is pinned and scores on; `refrig models unpin {change.model_id}` lets "
            f"{change.version} score"
        )
    elif change.what in ("released", "pinned", "unpinned", "rolled back"):
        click.echo(f"{change.model_id} {plan.champion} scores from the next run on")
    elif change.what == "staged":
        click.echo("The canary compares it at its next run; or `refrig models compare` does, with --record")


def model_dict(plan: "ServingPlan", versions: "list[ModelVersion]") -> dict[str, Any]:
    routes = [{"cohort": r.cohort, "region": r.region, "version": r.version} for r in plan.routes]
    return {
        "champion": plan.champion,
        "pinned": plan.pinned,
        "routes": routes,
        "versions": [version_dict(plan, v) for v in versions],
    }


def version_dict(plan: "ServingPlan", found: "ModelVersion") -> dict[str, Any]:
    return {
        "model": found.model_id,
        "version": found.version,
        "stage": found.stage,
        "aliases": list(found.aliases),
        "scores": role(plan, found),
        "registered_at": found.registered_at,
        "digest": found.digest,
        "canary_outcome": found.canary.outcome if found.canary else None,
    }


def change_dict(change: "Change") -> dict[str, Any]:
    return {**vars(change), "overruled": list(change.overruled), "canary": dict(change.canary), "says": change.says}
