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
# So near to an end of its range, in its unit, a sensor may well stand still.
_AT_AN_END = 0.5
# A motor that is expected to draw no more is not expected to run.
_NO_CURRENT = 0.5
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
    spoke = _spoke(seen)
    found = Telemetry([], [], [], [], [], [], [])
    for row, told in enumerate(_of_recent(seen).iter_rows(named=True)):
        silent = [s for s in _short_names(told["expected_sensors"]) if told[f"{s}_silent"]]
        found.stuck.append([s for s in STATISTICS if told[f"{s}_stuck"]])
        found.dead.append([s for s in silent if s in spoke.get(row, ())])
        found.absent.append([s for s in silent if s not in spoke.get(row, ())])
        due = RECENT_H * 3600 / (told["expected_interval_s"] or DEFAULT_INTERVAL_S)
        readings = told["readings"]
        found.heard.append(readings / due if readings else None)
        found.flagged.append(told["flags"] / readings if readings else None)
        found.defrosted.append(bool(told["defrosted"]))
        found.rest_since.append(told["rest_since"])
    return found


def _of_recent(seen: Seen) -> pl.DataFrame:
    """One row a window asked for: what its last hours come to, all of them at once."""
    asked = seen.windows.select(
        pl.int_range(pl.len(), dtype=pl.Int64).alias("row"), "expected_sensors", "expected_interval_s"
    ).with_columns(_usual_current(seen))
    recent = seen.recent.join(asked.select("row", "usual_current"), on="row").sort("row", "window_end")
    recent = recent.with_columns(_at_rest().forward_fill().over("row").fill_null(value=False).alias("at_rest"))
    ran = pl.col("window_end").filter(~pl.col("at_rest")).max()
    # The first of the last windows in a row in which the machine stood still.
    rest = pl.col("window_end").filter((pl.col("window_end") > ran).fill_null(value=True)).min()
    lately = pl.col("defrost_active_fraction").tail(2)
    told = recent.group_by("row", maintain_order=True).agg(
        *(_stuck(s).alias(f"{s}_stuck") for s in STATISTICS),
        *(_silent(s).alias(f"{s}_silent") for s in STATISTICS),
        pl.col("reading_count").sum().alias("readings"),
        pl.col("quality_flag_count").sum().alias("flags"),
        (lately > 0).any().alias("defrosted"),
        rest.alias("rest_since"),
    )
    return asked.join(told, on="row", how="left", maintain_order="left")


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


def _stuck(short: str) -> pl.Expr:
    """Whether a sensor has one value in all of the last windows, unless that is an end of its range."""
    least = _WINDOWS_OF_THE_AIR if short in _OF_THE_AIR else _WINDOWS
    last = max(least, 2 * _WINDOWS)
    mean, std = pl.col(f"{short}_mean").tail(last), pl.col(f"{short}_std").tail(last)
    still = (std.max().fill_null(0.0) <= _STILL) & (mean.max() - mean.min() <= _STILL * mean.max().abs().clip(1.0))
    ends = [end for end in _LIMITS[short] if end is not None]
    inside = pl.all_horizontal((mean.max() - end).abs() >= _AT_AN_END for end in ends)
    return (mean.count() >= least) & still & inside


def _silent(short: str) -> pl.Expr:
    last = pl.col(f"{short}_mean").tail(_WINDOWS)
    return (last.len() >= _WINDOWS // 2) & (last.count() == 0)


def _usual_current(seen: Seen) -> pl.Series:
    name = "current_compressor_mean"
    if name not in seen.deviation.columns:
        return pl.Series("usual_current", [None] * seen.windows.height, dtype=pl.Float64)
    usual = (seen.values[name] - seen.deviation[name]).alias("usual_current")
    return usual.set(usual <= _NO_CURRENT, None)


def _at_rest() -> pl.Expr:
    """Whether the machine stands still in a window; null in a defrost, in which any machine does: it is as it was."""
    current = pl.col("current_compressor_mean")
    by_current = (current < _AT_REST * pl.col("usual_current")).fill_null(value=False)
    met = pl.col("pressure_high_mean") / pl.col("pressure_low_mean") < _RATIO_AT_REST
    defrosts = (pl.col("defrost_active_fraction") > 0).fill_null(value=False)
    return pl.when(~defrosts).then(by_current | (met & current.is_null()).fill_null(value=False))


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
