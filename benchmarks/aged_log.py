"""The log that `aged` measures: a day of it as the hourly judgements of a healthy fleet of some size leave it."""

from datetime import datetime, timedelta

import polars as pl

from benchmarks.board import registry
from refrig_assets.alerting.changes import created, log_rows
from refrig_assets.contracts import DEVICE_ALERTS, MODEL_SCORES
from refrig_assets.lake import Lake
from refrig_assets.pipeline.registry import write_registry

# Of devices and days, as an evaluation on a simulated fleet has it: alerts that end by themselves, and repetitions.
_LOUD, _AGAIN = 0.125, 0.287
# Of a day's alerts, those that are still there: somebody put them aside. Each hour says of some of them what is wrong.
_STAYS = 40
_TOLD_AGAIN = 10


def register(lake: Lake, devices: int) -> None:
    write_registry(lake, registry(devices))


def append_day(lake: Lake, start: datetime, devices: int, *, standing: bool) -> None:
    """A day of the log, as one file: alerts that came and went, repetitions of them, and some that stay."""
    loud, again = int(devices * _LOUD), int(devices * _AGAIN)
    ended = _alerts(start, loud, "a").with_columns(status=pl.lit("RESOLVED"), resolved_at=pl.col("last_seen_at"))
    of = (pl.int_range(again, eager=True) % loud).alias("of")
    repeated = _alerts(start, again, "b").with_columns(
        suppressed=pl.lit(value=True), suppressed_by=_ids(start, of, "a"), severity=pl.lit("MEDIUM")
    )
    parts = [created(ended, "batch"), created(repeated, "batch")]
    if standing:
        stay = _alerts(start, _STAYS, "c")
        parts += [created(stay, "batch"), _diagnosed(stay, start)]
    lake.table(DEVICE_ALERTS).append(pl.concat(parts), tag="changes")


def score_hour(lake: Lake, hour: datetime, devices: int) -> None:
    """An hour in which one model found nothing odd in any window; of machines whose alerts stay nothing was heard."""
    windows = pl.DataFrame({"quarter": range(4)}).select(
        window_start=pl.lit(hour) + pl.duration(minutes=15 * pl.col("quarter")),
        window_end=pl.lit(hour) + pl.duration(minutes=15 * (pl.col("quarter") + 1)),
    )
    told = {
        "model_id": "statistical_baseline", "model_version": "1", "deployment_role": "champion",
        "anomaly_score": 0.1, "anomaly_flag": False, "threshold_used": 0.6, "granularity": "cohort",
        "sensor_completeness": 1.0, "scored_at": hour + timedelta(hours=1),
    }  # fmt: skip
    heard = registry(devices).select("device_id").join(_alerts(hour, _STAYS, "c"), on="device_id", how="anti")
    scored = heard.join(windows, how="cross")
    rows = scored.with_columns(
        pl.format("{} {}", "device_id", "window_end").alias("score_id"),
        *(pl.lit(value).alias(name) for name, value in told.items()),
    )
    lake.table(MODEL_SCORES).append(MODEL_SCORES.conform(rows))


def newest_rows(now: datetime, count: int) -> pl.DataFrame:
    """What an hour adds: new alerts."""
    return created(_alerts(now - timedelta(minutes=5), count, "d", timedelta(minutes=4)), "batch")


def _ids(start: datetime, number: pl.Series, kind: str) -> pl.Expr:
    """Scattered as identities are that a digest makes."""
    scattered = pl.lit(number.hash(ord(kind)) % 2**32).cast(pl.String).str.zfill(10)
    return pl.format(f"{{}}-0000-5000-8000-{kind}{start:%y%m%d%H%M%S}{{}}", scattered, pl.lit(number))


def _alerts(start: datetime, count: int, kind: str, within: timedelta = timedelta(days=1)) -> pl.DataFrame:
    number = pl.int_range(count, eager=True).alias("number")
    step = int(within.total_seconds() * 1e6) // max(count, 1)
    at = pl.lit(start) + pl.duration(microseconds=pl.col("number") * step)
    device = pl.format("RF-{}", (pl.col("number") * 7919 % 100_000).cast(pl.String).str.zfill(6))
    return pl.DataFrame({"number": number}).select(
        alert_id=_ids(start, number, kind),
        device_id=device,
        site_id=pl.format("S-{}", (pl.col("number") % 500).cast(pl.String).str.zfill(4)),
        severity=pl.lit("LOW"),
        title=pl.format("Unusual: condenser warm, {}", device),
        description=pl.format("Furthest from usual: condenser warm, current high. {} windows in a row. " * 3,
                              "number", "number", "number"),
        source=pl.lit("batch"),
        model_id=pl.lit("statistical_baseline"),
        anomaly_score=pl.lit(0.65),
        top_contributors=pl.lit(["temp_condenser_mean", "pressure_high_mean", "current_compressor_mean"]),
        models_flagging=pl.lit(1),
        suppressed=pl.lit(value=False),
        status=pl.lit("OPEN"),
        first_detected_at=at, alert_created_at=at, last_seen_at=at,
    )  # fmt: skip


def _diagnosed(stay: pl.DataFrame, start: datetime) -> pl.DataFrame:
    """Each hour's word on some of those that stay."""
    hours = [
        stay.head(_TOLD_AGAIN).select(
            "alert_id", changed_at=pl.lit(start + timedelta(hours=h)), failure_mode=pl.lit("condenser_fouling"),
            diagnosis_confidence=pl.lit(0.7), evidence=pl.lit(["condenser 6.1 K above the usual"]),
            last_seen_at=pl.lit(start + timedelta(hours=h)),
        )
        for h in range(1, 24)
    ]  # fmt: skip
    return log_rows(pl.concat(hours), "diagnosed", "batch", pl.col("last_seen_at").cast(pl.String))
