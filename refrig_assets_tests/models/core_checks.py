"""What every core must keep to, checked on any of them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from refrig_assets.models.core import F32, F64, I64, Core
from refrig_assets_tests.models.planted import Planted

AWKWARD = [(1, 3), (2, 2), (20, 1), (20, 5)]


def found_share(core: Core, rows: Planted) -> float:
    """Of the odd rows, the share odder than all but one in a hundred of the healthy."""
    limit = np.quantile(core.raw(rows.healthy, rows.cohort), 0.99)
    return float((core.raw(rows.odd, rows.cohort) > limit).mean())


def named_first(core: Core, rows: Planted) -> float:
    """Of the odd rows, the share whose planted column comes first, with the sign it was put off by."""
    parts = core.contributions(rows.odd, rows.cohort)
    row = np.arange(len(parts))
    first = np.abs(parts).argmax(axis=1) == rows.column
    way = np.sign(rows.odd[row, rows.column] - rows.healthy[row, rows.column])
    return float((first & (np.sign(parts[row, rows.column]) == way)).mean())


def rows_stand_alone(core: Core, z: F32, cohort: I64) -> None:
    """A row's values are the same to the bit in any batch and any order."""
    raw, parts = core.raw(z, cohort), core.contributions(z, cohort)
    shuffled = np.random.default_rng(1).permutation(len(z))
    assert np.array_equal(core.raw(z[shuffled], cohort[shuffled]), raw[shuffled])
    assert np.array_equal(core.contributions(z[shuffled], cohort[shuffled]), parts[shuffled])
    for row in (0, len(z) // 2, len(z) - 1):
        assert core.raw(z[row : row + 1], cohort[row : row + 1])[0] == raw[row]


def same_after_restore(core: Core, settings: Mapping[str, Any], z: F32, cohort: I64) -> None:
    kept = core.arrays()
    assert all(a.dtype.kind in "fiubU" for a in kept.values())
    again = type(core).restore(kept, settings)
    assert np.array_equal(again.raw(z, cohort), core.raw(z, cohort))
    assert np.array_equal(again.contributions(z, cohort), core.contributions(z, cohort))


def same_when_fitted_again(core_type: type[Core], rows: Planted, settings: Mapping[str, Any]) -> None:
    fits = [core_type.fit(rows.fit, rows.fit_cohort, settings, 7).raw(rows.odd, rows.cohort) for _ in range(2)]
    assert np.array_equal(*fits)


def survives(core_type: type[Core], rows: int, columns: int, constant: bool, settings: Mapping[str, Any]) -> F64:
    """Few rows, one column, nothing that varies, a cohort of three, cohorts never seen: numbers come out all the same.

    Returns the oddity of the rows and, last, of one far off.
    """
    rng = np.random.default_rng(3)
    z = (np.zeros if constant else rng.standard_normal)((rows, columns)).astype(np.float32)
    cohort = np.zeros(rows, dtype=np.int64)
    cohort[:3] = 1
    cohort[-1] = -1
    core = core_type.fit(z, cohort, settings, 0)
    asked = np.vstack([z, np.full((1, columns), 15, dtype=np.float32)])
    of = np.append(cohort, 77)
    raw, parts = core.raw(asked, of), core.contributions(asked, of)
    assert raw.dtype == np.float64
    assert raw.shape == (rows + 1,)
    assert np.isfinite(raw).all()
    assert parts.shape == asked.shape
    assert np.isfinite(parts).all()
    sizes = np.abs(parts).sum(axis=1)
    assert np.all((sizes < 1 + 1e-9) & ((sizes > 1 - 1e-9) | (sizes == 0)))
    same_after_restore(core, settings, asked, of)
    assert core.raw(asked[:0], of[:0]).shape == (0,)
    assert core.contributions(asked[:0], of[:0]).shape == (0, columns)
    return raw
