"""The alerts of an evaluated fleet as its people would have seen them: when each reached a severity. Frames only."""

import polars as pl

from refrig_assets.alerting.fold import fold
from refrig_assets.alerting.sustained import rank


def raised(log: pl.DataFrame, least: int) -> pl.DataFrame:
    """One row an alert that was ever at least this severe and told to somebody, in the order of time.

    `first_end` is the end of the window with which it became so, `raised_at` when that was written. What is suppressed
    counts for nothing; an alert that goes on under another counts until then.
    """
    board = fold(log)
    silent = board.filter(pl.col("suppressed") & ~_went_on(log))["alert_id"]
    severe = log.filter((rank() >= least) & pl.col("change").is_in(["created", "escalated", "unmuted"]))
    first = severe.sort("changed_at", "change_id").unique("alert_id", keep="first", maintain_order=True)
    seen = pl.coalesce("last_seen_at", "first_detected_at")
    told = first.filter(~pl.col("alert_id").is_in(silent.implode())).select(
        "alert_id", first_end=seen, raised_at="changed_at"
    )
    of_board = board.select(
        "alert_id", "device_id", "failure_mode", last_end=pl.coalesce("last_seen_at", "first_detected_at")
    )
    return told.join(of_board, on="alert_id", how="inner").sort("raised_at", "alert_id")


def _went_on(log: pl.DataFrame) -> pl.Expr:
    """Alerts that were told of before they were put under another."""
    born_silent = log.filter((pl.col("change") == "created") & pl.col("suppressed"))["alert_id"]
    return ~pl.col("alert_id").is_in(born_silent.implode())
