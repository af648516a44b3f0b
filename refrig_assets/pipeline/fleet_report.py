"""The fleet's health in an hour, gathered from the lake. In words: `fleet_report_text`; no Dagster here.

What stood is told as of the hour's end, from the alert log, so that a report made again says the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from refrig_assets.alerting.standing import is_closed
from refrig_assets.alerting.summary import board_at, by_site, called, most_urgent, predicted, standing
from refrig_assets.contracts import (
    DEVICE_HOURS,
    DEVICE_REGISTRY,
    MODEL_SCORES,
    SCORE_QUALITY,
)
from refrig_assets.contracts.readings import CLEAN_READINGS, RAW_READINGS
from refrig_assets.lake import HOUR, Lake
from refrig_assets.models.registry import Registry
from refrig_assets.monitoring.findings import Finding
from refrig_assets.monitoring.stream import stream_finding
from refrig_assets.pipeline.alert_living import living_log
from refrig_assets.pipeline.hours import read_accounts
from refrig_assets.pipeline.model_status import ModelsStatus, models_status
from refrig_assets.pipeline.quality import active_devices
from refrig_assets.pipeline.status import dead_letters
from refrig_assets.pipeline.stream_reports import last_stream_commit, read_heartbeat, stream_home

DAY = timedelta(days=1)
TOP = 10
# How the stream does is known of now only.
_LIVE = timedelta(hours=2)


@dataclass(frozen=True)
class Fleet:
    """Who is there and who was heard."""

    active: int
    reporting: int
    sites: int
    silent: list[str]
    """active devices that were not heard in the hour"""


@dataclass(frozen=True)
class Quality:
    """What became of the hour's messages; clean is None where the hour has not been cleaned."""

    raw: int
    clean: int | None
    counts: Mapping[str, int]
    dead: Mapping[str, int]


@dataclass(frozen=True)
class FleetReport:
    hour: datetime
    as_of: datetime
    fleet: Fleet
    created: pl.DataFrame
    """alerts of the hour, also those suppressed"""
    closed: pl.DataFrame
    stands: pl.DataFrame
    sites: pl.DataFrame
    urgent: pl.DataFrame
    expected: pl.DataFrame
    top: pl.DataFrame
    """devices with the highest scores: device_id, site_id, score, model_id, because, severity"""
    series: Mapping[str, pl.DataFrame]
    """of those, score by window_end over a day"""
    quality: Quality
    flagged: pl.DataFrame
    """of each model the hour's windows, devices and flags"""
    models: ModelsStatus | None = None
    models_problem: str | None = None
    stream: Finding | None = None
    notes: list[str] = field(default_factory=list)


def fleet_report(
    lake: Lake, models: Registry | None, hour: datetime, now: datetime, stream_state: Path | None = None
) -> FleetReport:
    """Gather an hour's report; of the running hour, as far as it has come. Nothing need be there but the tables."""
    end = hour + HOUR
    as_of = min(end, max(now, hour))
    registry = lake.table(DEVICE_REGISTRY).read()
    board = board_at(living_log(lake, hour), as_of)
    stands = standing(board)
    top, series = _top(lake, hour, as_of, stands)
    status, problem = _models(lake, models, as_of)
    return FleetReport(
        hour,
        as_of,
        _fleet(lake, registry, hour, end),
        created=board.filter(pl.col("alert_created_at").is_between(hour, end, closed="left")),
        closed=board.filter(is_closed() & pl.col("resolved_at").is_between(hour, end, closed="left")),
        stands=stands,
        sites=by_site(stands, sites_of(registry), 10),
        urgent=most_urgent(stands, as_of, 10),
        expected=predicted(stands, as_of),
        top=top,
        series=series,
        quality=_quality(lake, hour, end),
        flagged=_flagged(lake, hour, end),
        models=status,
        models_problem=problem,
        stream=_stream(lake, stream_state, now) if now - end < _LIVE else None,
    )


def sites_of(registry: pl.DataFrame) -> pl.DataFrame:
    """One row a site: its name and how many active devices it has."""
    return (
        active_devices(registry)
        .group_by("site_id")
        .agg(pl.col("site_name").drop_nulls().first(), pl.len().cast(pl.Int64).alias("devices"))
        .sort("site_id")
    )


def _fleet(lake: Lake, registry: pl.DataFrame, hour: datetime, end: datetime) -> Fleet:
    active = active_devices(registry)
    heard = lake.table(DEVICE_HOURS).scan(hour, end).select("device_id").unique().collect()["device_id"]
    silent = active.filter(~pl.col("device_id").is_in(heard.implode()))["device_id"].sort()
    return Fleet(active.height, active.height - silent.len(), active["site_id"].n_unique(), silent.to_list())


def _top(
    lake: Lake, hour: datetime, as_of: datetime, stands: pl.DataFrame
) -> tuple[pl.DataFrame, dict[str, pl.DataFrame]]:
    """The devices with the highest champion scores of the hour, and their scores of a day."""
    table = lake.table(MODEL_SCORES)
    champion = pl.col("deployment_role") == "champion"
    first = (
        table.scan(hour, hour + HOUR)
        .filter(champion & (pl.col("window_end") <= as_of))
        .select("device_id", "window_end", "anomaly_score", "model_id", "top_contributors")
        .sort("anomaly_score", "device_id", "model_id", descending=[True, False, False])
        .unique("device_id", keep="first", maintain_order=True)
        .head(TOP)
        .collect()
    )
    severity = stands.select("device_id", "severity").unique("device_id", keep="first", maintain_order=True)
    sites = lake.table(DEVICE_REGISTRY).scan().select("device_id", "site_id", "site_name").collect()
    top = (
        first.join(severity, on="device_id", how="left", maintain_order="left")
        .join(sites, on="device_id", how="left", maintain_order="left")
        .select(
            "device_id", called("site_name", "site_id").alias("site"), "anomaly_score", "model_id",
            pl.col("top_contributors").list.head(3).list.join(", ").alias("because"), "severity",
        )
    )  # fmt: skip
    of_them = pl.col("device_id").is_in(top["device_id"].implode())
    day = table.scan(as_of - DAY, as_of).filter(champion & of_them & (pl.col("window_end") <= as_of))
    scores = (
        day.group_by("device_id", "window_end").agg(score=pl.col("anomaly_score").max()).sort("window_end").collect()
    )
    return top, {d: scores.filter(pl.col("device_id") == d).drop("device_id") for d in top["device_id"]}


def _quality(lake: Lake, hour: datetime, end: datetime) -> Quality:
    told = read_accounts(lake, hour, end).filter(
        (pl.col("table") == CLEAN_READINGS.name) & pl.col("other_hour").is_null()
    )
    counts = dict(told.select("account", "rows").iter_rows())
    raw = sum(f.rows for f in lake.table(RAW_READINGS).files(start=hour, end=end) if f.lies_within(hour, end))
    return Quality(int(counts.get("raw", raw)), counts.get("clean"), counts, dead_letters(lake, hour, end))


def _flagged(lake: Lake, hour: datetime, end: datetime) -> pl.DataFrame:
    rows = lake.table(SCORE_QUALITY).read(hour, end).filter(pl.col("measure") == "model")
    return rows.sort("model_id").select(
        "model_id", "windows", "devices", "flagged", "flag_rate", "score_p99", "flip_rate"
    )


def _models(lake: Lake, models: Registry | None, at: datetime) -> tuple[ModelsStatus | None, str | None]:
    if models is None:
        return None, "no model registry is configured"
    status = models_status(lake, models, at)
    return status, status.says or None


def _stream(lake: Lake, state: Path | None, now: datetime) -> Finding:
    return stream_finding(RAW_READINGS.name, read_heartbeat(state or stream_home(lake)), last_stream_commit(lake), now)
