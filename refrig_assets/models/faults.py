"""Known faults as directions: how far a row lies along the way in which a fault pushes a machine.

A fault that is on its way shows twice: the machine is off its own level, and it was less so days ago. Either alone
comes about in health, by a new set point or a repair; both together seldom do, so their rarities are averaged.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from refrig_assets.models.base import F32, F64, Bools
from refrig_assets.models.calibration import Calibration
from refrig_assets.models.corroboration import shrunk_precision

_ROWS = 50_000
_AT_MOST = 2.0


@dataclass(frozen=True)
class KnownFaults:
    level: F64
    """fault × column: the matched filter of its direction"""
    coming: F64
    """the same of its change; a row of zeros where none is known"""
    level_tails: list[Calibration]
    both_tails: list[Calibration]

    @classmethod
    def fit(
        cls, z: F32, sound: Bools, faults: Mapping[str, Mapping[int, float]], coming: Mapping[str, Mapping[int, float]],
        shrinkage: float,
    ) -> "KnownFaults":  # fmt: skip
        level = _filters(z[sound], list(faults.values()), shrinkage)
        change = _filters(z[sound], [coming.get(name, {}) for name in faults], shrinkage)
        bare = cls(level, change, [], [])
        levels, both, _ = bare._measures(z)
        same = np.zeros(len(z), dtype=np.int64)
        return cls(level, change, *([Calibration.fit(m, same) for m in part.T] for part in (levels, both)))

    def rarities(self, z: F32) -> F64:
        """Row × fault."""
        levels, both, known = self._measures(z)
        by_level = np.column_stack([t.rarity_of(m) for t, m in zip(self.level_tails, levels.T, strict=True)])
        by_both = np.column_stack([t.rarity_of(m) for t, m in zip(self.both_tails, both.T, strict=True)])
        return np.where(known, (by_level + by_both) / 2, by_level)

    def shares(self, wide: F64, fault: int) -> F64:
        return np.asarray(np.maximum(wide * self.level[fault], 0.0) + np.maximum(wide * self.coming[fault], 0.0) / 4)

    def _measures(self, z: F32) -> tuple[F64, F64, Bools]:
        """Row × fault: along its direction; along that and its change; and whether a change is known."""
        parts = []
        moves = self.coming != 0
        for start in range(0, max(len(z), 1), _ROWS):
            wide = z[start : start + _ROWS].astype(np.float64)
            level = np.maximum(wide @ self.level.T, 0.0)
            change = np.maximum(wide @ self.coming.T, 0.0)
            known = (wide != 0).astype(np.float64) @ moves.T.astype(np.float64) > 0
            # A machine that stood still three days ago has changed a lot, and is well: the level bounds what it says.
            parts.append((level, np.sqrt(level * np.minimum(change, _AT_MOST * level)), known))
        levels, both, known = (np.concatenate(p) for p in zip(*parts, strict=True))
        return levels, both, known

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        tails = kept_tails("level", self.level_tails) | kept_tails("both", self.both_tails)
        return {"filters": self.level, "changes": self.coming, **tails}

    @classmethod
    def restore(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> "KnownFaults":
        tails = (restored_tails(name, arrays) for name in ("level", "both"))
        return cls(arrays["filters"], arrays["changes"], *tails)


def kept_tails(name: str, tails: Sequence[Calibration]) -> dict[str, npt.NDArray[Any]]:
    return {f"{name}_{i}_{part}": array for i, t in enumerate(tails) for part, array in t.arrays().items()}


def restored_tails(name: str, arrays: Mapping[str, npt.NDArray[Any]]) -> list[Calibration]:
    tails: list[Calibration] = []
    while f"{name}_{len(tails)}_raw" in arrays:
        head = f"{name}_{len(tails)}_"
        told = {k.removeprefix(head): v for k, v in arrays.items() if k.startswith(head)}
        tails.append(Calibration.restore(told))
    return tails


def _filters(z: F32, faults: Sequence[Mapping[int, float]], shrinkage: float) -> F64:
    """Directions weighed by how the columns of all of them vary together: health has variance 1 along each."""
    found = np.zeros((len(faults), z.shape[1]))
    columns = np.array(sorted({int(c) for signs in faults for c in signs}), dtype=np.int64)
    if not len(columns):
        return found
    precision = shrunk_precision(z[:, columns], shrinkage)
    for row, signs in zip(found, faults, strict=True):
        way = np.array([signs.get(int(c), 0.0) for c in columns])
        pull = way @ precision
        row[columns] = pull / np.sqrt(max(float(pull @ way), 1e-12))
    return found
