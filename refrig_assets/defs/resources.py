"""Resources: the lake and the places files arrive in, configured by environment or in the launchpad."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg

from refrig_assets.lake import DEFAULT_LAKE, Lake
from refrig_assets.models.mlflow_store import DEFAULT_MODELS
from refrig_assets.models.registry import Registry
from refrig_assets.pipeline.fleet_report_files import DEFAULT_REPORTS
from refrig_assets.pipeline.stream_reports import stream_home

DEFAULT_LANDING = "data/landing"
DEFAULT_REGISTRY = "data/registry.parquet"


class LakeResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The Delta lake: a folder or an object store's URI. Object-store settings come from the environment."""

    uri: str = DEFAULT_LAKE
    stream_state: str = ""
    """state directory of the stream, where it is not in its usual place"""

    @property
    def located(self) -> Lake:
        """Where the lake is; whether it is there is not looked at."""
        return Lake(self.uri, json.loads(os.environ.get("REFRIG_STORAGE_OPTIONS", "{}")))

    @property
    def lake(self) -> Lake:
        return self.located if self.located.exists() else self.located.create()

    @property
    def stream_home(self) -> Path:
        return stream_home(Lake(self.uri), self.stream_state)


class ModelsResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The model registry: an MLflow server or a file's URI, and where artifacts and routes are if not beside it."""

    uri: str = DEFAULT_MODELS
    artifacts: str = ""
    routes: str = ""

    @property
    def registry(self) -> Registry:
        return Registry(self.uri, artifacts=self.artifacts or None, routes=Path(self.routes) if self.routes else None)


class FilesResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Where landing files and the registry file are found, and where reports are written."""

    landing_dir: str = DEFAULT_LANDING
    registry_file: str = DEFAULT_REGISTRY
    reports_dir: str = DEFAULT_REPORTS
    settle_seconds: float = 5.0
    """a landing file written more recently than this may not be complete and waits for the next run"""

    @property
    def landing(self) -> Path:
        return Path(self.landing_dir)

    @property
    def registry(self) -> Path:
        return Path(self.registry_file)

    @property
    def reports(self) -> Path:
        return Path(self.reports_dir)


class ClockResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The time. Nothing below this layer reads a clock; a replay sets it."""

    fixed: str = ""

    @property
    def now(self) -> datetime:
        return datetime.fromisoformat(self.fixed) if self.fixed else datetime.now(UTC)


def from_environment() -> dict[str, dg.ConfigurableResource]:  # type: ignore[type-arg]
    return {
        "lake": LakeResource(
            uri=os.environ.get("REFRIG_LAKE", DEFAULT_LAKE), stream_state=os.environ.get("REFRIG_STREAM_STATE", "")
        ),
        "files": FilesResource(
            landing_dir=os.environ.get("REFRIG_LANDING", DEFAULT_LANDING),
            registry_file=os.environ.get("REFRIG_REGISTRY", DEFAULT_REGISTRY),
            reports_dir=os.environ.get("REFRIG_REPORTS", DEFAULT_REPORTS),
            settle_seconds=float(os.environ.get("REFRIG_SETTLE_SECONDS", "5")),
        ),
        "models": ModelsResource(
            uri=os.environ.get("REFRIG_MODELS") or DEFAULT_MODELS,
            artifacts=os.environ.get("REFRIG_MODEL_ARTIFACTS", ""),
            routes=os.environ.get("REFRIG_MODEL_ROUTES", ""),
        ),
        "clock": ClockResource(),
    }
