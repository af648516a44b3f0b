"""Numbers about the alerts that stand, as people look at them: tables, most urgent first. No I/O; `now` is given."""

from datetime import datetime, timedelta

import polars as pl

from refrig_assets.alerting.fold import fold
from refrig_assets.alerting.signs import UNKNOWN, mode_or_rules
from refrig_assets.alerting.standing import (
    BREACHED,
    IN_TIME,
    NEARLY_DUE,
    TAKEN,
    TAKEN_LATE,
    against_deadline,
    hours_left_at,
    is_standing,
    severity_rank,
)
from refrig_assets.contracts.alerts import CLOSED_STATUSES, SEVERITIES, STATUSES

WORST_FIRST = tuple(reversed(SEVERITIES))
OPEN_STATUSES = tuple(s for s in STATUSES if s not in CLOSED_STATUSES)
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
AGES = (("under 1 h", _HOUR), ("1-4 h", 4 * _HOUR), ("4-24 h", _DAY), ("1-7 days", 7 * _DAY))
OLDEST = "over 7 days"
DEADLINES = (BREACHED, NEARLY_DUE, IN_TIME, TAKEN, TAKEN_LATE)


def board_at(log: pl.DataFrame, moment: datetime) -> pl.DataFrame:
    """The board as it was: of what had happened before that moment."""
    return fold(log.filter(pl.col("changed_at") < moment))


def standing(board: pl.DataFrame) -> pl.DataFrame:
    """The alerts that stand, the most severe first, of equals the earliest deadline."""
    ranked = board.filter(is_standing()).with_columns(rank=severity_rank())
    return ranked.sort("rank", "sla_deadline", "alert_id", descending=[True, False, False]).drop("rank")


def _counted(
    rows: pl.DataFrame, label: str, labels: tuple[str, ...], columns: pl.Expr, names: tuple[str, ...]
) -> pl.DataFrame:
    """How many rows of each label and column, all of them named, in the order given."""
    told = rows.select(pl.col(label), column=columns)
    counts = [
        {label: one} | {name: told.filter((pl.col(label) == one) & (pl.col("column") == name)).height for name in names}
        for one in labels
    ]
    schema = {label: pl.String(), **dict.fromkeys(names, pl.Int64())}
    return pl.DataFrame(counts, schema=schema).with_columns(all=pl.sum_horizontal(names))


def by_severity(stands: pl.DataFrame) -> pl.DataFrame:
    """Severity against status."""
    return _counted(stands, "severity", WORST_FIRST, pl.col("status"), OPEN_STATUSES)


def by_age(stands: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """Age, since the first detection, against severity."""
    old = pl.lit(now) - pl.col("first_detected_at")
    label = pl.lit(OLDEST)
    for name, limit in reversed(AGES):
        label = pl.when(old < limit).then(pl.lit(name)).otherwise(label)
    labels = (*(name for name, _ in AGES), OLDEST)
    return _counted(stands.with_columns(age=label), "age", labels, pl.col("severity"), WORST_FIRST)


def by_deadline(stands: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """How they do against their deadlines, against severity."""
    judged = stands.with_columns(deadline=against_deadline(now))
    return _counted(judged, "deadline", DEADLINES, pl.col("severity"), WORST_FIRST)


def by_mode(stands: pl.DataFrame) -> pl.DataFrame:
    """Probable failure against severity, the most frequent first."""
    told = stands.with_columns(failure_mode=mode_or_rules().fill_null(UNKNOWN))
    modes = tuple(sorted(told["failure_mode"].unique()))
    counts = _counted(told, "failure_mode", modes, pl.col("severity"), WORST_FIRST)
    return counts.sort("all", "failure_mode", descending=[True, False])


def by_site(stands: pl.DataFrame, sites: pl.DataFrame, most: int = 20) -> pl.DataFrame:
    """The sites that need somebody most: by CRITICAL alerts, then HIGH, then the others; how many devices they concern.

    `sites` has site_id, site_name and devices.
    """
    counts = stands.group_by("site_id").agg(
        pl.len().cast(pl.Int64).alias("alerts"),
        *((pl.col("severity") == s).sum().cast(pl.Int64).alias(s) for s in WORST_FIRST),
        pl.col("device_id").n_unique().alias("concerned"),
        pl.col("sla_breached").sum().cast(pl.Int64).alias("breached"),
    )
    worst = counts.join(sites, on="site_id", how="left", maintain_order="left").sort(
        *WORST_FIRST, "site_id", descending=[*(True for _ in WORST_FIRST), False]
    )
    hit = pl.format("{} of {}", "concerned", pl.col("devices").fill_null(0))
    return worst.head(most).select(
        site=called("site_name", "site_id"), devices=hit, **{s: pl.col(s) for s in WORST_FIRST}, all="alerts",
        breached="breached",
    )  # fmt: skip


def called(name: str, identity: str) -> pl.Expr:
    """A thing's name with its identity, or its identity alone."""
    both = pl.format("{} ({})", name, identity)
    return pl.when(pl.col(name).is_null()).then(pl.col(identity)).otherwise(both)


def told(alerts: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """Alerts as a person reads them in a list, in the order given."""
    seconds = (pl.lit(now) - pl.col("first_detected_at")).dt.total_seconds()
    return alerts.select(
        "severity",
        "status",
        site=pl.col("site_id"),
        device=pl.col("device_id"),
        what=pl.col("title"),
        probably=mode_or_rules().fill_null(UNKNOWN).str.replace_all("_", " "),
        hours_left=hours_left_at(now).round(1),
        since_h=(seconds / 3600).round(1),
        due=_due(now),
        level=pl.col("escalation_level"),
        alert=pl.col("alert_id"),
    )


def _due(now: datetime) -> pl.Expr:
    """What is to be said of the deadline: when it is, or that somebody has taken the alert."""
    minutes = (pl.col("sla_deadline") - pl.lit(now)).dt.total_minutes()
    amount = pl.when(minutes.abs() < 120).then(pl.format("{} min", minutes.abs()))
    span = amount.otherwise(pl.format("{} h", minutes.abs() // 60))
    told = pl.when(minutes < 0).then(pl.format("{} late", span)).otherwise(pl.format("in {}", span))
    return (
        pl.when(pl.col("status") == "OPEN")
        .then(told)
        .otherwise(pl.col("status").str.to_lowercase().str.replace("_", " "))
    )


def most_urgent(stands: pl.DataFrame, now: datetime, most: int = 20) -> pl.DataFrame:
    """By severity, those that nobody has taken first, then by the hours that are left, then by deadline."""
    ranked = stands.with_columns(rank=severity_rank(), waits=pl.col("status") == "OPEN", left=hours_left_at(now))
    keys = ("rank", "waits", "left", "sla_deadline", "alert_id")
    in_order = ranked.sort(keys, descending=[True, True, False, False, False], nulls_last=True)
    return told(in_order.head(most), now)


def newest(stands: pl.DataFrame, now: datetime, most: int = 20) -> pl.DataFrame:
    return told(stands.sort("alert_created_at", "alert_id", descending=[True, False]).head(most), now)


def predicted(stands: pl.DataFrame, now: datetime, most: int = 15) -> pl.DataFrame:
    """Failures that are expected, the soonest first: hours left as of now, and between which hours."""
    since = (pl.lit(now) - pl.coalesce("last_seen_at", "first_detected_at")).dt.total_seconds() / 3600
    left = hours_left_at(now)
    low, high = ((pl.col(f"hours_left_{end}") - since).clip(lower_bound=0.0) for end in ("low", "high"))
    expected = stands.filter(pl.col("hours_left").is_not_null()).with_columns(left=left, low=low, high=high)
    return expected.sort("left", "alert_id").head(most).select(
        "left", "low", "high", "severity", "device_id", "site_id", "failure_mode", "diagnosis_confidence",
        "first_check", "alert_id",
    )  # fmt: skip
