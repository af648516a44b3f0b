"""What waits to be made: landing files not yet landed, hours whose input changed. Reads; never writes."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from refrig_assets.contracts.bookkeeping import LANDING_LOG
from refrig_assets.lake import Lake
from refrig_assets.pipeline.features import DAILY_ACCOUNT
from refrig_assets.pipeline.hours import (
    EVENT_HOUR,
    SOURCE_HOUR,
    read_accounts,
    stale_clean_hours,
    stale_feature_hours,
)
from refrig_assets.pipeline.sources import landing_files, landing_hours

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
            settled = now.timestamp() - stat.st_mtime >= settle.total_seconds()
            if settled and (path.relative_to(landing).as_posix(), stat.st_size) not in known:
                new.append(f"{path.name}:{stat.st_size}")
        if new:
            found[hour] = ", ".join(new)
    return Waiting(found)


def stale(lake: Lake, now: datetime) -> tuple[Waiting, Waiting]:
    """Clean hours and feature hours of the last week whose input changed since they were made."""
    accounts = read_accounts(lake, now - LOOK_BACK, now + timedelta(hours=1))
    return Waiting(stale_clean_hours(accounts)), Waiting(stale_feature_hours(accounts))


def stale_days(lake: Lake, now: datetime) -> Waiting:
    """Feature days that used other clean rows than clean holds for them now."""
    accounts = read_accounts(lake, now - LOOK_BACK, now + timedelta(hours=1))
    day = pl.col("other_hour").dt.truncate("1d")
    held = accounts.filter(pl.col("account") == EVENT_HOUR).group_by(day.alias("day")).agg(pl.col("rows").sum())
    used = accounts.filter((pl.col("table") == DAILY_ACCOUNT) & (pl.col("account") == SOURCE_HOUR))
    used = used.group_by(pl.col("hour").alias("day")).agg(pl.col("rows").sum().alias("used"))
    differing = used.join(held, on="day").filter(pl.col("rows") != pl.col("used")).sort("day")
    return Waiting({d: f"{n:,} clean rows, {u:,} when it was made" for d, u, n in differing.iter_rows()})
