"""Whether the stream lives and keeps up, judged by its heartbeat and its last commit. No I/O; `now` is given."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from refrig_assets.contracts.alerts import STREAM_FRESHNESS
from refrig_assets.contracts.base import Freshness
from refrig_assets.contracts.readings import STREAM_RAW_FRESHNESS
from refrig_assets.monitoring.findings import Finding
from refrig_assets.monitoring.freshness import describe

CHECK = "stream_alive"
SILENT_AFTER = timedelta(minutes=2)
# With nothing unread, old data means that nobody sends.
NOTHING_ARRIVES_AFTER = timedelta(minutes=5)
LIMITS: Mapping[str, Freshness] = {"raw_sensor_readings": STREAM_RAW_FRESHNESS, "device_alerts": STREAM_FRESHNESS}
_COUNTED = ("messages", "rows", "dead", "alerts", "suppressed", "processes", "workers", "restarts")


@dataclass(frozen=True)
class Heartbeat:
    """What the stream said last of itself."""

    at: datetime
    state: str
    why: str | None = None
    lag: int = 0
    """bytes or messages that lie in the transport unread"""
    lagging: Mapping[str, int] | None = None
    """the partitions that have something unread"""
    partitions: int = 0
    behind: timedelta | None = None
    """age of the newest message that has landed"""
    last_commit_at: datetime | None = None
    newest_event: datetime | None = None
    counts: Mapping[str, int] | None = None

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "Heartbeat":
        """From the heartbeat's JSON. What is missing is not known; a moment or a state must be there."""
        lags = {name: int(part.get("lag") or 0) for name, part in (told.get("partitions") or {}).items()}
        behind = told.get("behind_s")
        return cls(
            at=_moment(str(told["at"])),
            state=str(told["state"]),
            why=told.get("why"),
            lag=sum(lags.values()),
            lagging={name: lag for name, lag in sorted(lags.items(), key=lambda one: -one[1]) if lag},
            partitions=len(lags),
            behind=None if behind is None else timedelta(seconds=float(behind)),
            last_commit_at=_moment(told["last_commit_at"]) if told.get("last_commit_at") else None,
            newest_event=_moment(told["newest_event"]) if told.get("newest_event") else None,
            counts={name: int(told[name]) for name in _COUNTED if told.get(name) is not None},
        )


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def stream_finding(table: str, beat: Heartbeat | None, last_commit: datetime | None, now: datetime) -> Finding:
    """Whether the stream that feeds a table is alive and within its service level.

    A stream that was never started on this lake is nobody's fault. `last_commit` is the newest the lake knows of.
    """
    if beat is None:
        return _without_heartbeat(last_commit, now)
    commits = [c for c in (beat.last_commit_at, last_commit) if c is not None]
    committed = max(commits, default=None)
    counts = _counts(beat, committed, now)
    told = _silent(beat, now)
    if told is not None:
        return Finding(CHECK, False, told, counts)
    behind = _behind(beat, committed, now)
    if behind is None:
        return _nothing_unread(beat, counts)
    limits = LIMITS[table]
    says = f"{describe(behind)} behind (promised {describe(limits.service_level)})"
    if behind <= limits.warn:
        return Finding(CHECK, True, f"alive, {says}" if behind > limits.service_level else "alive and in time", counts)
    lagging = [{"partition": name, "unread": lag} for name, lag in (beat.lagging or {}).items()][:20]
    return Finding(CHECK, False, f"{says}: {_remedy(beat)}", counts, lagging, severe=behind > limits.error)


def _without_heartbeat(last_commit: datetime | None, now: datetime) -> Finding:
    if last_commit is None:
        return Finding(CHECK, True, "no stream was ever started on this lake; `refrig stream` starts one")
    age = now - last_commit
    says = f"there is no heartbeat; the last commit was {describe(age)} ago"
    counts = {"last_commit_age_s": round(age.total_seconds(), 1)}
    if age <= NOTHING_ARRIVES_AFTER:
        return Finding(CHECK, True, says, counts)
    hint = "start it with `refrig stream`; if it runs elsewhere, let REFRIG_STREAM_STATE name its state directory"
    return Finding(CHECK, False, f"{says}: {hint}", counts)


def _silent(beat: Heartbeat, now: datetime) -> str | None:
    age = now - beat.at
    why = f" ({beat.why})" if beat.why else ""
    if beat.state == "stopped":
        return f"the stream stopped {describe(age)} ago{why}: nothing lands and no acute alert comes; `refrig stream`"
    if age > SILENT_AFTER:
        return (
            f"no sign of life for {describe(age)} (limit {describe(SILENT_AFTER)}), last state {beat.state}{why}: "
            "see its log, then start it again with `refrig stream`"
        )
    return None


def _behind(beat: Heartbeat, committed: datetime | None, now: datetime) -> timedelta | None:
    """How far the stream is behind what there is to read; None where it has read everything."""
    waiting = beat.state == "waiting_for_lake"
    if not beat.lag and not waiting:
        return None
    ages = [beat.behind] if beat.behind is not None else []
    if waiting and committed is not None:
        ages.append(now - committed)
    if not ages and committed is not None:
        ages.append(now - committed)
    return max(ages, default=timedelta(0))


def _nothing_unread(beat: Heartbeat, counts: Mapping[str, int | float]) -> Finding:
    if beat.behind is None:
        return Finding(CHECK, True, "alive, waits for its first message", counts)
    if beat.behind > NOTHING_ARRIVES_AFTER:
        says = f"alive, but nothing has arrived for {describe(beat.behind)}: look at the gateways and the transport"
        return Finding(CHECK, False, says, counts, severe=False)
    return Finding(CHECK, True, "alive, everything read", counts)


def _remedy(beat: Heartbeat) -> str:
    if beat.state == "waiting_for_lake":
        return f"it waits for the lake ({beat.why or 'not writable'}): free space or mend access, it goes on by itself"
    return f"{beat.lag:,} unread in {len(beat.lagging or {})} partitions; add --processes, or find what slows the disk"


def _counts(beat: Heartbeat, committed: datetime | None, now: datetime) -> dict[str, int | float]:
    counts: dict[str, int | float] = {"heartbeat_age_s": round((now - beat.at).total_seconds(), 1), "unread": beat.lag}
    if beat.behind is not None:
        counts["behind_s"] = round(beat.behind.total_seconds(), 1)
    if committed is not None:
        counts["last_commit_age_s"] = round((now - committed).total_seconds(), 1)
    return counts | {"partitions": beat.partitions} | dict(beat.counts or {})
