"""Which windows training takes: a split in time, devices held out, and a sample spread over devices, days and hours.

Nothing here is drawn: a device's hash says which of the quarter-hours are its own, so that each device has its windows
at even distances over all days and hours of the day, and another run takes the same.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from refrig_assets.lake import HOUR
from refrig_assets.pipeline.hours import floor_hour, hours_between
from refrig_assets.pipeline.model_rows import WINDOW_MIN

# Devices held out are few and judge the tail: they are looked at more often.
_HELD_OUT_OFTENER = 4
WINDOWS_AN_HOUR = 60 // WINDOW_MIN
LONG_HISTORY = timedelta(days=28)
LONG_GAP, SHORT_GAP = timedelta(days=7), timedelta(hours=24)
SHORTEST_HISTORY = timedelta(hours=36)


class TrainingDataError(ValueError):
    """There is nothing fit to train on; the message says what is missing and what to do."""


@dataclass(frozen=True)
class Outage:
    """A stretch of time that is known to be no good, of a site or of the whole fleet."""

    start: datetime
    end: datetime
    site_id: str | None = None

    @classmethod
    def of(cls, told: Mapping[str, str]) -> "Outage":
        """From its text: {start, end, and site_id where it is one site's}."""
        unknown = sorted(set(told) - {"start", "end", "site_id"})
        if unknown or not {"start", "end"} <= set(told):
            raise TrainingDataError(f"an outage has start, end and perhaps site_id; this one is {dict(told)}")
        try:
            start, end = (datetime.fromisoformat(told[k]) for k in ("start", "end"))
        except ValueError as error:
            raise TrainingDataError(f"the outage {dict(told)} has no ISO 8601 times: {error}") from None
        start, end = (t if t.tzinfo else t.replace(tzinfo=UTC) for t in (start, end))
        if end <= start:
            raise TrainingDataError(f"the outage {dict(told)} ends before it begins")
        return cls(start, end, told.get("site_id"))


@dataclass(frozen=True)
class SampleSettings:
    """How much is taken of what. Numbers of rows are bounds."""

    history_days: int = 42
    max_rows: int = 500_000
    max_windows_read: int = 60_000_000
    """windows of the hours that are looked at: of a large fleet not every hour is"""
    validation_share: float = 0.25
    held_out_share: float = 0.10
    silent_share: float = 0.30
    """an hour in which more of a site's (or the fleet's) devices are silent is an outage"""
    outages: tuple[Outage, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        told = asdict(self)
        return {**told, "outages": [{k: str(v) if v else None for k, v in o.items()} for o in told["outages"]]}


@dataclass(frozen=True)
class Spans:
    """The split in time: train is [start, train_end), then a gap, validation is [validation_start, end)."""

    start: datetime
    train_end: datetime
    validation_start: datetime
    end: datetime

    @classmethod
    def of(cls, start: datetime, end: datetime, validation_share: float) -> "Spans":
        """The last share of the time for validation; the gap is a week where there are four, else a day."""
        length = end - start
        if length < SHORTEST_HISTORY:
            raise TrainingDataError(
                f"there are features of {length / HOUR:g} hours, from {start:%Y-%m-%d %H}:00 on; training needs at "
                f"least {SHORTEST_HISTORY / HOUR:g}: time to learn from, a day's gap, and time to judge on"
            )
        gap = LONG_GAP if length >= LONG_HISTORY else SHORT_GAP
        validation = floor_hour(end - validation_share * length)
        return cls(start, validation - gap, validation, end)

    def train_hours(self) -> list[datetime]:
        return list(hours_between(self.start, self.train_end))

    def validation_hours(self) -> list[datetime]:
        return list(hours_between(self.validation_start, self.end))


@dataclass(frozen=True)
class Sample:
    """The hours looked at with their numbers, and every how manieth quarter-hour is a device's own."""

    hours: tuple[tuple[datetime, int], ...]
    stride: int
    held_out_stride: int

    @classmethod
    def plan(cls, spans: Spans, devices: int, settings: SampleSettings) -> "Sample":
        hours = [*spans.train_hours(), *spans.validation_hours()]
        windows = max(devices, 1) * WINDOWS_AN_HOUR
        every = _stride(len(hours) * windows / settings.max_windows_read, 24, 3)
        chosen = [h for h in hours if int(h.timestamp()) // 3600 % every == 0]
        later = sum(h >= spans.validation_start for h in chosen) / max(len(chosen), 1)
        taken = 1 - settings.held_out_share + settings.held_out_share * later * _HELD_OUT_OFTENER
        stride = _stride(len(chosen) * windows * taken / settings.max_rows, 24 * WINDOWS_AN_HOUR, 6)
        return cls(tuple((h, n) for n, h in enumerate(chosen)), stride, math.ceil(stride / _HELD_OUT_OFTENER))


def _stride(needed: float, cycle: int, most_in_common: int) -> int:
    """The least step of at least that size that does not always meet the same few hours of the day."""
    step = max(1, math.ceil(needed))
    while step > 1 and math.gcd(step, cycle) > most_in_common:
        step += 1
    return step


def device_table(registry: pl.DataFrame, held_out_share: float) -> pl.DataFrame:
    """The registry's devices with site, interval, phase (for the stride) and whether they are held out."""
    known = registry.select("device_id", "site_id", "expected_interval_s").sort("device_id")
    digests = [hashlib.blake2b(d.encode(), digest_size=16).digest() for d in known["device_id"]]
    phase = [int.from_bytes(d[:4], "big") for d in digests]
    part = [int.from_bytes(d[8:12], "big") / 2**32 for d in digests]
    return known.with_columns(
        pl.Series("phase", phase, dtype=pl.Int64), pl.Series("held_out", [p < held_out_share for p in part])
    )


def chosen_windows(
    devices: pl.DataFrame, hour: datetime, number: int, sample: Sample, validation: bool
) -> dict[datetime, pl.Series]:
    """For each window of the hour the devices whose own it is. Held-out devices are seen in validation time only."""
    phase, held_out = devices["phase"].to_numpy(), devices["held_out"].to_numpy()
    found = {}
    for quarter in range(WINDOWS_AN_HOUR):
        slot = number * WINDOWS_AN_HOUR + quarter
        mine = ((slot + phase) % sample.stride == 0) & ~held_out
        if validation:
            mine |= ((slot + phase) % sample.held_out_stride == 0) & held_out
        found[hour + quarter * timedelta(minutes=WINDOW_MIN)] = devices["device_id"].filter(pl.Series(mine))
    return found


def outages_of(heard: pl.DataFrame, settings: SampleSettings) -> pl.DataFrame:
    """Hours in which too many were silent: (hour, site_id), where a null site is the whole fleet.

    `heard` counts devices by hour and site. What is usual is the median over the hours; a site with none heard in an
    hour has no rows to leave out.
    """
    fleet = heard.group_by("hour").agg(pl.col("devices").sum()).with_columns(site_id=pl.lit(None, dtype=pl.String))
    counts = pl.concat([heard.select("hour", "site_id", "devices"), fleet.select("hour", "site_id", "devices")])
    usual = pl.col("devices").median().over("site_id")
    least = (1 - settings.silent_share) * usual
    return counts.filter(pl.col("devices") < least).select("hour", "site_id").sort("hour", "site_id")


def in_outage(rows: pl.DataFrame, found: pl.DataFrame, declared: Sequence[Outage]) -> pl.Series:
    """Which rows (device_id, site_id, window_start) lie in an outage, seen or declared."""
    hour = pl.col("window_start").dt.truncate("1h")
    fleet = found.filter(pl.col("site_id").is_null())["hour"]
    keys = rows.select(hour.alias("hour"), "site_id", "window_start", bad=hour.is_in(fleet.implode()))
    sites = found.drop_nulls("site_id").with_columns(silent=pl.lit(True))
    bad = keys.join(sites, on=["hour", "site_id"], how="left", maintain_order="left").select(
        pl.col("bad") | pl.col("silent").fill_null(False)
    )["bad"]
    for outage in declared:
        inside = (rows["window_start"] >= outage.start) & (rows["window_start"] < outage.end)
        here = rows["site_id"] == outage.site_id if outage.site_id is not None else pl.Series([True])
        bad = bad | (inside & here.fill_null(False))
    return bad
