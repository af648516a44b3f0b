"""What becomes of alerts that nothing adds to: resolved, eased, withdrawn, and the stream's word weighed. No I/O."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from refrig_assets.alerting.known import Known
from refrig_assets.alerting.lifecycle import Judgement
from refrig_assets.alerting.severity import HIGH_ABOVE
from refrig_assets.alerting.sustained import LOW, WINDOW, rank
from refrig_assets.contracts.alerts import SEVERITIES, SLA_BY_SEVERITY
from refrig_assets.contracts.scoring import DAILY_DETECTORS

# Scores must have stayed low for so long, and most of that time must have been scored.
QUIET_FOR = timedelta(hours=4)
_ENOUGH = (QUIET_FOR // WINDOW) // 2
# What a model sees that runs once a day is over when it has looked again.
_NEXT_DAY = timedelta(hours=26)
QUIET_BELOW = 0.6
# Windows that lie whole behind a stream's event before it may be called transient.
_AFTER_EVENT = 2
_NOBODY_AT_IT = ("OPEN", "ACKNOWLEDGED")


@dataclass(frozen=True)
class Window:
    end: datetime
    score: float
    rank: int
    """of the confirmed severity; 0 is none"""


def by_device(windows: pl.DataFrame) -> dict[str, list[Window]]:
    """The windows of each device in the order of time, from rows of `sustained`."""
    found: dict[str, list[Window]] = defaultdict(list)
    rows = windows.sort("device_id", "window_end").select("device_id", "window_end", "anomaly_score", rank("confirmed"))
    for device, end, score, level in rows.iter_rows():
        found[device].append(Window(end, score, level))
    return found


def settle(judgement: Judgement, windows: Mapping[str, Sequence[Window]], end: datetime) -> None:
    """Batch alerts whose device has been quiet are resolved, and those it has calmed down from eased."""
    for alert in judgement.alerts:
        if alert.streaming or alert.closed or alert.new:
            continue
        if alert.reopened_at is not None and end < alert.reopened_at + QUIET_FOR:
            continue  # a person has said that it is not over
        recent = [w for w in windows.get(alert.device_id, ()) if end - QUIET_FOR < w.end <= end]
        if len(recent) < _ENOUGH or alert.last > end:
            continue
        worst = max(w.rank for w in recent)
        silent_for = _NEXT_DAY if alert.model_id in DAILY_DETECTORS else QUIET_FOR
        if worst == 0 and alert.last <= end - silent_for and max(w.score for w in recent) < QUIET_BELOW:
            if alert.status in _NOBODY_AT_IT:
                hours = silent_for / timedelta(hours=1)
                _resolve(judgement, alert, end, f"scores have stayed below {QUIET_BELOW} for {hours:.0f} hours")
        elif LOW <= worst < alert.rank and min(w.end for w in recent) <= end - QUIET_FOR + 2 * WINDOW:
            _ease(judgement, alert, worst, end)


def _resolve(judgement: Judgement, alert: Known, end: datetime, note: str) -> None:
    alert.status, alert.resolved_at, alert.alert_type = "RESOLVED", judgement.now, "ANOMALY_RESOLVED"
    judgement.change(
        alert, "resolved", end.isoformat(),
        status=alert.status, resolved_at=judgement.now, alert_type=alert.alert_type, note=note,
    )  # fmt: skip


def _ease(judgement: Judgement, alert: Known, worst: int, end: datetime) -> None:
    """Severity falls to what the last hours were at worst. A deadline that has passed is not taken back."""
    severity, before = SEVERITIES[worst - 1], SEVERITIES[alert.rank - 1]
    alert.rank = worst
    fields = {"severity": severity, "note": f"no window of the last 4 hours is {before} any more"}
    if alert.breached:
        judgement.change(alert, "eased", f"{severity} {end.isoformat()}", **fields)
        return
    alert.deadline = max(alert.deadline, judgement.now + SLA_BY_SEVERITY[severity])
    judgement.change(alert, "eased", f"{severity} {end.isoformat()}", sla_deadline=alert.deadline, **fields)


def withdraw(judgement: Judgement, start: datetime, end: datetime, scored: Mapping[str, Sequence[Window]]) -> None:
    """Alerts that rest on windows in (start, end] alone, which were scored again and tell nothing any more."""
    for alert in judgement.alerts:
        judged_now = start < alert.first <= alert.last <= end
        touched = alert.new or alert.seen or alert.streaming or alert.reopened_at is not None
        untouched = alert.status == "OPEN" and not touched
        if (
            judged_now
            and untouched
            and any(alert.first <= w.end <= alert.last for w in scored.get(alert.device_id, ()))
        ):
            _resolve(judgement, alert, alert.last, "its windows were scored again and no longer show anything")


def reconcile(
    judgement: Judgement, windows: Mapping[str, Sequence[Window]], members: Mapping[str, Sequence[str]], end: datetime
) -> None:
    """The stream's CRITICALs against what the models say of the windows after the event, of all devices they cover.

    Above 0.85 it is sustained; below 0.6 in all of them it was transient; else, or without a score, nothing changes.
    """
    for alert in judgement.alerts:
        if not alert.streaming or alert.closed or (alert.suppressed and not alert.muted):
            continue
        devices = [alert.device_id, *members.get(alert.alert_id, ())]
        after = [_after(windows.get(device, ()), alert.created_at, end) for device in devices]
        known = [w for part in after for w in part]
        if not known:
            continue
        highest = max(w.score for w in known)
        newest = max(w.end for w in known)
        if highest > HIGH_ABOVE:
            if alert.alert_type != "ANOMALY_SUSTAINED":
                alert.alert_type = "ANOMALY_SUSTAINED"
                note = f"the models agree: score {highest:.2f} until {newest:%Y-%m-%d %H:%M} UTC"
                judgement.change(
                    alert, "sustained", "models agree",
                    alert_type=alert.alert_type, anomaly_score=highest, last_seen_at=newest, note=note,
                )  # fmt: skip
        elif (
            highest < QUIET_BELOW
            and alert.status in _NOBODY_AT_IT
            and sum(len(part) >= _AFTER_EVENT for part in after) > len(devices) / 2
        ):
            before = "transient" if alert.alert_type == "ANOMALY_DETECTED" else "over"
            note = f"{before}: the models score {highest:.2f} at most in the last windows"
            _resolve(judgement, alert, newest, note)


def _after(windows: Sequence[Window], event: datetime, end: datetime) -> list[Window]:
    """Windows that begin after it was told: what holds the event itself says little of what came after."""
    return [w for w in windows if event <= w.end - WINDOW and w.end <= end]


def merge(judgement: Judgement) -> None:
    """Of several alerts of a device that stand for one failure mode, the stream's and then the first one stays."""
    for alerts in judgement.by_device.values():
        groups: dict[str, list[Known]] = defaultdict(list)
        for alert in alerts:
            if alert.standing and alert.mode is not None:
                groups[alert.mode].append(alert)
        for mode, group in groups.items():
            if len(group) > 1:
                group.sort(key=lambda a: (not a.streaming, a.first, a.alert_id))
                _under(judgement, group[0], group[1:], mode)


def retire(judgement: Judgement, active: Collection[str]) -> None:
    """Nobody is asked to look at machines that are gone."""
    for alert in judgement.alerts:
        if not alert.closed and alert.device_id not in active:
            _resolve(judgement, alert, judgement.now, "the device is retired")


def _under(judgement: Judgement, stays: Known, others: Sequence[Known], mode: str) -> None:
    for other in others:
        other.suppressed = True
        if other.alert_id in judgement.created:
            judgement.created[other.alert_id] |= {"suppressed": True, "suppressed_by": stays.alert_id}
            continue
        # Somebody is at it: it stays theirs. Who has only read a milder alert has not read this one.
        read = other.status == "ACKNOWLEDGED" and stays.rank <= other.rank
        if stays.status == "OPEN" and (read or other.status == "IN_PROGRESS"):
            stays.status = other.status
            judgement.change(stays, "sustained", f"taken {other.alert_id}", status=other.status)
        note = f"one failure ({mode.replace('_', ' ')}), one alert: it goes on under {stays.alert_id}"
        judgement.change(
            other, "grouped", stays.alert_id, suppressed=True, suppressed_by=stays.alert_id, note=note
        )  # fmt: skip
    earliest = min(o.first for o in others)
    if earliest < stays.first:
        stays.first = earliest
        judgement.change(stays, "sustained", f"earlier {earliest.isoformat()}", first_detected_at=earliest)
