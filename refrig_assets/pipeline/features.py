"""Feature hours and feature days: clean rows in, windows of features out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise

import polars as pl

from refrig_assets.contracts.features import DAILY_WINDOW_MIN, DEVICE_FEATURES, HOURLY_WINDOWS_MIN
from refrig_assets.contracts.readings import CLEAN_READINGS
from refrig_assets.contracts.registry import DEVICE_REGISTRY
from refrig_assets.lake import HOUR, DataFile, Lake, TableFile
from refrig_assets.pipeline.ahead import ahead
from refrig_assets.pipeline.hours import ROWS_MARK, SOURCE_HOUR, SOURCE_MARK, HourAccount, together, write_many_accounts
from refrig_assets.pipeline.stopwatch import Stopwatch
from refrig_assets.transforms.devices import device_codes
from refrig_assets.transforms.features import FEATURE_INPUTS, in_order, window_features, window_start

_NEEDED = [*FEATURE_INPUTS, "timestamp_ingested"]
DAILY_ACCOUNT = "device_features_daily"
# A day of a large fleet does not fit in memory at once; this many rows of it do.
_ROWS_AT_ONCE = 8_000_000


@dataclass
class FeatureReport:
    start: datetime
    minutes: tuple[int, ...]
    rows: int = 0
    devices: int = 0
    devices_by_window: dict[str, int] = field(default_factory=dict)
    source_rows: dict[datetime, int] = field(default_factory=dict)
    source_marks: dict[datetime, int] = field(default_factory=dict)
    bytes: int = 0
    version: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def late_rows(self) -> int:
        """Rows that arrived in another hour than they were measured in."""
        end = self.start + (timedelta(days=1) if DAILY_WINDOW_MIN in self.minutes else HOUR)
        return sum(n for h, n in self.source_rows.items() if not self.start <= h < end)


def feature_hour(lake: Lake, hour: datetime, now: datetime) -> FeatureReport:
    """Make the hour's 15- and 60-minute windows from every clean row measured in it, whenever it arrived.

    Of the running hour only the windows that have closed by now are made.
    """
    return next(feature_hours(lake, [hour], now))


def feature_hours(lake: Lake, hours: Sequence[datetime], now: datetime) -> Iterator[FeatureReport]:
    """Make windows of hours in order; neighbours that hold few rows are committed together."""
    table = lake.table(DEVICE_FEATURES)
    hourly = pl.col("window_duration_minutes").is_in(HOURLY_WINDOWS_MIN)
    for group in together(lake.table(CLEAN_READINGS), hours):
        made = [_hour_windows(lake, hour, now) for hour in group]
        watch = Stopwatch()
        files = [file for _, written in made for file in written]
        commit = table.replace_range(group[0], group[-1] + HOUR, files, keep=~hourly)
        accounts = {report.start: _account(report) for report, _ in made}
        write_many_accounts(lake, DEVICE_FEATURES.name, accounts)
        watch.lap("commit")
        for report, _ in made:
            report.version, report.seconds["commit"] = commit.version, watch.laps["commit"] / len(made)
            yield report


def _hour_windows(lake: Lake, hour: datetime, now: datetime) -> tuple[FeatureReport, list[DataFile]]:
    """The hour's windows, written but not committed yet."""
    watch = Stopwatch()
    report = FeatureReport(hour, HOURLY_WINDOWS_MIN)
    table = lake.table(DEVICE_FEATURES)
    files: list[DataFile] = []
    closed = max(hour, min(hour + HOUR, window_start(now, HOURLY_WINDOWS_MIN[0])))
    for rows in ahead(_by_device(lake, hour, closed)):
        watch.lap("read")
        _account_sources(report, rows)
        features = window_features(rows, HOURLY_WINDOWS_MIN).filter(pl.col("window_end") <= now)
        watch.lap("rules")
        _account_features(report, features)
        files += table.write_files(features, f"h{hour:%H}-{len(files):03d}")
        watch.lap("write")
    report.bytes, report.seconds = sum(f.size for f in files), watch.laps
    return report, files


def feature_day(lake: Lake, day: datetime) -> FeatureReport:
    """Make the day's 1,440-minute windows, a share of the devices at a time."""
    watch = Stopwatch()
    report = FeatureReport(day, (DAILY_WINDOW_MIN,))
    table = lake.table(DEVICE_FEATURES)
    files: list[DataFile] = []
    for rows in _by_range(lake, day, day + timedelta(days=1)):
        watch.lap("read")
        _account_sources(report, rows)
        features = window_features(rows, (DAILY_WINDOW_MIN,))
        watch.lap("rules")
        _account_features(report, features)
        files += table.write_files(features, f"day-{len(files):03d}")
        watch.lap("write")
    commit = table.replace_range(day, day + HOUR, files, keep=pl.col("window_duration_minutes") != DAILY_WINDOW_MIN)
    report.bytes, report.version = commit.bytes, commit.version
    write_many_accounts(lake, DAILY_ACCOUNT, {day: _account(report)})
    watch.lap("write")
    report.seconds = watch.laps
    return report


def _by_device(lake: Lake, start: datetime, end: datetime) -> Iterator[pl.DataFrame]:
    """Rows measured in [start, end), some devices at a time, each with all of its rows.

    Files of rows that arrived when they were measured lie by device and are read one after the other; the few rows
    that arrived in other hours, or share a file with such, are read once and go with the file of their device.
    """
    table = lake.table(CLEAN_READINGS)
    by_arrival = {f.path for f in table.files(start=start, end=end) if f.lies_within(start, end)}
    files = table.files(start=start, end=end, column="timestamp_utc")
    on_time = [f for f in files if f.path in by_arrival and f.lies_within(start, end) and f.first_device is not None]
    paths = {f.path for f in on_time}
    others = _rows(table.scan_files([f for f in files if f.path not in paths]), start, end)
    for group in _device_groups(on_time):
        last = max(f.last_device or "" for f in group)
        rows = table.scan_files(group).select(_NEEDED).collect(engine="in-memory")
        mine = others.filter(pl.col("device_id") <= last)
        others = others.filter(pl.col("device_id") > last)
        # Only the devices that have others are sorted; the rest of the rows lie in order already.
        touched = device_codes(rows["device_id"], mine["device_id"].unique().sort()).is_not_null()
        yield rows.filter(~touched) if touched.any() else rows
        if mine.height:
            yield in_order(pl.concat([rows.filter(touched), mine]))
    if others.height:
        yield others


def _device_groups(files: list[TableFile]) -> list[list[TableFile]]:
    """Files in the order of their devices, those that share a device together."""
    groups: list[list[TableFile]] = []
    reached = ""
    for file in sorted(files, key=lambda f: (f.first_device or "", f.path)):
        if groups and (file.first_device or "") <= reached:
            groups[-1].append(file)
        else:
            groups.append([file])
        reached = max(reached, file.last_device or "")
    return groups


def _by_range(lake: Lake, start: datetime, end: datetime) -> Iterator[pl.DataFrame]:
    """Rows measured in [start, end), a range of devices at a time."""
    table = lake.table(CLEAN_READINGS)
    for first, before in _device_ranges(lake):
        rows = table.scan(start, end, column="timestamp_utc")
        if first is not None:
            rows = rows.filter(pl.col("device_id") >= pl.lit(first))
        if before is not None:
            rows = rows.filter(pl.col("device_id") < pl.lit(before))
        yield _rows(rows, start, end)


def _rows(rows: pl.LazyFrame, start: datetime, end: datetime) -> pl.DataFrame:
    measured = pl.col("timestamp_utc").is_between(start, end, closed="left")
    return rows.filter(measured).select(_NEEDED).collect(engine="in-memory")


def _account_sources(report: FeatureReport, *frames: pl.DataFrame) -> None:
    """Which clean hours the rows came from, added to what the report says already."""
    for frame in frames:
        arrived = frame.group_by(pl.col("timestamp_ingested").dt.truncate("1h")).agg(pl.len(), ROWS_MARK.alias("mark"))
        for hour, rows, mark in arrived.sort("timestamp_ingested").iter_rows():
            report.source_rows[hour] = report.source_rows.get(hour, 0) + rows
            report.source_marks[hour] = report.source_marks.get(hour, 0) + mark


def _account(report: FeatureReport) -> HourAccount:
    return HourAccount({"rows": report.rows}, {SOURCE_HOUR: report.source_rows, SOURCE_MARK: report.source_marks})


def _account_features(report: FeatureReport, features: pl.DataFrame) -> None:
    report.rows += features.height
    report.devices += features["device_id"].n_unique()
    windows = (
        features.group_by("window_duration_minutes", "window_start")
        .len()
        .sort("window_duration_minutes", "window_start")
    )
    for minutes, start, devices in windows.iter_rows():
        name = f"{start:%H:%M}/{minutes}"
        report.devices_by_window[name] = report.devices_by_window.get(name, 0) + devices


def _device_ranges(lake: Lake) -> list[tuple[str | None, str | None]]:
    """Ranges [first, before) of device ids, open at the ends, each with about as many rows a day as fit in memory."""
    devices = lake.table(DEVICE_REGISTRY).read().select("device_id", "expected_interval_s").sort("device_id")
    rows = (86_400 / devices["expected_interval_s"]).cum_sum()
    parts = (rows / _ROWS_AT_ONCE).floor().cast(pl.Int64)
    firsts = devices.filter(parts != parts.shift(1))["device_id"].to_list()
    bounds: list[str | None] = [None, *firsts, None]
    return list(pairwise(bounds))
