"""What waits to be made: landing files not yet landed, hours whose input changed. Reads; never writes."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from refrig_assets.contracts.bookkeeping import LANDING_LOG
from refrig_assets.contracts.readings import CLEAN_READINGS, CLOCK_DRIFT_LIMIT
from refrig_assets.lake import HOUR, Lake
from refrig_assets.pipeline.features import DAILY_ACCOUNT
from refrig_assets.pipeline.hours import (
    EVENT_HOUR,
    EVENT_MARK,
    SOURCE_HOUR,
    SOURCE_MARK,
    floor_hour,
    read_accounts,
    stale_clean_hours,
    stale_feature_hours,
)
from refrig_assets.pipeline.sources import landing_files, landing_hours
from refrig_assets.pipeline.trends import stale_trend_hours

# Duplicates and late rows reach a week back; so does what they make stale.
LOOK_BACK = timedelta(days=8)


@dataclass(frozen=True)
class Waiting:
    """Hours that wait for the same reason, with a mark that changes when what waits changes."""

    hours: dict[datetime, str]

    def mark(self, hours: list[datetime]) -> str:
        told = "|".join(f"{h.isoformat()}={self.hours[h]}" for h in sorted(hours))
        return hashlib.sha256(told.encode()).hexdigest()[:16]


def unlanded(lake: Lake, landing: Path, now: datetime, settle: timedelta) -> Waiting:
    """Landing hours with files that the log does not know at their present size."""
    hours = [h for h in landing_hours(landing) if h <= now]
    if not hours:
        return Waiting({})
    log = lake.table(LANDING_LOG).scan(min(hours), max(hours) + timedelta(hours=1)).select("path", "bytes").collect()
    known = set(log.iter_rows())
    found: dict[datetime, str] = {}
    for hour in hours:
        new = []
        for path in landing_files(landing, hour):
            try:
                stat = path.stat()
            except FileNotFoundError:
                continue
            fresh = 0 <= now.timestamp() - stat.st_mtime < settle.total_seconds()
            if not fresh and (path.relative_to(landing).as_posix(), stat.st_size) not in known:
                new.append(f"{path.name}:{stat.st_size}")
        if new:
            found[hour] = ", ".join(new)
    return Waiting(found)


def stale(lake: Lake, now: datetime) -> tuple[Waiting, Waiting]:
    """Clean hours and feature hours of the last week whose input changed since they were made.

    Not the features of the running hour: some of its windows are still open, and it is made again anyway.
    """
    accounts = _accounts(lake, now)
    since, closed = now - LOOK_BACK, floor_hour(now)
    clean = {hour: why for hour, why in stale_clean_hours(accounts).items() if since <= hour <= now}
    features = {hour: why for hour, why in stale_feature_hours(accounts).items() if since <= hour < closed}
    return Waiting(clean), Waiting(features)


def stale_trends(lake: Lake, now: datetime) -> Waiting:
    """Settled trend hours whose windows were made again since."""
    return Waiting(stale_trend_hours(lake, now))


def stale_days(lake: Lake, now: datetime) -> Waiting:
    """Feature days that used other clean rows than clean holds for them now."""
    accounts = _accounts(lake, now)
    made = accounts.filter((pl.col("table") == DAILY_ACCOUNT) & (pl.col("hour") >= now - LOOK_BACK))
    days = made.select(day="hour").unique()
    for account, name in ((SOURCE_HOUR, "used"), (SOURCE_MARK, "used_mark")):
        used = made.filter(pl.col("account") == account).group_by(day="hour").agg(pl.col("rows").sum().alias(name))
        days = days.join(used, on="day", how="left")
    clean = accounts.filter(pl.col("table") == CLEAN_READINGS.name)
    for account, name in ((EVENT_HOUR, "held"), (EVENT_MARK, "held_mark")):
        held = clean.filter(pl.col("account") == account).group_by(day=pl.col("other_hour").dt.truncate("1d"))
        days = days.join(held.agg(pl.col("rows").sum().alias(name)), on="day", how="left")
    days = days.with_columns(pl.exclude("day").fill_null(0)).sort("day")
    differing = days.filter((pl.col("held") != pl.col("used")) | (pl.col("held_mark") != pl.col("used_mark")))
    return Waiting(
        {
            day: f"{held:,} clean rows, {used if used != held else 'others'} when it was made"
            for day, held, used in differing.select("day", "held", "used").iter_rows()
        }
    )


def _accounts(lake: Lake, now: datetime) -> pl.DataFrame:
    """The accounts that tell of the last week, with those of the hours before it in which its first rows came early."""
    return read_accounts(lake, now - LOOK_BACK - CLOCK_DRIFT_LIMIT - HOUR, now + HOUR)
