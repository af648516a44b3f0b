"""Sums over consecutive runs of rows, in the order of the rows. Arrays only; knows nothing of devices or windows."""

from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
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
    with small swings lose no digits.
    """

    n: Floats
    low: Floats
    high: Floats
    total: Floats
    squares: Floats
    t: Floats | None = None
    tt: Floats | None = None
    tv: Floats | None = None

    @classmethod
    def of(cls, values: Floats, segments: Segments, elapsed: Floats | None) -> "Moments":
        """Of values with NaN for null; with elapsed time also what a slope needs."""
        low = segments.least(values)
        above = values - segments.spread(low)
        missing = np.isnan(above)
        n = segments.lengths.astype(np.float64)
        if missing.any():
            n = segments.sum((~missing).astype(np.float64))
            above[missing] = 0.0
        total, squares, high = segments.sum(above), segments.sum(above * above), segments.most(values)
        if elapsed is None:
            return cls(n, low, high, total, squares)
        time = np.where(missing, 0.0, elapsed)
        return cls(
            n, low, high, total, squares, segments.sum(time), segments.sum(time * time), segments.sum(time * above)
        )

    def merged(self, runs: Segments) -> "Moments":
        """The moments of longer runs, each made of neighbouring ones of these."""
        low = runs.least(self.low)
        shift = np.nan_to_num(self.low - runs.spread(low))
        total = self.total + self.n * shift
        squares = self.squares + 2 * shift * self.total + self.n * shift * shift
        sums = runs.sum(self.n), low, runs.most(self.high), runs.sum(total), runs.sum(squares)
        if self.t is None or self.tt is None or self.tv is None:
            return Moments(*sums)
        return Moments(*sums, runs.sum(self.t), runs.sum(self.tt), runs.sum(self.tv + shift * self.t))

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
        # Readings at one instant have no slope; rounding leaves a trace of spread in time, relative to its square.
        apart = across > 1e-12 * np.maximum(self.tt, 1.0)
        return np.where(apart & (self.n > 1), (self.tv - self.t * self.total / self.n) / across, np.nan)
