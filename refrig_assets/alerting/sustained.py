"""What windows in a row make of a severity: one odd window is an accident, two are a finding. Frames in, frames out.

| windows say | the alert is |
|---|---|
| CRITICAL | CRITICAL at once |
| HIGH, twice in a row | HIGH; once, it is MEDIUM |
| MEDIUM, twice in a row | MEDIUM; once, it is listed as LOW |
| LOW, twice in a row | LOW; once, it is nothing |
| LOW or more for two hours, without a break or by their mean score (above 0.6) | MEDIUM |
| LOW or more for an hour, without a break | MEDIUM where hardly a day is left to its failure (`named`); else LOW |
| HIGH or CRITICAL by daily models alone | MEDIUM: they look at means that an hour's windows share |
| anything by the isolation forest alone | LOW until it has lasted four hours: it knows no direction |
| MEDIUM by which no failure can be told (`named`) | LOW until it has lasted four hours and two models agree |
| the same, and the baseline finds it rare (above 0.7) | MEDIUM |
"""

from datetime import timedelta

import polars as pl

from refrig_assets.alerting.severity import AGREEING, MEDIUM_ABOVE
from refrig_assets.alerting.signs import UNKNOWN
from refrig_assets.contracts.alerts import SEVERITIES
from refrig_assets.contracts.scoring import DAILY_DETECTORS, SCORED_WINDOW_MIN

RANK = {name: i for i, name in enumerate(SEVERITIES, start=1)}
LOW, MEDIUM, HIGH, CRITICAL = (RANK[name] for name in SEVERITIES)
IN_A_ROW = 2
LASTING = timedelta(hours=1)
# The windows of an hour share the 6-hour means by which slow faults show: two hours are two looks. Where a machine may
# stop within a day, one must do.
TWO_LOOKS = timedelta(hours=2)
SOON_H = 24.0
# One healthy window in a hundred scores above it; a mean forgives a window below.
_ODD_ABOVE = 0.6
# What says no more than that something is unusual is told to somebody once it has lasted for so long.
UNNAMED_LASTING = timedelta(hours=4)
FOREST = "isolation_forest"
# Severities by which a window is odd; above them it is alarming, name or no name.
_ODD = SEVERITIES[:MEDIUM]
WINDOW = timedelta(minutes=SCORED_WINDOW_MIN)
# One window that was not scored does not break a row of them.
_GAP = 2 * WINDOW
LOOK_BACK = LASTING + _GAP


def rank(severity: str = "severity") -> pl.Expr:
    """0 where there is nothing to tell, 1 for LOW, … 4 for CRITICAL."""
    return pl.col(severity).replace_strict(RANK, default=0, return_dtype=pl.Int8)


def severity_of(rank: pl.Expr) -> pl.Expr:
    """The name of a rank; null for 0."""
    names = {number: name for name, number in RANK.items()}
    return rank.replace_strict(names, default=None, return_dtype=pl.String())


def sustained(windows: pl.DataFrame) -> pl.DataFrame:
    """The windows (as `severities` gives them) by device and time, with `run` and `confirmed`.

    `run` counts the windows in a row that tell something, up to this one; `confirmed` is the severity that an alert has
    of it, null where it makes none; `one_look`, whether that rests on no more than an hour's row. Give it the windows
    of two hours before those that are asked about.
    """
    rows = windows.sort("device_id", "window_end").with_columns(_rank=rank())
    together = (pl.col("window_end") - pl.col("window_end").shift(1)).over("device_id") <= _GAP
    before = pl.col("_rank").shift(1).over("device_id")
    rows = rows.with_columns(_before=pl.when(together.fill_null(value=False)).then(before).otherwise(0))
    breaks = ((pl.col("_rank") == 0) | (pl.col("_before") == 0)).cum_sum().over("device_id")
    rows = rows.with_columns(_row=breaks)
    run = pl.int_range(1, pl.len() + 1, dtype=pl.Int32).over("device_id", "_row")
    rows = rows.with_columns(run=pl.when(pl.col("_rank") > 0).then(run).otherwise(0))
    now, twice = pl.col("_rank"), pl.min_horizontal("_rank", "_before")
    at_once = (now >= HIGH) | (twice >= MEDIUM)
    one_look = pl.col("run") >= LASTING // WINDOW
    two_looks = (pl.col("run") >= TWO_LOOKS // WINDOW) | ((now >= LOW) & (_mean_score() > _ODD_ABOVE))
    confirmed = (
        pl.when(now == CRITICAL)
        .then(CRITICAL)
        .when(twice >= HIGH)
        .then(HIGH)
        .when(at_once | one_look | two_looks)
        .then(MEDIUM)
        .when((now == MEDIUM) | (twice >= LOW))
        .then(LOW)
        .otherwise(0)
    )
    flags = pl.col("flagging").fill_null([])
    by_daily = (flags.list.len() > 0) & flags.list.set_difference(list(DAILY_DETECTORS)).list.len().eq(0)
    by_forest = (flags.list.len() == 1) & flags.list.contains(FOREST) & (pl.col("run") < UNNAMED_LASTING // WINDOW)
    believed = (
        pl.when(by_daily & (pl.col("_confirmed") > MEDIUM))
        .then(MEDIUM)
        .when(by_forest & (pl.col("_confirmed") == MEDIUM))
        .then(LOW)
        .otherwise("_confirmed")
    )
    rows = rows.with_columns(_confirmed=confirmed, one_look=one_look & ~two_looks & ~at_once)
    rows = rows.with_columns(confirmed=severity_of(believed))
    return rows.drop("_rank", "_before", "_row", "_confirmed")


def _mean_score() -> pl.Expr:
    """The mean score of the last two hours; 0 where less than half of their windows were scored."""
    least = TWO_LOOKS // WINDOW // 2
    mean = pl.col("anomaly_score").rolling_mean_by("window_end", TWO_LOOKS, min_samples=least).over("device_id")
    # Sums that run on depend on where they began; what is judged must not.
    return mean.round(9).fill_null(0.0)


def named(hits: pl.DataFrame) -> pl.DataFrame:
    """The hits (as `sustained` gives them, with `failure_mode` and `hours_left`): those whose reason nobody knows are
    believed less, and for a second look is waited where there is time."""
    # Where nobody could be asked for a name, as in a storm, what the scores say stands.
    unknown = (pl.col("failure_mode") == UNKNOWN).fill_null(pl.col("severity") == SEVERITIES[LOW - 1])
    odd = pl.col("severity").is_in(_ODD) & (pl.col("confirmed") == SEVERITIES[MEDIUM - 1])
    rare = (pl.col("anomaly_score") > MEDIUM_ABOVE) & ~pl.col("model_id").is_in([FOREST, *DAILY_DETECTORS])
    agreed = (pl.col("models_flagging") >= AGREEING) & (pl.col("run") >= UNNAMED_LASTING // WINDOW)
    waits = pl.col("one_look") & (pl.col("hours_left") >= SOON_H).fill_null(value=True)
    low = pl.when(odd & (waits | (unknown & ~rare & ~agreed))).then(pl.lit(SEVERITIES[LOW - 1])).otherwise("confirmed")
    return hits.with_columns(confirmed=low)
