"""What the stream left behind in the lake, for those who report it: its heartbeat and its commits. No Dagster here."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from refrig_assets.contracts import DEVICE_ALERTS, RAW_READINGS
from refrig_assets.contracts.alerts import BATCH
from refrig_assets.lake import HOUR, CommitNote, Lake, commits_since
from refrig_assets.lake.files import is_local
from refrig_assets.monitoring.stream import Heartbeat
from refrig_assets.pipeline.alert_log import CHANGES_KEY, STREAM_KEY
from refrig_assets.pipeline.hours import floor_hour

RAW_KEY = "stream"
"""commit metadata of raw_sensor_readings"""
# Versions looked at in one go; the rest is for the next time.
COMMITS_AT_ONCE = 2000
_LATEST_ALERTS = 10


@dataclass
class HourNews:
    """What stream commits brought to one hour of raw. Counts of a commit belong to the hour it has most rows of."""

    hour: datetime
    rows: int = 0
    messages: int = 0
    joined: int = 0
    dead: int = 0
    lag: int = 0
    commits: int = 0
    newest_event: str | None = None
    newest_ingested: str | None = None
    version: int = 0


@dataclass
class AlertNews:
    """What the stream and operators appended to the alert log."""

    changes: int = 0
    alerts: int = 0
    suppressed: int = 0
    commits: int = 0
    by_change: Counter[str] = field(default_factory=Counter)
    by_rule: Counter[str] = field(default_factory=Counter)
    by_actor: Counter[str] = field(default_factory=Counter)
    newest: str = ""
    version: int = 0


@dataclass
class StreamNews:
    """What happened since the versions given, and the versions to ask from next time."""

    raw_version: int
    alerts_version: int
    hours: list[HourNews] = field(default_factory=list)
    alerts: AlertNews | None = None
    last_commit: datetime | None = None

    @property
    def any(self) -> bool:
        return bool(self.hours) or self.alerts is not None


def stream_news(lake: Lake, raw_version: int, alerts_version: int) -> StreamNews:
    """Commits after these versions that the stream made to raw, and that stream or operators made to the alert log."""
    raw = commits_since(lake.table(RAW_READINGS), raw_version, [RAW_KEY], COMMITS_AT_ONCE)
    log = commits_since(lake.table(DEVICE_ALERTS), alerts_version, [CHANGES_KEY, STREAM_KEY], COMMITS_AT_ONCE)
    last = raw.commits[-1].at if raw.commits else None
    return StreamNews(raw.upto, log.upto, _hours(raw.commits), _alerts(log.commits), last)


def last_stream_commit(lake: Lake, looked_at: int = 300) -> datetime | None:
    """When the stream last committed rows, among the newest versions of raw."""
    table = lake.table(RAW_READINGS)
    notes = commits_since(table, max(0, table.version - looked_at), [RAW_KEY], looked_at).commits
    return notes[-1].at if notes else None


def _hours(commits: list[CommitNote]) -> list[HourNews]:
    news: dict[datetime, HourNews] = {}
    for commit in commits:
        told = json.loads(commit.metadata[RAW_KEY])
        rows = {_hour(h): int(n) for h, n in (told.get("rows_by_hour") or {}).items()}
        main = max(rows, key=lambda h: (rows[h], h)) if rows else floor_hour(commit.at)
        for hour in {main, *rows}:
            one = news.setdefault(hour, HourNews(hour))
            one.rows += rows.get(hour, 0)
            one.commits += 1
            one.version = commit.version
            one.newest_event = max(filter(None, (one.newest_event, told.get("newest_event"))), default=None)
            one.newest_ingested = max(filter(None, (one.newest_ingested, told.get("newest_ingested"))), default=None)
        _count(news[main], (told.get("partitions") or {}).values())
    return [news[hour] for hour in sorted(news)]


def _count(news: HourNews, partitions: Any) -> None:
    for part in partitions:
        news.messages += int(part.get("messages") or 0)
        news.joined += int(part.get("joined") or 0)
        news.dead += int(part.get("dead") or 0)
    news.lag = sum(int(part.get("lag") or 0) for part in partitions)


def _hour(text: str) -> datetime:
    return floor_hour(datetime.fromisoformat(text).astimezone(UTC))


def _alerts(commits: list[CommitNote]) -> AlertNews | None:
    news = AlertNews()
    for commit in commits:
        told: Mapping[str, Any] = json.loads(commit.metadata.get(CHANGES_KEY, "{}"))
        by_actor = Counter(told.get("by_actor") or {})
        if set(by_actor) == {BATCH}:  # the batch reports what it does itself
            continue
        streamed = json.loads(commit.metadata.get(STREAM_KEY, "{}"))
        news.changes += int(told.get("written", streamed.get("written", 0)))
        news.alerts += int(streamed.get("written", 0))
        news.suppressed += int(streamed.get("suppressed", 0))
        news.commits += 1
        news.by_change += Counter(told.get("by_change") or {})
        news.by_rule += Counter(told.get("by_rule") or {})
        news.by_actor += by_actor
        news.newest = max(news.newest, str(told.get("newest") or commit.at.isoformat()))
        news.version = commit.version
    return news if news.commits else None


def latest_alerts(lake: Lake, newest: datetime) -> list[dict[str, Any]]:
    """The last alerts created up to a moment, and how long after the event each was written."""
    log = lake.table(DEVICE_ALERTS).scan(newest - HOUR, newest + HOUR)
    created = log.filter((pl.col("change") == "created") & (pl.col("changed_at") <= newest))
    delay = (pl.col("alert_created_at") - pl.col("first_detected_at")).dt.total_milliseconds() / 1000
    shown = created.sort("changed_at", "change_id").tail(_LATEST_ALERTS)
    return (
        shown.select("changed_at", "severity", "title", "site_id", "suppressed", delay.alias("seconds_after_event"))
        .collect()
        .to_dicts()
    )


def stream_home(lake: Lake, state_dir: str = "") -> Path:
    """Where the stream of this lake keeps its state: in the lake if that is local, unless told otherwise."""
    if state_dir:
        return Path(state_dir)
    if is_local(lake.uri):
        return Path(lake.uri) / "_stream"
    return Path("data/stream") / hashlib.sha256(lake.uri.encode()).hexdigest()[:12]


def read_heartbeat(home: Path) -> Heartbeat | None:
    """The heartbeat, or None where there is none. One that cannot be understood is a sign of no life."""
    path = home / "heartbeat.json"
    try:
        return Heartbeat.of(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        changed = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        return Heartbeat(changed, "unreadable", f"{path} cannot be understood: {error}")
