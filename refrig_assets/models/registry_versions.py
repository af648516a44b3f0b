"""Versions of models: registering one, finding it by number or alias, loading it. Nothing here decides who scores."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from refrig_assets.models.artifacts import ArtifactError, load_model
from refrig_assets.models.canary import CanaryReport
from refrig_assets.models.changes import Change, read_changes, settled
from refrig_assets.models.mlflow_store import (
    CARD_DIR,
    DEFAULT_MODELS,
    MODEL_DIR,
    MlflowStore,
    UnknownVersionError,
)

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion as MlflowVersion
    from mlflow.tracking import MlflowClient

    from refrig_assets.models.card import Card
    from refrig_assets.models.detector import Model

Stage = Literal["draft", "staging", "released", "retired"]

DIGEST, STAGE, CANARY = "refrig.digest", "refrig.stage", "refrig.canary"
DRAFT = "draft"
_DESCRIPTION_LENGTH = 4000
_PARAM_LENGTH, _MOST_PARAMS = 500, 100
# What to do where no version is called so; other names come and go.
_REMEDIES = {
    "released": "release a first one with `refrig models promote {0} VERSION --to released`",
    "staging": "a new training brings one there, or `refrig models promote {0} VERSION --to staging`",
}


@dataclass(frozen=True)
class ModelVersion:
    model_id: str
    version: str
    stage: Stage
    aliases: tuple[str, ...]
    registered_at: datetime
    digest: str
    run_id: str
    tags: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def canary(self) -> CanaryReport | None:
        """What the gates said last."""
        told = self.tags.get(CANARY)
        return CanaryReport.from_dict(json.loads(told)) if told else None


class Versions:
    """Made without touching the disk; what is asked is read anew each time."""

    def __init__(self, uri: str = DEFAULT_MODELS, artifacts: str | None = None) -> None:
        self._store = MlflowStore(uri, artifacts)
        self.uri, self.shown = self._store.uri, self._store.shown

    def register(
        self,
        model: "Model",
        card: "Card | Path | None" = None,
        metrics: Mapping[str, float] | None = None,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """Keep a fitted model as a new draft; its version. A version exists once all of its files do.

        `card` is a model card, or a directory of one.
        """
        from mlflow.entities import Metric, Param

        model_id = model.info.model_id
        pages = _pages(card)
        tags = {k: str(v) for k, v in (tags or {}).items()}
        with self._store.writing() as client:
            run = client.create_run(self._store.experiment(client), run_name=model_id, tags=tags).info
        digest = self._store.keep(client, run.run_id, model, pages)
        told = {**model.info.settings, **(params or {})}
        with self._store.writing() as client:
            client.log_batch(
                run.run_id,
                metrics=[Metric(k, float(v), run.start_time, 0) for k, v in (metrics or {}).items()],
                params=[Param(k, str(v)[:_PARAM_LENGTH]) for k, v in told.items()][:_MOST_PARAMS],
            )
            client.set_terminated(run.run_id)
            if model_id not in self._registered(client):
                client.create_registered_model(model_id)
            made = client.create_model_version(
                model_id,
                source=self._store.source(run.run_id, run.artifact_uri),
                run_id=run.run_id,
                tags={**tags, DIGEST: digest, STAGE: DRAFT},
                description=pages.get("card.md", b"").decode()[:_DESCRIPTION_LENGTH] or None,
            )
            client.set_registered_model_alias(model_id, DRAFT, str(made.version))
        return str(made.version)

    def models(self) -> list[str]:
        """The models that have a version, of those this package knows: a server may hold others."""
        from refrig_assets.models import MODELS

        client = self._store.client()
        with self._store.telling():
            return sorted(self._registered(client) & set(MODELS))

    def aliases(self, model_id: str) -> dict[str, str]:
        """Alias to version, as of one moment. Empty where the model was never registered."""
        from mlflow.exceptions import MlflowException

        client = self._store.client()
        with self._store.telling():
            try:
                found = client.get_registered_model(model_id).aliases
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                return {}
        return {str(alias): str(version) for alias, version in found.items()}

    def versions(self, model_id: str) -> list[ModelVersion]:
        """The newest first."""
        client, aliases = self._store.client(), self.aliases(model_id)
        found: list[MlflowVersion] = []
        token = None
        with self._store.telling():
            while True:
                page = client.search_model_versions(f"name='{model_id}'", max_results=200, page_token=token)
                found += page
                token = page.token
                if not token:
                    break
        return sorted((_version(v, aliases) for v in found), key=lambda v: -int(v.version))

    def get(self, model_id: str, version: str) -> ModelVersion:
        """A version by its number or by an alias (draft, staging, released, pinned, challenger, shadow)."""
        aliases = self.aliases(model_id)
        number = aliases.get(str(version), str(version).removeprefix("v"))
        found = self._version(model_id, number) if number.isdigit() else None
        if found is not None:
            return _version(found, aliases)
        have = [v.version for v in self.versions(model_id)]
        if not have:
            known = ", ".join(self.models()) or "none"
            raise UnknownVersionError(
                f"the registry at {self.shown} has no version of {model_id!r}; models there: {known}. Train it first."
            )
        named = ", ".join(f"{a} = {v}" for a, v in sorted(aliases.items()))
        if version in _REMEDIES:
            raise UnknownVersionError(
                f"no version of {model_id} is {version}: {_REMEDIES[version].format(model_id)}. It has "
                f"{', '.join(have[:10])}; by name {named or 'none'}."
            )
        raise UnknownVersionError(
            f"{model_id} has no version {version!r}. It has {', '.join(have[:10])}; by name {named or 'none'}."
        )

    def load(self, model_id: str, version: str) -> tuple["Model", ModelVersion]:
        """A version's model, by number or alias, where its files are what was registered."""
        found = self.get(model_id, version)
        if not found.digest:
            raise ArtifactError(
                f"{model_id} {found.version} in {self.shown} was not registered by this product (it has no digest), "
                "and is not loaded. Delete that version, or go back to one of ours."
            )
        with self._store.files(found.run_id, MODEL_DIR) as path:
            return load_model(path, found.digest, model_id=model_id), found

    def card(self, model_id: str, version: str) -> dict[str, bytes]:
        """The files of a version's card: card.md and its pictures. Empty where it has no card."""
        with self._store.files(self.get(model_id, version).run_id, CARD_DIR) as path:
            return _pages(path) if path.is_dir() else {}

    def figures(self, model_id: str, version: str) -> tuple[dict[str, float], dict[str, str]]:
        """The metrics and parameters that a version was registered with."""
        found = self.get(model_id, version)
        with self._store.telling():
            run = self._store.client().get_run(found.run_id)
        return dict(run.data.metrics), dict(run.data.params)

    def history(self, model_id: str) -> list[Change]:
        """Who changed what, oldest first."""
        found = self.versions(model_id)
        held = {(alias, v.version) for v in found for alias in v.aliases}
        return settled(read_changes(v.tags for v in found), held)

    def _registered(self, client: "MlflowClient") -> set[str]:
        names: set[str] = set()
        token = None
        while True:
            page = client.search_registered_models(max_results=200, page_token=token)
            names |= {str(m.name) for m in page}
            token = page.token
            if not token:
                return names

    def _version(self, model_id: str, number: str) -> "MlflowVersion | None":
        from mlflow.exceptions import MlflowException

        with self._store.telling():
            try:
                return self._store.client().get_model_version(model_id, number)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                return None


def _version(found: "MlflowVersion", aliases: Mapping[str, str]) -> ModelVersion:
    tags: dict[str, str] = dict(found.tags)
    return ModelVersion(
        model_id=str(found.name),
        version=str(found.version),
        stage=tags.get(STAGE, DRAFT),  # type: ignore[arg-type]
        aliases=tuple(sorted(a for a, v in aliases.items() if v == str(found.version))),
        registered_at=datetime.fromtimestamp(found.creation_timestamp / 1000, UTC),
        digest=tags.get(DIGEST, ""),
        run_id=str(found.run_id or ""),
        tags=tags,
    )


def _pages(card: "Card | Path | None") -> dict[str, bytes]:
    if card is None:
        return {}
    if isinstance(card, Path):
        return {p.name: p.read_bytes() for p in sorted(card.iterdir()) if p.is_file()}
    return card.files()
