"""What an hour's windows make of the alerts that there are: opened, worse, repeated, silent. No I/O, no clock.

What follows when nothing is seen any more, and when the stream has spoken, is `settling.py`.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

import polars as pl

from refrig_assets.alerting.changes import alert_id, created, log_rows
from refrig_assets.alerting.known import MUTE, SENSOR_FAULT, STANDSTILL, Known, known_mode_of
from refrig_assets.alerting.sustained import HIGH, MEDIUM, RANK
from refrig_assets.alerting.telling import device_text, repeated_text
from refrig_assets.contracts.alerts import BATCH, DEVICE_ALERTS, SEVERITIES, SLA_BY_SEVERITY
from refrig_assets.contracts.base import STR
from refrig_assets.contracts.trends import sensor_of

Hit = Mapping[str, Any]
"""A window that tells something, with the registry's facts, its mute and its diagnosis joined"""

# A probe that fails is no emergency, if it is one: it is listed and mailed, and wakes nobody.
SURE_OF_IT = 0.6
# What shows the same so much later, with quiet between, is another episode.
APART = timedelta(hours=4)
# Changes of one judgement to one alert must be in order in the log.
_STEP = timedelta(microseconds=1)
DIAGNOSIS = (
    "failure_mode",
    "diagnosis_confidence",
    "evidence",
    "first_check",
    "hours_left",
    "hours_left_low",
    "hours_left_high",
)


class Judgement:
    """The alerts of the devices concerned, and the changes to them so far."""

    def __init__(
        self, alerts: Iterable[Known], now: datetime, clock: datetime | None = None,
        written: Mapping[str, str | None] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        """`written` are all alerts in the log, repetitions included, each with what it goes on under."""
        self.by_device: dict[str, list[Known]] = defaultdict(list)
        for alert in alerts:
            self.by_device[alert.device_id].append(alert)
        self.now, self.clock, self._written = now, clock or now, written
        self._steps: dict[str, int] = defaultdict(int)
        self.created: dict[str, dict[str, Any]] = {}
        """new alerts, by identity"""
        self._changes: dict[str, list[dict[str, Any]]] = defaultdict(list)

    @property
    def alerts(self) -> list[Known]:
        return [alert for alerts in self.by_device.values() for alert in alerts]

    def take(self, hits: Iterable[Hit]) -> None:
        """Windows of any devices, each device's in the order of time."""
        for hit in hits:
            rank, mode, sensor = _severity(hit), known_mode_of(hit["failure_mode"]), _sensor(hit)
            alert = self._match(hit, mode, sensor)
            if alert is None:
                self._open(hit, rank, mode, sensor)
            elif alert.closed:
                if alert.silences(hit["window_end"], rank) and not alert.covers(hit["window_end"]):
                    alert.repetition = hit
            else:
                self._again(alert, hit, rank)
        for alert in self.alerts:
            if alert.repetition is not None:
                self._repeat(alert, alert.repetition)

    def _match(self, hit: Hit, mode: str | None, sensor: str | None) -> Known | None:
        """The alert that this window is part of, or whose closing still answers for it."""
        moment, rank = hit["window_end"], _severity(hit)
        mine = self.by_device[hit["device_id"]]
        begun = [a for a in mine if not a.closed and a.first <= moment]
        later = [a for a in mine if not a.closed and moment < a.first <= moment + APART]
        answered = [a for a in mine if a.answers(moment, rank, mode, sensor)]
        # Judged again, a window stays with what it was put under, though that has ended since.
        before = self._written.get(_identity(hit))
        kept = [a for a in answered if a.alert_id == before]
        found = next(iter(kept), None) or _of(begun, mode, sensor, moment) or next(iter(answered), None)
        return found or _of(later, mode, sensor, moment)

    def _open(self, hit: Hit, rank: int, mode: str | None, sensor: str | None) -> None:
        moment = hit["window_end"]
        row = self._alert(hit, rank)
        if row["alert_id"] in self.created or row["alert_id"] in self._written:
            # Scored or diagnosed again, a window that was spoken of may show another failure.
            row["alert_id"] = _identity(hit, mode or sensor or "")
        if row["alert_id"] in self.created or row["alert_id"] in self._written:
            return
        # The same seen again long after: that is today's alert, and this one is history.
        mine = self.by_device[hit["device_id"]]
        over = any(not a.closed and a.first > moment + APART and a.shows(mode, sensor) for a in mine)
        if hit["mute_id"] is not None:
            row |= {"suppressed": True, "suppressed_by": MUTE + hit["mute_id"], "note": hit["mute_reason"]}
        if rank >= HIGH:
            row["work_order_at"] = self.now
        self.created[row["alert_id"]] = row
        mine.append(
            Known(
                row["alert_id"], hit["device_id"], hit["source"], hit["model_id"], rank, mode, sensor, moment, moment,
                "OPEN", "ANOMALY_DETECTED", bool(row["suppressed"]), bool(row["suppressed"]),
                self.now + SLA_BY_SEVERITY[row["severity"]], False, rank >= HIGH, self.now, rank, new=True, seen=True,
                over=over,
            )
        )  # fmt: skip

    def _again(self, alert: Known, hit: Hit, rank: int) -> None:
        """One more window of an alert that is open."""
        moment = hit["window_end"]
        alert.seen = True
        if moment < alert.first:
            alert.first = moment
            self.change(alert, "sustained", f"earlier {moment.isoformat()}", first_detected_at=moment)
        if moment <= alert.last:  # judged before, or late: only what is worse than it ever was is news
            if rank > alert.highest and not alert.streaming:
                self._escalate(alert, hit, rank)
            return
        if hit["mute_id"] is not None and not alert.suppressed:
            self.mute(alert, hit["mute_id"], hit["mute_reason"])
        if alert.muted and hit["mute_id"] is None:
            self._unmute(alert, moment)
        if rank > alert.rank and not alert.streaming:
            self._escalate(alert, hit, rank)
        elif alert.alert_type == "ANOMALY_DETECTED" and not alert.streaming:
            alert.alert_type = "ANOMALY_SUSTAINED"
            self.change(alert, "sustained", "", alert_type=alert.alert_type, **_seen(hit))
        else:
            alert.repetition = hit
        alert.last, alert.moved = moment, True

    def _escalate(self, alert: Known, hit: Hit, rank: int) -> None:
        severity = SEVERITIES[rank - 1]
        title, description = device_text(hit)
        fields: dict[str, Any] = {
            "alert_type": "ANOMALY_ESCALATED",
            "severity": severity,
            "title": title,
            "description": description,
            "anomaly_score": hit["anomaly_score"],
            "model_id": hit["model_id"],
            "models_flagging": hit["models_flagging"],
            "last_seen_at": max(hit["window_end"], alert.last),
            "windows_sustained": hit["run"],
        }
        if not alert.suppressed:  # the reason of a mute stays
            fields["note"] = f"worse: it was {SEVERITIES[alert.rank - 1]}"
        if _sensor(hit) == alert.sensor:  # by its first contributor an alert is told from others
            fields["top_contributors"] = hit["top_contributors"]
        if not alert.breached:
            alert.deadline = min(alert.deadline, self.now + SLA_BY_SEVERITY[severity])
            fields["sla_deadline"] = alert.deadline
        if rank >= HIGH and not alert.ordered:
            alert.ordered, fields["work_order_at"] = True, self.now
        mode = known_mode_of(hit["failure_mode"])
        if mode is not None and not alert.ends_in(mode) and not self._stands(alert, mode):
            alert.mode = mode
            fields |= {name: hit[name] for name in DIAGNOSIS}
        alert.rank, alert.highest, alert.alert_type = rank, max(rank, alert.highest), "ANOMALY_ESCALATED"
        self.change(alert, "escalated", f"{severity} {hit['window_end'].isoformat()}", **fields)

    def _stands(self, alert: Known, mode: str) -> bool:
        """Whether another alert of the device already stands for that mode."""
        return any(o is not alert and not o.closed and o.mode == mode for o in self.by_device[alert.device_id])

    def _repeat(self, alert: Known, hit: Hit) -> None:
        """Written for audit, once a judgement: seen again, nothing new. Nobody is told."""
        row = self._alert(hit, _severity(hit))
        if row["alert_id"] in self._written and self._root(row["alert_id"]) != self._root(alert.alert_id):
            row["alert_id"] = _identity(hit, f"repeats {alert.alert_id}")  # the window spoke of something else, too
        if row["alert_id"] == alert.alert_id or row["alert_id"] in self.created:
            return
        title, description = repeated_text(hit, alert)
        row |= {"suppressed": True, "suppressed_by": alert.alert_id, "title": title, "description": description}
        if row["failure_mode"] == STANDSTILL:
            row["failure_mode"] = alert.mode
        self.created[row["alert_id"]] = row

    def _root(self, alert: str) -> str:
        """The alert under which it goes on, in the end."""
        while (under := self._written.get(alert)) is not None:
            alert = under
        return alert

    def diagnose(self, hits: Iterable[Hit]) -> None:
        """The newest diagnosis of alerts that stand, where there is something to say."""
        for hit in hits:
            mode = known_mode_of(hit["failure_mode"])
            for alert in self.by_device[hit["device_id"]]:
                mine = not alert.closed and not alert.new and not alert.streaming and alert.moved
                if not mine or mode is None or alert.ends_in(mode):
                    continue
                if alert.shows(mode, _sensor(hit)) and not self._stands(alert, mode):
                    told = {name: hit[name] for name in DIAGNOSIS}
                    if mode != alert.mode:
                        alert.mode = mode
                        told["title"], told["description"] = device_text(hit)
                    self.change(alert, "diagnosed", hit["window_end"].isoformat(), last_seen_at=alert.last, **told)

    def mute(self, alert: Known, mute_id: str, reason: str | None) -> None:
        """A mute has begun while it stood."""
        alert.suppressed = alert.muted = True
        by = MUTE + mute_id
        self.change(alert, "muted", f"{by} {self.now.isoformat()}", suppressed=True, suppressed_by=by, note=reason)

    def _unmute(self, alert: Known, moment: datetime) -> None:
        """Its mute is over and it is still there: from now on it is somebody's."""
        alert.suppressed = alert.muted = False
        alert.deadline = self.now + SLA_BY_SEVERITY[SEVERITIES[alert.rank - 1]]
        told = {"suppressed": False, "sla_deadline": alert.deadline, "note": "the mute is over and it is still seen"}
        self.change(alert, "unmuted", moment.isoformat(), **told)

    def _alert(self, hit: Hit, rank: int) -> dict[str, Any]:
        title, description = device_text(hit)
        return {
            "alert_id": _identity(hit),
            **{name: hit[name] for name in ("device_id", "site_id", "source", "model_id", "anomaly_score")},
            **{name: hit[name] for name in ("top_contributors", "models_flagging", *DIAGNOSIS)},
            "severity": SEVERITIES[rank - 1],
            "title": title,
            "description": description,
            "first_detected_at": hit["window_end"],
            "alert_created_at": self.now,
            "suppressed": False,
            "suppressed_by": None,
            "note": None,
            "work_order_at": None,
            "incident_id": None,
            **_seen(hit),
        }

    def change(self, alert: Known, change: str, occasion: str, **fields: Any) -> None:
        """A change to an alert, after those of this judgement before it."""
        self._steps[alert.alert_id] += 1
        # The last change is the one that counts: this comes after what was said by a clock that was ahead.
        said = alert.changed_at
        after = said if said is not None and said > self.clock else self.now
        at = after + self._steps[alert.alert_id] * _STEP
        row = {"alert_id": alert.alert_id, "changed_at": at, "occasion": occasion, **fields}
        self._changes[change].append(row)

    def lay_to_rest(self) -> None:
        """What was found in windows of long ago and was followed by quiet is on record, no more."""
        note = "found in hours scored late; it was over before the one that stands began"
        for alert in self.alerts:
            if alert.over:
                alert.status = "RESOLVED"
                row = self.created[alert.alert_id]
                row |= {"status": alert.status, "resolved_at": self.now, "alert_type": "ANOMALY_RESOLVED"}
                row["note"] = row["note"] or note

    def log(self) -> pl.DataFrame:
        """All of it as rows of the log."""
        parts = [created(_frame(list(self.created.values())), BATCH)] if self.created else []
        for change, rows in self._changes.items():
            parts.append(log_rows(_frame(rows), change, BATCH, pl.col("occasion")))
        return pl.concat(parts) if parts else DEVICE_ALERTS.empty()


def _of(alerts: list[Known], mode: str | None, sensor: str | None, moment: datetime) -> Known | None:
    """The open alert that shows this: first by its failure mode, then by what it shows."""
    for one in alerts:
        if mode is not None and mode == one.mode:
            return one
    for one in alerts:
        # What the stream found dying looks odd in every way: nobody needs a second alert that knows no more.
        if one.shows(mode, sensor) or one.ends_in(mode) or (one.streaming and mode is None and one.recent(moment)):
            return one
    return None


def _frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    types = {**DEVICE_ALERTS.dtypes, "occasion": STR}
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pl.DataFrame(rows, schema={name: types[name] for name in names}, orient="row")


def _identity(hit: Hit, shown: str | None = None) -> str:
    by = hit["model_id"] if shown is None else f"{hit['model_id']}: {shown}"
    return alert_id(hit["device_id"], by, hit["window_end"])


def _severity(hit: Hit) -> int:
    """The rank of what is seen; of a failed probe no more than MEDIUM."""
    rank = RANK[hit["confirmed"]]
    sensor = hit["failure_mode"] == SENSOR_FAULT and (hit["diagnosis_confidence"] or 0.0) >= SURE_OF_IT
    return min(rank, MEDIUM) if sensor else rank


def _sensor(hit: Hit) -> str | None:
    contributors = hit["top_contributors"]
    return sensor_of(contributors[0]) if contributors else None


def _seen(hit: Hit) -> dict[str, Any]:
    return {"last_seen_at": hit["window_end"], "windows_sustained": hit["run"]}
