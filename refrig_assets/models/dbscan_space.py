"""The space that density is measured in, few directions and the distance off their plane, and its dense regions."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from scipy.spatial import KDTree

from refrig_assets.models.core import F32, F64, I64, Arrays, in_blocks, processors, shares

LEAST_SPREAD = 0.1  # of a healthy column's
LEAST_RADIUS = 0.05  # in spreads: rows that are all the same have no density to measure


@dataclass(frozen=True)
class Region:
    """Directions (columns x directions) about a middle, their spreads, and the core points in that space."""

    middle: F64
    directions: F64
    spread: F64
    precision: F64
    """columns x columns, of what the directions leave"""
    off_plane: F64
    """middle and spread of the distance off the plane"""
    cores: F64
    radius: float

    @classmethod
    def fit(cls, z: F32, settings: Mapping[str, Any]) -> Self:
        exact = z.astype(np.float64)
        middle = np.median(exact, axis=0)
        low, high = np.quantile(exact, [0.02, 0.98], axis=0)
        near = np.clip(exact, low, high) - middle
        directions, precision = _directions(near, float(settings["variance"]), int(settings["most_dimensions"]))
        off = _length(exact - middle, precision)
        off_middle = np.median(off)
        off_plane = np.array([off_middle, _spread((off - off_middle)[:, None])[0]])
        empty = np.zeros((0, directions.shape[1] + 1))
        spread = _spread((exact - middle) @ directions)
        space = cls(middle, directions, spread, precision, off_plane, empty, 1.0)
        cores, radius = _cores(space._place(exact), int(settings["neighbours"]), min(float(settings["trim"]), 0.1))
        return cls(middle, directions, spread, precision, off_plane, cores, radius)

    def _place(self, z: F64) -> F64:
        """Coordinates: along each direction and off their plane, in healthy spreads."""
        off = z - self.middle
        distance = (_length(off, self.precision) - self.off_plane[0]) / self.off_plane[1]
        return np.column_stack([off @ self.directions / self.spread, distance])

    def place(self, z: F32) -> F64:
        return in_blocks(z, self.cores.shape[1], self._place)

    @cached_property
    def _tree(self) -> KDTree:
        return KDTree(self.cores)

    def _nearest(self, places: F64) -> tuple[F64, I64]:
        distance, core = self._tree.query(places, workers=processors())
        return np.asarray(distance, dtype=np.float64), np.asarray(core, dtype=np.int64)

    def distance(self, z: F32) -> F64:
        return np.asarray(self._nearest(self.place(z))[0] / self.radius, dtype=np.float64)

    def reasons(self, z: F32) -> F64:
        """The way from the nearest core point, shared among the columns: what goes along a direction by each column's
        part in it, what goes off the plane by what the directions leave of each column."""
        places = self.place(z)
        core = self.cores[self._nearest(places)[1]]
        way = places - core
        off = z - self.middle
        columns = off - (core[:, :-1] * self.spread) @ self.directions.T
        along = columns * ((way[:, :-1] / self.spread) @ self.directions.T)
        left = off * (off @ self.precision)
        total = left.sum(axis=1, keepdims=True)
        beyond = np.square(np.maximum(way[:, -1:], 0))
        return shares(along + left * np.divide(beyond, total, out=np.zeros_like(total), where=total > 0), columns)

    def arrays(self) -> dict[str, F64]:
        return {
            "middle": self.middle,
            "directions": self.directions,
            "spread": self.spread,
            "precision": self.precision,
            "off_plane": self.off_plane,
            "cores": self.cores,
            "radius": np.array([self.radius]),
        }

    @classmethod
    def restore(cls, arrays: Arrays) -> Self:
        a = {name: np.asarray(array, dtype=np.float64) for name, array in arrays.items()}
        return cls(
            a["middle"],
            a["directions"],
            a["spread"],
            a["precision"],
            a["off_plane"],
            a["cores"],
            float(a["radius"][0]),
        )


def _spread(values: F64) -> F64:
    """Of the middle, or of the tail where that is heavier than a normal one."""
    middle, tail = np.quantile(np.abs(values), [0.5, 0.95], axis=0)
    return np.asarray(np.maximum(np.maximum(middle / 0.6745, tail / 1.96), LEAST_SPREAD), dtype=np.float64)


def _length(off: F64, precision: F64) -> F64:
    return np.asarray(np.sqrt(np.maximum((off * (off @ precision)).sum(axis=1), 0)), dtype=np.float64)


def _directions(near: F64, variance: float, most: int) -> tuple[F64, F64]:
    """The fewest principal directions that hold so much of the variance, none where nothing varies; and the precision
    of the rest, for which what hardly ever varies is taken to vary a little."""
    size, directions = np.linalg.eigh(near.T @ near / len(near))
    size, directions = np.maximum(size[::-1], 0), directions[:, ::-1]
    count = 0
    if size[0] > 1e-12:
        enough = int(np.searchsorted(np.cumsum(size) / size.sum(), variance)) + 1
        count = min(most, enough, int((size > 1e-9 * size[0]).sum()))
    rest = directions[:, count:]
    precision = rest / np.maximum(size[count:], LEAST_SPREAD**2) @ rest.T
    found = directions[:, :count]
    # A direction and its opposite are the same: the largest part is made positive.
    largest = found[np.abs(found).argmax(axis=0), np.arange(count)]
    return np.ascontiguousarray(found * np.sign(largest)), np.asarray(precision, dtype=np.float64)


def _cores(places: F64, neighbours: int, trim: float) -> tuple[F64, float]:
    """The core points of the regions, and the radius of the density."""
    from sklearn.cluster import DBSCAN

    neighbours = max(2, min(neighbours, len(places) // 4))
    radius = _radius(places, neighbours)
    distinct, rows = np.unique(places, axis=0, return_counts=True)
    found = DBSCAN(eps=radius, min_samples=neighbours).fit(distinct, sample_weight=rows)
    core = np.asarray(found.core_sample_indices_, dtype=np.int64)
    if not len(core):
        return distinct, radius
    region = np.asarray(found.labels_, dtype=np.int64)[core]
    weight = np.bincount(region, weights=rows[core])
    small = np.argsort(weight, kind="stable")
    dropped = small[np.cumsum(weight[small]) <= trim * len(places)]
    kept = core[~np.isin(region, dropped)]
    return distinct[kept], radius


def _radius(places: F64, neighbours: int) -> float:
    """Where the curve of distances to the k-th neighbour bends, sought between its 80th and 95th percentile."""
    distance = KDTree(places).query(places, k=[min(neighbours, len(places))], workers=processors())[0]
    curve = np.quantile(distance, np.linspace(0.8, 0.95, 96))
    rise = curve[-1] - curve[0]
    bend = 0 if rise <= 0 else int(np.argmax(np.linspace(0, 1, 96) - (curve - curve[0]) / rise))
    return max(float(curve[bend]), LEAST_RADIUS)
