"""Diagnoses on a real lake: with the champion, with baselines in its place, and with neither."""

import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from refrig_assets.alerting.diagnosis_seen import DIAGNOSIS_SCHEMA
from refrig_assets.contracts import DEVICE_REGISTRY
from refrig_assets.lake import Lake
from refrig_assets.models import Model
from refrig_assets.pipeline.diagnosing import diagnose, seen
from refrig_assets_tests.pipeline import diagnosed_lake
from refrig_assets_tests.pipeline.diagnosed_lake import AT_REST, END, SILENT, STUCK, asked
from refrig_assets_tests.pipeline.scored_lake import Source

WRONG = {
    "dev-01": "refrigerant_leak",
    "dev-02": "condenser_fouling",
    "dev-03": "sensor_fault",
    "dev-04": "bearing_wear",
    STUCK: "sensor_fault",
    AT_REST: "power_loss",
    SILENT: "sensor_fault",
    "dev-10": "unknown",
    "dev-15": "unknown",
}
NAME = "statistical_baseline"


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory, empty_lake: Path) -> Lake:
    lake = Lake(str(shutil.copytree(empty_lake, tmp_path_factory.mktemp("failing") / "lake")))
    diagnosed_lake.fill(lake)
    return lake


@pytest.fixture(scope="module")
def model(failing: Lake) -> Model:
    return diagnosed_lake.model_of(failing)


@pytest.fixture
def source(model: Model) -> Source:
    return Source({(NAME, "1"): model})


class Broken(Source):
    """A registry that cannot give what it promises."""

    def load(self, model_id: str, version: str) -> tuple[Model, Any]:
        raise OSError("artifact gone")


class Silent(Source):
    """A registry that cannot be reached."""

    def plan(self, model_id: str) -> Any:
        raise ConnectionError("no registry")


def modes(found: pl.DataFrame) -> dict[str, str]:
    return dict(found.select("device_id", "failure_mode").iter_rows())


def test_what_is_wrong_with_each(failing: Lake, source: Source) -> None:
    found = diagnose(failing, source, asked(*WRONG))
    assert modes(found) == WRONG
    assert found.schema == pl.Schema(DIAGNOSIS_SCHEMA)
    assert found.select("device_id", "window_end").equals(
        asked(*WRONG).cast({"window_end": DIAGNOSIS_SCHEMA["window_end"]})
    )
    by_device = {row["device_id"]: row for row in found.iter_rows(named=True)}
    for device in ("dev-01", "dev-02", "dev-04"):
        row = by_device[device]
        assert 0 <= row["hours_left_low"] <= row["hours_left"] <= row["hours_left_high"]
        assert any("above what this device usually has at this ambient" in s for s in row["evidence"])
    assert by_device["dev-10"]["hours_left"] is None


def test_each_window_of_a_device_is_judged_at_its_time(failing: Lake, source: Source) -> None:
    early = asked("dev-01", "dev-02", end=diagnosed_lake.BEGUN)
    windows = pl.concat([asked("dev-01"), early, asked("dev-01")])
    found = diagnose(failing, source, windows)
    assert found["failure_mode"].to_list() == ["refrigerant_leak", "unknown", "unknown"]
    assert found.height == 3, "a window asked for twice is one"


def test_how_many_hours_a_level_rests_on_is_known(failing: Lake, source: Source) -> None:
    begun = asked("dev-01", end=diagnosed_lake.START + timedelta(hours=4))
    windows = (
        pl.concat([asked("dev-01", "nobody"), begun])
        .with_row_index("row")
        .with_columns(pl.col("row").cast(pl.Int64), top_contributors=None, contributor_scores=None)
    )
    assert seen(failing, source, windows).windows["level_hours"].to_list() == [24, None, 3]


def test_order_and_company_change_nothing(failing: Lake, source: Source) -> None:
    together = diagnose(failing, source, asked(*reversed(WRONG)))
    alone = pl.concat([diagnose(failing, source, asked(device)) for device in WRONG])
    assert together.sort("device_id").equals(alone.sort("device_id"))


def test_devices_and_windows_that_nobody_knows(failing: Lake, source: Source) -> None:
    unheard = asked("dev-00", end=END + timedelta(days=2))
    found = diagnose(failing, source, pl.concat([asked("nobody"), unheard]))
    assert found["failure_mode"].to_list() == ["unknown", "unknown"]
    assert found["evidence"].list.len().min() > 0  # type: ignore[operator]
    assert diagnose(failing, source, asked().cast({"device_id": pl.String})).is_empty()


@pytest.mark.parametrize(
    ("registry", "why"),
    [
        (Source(champion=None), "is not there"),
        (Broken(), "could not be loaded (version 1: OSError)"),
        (Silent(), "could not be loaded (registry: ConnectionError)"),
    ],
)
def test_without_its_champion_baselines_stand_in(
    failing: Lake, tmp_path: Path, registry: Source, why: str
) -> None:  # fmt: skip
    lake = Lake(str(shutil.copytree(failing.uri, tmp_path / "lake")))
    diagnosed_lake.write_fleet_baselines(lake)
    found = diagnose(lake, registry, asked(*WRONG))
    assert modes(found) == WRONG
    assert found["evidence"].list.last().str.contains(why, literal=True).all()


def test_with_neither_the_models_reasons_speak(failing: Lake) -> None:
    reasons = asked("dev-04", "dev-10").with_columns(
        pl.Series("top_contributors", [["vibration_compressor_mean_6h"], None], dtype=pl.List(pl.String)),
        pl.Series("contributor_scores", [[0.9], None], dtype=pl.List(pl.Float64)),
    )
    found = diagnose(failing, Source(champion=None), reasons)
    assert found["failure_mode"].to_list() == ["bearing_wear", "unknown"]
    assert found["evidence"][1].to_list() == ["Nothing is known of this device that it could be compared with."]


def test_a_young_device_is_compared_with_its_cohort(failing: Lake, tmp_path: Path, source: Source) -> None:
    lake = Lake(str(shutil.copytree(failing.uri, tmp_path / "lake")))
    registry = lake.table(DEVICE_REGISTRY).read()
    lake.table(DEVICE_REGISTRY).replace_all(
        registry.with_columns(
            (pl.lit(END) - timedelta(days=5)).alias("install_date").cast(registry.schema["install_date"])
        )
    )
    found = diagnose(lake, source, asked("dev-01", "dev-10"))
    assert found["failure_mode"].to_list() == ["refrigerant_leak", "unknown"]
