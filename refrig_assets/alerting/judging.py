"""One hour judged whole: hits taken, silence weighed, the stream's word weighed, sites looked at. No I/O, no clock."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import polars as pl

from refrig_assets.alerting.fold import fold
from refrig_assets.alerting.grouping import LONGEST, grouped
from refrig_assets.alerting.known import known_alerts
from refrig_assets.alerting.lifecycle import Judgement
from refrig_assets.alerting.settling import QUIET_FOR, by_device, merge, reconcile, retire, settle, withdraw
from refrig_assets.contracts.alerts import CLOSED_STATUSES

_GROUPED_BY = (
    "alert_id",
    "device_id",
    "site_id",
    "failure_mode",
    "top_contributors",
    "first_detected_at",
    "incident_id",
)
_HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Span:
    """The windows that end after `start` and by `end` are judged, at `now`."""

    start: datetime
    end: datetime
    now: datetime
    """for hours long past as of their end"""
    clock: datetime | None = None
    """what the clock shows meanwhile, where that is another time"""
    by_models: bool = True
    """else by the rules on features, which say nothing of what is over: they open alerts, and end none"""


@dataclass(frozen=True)
class Fleet:
    """What the registry and the mutes say of the fleet."""

    active: Collection[str]
    site_sizes: Mapping[str, int]
    muted: Mapping[str, tuple[str, str | None]] = field(default_factory=dict)
    """devices under a mute when the span is judged: its identity and reason"""


def judge(windows: pl.DataFrame, hits: pl.DataFrame, log: pl.DataFrame, fleet: Fleet, span: Span) -> pl.DataFrame:
    """The changes (rows of the log) that an hour's windows make to the alerts that the log tells of.

    `windows` are those of the last hours, as `sustained` tells of them, of all devices that stood out or have an alert;
    `hits` are the hour's that make or keep an alert, with registry facts, mute and diagnosis.
    """
    board = fold(log)
    alerts = known_alerts(board, log, span.start - QUIET_FOR, span.clock or span.now)
    written = dict(board.select("alert_id", "suppressed_by").iter_rows())
    judgement = Judgement(alerts, span.now, span.clock, written)
    in_order = hits.sort("device_id", "window_end")
    judgement.take(in_order.iter_rows(named=True))
    last = in_order.unique("device_id", keep="last", maintain_order=True)
    judgement.diagnose(last.iter_rows(named=True))
    judgement.lay_to_rest()
    for alert in judgement.alerts:
        # What was seen later is no business of an hour that is judged again.
        if alert.standing and alert.last <= span.end and alert.device_id in fleet.muted:
            judgement.mute(alert, *fleet.muted[alert.device_id])
    if span.by_models:
        lately = by_device(windows)
        withdraw(judgement, span.start, span.end, lately)
        reconcile(judgement, lately, _members(board), span.end)
        settle(judgement, lately, span.end)
    retire(judgement, fleet.active)
    merge(judgement)
    _group(judgement, board, fleet.site_sizes)
    return judgement.log()


def _members(board: pl.DataFrame) -> dict[str, list[str]]:
    """The devices of the alerts that go on under another, such as a storm's."""
    under = board.filter("suppressed").drop_nulls("suppressed_by")
    return dict(under.group_by("suppressed_by").agg(pl.col("device_id").unique().sort()).iter_rows())


def _group(judgement: Judgement, board: pl.DataFrame, site_sizes: Mapping[str, int]) -> None:
    """Which of the alerts of the last hours are one trouble of their site."""
    recent = pl.col("first_detected_at") > judgement.now - LONGEST - _HOUR
    stands = ~pl.col("suppressed") & ~pl.col("status").is_in(list(CLOSED_STATUSES))
    there = board.filter(recent & stands & (pl.col("source") != "streaming")).select(_GROUPED_BY)
    new = [{n: row[n] for n in _GROUPED_BY} for row in judgement.created.values() if not row["suppressed"]]
    alerts = pl.concat([there, pl.DataFrame(new, schema=there.schema, orient="row")])
    known = {alert.alert_id: alert for alert in judgement.alerts}
    for alert, incident in grouped(alerts, site_sizes).iter_rows():
        if alert in judgement.created:
            judgement.created[alert]["incident_id"] = incident
        elif known[alert].incident_id is None:
            judgement.change(known[alert], "grouped", incident, incident_id=incident)
