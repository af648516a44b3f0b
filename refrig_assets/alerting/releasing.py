"""The stream calls an alert a repetition by its own memory; what became of the alert since, only the board knows. Pure.

An event that the stream put under an alert which had been closed before it, or which was silent under a mute, is told;
be it the device's own alert or a storm's. Where another alert of the device and rule stands, it goes on under that one.
"""

from datetime import datetime, timedelta

import polars as pl

from refrig_assets.alerting.changes import deadline, log_rows
from refrig_assets.alerting.grouping import LEAST
from refrig_assets.alerting.known import MUTE
from refrig_assets.alerting.mutes import muted
from refrig_assets.alerting.standing import is_closed, is_standing
from refrig_assets.contracts.alerts import BATCH, DEVICE_ALERTS
from refrig_assets.contracts.base import TS

# What is older is over, or was told again by the stream itself.
LATELY = timedelta(hours=6)
# A device's repetition, its alert in a site's storm, that one in a firmware's; and what was merged on the way.
_DEEP = 8
_SAME = ["device_id", "rule"]


def releases(board: pl.DataFrame, now: datetime, mutes: pl.DataFrame | None = None) -> pl.DataFrame:
    """Log rows that tell of events the stream suppressed in favour of an alert that no longer stands.

    Of devices under a mute (`mutes`: contract alert_mutes) nothing is told while it lasts.
    """
    lately = board.filter(perhaps_back(now))
    if lately.is_empty():
        return DEVICE_ALERTS.empty()
    events = _audible(_uncovered(lately, board), mutes, now).join(_own(board), on=_SAME, how="left")
    # What was closed after the event answers for it, and what stands does.
    back = events.filter((pl.col("own_closed_at") < pl.col("alert_created_at")).fill_null(value=True))
    new = back.filter(pl.col("own_standing").is_null()).sort("alert_created_at", "alert_id")
    first = new.unique(_SAME, keep="first", maintain_order=True)
    # Of several, the first: the others repeat it.
    others = new.join(first.select(*_SAME, by="alert_id"), on=_SAME).filter(pl.col("alert_id") != pl.col("by"))
    repeat = back.drop_nulls("own_standing").with_columns(by="own_standing")
    return pl.concat([_told(_as_one(first, board), now), _moved(repeat, now), _moved(others, now)])


def perhaps_back(now: datetime) -> pl.Expr:
    """Of the stream's alerts those that it wrote as repetitions lately."""
    repeats = pl.col("suppressed") & ~pl.col("suppressed_by").str.starts_with(MUTE)
    lately = pl.col("alert_created_at") > now - LATELY
    return (pl.col("source") == "streaming") & repeats & ~is_closed() & lately


def _uncovered(events: pl.DataFrame, board: pl.DataFrame) -> pl.DataFrame:
    """Those that were put under something which was over before them, or silent; with `root`, what led them all.

    Each alert on the way to the root counts: who closed the device's own alert has said that this was over, though the
    storm that covered it goes on.
    """
    links = board.select(
        link="alert_id",
        next=pl.when("suppressed").then("suppressed_by"),
        closed_at=pl.when(is_closed()).then("resolved_at"),
    )
    walked = events.with_columns(link="suppressed_by", root="suppressed_by", gone=pl.lit(value=False))
    for _ in range(_DEEP):
        silent = pl.col("next").str.starts_with(MUTE).fill_null(value=False)
        over = (pl.col("closed_at") < pl.col("alert_created_at")).fill_null(value=False)
        walked = walked.join(links, on="link", how="left", maintain_order="left").with_columns(
            gone=pl.col("gone") | over | silent,
            root=pl.when(silent).then("root").otherwise(pl.coalesce("next", "root")),
            link=pl.col("next"),
        )
        walked = walked.drop("next", "closed_at")
        if walked["link"].is_null().all():
            break
    return walked.filter("gone")


def _audible(events: pl.DataFrame, mutes: pl.DataFrame | None, now: datetime) -> pl.DataFrame:
    if mutes is None or mutes.is_empty() or events.is_empty():
        return events
    asked = events.with_columns(moment=pl.lit(now, dtype=TS))
    under = muted(asked, mutes)["mute_id"]
    return events.filter(under.is_null())


def _own(board: pl.DataFrame) -> pl.DataFrame:
    """Of each device and rule the alert that stands, and when one was last closed."""
    told = board.filter(~pl.col("suppressed") & pl.col("rule").is_not_null()).sort("alert_created_at", "alert_id")
    return told.group_by(_SAME).agg(
        own_standing=pl.col("alert_id").filter(is_standing()).first(),
        own_closed_at=pl.col("resolved_at").filter(is_closed()).max(),
    )


def _as_one(told: pl.DataFrame, board: pl.DataFrame) -> pl.DataFrame:
    """A storm that was closed and is back is one incident, not as many alerts as it has devices."""
    there = board.filter(is_standing()).group_by(root="incident_id").agg(there=pl.len())
    counted = told.join(there.drop_nulls(), on="root", how="left", maintain_order="left")
    many = pl.col("device_id").n_unique().over("root") + pl.col("there").fill_null(0) > LEAST
    return counted.with_columns(incident_id=pl.when(many).then("root"))


def _told(first: pl.DataFrame, now: datetime) -> pl.DataFrame:
    # Nobody could take it while it was silent: its time begins now.
    rows = first.with_columns(alert_created_at=pl.lit(now, dtype=TS)).select(
        "alert_id", "incident_id", changed_at="alert_created_at", suppressed=pl.lit(value=False),
        sla_deadline=deadline(), note=pl.lit("it is back: the alert that it was taken to repeat no longer stands"),
    )  # fmt: skip
    return log_rows(rows, "unmuted", BATCH, "back")


def _moved(events: pl.DataFrame, now: datetime) -> pl.DataFrame:
    rows = events.select(
        "alert_id", changed_at=pl.lit(now, dtype=TS), suppressed=pl.lit(value=True), suppressed_by="by"
    )
    return log_rows(rows, "grouped", BATCH, pl.col("suppressed_by"))
