"""One probe alone is no witness: what a row says once the sensor family that stands out most is set aside.

Its columns are replaced by what the others lead one to expect. A failing machine shows in several sensors at once and
keeps most of its oddity; a drifting or dead probe loses its own, and is left with what the others happen to show.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from refrig_assets.models.base import F32, F64

_ROWS = 50_000
# Less, against the largest value, is rounding.
_VARIES = 1e-9


@dataclass(frozen=True)
class Corroboration:
    precision: F64
    """of healthy residuals"""
    families: npt.NDArray[np.bool_]
    """family × column"""

    @classmethod
    def fit(cls, precision: F64, columns: Sequence[str], families: Mapping[str, Sequence[str]]) -> "Corroboration":
        place = {c: i for i, c in enumerate(columns)}
        found = np.zeros((len(families), len(columns)), dtype=np.bool_)
        for row, members in enumerate(families.values()):
            found[row, [place[c] for c in members if c in place]] = True
        return cls(precision, found[found.any(axis=1) & ~found.all(axis=1)])

    def without_the_loudest(self, z: F32) -> F32:
        return np.concatenate([self._part(z[i : i + _ROWS]) for i in range(0, len(z), _ROWS)] or [z])

    def _part(self, z: F32) -> F32:
        wide = z.astype(np.float64)
        pull = wide @ self.precision
        gain = np.zeros((len(self.families), len(z)))
        corrections = []
        for f, columns in enumerate(self.families):
            # Leaving columns out lowers the distance by their pull, weighed by what they would vary on their own.
            step = np.linalg.solve(self.precision[np.ix_(columns, columns)], pull[:, columns].T).T
            gain[f] = (pull[:, columns] * step).sum(axis=1)
            corrections.append(step)
        loudest = gain.argmax(axis=0) if len(gain) else np.zeros(len(z), dtype=np.int64)
        for f, columns in enumerate(self.families):
            mine = loudest == f
            wide[np.ix_(mine, columns)] -= corrections[f][mine]
        return wide.astype(np.float32)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {"precision": self.precision, "families": self.families}

    @classmethod
    def restore(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> "Corroboration":
        return cls(arrays["precision"], arrays["families"])


def shrunk_precision(z: F32, least: float = 0.0) -> F64:
    """Inverse covariance of the rows, shrunk towards independence (Ledoit and Wolf), by at least so much."""
    from sklearn.covariance import ledoit_wolf

    if len(z) < 3:
        return np.eye(z.shape[1])
    wide = z.astype(np.float64)
    varies = wide.std(axis=0) > _VARIES * np.abs(wide).max(axis=0)
    if not varies.any():
        return np.eye(z.shape[1])
    wide = wide[:, varies]
    size = wide.std(axis=0)
    covariance, shrinkage = ledoit_wolf(wide / size, assume_centered=True)
    if shrinkage < least:
        own = np.diag(np.diag(covariance))
        covariance = own + (covariance - own) * (1 - least) / (1 - shrinkage)
    precision = np.diag(np.where(varies, 0.0, 1.0))
    precision[np.ix_(varies, varies)] = np.linalg.inv(covariance) / np.outer(size, size)
    return precision
