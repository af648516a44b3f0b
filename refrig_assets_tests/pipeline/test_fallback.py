"""Producers without a model: each rule at its limit, limits by device, cohort and fleet, and what is written."""

from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest

from refrig_assets.contracts import DEVICE_FEATURES, FEATURE_BASELINES, MODEL_SCORES
from refrig_assets.lake import Lake
from refrig_assets.pipeline.fallback import (
    LIMITED,
    MARGIN,
    RULES,
    THRESHOLD,
    rules_verdicts,
    score_by_limits,
    score_by_rules,
    threshold_verdicts,
)
from refrig_assets.pipeline.score_rows import ScoringError
from refrig_assets_tests.builders import HOUR, everything
from refrig_assets_tests.pipeline.scored_lake import DEVICES, fill
from refrig_assets_tests.windows import write_windows

NOW = HOUR + timedelta(minutes=70)
_SOUND = {"temp_evaporator_mean": -25.0, "vibration_compressor_max": 3.0, "pressure_low_mean": 200.0,
          "current_compressor_max": 12.0}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "broken", "shares"),
    [
        ({}, None, None),
        ({"temp_evaporator_mean": 0.0}, None, None),
        ({"temp_evaporator_mean": 0.1}, ["temp_evaporator_mean"], [1.0]),
        ({"vibration_compressor_max": 20.0}, None, None),
        ({"vibration_compressor_max": 20.1}, ["vibration_compressor_max"], [1.0]),
        ({"pressure_low_mean": 100.0}, None, None),
        ({"pressure_low_mean": 99.9}, ["pressure_low_mean"], [-1.0]),
        ({"current_compressor_max": 35.0}, None, None),
        ({"current_compressor_max": 35.1}, ["current_compressor_max"], [1.0]),
        (
            {"temp_evaporator_mean": 5.0, "pressure_low_mean": 60.0},
            ["temp_evaporator_mean", "pressure_low_mean"],
            [0.5, -0.5],
        ),
        (dict.fromkeys(_SOUND), None, None),
    ],
)
def test_the_rules(changes: dict[str, float | None], broken: list[str] | None, shares: list[float] | None) -> None:
    row = rules_verdicts(pl.DataFrame([_SOUND | changes], schema=dict.fromkeys(_SOUND, pl.Float64))).row(0, named=True)
    assert row["anomaly_score"] == 0.0
    assert row["anomaly_flag"] is (broken is not None)
    assert row["top_contributors"] == broken
    assert row["contributor_scores"] == shares


def test_there_are_four_rules() -> None:
    assert {r.feature for r in RULES} == set(_SOUND)


def test_rules_write_a_row_a_window_and_replace_their_own(lake: Lake) -> None:
    fill(lake, HOUR, 1)
    hot = pl.when(pl.col("device_id") == DEVICES[2]).then(4.0).otherwise("temp_evaporator_mean")
    rows = lake.table(DEVICE_FEATURES).read().with_columns(hot.alias("temp_evaporator_mean"))
    write_windows(lake, rows)
    for _ in range(2):
        report = score_by_rules(lake, HOUR, NOW)
    found = everything(lake, "model_scores")
    assert MODEL_SCORES.violations(found) == []
    assert (report.rows, report.flagged, found.height) == (96, 4, 96)
    assert report.by_reason["temp_evaporator_mean"] == 4
    assert set(found.filter("anomaly_flag")["device_id"]) == {DEVICES[2]}
    assert found["anomaly_score"].max() == 0.0
    assert score_by_rules(lake, HOUR, HOUR + timedelta(minutes=20)).rows == 24  # closed windows only
    assert score_by_rules(lake, HOUR, NOW, DEVICES[:1]).rows == 4


def limit(feature: str, low: float, high: float, scope: str = "fleet", **whose: str) -> dict[str, Any]:
    return {
        "feature_name": feature, "granularity": scope, "cohort_id": None, "device_id": None, "baseline_p05": low,
        "baseline_p95": high, "null_rate": 0.0, "computed_at": HOUR, "training_window_start": HOUR,
        "training_window_end": HOUR, "model_version": "7",
    } | whose  # fmt: skip


def limits(*rows: dict[str, Any]) -> pl.DataFrame:
    have = {n: t for n, t in FEATURE_BASELINES.dtypes.items() if n in rows[0]}
    return FEATURE_BASELINES.conform(pl.DataFrame(list(rows), schema=have))


def judged(value: float | None, *rows: dict[str, Any], age: float | None = 400.0) -> dict[str, Any]:
    window = {"device_id": "d", "cohort_id": "c", "device_age_days": age} | dict.fromkeys(LIMITED)
    window["temp_discharge_mean"] = value
    types = {"device_id": pl.String, "cohort_id": pl.String} | dict.fromkeys(("device_age_days", *LIMITED), pl.Float64)
    return threshold_verdicts(pl.DataFrame([window], schema=types), limits(*rows)).row(0, named=True)


def test_a_mean_beyond_the_limits_by_the_margin_flags() -> None:
    fleet = limit("temp_discharge_mean", 60.0, 80.0)
    beyond = 20.0 * MARGIN
    assert judged(70.0, fleet)["anomaly_score"] == 0.0
    assert not judged(80.0 + beyond, fleet)["anomaly_flag"]
    assert judged(80.0 + beyond, fleet)["anomaly_score"] == pytest.approx(THRESHOLD)
    hot, cold = judged(80.1 + beyond, fleet), judged(59.9 - beyond, fleet)
    assert hot["anomaly_flag"]
    assert cold["anomaly_flag"]
    assert (hot["top_contributors"], hot["contributor_scores"]) == (["temp_discharge_mean"], [1.0])
    assert cold["contributor_scores"] == [-1.0]
    assert THRESHOLD < hot["anomaly_score"] < judged(200.0, fleet)["anomaly_score"] < 1


def test_the_nearest_limits_count_and_young_devices_have_none_of_their_own() -> None:
    of_all = [
        limit("temp_discharge_mean", 0.0, 200.0),
        limit("temp_discharge_mean", 60.0, 80.0, "cohort", cohort_id="c"),
        limit("temp_discharge_mean", 90.0, 95.0, "device", device_id="d"),
    ]
    assert judged(93.0, *of_all)["granularity"] == "device"
    assert judged(93.0, *of_all)["anomaly_score"] == 0.0
    young = judged(93.0, *of_all, age=3.0)
    assert young["granularity"] == "cohort"
    assert young["anomaly_score"] > 0
    assert judged(93.0, *of_all[:1])["granularity"] == "fleet"
    assert judged(None, *of_all)["anomaly_score"] is None


def test_limits_are_those_of_the_newest_training(lake: Lake) -> None:
    fill(lake, HOUR, 1)
    with pytest.raises(ScoringError, match="feature_baselines is empty"):
        score_by_limits(lake, HOUR, NOW)
    old = limit("temp_discharge_mean", 0.0, 1.0) | {"computed_at": HOUR - timedelta(days=7), "model_version": "6"}
    new = [limit(f, -1e6, 1e6) for f in LIMITED]
    lake.table(FEATURE_BASELINES).append(limits(old, *new))
    report = score_by_limits(lake, HOUR, NOW)
    found = everything(lake, "model_scores")
    assert MODEL_SCORES.violations(found) == []
    assert (report.rows, report.flagged) == (96, 0)
    assert found.select("model_version", "deployment_role").unique().rows() == [("7", "shadow")]
    assert found["scored_at"].dtype == pl.Datetime("us", "UTC")
    assert isinstance(report.hour, datetime)
