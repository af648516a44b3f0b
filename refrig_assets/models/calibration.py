"""From a detector's own measure of oddity to a score that means the same for all: how rare that is where all is well.

A score s stands for a share of healthy windows above it: 0.6 for one in a hundred, 0.7 for one in a thousand, 0.85 for
one in ten thousand, 0.95 for one in a million. So far out nothing can be counted: the tail is fitted (a generalised
Pareto distribution), on rows that the detector has not seen, without the machines among them that are plainly ill.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from refrig_assets.models.base import F64, I64, Bools

# -log10 of the share of healthy windows above, and the score that stands for it.
RARITY = np.array([0.0, 0.30103, 1.0, 2.0, 3.0, 4.0, 6.0, 9.0, 15.0])
SCORES = np.array([0.0, 0.20, 0.45, 0.60, 0.70, 0.85, 0.95, 0.99, 1.0])
# What a score promises: at most this share of healthy windows above it.
PROMISED: Mapping[float, float] = {0.6: 1e-2, 0.7: 1e-3, 0.85: 1e-4, 0.95: 1e-6}

_MOST_CLEANED = 0.10
_TAIL_FROM = 0.97
_FEWEST_IN_TAIL = 25
_NEAR = 0.85
_FEWEST_UNITS = 20
_FEW = 0.25
_HEAVIEST = 0.30
_LIGHTEST = 0.0
_CUT = 3.0


@dataclass(frozen=True)
class Calibration:
    """Quantiles of the bulk, and the tail beyond the last of them."""

    raw: F64
    """rising; the last is where the tail begins"""
    rarity: F64
    scale: float
    shape: float

    @classmethod
    def fit(cls, raw: F64, unit: I64) -> "Calibration":
        """From held-out rows; rows of one `unit` (a device, a stretch of time) are healthy or ill together."""
        sound = healthy(raw, unit)
        kept, unit = raw[sound], unit[sound]
        if not len(kept):
            raise ValueError("there are no held-out rows to calibrate on: give rows of more time, or more machines")
        tail_from = 1 - max(1 - _TAIL_FROM, min(0.5, _FEWEST_IN_TAIL / len(kept)))
        shares = np.unique(np.r_[np.linspace(0, 0.9, 19), 0.95, tail_from])
        shares = shares[shares <= tail_from]
        knots = np.quantile(kept, shares)
        if kept.min() == kept.max():
            # What never varies is not rare.
            knots, shares = knots[:1], shares[:1]
        beyond = kept[kept > knots[-1]] - knots[-1]
        scale, shape = _pareto(beyond, spread=float(knots[-1] - np.median(kept)))
        if len(beyond) and _gathered(unit, kept > knots[-1]):
            scale, shape = min(scale, _length_of_approach(kept, tail_from)), _LIGHTEST
        return cls(knots, -np.log10(1 - shares), scale, shape)

    def rarity_of(self, raw: F64) -> F64:
        inside = np.interp(raw, self.raw, self.rarity)
        over = np.maximum(raw - self.raw[-1], 0.0) / self.scale
        beyond = over if self.shape < 1e-6 else np.log1p(self.shape * over) / self.shape
        return np.asarray(inside + beyond / np.log(10), dtype=np.float64)

    def score(self, raw: F64) -> F64:
        """0 to 1, rounded so that it does not depend on what else was scored with it."""
        return np.asarray(np.round(np.interp(self.rarity_of(raw), RARITY, SCORES), 6), dtype=np.float64)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {"raw": self.raw, "rarity": self.rarity, "tail": np.array([self.scale, self.shape])}

    @classmethod
    def restore(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> "Calibration":
        return cls(arrays["raw"], arrays["rarity"], float(arrays["tail"][0]), float(arrays["tail"][1]))


def _length_of_approach(kept: F64, tail_from: float) -> float:
    """The tail's scale as what leads up to it lets one expect."""
    near = min(_NEAR, tail_from - 1e-3)
    low, high = np.quantile(kept, [near, tail_from])
    length = float(high - low) / np.log((1 - near) / (1 - tail_from))
    return length if length > 0 else np.inf


def _gathered(unit: I64, beyond: Bools) -> bool:
    """Whether the tail's rows come from few of the units: faults that were not recognised, rather than a heavy tail."""
    _, rows = np.unique(unit[beyond], return_counts=True)
    total = len(np.unique(unit))
    return total >= _FEWEST_UNITS and float(rows.sum() ** 2 / (rows**2).sum()) < _FEW * total


def healthy(raw: F64, unit: I64) -> Bools:
    """Rows of units that do not stand out: at most a tenth of the units is taken for ill and left out."""
    units, code = np.unique(unit, return_inverse=True)
    if len(units) < _FEWEST_UNITS:
        return np.ones(len(raw), dtype=np.bool_)
    size = np.log(np.maximum(upper(raw, code.astype(np.int64), len(units)), 1e-12))
    middle, quarter = np.quantile(size, [0.5, 0.25])
    # Judged by the lower half: ill units are all in the upper one.
    cut = middle + _CUT * (middle - quarter) / 0.6745
    ill = size > max(cut, np.quantile(size, 1 - _MOST_CLEANED))
    return np.asarray(~ill[code], dtype=np.bool_)


def upper(raw: F64, code: I64, units: int) -> F64:
    """The level that a twentieth of each unit's rows exceeds."""
    order = np.lexsort((raw, code))
    values, sorted_code = raw[order], code[order]
    start = np.searchsorted(sorted_code, np.arange(units))
    size = np.diff(np.r_[start, len(values)])
    return np.asarray(values[start + np.minimum((size * 0.95).astype(np.int64), size - 1)], dtype=np.float64)


def _pareto(beyond: F64, spread: float) -> tuple[float, float]:
    """Scale and shape by probability-weighted moments, the shape kept between exponential and heavy."""
    fallback = max(spread, 1e-9) / 3
    if len(beyond) < 5 or float(beyond.max()) <= 0:
        return fallback, 0.1
    x = np.sort(beyond)
    n = len(x)
    b0 = float(x.mean())
    b1 = float((x * (n - np.arange(1, n + 1)) / (n - 1)).sum() / n)
    shape = 2 - b0 / (b0 - 2 * b1) if b0 > 2 * b1 else _HEAVIEST
    shape = float(np.clip(shape, _LIGHTEST, _HEAVIEST))
    return max(b0 * (1 - shape), 1e-9), shape
