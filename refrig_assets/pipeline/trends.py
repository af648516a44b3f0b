"""Trend hours: the 60-minute windows of the day before in, one row a device out. A range slides its look-back."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import polars as pl

from refrig_assets.contracts.features import DEVICE_FEATURES
from refrig_assets.contracts.modelling import MAINTENANCE_EVENTS
from refrig_assets.contracts.trends import CHANGE_H, DEVICE_TRENDS, HORIZONS_H
from refrig_assets.lake import HOUR, Lake
from refrig_assets.pipeline.hours import (
    HOURS_AT_ONCE,
    SOURCE_HOUR,
    SOURCE_MARK,
    HourAccount,
    floor_hour,
    neighbours,
    read_accounts,
    together,
    write_many_accounts,
)
from refrig_assets.pipeline.stopwatch import Stopwatch
from refrig_assets.transforms.trends import CHANGE_INPUTS, LOOK_BACK_H, TREND_INPUTS, HourOfWindows, trend_rows

LOOK_BACK = timedelta(hours=LOOK_BACK_H)
WINDOW_MIN = 60
# Account: repairs that bore on the hour, as known when it was made.
REPAIRS = "repairs"
_REPAIRS_MATTER = timedelta(hours=CHANGE_H + min(HORIZONS_H))
# Hours this young may still get late rows; their trends are not made again until they have settled.
SETTLES_IN = timedelta(hours=6)
# Made anew as late rows come in, the day's trends would be made again each hour for a week.
REMADE_WITHIN = timedelta(days=8)


@dataclass
class TrendReport:
    hour: datetime
    rows: int = 0
    hours_read: int = 0
    unchanged: bool = False
    bytes: int = 0
    version: int = 0
    seconds: dict[str, float] = field(default_factory=dict)


def trend_hour(lake: Lake, hour: datetime, now: datetime) -> TrendReport:
    """Make the hour's trends from the windows of the day before it."""
    return next(trend_hours(lake, [hour], now))


def trend_hours(
    lake: Lake, hours: Sequence[datetime], now: datetime, at_once: int = HOURS_AT_ONCE
) -> Iterator[TrendReport]:
    """Make the trends of several hours in order; each hour of windows is read once.

    An hour whose windows are the same as when it was made is left alone. Windows still open by `now` do not exist.
    Up to so many hours at once are committed together: one at a time is for who makes windows in between.
    """
    held: dict[datetime, HourOfWindows] = {}
    repairs = _repairs(lake)
    for group in together(lake.table(DEVICE_FEATURES), sorted(hours), min(at_once, CHANGE_H)):
        accounts = read_accounts(lake, group[0] - LOOK_BACK, group[-1] + HOUR)
        made = [_make(lake, hour, now, held, repairs, accounts) for hour in group]
        _commit(lake, [one for one in made if not one.report.unchanged])
        yield from (one.report for one in made)


@dataclass
class _Made:
    """An hour's trends, not written yet, and what they were made from."""

    report: TrendReport
    rows: pl.DataFrame
    account: HourAccount


def _make(
    lake: Lake,
    hour: datetime,
    now: datetime,
    held: dict[datetime, HourOfWindows],
    repairs: pl.DataFrame,
    accounts: pl.DataFrame,
) -> _Made:
    report, watch = TrendReport(hour), Stopwatch()
    mattering = repairs.filter(pl.col("completed_date").is_between(hour - _REPAIRS_MATTER, hour))
    sources = _sources(accounts, hour)
    if _is_current(accounts, hour, sources, mattering.height):
        report.unchanged = True
        report.rows = _rows_of(lake, hour)
        report.version = lake.table(DEVICE_TRENDS).version
        return _Made(report, DEVICE_TRENDS.empty(), HourAccount({}))
    for past in [h for h in held if not hour - LOOK_BACK <= h < hour]:
        del held[past]
    report.hours_read = _read(lake, hour, now, held)
    watch.lap("read")
    rows = trend_rows(held, hour, _earlier(lake, hour), mattering)
    watch.lap("rules")
    report.rows, report.seconds = rows.height, watch.laps
    return _Made(report, rows, HourAccount({"rows": rows.height, REPAIRS: mattering.height}, sources))


def stale_trend_hours(lake: Lake, now: datetime) -> dict[datetime, str]:
    """Settled trend hours whose windows have been made again since, with why."""
    since = floor_hour(now - REMADE_WITHIN)
    accounts = read_accounts(lake, since - LOOK_BACK, now + HOUR)
    held = _marks(accounts.filter(pl.col("table") == DEVICE_FEATURES.name))
    used = accounts.filter(
        (pl.col("table") == DEVICE_TRENDS.name)
        & pl.col("account").is_in([SOURCE_HOUR, SOURCE_MARK])
        & (pl.col("hour") >= since)
        & (pl.col("hour") + SETTLES_IN <= now)
    )
    wanted = used.select("hour").unique().join(pl.DataFrame({"back": range(1, LOOK_BACK_H + 1)}), how="cross")
    now_held = wanted.select("hour", other_hour=pl.col("hour") - pl.duration(hours="back")).join(
        held, left_on="other_hour", right_on="source", how="inner"
    )
    differing = now_held.join(used, on=["hour", "other_hour", "account"], how="full", suffix="_used", coalesce=True)
    changed = differing.filter(pl.col("rows").fill_null(0) != pl.col("rows_used").fill_null(0))
    hours = changed.group_by("hour").agg(pl.col("other_hour").n_unique()).sort("hour")
    return {hour: f"{n} of the {LOOK_BACK_H} hours before were made again" for hour, n in hours.iter_rows()}


def _read(lake: Lake, hour: datetime, now: datetime, held: dict[datetime, HourOfWindows]) -> int:
    """Complete the look-back with the hours that are not held yet; returns how many were read."""
    missing = [h for h in (hour - n * HOUR for n in range(LOOK_BACK_H, 0, -1)) if h not in held]
    table = lake.table(DEVICE_FEATURES)
    for one in missing:
        rows = table.scan(one, one + HOUR).filter(
            (pl.col("window_duration_minutes") == WINDOW_MIN) & (pl.col("window_end") <= now)
        )
        held[one] = HourOfWindows.of(rows.select(TREND_INPUTS).collect(engine="in-memory"))
    return len(missing)


def _earlier(lake: Lake, hour: datetime) -> pl.DataFrame:
    then = hour - timedelta(hours=CHANGE_H)
    columns = ["device_id", *CHANGE_INPUTS]
    return lake.table(DEVICE_TRENDS).scan(then, then + HOUR).select(columns).collect(engine="in-memory")


def _repairs(lake: Lake) -> pl.DataFrame:
    events = lake.table(MAINTENANCE_EVENTS).scan().filter(pl.col("completed_date").is_not_null())
    return events.select("device_id", "completed_date").collect(engine="in-memory")


def _commit(lake: Lake, made: list[_Made]) -> None:
    table, by_hour = lake.table(DEVICE_TRENDS), {one.report.hour: one for one in made}
    for group in neighbours(list(by_hour)):
        watch = Stopwatch()
        files = {hour: table.write_files(by_hour[hour].rows, f"h{hour:%H}") for hour in group}
        commit = table.replace_range(group[0], group[-1] + HOUR, [f for written in files.values() for f in written])
        write_many_accounts(lake, DEVICE_TRENDS.name, {hour: by_hour[hour].account for hour in group})
        watch.lap("write")
        for hour in group:
            report = by_hour[hour].report
            report.bytes, report.version = sum(f.size for f in files[hour]), commit.version
            report.seconds["write"] = watch.laps["write"] / len(group)


def _sources(accounts: pl.DataFrame, hour: datetime) -> dict[str, dict[datetime, int]]:
    """What features say of the clean rows behind the hours before: what shows that an hour was made again.

    Read before the windows: an hour made again in between is seen as stale, never as current.
    """
    before = (pl.col("hour") >= hour - LOOK_BACK) & (pl.col("hour") < hour)
    held = _marks(accounts.filter((pl.col("table") == DEVICE_FEATURES.name) & before))
    found: dict[str, dict[datetime, int]] = {SOURCE_HOUR: {}, SOURCE_MARK: {}}
    for source, account, rows in held.iter_rows():
        found[account][source] = rows
    return found


def _marks(accounts: pl.DataFrame) -> pl.DataFrame:
    """By hour of features and account, the rows (or their mark) the hour was made from."""
    of_sources = accounts.filter(pl.col("account").is_in([SOURCE_HOUR, SOURCE_MARK]))
    summed = of_sources.group_by(source="hour", account="account").agg(pl.col("rows").sum())
    return summed.sort("source", "account")


def _is_current(accounts: pl.DataFrame, hour: datetime, sources: dict[str, dict[datetime, int]], repairs: int) -> bool:
    made = accounts.filter((pl.col("table") == DEVICE_TRENDS.name) & (pl.col("hour") == hour))
    told: dict[str, dict[datetime, int]] = {SOURCE_HOUR: {}, SOURCE_MARK: {}}
    for account, other, rows in made.drop_nulls("other_hour").select("account", "other_hour", "rows").iter_rows():
        told[account][other] = rows
    known = made.filter(pl.col("account") == REPAIRS)["rows"].sum()
    return any(told.values()) and told == sources and known == repairs


def _rows_of(lake: Lake, hour: datetime) -> int:
    return int(lake.table(DEVICE_TRENDS).scan(hour, hour + HOUR).select(pl.len()).collect().item())
