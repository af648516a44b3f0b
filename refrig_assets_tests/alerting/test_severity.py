"""Severity: C6's rules as a table of cases, who counts, whose reasons are told, and last good scores standing in."""

from datetime import timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refrig_assets.alerting.severity import severities, with_last_good
from refrig_assets.contracts import MODEL_SCORES
from refrig_assets.contracts.scoring import DETECTORS
from refrig_assets_tests.builders import HOUR, at

STAT, FOREST, AUTO, DBSCAN = "statistical_baseline", "isolation_forest", "autoencoder", "dbscan_cohort"


def score(model: str, value: float, flag: bool | None = None, **changes: Any) -> dict[str, Any]:
    flagged = value > 0.6 if flag is None else flag
    start = changes.pop("start", HOUR)
    return {
        "score_id": "s",
        "device_id": "dev-1",
        "window_start": start,
        "window_end": start + timedelta(minutes=15),
        "model_id": model,
        "model_version": "1",
        "granularity": "fleet",
        "deployment_role": "champion",
        "anomaly_score": value,
        "anomaly_flag": flagged,
        "threshold_used": 0.6,
        "top_contributors": [f"{model} says"] if flagged else None,
        "contributor_scores": [1.0] if flagged else None,
        "scored_at": HOUR,
        "sensor_completeness": 1.0,
    } | changes


def frame(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=MODEL_SCORES.dtypes, orient="row")


CASES = [
    # scores, flags (None: above 0.6), severity, models flagging
    ([0.1, 0.2], None, None, 0),
    ([0.6, 0.6], None, None, 0),
    ([0.61, 0.1], None, "LOW", 1),
    ([0.61, 0.62], None, "MEDIUM", 2),
    ([0.7, 0.1], None, "LOW", 1),
    ([0.71, 0.1], None, "MEDIUM", 1),
    ([0.85, 0.65], None, "MEDIUM", 2),
    ([0.86, 0.65], None, "HIGH", 2),
    ([0.95, 0.1], None, "MEDIUM", 1),  # one model alone never makes HIGH
    ([0.95, 0.61], None, "HIGH", 2),
    ([0.951, 0.1], None, "CRITICAL", 1),  # as C6 writes it
    ([0.96, 0.97], None, "CRITICAL", 2),
    ([0.9], None, "MEDIUM", 1),
    ([0.65, 0.66, 0.67, 0.68], None, "MEDIUM", 4),
    ([0.5, 0.1], [True, False], "LOW", 1),  # its own threshold is lower
    ([0.75, 0.1], [False, False], "MEDIUM", 0),  # its own threshold is higher; the score counts all the same
    ([0.9, 0.9], [True, False], "MEDIUM", 1),
]


@pytest.mark.parametrize(("scores", "flags", "severity", "flagging"), CASES)
def test_the_rules(scores: list[float], flags: list[bool] | None, severity: str | None, flagging: int) -> None:
    given_flags = flags or [None] * len(scores)
    rows = frame(*(score(m, s, f) for m, s, f in zip(DETECTORS, scores, given_flags, strict=False)))
    told = severities(rows).row(0, named=True)
    assert told["severity"] == severity
    assert told["models_flagging"] == flagging
    assert told["models_scoring"] == len(scores)
    assert told["anomaly_score"] == max(scores)
    assert told["model_id"] == DETECTORS[scores.index(max(scores))] or scores.count(max(scores)) > 1


def test_equal_scores_are_told_alike_in_whatever_order_they_lie() -> None:
    rows = [score(STAT, 0.9), score(FOREST, 0.9)]
    assert severities(frame(*rows)).equals(severities(frame(*rows[::-1])))
    assert severities(frame(*rows))["model_id"].item() == FOREST


def test_reasons_are_those_of_the_highest_score_that_has_any() -> None:
    told = severities(frame(score(STAT, 0.8, flag=False), score(FOREST, 0.65))).row(0, named=True)
    assert (told["model_id"], told["top_contributors"]) == (STAT, [f"{FOREST} says"])
    told = severities(frame(score(STAT, 0.8), score(FOREST, 0.65))).row(0, named=True)
    assert told["top_contributors"] == [f"{STAT} says"]


def test_only_champions_of_the_models_asked_for_count() -> None:
    rows = frame(
        score(STAT, 0.1),
        score(STAT, 0.99, model_version="2", deployment_role="challenger"),
        score(STAT, 0.99, model_version="3", deployment_role="shadow"),
        score("threshold_baseline", 0.99),
        score("rules_fallback", 0.0, flag=True),
    )
    assert severities(rows).row(0, named=True)["severity"] is None
    assert severities(rows, models=("rules_fallback",))["severity"].to_list() == ["LOW"]


def test_windows_and_devices_are_judged_each_for_itself() -> None:
    rows = frame(
        score(STAT, 0.9), score(FOREST, 0.9, start=at(15)), score(FOREST, 0.9, device_id="dev-0"), score(FOREST, 0.2)
    )
    told = severities(rows)
    assert told["device_id"].to_list() == ["dev-0", "dev-1", "dev-1"]
    assert told["severity"].to_list() == ["MEDIUM"] * 3
    assert told["models_scoring"].to_list() == [1, 2, 1]


def test_scores_past_their_use_by_are_passed_over() -> None:
    rows = frame(score(STAT, 0.9), score(STAT, 0.65, start=at(60)))
    assert severities(rows, not_before=at(60))["severity"].to_list() == ["LOW"]
    assert severities(rows, not_before=at(120)).is_empty()


def test_nothing_gives_nothing() -> None:
    assert severities(MODEL_SCORES.empty()).is_empty()
    assert with_last_good(MODEL_SCORES.empty(), HOUR, at(60)).is_empty()


def test_the_last_good_scores_of_a_failed_model_stand_in_for_two_hours() -> None:
    earlier = [score(STAT, 0.9, start=at(-15)), score(FOREST, 0.3, start=at(-15))]
    now = [score(FOREST, 0.62, start=at(15 * n)) for n in range(12)]
    filled = with_last_good(frame(*earlier, *now), HOUR, at(180))
    told = severities(filled).sort("window_end")
    # The statistical baseline's last window ended at 0; windows up to two hours later may lean on it.
    assert told["models_scoring"].to_list() == [2] * 8 + [1] * 4
    assert told["severity"].to_list() == ["HIGH"] * 8 + ["LOW"] * 4
    assert told["carried"].to_list() == [True] * 8 + [False] * 4


def test_a_device_that_a_working_model_leaves_out_is_not_filled() -> None:
    rows = frame(
        score(STAT, 0.9, start=at(-15)),
        score(FOREST, 0.1),
        score(STAT, 0.1, device_id="dev-2"),  # it did score the window
        score(AUTO, 0.9, start=at(-15)),  # and daily models are done, not late
    )
    told = severities(with_last_good(rows, HOUR, at(60)))
    assert told.filter(pl.col("device_id") == "dev-1")["models_scoring"].to_list() == [1]
    assert not told["carried"].any()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(DETECTORS), st.floats(0, 1)), min_size=1, max_size=4, unique_by=lambda r: r[0])
)
def test_more_alarm_is_never_less_severe(rows: list[tuple[str, float]]) -> None:
    order = [None, "LOW", "MEDIUM", "HIGH", "CRITICAL"]
    before = severities(frame(*(score(m, s) for m, s in rows)))["severity"].item()
    raised = [(m, max(s, 0.61)) for m, s in rows]
    after = severities(frame(*(score(m, s) for m, s in raised)))["severity"].item()
    assert order.index(after) >= order.index(before)


def test_a_fleet_at_once() -> None:
    n = 50_000
    device = pl.DataFrame({"number": range(n)}).select(
        device_id="dev-" + pl.col("number").cast(pl.String), anomaly_score=(pl.col("number") + 0.5) / n
    )
    models = pl.DataFrame({"model_id": [STAT, FOREST]})
    rest = frame(score(STAT, 0.3)).drop("device_id", "model_id", "anomaly_score", "anomaly_flag")
    many = (
        device.join(models, how="cross")
        .join(rest, how="cross")
        .with_columns(anomaly_flag=pl.col("anomaly_score") > 0.6)
    )
    told = severities(many)
    assert told.height == n
    counts = dict(told["severity"].value_counts().iter_rows())
    assert counts == {"CRITICAL": 2500, "HIGH": 5000, "MEDIUM": 12_500, None: 30_000}
