"""Which alerts stand: somebody has to do something about them, and is told so. Expressions over the board."""

from datetime import datetime, timedelta

import polars as pl

from refrig_assets.contracts.alerts import CLOSED_STATUSES, SEVERITIES

# Of the time allowed, the share at whose end a deadline is near.
NEAR = 0.25
IN_TIME, NEARLY_DUE, BREACHED, TAKEN, TAKEN_LATE = "in time", "due soon", "breached", "taken", "taken late"


def is_closed() -> pl.Expr:
    return pl.col("status").is_in(list(CLOSED_STATUSES))


def is_standing() -> pl.Expr:
    """Not closed and not suppressed."""
    return ~is_closed() & ~pl.col("suppressed")


def severity_rank() -> pl.Expr:
    """0 for the least severe."""
    return pl.col("severity").replace_strict({s: n for n, s in enumerate(SEVERITIES)}, return_dtype=pl.Int32())


def against_deadline(now: datetime) -> pl.Expr:
    """How a standing alert does against its deadline: only one that nobody has taken can miss it."""
    allowed = pl.col("sla_deadline") - pl.col("alert_created_at")
    left = pl.col("sla_deadline") - pl.lit(now)
    waits = pl.col("status") == "OPEN"
    return (
        pl.when(~waits)
        .then(pl.when("sla_breached").then(pl.lit(TAKEN_LATE)).otherwise(pl.lit(TAKEN)))
        .when(pl.col("sla_breached") | (left < timedelta(0)))
        .then(pl.lit(BREACHED))
        .when(left < NEAR * allowed)
        .then(pl.lit(NEARLY_DUE))
        .otherwise(pl.lit(IN_TIME))
    )


def hours_left_at(now: datetime) -> pl.Expr:
    """The estimate of hours left as it stands at `now`: it was made when the alert was last seen. Never below 0."""
    since = pl.lit(now) - pl.coalesce("last_seen_at", "first_detected_at")
    return (pl.col("hours_left") - since.dt.total_seconds() / 3600).clip(lower_bound=0.0)
