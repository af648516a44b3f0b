"""Which versions score, and how old their scores are, by the registry and model_scores. Reads only; `now` is given."""

from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from refrig_assets.contracts import MODEL_SCORES
from refrig_assets.contracts.scoring import DAILY_FRESHNESS, DETECTORS, HOURLY_DETECTORS, HOURLY_FRESHNESS
from refrig_assets.lake import Lake
from refrig_assets.models.mlflow_store import MlflowStore
from refrig_assets.models.registry import Registry, RegistryUnavailableError, RoutesError
from refrig_assets.models.serving import ServingPlan
from refrig_assets.monitoring.freshness import describe
from refrig_assets.pipeline.score_age import ScoreAge, score_age


@dataclass(frozen=True)
class ModelStatus:
    """One detector. `level` is ok, late (past its service level), warn, error, or empty where nothing is released."""

    model_id: str
    champion: str | None
    pinned: bool
    beside: dict[str, str]
    """challenger, shadow, staging and whom a route scores by another version: by whom"""
    newest: datetime | None
    age_s: float | None
    level: str
    says: str


@dataclass(frozen=True)
class ModelsStatus:
    registry: str
    scores: ScoreAge
    models: list[ModelStatus] = field(default_factory=list)
    missing: bool = False
    """there is no registry yet"""
    problem: str | None = None
    """the registry or its routes cannot be read"""

    @property
    def released(self) -> bool:
        return any(m.champion for m in self.models)

    @property
    def says(self) -> str:
        """What is to be said of the registry in a line."""
        if self.problem:
            return self.problem
        if self.missing:
            return f"no models yet at {self.registry}: the job train_all makes the first"
        if not self.models:
            return f"no models yet in {self.registry}: the job train_all makes the first"
        return "" if self.released else f"no model of {self.registry} is released: see `refrig models list`"

    @property
    def errors(self) -> list[str]:
        found = [f"models: {self.problem}"] if self.problem else []
        # Without a model that could score, silence is what was asked for.
        if self.released and self.scores.use != "scores":
            found.append(f"scores: {self.scores.says}")
        return found

    def as_dict(self) -> dict[str, Any]:
        age = self.scores
        scores = {
            "status": age.status, "use": age.use, "says": age.says, "newest": dict(age.newest),
            "age_s": age.age.total_seconds() if age.age is not None else None, "failing": list(age.failing),
        }  # fmt: skip
        registry = {"uri": self.registry, "missing": self.missing, "problem": self.problem}
        return {"scores": scores, "model_registry": registry, "models": [asdict(m) for m in self.models]}


def models_status(lake: Lake, registry: Registry, now: datetime) -> ModelsStatus:
    """Look, and make nothing: neither a registry nor a table."""
    age = score_age(lake, now) if lake.has(MODEL_SCORES) else ScoreAge(now)
    if registry_missing(registry):
        return ModelsStatus(registry.shown, age, missing=True)
    try:
        there = registry.models()
        aliases = {m: registry.aliases(m) for m in there}
        plans = {m: registry.plan(m) for m in there}
    except (RegistryUnavailableError, RoutesError) as error:
        return ModelsStatus(registry.shown, age, problem=str(error))
    models = [_model(plans[m], aliases[m].get("staging"), age) for m in DETECTORS if m in plans]
    return ModelsStatus(registry.shown, age, models)


def registry_file(registry: Registry) -> Path | None:
    """Where the registry is, if it is a file."""
    return MlflowStore(registry.uri).database


def registry_missing(registry: Registry) -> bool:
    """Whether nothing was ever registered in the file. A server is asked, and answers for itself."""
    file = registry_file(registry)
    return file is not None and not (file.is_file() and file.stat().st_size)


def _model(plan: ServingPlan, staging: str | None, age: ScoreAge) -> ModelStatus:
    beside = {"challenger": plan.challenger, "shadow": plan.shadow, "staging": staging}
    held = {who: version for who, version in beside.items() if version is not None}
    newest = age.newest.get(plan.model_id)
    level, says = _judged(plan, newest, age.at)
    return ModelStatus(
        plan.model_id, plan.champion, plan.pinned, held | {r.whom: r.version for r in plan.routes}, newest,
        (age.at - newest).total_seconds() if newest else None, level, says,
    )  # fmt: skip


def _judged(plan: ServingPlan, newest: datetime | None, now: datetime) -> tuple[str, str]:
    """A model's newest scores against its own rhythm."""
    promise = HOURLY_FRESHNESS if plan.model_id in HOURLY_DETECTORS else DAILY_FRESHNESS
    if newest is None:
        return ("error" if plan.champion else "empty"), "none of late"
    age = max(now - newest, timedelta(0))
    if age <= promise.service_level or plan.champion is None:
        return ("ok" if plan.champion else "empty"), f"{describe(age)} old"
    level = "error" if age > promise.error else "warn" if age > promise.warn else "late"
    limit = {"late": promise.service_level, "warn": promise.warn, "error": promise.error}[level]
    return level, f"{describe(age)} old, over {describe(limit)}"
