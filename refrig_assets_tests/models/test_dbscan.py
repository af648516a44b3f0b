"""DBSCAN: distance to the dense regions of a cohort, whichever side of them a row is on, and the columns to blame."""

import numpy as np
import pytest

from refrig_assets.models.dbscan import DbscanCore
from refrig_assets_tests.models import core_checks
from refrig_assets_tests.models.planted import planted


def test_finds_and_names_a_column_that_no_longer_fits_the_others() -> None:
    rows = planted()
    core = DbscanCore.fit(rows.fit, rows.fit_cohort, {}, 0)
    assert sorted(core.regions) == [-1, 0, 1]
    assert core_checks.found_share(core, rows) > 0.85
    assert core_checks.named_first(core, rows) > 0.8


def test_between_two_ways_of_running_is_odd() -> None:
    """No column is out of its range there, and the mean of all rows is near."""
    rng = np.random.default_rng(0)
    modes = np.where(rng.random((2000, 1)) < 0.5, -3.0, 3.0)
    z = (modes + 0.3 * rng.standard_normal((2000, 4))).astype(np.float32)
    core = DbscanCore.fit(z, np.zeros(2000, dtype=np.int64), {}, 0)
    between = core.raw(np.zeros((1, 4), dtype=np.float32), np.zeros(1, dtype=np.int64))[0]
    assert between > np.quantile(core.raw(z, np.zeros(2000, dtype=np.int64)), 0.99)


def test_a_small_group_of_faults_is_no_region_of_its_own() -> None:
    rng = np.random.default_rng(0)
    z = rng.standard_normal((2000, 4)).astype(np.float32)
    z[:60] = 12 + 0.1 * rng.standard_normal((60, 4))
    core = DbscanCore.fit(z, np.zeros(2000, dtype=np.int64), {}, 0)
    raw = core.raw(z, np.zeros(2000, dtype=np.int64))
    assert raw[:60].min() > raw[60:].max()


def test_a_cohort_of_three_is_judged_by_the_fleet() -> None:
    rows = planted()
    cohort = rows.fit_cohort.copy()
    cohort[:3] = 5
    core = DbscanCore.fit(rows.fit, cohort, {}, 0)
    n = len(rows.odd)
    assert np.array_equal(core.raw(rows.odd, np.full(n, 5)), core.raw(rows.odd, np.full(n, -1)))


def test_rows_stand_alone_and_arrays_are_all_there_is() -> None:
    rows = planted()
    core = DbscanCore.fit(rows.fit, rows.fit_cohort, {}, 0)
    core_checks.rows_stand_alone(core, rows.fit, rows.fit_cohort)
    core_checks.same_after_restore(core, {}, rows.odd, rows.cohort)
    core_checks.same_when_fitted_again(DbscanCore, rows, {})


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize(("rows", "columns"), core_checks.AWKWARD)
def test_awkward_rows(rows: int, columns: int, constant: bool) -> None:
    raw = core_checks.survives(DbscanCore, rows, columns, constant, {})
    if rows > 2:
        assert raw[-1] > raw[:-1].max()
