"""Proxy metrics: spread, steadiness and agreement of scores, on cases one can count by hand."""

from datetime import timedelta

import polars as pl
import pytest

from refrig_assets.contracts.base import TS
from refrig_assets.contracts.scoring import HISTOGRAM_BINS, SCORE_QUALITY
from refrig_assets.monitoring.proxies import (
    agreement_finding,
    agreements,
    distribution,
    flag_rate_finding,
    rank_correlation,
    stability,
    stability_findings,
)
from refrig_assets_tests.builders import HOUR


def run_of(scores: list[float], threshold: float = 0.6, window: int = 0) -> pl.DataFrame:
    """One window of a device each."""
    end = HOUR + timedelta(minutes=15 * (window + 1))
    return pl.DataFrame(
        {
            "device_id": [f"dev-{n}" for n in range(len(scores))],
            "window_end": [end] * len(scores),
            "anomaly_score": scores,
            "anomaly_flag": [s > threshold for s in scores],
        },
        schema={"device_id": pl.String, "window_end": TS, "anomaly_score": pl.Float64, "anomaly_flag": pl.Boolean},
    )


def test_distribution_counts_what_is_there() -> None:
    told = distribution(run_of([0.0, 0.1, 0.65, 0.75, 0.99]))
    assert (told.windows, told.devices, told.flagged, told.flag_rate) == (5, 5, 3, 0.6)
    assert told.shares_above == {0.6: 0.6, 0.7: 0.4, 0.85: 0.2, 0.95: 0.2}
    assert told.quantiles["max"] == 0.99
    assert told.mean == pytest.approx(0.498)
    assert told.histogram is not None
    assert len(told.histogram) == HISTOGRAM_BINS
    assert sum(told.histogram) == pytest.approx(1)
    assert told.histogram[0] == told.histogram[-1] == 0.2


def test_nothing_has_no_distribution() -> None:
    told = distribution(run_of([]))
    assert (told.windows, told.flag_rate, told.mean, told.histogram) == (0, 0.0, None, None)


def test_stability_of_devices_that_both_runs_have() -> None:
    before, after = run_of([0.1, 0.2, 0.3, 0.7]), run_of([0.2, 0.3, 0.65, 0.8, 0.9], window=4)
    told = stability(before, after)
    assert told.devices == 4
    assert told.flip_rate == 0.25
    assert told.rank_correlation == pytest.approx(1)
    assert stability(before, run_of([])).flip_rate is None


def test_a_device_is_flagged_when_any_of_its_windows_is() -> None:
    before = pl.concat([run_of([0.1, 0.1, 0.1]), run_of([0.7, 0.1, 0.1], window=1)])
    after = pl.concat([run_of([0.7, 0.2, 0.1], window=4), run_of([0.1, 0.2, 0.1], window=5)])
    assert stability(before, after).flip_rate == 0.0


def test_rank_correlation_takes_ties_by_their_mean_and_says_when_it_cannot() -> None:
    assert rank_correlation(pl.Series([1.0, 2.0, 3.0]), pl.Series([3.0, 2.0, 1.0])) == pytest.approx(-1)
    assert rank_correlation(pl.Series([1.0, 1.0, 2.0]), pl.Series([5.0, 5.0, 9.0])) == pytest.approx(1)
    assert rank_correlation(pl.Series([1.0, 2.0]), pl.Series([1.0, 2.0])) is None
    assert rank_correlation(pl.Series([1.0, 1.0, 1.0]), pl.Series([1.0, 2.0, 3.0])) is None


def test_agreement_of_pairs_and_of_all() -> None:
    by_model = {
        "c": run_of([0.7, 0.7, 0.1, 0.1]),
        "a": run_of([0.7, 0.1, 0.1, 0.1]),
        "b": run_of([0.7, 0.7, 0.7, 0.1, 0.9]),
        "silent": run_of([]),
    }
    found = {f.models: f for f in agreements(by_model)}
    assert list(found) == [("a", "b"), ("a", "c"), ("b", "c"), ("a", "b", "c")]
    pair = found["a", "b"]
    assert (pair.windows, pair.flagged_by_all, pair.agreement, pair.overlap) == (4, 1, 0.5, pytest.approx(1 / 3))
    joint = found["a", "b", "c"]
    assert (joint.windows, joint.flagged_by_all, joint.agreement) == (4, 1, 0.5)
    assert joint.rank_correlation is None


def test_two_models_without_flags_agree_and_overlap_in_nothing() -> None:
    told = agreements({"a": run_of([0.1, 0.2, 0.3]), "b": run_of([0.1, 0.2, 0.3])})[0]
    assert (told.agreement, told.overlap, told.rank_correlation) == (1.0, None, pytest.approx(1))


def quality(**changes: object) -> pl.DataFrame:
    row = {"hour": HOUR, "measure": "model", "model_id": "a", "model_versions": ["1"], "windows": 4, "devices": 4,
           "flagged": 0, "flag_rate": 0.01} | changes  # fmt: skip
    return SCORE_QUALITY.conform(pl.DataFrame([row], schema_overrides={"hour": SCORE_QUALITY.dtypes["hour"]}))


def test_findings_name_who_is_out_of_bounds() -> None:
    assert flag_rate_finding(quality()).passed
    bad = flag_rate_finding(quality(flag_rate=0.2))
    assert (bad.passed, bad.severe) == (False, False)
    assert "a 0.2" in bad.says
    steady = quality(compared_hour=HOUR - timedelta(hours=1), flip_rate=0.1, rank_correlation=0.9)
    assert all(f.passed for f in stability_findings(steady))
    shaky = quality(compared_hour=HOUR - timedelta(hours=1), flip_rate=0.11, rank_correlation=0.89)
    assert [f.passed for f in stability_findings(shaky)] == [False, False]
    assert agreement_finding(quality(measure="pair", other_model="b", agreement=0.9)).passed
    apart = agreement_finding(quality(measure="pair", other_model="b", agreement=0.8))
    assert not apart.passed
    assert "a and b" in apart.says


def test_nothing_to_compare_is_no_failure() -> None:
    assert all(f.passed for f in [*stability_findings(quality()), agreement_finding(quality())])
