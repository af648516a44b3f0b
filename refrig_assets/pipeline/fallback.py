"""Producers of scores that need no model: the rules for when models are silent, and limits to compare models with."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import polars as pl

from refrig_assets.contracts.base import BOOL, F64, F64S, STR, STRS
from refrig_assets.contracts.features import DEVICE_FEATURES, FEATURE_BASELINES, FEATURE_NAMES
from refrig_assets.contracts.registry import DEVICE_REGISTRY
from refrig_assets.contracts.scoring import (
    LEAST_COMPLETENESS,
    NEW_DEVICE_DAYS,
    RULES_FALLBACK,
    SCORED_WINDOW_MIN,
    THRESHOLD_BASELINE,
)
from refrig_assets.lake import HOUR, Lake
from refrig_assets.pipeline.score_rows import Producer, ScoringError, replace_scores, score_rows, write_part

RULES_VERSION = "1"
THRESHOLD = 0.6


@dataclass(frozen=True)
class Rule:
    """A feature beyond a limit, on its side."""

    feature: str
    limit: float
    above: bool

    @property
    def broken(self) -> pl.Expr:
        value = pl.col(self.feature)
        return (value > self.limit if self.above else value < self.limit).fill_null(value=False)


RULES = (
    Rule("temp_evaporator_mean", 0.0, above=True),
    Rule("vibration_compressor_max", 20.0, above=True),
    Rule("pressure_low_mean", 100.0, above=False),
    Rule("current_compressor_max", 35.0, above=True),
)
# Limits are on means; what is a condition of the machine rather than a sign of it has none.
LIMITED: tuple[str, ...] = tuple(
    f for f in FEATURE_NAMES if f.endswith("_mean") and not f.startswith(("temp_ambient", "humidity"))
)
# How far beyond p05 or p95 a mean may lie, in widths of p05 to p95: of a normal distribution five deviations.
MARGIN = 1.0
_TOP = 5


@dataclass
class FallbackReport:
    model_id: str
    hour: datetime
    windows: int = 0
    rows: int = 0
    flagged: int = 0
    incomplete: int = 0
    by_reason: dict[str, int] = field(default_factory=dict)
    version: int = 0


def rules_verdicts(windows: pl.DataFrame) -> pl.DataFrame:
    """Score 0.0 and a flag, a row a row; contributors are the features that broke a rule, equal in weight."""
    broken = pl.concat_list(pl.when(r.broken).then(pl.lit(r.feature)) for r in RULES).list.drop_nulls()
    signs = pl.concat_list(pl.when(r.broken).then(1.0 if r.above else -1.0) for r in RULES).list.drop_nulls()
    flag = pl.any_horizontal(r.broken for r in RULES)
    return windows.select(
        pl.lit(0.0).alias("anomaly_score"),
        flag.alias("anomaly_flag"),
        pl.lit(0.0).alias("threshold_used"),
        pl.lit("fleet").alias("granularity"),
        pl.when(flag).then(broken).alias("top_contributors"),
        pl.when(flag).then(signs.list.eval(pl.element() / pl.len())).alias("contributor_scores"),
    )


def threshold_verdicts(windows: pl.DataFrame, limits: pl.DataFrame) -> pl.DataFrame:
    """How far the farthest mean lies beyond its limits; 0.6 where it is just by the margin, and on towards 1.

    `windows` with device_id, cohort_id and device_age_days; `limits` as `current_limits` gives them. A device's own
    limits go before its cohort's, those before the fleet's; a device younger than 30 days has none of its own.
    """
    beyond = _beyond(windows, limits)
    worst = beyond.with_columns(pl.col("by").abs().alias("size")).filter(pl.col("size") > 0)
    worst = worst.sort("row", "size", "feature_name", descending=[False, True, False])
    told = worst.group_by("row", maintain_order=True).agg(
        pl.col("size").max(),
        pl.col("feature_name").head(_TOP).alias("names"),
        (pl.col("by") / pl.col("size").sum()).head(_TOP).alias("shares"),
    )
    judged = beyond.group_by("row").agg(pl.col("scope").max())
    score = pl.col("size") / (pl.col("size") + MARGIN * (1 / THRESHOLD - 1))
    flag = pl.col("size") > MARGIN
    rows = windows.select(pl.int_range(pl.len(), dtype=pl.UInt32).alias("row"))
    return (
        rows.join(judged, on="row", how="left")
        .join(told, on="row", how="left")
        .sort("row")
        .with_columns(pl.col("size").fill_null(0.0))
        .select(
            # Floating point must not take the score and the flag apart.
            pl.when(pl.col("scope").is_not_null())
            .then(pl.when(flag).then(pl.max_horizontal(score, THRESHOLD + 1e-9)).otherwise(score.clip(0, THRESHOLD)))
            .alias("anomaly_score"),
            flag.alias("anomaly_flag"),
            pl.lit(THRESHOLD).alias("threshold_used"),
            pl.col("scope").replace_strict(_SCOPES, return_dtype=STR).alias("granularity"),
            pl.when(flag).then("names").alias("top_contributors"),
            pl.when(flag).then("shares").alias("contributor_scores"),
        )
    )


_SCOPES = {0: "fleet", 1: "cohort", 2: "device"}


def _beyond(windows: pl.DataFrame, limits: pl.DataFrame) -> pl.DataFrame:
    """A row a window and limited feature: by how many widths the mean lies beyond, signed; 0 inside."""
    features = [f for f in LIMITED if f in limits["feature_name"].unique()]
    own = ~(pl.col("device_age_days") < NEW_DEVICE_DAYS).fill_null(value=False)
    long = (
        windows.select(
            pl.int_range(pl.len(), dtype=pl.UInt32).alias("row"),
            "cohort_id",
            pl.when(own).then("device_id").alias("device_id"),
            *features,
        )
        .unpivot(features, index=["row", "cohort_id", "device_id"], variable_name="feature_name", value_name="value")
        .drop_nulls("value")
    )
    bounds: dict[int, list[str]] = {2: ["device_id"], 1: ["cohort_id"], 0: []}
    for scope, on in bounds.items():
        mine = limits.filter(pl.col("granularity") == _SCOPES[scope])
        keys = ["feature_name", *on]
        named = mine.select(*keys, **{f"low_{scope}": "baseline_p05", f"high_{scope}": "baseline_p95"})
        long = long.join(named, on=keys, how="left")
    low, high = (pl.coalesce(f"{side}_{s}" for s in bounds) for side in ("low", "high"))
    found = pl.coalesce(pl.when(pl.col(f"low_{s}").is_not_null()).then(s) for s in bounds).cast(pl.Int64)
    value, width = pl.col("value"), (high - low).clip(lower_bound=1e-9)
    by = pl.when(value > high).then(value - high).when(value < low).then(value - low).otherwise(0.0) / width
    return long.select("row", "feature_name", by.alias("by"), found.alias("scope")).drop_nulls("scope")


def current_limits(lake: Lake) -> tuple[pl.DataFrame, str]:
    """The p05 and p95 of the newest training, and its name."""
    baselines = lake.table(FEATURE_BASELINES).scan().filter(pl.col("feature_name").is_in(LIMITED))
    newest = baselines.filter(pl.col("computed_at") == pl.col("computed_at").max()).collect()
    if newest.is_empty():
        raise ScoringError(
            "feature_baselines is empty: there are no limits yet. Make it first (asset feature_baselines)"
        )
    usable = newest.filter(pl.col("baseline_p05").is_not_null() & pl.col("baseline_p95").is_not_null())
    return usable, str(newest["model_version"][0])


def score_by_rules(lake: Lake, hour: datetime, now: datetime, devices: Sequence[str] | None = None) -> FallbackReport:
    """Judge the closed windows of the hour by the rules and write a row for each, flagged or not."""
    windows, report = _windows(lake, hour, now, RULES_FALLBACK, devices)
    report.by_reason = {r.feature: int(windows.select(r.broken.sum()).item()) for r in RULES}
    return _write(lake, Producer(RULES_FALLBACK, RULES_VERSION), windows, rules_verdicts(windows), now, devices, report)


def score_by_limits(lake: Lake, hour: datetime, now: datetime, devices: Sequence[str] | None = None) -> FallbackReport:
    """Score the closed windows of the hour by limits on single features. A shadow: no alert ever rests on it."""
    limits, version = current_limits(lake)
    windows, report = _windows(lake, hour, now, THRESHOLD_BASELINE, devices)
    verdicts = threshold_verdicts(windows, limits)
    reasons = verdicts["top_contributors"].drop_nulls().list.first().value_counts(sort=True)
    report.by_reason = dict(reasons.head(_TOP).iter_rows())
    return _write(lake, Producer(THRESHOLD_BASELINE, version, "shadow"), windows, verdicts, now, devices, report)


def _windows(
    lake: Lake, hour: datetime, now: datetime, model_id: str, devices: Sequence[str] | None
) -> tuple[pl.DataFrame, FallbackReport]:
    """The hour's closed windows as they are: rules and limits judge what was measured, nothing is filled."""
    needed = dict.fromkeys([*LIMITED, *(r.feature for r in RULES)])
    keys = ("device_id", "window_start", "window_end", "sensor_completeness")
    closed = (pl.col("window_duration_minutes") == SCORED_WINDOW_MIN) & (pl.col("window_end") <= now)
    rows = lake.table(DEVICE_FEATURES).scan(hour, hour + HOUR).filter(closed).select(*keys, *needed)
    if devices is not None:
        rows = rows.filter(pl.col("device_id").is_in(list(devices)))
    registry = lake.table(DEVICE_REGISTRY).scan().select("device_id", "cohort_id", "install_date")
    age = (pl.col("window_start") - pl.col("install_date")).dt.total_seconds() / 86_400
    found = rows.join(registry, on="device_id", how="left").with_columns(age.alias("device_age_days")).collect()
    enough = found.filter(pl.col("sensor_completeness") >= LEAST_COMPLETENESS).sort("device_id", "window_end")
    return enough, FallbackReport(model_id, hour, found.height, incomplete=found.height - enough.height)


def _write(
    lake: Lake,
    producer: Producer,
    windows: pl.DataFrame,
    verdicts: pl.DataFrame,
    now: datetime,
    devices: Sequence[str] | None,
    report: FallbackReport,
) -> FallbackReport:
    typed = verdicts.select(pl.col(name).cast(dtype) for name, dtype in _TYPES.items())
    rows = score_rows(windows, typed, producer, now).drop_nulls("anomaly_score")
    files = write_part(lake, report.hour, producer.model_id, 0, rows)
    commit = replace_scores(lake, report.hour, producer.model_id, files, devices)
    report.rows, report.flagged, report.version = rows.height, int(rows["anomaly_flag"].sum()), commit.version
    return report


_TYPES = {
    "anomaly_score": F64,
    "anomaly_flag": BOOL,
    "threshold_used": F64,
    "granularity": STR,
    "top_contributors": STRS,
    "contributor_scores": F64S,
}
