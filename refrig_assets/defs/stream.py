"""The stream as Dagster shows it: its checks, its heartbeat, and what it landed and raised. Dagster pulls; no push."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import dagster as dg

from refrig_assets.contracts import DEVICE_ALERTS, RAW_READINGS
from refrig_assets.defs.metadata import check_result, counts_table, records_table, table_metadata
from refrig_assets.defs.partitions import hour_key, hourly
from refrig_assets.defs.resources import ClockResource, LakeResource
from refrig_assets.lake import HOUR, Lake
from refrig_assets.monitoring.findings import Finding
from refrig_assets.monitoring.stream import CHECK, LIMITS, Heartbeat, stream_finding
from refrig_assets.pipeline.hours import floor_hour
from refrig_assets.pipeline.stream_reports import (
    AlertNews,
    HourNews,
    StreamNews,
    last_stream_commit,
    latest_alerts,
    read_heartbeat,
    stream_news,
)

RAW, ALERTS = RAW_READINGS.name, DEVICE_ALERTS.name
# What stays as it was is told again this often, so that the event log stays small.
REPEAT_EVERY = timedelta(minutes=5)

Event = dg.AssetMaterialization | dg.AssetObservation | dg.AssetCheckEvaluation


def _check(table: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=table, name=CHECK, description="The stream gives a sign of life and is within its service level."
    )
    def stream_alive(lake: LakeResource, clock: ClockResource) -> dg.AssetCheckResult:
        beat = read_heartbeat(lake.stream_home)
        return check_result(stream_finding(table, beat, last_stream_commit(lake.lake), clock.now), table)

    return stream_alive


stream_checks = [_check(table) for table in LIMITS]


@dataclass
class Cursor:
    """Up to which versions commits were reported, and what was last said of the stream's health, and when."""

    raw: int = 0
    alerts: int = 0
    health: str = ""
    said_at: str = ""

    @classmethod
    def of(cls, text: str | None) -> "Cursor":
        return cls(**json.loads(text)) if text else cls()

    def to_json(self) -> str:
        return json.dumps(vars(self))


def stream_reports(lake: Lake, beat: Heartbeat | None, cursor: Cursor, now: datetime) -> tuple[list[Event], Cursor]:
    """Everything that happened since the cursor, as events; what was reported once is not reported again."""
    news = stream_news(lake, cursor.raw, cursor.alerts)
    events = _news_events(lake, news)
    last = news.last_commit or last_stream_commit(lake)
    if beat is None and last is None:
        return events, Cursor(news.raw_version, news.alerts_version, cursor.health, cursor.said_at)
    findings = {table: stream_finding(table, beat, last, now) for table in LIMITS}
    health = " ".join(f"{table}:{_level(finding)}" for table, finding in findings.items())
    due = not cursor.said_at or now - datetime.fromisoformat(cursor.said_at) >= REPEAT_EVERY
    if health != cursor.health or due:
        events += [_evaluation(finding, table) for table, finding in findings.items()]
        events.append(_observation(beat, findings[RAW]))
        return events, Cursor(news.raw_version, news.alerts_version, health, now.isoformat())
    return events, Cursor(news.raw_version, news.alerts_version, cursor.health, cursor.said_at)


def _level(finding: Finding) -> str:
    return "ok" if finding.passed else "error" if finding.severe else "warn"


def _news_events(lake: Lake, news: StreamNews) -> list[Event]:
    known = [h for h in news.hours if hourly.has_partition_key(hour_key(h.hour))]
    events: list[Event] = [_landed(lake, hour) for hour in known]
    if news.alerts is not None:
        events.append(_raised(lake, news.alerts))
    return events


def _landed(lake: Lake, news: HourNews) -> dg.AssetMaterialization:
    table = lake.table(RAW_READINGS)
    files = table.files(start=news.hour, end=news.hour + HOUR)
    shared = [f for f in files if not f.lies_within(news.hour, news.hour + HOUR)]
    rows = sum(f.rows for f in files if f not in shared)
    if shared:
        end = news.hour + HOUR
        in_hour = table.scan_files(shared).select("timestamp_ingested").collect()["timestamp_ingested"]
        rows += int(in_hour.is_between(news.hour, end, closed="left").sum())
    told: dict[str, Any] = {
        "dagster/partition_row_count": rows,
        "rows_landed": news.rows,
        "messages": news.messages,
        "messages_joined": news.joined,
        "dead_letters": news.dead,
        "lag": news.lag,
        "commits": news.commits,
        "newest_event": news.newest_event or "none",
        "newest_ingested": news.newest_ingested or "none",
        "written_by": "stream",
        **table_metadata(table, news.version),
    }
    return dg.AssetMaterialization(
        RAW, description=f"{news.rows:,} rows by the stream", partition=hour_key(news.hour), metadata=told
    )


def _raised(lake: Lake, news: AlertNews) -> dg.AssetMaterialization:
    newest = datetime.fromisoformat(news.newest)
    latest = latest_alerts(lake, newest)
    told: dict[str, Any] = {
        "changes": news.changes,
        "alerts_raised": news.alerts,
        "suppressed": news.suppressed,
        "commits": news.commits,
        "newest_change": news.newest,
        "by_change": counts_table(news.by_change, "change", "changes"),
        "by_rule": counts_table(news.by_rule, "rule", "alerts"),
        "by_actor": counts_table(news.by_actor, "actor", "changes"),
        **({"latest": records_table(latest)} if latest else {}),
        **table_metadata(lake.table(DEVICE_ALERTS), news.version),
    }
    partition = hour_key(floor_hour(newest))
    return dg.AssetMaterialization(
        ALERTS,
        description=f"{news.alerts:,} alerts raised, {news.changes:,} changes",
        partition=partition if hourly.has_partition_key(partition) else None,
        metadata=told,
    )


def _evaluation(finding: Finding, table: str) -> dg.AssetCheckEvaluation:
    """Without a partition: a second evaluation of one check and partition outside of runs is refused by the storage."""
    result = check_result(finding, table)
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey(table),
        check_name=CHECK,
        passed=result.passed,
        metadata=result.metadata,
        severity=result.severity,
        description=result.description,
    )


def _observation(beat: Heartbeat | None, finding: Finding) -> dg.AssetObservation:
    told: dict[str, Any] = {"stream": finding.says, **finding.counts}
    if beat is not None:
        told |= {"state": beat.state, "heartbeat_at": beat.at.isoformat()}
        told |= {"why": beat.why} if beat.why else {}
        if beat.newest_event is not None:
            told["newest_event"] = beat.newest_event.isoformat()
        if beat.lagging:
            told["unread_by_partition"] = counts_table(dict(list(beat.lagging.items())[:20]), "partition", "unread")
    return dg.AssetObservation(RAW, description=finding.says, metadata=told)
