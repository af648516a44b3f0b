"""The stream calls an alert a repetition by its own memory; what became of the alert since, only the board knows. Pure.

An event that the stream put under an alert which had been closed before it, or which was silent under a mute, is told.
"""

from datetime import datetime, timedelta

import polars as pl

from refrig_assets.alerting.changes import deadline, log_rows
from refrig_assets.alerting.known import MUTE
from refrig_assets.contracts.alerts import BATCH, CLOSED_STATUSES
from refrig_assets.contracts.base import TS

# What is older is over, or was told again by the stream itself.
LATELY = timedelta(hours=6)


def releases(board: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """Log rows that tell of events the stream suppressed in favour of an alert that no longer stands."""
    streamed = board.filter(
        pl.col("suppressed")
        & (pl.col("source") == "streaming")
        & ~pl.col("suppressed_by").str.starts_with(MUTE)
        & ~pl.col("status").is_in(list(CLOSED_STATUSES))
        & (pl.col("alert_created_at") > now - LATELY)
    )
    heads = board.select(
        suppressed_by="alert_id", head_device="device_id", head_resolved="resolved_at", head_status="status",
        head_muted=pl.col("suppressed") & pl.col("suppressed_by").str.starts_with(MUTE),
    )  # fmt: skip
    under = streamed.join(heads, on="suppressed_by", how="inner")
    # A storm's alert stands for other devices, too: what it covered is its own matter.
    own = pl.col("head_device") == pl.col("device_id")
    ended = pl.col("head_status").is_in(list(CLOSED_STATUSES)) & (pl.col("head_resolved") < pl.col("alert_created_at"))
    again = under.filter(own & (ended | pl.col("head_muted")).fill_null(value=False))
    # Of several, the first: the others repeat it.
    first = again.sort("alert_created_at", "alert_id").unique(["device_id", "rule"], keep="first", maintain_order=True)
    told = first.with_columns(alert_created_at=pl.lit(now, dtype=TS)).select(
        "alert_id", changed_at="alert_created_at", suppressed=pl.lit(value=False), sla_deadline=deadline(),
        note=pl.lit("it is back: the alert that it was taken to repeat no longer stands"),
    )  # fmt: skip
    return log_rows(told, "unmuted", BATCH, "back")
