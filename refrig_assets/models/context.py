"""What the operating conditions explain: a basis of them, and the columns' response to it, robustly fitted.

The response to a condition may bend: a fan controller that takes over in the cold, a compressor that runs all the time
in the heat. So each condition that takes many values enters as a line that bends at some of its quantiles.
"""

from dataclasses import dataclass

import numpy as np

from refrig_assets.models.base import F64, I64, Bools

# More pairs of conditions than this are not worth their noise.
_PAIRS_UP_TO = 4
_CLIP = 4.0
_BENDS = (0.1, 0.3, 0.5, 0.7, 0.9)
_ROWS_TO_BEND = 20_000
_HUBER = 2.5
_ROUNDS = 6
_MOSTLY_THERE = 0.6
_ROWS_FOR_SIZE = 20_000
# Of the number of rows: conditions must matter a good deal to be believed.
_RIDGE_OF_SIZES = 0.003
_DAY_US = 86_400_000_000


@dataclass(frozen=True)
class Basis:
    """Conditions, standardised and clipped, their squares and (of a few) their products, and the time of day."""

    centre: F64
    spread: F64
    bends: F64
    """bend × condition, in spreads from the centre; NaN: none there"""
    daily: bool

    @classmethod
    def of(cls, context: F64, time_us: I64 | None) -> "Basis":
        told = np.array([_centre_and_spread(c[np.isfinite(c)]) for c in context.T]).reshape(-1, 2)
        centre, spread = told[:, 0], told[:, 1]
        bends = np.full((len(_BENDS), context.shape[1]), np.nan)
        for k, values in enumerate(context.T):
            values = values[np.isfinite(values)]
            if len(values) >= _ROWS_TO_BEND and len(np.unique(values[:5000])) > 20 and spread[k] > 0:
                found = np.clip((np.quantile(values, _BENDS) - centre[k]) / spread[k], -_CLIP, _CLIP)
                bends[:, k] = np.where(np.diff(found, prepend=-np.inf) > 0.1, found, np.nan)
        # Half a day of data says nothing of how a day goes.
        daily = time_us is not None and len(time_us) > 0 and int(time_us.max() - time_us.min()) >= 3 * _DAY_US
        return cls(centre, spread, bends, daily)

    def rows(self, context: F64, time_us: I64 | None) -> F64:
        """One row of the basis for each row of conditions; a missing condition counts as its median, a missing
        time as none of the day."""
        safe = np.where(self.spread > 0, self.spread, 1.0)
        c = np.clip(np.nan_to_num((context - self.centre) / safe), -_CLIP, _CLIP) * (self.spread > 0)
        straight = ~np.isfinite(self.bends).any(axis=0)
        parts = [np.ones((len(c), 1)), c, (c**2)[:, straight]]
        for bend in self.bends:
            there = np.isfinite(bend)
            parts.append(np.maximum(c[:, there] - bend[there], 0.0))
        if 1 < c.shape[1] <= _PAIRS_UP_TO:
            first, second = np.triu_indices(c.shape[1], k=1)
            parts.append(c[:, first] * c[:, second])
        if self.daily and time_us is not None:
            angle = 2 * np.pi * (time_us % _DAY_US) / _DAY_US
            rhythm = np.column_stack([np.sin(angle), np.cos(angle), np.sin(2 * angle), np.cos(2 * angle)])
            parts.append(np.nan_to_num(rhythm))
        return np.hstack(parts)


def _centre_and_spread(values: F64) -> tuple[float, float]:
    if not len(values):
        return 0.0, 0.0
    low, middle, high = np.percentile(values, [10, 50, 90])
    return float(middle), float((high - low) / 2.563 if high > low else values.std())


def restlessness(basis: F64, size: F64, prior: F64 | None = None) -> F64:
    """Coefficients of how many times the usual columns stray under which conditions, from sizes of residuals."""
    start = np.zeros((basis.shape[1], size.shape[1])) if prior is None else prior
    penalty = np.eye(basis.shape[1]) * (1.0 + _RIDGE_OF_SIZES * len(basis))
    penalty[0, 0] = 1e-9
    return np.asarray(np.linalg.solve(basis.T @ basis + penalty, basis.T @ (size - 1.0) + penalty @ start))


def demeaned(values: F64, group: I64) -> F64:
    """Values less their group's mean; rows of no group (-1) stay. NaN stays NaN."""
    if not (group >= 0).any():
        return values
    size = int(group.max()) + 1
    known = group >= 0
    out = values.copy()
    for j in range(values.shape[1]):
        there = known & np.isfinite(values[:, j])
        total = np.bincount(group[there], weights=values[there, j], minlength=size)
        count = np.maximum(np.bincount(group[there], minlength=size), 1)
        out[known, j] -= (total / count)[group[known]]
    return out


def response(basis: F64, columns: F64, prior: F64 | None, ridge: float) -> F64:
    """Coefficients (basis × column) by least squares with outliers clipped, drawn towards the prior (or 0)."""
    width = basis.shape[1]
    start = np.zeros((width, columns.shape[1])) if prior is None else prior
    penalty = np.eye(width) * ridge
    penalty[0, 0] = 1e-9 if prior is None else ridge
    there = np.isfinite(columns)
    found = start.copy()
    often = there.mean(axis=0) >= _MOSTLY_THERE if len(columns) else np.ones(columns.shape[1], dtype=np.bool_)
    if often.any():
        found[:, often] = _fit(basis, columns[:, often], start[:, often], penalty)
    for j in np.flatnonzero(~often):
        rows = there[:, j]
        if rows.any():
            found[:, [j]] = _fit(basis[rows], columns[rows][:, [j]], start[:, [j]], penalty)
    return found


def _fit(basis: F64, columns: F64, start: F64, penalty: F64) -> F64:
    """Outliers count as far as a limit and no farther; what is missing counts as what is expected of it so far."""
    there = np.isfinite(columns)
    filled = np.where(there, columns, 0.0)
    gram = basis.T @ basis + penalty
    found = start.copy()
    for round_ in range(_ROUNDS):
        expected = basis @ found
        left = np.where(there, filled - expected, 0.0)
        # At first everything counts: what only a tenth of the rows know of is no outlier if the conditions explain it.
        limit = _HUBER * _typical(left, there) if round_ else np.inf
        target = expected + np.clip(left, -limit, limit)
        found = np.linalg.solve(gram, basis.T @ target + penalty @ start)
    return found


def _typical(left: F64, there: Bools) -> F64:
    """The robust size of each column's residuals, from some of the rows; without bound where it is 0."""
    some = slice(None, None, max(1, len(left) // _ROWS_FOR_SIZE))
    size = np.array(
        [np.median(np.abs(v[t])) if t.any() else 0.0 for v, t in zip(left[some].T, there[some].T, strict=True)]
    )
    return np.where(size > 0, 1.4826 * size, np.inf)
