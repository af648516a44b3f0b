"""Windows for diagnoses: a healthy machine seen in full, and what is said to be odd about it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from refrig_assets.alerting.diagnosis_seen import (
    CHAMPION,
    HISTORY_COLUMNS,
    HISTORY_H,
    HISTORY_STEP_H,
    RECENT_H,
    RECENT_VALUES,
    Seen,
)
from refrig_assets.alerting.diagnosis_signs import WAYS, column_of
from refrig_assets.alerting.signatures import SENSED
from refrig_assets.contracts.base import F64, F64S, I32, STR, STRS, TS
from refrig_assets.contracts.features import FEATURE_NAMES
from refrig_assets.contracts.sensors import NUMERIC_SENSORS
from refrig_assets.contracts.trends import MODEL_ROW_FEATURES
from refrig_assets_tests.windows import ordinary

END = datetime(2026, 3, 16, 8, 15, tzinfo=UTC)
WINDOW = timedelta(minutes=15)
EXPECTED = [s.name for s in NUMERIC_SENSORS]
# What one residual is worth in the feature's unit.
STRAY = 0.5


@dataclass
class Window:
    """Residuals by feature: `level` and `now` (the same unless said otherwise), `change`; what is not named is 0."""

    device: str = "dev-1"
    level: Mapping[str, float] = field(default_factory=dict)
    now: Mapping[str, float] | None = None
    change: Mapping[str, float] = field(default_factory=dict)
    lacks: Sequence[str] = ()
    """sensors of which nothing is known, ever"""
    dies: Sequence[str] = ()
    """sensors silent for hours, though not for days"""
    values: Mapping[str, float] = field(default_factory=dict)
    """features of the window itself"""
    recent: Mapping[str, Any] = field(default_factory=dict)
    """columns of all recent windows"""
    stuck: Sequence[str] = ()
    rests: int = 0
    """windows, the last ones, in which the compressor stands still"""
    defrosts: int = 0
    """windows, the last ones, with a defrost in them"""
    history: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    """deviations from the oldest to the newest, in the feature's unit"""
    about: Mapping[str, Any] = field(default_factory=dict)


def seen_of(*windows: Window) -> Seen:
    return Seen(
        windows=pl.DataFrame([_about(w) for w in windows], schema=_ABOUT, orient="row"),
        values=pl.DataFrame([_values(w) for w in windows], schema=dict.fromkeys(_ROW, F64), orient="row"),
        deviation=pl.DataFrame([_off(w, STRAY) for w in windows], schema=dict.fromkeys(_COLUMNS, F64), orient="row"),
        z=pl.DataFrame([_off(w, 1.0) for w in windows], schema=dict.fromkeys(_COLUMNS, F64), orient="row"),
        recent=pl.concat([_RECENT.clear(), *(_recent(row, w) for row, w in enumerate(windows))]),
        history=pl.concat([_HISTORY.clear(), *(_history(row, w) for row, w in enumerate(windows))]),
    )


_ABOUT = {
    "device_id": STR, "window_end": TS, "top_contributors": STRS, "contributor_scores": F64S,
    "expected_sensors": STRS, "expected_interval_s": I32, "current_threshold_a": F64, "expected_from": STR,
    "champion_broken": STR, "level_hours": I32,
}  # fmt: skip
_COLUMNS = tuple(dict.fromkeys(column_of(f, way) for way in WAYS for f in SENSED))
_ROW = tuple(dict.fromkeys([*MODEL_ROW_FEATURES, *_COLUMNS]))
_RECENT = pl.DataFrame(
    schema={"row": pl.Int64, "device_id": STR, "window_end": TS, "reading_count": I32, "quality_flag_count": I32}
    | dict.fromkeys(RECENT_VALUES, F64)
)
_HISTORY = pl.DataFrame(schema={"row": pl.Int64, "at": TS} | dict.fromkeys(HISTORY_COLUMNS, F64))


def _about(w: Window) -> dict[str, Any]:
    given = {
        "device_id": w.device, "window_end": END, "top_contributors": None, "contributor_scores": None,
        "expected_sensors": EXPECTED, "expected_interval_s": 60, "current_threshold_a": 40.0,
        "expected_from": CHAMPION, "champion_broken": None, "level_hours": 24,
    }  # fmt: skip
    return given | dict(w.about)


def _values(w: Window) -> dict[str, float | None]:
    found: dict[str, float | None] = {name: ordinary(name) for name in FEATURE_NAMES}
    off = _off(w, STRAY)
    for way in WAYS:
        for f in SENSED:
            usual = 0.0 if way == "change" else ordinary(f)
            by = off[column_of(f, way)]
            found[column_of(f, way)] = None if by is None else usual + by
    found |= {"defrost_active_fraction": 0.0, "door_open_fraction": 0.0, **w.values}
    return {name: found.get(name) for name in _ROW}


def _off(w: Window, unit: float) -> dict[str, float | None]:
    by_way = {"level": w.level, "now": w.level if w.now is None else w.now, "change": w.change}
    return {
        column_of(f, way): None if _silent(f, w) else unit * by_way[way].get(f, 0.0) for way in WAYS for f in SENSED
    }


def _silent(feature: str, w: Window) -> bool:
    return feature.rpartition("_")[0] in (*w.lacks, *w.dies)


def _recent(row: int, w: Window) -> pl.DataFrame:
    count = round(timedelta(hours=RECENT_H) / WINDOW)
    rows = []
    for n in range(count):
        told: dict[str, Any] = {
            name: ordinary(name) + (0.01 * (n % 5) if name.endswith("_mean") else 0.0) for name in RECENT_VALUES
        }
        told |= {"defrost_active_fraction": 0.0, "reading_count": 15, "quality_flag_count": 0, **w.recent}
        told |= {f"{s}_mean": 7.0 for s in w.stuck} | {f"{s}_std": 0.0 for s in w.stuck}
        told |= {name: None for name in RECENT_VALUES if _silent(name, w)}
        if n >= count - w.rests:
            told |= {"current_compressor_mean": 0.15, "pressure_high_mean": 600.0, "pressure_low_mean": 500.0}
        if n >= count - w.defrosts:
            told["defrost_active_fraction"] = 1.0
        end = END - (count - 1 - n) * WINDOW
        rows.append({"row": row, "device_id": w.device, "window_end": end, **told})
    return pl.DataFrame(rows, schema=_RECENT.schema)


def _history(row: int, w: Window) -> pl.DataFrame:
    hour = END.replace(minute=0)
    steps = range(HISTORY_H, -1, -HISTORY_STEP_H)
    rows = []
    for n, back in enumerate(steps):
        told: dict[str, float | None] = {}
        for f in SENSED:
            series = w.history.get(f, ())
            off = series[n] if n < len(series) else 0.0
            if f.rpartition("_")[0] in w.lacks:
                off = None
            told |= {
                f: None if off is None else ordinary(f) + off,
                f"{f}_off": off,
                f"{f}_z": None if off is None else off / STRAY,
            }
        rows.append({"row": row, "at": hour - timedelta(hours=back + 3), **told})
    return pl.DataFrame(rows, schema=_HISTORY.schema)
