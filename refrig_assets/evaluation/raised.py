"""The alerts of an evaluated fleet as its people would have seen them: when each reached a severity. Frames only."""

import polars as pl

from refrig_assets.alerting.sustained import rank

# What an alert said when it was raised; a later diagnosis knows more, and comes later.
_AS_TOLD = (
    "device_id", "failure_mode", "hours_left", "hours_left_low", "hours_left_high", "top_contributors", "model_id",
)  # fmt: skip
_RAISES = ("created", "escalated", "unmuted")


def raised(log: pl.DataFrame, least: int) -> pl.DataFrame:
    """One row an alert that was ever at least this severe and told to somebody, in the order of time.

    `first_end` is the end of the window with which it became so, `raised_at` when that was written; the rest is what
    it said then. An alert that was born suppressed counts from when it is told, if ever; one that goes on under another
    counts, for it was told.
    """
    in_order = log.sort("alert_id", pl.col("change") != "created", "changed_at", "change_id")
    then = in_order.with_columns(
        rank("severity").replace(0, None).forward_fill().over("alert_id").alias("_rank"),
        pl.col("suppressed", *_AS_TOLD, "last_seen_at", "first_detected_at").forward_fill().over("alert_id"),
    )
    told = then.filter((pl.col("_rank") >= least) & ~pl.col("suppressed") & pl.col("change").is_in(_RAISES))
    first = told.unique("alert_id", keep="first", maintain_order=True)
    seen = pl.coalesce("last_seen_at", "first_detected_at")
    return first.select("alert_id", *_AS_TOLD, first_end=seen, raised_at="changed_at").sort("raised_at", "alert_id")
