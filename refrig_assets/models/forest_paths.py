"""Paths of rows through isolation trees, by NumPy alone: how long they are and which columns cut them short.

Trees are filled up to complete binary trees: the children of node i are 2i+1 and 2i+2, so a row goes down by
arithmetic and all rows of a block take each step together. A leaf above the last level sends its rows on to the left.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from refrig_assets.models.core import F32, F64, Arrays, in_threads

ROWS = 4096
I32 = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Trees:
    """`column` and `cut` of the inner nodes, trees x nodes; `path`, the length of the path through a node as it is
    expected there (for a leaf: its depth and what its rows would still have needed), trees x all nodes."""

    column: I32
    cut: F32
    path: F64

    @property
    def count(self) -> int:
        return len(self.column)

    @property
    def depth(self) -> int:
        return int(self.path.shape[1] + 1).bit_length() - 2

    @classmethod
    def of(cls, grown: Sequence[Any]) -> Self:
        """From scikit-learn's trees."""
        depth = max(int(tree.max_depth) for tree in grown)
        column = np.zeros((len(grown), 2**depth - 1), dtype=np.int32)
        cut = np.full(column.shape, np.inf, dtype=np.float32)
        path = np.zeros((len(grown), 2 ** (depth + 1) - 1))
        for i, tree in enumerate(grown):
            _fill(tree, depth, column[i], cut[i], path[i])
        return cls(column, cut, path)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {"column": self.column, "cut": self.cut, "path": self.path}

    @classmethod
    def restore(cls, arrays: Arrays) -> Self:
        return cls(
            arrays["column"].astype(np.int32), arrays["cut"].astype(np.float32), arrays["path"].astype(np.float64)
        )


def typical_path(rows: npt.NDArray[Any]) -> F64:
    """Mean length of an unsuccessful search in a binary tree of so many rows."""
    n = np.maximum(rows.astype(np.float64), 2)
    long = 2 * (np.log(n - 1) + np.euler_gamma) - 2 * (n - 1) / n
    return np.asarray(np.where(rows <= 1, 0.0, np.where(rows == 2, 1.0, long)), dtype=np.float64)


def _fill(tree: Any, depth: int, column: I32, cut: F32, path: F64) -> None:
    """One tree into its places; what lies below a leaf has the leaf's path."""
    left, right, feature, rows = tree.children_left, tree.children_right, tree.feature, tree.n_node_samples
    cuts = _not_above(tree.threshold)
    leaf_path = typical_path(rows)
    expected = np.zeros(len(left))
    level = np.zeros(len(left))
    for node in range(len(left)):  # parents come before their children
        for child in (left[node], right[node]):
            if child >= 0:
                level[child] = level[node] + 1
    for node in range(len(left) - 1, -1, -1):
        a, b = left[node], right[node]
        expected[node] = (
            level[node] + leaf_path[node]
            if a < 0
            else (rows[a] * expected[a] + rows[b] * expected[b]) / (rows[a] + rows[b])
        )
    at = np.zeros(1, dtype=np.int64)
    for d in range(depth + 1):
        first = 2**d - 1
        path[first : first + len(at)] = expected[at]
        if d == depth:
            break
        inner = left[at] >= 0
        column[first : first + len(at)] = np.where(inner, feature[at], 0)
        cut[first : first + len(at)] = np.where(inner, cuts[at], np.inf)
        at = np.stack([np.where(inner, left[at], at), np.where(inner, right[at], at)], axis=1).ravel()


def _not_above(cuts: F64) -> F32:
    """The largest float32 that is not above: a float32 is at most the one exactly when it is at most the other."""
    near = cuts.astype(np.float32)
    return np.where(near.astype(np.float64) > cuts, np.nextafter(near, np.float32(-np.inf)), near)


def depths(trees: Trees, z: F32) -> F64:
    """The lengths of a row's paths, summed over the trees in their order."""
    out = np.zeros(len(z))
    leaves = np.ascontiguousarray(trees.path[:, 2**trees.depth - 1 :])

    def block(start: int) -> None:
        values = np.ascontiguousarray(z[start : start + ROWS].T)
        total = out[start : start + ROWS]
        steps = _Steps(values)
        for tree in range(trees.count):
            node = steps.down(trees.column[tree], trees.cut[tree], trees.depth)
            total += leaves[tree].take(node)

    in_threads(block, range(0, len(z), ROWS))
    return out


def credits(trees: Trees, z: F32) -> F64:
    """Rows x columns: how much shorter the cuts of a column made the path than was expected before each cut."""
    out = np.zeros(z.shape)

    def block(start: int) -> None:
        values = np.ascontiguousarray(z[start : start + ROWS].T)
        gain = np.zeros(values.shape)
        steps = _Steps(values)
        for tree in range(trees.count):
            steps.credit(trees.column[tree], trees.cut[tree], trees.path[tree], trees.depth, gain)
        out[start : start + ROWS] = gain.T

    in_threads(block, range(0, len(z), ROWS))
    return out


class _Steps:
    """Down a tree with a block of rows, columns first."""

    def __init__(self, values: F32) -> None:
        self.flat = values.reshape(-1)
        self.rows = values.shape[1]
        self.row = np.arange(self.rows)

    def down(self, column: I32, cut: F32, depth: int) -> npt.NDArray[np.intp]:
        """The number of the place on the last level that each row comes to."""
        at = np.zeros(self.rows, dtype=np.intp)
        offset = column.astype(np.intp) * self.rows
        for d in range(depth):
            first, end = 2**d - 1, 2 ** (d + 1) - 1
            cell = offset[first:end].take(at)
            cell += self.row
            right = self.flat.take(cell) > cut[first:end].take(at)
            at += at
            at += right
        return at

    def credit(self, column: I32, cut: F32, path: F64, depth: int, gain: F64) -> None:
        """Adds to the columns of each step what it took off the expected path."""
        at = np.zeros(self.rows, dtype=np.intp)
        offset = column.astype(np.intp) * self.rows
        flat = gain.reshape(-1)
        before = np.full(self.rows, path[0])
        for d in range(depth):
            first, end = 2**d - 1, 2 ** (d + 1) - 1
            cell = offset[first:end].take(at)
            cell += self.row
            right = self.flat.take(cell) > cut[first:end].take(at)
            at += at
            at += right
            after = path[end : 2 * end + 1].take(at)
            flat[cell] += before - after
            before = after
