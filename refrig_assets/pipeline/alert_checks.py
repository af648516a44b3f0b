"""Whether alerts keep their promises: deadlines, no duplicates, nothing new silenced, in time. `now` is given."""

from datetime import datetime, timedelta

import polars as pl

from refrig_assets.alerting.signs import first_sensor, known_mode, sign
from refrig_assets.alerting.standing import BREACHED, against_deadline, is_standing
from refrig_assets.contracts import MODEL_SCORES
from refrig_assets.contracts.base import SAMPLE_ROWS, Freshness
from refrig_assets.contracts.scoring import EXPIRED_AFTER, USE_BY
from refrig_assets.lake import Lake
from refrig_assets.monitoring.findings import Finding, rate_finding
from refrig_assets.monitoring.freshness import describe

# Deadlines are judged over the alerts of so many days: of older ones nobody can mend anything.
JUDGED = timedelta(days=7)
BREACHED_LIMIT, SILENCED_LIMIT = 0.05, 0.01
BATCH_FRESHNESS = Freshness(timedelta(minutes=5), timedelta(minutes=15), timedelta(minutes=30))
_SHOWN = ("alert_id", "severity", "site_id", "device_id", "title")
_MUTED = pl.col("suppressed_by").str.starts_with("mute:")


def deadlines_finding(board: pl.DataFrame, now: datetime) -> Finding:
    """Few of the week's alerts were left past their deadline."""
    recent = board.filter(~pl.col("suppressed") & (pl.col("alert_created_at") >= now - JUDGED))
    late = recent.filter(pl.col("sla_breached") | (is_standing() & (against_deadline(now) == BREACHED)))
    sample = late.sort("sla_deadline").head(SAMPLE_ROWS).select(*_SHOWN, "status", "sla_deadline").to_dicts()
    of = "alerts of the last 7 days were not taken by their deadline"
    return rate_finding("deadlines", late.height, recent.height, BREACHED_LIMIT, of, sample=sample, severe=False)


def duplicates_finding(board: pl.DataFrame) -> Finding:
    """At most one alert of the batch stands for a device and failure mode, or, where that is unknown, sensor."""
    batch = board.filter(is_standing() & (pl.col("source") != "streaming"))
    told = batch.select(*_SHOWN, shows=sign()).drop_nulls("shows")
    again = told.filter(pl.struct("device_id", "shows").is_duplicated()).sort("device_id", "shows", "alert_id")
    pairs = again.select("device_id", "shows").n_unique() if again.height else 0
    says = (
        f"{again.height:,} alerts stand for {pairs:,} failures: one each should"
        if pairs
        else f"{batch.height:,} alerts of the batch stand, each for another failure"
    )
    counts = {"standing": batch.height, "repeated": again.height - pairs}
    return Finding("duplicates", not pairs, says, counts, again.head(SAMPLE_ROWS).to_dicts())


def silenced_finding(log: pl.DataFrame) -> Finding:
    """Hardly any new failure mode is written suppressed.

    Suppressed as something new: an alert, under no mute, of which neither the first contributor's sensor nor the
    failure mode is one that the alert which suppresses it ever had. Where that is the stream's, a sensor alone does not
    make it new: a machine that has just died looks odd in every way.
    """
    created = log.filter(pl.col("change") == "created")
    silent = created.filter(pl.col("suppressed") & ~_MUTED.fill_null(value=False))
    shown = _shown_by(log)
    streams = created.filter(pl.col("source") == "streaming").select("alert_id")
    about = silent.select("alert_id", "device_id", "site_id", "title", "suppressed_by", *_traits())
    same = about.join(shown, left_on="suppressed_by", right_on="alert_id", how="inner").filter(
        (pl.col("sensor") == pl.col("sensor_right")) | (pl.col("mode") == pl.col("mode_right"))
    )
    new = about.join(same.select("alert_id"), on="alert_id", how="anti")
    under_stream = new.filter(pl.col("mode").is_null()).join(
        streams, left_on="suppressed_by", right_on="alert_id", how="semi"
    )
    new = new.join(under_stream.select("alert_id"), on="alert_id", how="anti")
    loud = created.height - silent.height
    of = "new failure modes were suppressed"
    return rate_finding(
        "silenced", new.height, new.height + loud, SILENCED_LIMIT, of, sample=new.head(SAMPLE_ROWS).to_dicts()
    )


def _traits() -> tuple[pl.Expr, ...]:
    return first_sensor().alias("sensor"), known_mode().alias("mode")


def _shown_by(log: pl.DataFrame) -> pl.DataFrame:
    """Every sensor and failure mode that an alert ever had, a row each."""
    told = log.select("alert_id", *_traits())
    none = pl.lit(None, dtype=pl.String())
    sensors = told.select("alert_id", "sensor", mode=none).drop_nulls("sensor")
    modes = told.select("alert_id", none.alias("sensor"), "mode").drop_nulls("mode")
    return pl.concat([sensors, modes]).unique()


def batch_lags(lake: Lake, log: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """How long after its scores each alert of the batch was written (alert_id, device_id, lag_s): of the last hours.

    Only of live hours: a window that was scored long after its end was made again, and nobody waited for it.
    """
    created = log.filter(
        (pl.col("change") == "created")
        & (pl.col("source") != "streaming")
        & pl.col("alert_created_at").is_between(now - USE_BY, now)
    ).select("alert_id", "device_id", "alert_created_at", window_end="last_seen_at")
    if created.is_empty():
        return pl.DataFrame(schema={"alert_id": pl.String, "device_id": pl.String, "lag_s": pl.Float64})
    scores = lake.table(MODEL_SCORES).scan(now - EXPIRED_AFTER, now)
    of_them = pl.col("device_id").is_in(created["device_id"].implode())
    scored = (
        scores.filter((pl.col("deployment_role") == "champion") & of_them)
        .group_by("device_id", "window_end")
        .agg(pl.col("scored_at").max())
        .collect()
    )
    both = created.join(scored, on=["device_id", "window_end"])
    live = both.filter(pl.col("scored_at") - pl.col("window_end") <= USE_BY)
    lag = (pl.col("alert_created_at") - pl.col("scored_at")).dt.total_milliseconds() / 1000
    return live.select("alert_id", "device_id", lag_s=lag.clip(lower_bound=0.0)).sort("alert_id")


def promptness_finding(lags: pl.DataFrame) -> Finding:
    """Alerts of live hours come within minutes of the scores that they rest on (alert_id, device_id, lag_s)."""
    if lags.is_empty():
        return Finding("promptness", True, "no alert of a live hour in the last 2 hours", {"alerts": 0})
    slowest = timedelta(seconds=float(lags["lag_s"].max() or 0.0))  # type: ignore[arg-type]
    late = lags.filter(pl.col("lag_s") > BATCH_FRESHNESS.warn.total_seconds()).sort("lag_s", descending=True)
    says = (
        f"{lags.height:,} alerts of live hours, the slowest {describe(slowest)} after its scores "
        f"(promised {describe(BATCH_FRESHNESS.service_level)})"
    )
    counts = {"alerts": lags.height, "late": late.height, "slowest_s": round(slowest.total_seconds(), 1)}
    severe = slowest > BATCH_FRESHNESS.error
    return Finding("promptness", late.is_empty(), says, counts, late.head(SAMPLE_ROWS).to_dicts(), severe)


def judged_finding(waiting: pl.DataFrame, now: datetime) -> Finding:
    """Scores of live hours are judged within minutes, whether alerts come of them or not (`waiting_scores`)."""
    if waiting.is_empty():
        return Finding("judged", True, "every score of the last hours has been judged", {"hours": 0, "windows": 0})
    since: datetime = waiting["since"].min()  # type: ignore[assignment]
    oldest = max(now - since, timedelta(0))
    highest, windows = float(waiting["highest"].max() or 0.0), int(waiting["windows"].sum())  # type: ignore[arg-type]
    says = (
        f"{windows:,} scored windows of {waiting.height} hours wait to be judged, for {describe(oldest)} "
        f"(promised {describe(BATCH_FRESHNESS.service_level)}); the highest score is {highest:.2f}"
    )
    counts = {"hours": waiting.height, "windows": windows, "oldest_s": round(oldest.total_seconds(), 1)}
    in_time, severe = oldest <= BATCH_FRESHNESS.warn, oldest > BATCH_FRESHNESS.error
    return Finding("judged", in_time, says, counts, waiting.head(SAMPLE_ROWS).to_dicts(), severe)


def last_level_finding(board: pl.DataFrame) -> Finding:
    """No CRITICAL alert stands at the last level: there is nobody left to escalate to."""
    stuck = board.filter(is_standing() & (pl.col("severity") == "CRITICAL") & (pl.col("escalation_level") == "L3"))
    says = f"{stuck.height:,} CRITICAL alerts stand at L3: nobody is left to escalate to"
    if stuck.is_empty():
        says = "no CRITICAL alert stands at L3"
    sample = stuck.sort("escalated_at").head(SAMPLE_ROWS).select(*_SHOWN, "status", "escalated_at").to_dicts()
    return Finding("last_level", stuck.is_empty(), says, {"at_l3": stuck.height}, sample, severe=False)
