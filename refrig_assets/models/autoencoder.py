"""Autoencoder: what columns say of each other among machines of a cohort. Rows that it cannot tell again are odd."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from refrig_assets.models.autoencoder_net import Net, train
from refrig_assets.models.core import F32, F64, I64, Arrays, by_cohort, in_blocks, shares, some_rows

FLEET = -1
LEAST_SPREAD = 0.1  # of a healthy column's; below it an error is as good as none


@dataclass(frozen=True)
class Part:
    """One network with the healthy spread of its errors and of its code."""

    net: Net
    spread: F64
    middle: F64
    precision: F64
    """of the code"""

    @classmethod
    def of(cls, net: Net, z: F32) -> Self:
        exact = z.astype(np.float64)
        code = net.encode(exact)[1]
        return cls(net, _spread(exact - net.decode(code)), np.median(code, axis=0), _precision(code))

    def odd(self, z: F64) -> F64:
        """Errors and code alike as sums of squares: rows far off in the plane that is told again well count too."""
        code = self.net.encode(z)[1]
        error = (z - self.net.decode(code)) / self.spread
        off = code - self.middle
        size = np.square(error).sum(axis=1) + (off @ self.precision * off).sum(axis=1)
        return np.asarray(np.sqrt(np.maximum(size, 0))[:, None])

    def reasons(self, z: F64) -> F64:
        """An error is its column's; the code's distance is shared among the columns that move it."""
        hidden, code = self.net.encode(z)
        error = (z - self.net.decode(code)) / self.spread
        off = code - self.middle
        pull = off @ self.precision
        moved = np.maximum(z * self.net.slope(z, hidden, pull), 0)
        total = moved.sum(axis=1, keepdims=True)
        distance = np.maximum((pull * off).sum(axis=1, keepdims=True), 0)
        by_code = moved * np.divide(distance, total, out=np.zeros_like(total), where=total > 0)
        by_error = np.square(error)
        return shares(by_error + by_code, np.sign(error) * by_error + np.sign(z) * by_code)

    def arrays(self) -> dict[str, F64]:
        return {**self.net.arrays(), "spread": self.spread, "middle": self.middle, "precision": self.precision}

    @classmethod
    def restore(cls, arrays: Arrays) -> Self:
        return cls(Net.restore(arrays), arrays["spread"], arrays["middle"], arrays["precision"])


class AutoencoderCore:
    """A network for the fleet, and for each cohort with rows enough one that has learnt on from there."""

    model_id: ClassVar[str] = "autoencoder"
    granularity: ClassVar[str] = "cohort"
    defaults: ClassVar[Mapping[str, Any]] = {
        "hidden": 64,
        "code": 12,  # at most half of the columns
        "swapped": 0.1,  # share of the entries taken from other rows while learning
        "trim": 0.05,  # share of the rows, the oddest, left out after a first pass
        "fit_rows": 60_000,  # a network learns on no more rows than this
        "cohort_rows": 500,
        "steps": 3000,
        "cohort_steps": 12_000,  # shared by the cohorts; none has more than `steps`
        "rounds": 100,  # through all rows at most, so few rows take few steps, though never under 300
        "batch": 512,
        "learning_rate": 3e-3,
        "weight_decay": 1e-4,
        "held_back": 0.15,
        "patience": 5,
    }

    def __init__(self, parts: Mapping[int, Part]) -> None:
        self.parts = dict(parts)

    @classmethod
    def fit(cls, z: F32, cohort: I64, settings: Mapping[str, Any], seed: int) -> Self:
        s = {**cls.defaults, **settings}
        rng = np.random.default_rng(seed)
        rows = z[some_rows(len(z), int(s["fit_rows"]), rng)]
        net = Net.start(rows, int(s["hidden"]), max(1, min(int(s["code"]), z.shape[1] // 2)), rng)
        parts = {FLEET: _learn(net, rows, int(s["steps"]), s, rng)}
        codes, sizes = np.unique(cohort[cohort >= 0], return_counts=True)
        codes = codes[sizes >= int(s["cohort_rows"])]
        steps = min(int(s["steps"]), max(200, int(s["cohort_steps"]) // max(1, len(codes))))
        for code in codes:
            mine = np.flatnonzero(cohort == code)
            rows = z[mine[some_rows(len(mine), int(s["fit_rows"]), rng)]]
            parts[int(code)] = _learn(parts[FLEET].net, rows, steps, s, rng)
        return cls(parts)

    def raw(self, z: F32, cohort: I64) -> F64:
        """The length of the vector of errors and code, each in its healthy spreads."""
        out = np.zeros(len(z))
        for code, rows in by_cohort(cohort, self.parts, FLEET):
            out[rows] = in_blocks(z[rows], 1, self.parts[code].odd)[:, 0]
        return out

    def contributions(self, z: F32, cohort: I64) -> F64:
        out = np.zeros(z.shape)
        for code, rows in by_cohort(cohort, self.parts, FLEET):
            out[rows] = in_blocks(z[rows], z.shape[1], self.parts[code].reasons)
        return out

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        found: dict[str, npt.NDArray[Any]] = {"cohorts": np.array(sorted(self.parts), dtype=np.int64)}
        for code, part in self.parts.items():
            found |= {f"{name}.{code}": array for name, array in part.arrays().items()}
        return found

    @classmethod
    def restore(cls, arrays: Arrays, settings: Mapping[str, Any]) -> Self:
        def part(code: int) -> Part:
            mine = f".{code}"
            return Part.restore({n.removesuffix(mine): a for n, a in arrays.items() if n.endswith(mine)})

        return cls({int(code): part(int(code)) for code in arrays["cohorts"]})


def _learn(net: Net, z: F32, steps: int, settings: Mapping[str, Any], rng: np.random.Generator) -> Part:
    """A first pass to find the rows that are not to be learnt, a second without them."""
    steps = min(steps, max(300, int(settings["rounds"]) * len(z) // int(settings["batch"])))
    first = Part.of(train(net, z, steps // 3, settings, rng), z)
    odd = in_blocks(z, 1, first.odd)[:, 0]
    kept = z[odd <= np.quantile(odd, 1 - min(float(settings["trim"]), 0.1))]
    return Part.of(train(first.net, kept, steps - steps // 3, settings, rng), kept)


def _spread(error: F64) -> F64:
    """Healthy spread of each column: of its middle, or of its tail where that is heavier than a normal one."""
    middle, tail = np.quantile(np.abs(error), [0.5, 0.95], axis=0)
    return np.asarray(np.maximum(np.maximum(middle / 0.6745, tail / 1.96), LEAST_SPREAD), dtype=np.float64)


def _precision(code: F64) -> F64:
    """Inverse covariance of the code, its rare values drawn in, shrunk towards its diagonal."""
    low, high = np.quantile(code, [0.005, 0.995], axis=0)
    joint = np.atleast_2d(np.cov(np.clip(code, low, high), rowvar=False, bias=True))
    scale = np.maximum(np.diag(joint), 1e-6)
    shrunk = 0.95 * joint + np.diag(scale - 0.95 * np.diag(joint))
    return np.asarray(np.linalg.inv(shrunk), dtype=np.float64)
