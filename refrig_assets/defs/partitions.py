"""Partitions: hours and days in UTC, the running one included."""

import os
from datetime import datetime, timedelta

import dagster as dg

# The first day anything can have arrived; a plant with older history sets it before its first import.
FIRST_DAY = os.environ.get("REFRIG_FIRST_DAY", "2026-01-01")
HOUR_FORMAT = "%Y-%m-%d-%H:00"
DAY_FORMAT = "%Y-%m-%d"

# end_offset=1: the running hour (day) is a partition that can be refreshed while it fills.
hourly = dg.HourlyPartitionsDefinition(start_date=f"{FIRST_DAY}-00:00", timezone="UTC", end_offset=1)
daily = dg.DailyPartitionsDefinition(start_date=FIRST_DAY, timezone="UTC", end_offset=1)


def hour_key(hour: datetime) -> str:
    return hour.strftime(HOUR_FORMAT)


def day_key(day: datetime) -> str:
    return day.strftime(DAY_FORMAT)


def partition_starts(context: dg.AssetExecutionContext) -> list[datetime]:
    """The starts of the run's partitions, in order: one hour, or a whole range in one run."""
    window = context.partition_time_window
    step = timedelta(days=1) if context.assets_def.partitions_def is daily else timedelta(hours=1)
    start, end = window.start, window.end
    return [start + i * step for i in range(int((end - start) / step))]


def ranges(starts: list[datetime], step: timedelta = timedelta(hours=1)) -> list[tuple[datetime, datetime]]:
    """Neighbouring partitions joined: (first, last) of each range."""
    found: list[tuple[datetime, datetime]] = []
    for start in sorted(starts):
        if found and start - found[-1][1] == step:
            found[-1] = (found[-1][0], start)
        else:
            found.append((start, start))
    return found
