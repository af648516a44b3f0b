"""Mutes: when devices and sites are under maintenance, once or again each day or week. No I/O; moments are given."""

import json
import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from refrig_assets.contracts.base import STR, TS
from refrig_assets.contracts.operations import ALERT_MUTES, REPEATS

PERIODS: Mapping[str, timedelta] = {"daily": timedelta(days=1), "weekly": timedelta(days=7)}
_NAMESPACE = uuid.UUID("0f7d4f2e-52a5-5a53-8f5c-6f3c5b0f6d11")
_WHAT = ("device_id", "site_id", "starts_at", "ends_at", "repeats", "until", "reason", "made_by")
_SPAN = ["target", "start", "end", "mute_id", "mute_reason"]


class MuteError(ValueError):
    """A mute that makes no sense, or is not there; the message says which and why."""


def mute_id(mute: Mapping[str, Any], time: int) -> str:
    """The identity of the n-th time that somebody says this: said twice it is one mute, said after its end another."""
    told = [_plain(mute[name]) for name in _WHAT]
    return str(uuid.uuid5(_NAMESPACE, json.dumps([*told, time])))


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def check_mute(mute: Mapping[str, Any]) -> None:
    """Refuses a mute of nothing, of two things, that ends before it begins, or that never leaves a gap."""
    if (mute["device_id"] is None) == (mute["site_id"] is None):
        raise MuteError("a mute is of one device or of one site: name exactly one of them")
    if mute["repeats"] not in REPEATS:
        raise MuteError(f"a mute repeats {', '.join(REPEATS)}; not {mute['repeats']!r}")
    if not str(mute["reason"]).strip():
        raise MuteError("a mute needs a reason: whoever is not told of an alert will want to know why")
    lasts = mute["ends_at"] - mute["starts_at"]
    if lasts <= timedelta(0):
        raise MuteError(f"the mute ends ({mute['ends_at']:%Y-%m-%d %H:%M}) before it begins")
    period, until = PERIODS.get(mute["repeats"]), mute["until"]
    if period is None and until is not None:
        raise MuteError("only a mute that repeats has an `until`; the end of one that does not is its end")
    if period is not None and lasts >= period:
        raise MuteError(f"a {mute['repeats']} mute must be shorter than {period.days * 24} hours, or it never ends")
    if until is not None and until <= mute["starts_at"]:
        raise MuteError("the mute's `until` lies before its beginning")


def standing(mutes: pl.DataFrame) -> pl.DataFrame:
    """One row a mute, without `cancelled` but with cancelled_at and cancelled_by, in the order they were made."""
    said = mutes.filter(~pl.col("cancelled")).unique("mute_id", keep="first", maintain_order=True)
    ended = mutes.filter("cancelled").group_by("mute_id").agg(
        cancelled_at=pl.col("made_at").min(), cancelled_by=pl.col("made_by").sort_by("made_at").first()
    )  # fmt: skip
    joined = said.drop("cancelled").join(ended, on="mute_id", how="left", maintain_order="left")
    return joined.sort("made_at", "mute_id")


def active(mutes: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """Mutes that are on or to come: not cancelled, not over."""
    once = (pl.col("repeats") == "once") & (pl.col("ends_at") > now)
    again = (pl.col("repeats") != "once") & (pl.col("until").is_null() | (pl.col("until") > now))
    return standing(mutes).filter(pl.col("cancelled_at").is_null() & (once | again))


def muted(moments: pl.DataFrame, mutes: pl.DataFrame) -> pl.DataFrame:
    """The moments, row by row in their order, with mute_id and mute_reason of the mute that covers them, or null.

    `moments` has device_id, site_id and moment, `mutes` is the log (contract alert_mutes). A mute covers from its start
    to before its end, each day or week anew where it repeats, until `until`, and no longer than it was cancelled. Of
    several a device's own comes first, then the one that ends last.
    """
    rows = moments.drop("mute_id", "mute_reason", strict=False).with_row_index("__row")
    spans = _spans(mutes, moments["moment"])
    by_device = _covered(rows, spans.filter(pl.col("device_id").is_not_null()), "device_id")
    by_site = _covered(rows, spans.filter(pl.col("device_id").is_null()), "site_id")
    found = rows.join(by_device, on="__row", how="left", maintain_order="left")
    found = found.join(by_site, on="__row", how="left", maintain_order="left", suffix="_site")
    of_device = pl.col("mute_id").is_not_null()
    told = [pl.when(of_device).then(name).otherwise(f"{name}_site").alias(name) for name in ("mute_id", "mute_reason")]
    return found.with_columns(told).drop("__row", "mute_id_site", "mute_reason_site")


def _spans(mutes: pl.DataFrame, moments: pl.Series) -> pl.DataFrame:
    """When each mute is on, as far as it matters to these moments."""
    said = standing(mutes).rename({"reason": "mute_reason"})
    once = said.filter(pl.col("repeats") == "once").with_columns(start=pl.col("starts_at"), end=pl.col("ends_at"))
    days = moments.drop_nulls().dt.truncate("1d").unique()
    parts = [once, *(_occasions(said.filter(pl.col("repeats") == name), step, days) for name, step in PERIODS.items())]
    spans = pl.concat([part.select("device_id", "site_id", *_SPAN[1:], "cancelled_at") for part in parts])
    return spans.with_columns(end=pl.min_horizontal("end", "cancelled_at")).filter(pl.col("start") < pl.col("end"))


def _occasions(mutes: pl.DataFrame, period: timedelta, days: pl.Series) -> pl.DataFrame:
    """The times of recurring mutes that touch one of the days. A time is shorter than the period: few touch a day."""
    start, step = pl.col("starts_at"), int(period.total_seconds())
    last = ((pl.col("__day") + timedelta(days=1) - start).dt.total_seconds(fractional=True) / step).floor()
    pairs = mutes.join(days.alias("__day").to_frame(), how="cross").with_columns(__last=last.cast(pl.Int64))
    times = pl.concat([pairs.with_columns(__time=pl.col("__last") - back) for back in (0, 1, 2)])
    begun = start + pl.duration(seconds=pl.col("__time") * step)
    found = times.filter(pl.col("__time") >= 0).unique(["mute_id", "__time"])
    found = found.with_columns(start=begun.cast(TS), end=(begun + (pl.col("ends_at") - start)).cast(TS))
    return found.with_columns(end=pl.min_horizontal("end", "until"))


def _covered(rows: pl.DataFrame, spans: pl.DataFrame, column: str) -> pl.DataFrame:
    """Of each covered row its mute. Of the spans that have begun, the one that ends last tells whether it is."""
    order = spans.with_columns(target=pl.col(column).cast(STR)).select(_SPAN).sort("target", "start", "end", "mute_id")
    ends = pl.col("end").cum_max().over("target")
    furthest = order.with_columns(
        pl.when(pl.col("end") == ends).then(name).forward_fill().over("target").alias(name)
        for name in ("mute_id", "mute_reason")
    ).with_columns(end=ends)
    asked = rows.select("__row", target=pl.col(column).cast(STR), moment=pl.col("moment").cast(TS)).drop_nulls()
    found = asked.sort("moment").join_asof(
        furthest.sort("start", maintain_order=True), left_on="moment", right_on="start", by="target",
        check_sortedness=False,
    )  # fmt: skip
    return found.filter(pl.col("end") > pl.col("moment")).select("__row", "mute_id", "mute_reason")


def mute_row(**given: Any) -> dict[str, Any]:
    """A mute as a row of its log, what is not given null or usual. It has no identity yet."""
    return dict.fromkeys(ALERT_MUTES.columns) | {"repeats": "once", "cancelled": False} | given
