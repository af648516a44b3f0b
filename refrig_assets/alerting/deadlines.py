"""Deadlines: which alerts nobody has taken in time, and the changes that escalate them. No I/O; `now` is given."""

from datetime import datetime

import polars as pl

from refrig_assets.alerting.changes import log_rows
from refrig_assets.contracts.alerts import BATCH


def overdue(board: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """Alerts that are still OPEN past their deadline and not marked so yet. Suppressed ones are nobody's."""
    waiting = (pl.col("status") == "OPEN") & ~pl.col("suppressed") & ~pl.col("sla_breached")
    return board.filter(waiting & (pl.col("sla_deadline") < now))


def escalations(board: pl.DataFrame, now: datetime, actor: str = BATCH) -> pl.DataFrame:
    """Log rows that mark overdue alerts as breached; those at L1 go to L2. An alert is escalated once a level."""
    late = overdue(board, now)
    first = pl.col("escalation_level") == "L1"
    rows = late.select(
        "alert_id",
        pl.lit(now, dtype=pl.Datetime("us", "UTC")).alias("changed_at"),
        pl.lit(value=True).alias("sla_breached"),
        pl.when(first).then(pl.lit("L2")).otherwise("escalation_level").alias("escalation_level"),
        pl.when(first).then(pl.lit("ANOMALY_ESCALATED")).alias("alert_type"),
        pl.when(first).then(pl.lit(now, dtype=pl.Datetime("us", "UTC"))).alias("escalated_at"),
    )
    return log_rows(rows, "escalated", actor, pl.col("escalation_level"))
