"""Hours left: how a failure's leading indicator has grown, and when it reaches the level at which machines stop.

Several beginnings and shapes of growth are fitted to the last three days; each counts by how well it fits. What is
left open (which of them, how steep, at what level this machine stops) is drawn from, and told as an interval. The
draws are the same every time: the same history gives the same hours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.stats import norm, qmc

from refrig_assets.alerting.signatures import INDICATORS, Indicator
from refrig_assets.contracts.base import F64 as FLOAT
from refrig_assets.contracts.base import STR

F64 = npt.NDArray[np.float64]

_BEGINNINGS_H = (-168.0, -120.0, -96.0, -72.0, -60.0, -48.0, -40.0, -32.0, -24.0, -18.0, -12.0, -8.0)
# Growth a hour; 0 is along a line.
_RATES = (0.0, 1 / 48, 1 / 24, 1 / 12, 1 / 6)
# How likely each is before anything is seen, of what goes on as it began and of what feeds on itself.
_STEADY, _ACCELERATING = (1.0, 0.2, 0.1, 0.05, 0.0), (0.3, 1.0, 1.0, 1.0, 0.5)
_FEWEST_POINTS = 6
_DRAWS = 256
_NOT_ZERO = 1e-6
# Six-hour means two hours apart, of a machine with moods: so many of them tell as much as one alone.
_ALIKE = 4.0
# Residuals are no smaller than this share of what healthy machines stray.
_LEAST_NOISE = 0.35
# Less growth than this, in strayings of healthy machines, is no trend.
_LEAST_GROWTH = 1.5
# Beyond this nothing can be said from three days.
FARTHEST_H = 240.0
_QUANTILES = (0.1, 0.5, 0.9)
# From the 10th to the 90th percentile of a normal distribution, in its spreads.
_TENTH_TO_NINETIETH = 2.5631

PROGNOSIS_SCHEMA = {
    "hours_left": FLOAT, "hours_left_low": FLOAT, "hours_left_high": FLOAT, "indicator": STR, "begun_h": FLOAT,
}  # fmt: skip
Told = Mapping[str, float | str | None]
_NOTHING: Told = dict.fromkeys(PROGNOSIS_SCHEMA)


@dataclass(frozen=True)
class _Growth:
    """Hypotheses as arrays: how far each has grown at given times, and what it weighs."""

    begun: F64
    rate: F64
    base: F64
    steep: F64
    error: F64
    weight: F64

    def grown(self, at: F64) -> F64:
        return _shape(at[None, :], self.begun[:, None], self.rate[:, None])

    def middle_beginning(self) -> float:
        order = np.argsort(self.begun, kind="stable")
        reached = int(np.searchsorted(np.cumsum(self.weight[order]), 0.5))
        return float(self.begun[order][min(reached, len(order) - 1)])


def prognoses(modes: Sequence[str], history: pl.DataFrame, ends: pl.Series) -> pl.DataFrame:
    """One row a mode, beside its window: hours left from the window's end, null where no trend allows it.

    `history` names the window in `row`, and has `at` and, by feature, the value, `_off` and `_z`.
    """
    begun = history.join(
        pl.DataFrame({"row": np.arange(len(modes), dtype=np.int64), "end": ends}), on="row", how="inner"
    ).with_columns(((pl.col("at") - pl.col("end")).dt.total_seconds() / 3600).alias("t"))
    wanted = [row for row, mode in enumerate(modes) if mode in INDICATORS]
    parts = begun.filter(pl.col("row").is_in(wanted)).sort("row", "t").partition_by("row", as_dict=True)
    rows: list[Told] = [_NOTHING] * len(modes)
    for (row,), part in parts.items():
        rows[int(row)] = _of_window(part, INDICATORS[modes[int(row)]])
    return pl.DataFrame(rows, schema=PROGNOSIS_SCHEMA, orient="row")


def _of_window(part: pl.DataFrame, indicators: Sequence[Indicator]) -> Told:
    """By the first indicator whose trend says something."""
    for indicator in indicators:
        found = _of_indicator(part, indicator)
        if found is not None:
            return found
    return _NOTHING


def _of_indicator(part: pl.DataFrame, indicator: Indicator) -> Told | None:
    found = _series(part, indicator)
    if found is None:
        return None
    t, off, stray = found
    growth = _fitted(t, indicator.sign * off, stray, _ACCELERATING if indicator.accelerates else _STEADY)
    risen = growth.steep * growth.grown(np.zeros(1))[:, 0]
    if float(growth.weight @ risen) < _LEAST_GROWTH * stray:
        return None
    now = float(growth.weight @ (growth.base + risen))
    low, middle, high = np.quantile(_hours_left(growth, now, indicator), _QUANTILES)
    if middle > FARTHEST_H:
        return None
    told = {"hours_left": middle, "hours_left_low": low, "hours_left_high": min(high, 2 * FARTHEST_H)}
    rounded = {name: round(float(h), 1) for name, h in told.items()}
    return {**rounded, "indicator": indicator.feature, "begun_h": growth.middle_beginning()}


def _series(part: pl.DataFrame, indicator: Indicator) -> tuple[F64, F64, float] | None:
    """Hours, deviations (relative ones where the indicator is), and what healthy machines stray; None: too little."""
    value, off, z = (part[f"{indicator.feature}{end}"].to_numpy().astype(np.float64) for end in ("", "_off", "_z"))
    t = part["t"].to_numpy().astype(np.float64)
    known = np.isfinite(off) & np.isfinite(z)
    value, off, z, t = value[known], off[known], z[known], t[known]
    apart = np.abs(z) > _NOT_ZERO
    if len(t) < _FEWEST_POINTS or not apart.any():
        return None
    stray = float(np.median(np.abs(off[apart] / z[apart])))
    if not indicator.relative:
        return t, off, stray
    usual = float(np.median(value - off))
    return (t, off / usual, stray / usual) if usual > 0 else None


def _shape(t: F64, begun: F64, rate: F64) -> F64:
    since = np.maximum(t - begun, 0.0)
    safe = np.where(rate > 0, rate, 1.0)
    return np.where(rate > 0, np.expm1(np.minimum(rate * since, 30.0)) / safe, since)


def _fitted(t: F64, y: F64, stray: float, likely: Sequence[float]) -> _Growth:
    """Every beginning and shape by least squares, its base drawn towards what is expected of the machine."""
    grid = [(b, r) for b in _BEGINNINGS_H for r in _RATES]
    begun, rate = np.array([b for b, _ in grid]), np.array([r for _, r in grid])
    g = _shape(t[None, :], begun[:, None], rate[:, None])
    noise = max(_LEAST_NOISE * stray, 1e-12)
    tie = (noise / max(stray, 1e-12)) ** 2 * _ALIKE
    n, sg, sgg = len(t) + tie, g.sum(axis=1), (g**2).sum(axis=1)
    sy, sgy = y.sum(), g @ y
    free = sgg - sg**2 / n
    steep = np.divide(sgy - sg * sy / n, free, out=np.zeros_like(free), where=free > 1e-9)
    steep = np.maximum(steep, 0.0)
    base = (sy - steep * sg) / n
    left = y[None, :] - base[:, None] - steep[:, None] * g
    rss = (left**2).sum(axis=1)
    spread = max(noise, float(np.sqrt(rss.min() / len(t))))
    weight = np.exp(-(rss - rss.min()) / (2 * spread**2 * _ALIKE)) * np.tile(likely, len(_BEGINNINGS_H))
    error = spread * np.sqrt(_ALIKE / np.maximum(free, 1e-9))
    return _Growth(begun, rate, base, steep, error, weight / weight.sum())


def _draws() -> F64:
    points: F64 = qmc.Sobol(3, scramble=True, seed=7).random(_DRAWS)
    return points


_POINTS = _draws()


def _hours_left(growth: _Growth, now: float, indicator: Indicator) -> F64:
    which = np.searchsorted(np.cumsum(growth.weight), _POINTS[:, 0] * (1 - 1e-9)).clip(0, len(growth.weight) - 1)
    steep, error = growth.steep[which], growth.error[which]
    # Only growth leads anywhere: the part of the distribution above zero.
    floor = norm.cdf(-steep / error)
    steep = steep + error * norm.ppf(np.clip(floor + (1 - floor) * _POINTS[:, 1], 1e-6, 1 - 1e-6))
    low, middle, high = indicator.fails_at
    width = np.log(high / low) / _TENTH_TO_NINETIETH
    # It has not failed at the level it has: it will at a higher one.
    passed = norm.cdf((np.log(max(now, 1e-9)) - np.log(middle)) / width)
    at = np.exp(np.log(middle) + width * norm.ppf(np.clip(passed + (1 - passed) * _POINTS[:, 2], 1e-6, 1 - 1e-6)))
    ahead = np.maximum(at - growth.base[which], 0.0) / np.maximum(steep, 1e-12)
    rate = growth.rate[which]
    safe = np.where(rate > 0, rate, 1.0)
    took = np.where(rate > 0, np.log1p(rate * ahead) / safe, ahead)
    return np.asarray(np.maximum(growth.begun[which] + took, 0.0), dtype=np.float64)
