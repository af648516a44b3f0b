"""Score quality: what can be said of an hour's scores without labels, and how old the newest scores are."""

from datetime import datetime
from typing import Any

import dagster as dg
import polars as pl

from refrig_assets.contracts.base import Freshness
from refrig_assets.contracts.scoring import (
    DAILY_FRESHNESS,
    DETECTORS,
    HOURLY_DETECTORS,
    HOURLY_FRESHNESS,
    RULES_FALLBACK,
    SCORE_QUALITY,
)
from refrig_assets.defs.automation import when_some_inputs_change
from refrig_assets.defs.metadata import (
    PICTURES_PER_RUN,
    check_result,
    records_table,
    table_metadata,
)
from refrig_assets.defs.partitions import hour_key, hourly, partition_starts
from refrig_assets.defs.pictures import scores_picture
from refrig_assets.defs.resources import ClockResource, LakeResource
from refrig_assets.defs.retry import retried_if_transient
from refrig_assets.defs.scoring import asset_of
from refrig_assets.defs.specs import asset_spec, check_spec
from refrig_assets.monitoring.findings import Finding
from refrig_assets.monitoring.freshness import describe
from refrig_assets.monitoring.proxies import agreement_finding, flag_rate_finding, stability_findings
from refrig_assets.pipeline.proxies import write_quality_hour
from refrig_assets.pipeline.score_age import ScoreAge, score_age

QUALITY = SCORE_QUALITY.name


def _percent(column: str) -> pl.Expr:
    return (100 * pl.col(column)).round(2)


# Narrow: what is wider than the page has to be scrolled to.
_OF_MODELS = {
    "model": pl.col("model_id"), "windows": pl.col("windows"), "% flagged": _percent("flag_rate"),
    **{f"% above {n / 100:g}": _percent(f"share_above_{n}") for n in (70, 85, 95)},
    "p99": pl.col("score_p99").round(3),
}  # fmt: skip
_FROM_RUN_TO_RUN = {
    "model": pl.col("model_id"), "run before": pl.col("compared_hour").dt.strftime("%Y-%m-%d %H:00"),
    "% of devices flipped": _percent("flip_rate"), "rank correlation": pl.col("rank_correlation").round(3),
}  # fmt: skip
_OF_SEVERAL = {
    "models": pl.when(pl.col("measure") == "joint").then(pl.lit("all of them"))
    .otherwise(pl.concat_str("model_id", "other_model", separator=" and ", ignore_nulls=True)),
    "windows": pl.col("windows"), "% agreed": _percent("agreement"), "% of flags shared": _percent("overlap"),
    "rank correlation": pl.col("rank_correlation").round(3),
}  # fmt: skip


@dg.multi_asset(
    name=QUALITY,
    specs=[
        asset_spec(
            SCORE_QUALITY,
            deps=[asset_of(model_id) for model_id in DETECTORS],
            condition=when_some_inputs_change(),
            partitions=hourly,
        )
    ],
    check_specs=[
        check_spec(QUALITY, "flag_rate", "No model flags more than its target and three points."),
        check_spec(QUALITY, "flag_flips", "At most 10 % of devices flip their flag from one run to the next."),
        check_spec(QUALITY, "rank_correlation", "Devices rank alike from one run to the next (at least 0.9)."),
        check_spec(QUALITY, "agreement", "Pairs of models agree on at least 85 % of windows."),
    ],
    partitions_def=hourly,
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool=QUALITY,
)
def score_quality(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """One row a model, one a pair of models, one for all together."""
    hours = partition_starts(context)
    frames = []
    for number, hour in enumerate(hours, start=1):
        with retried_if_transient(context):
            rows = write_quality_hour(lake.lake, hour)
        frames.append(rows)
        metadata = _metadata(rows, hour, pictures=number > len(hours) - PICTURES_PER_RUN)
        context.add_asset_metadata(
            metadata | table_metadata(lake.lake.table(SCORE_QUALITY)), asset_key=QUALITY, partition_key=hour_key(hour)
        )
    quality = pl.concat(frames)
    findings = [flag_rate_finding(quality), *stability_findings(quality), agreement_finding(quality)]
    return dg.MaterializeResult(asset_key=QUALITY, check_results=[check_result(f, QUALITY) for f in findings])


def _metadata(rows: pl.DataFrame, hour: datetime, *, pictures: bool) -> dict[str, Any]:
    models = rows.filter(pl.col("measure") == "model")
    others = rows.filter(pl.col("measure") != "model")
    metadata: dict[str, Any] = {
        "dagster/partition_row_count": rows.height,
        "models": records_table(models.select(**_OF_MODELS).to_dicts()),
        "stability": records_table(models.select(**_FROM_RUN_TO_RUN).to_dicts()),
        "agreement": records_table(others.select(**_OF_SEVERAL).to_dicts()),
    }
    # As numbers, so that the UI draws them from hour to hour (Plots).
    for model, rate in models.select("model_id", "flag_rate").iter_rows():
        metadata[f"flagged_by_{model}"] = round(rate, 5)
    if pictures:
        for model, shares in models.select("model_id", "histogram").drop_nulls().iter_rows():
            metadata[f"scores_of_{model}"] = scores_picture(shares, f"{model}: scores, {hour_key(hour)}")
    return metadata


# -- how old scores are: judged by the clock -----------------------------------------------------------------------


def model_freshness_finding(age: ScoreAge, model_id: str) -> Finding:
    """How old a detector's newest scores are, against its own rhythm."""
    promise = HOURLY_FRESHNESS if model_id in HOURLY_DETECTORS else DAILY_FRESHNESS
    newest = age.newest.get(model_id)
    if newest is None:
        return Finding("freshness", False, f"{model_id} has no scores of late; {_limits(promise)}")
    old = age.at - newest
    says = f"the newest scores of {model_id} are {describe(old)} old; {_limits(promise)}"
    return Finding(
        "freshness",
        old <= promise.warn,
        says,
        {"age_seconds": round(old.total_seconds(), 1)},
        severe=old > promise.error,
    )


def _limits(promise: Freshness) -> str:
    told = (("promised", promise.service_level), ("warns at", promise.warn), ("fails at", promise.error))
    return ", ".join(f"{what} {describe(span)}" for what, span in told)


def score_age_finding(age: ScoreAge) -> Finding:
    """What alerts rest on now."""
    ages = {m: round((age.at - newest).total_seconds() / 60, 1) for m, newest in age.newest.items()}
    counts = {f"{m}_age_min": minutes for m, minutes in ages.items()}
    passed = age.status == "fresh" and not age.failing
    return Finding("score_age", passed, age.says, counts, severe=age.use != "scores")


def _freshness(model_id: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset_of(model_id), name="freshness", description="The newest scores are as young as they should be."
    )
    def freshness(lake: LakeResource, clock: ClockResource) -> dg.AssetCheckResult:
        return check_result(model_freshness_finding(score_age(lake.lake, clock.now), model_id), asset_of(model_id))

    return freshness


@dg.asset_check(
    asset=RULES_FALLBACK,
    name="score_age",
    description="Models' scores are fresh. Stale ones are shown with a warning; very stale ones give way to the rules, "
    "expired ones to the stream.",
)
def score_age_check(lake: LakeResource, clock: ClockResource) -> dg.AssetCheckResult:
    return check_result(score_age_finding(score_age(lake.lake, clock.now)), RULES_FALLBACK)


score_checks = [*(_freshness(model_id) for model_id in DETECTORS), score_age_check]
CLOCK_CHECKS = dg.AssetSelection.checks(
    *(dg.AssetCheckKey(dg.AssetKey(asset_of(m)), "freshness") for m in DETECTORS),
    dg.AssetCheckKey(dg.AssetKey(RULES_FALLBACK), "score_age"),
)
