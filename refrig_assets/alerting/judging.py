"""One hour judged whole: hits taken, silence weighed, the stream's word weighed, sites looked at. No I/O, no clock."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from refrig_assets.alerting.grouping import LONGEST, grouped
from refrig_assets.alerting.known import known_alerts
from refrig_assets.alerting.lifecycle import Judgement
from refrig_assets.alerting.settling import QUIET_FOR, by_device, merge, reconcile, settle, withdraw
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


def judge(
    windows: pl.DataFrame,
    hits: pl.DataFrame,
    board: pl.DataFrame,
    closed_by_operators: Collection[str],
    site_sizes: Mapping[str, int],
    span: Span,
) -> pl.DataFrame:
    """The changes (rows of the log) that an hour's windows make to the alerts on the board.

    `windows` are those of the last hours, as `sustained` tells of them, of all devices that stood out or have an alert;
    `hits` are the hour's that make or keep an alert, with registry facts, mute and diagnosis.
    """
    judgement = Judgement(known_alerts(board, closed_by_operators, span.start - QUIET_FOR), span.now)
    in_order = hits.sort("device_id", "window_end")
    judgement.take(in_order.iter_rows(named=True))
    last = in_order.unique("device_id", keep="last", maintain_order=True)
    judgement.diagnose(last.iter_rows(named=True))
    lately = by_device(windows)
    withdraw(judgement, span.start, span.end, lately)
    reconcile(judgement, lately, _members(board), span.end)
    settle(judgement, lately, span.end)
    merge(judgement)
    _group(judgement, board, site_sizes)
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
