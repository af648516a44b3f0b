"""What is missing in a row of residuals, as the columns that are there lead one to expect.

A residual of 0 would say "as usual" of a column whose neighbours, which always move with it, have moved: a sensor that
is not there would make the others look torn apart.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from refrig_assets.models.base import F32, F64, Bools
from refrig_assets.models.corroboration import shrunk_precision

_ROUNDS = 2
_MOST_ROWS = 100_000


@dataclass(frozen=True)
class Imputation:
    precision: F64 | None
    """of healthy residuals; None: nothing is known, and what is missing stays 0"""

    together: Bools | None = None
    """group × column: columns of which none is known are not guessed from those of other groups, but stay 0"""

    @classmethod
    def fit(cls, z: F32, missing: Bools, together: Sequence[Sequence[int]] = ()) -> "Imputation":
        """`z` is 0 where it is missing; those zeros are filled, too, before the relations are learnt for good."""
        groups = np.zeros((len(together), z.shape[1]), dtype=np.bool_)
        for group, columns in zip(groups, together, strict=True):
            group[list(columns)] = True
        step = -(-len(z) // _MOST_ROWS)
        z, missing = z[::step], missing[::step]
        found = cls(shrunk_precision(z), groups)
        for _ in range(_ROUNDS if missing.any() else 0):
            found = cls(shrunk_precision(found.filled(z, missing)), groups)
        return found

    def filled(self, z: F32, missing: Bools) -> F32:
        some = missing.any(axis=1) & ~missing.all(axis=1)
        if self.precision is None or not some.any():
            return z
        at = np.flatnonzero(some)
        patterns, which = np.unique(np.packbits(missing[at], axis=1), axis=0, return_inverse=True)
        order = np.argsort(which.ravel(), kind="stable")
        ends = np.cumsum(np.bincount(which.ravel(), minlength=len(patterns)))
        found = z.copy()
        for number, end in enumerate(ends):
            rows = at[order[ends[number - 1] if number else 0 : end]]
            gone = missing[rows[0]]
            # The mean of the missing given the others, from the precision alone.
            pull = z[np.ix_(rows, ~gone)].astype(np.float64) @ self.precision[np.ix_(~gone, gone)]
            found[np.ix_(rows, gone)] = -np.linalg.solve(self.precision[np.ix_(gone, gone)], pull.T).T
        for group in self.together if self.together is not None else ():
            found[np.ix_(missing[:, group].all(axis=1), group)] = 0.0
        return found

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        if self.precision is None or self.together is None:
            return {}
        return {"precision": self.precision, "together": self.together}

    @classmethod
    def restore(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> "Imputation":
        return cls(arrays.get("precision"), arrays.get("together"))
