"""Sums over consecutive runs of rows, in the order of the rows. Arrays only; knows nothing of devices or windows."""

from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
_MINUTE_US = 60_000_000
_NEVER = np.iinfo(np.int64).max
Number = TypeVar("Number", np.float64, np.int64)


@dataclass(frozen=True)
class Segments:
    """Rows cut into consecutive, non-empty runs."""

    starts: Ints
    rows: int

    @classmethod
    def from_changes(cls, change: npt.NDArray[np.bool_]) -> "Segments":
        """A new run begins at each row that differs from the row before it."""
        return cls(np.flatnonzero(np.r_[True, change]), len(change) + 1)

    def __len__(self) -> int:
        return len(self.starts)

    @cached_property
    def lengths(self) -> Ints:
        lengths: Ints = np.diff(np.r_[self.starts, self.rows])
        return lengths

    def sum(self, values: npt.NDArray[Number]) -> npt.NDArray[Number]:
        return np.add.reduceat(values, self.starts)

    def least(self, values: Floats) -> Floats:
        return np.fmin.reduceat(values, self.starts)

    def most(self, values: Floats) -> Floats:
        return np.fmax.reduceat(values, self.starts)

    def spread(self, per_run: npt.NDArray[Number]) -> npt.NDArray[Number]:
        """One value a run, repeated for each of its rows."""
        return np.repeat(per_run, self.lengths)


@dataclass(frozen=True)
class Moments:
    """What mean, deviation, extremes and slope of a run need, mergeable over neighbouring runs.

    Sums are of the distance to the run's minimum: a constant sensor has deviation zero exactly, and large values
    with small swings lose no digits. Times are minutes since the run's first reading, exact to the microsecond.
    """

    n: Floats
    low: Floats
    high: Floats
    total: Floats
    squares: Floats
    begin: Ints | None = None
    t: Floats | None = None
    tt: Floats | None = None
    tv: Floats | None = None

    @classmethod
    def of(cls, values: Floats, segments: Segments, at_us: Ints | None) -> "Moments":
        """Of values with NaN for null; with the times of the rows also what a slope needs."""
        low = segments.least(values)
        above = values - segments.spread(low)
        missing = np.isnan(above)
        n = segments.lengths.astype(np.float64)
        if missing.any():
            n = segments.sum((~missing).astype(np.float64))
            above[missing] = 0.0
        sums = n, low, segments.most(values), segments.sum(above), segments.sum(above * above)
        if at_us is None:
            return cls(*sums)
        begin = np.minimum.reduceat(np.where(missing, _NEVER, at_us), segments.starts)
        time = np.where(missing, 0, at_us - segments.spread(begin)) / _MINUTE_US
        return cls(*sums, begin, segments.sum(time), segments.sum(time * time), segments.sum(time * above))

    def merged(self, runs: Segments) -> "Moments":
        """The moments of longer runs, each made of neighbouring ones of these."""
        low = runs.least(self.low)
        up = np.nan_to_num(self.low - runs.spread(low))
        total = self.total + self.n * up
        squares = self.squares + 2 * up * self.total + self.n * up * up
        sums = runs.sum(self.n), low, runs.most(self.high), runs.sum(total), runs.sum(squares)
        if self.begin is None or self.t is None or self.tt is None or self.tv is None:
            return Moments(*sums)
        begin = np.minimum.reduceat(self.begin, runs.starts)
        on = np.where(self.n > 0, self.begin - runs.spread(begin), 0) / _MINUTE_US
        t = self.t + self.n * on
        tt = self.tt + 2 * on * self.t + self.n * on * on
        tv = self.tv + up * t + on * self.total
        return Moments(*sums, begin, runs.sum(t), runs.sum(tt), runs.sum(tv))

    def statistic(self, name: str) -> Floats:
        """NaN where there is nothing to say: no reading, or a divisor of zero."""
        with np.errstate(invalid="ignore", divide="ignore"):
            if name == "mean":
                return self.low + self.total / self.n
            if name == "std":
                spread = np.maximum(self.squares - self.total * self.total / self.n, 0.0)
                return np.where(self.n > 1, np.sqrt(spread / (self.n - 1)), np.nan)
            if name == "slope":
                return self._slope()
        return {"min": self.low, "max": self.high}[name]

    def _slope(self) -> Floats:
        if self.t is None or self.tt is None or self.tv is None:
            raise ValueError("moments without time have no slope")
        across = self.tt - self.t * self.t / self.n
        return np.where((across > 0) & (self.n > 1), (self.tv - self.t * self.total / self.n) / across, np.nan)
