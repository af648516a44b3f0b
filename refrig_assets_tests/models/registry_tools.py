"""A small fitted model of a fleet that needs no lake, and registries that cost no migrations."""

import shutil
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import polars as pl

from refrig_assets.models import Model, Roles, StatisticalBaseline
from refrig_assets.models.mlflow_store import MlflowStore
from refrig_assets.models.registry import Registry

MODEL = "statistical_baseline"
AT = datetime(2026, 3, 2, 9, tzinfo=UTC)
ROLES = Roles(("a", "b", "c"), device="device_id", time="window_end")


@cache
def rows(seed: int = 0, devices: int = 8, windows: int = 50) -> pl.DataFrame:
    """Windows of devices that are well."""
    rng = np.random.default_rng(seed)
    count = devices * windows
    return pl.DataFrame(
        {
            "device_id": [f"dev-{n % devices}" for n in range(count)],
            "window_end": [AT + timedelta(minutes=15 * (n // devices)) for n in range(count)],
            **{c: rng.normal(size=count) for c in ROLES.features},
        }
    )


@cache
def fitted(seed: int = 0) -> Model:
    return StatisticalBaseline.fit(rows(seed), ROLES)


@cache
def _kept(*seeds: int) -> Path:
    """A registry as it is once these were released: migrations and writes take seconds, a copy does not."""
    home = Path(mkdtemp(prefix="refrig-registry-")) / "models"
    if seeds:
        shutil.copytree(_kept(*seeds[:-1]), home)
        release(Registry(str(home)), seeds[-1])
    else:
        MlflowStore(str(home)).client(create=True)
    return home


def registry_at(path: Path, *seeds: int) -> Registry:
    """A registry in a directory that is not there yet, with a released version for each seed: 1, 2, ..."""
    shutil.copytree(_kept(*seeds), path)
    return Registry(str(path))


def release(registry: Registry, seed: int) -> str:
    """Register a version and release it unseen."""
    version = registry.register(fitted(seed))
    registry.promote(MODEL, version, "staging", by="ann", now=AT)
    registry.promote(MODEL, version, "released", by="ann", now=AT, overrule="no canary in this test")
    return version
