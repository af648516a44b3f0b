"""The registry of models: which version scores, how one comes to, and the way back. Over MLflow.

Scoring goes by two aliases: `pinned`, else `released`. Each is moved by a single write, after the version's files were
checked and the change was noted; so whenever a process dies, one version or the other scores.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from refrig_assets.models.canary import CanaryReport
from refrig_assets.models.changes import Change, What, released_before, tag_name
from refrig_assets.models.mlflow_store import DEFAULT_MODELS, RegistryUnavailableError, UnknownVersionError
from refrig_assets.models.registry_versions import CANARY, DRAFT, STAGE, ModelVersion, Versions
from refrig_assets.models.serving import ROUTES_FILE, Route, RoutesError, Served, ServingPlan, read_routes

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

Target = Literal["staging", "released", "challenger", "shadow"]
Beside = Literal["challenger", "shadow"]

STAGING, RELEASED, PINNED, RETIRED = "staging", "released", "pinned", "retired"
_WHAT: Mapping[str, What] = {
    "staging": "staged", "released": "released", "challenger": "challenger", "shadow": "shadow"
}  # fmt: skip


class PromotionRefusedError(RuntimeError):
    """A version may not score; the message names what stands against it and how to go on."""


class Registry(Versions):
    """Every version of every model, and who scores with which."""

    def __init__(
        self, uri: str = DEFAULT_MODELS, *, artifacts: str | None = None, routes: Path | None = None
    ) -> None:  # fmt: skip
        super().__init__(uri, artifacts)
        self.routes_file = routes or self._store.home / ROUTES_FILE

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "Registry":
        """REFRIG_MODELS is the URI; REFRIG_MODEL_ARTIFACTS and REFRIG_MODEL_ROUTES say where files and routes are."""
        routes = environ.get("REFRIG_MODEL_ROUTES")
        return cls(
            environ.get("REFRIG_MODELS") or DEFAULT_MODELS,
            artifacts=environ.get("REFRIG_MODEL_ARTIFACTS") or None,
            routes=Path(routes) if routes else None,
        )

    # -- who scores ------------------------------------------------------------------------------------------------

    def plan(self, model_id: str, *, routed: bool = True) -> ServingPlan:
        """Who is scored by which version, from one look at the registry and, where `routed`, the routes."""
        aliases = self.aliases(model_id)
        routes = [r for r in self.routes() if r.model_id == model_id] if routed else []
        return ServingPlan(
            model_id=model_id,
            champion=aliases.get(PINNED, aliases.get(RELEASED)),
            pinned=PINNED in aliases,
            challenger=aliases.get("challenger"),
            shadow=aliases.get("shadow"),
            routes=tuple(self._resolved(r) for r in routes),
        )

    def serving(self, model_id: str, *, cohort: str | None = None, region: str | None = None) -> list[Served]:
        """The champion and whoever scores beside it. Empty where nothing was released yet."""
        return self.plan(model_id).of(cohort=cohort, region=region)

    def routes(self) -> tuple[Route, ...]:
        """The entries of the routes file as they are written; `plan` looks their versions up."""
        from refrig_assets.models import MODELS

        return read_routes(self.routes_file, sorted(MODELS))

    def _resolved(self, route: Route) -> Route:
        try:
            return replace(route, version=self.get(route.model_id, route.version).version)
        except UnknownVersionError as error:
            raise RoutesError(f"{self.routes_file}: the route of {route.whom}: {error}") from error

    # -- changes ---------------------------------------------------------------------------------------------------

    def record_canary(self, report: CanaryReport) -> None:
        """Keep what the gates said with the new version: `promote` goes by it."""
        with self._store.writing() as client:
            client.set_model_version_tag(report.model_id, report.new_version, CANARY, json.dumps(report.to_dict()))

    def promote(
        self,
        model_id: str,
        version: str,
        to: Target = "staging",
        *,
        by: str,
        now: datetime,
        gates: CanaryReport | None = None,
        overrule: str | None = None,
    ) -> Change:
        """Move a version on, after a look whether it can be loaded.

        To be released it must pass the canary against what scores now (`gates`, else the report recorded with it), or
        there is a reason to `overrule` it, which is kept.
        """
        _, found = self.load(model_id, version)
        champion = self.plan(model_id, routed=False).champion
        report: CanaryReport | None = None
        against: tuple[str, ...] = ()
        if to == RELEASED:
            report = gates or found.canary
            against = self._objections(found, champion, report, overrule)
        elif to == STAGING and found.stage == RELEASED:
            raise PromotionRefusedError(f"{model_id} {found.version} is released already; staging comes before that.")
        change = Change(
            _WHAT[to], model_id, found.version, now, by,
            replaced=champion if to == RELEASED else None,
            reason=overrule,
            overruled=against,
            canary={g.name: g.value for g in report.gates} if report else {},
        )  # fmt: skip
        with self._store.writing() as client, self._noted(client, change):
            client.set_registered_model_alias(model_id, to, found.version)
            if to == RELEASED:
                self._settle(client, found)
            elif to == STAGING:
                client.set_model_version_tag(model_id, found.version, STAGE, STAGING)
                if DRAFT in found.aliases:
                    client.delete_registered_model_alias(model_id, DRAFT)
        return change

    def withdraw(self, model_id: str, role: Beside, *, by: str, now: datetime) -> Change:
        """The challenger or shadow scores no longer."""
        version = self._holder(model_id, role)
        what: What = "no longer challenger" if role == "challenger" else "no longer shadow"
        return self._drop(Change(what, model_id, version, now, by), role)

    def pin(
        self, model_id: str, version: str, *, by: str, now: datetime, reason: str | None = None,
        overrule: str | None = None,
    ) -> Change:  # fmt: skip
        """Let this version score, whatever is released, until it is unpinned.

        A version that never was released has passed no canary; it is pinned with a reason to `overrule` that.
        """
        _, found = self.load(model_id, version)
        against: tuple[str, ...] = ()
        if found.stage not in (RELEASED, RETIRED) and RELEASED not in found.aliases:
            against = ("never released",)
            if not (overrule or "").strip():
                raise PromotionRefusedError(
                    f"{model_id} {found.version} was never released, so no canary stands behind it. Release it "
                    f"(refrig models promote {model_id} {found.version} --to released), or give --overrule 'why'."
                )
        champion = self.plan(model_id, routed=False).champion
        return self._pin(Change("pinned", model_id, found.version, now, by, champion, overrule or reason, against))

    def unpin(self, model_id: str, *, by: str, now: datetime, reason: str | None = None) -> Change:
        """Let the released version score again. Refused where that would leave none."""
        pinned = self._holder(model_id, PINNED)
        if RELEASED not in self.aliases(model_id):
            raise PromotionRefusedError(
                f"{model_id} {pinned} stays pinned: no version is released, so nothing would score. Release one first "
                f"(refrig models promote {model_id} VERSION --to released)."
            )
        _, released = self.load(model_id, RELEASED)
        return self._drop(Change("unpinned", model_id, pinned, now, by, released.version, reason), PINNED)

    def rollback(self, model_id: str, *, by: str, now: datetime, reason: str | None = None) -> Change:
        """Pin what scored before the version that scores now."""
        champion = self.plan(model_id, routed=False).champion
        if champion is None:
            raise UnknownVersionError(f"no version of {model_id} is released: there is nothing to go back from.")
        before = released_before(self.history(model_id), champion)
        if before is None:
            raise UnknownVersionError(
                f"{model_id} {champion} is the first that was released: there is nothing to go back to. "
                f"See `refrig models show {model_id}`, and pin a version yourself."
            )
        _, found = self.load(model_id, before)
        return self._pin(Change("rolled back", model_id, found.version, now, by, champion, reason))

    def _pin(self, change: Change) -> Change:
        with self._store.writing() as client, self._noted(client, change):
            client.set_registered_model_alias(change.model_id, PINNED, change.version)
        return change

    def _drop(self, change: Change, alias: str) -> Change:
        with self._store.writing() as client, self._noted(client, change):
            client.delete_registered_model_alias(change.model_id, alias)
        return change

    @contextmanager
    def _noted(self, client: "MlflowClient", change: Change) -> Iterator[None]:
        """The change is on record before it is made, and then as made."""
        tag = tag_name(len(self.history(change.model_id)))
        client.set_model_version_tag(change.model_id, change.version, tag, replace(change, done=False).to_json())
        yield
        client.set_model_version_tag(change.model_id, change.version, tag, change.to_json())

    def _holder(self, model_id: str, alias: str) -> str:
        version = self.aliases(model_id).get(alias)
        if version is None:
            raise UnknownVersionError(f"no version of {model_id} is {alias}: there is nothing to take back.")
        return version

    def _settle(self, client: "MlflowClient", new: ModelVersion) -> None:
        """What versions are called once the alias has moved. Killed before or within, the same version scores."""
        client.set_model_version_tag(new.model_id, new.version, STAGE, RELEASED)
        for other in self.versions(new.model_id):
            if other.stage == RELEASED and other.version != new.version:
                client.set_model_version_tag(new.model_id, other.version, STAGE, RETIRED)
        for alias in sorted({DRAFT, STAGING, "challenger", "shadow"} & set(new.aliases)):
            client.delete_registered_model_alias(new.model_id, alias)

    def _objections(
        self, found: ModelVersion, champion: str | None, report: CanaryReport | None, overrule: str | None
    ) -> tuple[str, ...]:
        """What stands against a release, where that is overruled; refused where it is not."""
        name = f"{found.model_id} {found.version}"
        if found.stage == DRAFT:
            raise PromotionRefusedError(
                f"{name} is a draft: bring it to staging first, where the canary looks at it "
                f"(refrig models promote {name} --to staging)."
            )
        names, why = _against(found, champion, report)
        if names and not (overrule or "").strip():
            raise PromotionRefusedError(
                f"{name} is not released: {why}. Compare them (refrig models compare {found.model_id} {champion} "
                f"{found.version} --record), or release it all the same with --overrule 'why'."
            )
        return names


def _against(found: ModelVersion, champion: str | None, report: CanaryReport | None) -> tuple[tuple[str, ...], str]:
    if champion is None or champion == found.version:
        return (), ""  # the first has nothing to be compared with
    if report is None:
        return ("no canary",), f"no canary compared it with {champion}, which scores now"
    if (report.model_id, report.new_version, report.old_version) != (found.model_id, found.version, champion):
        seen = f"{report.model_id} {report.new_version} with {report.old_version}"
        return ("canary of other versions",), f"the canary compared {seen}, and {champion} scores now"
    failed = tuple(g.name for g in report.failed)
    return failed, "; ".join(f"the gate {g.name} says {g.outcome} ({g.says})" for g in report.failed)


__all__ = [
    "Change",
    "ModelVersion",
    "PromotionRefusedError",
    "Registry",
    "RegistryUnavailableError",
    "RoutesError",
    "Served",
    "ServingPlan",
    "UnknownVersionError",
]
