"""The canary over the lake: who is compared with whom, on which windows, and what is kept. Nothing becomes a score."""

from datetime import timedelta

import polars as pl
import pytest

from refrig_assets.contracts import CANARY_REPORTS
from refrig_assets.lake import Lake
from refrig_assets.pipeline.canary import canary_hour, candidates, write_canary_hour
from refrig_assets_tests.builders import HOUR, everything
from refrig_assets_tests.pipeline.scored_lake import HOURS, Source, fill, fit

STAT = "statistical_baseline"
START = HOUR - timedelta(hours=HOURS - 1)
NOW = HOUR + timedelta(minutes=70)


@pytest.fixture
def source(lake: Lake) -> Source:
    fill(lake, START)
    model = fit(lake, START)
    return Source({(STAT, v): model for v in ("1", "2", "3")})


def test_a_version_is_compared_once_by_its_nearest_role(source: Source) -> None:
    assert candidates(source, STAT) == ("1", {})
    source.staging, source.challenger, source.shadow = "2", "2", "3"
    assert candidates(source, STAT) == ("1", {"2": "staging", "3": "shadow"})
    source.staging = "1"
    assert candidates(source, STAT)[1] == {"2": "challenger", "3": "shadow"}


def test_nobody_waits_or_nobody_is_in_charge(lake: Lake, source: Source) -> None:
    assert canary_hour(lake, source, STAT, HOUR, NOW) == []
    source.staging, source.champion = "2", None
    assert canary_hour(lake, source, STAT, HOUR, NOW) == []


def test_the_same_model_passes_and_the_report_is_kept(lake: Lake, source: Source) -> None:
    source.staging = "2"
    compared = canary_hour(lake, source, STAT, HOUR, NOW)
    assert [one.report.passed for one in compared] == [True]
    assert source.recorded == [compared[0].report]
    assert compared[0].scores.height == 96
    assert everything(lake, "model_scores").is_empty()
    for _ in range(2):
        write_canary_hour(lake, HOUR, compared, NOW)
    rows = everything(lake, "canary_reports")
    assert CANARY_REPORTS.violations(rows) == []
    assert rows["outcome"].to_list() == ["pass"] * 4
    assert rows["gate"].n_unique() == 4


def test_another_fit_is_told_apart(lake: Lake, source: Source) -> None:
    shifted = START + timedelta(hours=HOURS)
    fill(lake, shifted, holes=0.3)
    source.models[STAT, "2"] = fit(lake, shifted)
    fill(lake, START)
    source.staging = "2"
    report = canary_hour(lake, source, STAT, HOUR, NOW, record=False)[0].report
    assert {g.name: g.value for g in report.gates}["mean_difference"] > 0
    assert source.recorded == []
    assert pl.Series([g.value for g in report.gates]).is_finite().all()
