"""The canary's gates: what passes, what each of them stops, and what cannot be compared."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from refrig_assets.models.canary import CanaryError, CanaryReport, compare, kl_divergence

DEVICES, WINDOWS = 500, 4
START = datetime(2026, 3, 2, tzinfo=UTC)


def scores(values: np.ndarray) -> pl.DataFrame:
    count = len(values)
    return pl.DataFrame(
        {
            "device_id": [f"dev-{n // WINDOWS:04}" for n in range(count)],
            "window_end": [START + timedelta(minutes=15 * (n % WINDOWS)) for n in range(count)],
            "anomaly_score": values,
            "anomaly_flag": values > 0.6,
        }
    )


def usual(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).beta(2, 6, DEVICES * WINDOWS)


def report(old: pl.DataFrame, new: pl.DataFrame) -> CanaryReport:
    return compare(old, new, model_id="isolation_forest", old_version="3", new_version="4")


def outcomes(found: CanaryReport) -> dict[str, str]:
    return {g.name: g.outcome for g in found.gates}


def test_the_same_scores_pass_every_gate() -> None:
    found = report(scores(usual()), scores(usual()))
    assert outcomes(found) == dict.fromkeys(
        ("mean_difference", "flag_rate_change", "top_devices_overlap", "score_divergence"), "pass"
    )
    assert found.passed
    assert found.outcome == "pass"
    assert [g.value for g in found.gates] == [0.0, 0.0, 1.0, 0.0]
    assert (found.rows, found.devices) == (DEVICES * WINDOWS, DEVICES)
    assert found.says == "isolation_forest 4 against 3, 2,000 rows: all gates pass"


def test_order_of_rows_does_not_matter() -> None:
    old, new = scores(usual()), scores(np.clip(usual() + 0.01, 0, 1))
    assert report(old, new) == report(old.sample(fraction=1, shuffle=True, seed=1), new.reverse())


def test_a_shift_is_to_be_investigated() -> None:
    old = usual()
    found = report(scores(old), scores(np.clip(old + 0.05, 0, 1)))
    assert outcomes(found)["mean_difference"] == "investigate"
    assert "mean_difference says investigate (scores differ by 0.05" in found.says


def test_a_change_of_the_flag_rate_blocks_beyond_two_points() -> None:
    quiet = np.full(1000, 0.2)
    for flagged, outcome in ((20, "pass"), (21, "block")):
        for old, new in ((0, flagged), (30, 30 + flagged), (30 + flagged, 30)):
            before, after = quiet.copy(), quiet.copy()
            before[:old], after[:new] = 0.65, 0.65
            found = report(scores(before), scores(after))
            assert outcomes(found)["flag_rate_change"] == outcome, (old, new)
    assert found.outcome == "block"


def test_other_devices_on_top_are_to_be_reviewed() -> None:
    old = usual()
    new = old.copy()
    at = np.argsort(old)
    order = [int(i) // WINDOWS for i in at[::-1]]
    tops = list(dict.fromkeys(order))
    for moved, outcome in ((20, "pass"), (21, "review")):
        new = old.copy()
        for device in tops[:moved]:
            new[device * WINDOWS : (device + 1) * WINDOWS] = 0.01
        found = report(scores(old), scores(new))
        assert outcomes(found)["top_devices_overlap"] == outcome


def test_a_small_fleet_is_told_that_overlap_says_nothing() -> None:
    old = usual()[: 50 * WINDOWS]
    gate = report(scores(old), scores(old[::-1].copy())).gates[2]
    assert gate.passed
    assert "only 50 devices" in gate.says


def test_another_distribution_blocks() -> None:
    old = usual()
    found = report(scores(old), scores(np.sqrt(old)))
    assert outcomes(found)["score_divergence"] == "block"
    assert found.outcome == "block"


def test_divergence_is_that_of_the_histograms() -> None:
    old, new = np.repeat([0.01, 0.51], [300, 100]), np.repeat([0.01, 0.51], [100, 300])
    p = np.full(20, 0.5)
    q = p.copy()
    p[[0, 10]], q[[0, 10]] = [100.5, 300.5], [300.5, 100.5]
    expected = float(np.sum(p / p.sum() * np.log(p / q)))
    assert kl_divergence(old, new) == pytest.approx(expected)
    assert np.isfinite(kl_divergence(np.zeros(10), np.ones(10)))


def test_rows_that_one_version_cannot_score_are_counted() -> None:
    old, new = usual(), usual()
    found = report(
        scores(old).with_columns(anomaly_score=pl.when(pl.col("device_id") != "dev-0000").then("anomaly_score")),
        scores(new).filter(pl.col("device_id") != "dev-0001"),
    )
    assert (found.rows_only_old, found.rows_only_new) == (WINDOWS, WINDOWS)
    assert found.rows == (DEVICES - 2) * WINDOWS


def test_what_cannot_be_compared_is_named() -> None:
    good = scores(usual())
    for old, new, says in (
        (good, good.filter(pl.col("anomaly_score") > 2), "no scored row in common"),
        (good.drop("anomaly_flag"), good, "scores of the old version lack the columns anomaly_flag"),
        (good, pl.concat([good, good]), "new version hold a row twice"),
        (good, good.with_columns(anomaly_score=pl.lit(float("nan"))), "new version hold NaN"),
    ):
        with pytest.raises(CanaryError, match=says):
            report(old, new)


def test_a_report_survives_being_kept() -> None:
    found = report(scores(usual()), scores(usual(1)))
    assert CanaryReport.from_dict(found.to_dict()) == found
