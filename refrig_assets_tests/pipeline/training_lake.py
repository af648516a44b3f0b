"""A small lake with windows and trends of some days: what tests of training start from."""

from datetime import UTC, datetime, timedelta

import polars as pl

from refrig_assets.contracts import DEVICE_FEATURES, DEVICE_TRENDS, LABEL_EVENTS, MAINTENANCE_EVENTS
from refrig_assets.lake import Lake
from refrig_assets.pipeline.registry import write_registry
from refrig_assets.transforms.trends import TREND_INPUTS, HourOfWindows, trend_rows
from refrig_assets_tests.builders import ONE_HOUR, registry_of
from refrig_assets_tests.windows import windows, write_windows

START = datetime(2026, 3, 1, tzinfo=UTC)
DAYS = 4
END = START + timedelta(days=DAYS)
DAY = timedelta(days=1)


def names(devices: int) -> list[str]:
    return [f"dev-{n:03d}" for n in range(devices)]


def plant(lake: Lake, devices: int = 12, days: int = DAYS, frame: pl.DataFrame | None = None) -> pl.DataFrame:
    """Windows from START on, their trends, and a registry of two sites and three cohorts; returns the windows."""
    frame = windows(names(devices), START, days * 24) if frame is None else frame
    write_windows(lake, frame)
    number = pl.col("device_id").str.slice(4).cast(int)
    registry = registry_of(names(devices), install_date=START - 100 * DAY).with_columns(
        pl.format("cohort-{}", number % 3).alias("cohort_id"), pl.format("site-{}", number % 2).alias("site_id")
    )
    write_registry(lake, registry)
    make_trends(lake, days)
    return frame


def make_trends(lake: Lake, days: int = DAYS) -> None:
    """All hours in one commit; that hours made one by one are the same is tested elsewhere."""
    made = lake.table(DEVICE_FEATURES).scan().filter(pl.col("window_duration_minutes") == 60)
    held = {
        start: HourOfWindows.of(rows) for (start,), rows in made.select(TREND_INPUTS).collect().group_by("window_start")
    }
    rows = pl.concat([trend_rows(held, START + n * ONE_HOUR) for n in range(days * 24)])
    table = lake.table(DEVICE_TRENDS)
    table.replace_range(START, START + days * DAY, table.write_files(rows))


def say(lake: Lake, device: str, kind: str, at: datetime, labeled_at: datetime | None = None, **more: object) -> None:
    """A label, given when it happened unless said otherwise."""
    row = {
        "device_id": device,
        "event_timestamp": at,
        "label_type": kind,
        "label_source": "field_engineer",
        "label_confidence": 0.9,
        "labeled_at": labeled_at or at,
    } | more
    schema = {n: LABEL_EVENTS.dtypes[n] for n in row}
    lake.table(LABEL_EVENTS).append(LABEL_EVENTS.conform(pl.DataFrame([row], schema=schema)))


def repair(lake: Lake, device: str, at: datetime) -> None:
    row = {
        "event_id": f"{device}-{at:%Y%m%dT%H}",
        "device_id": device,
        "event_type": "corrective",
        "scheduled_date": at,
        "completed_date": at,
        "work_description": "repaired",
        "parts_replaced": [],
    }
    schema = {n: MAINTENANCE_EVENTS.dtypes[n] for n in row}
    lake.table(MAINTENANCE_EVENTS).append(MAINTENANCE_EVENTS.conform(pl.DataFrame([row], schema=schema)))
