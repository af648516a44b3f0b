"""Producers of scores that need no model: the rules for when models are silent, and limits to compare models with."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

import dagster as dg

from refrig_assets.contracts.modelling import MODEL_SCORES
from refrig_assets.contracts.scoring import RULES_FALLBACK, THRESHOLD_BASELINE
from refrig_assets.defs.metadata import counts_table, table_metadata
from refrig_assets.defs.partitions import hour_key, hourly, partition_starts
from refrig_assets.defs.resources import ClockResource, LakeResource
from refrig_assets.defs.retry import retried_if_transient
from refrig_assets.defs.specs import asset_spec
from refrig_assets.lake import Lake
from refrig_assets.pipeline.fallback import FallbackReport, score_by_limits, score_by_rules
from refrig_assets.pipeline.score_age import score_age

SCORES = MODEL_SCORES.name


class LimitsConfig(dg.Config):
    devices: list[str] = []  # noqa: RUF012 - pydantic copies it
    """only these devices; their rows alone are replaced. Empty: the whole fleet"""


class RulesConfig(LimitsConfig):
    only_when_silent: bool = False
    """write only while the models' scores are very stale, as the schedule asks; by hand it always writes"""


@dg.multi_asset(
    name=RULES_FALLBACK,
    specs=[
        asset_spec(
            MODEL_SCORES,
            key=RULES_FALLBACK,
            deps=["device_features"],
            partitions=hourly,
            description="Windows that break a rule on features (score 0.0, flag only), for when the models are silent.",
        ).replace_attributes(skippable=True)
    ],
    partitions_def=hourly,
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool=SCORES,
)
def rules_fallback(
    context: dg.AssetExecutionContext, config: RulesConfig, lake: LakeResource, clock: ClockResource
) -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg]
    """Evaporator above 0 °C, vibration above 20 mm/s, low side below 100 kPa, or current above 35 A."""
    the_lake, now = lake.lake, clock.now
    if config.only_when_silent:
        age = score_age(the_lake, now)
        if age.use != "rules":
            context.log.info(f"nothing to do: {age.says}")
            return
    yield _produce(context, config, the_lake, now, RULES_FALLBACK, score_by_rules)


@dg.multi_asset(
    name=THRESHOLD_BASELINE,
    specs=[
        asset_spec(
            MODEL_SCORES,
            key=THRESHOLD_BASELINE,
            deps=["device_features", "feature_baselines"],
            partitions=hourly,
            description="Limits on single features from their baselines: what the models are compared with. A shadow: "
            "no alert rests on it.",
        )
    ],
    partitions_def=hourly,
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool=SCORES,
)
def threshold_baseline(
    context: dg.AssetExecutionContext, config: LimitsConfig, lake: LakeResource, clock: ClockResource
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """How far the farthest mean lies beyond p05 to p95 of the device, its cohort or the fleet."""
    return _produce(context, config, lake.lake, clock.now, THRESHOLD_BASELINE, score_by_limits)


def _produce(
    context: dg.AssetExecutionContext,
    config: LimitsConfig,
    lake: Lake,
    now: datetime,
    asset: str,
    score: Callable[[Lake, datetime, datetime, Sequence[str] | None], FallbackReport],
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    for hour in partition_starts(context):
        with retried_if_transient(context):
            report = score(lake, hour, now, config.devices or None)
        context.add_asset_metadata(
            {
                "dagster/partition_row_count": report.rows,
                "flagged": report.flagged,
                "too_few_sensor_values": report.incomplete,
                "reasons": counts_table(report.by_reason, "feature", "windows"),
                **table_metadata(lake.table(MODEL_SCORES), report.version),
            },
            asset_key=asset,
            partition_key=hour_key(hour),
        )
        context.log.info(f"{hour_key(hour)}  {report.rows:,} windows judged, {report.flagged:,} flagged")
    return dg.MaterializeResult(asset_key=asset)
