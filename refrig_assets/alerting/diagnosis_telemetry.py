"""What is wrong with what a device reports, and whether its machine stands still: from the windows of the last hours.

Each finding names its sensors. Nothing here looks at what a model expects, except of the current of a machine at rest.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from refrig_assets.alerting.diagnosis_seen import RECENT_H, Seen
from refrig_assets.contracts.features import STATISTICS
from refrig_assets.contracts.registry import DEFAULT_INTERVAL_S
from refrig_assets.contracts.sensors import SENSORS
from refrig_assets.contracts.trends import HORIZONS_H, trend_name

# So many windows of 15 minutes in a row must be alike before a sensor is called stuck or dead.
_WINDOWS = 8
# The air of a room may well stand still for two hours, seen by a coarse probe.
_OF_THE_AIR, _WINDOWS_OF_THE_AIR = ("temp_ambient", "humidity"), 22
_STILL = 1e-6
# Fewer readings than this share of those due: the device is hard to hear.
_HEARD = 0.85
# More flags than this a reading.
_FLAGGED = 0.8
# A machine at rest draws no more than this share of its usual current; its pressures meet.
_AT_REST, _RATIO_AT_REST = 0.25, 1.6
# No machine doubles both pressures, by one factor (as logarithms).
_SCALED, _ALIKE = math.log(2), math.log(1.25)
_LIMITS = {s.short: (s.low, s.high) for s in SENSORS}
PRESSURES = ("pressure_high", "pressure_low")


@dataclass(frozen=True)
class Telemetry:
    """One entry a window asked for, in each."""

    stuck: list[list[str]]
    dead: list[list[str]]
    """expected, and silent for hours, though it spoke in the last three days"""
    absent: list[list[str]]
    """expected, and not heard in three days"""
    heard: list[float | None]
    """share of the readings that were due"""
    flagged: list[float | None]
    """quality flags a reading"""
    defrosted: list[bool]
    """whether a defrost ran in the window or the one before"""
    rest_since: list[datetime | None]
    """when a machine that stands still came to rest, as far as the last hours tell"""


def telemetry(seen: Seen) -> Telemetry:
    rows = seen.windows.height
    parts = {int(k[0]): v for k, v in seen.recent.sort("row", "window_end").partition_by("row", as_dict=True).items()}
    spoke = _spoke(seen)
    found = Telemetry([], [], [], [], [], [], [])
    expected = seen.windows["expected_sensors"].to_list()
    interval = seen.windows["expected_interval_s"].to_list()
    usual = _usual_current(seen)
    for row in range(rows):
        part = parts.get(row, seen.recent.clear())
        silent = _silent(part, _short_names(expected[row]))
        found.stuck.append(_stuck(part))
        found.dead.append([s for s in silent if s in spoke.get(row, ())])
        found.absent.append([s for s in silent if s not in spoke.get(row, ())])
        due = RECENT_H * 3600 / (interval[row] or DEFAULT_INTERVAL_S)
        readings = int(part["reading_count"].sum())
        found.heard.append(readings / due if readings else None)
        found.flagged.append(float(part["quality_flag_count"].sum()) / readings if readings else None)
        found.defrosted.append(bool((part.tail(2)["defrost_active_fraction"] > 0).any()))
        found.rest_since.append(_rest_since(part, usual[row]))
    return found


def hard_to_hear(share: float | None) -> bool:
    return share is not None and share < _HEARD


def much_flagged(share: float | None) -> bool:
    return share is not None and share > _FLAGGED


def badly_told(told: Telemetry, row: int) -> bool:
    """Whether what the device reports has holes or doubts: the alert may be of nothing else."""
    return bool(told.absent[row]) or hard_to_hear(told.heard[row]) or much_flagged(told.flagged[row])


def _short_names(expected: Sequence[str] | None) -> list[str]:
    by_name = {s.name: s.short for s in SENSORS if not s.is_bool}
    return [by_name[n] for n in expected or () if n in by_name]


def _spoke(seen: Seen) -> dict[int, set[str]]:
    """By window, the sensors that had a value at any time in the last three days."""
    shorts = [s for s in STATISTICS if f"{s}_mean" in seen.history.columns]
    any_value = seen.history.group_by("row").agg(pl.col(f"{s}_mean").is_not_null().any().alias(s) for s in shorts)
    return {int(r["row"]): {s for s in shorts if r[s]} for r in any_value.iter_rows(named=True)}


def _stuck(part: pl.DataFrame) -> list[str]:
    """Sensors with one value in all of the last windows, unless it is an end of their range."""
    found = []
    for short in STATISTICS:
        least = _WINDOWS_OF_THE_AIR if short in _OF_THE_AIR else _WINDOWS
        last = part.tail(max(least, 2 * _WINDOWS))
        mean, std = last[f"{short}_mean"].drop_nulls(), last[f"{short}_std"].drop_nulls()
        if len(mean) < least or (len(std) and float(std.max()) > _STILL):  # type: ignore[arg-type]
            continue
        low, high = float(mean.min()), float(mean.max())  # type: ignore[arg-type]
        at_an_end = any(abs(high - end) < 0.5 for end in _LIMITS[short] if end is not None)
        if high - low <= _STILL * max(abs(high), 1.0) and not at_an_end:
            found.append(short)
    return found


def _silent(part: pl.DataFrame, expected: Sequence[str]) -> list[str]:
    last = part.tail(_WINDOWS)
    if last.height < _WINDOWS // 2:
        return []
    return [s for s in expected if last[f"{s}_mean"].null_count() == last.height]


def _usual_current(seen: Seen) -> list[float | None]:
    name = "current_compressor_mean"
    if name not in seen.deviation.columns:
        return [None] * seen.windows.height
    usual = seen.values[name] - seen.deviation[name]
    return [u if u is not None and u > 0.5 else None for u in usual.to_list()]


def _rest_since(part: pl.DataFrame, usual: float | None) -> datetime | None:
    """The start of the last run of windows in which the machine stood still, if that run lasts to the end."""
    current = part["current_compressor_mean"]
    ratio = part["pressure_high_mean"] / part["pressure_low_mean"]
    by_current = current < _AT_REST * usual if usual is not None else pl.Series([None] * part.height, dtype=pl.Boolean)
    by_ratio = (ratio < _RATIO_AT_REST) & current.is_null()
    # In a defrost the compressor rests, too.
    works = ~(part["defrost_active_fraction"] > 0).fill_null(value=False)
    rest = (by_current.fill_null(value=False) | by_ratio.fill_null(value=False)) & works
    since: datetime | None = None
    for at_rest, end in zip(rest.to_list(), part["window_end"].to_list(), strict=True):
        since = (since or end) if at_rest else None
    return since


def pressure_factor(seen: Seen, row: int) -> float | None:
    """The factor by which both pressures are off together, if they are; null where a machine may do that itself."""
    factors = []
    for short in PRESSURES:
        for name in (f"{short}_mean", trend_name(f"{short}_mean", min(HORIZONS_H))):
            value, off = seen.values[name][row], seen.deviation[name][row]
            if value is not None and off is not None and value > 0 and value - off > 0:
                factors.append(value / (value - off))
                break
    if len(factors) < len(PRESSURES):
        return None
    apart = abs(math.log(factors[0] / factors[1]))
    both = math.exp(sum(math.log(f) for f in factors) / len(factors))
    return both if abs(math.log(both)) > _SCALED and apart < _ALIKE else None
