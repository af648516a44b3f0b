"""Deadlines: which alerts nobody has taken in time, and the changes that escalate them. No I/O; `now` is given."""

from datetime import datetime

import polars as pl

from refrig_assets.alerting.changes import log_rows
from refrig_assets.contracts.alerts import BATCH, LEVELS, SLA_BY_SEVERITY
from refrig_assets.contracts.base import STR, TS

_FIRST, _SECOND, _THIRD = LEVELS
_WAITING = (pl.col("status") == "OPEN") & ~pl.col("suppressed")


def overdue(board: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """Alerts that are still OPEN past their deadline and not marked so yet. Suppressed ones are nobody's."""
    return board.filter(_WAITING & ~pl.col("sla_breached") & (pl.col("sla_deadline") < now))


def still_waiting(board: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """Breached alerts at the second level that nobody took there either, for as long as their severity allows."""
    allowed = pl.col("severity").replace_strict(SLA_BY_SEVERITY, return_dtype=pl.Duration("us"), default=None)
    theirs_since = pl.max_horizontal("sla_deadline", "escalated_at")
    second = pl.col("sla_breached") & (pl.col("escalation_level") == _SECOND)
    return board.filter(_WAITING & second & (theirs_since + allowed < now))


def escalations(board: pl.DataFrame, now: datetime, actor: str = BATCH) -> pl.DataFrame:
    """Log rows of the alerts whose time is up: past the deadline L1 goes to L2, as long again after that L2 to L3.

    Who comes late, because nothing ran for a while, goes up one level at a time: each level has its time. An alert
    that was at L2 already when its deadline passed is marked as breached and stays there.
    """
    late, later = overdue(board, now), still_waiting(board, now)
    up = pl.col("escalation_level") == _FIRST
    moment = pl.lit(now, dtype=TS)
    breached = late.select(
        "alert_id",
        "sla_deadline",
        changed_at=moment,
        sla_breached=pl.lit(value=True),
        escalation_level=pl.when(up).then(pl.lit(_SECOND)).otherwise("escalation_level"),
        alert_type=pl.when(up).then(pl.lit("ANOMALY_ESCALATED")).otherwise(pl.lit(None, dtype=STR)),
        escalated_at=pl.when(up).then(moment).otherwise(pl.lit(None, dtype=TS)),
    )
    highest = later.select(
        "alert_id",
        "sla_deadline",
        changed_at=moment,
        sla_breached=pl.lit(value=True),
        escalation_level=pl.lit(_THIRD),
        alert_type=pl.lit("ANOMALY_ESCALATED"),
        escalated_at=moment,
    )
    # Once a level and deadline: an alert that is opened again has a new one.
    occasion = pl.format("{} {}", "escalation_level", "sla_deadline")
    return log_rows(pl.concat([breached, highest]), "escalated", actor, occasion)
