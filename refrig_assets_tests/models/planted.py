"""Residuals with planted oddities: columns that follow a few hidden causes, a noise of their own, and cohorts."""

from dataclasses import dataclass

import numpy as np

from refrig_assets.models.core import F32, F64, I64

COLUMNS = 12
COHORTS = 2


@dataclass(frozen=True)
class Planted:
    """Rows to fit on (a few of them odd), healthy rows of another draw, and rows with one column put off."""

    fit: F32
    fit_cohort: I64
    healthy: F32
    odd: F32
    column: I64
    cohort: I64


def planted(rows: int = 3000, *, size: float = 6.0, seed: int = 0) -> Planted:
    rng = np.random.default_rng(seed)
    loads = rng.standard_normal((COHORTS, 3, COLUMNS))

    def draw(n: int) -> tuple[F64, I64]:
        cohort = rng.integers(0, COHORTS, n)
        causes = np.einsum("nk,nkd->nd", rng.standard_normal((n, 3)), loads[cohort])
        z = causes + 0.5 * rng.standard_normal((n, COLUMNS))
        return z / np.sqrt(np.square(loads[cohort]).sum(axis=1) + 0.25), cohort.astype(np.int64)

    fit, fit_cohort = draw(rows)
    fit[: rows // 50] += rng.normal(0, size, (rows // 50, COLUMNS))
    healthy, cohort = draw(500)
    odd, column = healthy.copy(), rng.integers(0, COLUMNS, 500)
    odd[np.arange(500), column] += size * rng.choice([-1.0, 1.0], 500)
    return Planted(_f32(fit), fit_cohort, _f32(healthy), _f32(odd), column.astype(np.int64), cohort)


def _f32(z: F64) -> F32:
    return np.clip(z, -20, 20).astype(np.float32)
