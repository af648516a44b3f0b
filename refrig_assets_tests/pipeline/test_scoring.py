"""Scoring an hour: who scores whom, what is left out and counted, what is replaced, and what writes nothing."""

import uuid
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest

from refrig_assets.contracts import DEVICE_FEATURES, DEVICE_REGISTRY, MODEL_SCORES
from refrig_assets.lake import Lake
from refrig_assets.models import FeatureMismatchError, Model
from refrig_assets.models.serving import Route
from refrig_assets.pipeline.score_rows import ScoringError
from refrig_assets.pipeline.scoring import OneLook, StaleFeaturesError, score_hour
from refrig_assets_tests.builders import HOUR, everything
from refrig_assets_tests.pipeline.scored_lake import DEVICES, HOURS, Source, fill, fit
from refrig_assets_tests.windows import write_windows

STAT = "statistical_baseline"
START = HOUR - timedelta(hours=HOURS - 1)  # HOUR is the last of the hours that have features
NOW = HOUR + timedelta(minutes=70)


class Broken:
    """A model that gives what no model should, or nothing at all."""

    def __init__(self, sound: Model, **gives: Any) -> None:
        self.sound, self.info, self.gives = sound, sound.info, gives

    def score(self, rows: pl.DataFrame, *, reasons: str = "flagged") -> pl.DataFrame:
        if "error" in self.gives:
            raise RuntimeError(self.gives["error"])
        return self.sound.score(rows).with_columns(**{n: pl.lit(v) for n, v in self.gives.items()})


@pytest.fixture(scope="module")
def model(empty_lake: Any, tmp_path_factory: pytest.TempPathFactory) -> Model:
    import shutil

    lake = Lake(str(shutil.copytree(empty_lake, tmp_path_factory.mktemp("fit") / "lake")))
    fill(lake, START)
    return fit(lake, START)


@pytest.fixture
def source(lake: Lake, model: Model) -> Source:
    fill(lake, START)
    return Source({(STAT, "1"): model, (STAT, "2"): model})


def scores(lake: Lake) -> pl.DataFrame:
    return everything(lake, "model_scores")


def change(lake: Lake, hour: datetime, *columns: pl.Expr, keep: pl.Expr | None = None) -> None:
    """Other features for an hour."""
    rows = lake.table(DEVICE_FEATURES).read(hour, hour + timedelta(hours=1)).with_columns(columns)
    write_windows(lake, rows if keep is None else rows.filter(keep))


def test_the_hours_of_one_run_have_one_version_which_is_loaded_once(lake: Lake, source: Source) -> None:
    loaded: list[str] = []

    class Counted(Source):
        def load(self, model_id: str, version: str) -> tuple[Model, Any]:
            loaded.append(version)
            return super().load(model_id, version)

    registry = Counted(source.models)
    run = OneLook(registry)
    before = score_hour(lake, run, STAT, HOUR - timedelta(hours=1), NOW, even_stale=True)
    registry.champion = "2"
    after = score_hour(lake, run, STAT, HOUR, NOW)
    assert (before.by_version, after.by_version, loaded) == ({"1 champion": 96}, {"1 champion": 96}, ["1"])
    assert score_hour(lake, OneLook(registry), STAT, HOUR, NOW).by_version == {"2 champion": 96}


def test_every_closed_window_of_every_device_is_scored(lake: Lake, source: Source) -> None:
    report = score_hour(lake, source, STAT, HOUR, NOW)
    rows = scores(lake)
    assert MODEL_SCORES.violations(rows.select(*MODEL_SCORES.columns)) == []
    assert rows.height == report.rows == 4 * len(DEVICES)
    assert (report.devices_scored, report.devices_expected, report.coverage) == (24, 24, 1.0)
    assert set(report.by_window.values()) == {24}
    assert rows["deployment_role"].unique().to_list() == ["champion"]
    assert (rows["anomaly_flag"] == (rows["anomaly_score"] > rows["threshold_used"])).all()
    assert rows.filter(pl.col("anomaly_flag") != pl.col("top_contributors").is_not_null()).is_empty()
    assert all(uuid.UUID(i).version == 5 for i in rows["score_id"])


def test_open_windows_wait(lake: Lake, source: Source) -> None:
    report = score_hour(lake, source, STAT, HOUR, HOUR + timedelta(minutes=37))
    assert list(report.by_window) == [f"{HOUR:%H}:15", f"{HOUR:%H}:30"]


def test_again_gives_the_same_and_nothing_twice(lake: Lake, source: Source) -> None:
    score_hour(lake, source, STAT, HOUR, NOW)
    first = scores(lake)
    score_hour(lake, source, STAT, HOUR, NOW, devices_at_once=5)
    assert scores(lake).equals(first)


def test_other_models_and_other_hours_stay(lake: Lake, source: Source, model: Model) -> None:
    source.models["isolation_forest", "1"] = model
    earlier = HOUR - timedelta(hours=1)
    for name, hour in ((STAT, HOUR), ("isolation_forest", HOUR), (STAT, earlier)):
        score_hour(lake, source, name, hour, NOW)
    before = scores(lake)
    score_hour(lake, source, STAT, HOUR, NOW)
    assert scores(lake).equals(before)
    assert before.height == 3 * 4 * len(DEVICES)
    # Also where the files no longer tell whose they are.
    lake.table(MODEL_SCORES).open().optimize.compact()
    score_hour(lake, source, STAT, HOUR, NOW)
    assert scores(lake).equals(before)


def test_only_the_devices_asked_for(lake: Lake, source: Source) -> None:
    score_hour(lake, source, STAT, HOUR, NOW)
    before = scores(lake)
    later = NOW + timedelta(minutes=5)
    report = score_hour(lake, source, STAT, HOUR, later, DEVICES[3:5])
    assert (report.rows, report.devices_scored, report.devices_expected) == (8, 2, 2)
    after = scores(lake)
    assert after.drop("scored_at").equals(before.drop("scored_at"))
    assert set(after.filter(pl.col("scored_at") == later)["device_id"]) == set(DEVICES[3:5])


def test_an_unknown_device_is_named(lake: Lake, source: Source) -> None:
    with pytest.raises(ScoringError, match="not in the device registry: dev-x"):
        score_hour(lake, source, STAT, HOUR, NOW, ["dev-x", DEVICES[0]])


def test_too_thin_windows_are_left_out_and_counted(lake: Lake, source: Source) -> None:
    thin = pl.col("device_id").is_in(DEVICES[:3])
    change(lake, HOUR, pl.when(thin).then(0.49).otherwise(0.5).alias("sensor_completeness"))
    report = score_hour(lake, source, STAT, HOUR, NOW)
    assert (report.incomplete, report.rows, report.devices_scored) == (12, 84, 21)
    assert report.coverage < 0.99


def test_a_window_with_nothing_to_judge_is_left_out_and_counted(lake: Lake, source: Source, model: Model) -> None:
    mine = pl.col("device_id") == DEVICES[0]
    nothing = [pl.when(~mine).then(f).alias(f) for f in model.info.roles.features]
    for back in range(HOURS):
        change(lake, HOUR - timedelta(hours=back), *nothing)
    report = score_hour(lake, source, STAT, HOUR, NOW)
    assert (report.unscorable, report.rows, report.devices_scored) == (4, 92, 23)


def test_gaps_are_filled_from_the_windows_before(lake: Lake, source: Source) -> None:
    score_hour(lake, source, STAT, HOUR, NOW)
    gap = pl.when(pl.col("device_id") != DEVICES[0]).then("vibration_compressor_max").alias("vibration_compressor_max")
    change(lake, HOUR, gap)
    assert score_hour(lake, source, STAT, HOUR, NOW).filled_values == 4
    assert scores(lake).height == 4 * len(DEVICES)


def test_young_devices_are_strangers(lake: Lake, source: Source) -> None:
    registry = lake.table(DEVICE_REGISTRY)
    young = pl.when(pl.col("device_id").is_in(DEVICES[:2])).then(HOUR - timedelta(days=29)).otherwise("install_date")
    registry.replace_all(
        registry.read().with_columns(young.cast(DEVICE_REGISTRY.dtypes["install_date"]).alias("install_date"))
    )
    report = score_hour(lake, source, STAT, HOUR, NOW)
    assert report.new_devices == 2
    by_device = dict(scores(lake).select("device_id", "granularity").unique().iter_rows())
    assert {by_device[d] for d in DEVICES[:2]} == {"cohort"}
    assert {by_device[d] for d in DEVICES[2:]} == {"device"}


def test_challenger_and_shadow_score_beside(lake: Lake, source: Source, model: Model) -> None:
    source.challenger, source.shadow = "2", "3"
    source.models[STAT, "3"] = model
    report = score_hour(lake, source, STAT, HOUR, NOW)
    assert report.by_version == {"1 champion": 96, "2 challenger": 96, "3 shadow": 96}
    assert dict(scores(lake)["deployment_role"].value_counts().iter_rows()) == dict.fromkeys(
        ("champion", "challenger", "shadow"), 96
    )
    source.challenger = source.shadow = None  # and when they go, so do their scores
    score_hour(lake, source, STAT, HOUR, NOW)
    assert scores(lake).height == 96


def test_a_cohort_can_have_another_version(lake: Lake, source: Source) -> None:
    source.routes = (Route(STAT, "2", region="south"),)
    score_hour(lake, source, STAT, HOUR, NOW)
    found = (
        scores(lake).group_by("model_version").agg(pl.col("device_id").n_unique(), pl.col("deployment_role").unique())
    )
    assert sorted(found.iter_rows()) == [("1", 12, ["champion"]), ("2", 12, ["champion"])]


def test_a_broken_challenger_does_not_stop_the_champion(lake: Lake, source: Source, model: Model) -> None:
    source.challenger, source.shadow = "2", "3"  # of 3 there is nothing to load
    source.models[STAT, "2"] = Broken(model, error="out of luck")  # type: ignore[assignment]
    report = score_hour(lake, source, STAT, HOUR, NOW)
    assert report.by_version == {"1 champion": 96}
    assert report.broken["2 challenger"] == "RuntimeError: out of luck"
    assert "3 shadow" in report.broken


@pytest.mark.parametrize(
    "gives",
    [{"anomaly_score": float("nan")}, {"anomaly_score": 1.5}, {"error": "boom"}],
    ids=["nan", "above 1", "error"],
)
def test_a_bad_score_writes_nothing(lake: Lake, source: Source, model: Model, gives: dict[str, Any]) -> None:
    score_hour(lake, source, STAT, HOUR, NOW)
    before, version = scores(lake), lake.table(MODEL_SCORES).version
    source.models[STAT, "1"] = Broken(model, **gives)  # type: ignore[assignment]
    with pytest.raises((ScoringError, ValueError, RuntimeError)):
        score_hour(lake, source, STAT, HOUR, NOW + timedelta(minutes=1), devices_at_once=5)
    assert lake.table(MODEL_SCORES).version == version
    assert scores(lake).equals(before)


def test_nan_is_told_by_name(lake: Lake, source: Source, model: Model) -> None:
    source.models[STAT, "1"] = Broken(model, anomaly_score=float("nan"))  # type: ignore[assignment]
    with pytest.raises(ScoringError, match="statistical_baseline 1 gave NaN for 96 of 96 windows: nothing is written"):
        score_hour(lake, source, STAT, HOUR, NOW)


def test_a_mismatch_names_the_features(lake: Lake, source: Source, model: Model) -> None:
    roles = replace(model.info.roles, features=(*model.info.roles.features, "oil_level_mean"))
    other = Broken(model)
    other.info = replace(model.info, roles=roles)
    source.models[STAT, "1"] = other  # type: ignore[assignment]
    with pytest.raises(FeatureMismatchError, match="oil_level_mean"):
        score_hour(lake, source, STAT, HOUR, NOW)
    assert scores(lake).is_empty()


def test_without_a_version_in_charge_it_says_what_to_do(lake: Lake, source: Source) -> None:
    source.champion = None
    with pytest.raises(ScoringError, match="refrig models promote statistical_baseline"):
        score_hour(lake, source, STAT, HOUR, NOW)


def test_stale_features_of_the_newest_hour_are_not_scored(lake: Lake, source: Source) -> None:
    late = HOUR + timedelta(hours=3, minutes=1)
    with pytest.raises(StaleFeaturesError, match=f"{HOUR:%Y-%m-%d %H}:00 is not scored"):
        score_hour(lake, source, STAT, HOUR, late)
    assert scores(lake).is_empty()
    assert score_hour(lake, source, STAT, HOUR - timedelta(hours=1), late).rows == 96  # history
    assert score_hour(lake, source, STAT, HOUR, late, even_stale=True).rows == 96
    assert score_hour(lake, source, STAT, HOUR, HOUR + timedelta(hours=3)).rows == 96  # just within


def test_an_hour_without_features_has_no_scores(lake: Lake, source: Source) -> None:
    report = score_hour(lake, source, STAT, START - timedelta(hours=5), NOW)
    assert (report.rows, report.windows, report.devices_scored) == (0, 0, 0)
