"""Score quality: what can be said of an hour's scores without labels, and how old the newest scores are."""

from datetime import datetime
from typing import Any

import dagster as dg
import polars as pl

from refrig_assets.contracts.base import Freshness
from refrig_assets.contracts.scoring import (
    DAILY_FRESHNESS,
    DETECTORS,
    HISTOGRAM_BINS,
    HOURLY_DETECTORS,
    HOURLY_FRESHNESS,
    RULES_FALLBACK,
    SCORE_QUALITY,
)
from refrig_assets.defs.automation import when_some_inputs_change
from refrig_assets.defs.metadata import (
    PICTURES_PER_RUN,
    bar_picture,
    check_result,
    records_table,
    table_metadata,
)
from refrig_assets.defs.partitions import hour_key, hourly, partition_starts
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
    shown = ["model_id", "windows", "devices", "flag_rate", "score_p50", "score_p99", "share_above_85",
             "compared_hour", "flip_rate", "rank_correlation"]  # fmt: skip
    compared = ["model_id", "other_model", "windows", "agreement", "overlap", "rank_correlation"]
    metadata: dict[str, Any] = {
        "dagster/partition_row_count": rows.height,
        "models": records_table(models.select(shown).to_dicts()),
        "agreement": records_table(others.select(compared).to_dicts()),
    }
    if not pictures:
        return metadata
    for model, histogram in models.select("model_id", "histogram").iter_rows():
        bins = {f"{n / HISTOGRAM_BINS:.2f}": 100 * share for n, share in enumerate(histogram or [])}
        metadata[f"scores_of_{model}"] = bar_picture(bins, f"{model}: scores, {hour_key(hour)}", "% of windows")
    if models.height:
        rates = {m: 100 * rate for m, rate in models.select("model_id", "flag_rate").iter_rows()}
        metadata["flag_rates"] = bar_picture(rates, "windows flagged", "%", horizontal=True)
    if others.height:
        pairs = others.with_columns(name=pl.concat_str("model_id", "other_model", separator=" + ", ignore_nulls=True))
        agreed = {n: 100 * (a or 0.0) for n, a in pairs.select("name", "agreement").iter_rows()}
        metadata["agreements"] = bar_picture(agreed, "windows on which models agree", "%", horizontal=True)
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
