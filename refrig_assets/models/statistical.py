"""The statistical baseline's core: how far a row lies from normal, by its farthest column, by all of them together, and
along the directions in which known faults push them.

Each of these measures has a tail of its own; they are compared by how rare they are.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from refrig_assets.models.base import F32, F64, I64
from refrig_assets.models.calibration import Calibration
from refrig_assets.models.corroboration import shrunk_precision
from refrig_assets.models.faults import KnownFaults, kept_tails, restored_tails

_ROWS = 50_000


class Group:
    """Columns that are judged together by their distance from normal."""

    def __init__(self, columns: I64, precision: F64) -> None:
        self.columns = columns
        self.precision = precision

    def distance(self, wide: F64) -> F64:
        part = wide[:, self.columns]
        return np.asarray(np.sqrt(np.maximum(((part @ self.precision) * part).sum(axis=1), 0.0)), dtype=np.float64)

    def shares(self, wide: F64) -> F64:
        part = wide[:, self.columns]
        return np.asarray(np.maximum(part * (part @ self.precision), 0.0) + 1e-3 * part**2)


class StatisticalCore:
    """Robust z, Mahalanobis distance with shrinkage of each group of columns, and matched filters for known faults."""

    model_id: ClassVar[str] = "statistical_baseline"
    granularity: ClassVar[str] = "device"
    defaults: ClassVar[Mapping[str, Any]] = {
        "groups": None,  # lists of columns that are judged together; all of them if none are given
        "faults": None,  # {name: {column: sign and weight of its deviation}}, and optionally
        "coming": None,  # {name: {column: the same of its change within days}}
        "shrinkage": 0.6,  # of the faults' covariance
        "trim": 0.05,
        "unknown_discount": 0.0,  # how many powers of ten rarer a row must be that no known fault explains
    }

    def __init__(
        self, groups: list[Group], tails: list[Calibration], faults: KnownFaults | None, discount: float
    ) -> None:
        self.groups = groups
        self.tails = tails
        """of every group's distance in turn, and last of the largest |z|"""
        self.faults = faults
        self.discount = discount

    @classmethod
    def fit(cls, z: F32, cohort: I64, settings: Mapping[str, Any], seed: int) -> "StatisticalCore":
        chosen = {**cls.defaults, **settings}
        columns = [np.asarray(g, dtype=np.int64) for g in chosen["groups"] or [range(z.shape[1])]]
        # Twice: the rows farthest out by the first fit have no say in the second.
        rows = np.ones(len(z), dtype=np.bool_)
        groups: list[Group] = []
        for _ in range(2):
            groups = [Group(g, shrunk_precision(z[rows][:, g])) for g in columns]
            distances = _distances(groups, z)[:, :-1]
            worst = (distances / np.maximum(np.median(distances, axis=0), 1e-9)).max(axis=1)
            rows = worst <= np.quantile(worst, 1 - float(chosen["trim"]))
        same = np.zeros(len(z), dtype=np.int64)
        tails = [Calibration.fit(m, same) for m in _distances(groups, z).T]
        faults = None
        if chosen["faults"]:
            faults = KnownFaults.fit(z, rows, chosen["faults"], chosen["coming"] or {}, float(chosen["shrinkage"]))
        return cls(groups, tails, faults, float(chosen["unknown_discount"]))

    def raw(self, z: F32, cohort: I64) -> F64:
        return np.asarray(self._rarities(z).max(axis=1), dtype=np.float64)

    def contributions(self, z: F32, cohort: I64) -> F64:
        """Each column's part in what stands out most, with the sign of its deviation."""
        most = self._rarities(z).argmax(axis=1)
        wide = z.astype(np.float64)
        found = np.zeros(z.shape)
        for number, group in enumerate(self.groups):
            mine = most == number
            found[np.ix_(mine, group.columns)] = group.shares(wide[mine]) * np.sign(wide[mine][:, group.columns])
        farthest = most == len(self.groups)
        found[farthest] = wide[farthest] ** 3
        for fault in range(len(self.faults.level) if self.faults else 0):
            mine = most == len(self.groups) + 1 + fault
            if mine.any() and self.faults is not None:
                found[mine] = self.faults.shares(wide[mine], fault) * np.sign(wide[mine])
        total = np.abs(found).sum(axis=1, keepdims=True)
        return np.asarray(np.divide(found, total, out=np.zeros_like(found), where=total > 0), dtype=np.float64)

    def _rarities(self, z: F32) -> F64:
        """Row × (groups, largest |z|, faults)."""
        found = np.column_stack([t.rarity_of(m) for t, m in zip(self.tails, _distances(self.groups, z).T, strict=True)])
        found = np.maximum(found - self.discount, 0.0)
        parts = [found] if self.faults is None else [found, self.faults.rarities(z)]
        return np.asarray(np.hstack(parts), dtype=np.float64)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        found: dict[str, npt.NDArray[Any]] = {"discount": np.array(self.discount)}
        for number, group in enumerate(self.groups):
            found |= {f"columns_{number}": group.columns, f"precision_{number}": group.precision}
        found |= kept_tails("tail", self.tails)
        return found | ({f"faults_{k}": v for k, v in self.faults.arrays().items()} if self.faults else {})

    @classmethod
    def restore(cls, arrays: Mapping[str, npt.NDArray[Any]], settings: Mapping[str, Any]) -> "StatisticalCore":
        count = sum(k.startswith("columns_") for k in arrays)
        groups = [Group(arrays[f"columns_{g}"], arrays[f"precision_{g}"]) for g in range(count)]
        told = {k.removeprefix("faults_"): v for k, v in arrays.items() if k.startswith("faults_")}
        faults = KnownFaults.restore(told) if told else None
        return cls(groups, restored_tails("tail", arrays), faults, float(arrays["discount"]))


def _distances(groups: Sequence[Group], z: F32) -> F64:
    """Row × (distance by each group, and the largest |z| of the columns in any of them)."""
    used = np.unique(np.concatenate([g.columns for g in groups]))
    parts = []
    for start in range(0, max(len(z), 1), _ROWS):
        wide = z[start : start + _ROWS].astype(np.float64)
        parts.append(np.column_stack([*(g.distance(wide) for g in groups), np.abs(wide[:, used]).max(axis=1)]))
    return np.concatenate(parts)
