"""Isolation forest: rows that random cuts separate early are odd. Trees are kept as plain arrays (forest_paths).

The trees do not see the columns as they are, but each column less what all the others say of it. Cuts go across one
column at a time and are blind to columns that no longer fit each other; most faults show just so.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from refrig_assets.models.core import F32, F64, I64, Arrays, in_blocks, shares, some_rows
from refrig_assets.models.forest_paths import Trees, credits, depths, typical_path

LEAST_SPREAD = 0.1  # of a healthy column's


class IsolationForestCore:
    """One forest for the whole fleet."""

    model_id: ClassVar[str] = "isolation_forest"
    granularity: ClassVar[str] = "fleet"
    defaults: ClassVar[Mapping[str, Any]] = {
        "trees": 200,
        "rows_per_tree": 1024,
        "trim": 0.05,  # share of the rows, the oddest, that the second forest is not shown
        "fit_rows": 100_000,
        "shrinkage": 0.1,  # of the covariance towards independent columns
    }

    def __init__(self, trees: Trees, rows_per_tree: int, given_others: F64) -> None:
        self.trees = trees
        self.rows_per_tree = rows_per_tree
        self.given_others = given_others

    @classmethod
    def fit(cls, z: F32, cohort: I64, settings: Mapping[str, Any], seed: int) -> Self:
        s = {**cls.defaults, **settings}
        rng = np.random.default_rng(seed)
        rows = z[some_rows(len(z), int(s["fit_rows"]), rng)]
        given_others = _given_others(rows, float(s["shrinkage"]))
        rows = _seen(rows, given_others)
        first, per_tree = _grow(rows, s, seed)
        length = depths(first, rows)
        kept = rows[length >= np.quantile(length, min(float(s["trim"]), 0.1))]
        trees, per_tree = _grow(kept, s, seed + 1)
        return cls(trees, per_tree, given_others)

    def raw(self, z: F32, cohort: I64) -> F64:
        """0.5 is a row like most, towards 1 the path is short."""
        typical = float(typical_path(np.array([self.rows_per_tree]))[0])
        mean = depths(self.trees, _seen(z, self.given_others)) / self.trees.count
        return np.asarray(np.exp2(-mean / typical) if typical > 0 else np.ones(len(z)), dtype=np.float64)

    def contributions(self, z: F32, cohort: I64) -> F64:
        """By how much each column's cuts made the path shorter than its node led to expect, the more so the further
        the column is off: a cut far from a value that is as expected tells of the tree, not of the row."""
        seen = _seen(z, self.given_others)
        return shares(credits(self.trees, seen) * np.abs(seen), seen)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {
            **self.trees.arrays(),
            "rows_per_tree": np.array([self.rows_per_tree]),
            "given_others": self.given_others,
        }

    @classmethod
    def restore(cls, arrays: Arrays, settings: Mapping[str, Any]) -> Self:
        return cls(Trees.restore(arrays), int(arrays["rows_per_tree"][0]), arrays["given_others"])


def _grow(seen: F32, settings: Mapping[str, Any], seed: int) -> tuple[Trees, int]:
    from sklearn.ensemble import IsolationForest

    per_tree = min(int(settings["rows_per_tree"]), len(seen))
    forest = IsolationForest(n_estimators=int(settings["trees"]), max_samples=per_tree, random_state=seed)
    forest.fit(seen)
    return Trees.of([tree.tree_ for tree in forest.estimators_]), per_tree


def _given_others(z: F32, shrinkage: float) -> F64:
    """Columns x columns: a row times this is each column less what the others say of it, in spreads of what is left.

    Rare values are drawn in first. A column that hardly varies is taken to vary a little.
    """
    low, high = np.quantile(z, [0.02, 0.98], axis=0)
    joint = np.atleast_2d(np.cov(np.clip(z, low, high).astype(np.float64), rowvar=False, bias=True))
    scale = np.maximum(np.diag(joint), LEAST_SPREAD**2)
    precision = np.linalg.inv((1 - shrinkage) * joint + np.diag(scale - (1 - shrinkage) * np.diag(joint)))
    return np.asarray(precision / np.sqrt(np.diag(precision)), dtype=np.float64)


def _seen(z: F32, given_others: F64) -> F32:
    return in_blocks(z, z.shape[1], lambda block: block @ given_others).astype(np.float32)
