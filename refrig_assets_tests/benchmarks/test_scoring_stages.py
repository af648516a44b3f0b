"""The scoring benchmark's lake is one the product could have made, and its figures have their names."""

import polars as pl
import pytest

from benchmarks import scoring, scoring_fleet
from benchmarks.scoring_fleet import SCORED
from refrig_assets.contracts import TRAINING_DATA
from refrig_assets.contracts.scoring import DETECTORS
from refrig_assets.lake import HOUR, Lake
from refrig_assets.pipeline.model_rows import model_rows
from refrig_assets.pipeline.training_rows import read_training_rows


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    uri = str(tmp_path_factory.mktemp("scoring") / "lake")
    counts = scoring_fleet.make_lake(uri, devices=60, donors=25, training_rows=600)
    assert counts["training_rows"] == 600
    return Lake(uri)


def test_every_device_has_the_hours_windows_with_trends(lake: Lake) -> None:
    rows = model_rows(lake, SCORED, SCORED + HOUR)
    assert rows["device_id"].n_unique() == 60
    assert rows.height >= 60 * 4 * 0.97
    assert rows["temp_evaporator_mean_24h"].null_count() == 0
    assert rows["temp_evaporator_mean_change"].null_count() == 0


def test_no_two_devices_are_alike(lake: Lake) -> None:
    rows = model_rows(lake, SCORED, SCORED + HOUR).drop_nulls("pressure_low_mean")
    same = rows.group_by("window_start", "pressure_low_mean", "temp_condenser_mean").len()
    assert same["len"].max() == 1


def test_training_rows_keep_to_the_contract_and_all_devices_have_some(lake: Lake) -> None:
    TRAINING_DATA.validate(lake.table(TRAINING_DATA).read())
    data = read_training_rows(lake)
    assert set(data.rows["split"]) == {"train", "validation", "held_out"}
    assert data.rows["device_id"].n_unique() == 60
    assert (data.rows["window_start"] < SCORED).all()
    assert data.split("train")["window_start"].max() < data.split("validation")["window_start"].min()
    assert data.rows.select("device_id", "window_start").is_unique().all()


def test_the_figures_have_their_stable_names() -> None:
    run = {"seconds": 2.0, "cpu_s": 3.0, "peak_bytes": 1e9, "rows": 10, "flagged": 1, "isolation_forest_s": 1.0}
    alerts = run | {"written": 1, "diagnosed": 1, "stages": {"judge": 0.1}}
    found = scoring.Measured({"training_rows": 5}, dict.fromkeys(DETECTORS, run), [run, run], [alerts], [run])
    figures = scoring.figures_of(found)
    assert list(figures)[:4] == ["hourly_s", "all_four_s", "training_s", "peak_gb"]
    assert figures["training_s"] == 8.0
    bars = scoring.bars_of(figures)
    assert set(bars) == {"hourly_s", "all_four_s", "training_s", "peak_gb", "alerts_s"}
    assert all(bar.holds for bar in bars.values())


def test_moved_values_stay_in_their_range(lake: Lake) -> None:
    rows = model_rows(lake, SCORED, SCORED + HOUR)
    assert rows.filter(pl.col("humidity_mean") > 100).is_empty()
