"""The fold: the log of changes becomes one row an alert. The order in which rows arrived does not matter. No I/O."""

import polars as pl

from refrig_assets.contracts.alerts import ALERT_BOARD, CLOSED_STATUSES, OPERATOR

_FIELDS = [name for name in ALERT_BOARD.columns if name not in ("alert_id", "first_detected_at")]
_MUST = [name for name, column in ALERT_BOARD.columns.items() if not column.nullable]
_CLOSED = list(CLOSED_STATUSES)
# What a diagnosis says it says whole: one without hours left takes back those of the one before.
_TOGETHER = ("evidence", "first_check", "hours_left", "hours_left_low", "hours_left_high")


def fold(log: pl.DataFrame) -> pl.DataFrame:
    """One row an alert (contract alert_board), in the order of their creation.

    Each field is the last one set, by the time of the change; an alert is created before all else that happens to it,
    whatever the clocks say. The first detection is the earliest that any change tells of. What an operator closed and
    nobody reopened stays closed, whatever was written later: by stream or batch, or by somebody who took it without
    having seen that (operators.py lets nobody do so; logs written elsewhere, or before, hold such changes). Changes to
    an alert that no row creates are left out until that row is there.
    """
    decides = pl.col("status").is_in(_CLOSED) | (pl.col("change") == "reopened")
    by_operator = pl.col("actor").str.starts_with(OPERATOR) & pl.col("status").is_not_null() & decides
    in_order = log.sort("alert_id", pl.col("change") != "created", "changed_at", "change_id")
    alerts = (
        in_order.unique("change_id", keep="first", maintain_order=True)
        .group_by("alert_id", maintain_order=True)
        .agg(
            *(pl.col(name).last(ignore_nulls=True) for name in _FIELDS if name not in _TOGETHER),
            *(_with_its_diagnosis(name) for name in _TOGETHER),
            pl.col("first_detected_at").min(),
            pl.col("status").filter(by_operator).last().alias("operator_status"),
            pl.col("resolved_at").filter(by_operator).last().alias("operator_resolved_at"),
        )
    )
    closed = pl.col("operator_status").is_in(_CLOSED).fill_null(value=False)
    settled = alerts.filter(pl.all_horizontal(pl.col(name).is_not_null() for name in _MUST)).with_columns(
        pl.when(closed).then("operator_status").otherwise("status").alias("status"),
        pl.when(closed).then("operator_resolved_at").otherwise("resolved_at").alias("resolved_at"),
    )
    told = settled.with_columns(
        pl.when(pl.col("status").is_in(_CLOSED)).then("resolved_at").alias("resolved_at"),
        pl.when("suppressed").then("suppressed_by").alias("suppressed_by"),
    )
    return ALERT_BOARD.conform(_seen_again(told)).sort("alert_created_at", "alert_id")


def _with_its_diagnosis(name: str) -> pl.Expr:
    """The field as the last diagnosis has it; where there is none, the last one set."""
    diagnosed = pl.col("diagnosis_confidence").is_not_null()
    last = pl.col(name).filter(diagnosed).last()
    return pl.when(diagnosed.any()).then(last).otherwise(pl.col(name).last(ignore_nulls=True)).alias(name)


def _seen_again(alerts: pl.DataFrame) -> pl.DataFrame:
    """Repetitions are alerts of their own, for audit; the alert they repeat was seen when they were."""
    again = alerts.filter("suppressed").group_by(alert_id="suppressed_by").agg(_again=pl.col("last_seen_at").max())
    joined = alerts.join(again.drop_nulls(), on="alert_id", how="left", maintain_order="left")
    return joined.with_columns(last_seen_at=pl.max_horizontal("last_seen_at", "_again")).drop("_again")
