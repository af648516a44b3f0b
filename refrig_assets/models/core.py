"""What differs between detectors: how odd a row of conditioned residuals is, and which columns make it so."""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Arrays = Mapping[str, npt.NDArray[Any]]

BLOCK_ROWS = 1024


class Core(Protocol):
    """A detector on residuals `z` (rows x columns, no NaN): 0 is as expected, healthy rows spread about 1.

    `raw` and `contributions` are what matters; the rest keeps and restores what was learnt. Rows to fit on come in
    order of time where they have one. `cohort` is a code from 0 on, or -1 where it is unknown.
    """

    model_id: ClassVar[str]
    granularity: ClassVar[str]
    defaults: ClassVar[Mapping[str, Any]]

    @classmethod
    def fit(cls, z: F32, cohort: I64, settings: Mapping[str, Any], seed: int) -> Self:
        """Learn what is usual. The rows may hold some faults: no more than a tenth is cleaned away."""

    def raw(self, z: F32, cohort: I64) -> F64:
        """Larger is odder. A row's value does not depend on the other rows of the batch."""

    def contributions(self, z: F32, cohort: I64) -> F64:
        """Rows x columns: the sign is the deviation's, the size the share of the oddity that the column explains."""

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Everything learnt, as arrays of numbers and text."""

    @classmethod
    def restore(cls, arrays: Arrays, settings: Mapping[str, Any]) -> Self: ...


def shares(weight: F64, deviation: npt.NDArray[Any]) -> F64:
    """Contributions from weights (negative ones count as none): sizes add up to 1 a row, signs are the deviation's.

    A row without any weight gives its credit by the deviation alone; a row without deviation gives none.
    """
    weight = np.where(deviation != 0, np.maximum(weight, 0), 0)
    total = weight.sum(axis=1, keepdims=True)
    empty = total[:, 0] <= 0
    if empty.any():
        weight[empty] = np.square(deviation[empty], dtype=np.float64)
        total[empty] = weight[empty].sum(axis=1, keepdims=True)
    return np.asarray(np.sign(deviation) * weight / np.where(total > 0, total, 1), dtype=np.float64)


def in_blocks(z: F32, width: int, work: Callable[[F64], F64]) -> F64:
    """`work` on blocks of rows that are always of the same height, the last filled up with zeros.

    Sums in a matrix product may be taken in another order in another shape, so blocks of one shape make a row's
    result the same to the bit whatever batch it comes in. Blocks are spread over threads; their order is kept.
    """
    out = np.empty((len(z), width))

    def one(start: int) -> None:
        block = np.zeros((BLOCK_ROWS, z.shape[1]))
        part = z[start : start + BLOCK_ROWS]
        block[: len(part)] = part
        out[start : start + len(part)] = work(block)[: len(part)]

    in_threads(one, range(0, len(z), BLOCK_ROWS))
    return out


def in_threads(work: Callable[[int], None], items: range) -> None:
    """Each item once, over the processors there are; NumPy lets go of the interpreter while it computes."""
    if len(items) < 2:
        for item in items:
            work(item)
        return
    with ThreadPoolExecutor(processors()) as pool:
        for _ in pool.map(work, items):
            pass


def processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def some_rows(rows: int, most: int, rng: np.random.Generator) -> I64:
    """At most so many row numbers, in order."""
    if rows <= most:
        return np.arange(rows, dtype=np.int64)
    return np.sort(rng.choice(rows, most, replace=False)).astype(np.int64)


def by_cohort(cohort: I64, known: Mapping[int, Any], fallback: int = -1) -> list[tuple[int, I64]]:
    """Row numbers by the part that judges them: their cohort's where there is one, else the fallback's."""
    part = np.where(np.isin(cohort, list(known)), cohort, fallback)
    return [(int(code), np.flatnonzero(part == code).astype(np.int64)) for code in np.unique(part)]
