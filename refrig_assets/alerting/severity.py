"""How urgent a device's window is, from the scores of the models in charge (C6). Frames in, frames out; no clock."""

from collections.abc import Collection
from datetime import datetime, timedelta

import polars as pl

from refrig_assets.contracts.base import BOOL, F64, F64S, I32, STR, STRS, TS
from refrig_assets.contracts.scoring import DETECTORS, HOURLY_DETECTORS, USE_BY

CRITICAL_ABOVE, HIGH_ABOVE, MEDIUM_ABOVE = 0.95, 0.85, 0.7
# HIGH needs more than one opinion; that many flags are MEDIUM whatever the scores.
AGREEING = 2

SEVERITY_SCHEMA = {
    "device_id": STR,
    "window_end": TS,
    "severity": STR,  # null: nothing to tell
    "anomaly_score": F64,  # the highest
    "model_id": STR,  # the model that gave it
    "models_flagging": I32,
    "models_scoring": I32,
    "flagging": STRS,  # which models flag
    "top_contributors": STRS,  # of the highest score that has any
    "contributor_scores": F64S,
    "carried": BOOL,  # some model's last good score stands in for one it did not give
}
_GROUP = ("device_id", "window_end")


def severities(
    scores: pl.DataFrame, *, models: Collection[str] = DETECTORS, not_before: datetime | None = None
) -> pl.DataFrame:
    """One row a device and window_end: its severity (null where there is nothing to tell), and what it rests on.

    Takes rows of model_scores. Only champions count: challengers, shadows and models not asked for are passed over, as
    are windows that ended before `not_before` (scores past their use-by). The rules, first that holds:

    - a score above 0.95: CRITICAL, also of a single model, as C6 writes it: one such window in a million is healthy
    - above 0.85 and two or more models flag: HIGH; of a single model it is no more than MEDIUM
    - above 0.7, or two or more models flag: MEDIUM
    - one model flags: LOW

    Contributors are those of the highest score that has them: a window that is not flagged has none.
    """
    mine = (pl.col("deployment_role") == "champion") & pl.col("model_id").is_in(list(models))
    if not_before is not None:
        mine &= pl.col("window_end") >= not_before
    # Equal scores in the order of the models' names: the same scores tell the same, in whatever order they lie.
    rows = scores.filter(mine).sort("anomaly_score", "model_id", descending=[True, False])
    carried = pl.col("carried").any() if "carried" in rows.columns else pl.lit(value=False)
    judged = rows.group_by(_GROUP).agg(
        pl.col("anomaly_score", "model_id").first(),
        pl.col("anomaly_flag").sum().cast(pl.Int32).alias("models_flagging"),
        pl.len().cast(pl.Int32).alias("models_scoring"),
        pl.col("model_id").filter("anomaly_flag").sort().alias("flagging"),
        carried.alias("carried"),
    )
    reasons = (
        rows.filter(pl.col("top_contributors").is_not_null())
        .select(*_GROUP, "top_contributors", "contributor_scores")
        .unique(_GROUP, keep="first", maintain_order=True)
    )
    told = judged.with_columns(_severity().alias("severity")).join(reasons, on=_GROUP, how="left")
    return told.select(pl.col(n).cast(t) for n, t in SEVERITY_SCHEMA.items()).sort(_GROUP)


def _severity() -> pl.Expr:
    score, flags = pl.col("anomaly_score"), pl.col("models_flagging")
    return (
        pl.when(score > CRITICAL_ABOVE)
        .then(pl.lit("CRITICAL"))
        .when((score > HIGH_ABOVE) & (flags >= AGREEING))
        .then(pl.lit("HIGH"))
        .when((score > MEDIUM_ABOVE) | (flags >= AGREEING))
        .then(pl.lit("MEDIUM"))
        .when(flags >= 1)
        .then(pl.lit("LOW"))
    )


def with_last_good(
    scores: pl.DataFrame,
    start: datetime,
    end: datetime,
    *,
    models: Collection[str] = HOURLY_DETECTORS,
    use_by: timedelta = USE_BY,
) -> pl.DataFrame:
    """The scores of the windows that end in (start, end], those of a model that failed filled by its last good ones.

    Give it the scores from `start - use_by` on. A model failed at a window_end which others scored and it did not score
    for any device; then each device's last champion score of it stands in, for at most `use_by`, with `carried` true.
    A single device without a score (too little data, no normal) is not filled: there is nothing to say of it. The daily
    models are not filled: they are not late, they are done.
    """
    champions = scores.filter((pl.col("deployment_role") == "champion") & pl.col("model_id").is_in(DETECTORS))
    within = (pl.col("window_end") > start) & (pl.col("window_end") <= end)
    ends = champions.select("model_id", "window_end").unique()
    due = ends.filter(within).select("window_end").unique()
    expected = due.join(pl.DataFrame({"model_id": list(models)}, schema={"model_id": STR}), how="cross")
    missed = expected.join(ends, on=["model_id", "window_end"], how="anti").sort("window_end", "model_id")
    parts = [scores.filter(within).with_columns(pl.lit(value=False).alias("carried"))]
    for window_end, model in missed.select("window_end", "model_id").iter_rows():
        recent = (pl.col("window_end") < window_end) & (pl.col("window_end") >= window_end - use_by)
        last = champions.filter((pl.col("model_id") == model) & recent).sort("device_id", "window_end")
        parts.append(
            last.unique("device_id", keep="last", maintain_order=True).with_columns(
                pl.lit(window_end, dtype=TS).alias("window_end"), pl.lit(value=True).alias("carried")
            )
        )
    return pl.concat(parts)
