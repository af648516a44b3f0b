"""What the tests share: an hour, a moment after it, an empty lake of real tables, a small registry."""

import shutil
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

from refrig_assets.lake import Lake
from refrig_assets_tests.builders import HOUR, NOW, registry_of


@pytest.fixture
def hour() -> datetime:
    """The hour that tests land, clean and compute."""
    return HOUR


@pytest.fixture
def now() -> datetime:
    """Half an hour after the end of `hour`."""
    return NOW


@pytest.fixture(scope="session")
def empty_lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake as `create` leaves it. Not to be written to: it is what `lake` copies."""
    path = tmp_path_factory.mktemp("empty") / "lake"
    Lake(str(path)).create()
    return path


@pytest.fixture
def lake(tmp_path: Path, empty_lake: Path) -> Lake:
    """An empty lake of the test's own, with every table."""
    return Lake(str(shutil.copytree(empty_lake, tmp_path / "lake")))


@pytest.fixture
def landing(tmp_path: Path) -> Path:
    """An empty landing directory."""
    path = tmp_path / "landing"
    path.mkdir()
    return path


@pytest.fixture
def registry() -> pl.DataFrame:
    """Five active devices that are expected to report every sensor each minute."""
    return registry_of([f"dev-{n}" for n in range(5)])
