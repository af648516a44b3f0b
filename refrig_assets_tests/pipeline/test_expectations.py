"""Residuals from baselines: whose count, and what is made of values that lack."""

import polars as pl

from refrig_assets.contracts.features import FEATURE_BASELINES
from refrig_assets.pipeline.expectations import by_baselines

NAME = "superheat_mean"


def baselines(*rows: tuple[str, str | None, str | None, float, float]) -> pl.DataFrame:
    """Scope, cohort, device, median, and width of the middle half."""
    told = [
        {
            "feature_name": NAME, "granularity": scope, "cohort_id": cohort, "device_id": device,
            "baseline_p25": middle - width / 2, "baseline_p50": middle, "baseline_p75": middle + width / 2,
        }
        for scope, cohort, device, middle, width in rows
    ]  # fmt: skip
    names = ("feature_name", "granularity", "cohort_id", "device_id", "baseline_p25", "baseline_p50", "baseline_p75")
    return pl.DataFrame(told, schema={n: FEATURE_BASELINES.dtypes[n] for n in names})


def rows(*told: tuple[str, str, float, float | None]) -> pl.DataFrame:
    return pl.DataFrame(
        [dict(zip(("device_id", "cohort_id", "device_age_days", NAME), row, strict=True)) for row in told],
        schema={"device_id": pl.String, "cohort_id": pl.String, "device_age_days": pl.Float64, NAME: pl.Float64},
    )


ALL = baselines(
    ("fleet", None, None, 8.0, 1.349), ("cohort", "c-1", None, 10.0, 2.698), ("device", None, "a", 6.0, 1.349)
)  # fmt: skip


def test_the_nearest_baseline_counts_and_the_young_have_none_of_their_own() -> None:
    asked = rows(("a", "c-1", 400, 9.0), ("a", "c-1", 5, 9.0), ("b", "c-1", 400, 9.0), ("b", "c-2", 400, 9.0))
    found = by_baselines(asked, ALL, [NAME])
    assert found.deviation[NAME].to_list() == [3.0, -1.0, -1.0, 1.0]
    assert [round(z, 6) for z in found.z[NAME]] == [3.0, -0.5, -0.5, 1.0]


def test_far_is_clipped_and_what_lacks_is_null() -> None:
    found = by_baselines(rows(("a", "c-1", 400, 900.0), ("a", "c-1", 400, None)), ALL, [NAME, "humidity_mean"])
    assert found.z[NAME].to_list() == [25.0, None]
    assert found.z["humidity_mean"].to_list() == [None, None]


def test_a_constant_baseline_says_nothing() -> None:
    still = baselines(("fleet", None, None, 8.0, 0.0))
    assert by_baselines(rows(("a", "c-1", 400, 9.0)), still, [NAME]).z[NAME].to_list() == [None]
