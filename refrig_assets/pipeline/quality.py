"""Counting what the tables hold: a day's quality row, and an hour's accounts as the tables themselves tell them."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta

import polars as pl

from refrig_assets.contracts.bookkeeping import DATA_QUALITY_DAILY, DEVICE_HOURS, LANDING_LOG
from refrig_assets.contracts.readings import (
    CLEAN_READINGS,
    DEAD_LETTER,
    QUALITY_FLAGS,
    QUARANTINE_READINGS,
    RAW_READINGS,
)
from refrig_assets.contracts.registry import DEVICE_REGISTRY
from refrig_assets.contracts.sensors import SENSOR_NAMES
from refrig_assets.lake import HOUR, Lake
from refrig_assets.pipeline.hours import EVENT_HOUR, read_accounts


def counted_accounts(lake: Lake, hour: datetime) -> dict[str, int]:
    """The hour's rows as counted in the tables; duplicates are what clean says it removed."""
    return counted_hours(lake, [hour])[hour]


def counted_hours(lake: Lake, hours: Sequence[datetime]) -> dict[datetime, dict[str, int]]:
    """The same of each of the hours, what clean says being read once."""
    if not hours:
        return {}
    said = read_accounts(lake, min(hours), max(hours) + HOUR).filter(
        (pl.col("table") == CLEAN_READINGS.name) & (pl.col("account") == "duplicate")
    )
    duplicates = dict(said.group_by("hour").agg(pl.col("rows").sum()).iter_rows())
    return {hour: {**_counted(lake, hour), "duplicate": int(duplicates.get(hour, 0))} for hour in hours}


def _counted(lake: Lake, hour: datetime) -> dict[str, int]:
    end = hour + HOUR
    silent = lake.table(DEAD_LETTER).scan(hour, end).filter(pl.col("stage") == "clean")
    return {
        "raw": _count(lake.table(RAW_READINGS).scan(hour, end)),
        "clean": _count(lake.table(CLEAN_READINGS).scan(hour, end)),
        "quarantined": _count(lake.table(QUARANTINE_READINGS).scan(hour, end)),
        "dead_letter": _count(silent),
    }


def active_devices(registry: pl.DataFrame) -> pl.DataFrame:
    return registry.filter(pl.col("status") == "active")


def quality_day(lake: Lake, day: datetime) -> pl.DataFrame:
    """The day's row of data_quality_daily."""
    end = day + timedelta(days=1)
    accounts = read_accounts(lake, day, end).filter(pl.col("table") == CLEAN_READINGS.name)
    by_account = dict(accounts.group_by("account").agg(pl.col("rows").sum()).iter_rows())
    late = accounts.filter((pl.col("account") == EVENT_HOUR) & (pl.col("other_hour") != pl.col("hour")))["rows"].sum()
    log = lake.table(LANDING_LOG).read(day, end)
    devices = lake.table(DEVICE_HOURS).scan(day, end).select(pl.col("device_id").n_unique()).collect().item()
    active = active_devices(lake.table(DEVICE_REGISTRY).read())
    expected = float((86_400 / active["expected_interval_s"]).sum())
    clean_rows = by_account.get("clean", 0)
    dead = _count(lake.table(DEAD_LETTER).scan(day, end))
    raw_rows = _count(lake.table(RAW_READINGS).scan(day, end))
    messages = int(log["messages"].sum())
    sent = max(messages, raw_rows + dead - by_account.get("dead_letter", 0))
    landed = sum(int(log[c].sum()) for c in ("rows_landed", "messages_joined")) if messages else raw_rows
    row = {
        "day": day.date() if isinstance(day, datetime) else date.fromisoformat(str(day)),
        "messages": messages,
        "raw_rows": raw_rows,
        "clean_rows": clean_rows,
        "duplicate_rows": by_account.get("duplicate", 0),
        "quarantined_rows": by_account.get("quarantined", 0),
        "dead_letters": dead,
        "late_rows": int(late or 0),
        "landed_fraction": min(landed / sent, 1.0) if sent else 1.0,
        "devices_reporting": int(devices),
        "devices_active": active.height,
        "completeness": clean_rows / expected if expected else 1.0,
        "hours_present": accounts.filter((pl.col("account") == "clean") & (pl.col("rows") > 0)).height,
        **{f"flag_{f.lower()}": by_account.get(f"flag:{f}", 0) for f in QUALITY_FLAGS},
        **{f"null_rate_{s}": rate for s, rate in _null_rates(lake, day, end).items()},
    }
    return DATA_QUALITY_DAILY.conform(pl.DataFrame([row]))


def write_quality_day(lake: Lake, day: datetime) -> pl.DataFrame:
    """Put the day's row in the place of the one before."""
    row = quality_day(lake, day)
    table = lake.table(DATA_QUALITY_DAILY)
    others = table.read().filter(pl.col("day") != row["day"][0])
    table.replace_all(pl.concat([others, row]).sort("day"))
    return row


def _null_rates(lake: Lake, start: datetime, end: datetime) -> dict[str, float]:
    nulls = (
        lake.table(CLEAN_READINGS)
        .scan(start, end)
        .select(pl.len().alias("rows"), *(pl.col(s).is_null().sum() for s in SENSOR_NAMES))
        .collect()
        .row(0, named=True)
    )
    return {s: nulls[s] / nulls["rows"] if nulls["rows"] else 0.0 for s in SENSOR_NAMES}


def _count(rows: pl.LazyFrame) -> int:
    return int(rows.select(pl.len()).collect().item())
