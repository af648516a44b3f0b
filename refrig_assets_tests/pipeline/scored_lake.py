"""A small lake that is ready to be scored, models fitted on it, and a registry that lives in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from refrig_assets.contracts import DEVICE_REGISTRY
from refrig_assets.lake import Lake
from refrig_assets.models import MODELS, Model, Roles
from refrig_assets.models.canary import CanaryReport
from refrig_assets.models.serving import Route, ServingPlan
from refrig_assets.pipeline.model_rows import model_rows
from refrig_assets_tests.builders import registry_of
from refrig_assets_tests.windows import windows, write_windows

DEVICES = [f"dev-{n:02d}" for n in range(24)]
HOURS = 8
# Few columns: what scoring does with a model does not depend on how many it looks at.
ROLES = Roles(
    ("temp_evaporator_mean", "pressure_low_mean", "vibration_compressor_max", "current_compressor_mean"),
    ("temp_ambient_mean",),
    device="device_id",
    cohort="cohort_id",
    time="window_start",
)  # fmt: skip


def fleet(install: datetime) -> pl.DataFrame:
    """Two cohorts, of which the second stands in the south."""
    half = len(DEVICES) // 2
    north = registry_of(DEVICES[:half], cohort_id="c-north", region="north", install_date=install)
    south = registry_of(DEVICES[half:], cohort_id="c-south", region="south", install_date=install)
    return pl.concat([north, south])


def fill(lake: Lake, start: datetime, hours: int = HOURS, *, holes: float = 0.0) -> None:
    """Devices, a year old, and their windows of some hours."""
    lake.table(DEVICE_REGISTRY).replace_all(fleet(start - timedelta(days=365)))
    write_windows(lake, windows(DEVICES, start, hours, holes=holes))


def fit(lake: Lake, start: datetime, model_id: str = "statistical_baseline", seed: int = 0) -> Model:
    rows = model_rows(lake, start, start + timedelta(hours=HOURS))
    return MODELS[model_id].fit(rows, ROLES, seed=seed)


@dataclass
class Source:
    """Stands for the model registry: versions by name, and who scores."""

    models: dict[tuple[str, str], Model] = field(default_factory=dict)
    champion: str | None = "1"
    challenger: str | None = None
    shadow: str | None = None
    staging: str | None = None
    routes: Sequence[Route] = ()
    recorded: list[CanaryReport] = field(default_factory=list)

    def plan(self, model_id: str) -> ServingPlan:
        routes = tuple(r for r in self.routes if r.model_id == model_id)
        return ServingPlan(model_id, self.champion, False, self.challenger, self.shadow, routes)

    def load(self, model_id: str, version: str) -> tuple[Model, Any]:
        return self.models[model_id, version], None

    def aliases(self, model_id: str) -> Mapping[str, str]:
        held = {"staging": self.staging, "challenger": self.challenger, "shadow": self.shadow}
        return {alias: version for alias, version in held.items() if version is not None}

    def record_canary(self, report: CanaryReport) -> None:
        self.recorded.append(report)
