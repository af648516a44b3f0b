"""How alerts ended in a time, and how well they were worked with: the numbers of a day's digest. No I/O, no clock."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from refrig_assets.alerting.labelling import TAKEN_BACK, is_verdict
from refrig_assets.alerting.signs import UNKNOWN, mode_or_rules
from refrig_assets.alerting.standing import is_closed
from refrig_assets.alerting.summary import WORST_FIRST
from refrig_assets.contracts.alerts import OPERATOR

# How long before a failure a warning still is one of it.
WARNED_WITHIN = timedelta(days=7)
_TAKING = ("acknowledged", "started", "resolved", "false_positive")
_IS_BATCH = pl.col("source") != "streaming"


def within(column: str, start: datetime, end: datetime) -> pl.Expr:
    return pl.col(column).is_between(start, end, closed="left")


def failures(board: pl.DataFrame, labels: pl.DataFrame, start: datetime, end: datetime) -> pl.DataFrame:
    """The failures of a time, a row a device, and the warning before each, if there was one.

    A failure is what the stream called CRITICAL and nobody called false, or what somebody said failed; of several on a
    device the first, of a storm its one alert. Its warning is the batch's first alert within the seven days before it,
    of the same failure mode where there is one.
    """
    loud = board.filter(~pl.col("suppressed") & (pl.col("status") != "FALSE_POSITIVE"))
    acute = loud.filter(
        ~_IS_BATCH & (pl.col("severity") == "CRITICAL") & within("first_detected_at", start, end)
    ).select("device_id", at="first_detected_at", what=mode_or_rules().fill_null(UNKNOWN), said_by=pl.lit("stream"))
    confirmed = labels.filter(
        (pl.col("label_type") == "failure_confirmed")
        & (pl.col("label_confidence") > TAKEN_BACK)
        & within("event_timestamp", start, end)
    )
    what = pl.col("failure_mode").fill_null(UNKNOWN)
    said = confirmed.select("device_id", at="event_timestamp", what=what, said_by="label_source")
    failed = pl.concat([acute, said]).sort("at", "device_id", "said_by").unique("device_id", keep="first")
    mode = mode_or_rules().fill_null(UNKNOWN)
    warnings = loud.filter(_IS_BATCH).select(
        "device_id", warned_at="first_detected_at", warned_as="severity", warned_of=mode
    )
    before = (
        failed.select("device_id", "at", "what")
        .join(warnings, on="device_id")
        .filter((pl.col("warned_at") < pl.col("at")) & (pl.col("warned_at") >= pl.col("at") - WARNED_WITHIN))
        .sort(pl.col("warned_of") != pl.col("what"), "warned_at", "warned_as")
        .unique("device_id", keep="first", maintain_order=True)
        .select("device_id", "warned_at", "warned_as", "warned_of")
    )
    lead = (pl.col("at") - pl.col("warned_at")).dt.total_seconds() / 3600
    found = failed.join(before, on="device_id", how="left").with_columns(hours_before=lead)
    return found.sort("at", "device_id")


def predictions_ended(board: pl.DataFrame, start: datetime, end: datetime) -> pl.DataFrame:
    """The alerts with an estimate of hours left that were closed in the time: how they ended, and when that was due."""
    closed = board.filter(is_closed() & pl.col("hours_left").is_not_null() & within("resolved_at", start, end))
    expected = pl.coalesce("last_seen_at", "first_detected_at") + pl.duration(seconds=(3600 * pl.col("hours_left")))
    return closed.sort("resolved_at", "alert_id").select(
        "device_id", "site_id", "severity", "failure_mode", "status", "resolved_at", expected_at=expected,
        alert_id="alert_id",
    )  # fmt: skip


def handling(log: pl.DataFrame, board: pl.DataFrame, start: datetime, end: datetime) -> dict[str, float | int | None]:
    """How fast people took and closed alerts, of what they did in the time; hours, None where they did nothing."""
    by_person = log.filter(pl.col("actor").str.starts_with(OPERATOR) & pl.col("change").is_in(_TAKING))
    born = board.select("alert_id", "alert_created_at")
    taken = by_person.group_by("alert_id").agg(at=pl.col("changed_at").min()).filter(within("at", start, end))
    closed = (
        log.filter(is_verdict()).sort("changed_at", "change_id").unique("alert_id", keep="last", maintain_order=True)
    )
    closed = closed.filter((pl.col("change") != "reopened") & within("changed_at", start, end))
    wrong = closed.filter(pl.col("change") == "false_positive").height
    return {
        "taken": taken.height,
        "hours_to_take": _mean_hours(taken, "at", born),
        "closed": closed.height,
        "hours_to_close": _mean_hours(closed, "changed_at", born),
        "false_positives": wrong,
        "false_share": wrong / closed.height if closed.height else None,
    }


def _mean_hours(rows: pl.DataFrame, column: str, born: pl.DataFrame) -> float | None:
    both = rows.select("alert_id", then=column).join(born, on="alert_id")
    hours = (both["then"] - both["alert_created_at"]).dt.total_seconds() / 3600
    mean = hours.clip(lower_bound=0.0).mean()
    return float(mean) if isinstance(mean, int | float) else None


def deadlines_kept(log: pl.DataFrame, board: pl.DataFrame, start: datetime, end: datetime) -> pl.DataFrame:
    """Of the deadlines that fell into the time: how many were kept, by severity. Suppressed alerts have none.

    Kept is one before which the alert was taken or closed, whether or not anything ran to mark the others.
    """
    moved = log.filter(pl.col("status").is_not_null() & (pl.col("status") != "OPEN"))
    taken = moved.group_by("alert_id").agg(taken_at=pl.col("changed_at").min())
    due = board.filter(~pl.col("suppressed") & within("sla_deadline", start, end))
    judged = due.join(taken, on="alert_id", how="left").with_columns(
        missed=pl.col("sla_breached") | (pl.col("taken_at") > pl.col("sla_deadline")).fill_null(value=True)
    )
    rows: list[Mapping[str, Any]] = []
    for severity in WORST_FIRST:
        mine = judged.filter(pl.col("severity") == severity)
        late = int(mine["missed"].sum())
        kept = 100 * (mine.height - late) / mine.height if mine.height else None
        rows.append({"severity": severity, "deadlines": mine.height, "missed": late, "% kept": kept})
    schema = {"severity": pl.String, "deadlines": pl.Int64, "missed": pl.Int64, "% kept": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def noisiest(board: pl.DataFrame, by: str, start: datetime, end: datetime, most: int = 10) -> pl.DataFrame:
    """Who made most alerts in the time, by a column (device_id, model_id), and what came of them."""
    made = board.filter(within("alert_created_at", start, end) & pl.col(by).is_not_null())
    loud = ~pl.col("suppressed")
    return (
        made.group_by(by)
        .agg(
            alerts=loud.sum().cast(pl.Int64),
            suppressed=pl.col("suppressed").sum().cast(pl.Int64),
            false=(pl.col("status") == "FALSE_POSITIVE").sum().cast(pl.Int64),
            closed=(is_closed() & loud).sum().cast(pl.Int64),
        )
        .sort("alerts", "suppressed", by, descending=[True, True, False])
        .head(most)
    )


def by_hour(board: pl.DataFrame, start: datetime, end: datetime) -> pl.DataFrame:
    """New alerts, not suppressed, by hour of the day and severity; every hour a row."""
    made = board.filter(~pl.col("suppressed") & within("alert_created_at", start, end))
    told = made.select("severity", hour=pl.col("alert_created_at").dt.hour().cast(pl.Int64))
    hours = pl.DataFrame({"hour": range(24)}, schema={"hour": pl.Int64})
    for severity in WORST_FIRST:
        counts = (
            told.filter(pl.col("severity") == severity).group_by("hour").agg(pl.len().cast(pl.Int64).alias(severity))
        )
        hours = hours.join(counts, on="hour", how="left", maintain_order="left")
    return hours.fill_null(0)
