"""An alert as the batch knows it while it judges windows: what stands on a device, what was closed. No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from refrig_assets.alerting.signs import UNKNOWN, first_sensor, mode_or_rules
from refrig_assets.alerting.sustained import RANK, rank
from refrig_assets.contracts.alerts import CLOSED_STATUSES, OPERATOR

# What somebody called false is not raised again for a day, unless it becomes worse.
BELIEVED_FALSE = timedelta(hours=24)
# A machine that was repaired settles: for two hours what it was closed for is expected to echo, no worse than it was.
SETTLING = timedelta(hours=2)
MUTE = "mute:"
STANDSTILL, SENSOR_FAULT = "power_loss", "sensor_fault"


@dataclass
class Known:
    """What the engine must know of an alert; it changes as windows are taken."""

    alert_id: str
    device_id: str
    source: str
    model_id: str | None
    rank: int
    mode: str | None
    """the failure mode; None where nobody knows"""
    sensor: str | None
    """behind the first contributor"""
    first: datetime
    last: datetime
    status: str
    alert_type: str
    suppressed: bool
    muted: bool
    deadline: datetime
    breached: bool
    ordered: bool
    created_at: datetime
    highest: int = 0
    """the highest rank it ever had"""
    incident_id: str | None = None
    resolved_at: datetime | None = None
    by_operator: bool = False
    """a person closed it"""
    reopened_at: datetime | None = None
    """when a person last opened it again"""
    changed_at: datetime | None = None
    """its last change; a clock may have been ahead then"""
    over: bool = False
    """found in windows of long ago, and not seen in the hours after them"""
    new: bool = False
    """created by this judgement"""
    seen: bool = False
    """some window of this judgement is part of it"""
    moved: bool = False
    """seen later than ever before"""
    repetition: Mapping[str, Any] | None = None
    """the last window of this judgement that only repeats it"""

    @property
    def closed(self) -> bool:
        return self.status in CLOSED_STATUSES

    @property
    def streaming(self) -> bool:
        return self.source == "streaming"

    @property
    def standing(self) -> bool:
        """Somebody's: open, and not silenced."""
        return not self.closed and not self.suppressed

    def shows(self, mode: str | None, sensor: str | None) -> bool:
        """Whether that is the same failure: the same mode, or the same first contributor's sensor.

        What names neither cannot be told from anything.
        """
        nothing = mode is None and sensor is None
        return nothing or (mode is not None and mode == self.mode) or (sensor is not None and sensor == self.sensor)

    def recent(self, moment: datetime) -> bool:
        """Whether it was seen not long before."""
        return moment - self.last <= BELIEVED_FALSE

    def ends_in(self, mode: str | None) -> bool:
        """Whether that is how such a failure ends: a machine that was known to fail stands still."""
        return mode == STANDSTILL and self.mode not in (None, SENSOR_FAULT)

    def covers(self, moment: datetime) -> bool:
        """Whether a closed alert already spoke of that moment: what a person closed, up to then."""
        until = self.resolved_at if self.by_operator else None
        return self.closed and self.first <= moment <= max(self.last, until or self.last)

    def answers(self, moment: datetime, rank: int, mode: str | None, sensor: str | None) -> bool:
        """Whether its end answers for what is seen at that moment."""
        if self.shows(mode, sensor):
            return self.covers(moment) or self.silences(moment, rank)
        return self.streaming and mode is None and self.covers(moment)  # as while it stood

    def silences(self, moment: datetime, rank: int) -> bool:
        """Whether a person's closing still answers for what is seen at that moment."""
        if not self.closed or not self.by_operator or self.resolved_at is None or moment < self.first:
            return False
        if self.status == "FALSE_POSITIVE":
            return moment <= self.resolved_at + BELIEVED_FALSE and rank <= self.rank
        return moment <= self.resolved_at + SETTLING and rank <= self.highest


def known_alerts(board: pl.DataFrame, log: pl.DataFrame, since: datetime, clock: datetime) -> list[Known]:
    """The alerts that matter to windows after `since`, in the order of their first detection.

    Repetitions are left out: they were written for audit. Alerts under a mute stay, for the mute will end. What was
    closed at a moment that is still to come, by a clock that was ahead, was closed at the change before.
    """
    muted = pl.col("suppressed_by").str.starts_with(MUTE).fill_null(value=False)
    ended = pl.max_horizontal("resolved_at", "last_seen_at", "first_detected_at") < since - BELIEVED_FALSE
    rows = board.filter((~pl.col("suppressed") | muted) & ~(pl.col("status").is_in(list(CLOSED_STATUSES)) & ended))
    told = rows.with_columns(
        _mode=mode_or_rules(),
        _sensor=first_sensor(),
        _muted=muted,
        _last=pl.max_horizontal("first_detected_at", "last_seen_at"),
    )
    past = told.join(_past(log, clock), on="alert_id", how="left").with_columns(
        resolved_at=pl.when(pl.col("resolved_at") > clock).then("_told_at").otherwise("resolved_at")
    )
    return [_known(row) for row in past.sort("first_detected_at", "alert_id").iter_rows(named=True)]


def _past(log: pl.DataFrame, clock: datetime) -> pl.DataFrame:
    """What only the log tells of alerts: who closed them, how bad they ever were, when they changed."""
    by_person = pl.col("actor").str.starts_with(OPERATOR) & pl.col("status").is_not_null()
    in_order = log.sort("changed_at", "change_id").group_by("alert_id", maintain_order=True)
    last = pl.col("status").filter(by_person).last()
    return in_order.agg(
        last.is_in(list(CLOSED_STATUSES)).fill_null(value=False).alias("_by_person"),
        rank().max().alias("_highest"),
        pl.col("changed_at").max().alias("_changed_at"),
        pl.col("changed_at").filter(pl.col("changed_at") <= clock).max().alias("_told_at"),
        pl.col("changed_at").filter(pl.col("change") == "reopened").max().alias("_reopened_at"),
    )


def _known(row: dict[str, Any]) -> Known:
    return Known(
        alert_id=row["alert_id"],
        device_id=row["device_id"],
        source=row["source"],
        model_id=row["model_id"],
        rank=RANK[row["severity"]],
        mode=row["_mode"],
        sensor=row["_sensor"],
        first=row["first_detected_at"],
        last=row["_last"],
        status=row["status"],
        alert_type=row["alert_type"],
        suppressed=row["suppressed"],
        muted=row["_muted"],
        deadline=row["sla_deadline"],
        breached=row["sla_breached"],
        ordered=row["work_order_at"] is not None,
        created_at=row["alert_created_at"],
        highest=max(row["_highest"], RANK[row["severity"]]),
        incident_id=row["incident_id"],
        resolved_at=row["resolved_at"],
        by_operator=row["_by_person"],
        reopened_at=row["_reopened_at"],
        changed_at=row["_changed_at"],
    )


def known_mode_of(mode: str | None) -> str | None:
    """A failure mode, or None where it says that nobody knows."""
    return None if mode == UNKNOWN else mode
