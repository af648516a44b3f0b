"""Everything one should know of one alert: itself, its past, its sensors, others like it. Reads only."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from refrig_assets.alerting.fold import fold
from refrig_assets.alerting.mutes import muted
from refrig_assets.alerting.standing import is_closed
from refrig_assets.alerting.work_orders import work_orders
from refrig_assets.contracts import DEVICE_FEATURES, DEVICE_REGISTRY, FEATURE_BASELINES, MODEL_SCORES
from refrig_assets.contracts.features import FEATURE_NAMES
from refrig_assets.contracts.trends import HORIZONS_H, change_name, sensor_of, trend_name
from refrig_assets.lake import Lake
from refrig_assets.pipeline.alert_families import members_of
from refrig_assets.pipeline.alert_reading import board_now, history, holders, holders_of
from refrig_assets.pipeline.mutes import read_mutes

WINDOW_MIN = 15
CHART = timedelta(hours=24)
_OWN_PAST = timedelta(days=7)
_CHARTED, _LEAST, _ALIKE = 4, 3, 5
# What one looks at in any case, where fewer signs lead.
_ANYWAY = ("temp_evaporator_mean", "current_compressor_mean", "pressure_low_mean")
_UNUSED = ("change_id", "alert_id")


@dataclass(frozen=True)
class Course:
    """One feature over the hours shown: the windows' values (None: no window) and what is usual for it."""

    feature: str
    unit: str
    start: datetime
    values: list[float | None]
    low: float | None
    high: float | None
    usual_of: str
    """whose usual range that is: device, cohort, fleet, or its own past week"""


@dataclass(frozen=True)
class Story:
    alert: dict[str, Any]
    device: dict[str, Any]
    holder: str | None
    contributors: list[dict[str, Any]]
    """feature, and weight where the scores tell it: above 0 is high, below is low"""
    courses: list[Course]
    history: list[dict[str, Any]]
    same_device: list[dict[str, Any]]
    same_mode: list[dict[str, Any]]
    covers: list[str]
    work_order: dict[str, Any] | None
    mute: dict[str, Any] | None


def story(lake: Lake, alert_id: str, now: datetime) -> Story:
    """What there is to tell of an alert (by its whole id), as of now."""
    now_there, log = board_now(lake), history(lake, [alert_id])
    alert = now_there.read(pl.col("alert_id") == alert_id).row(0, named=True)
    alike = (pl.col("failure_mode") == alert["failure_mode"]) & is_closed() & ~pl.col("suppressed")
    board = now_there.read((pl.col("device_id") == alert["device_id"]) | alike.fill_null(value=False))
    registry = lake.table(DEVICE_REGISTRY).read()
    device = next(iter(registry.filter(pl.col("device_id") == alert["device_id"]).to_dicts()), {})
    reasons = _contributors(lake, alert)
    orders = work_orders(board.filter(pl.col("device_id") == alert["device_id"]), registry)
    return Story(
        alert=alert,
        device=device,
        holder=holders(log).get(alert_id),
        contributors=reasons,
        courses=courses(lake, alert, device, [r["feature"] for r in reasons], now),
        history=log.to_dicts(),
        same_device=_ended(lake, _others(board, alert).filter(pl.col("device_id") == alert["device_id"])),
        same_mode=_ended(lake, _same_mode(_others(board, alert), alert, device, registry)),
        covers=members_of(lake, [alert_id]),
        work_order=next((o for o in orders.to_dicts() if o["alert_id"] == alert_id), None),
        mute=_mute(lake, alert, now),
    )


def changes_of(log: pl.DataFrame) -> list[dict[str, Any]]:
    """An alert's log as a person reads it: what each change set that was not so before."""
    told: list[dict[str, Any]] = []
    for end in range(1, log.height + 1):
        row = log.row(end - 1, named=True)
        before = fold(log.head(end - 1)).to_dicts() if end > 1 else []
        was = before[0] if before else {}
        sets = {
            name: value for name, value in row.items()
            if value is not None and name not in (*_UNUSED, "change", "changed_at", "actor") and was.get(name) != value
        }  # fmt: skip
        told.append({"at": row["changed_at"], "change": row["change"], "by": row["actor"], "sets": sets})
    return told


def charted(contributors: Sequence[str]) -> list[str]:
    """The features of the 15-minute windows behind contributors, each once: of a trend or change what it is of."""
    behind = {trend_name(f, h): f for h in HORIZONS_H for f in FEATURE_NAMES}
    behind |= {change_name(f): f for f in FEATURE_NAMES} | {f: f for f in FEATURE_NAMES}
    found = [behind.get(c) or f"{sensor_of(c)}_mean" for c in contributors]
    leading = list(dict.fromkeys(f for f in found if f in FEATURE_NAMES))[:_CHARTED]
    return list(dict.fromkeys([*leading, *_ANYWAY]))[: max(len(leading), _LEAST)]


def courses(
    lake: Lake, alert: dict[str, Any], device: dict[str, Any], contributors: Sequence[str], now: datetime
) -> list[Course]:
    """The last day of the leading features: up to now, or up to where the alert was closed or its data end."""
    features = charted(contributors)
    end = alert["resolved_at"] or now
    table = lake.table(DEVICE_FEATURES)
    mine = (pl.col("device_id") == alert["device_id"]) & (pl.col("window_duration_minutes") == WINDOW_MIN)
    newest = max((f.last for f in table.files() if f.last is not None), default=end)
    end = min(end, newest + timedelta(minutes=WINDOW_MIN))
    end = end.replace(minute=end.minute - end.minute % WINDOW_MIN, second=0, microsecond=0)
    past = table.scan(end - CHART - _OWN_PAST, end).filter(mine).select("window_start", *features)
    windows = past.collect(engine="in-memory").unique("window_start", keep="last").sort("window_start")
    if windows.is_empty():
        return []
    start = end - CHART
    grid = pl.DataFrame({"window_start": pl.datetime_range(start, end, f"{WINDOW_MIN}m", closed="left", eager=True)})
    day = grid.with_columns(pl.col("window_start").cast(windows.schema["window_start"]))
    day = day.join(windows, on="window_start", how="left", maintain_order="left")
    usual = _usual(lake, alert["device_id"], device.get("cohort_id"), features)
    before = windows.filter(pl.col("window_start") < start)
    return [_course(name, start, day[name], before[name], usual.get(name)) for name in features]


def _course(
    name: str, start: datetime, day: pl.Series, before: pl.Series, usual: tuple[float, float, str] | None
) -> Course:
    if usual is None and before.drop_nulls().len() >= 96:
        low, high = (before.quantile(q, "linear") for q in (0.05, 0.95))
        usual = (low, high, "its past week") if low is not None and high is not None else None
    low_, high_, whose = usual or (None, None, "")
    return Course(name, DEVICE_FEATURES.unit(name), start, day.to_list(), low_, high_, whose)


def _usual(lake: Lake, device: str, cohort: str | None, features: Sequence[str]) -> dict[str, tuple[float, float, str]]:
    """The 5th and 95th percentile by the newest baselines: the device's, else its cohort's, else the fleet's."""
    rows = lake.table(FEATURE_BASELINES).scan().filter(
        pl.col("feature_name").is_in(list(features))
        & ((pl.col("device_id") == device) | (pl.col("device_id").is_null()
           & (pl.col("cohort_id").is_null() | (pl.col("cohort_id") == cohort))))
    )  # fmt: skip
    order = pl.col("granularity").replace_strict({"device": 0, "cohort": 1, "fleet": 2}, return_dtype=pl.Int8)
    best = rows.collect(engine="in-memory").drop_nulls(["baseline_p05", "baseline_p95"])
    best = best.sort(order, pl.col("computed_at").dt.epoch("us") * -1).unique(
        "feature_name", keep="first", maintain_order=True
    )
    shown = best.select("feature_name", "baseline_p05", "baseline_p95", "granularity")
    return {name: (low, high, whose) for name, low, high, whose in shown.iter_rows()}


def _contributors(lake: Lake, alert: dict[str, Any]) -> list[dict[str, Any]]:
    """The alert's contributors, with their weights where the score they come from is still there."""
    names = alert["top_contributors"] or []
    last = alert["last_seen_at"] or alert["first_detected_at"]
    weights: dict[str, float] = {}
    if alert["model_id"] is not None:
        found = (
            lake.table(MODEL_SCORES)
            .scan(alert["first_detected_at"] - timedelta(hours=1), last + timedelta(hours=1))
            .filter((pl.col("device_id") == alert["device_id"]) & (pl.col("deployment_role") == "champion"))
            .filter(pl.col("top_contributors").is_not_null() & (pl.col("window_end") <= last))
            .sort("window_end", "anomaly_score")
            .select("top_contributors", "contributor_scores")
            .collect(engine="in-memory")
        )
        for features, scores in found.iter_rows():
            weights |= dict(zip(features, scores or [], strict=False))
    return [{"feature": name, "weight": weights.get(name)} for name in names]


def _others(board: pl.DataFrame, alert: dict[str, Any]) -> pl.DataFrame:
    """Alerts before this one that somebody was told of, the newest first."""
    mine = (pl.col("alert_id") != alert["alert_id"]) & ~pl.col("suppressed")
    earlier = pl.col("alert_created_at") <= alert["alert_created_at"]
    return board.filter(mine & earlier).sort("alert_created_at", "alert_id", descending=True)


def _same_mode(
    others: pl.DataFrame, alert: dict[str, Any], device: dict[str, Any], registry: pl.DataFrame
) -> pl.DataFrame:  # fmt: skip
    """Closed alerts of other machines alike (cohort, or model) with the same failure mode."""
    if alert["failure_mode"] is None or not device:
        return others.clear()
    alike = (pl.col("cohort_id") == device["cohort_id"]) | (pl.col("model") == device["model"]).fill_null(value=False)
    devices = registry.filter(alike & (pl.col("device_id") != alert["device_id"]))["device_id"]
    same = (pl.col("failure_mode") == alert["failure_mode"]) & pl.col("device_id").is_in(devices.implode())
    return others.filter(same & is_closed())


def _ended(lake: Lake, alerts: pl.DataFrame) -> list[dict[str, Any]]:
    shown = alerts.head(_ALIKE).select(
        "alert_id", "device_id", "severity", "title", "failure_mode", "alert_created_at", "status", "resolved_at",
        "note",
    )  # fmt: skip
    by = holders_of(lake, shown["alert_id"].to_list())
    return [row | {"by": by.get(row["alert_id"])} for row in shown.to_dicts()]


def _mute(lake: Lake, alert: dict[str, Any], now: datetime) -> dict[str, Any] | None:
    """The mute that is on for the alert's device now."""
    asked = pl.DataFrame([{**{k: alert[k] for k in ("device_id", "site_id")}, "moment": now}])
    mutes = read_mutes(lake)
    name = muted(asked, mutes)["mute_id"].item()
    return (
        None if name is None else mutes.row(by_predicate=(pl.col("mute_id") == name) & ~pl.col("cancelled"), named=True)
    )
