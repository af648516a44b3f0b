"""Known faults as directions, and the statistical core that weighs them against distance from normal."""

import numpy as np
import pytest

from refrig_assets.models.base import F32
from refrig_assets.models.core import F64
from refrig_assets.models.faults import KnownFaults
from refrig_assets.models.statistical import StatisticalCore
from refrig_assets_tests.models import core_checks
from refrig_assets_tests.models.planted import planted

LEVEL = {"leak": {0: 1.0, 1: -1.0}, "wear": {2: 1.0}}
COMING = {"leak": {3: 1.0, 4: -1.0}}
SETTINGS = {"groups": [[0, 1, 2], [2, 3, 4, 5]], "faults": LEVEL, "coming": COMING}


def healthy(rows: int = 5000, seed: int = 0) -> F32:
    return np.random.default_rng(seed).standard_normal((rows, 6)).astype(np.float32)


def known(z: F32) -> KnownFaults:
    return KnownFaults.fit(z, np.ones(len(z), dtype=np.bool_), LEVEL, COMING, 0.6)


def row(**columns: float) -> F32:
    """A row of zeros but for c0, c1, ..."""
    found = np.zeros((1, 6), dtype=np.float32)
    for name, value in columns.items():
        found[0, int(name[1:])] = value
    return found


def rarity(faults: KnownFaults, z: F32, fault: int = 0) -> float:
    return float(faults.rarities(z)[0, fault])


def test_a_row_along_a_fault_is_rarer_than_one_across_or_against_it() -> None:
    faults = known(healthy())
    along = rarity(faults, row(c0=3, c1=-3))
    assert along > 4
    assert along > rarity(faults, row(c0=np.sqrt(18))) + 1
    assert rarity(faults, row(c0=3, c1=3)) < 0.5
    assert rarity(faults, row(c0=-3, c1=3)) < 0.5
    assert rarity(faults, row(c5=9)) < 0.5
    assert rarity(faults, row(c0=3, c1=-3), fault=1) < 0.5
    assert rarity(faults, row(c2=4.5), fault=1) > 4


def test_health_has_variance_one_along_each_fault_however_columns_go_together() -> None:
    z = healthy()
    z[:, 1] = 0.8 * z[:, 0] + 0.6 * z[:, 1]
    # A covariance that is not shrunk: what holds exactly.
    faults = KnownFaults.fit(z, np.ones(len(z), dtype=np.bool_), LEVEL, COMING, 0.0)
    np.testing.assert_allclose((z @ faults.level.T).std(axis=0), 1, atol=0.02)
    assert faults.coming[1].tolist() == [0] * 6


def test_a_level_and_its_change_together_are_rarer_than_either_alone() -> None:
    faults = known(healthy())
    both, level, change = row(c0=3, c1=-3, c3=3, c4=-3), row(c0=3, c1=-3, c3=-3, c4=3), row(c3=3, c4=-3)
    assert rarity(faults, both) > rarity(faults, level) + 2
    assert rarity(faults, both) > rarity(faults, change) + 2
    # A level that was there three days ago already counts for half of what it says, and little more.
    alone = rarity(faults, row(c0=3, c1=-3))
    assert 0.5 * alone <= rarity(faults, level) < 0.5 * alone + 0.5
    assert rarity(faults, change) < 0.5


def test_the_level_bounds_what_a_change_says() -> None:
    faults = known(healthy())
    changes = [row(c0=1, c1=-1, c3=size, c4=-size) for size in (0.5, 2, 10, 25)]
    found = [rarity(faults, z) for z in changes]
    assert found[0] < found[1] == found[2] == found[3]
    assert rarity(faults, row(c3=25, c4=-25)) < 0.5


def test_where_no_change_is_known_the_level_says_it_alone() -> None:
    faults = known(healthy())
    level = row(c0=3, c1=-3)
    expected = faults.level_tails[0].rarity_of(np.maximum(level @ faults.level.T, 0)[:, 0])[0]
    assert rarity(faults, level) == pytest.approx(expected, rel=1e-6)
    # The slightest change that is known tells that there was next to none.
    assert rarity(faults, row(c0=3, c1=-3, c3=1e-3)) < 0.75 * expected
    # And a fault whose change is not described never asks for it.
    assert rarity(faults, row(c2=4, c3=5), fault=1) == pytest.approx(rarity(faults, row(c2=4), fault=1))


def test_shares_are_those_of_the_columns_that_speak_for_the_fault() -> None:
    faults = known(healthy())
    parts = faults.shares(row(c0=3, c1=3, c3=3, c5=9).astype(np.float64), 0)[0]
    assert parts[0] > 0
    assert parts[3] > 0
    assert parts[[1, 2, 4, 5]].tolist() == [0, 0, 0, 0]


def core(z: F32, **settings: object) -> StatisticalCore:
    return StatisticalCore.fit(z, np.zeros(len(z), dtype=np.int64), settings, 0)


def raw(found: StatisticalCore, z: F32) -> float:
    return float(found.raw(z, np.zeros(len(z), dtype=np.int64))[0])


def test_a_known_fault_is_found_before_it_stands_out() -> None:
    z = healthy()
    knowing, plain = core(z, faults=LEVEL), core(z)
    early = row(c0=2.3, c1=-2.3)
    assert raw(knowing, early) > raw(plain, early) + 1


def test_what_no_known_fault_explains_must_be_rarer() -> None:
    z = healthy()
    strict, plain = core(z, faults=LEVEL, unknown_discount=1.0), core(z, faults=LEVEL)
    assert raw(plain, row(c5=5)) - raw(strict, row(c5=5)) == pytest.approx(1.0)
    assert raw(plain, row(c0=4, c1=-4)) == raw(strict, row(c0=4, c1=-4))


def test_columns_that_go_together_are_odd_apart() -> None:
    z = healthy()
    z[:, 1] = 0.95 * z[:, 0] + 0.3 * z[:, 1]
    found = core(z)
    assert raw(found, row(c0=1.8, c1=-1.8)) > raw(found, row(c0=1.8, c1=1.8)) + 3


def test_columns_in_no_group_are_not_judged() -> None:
    found = core(healthy(), groups=[[0, 1], [2]])
    assert raw(found, row(c5=20)) == raw(found, row())
    assert raw(found, row(c2=6)) > 4


def test_contributions_are_of_what_stands_out_most() -> None:
    z = healthy()
    found = core(z, **SETTINGS)
    none = np.zeros(1, dtype=np.int64)

    def parts(asked: F32) -> F64:
        return found.contributions(asked, none)[0]

    by_fault = parts(row(c0=4, c1=-4, c3=4, c4=-4, c5=1))
    assert np.sign(by_fault).tolist() == [1, -1, 0, 1, -1, 0]
    assert parts(row(c5=-12)).argmin() == 5
    assert parts(row(c5=-12))[5] < -0.9
    cohort = np.zeros(len(z), dtype=np.int64)
    odd = found.raw(z, cohort) > 1
    np.testing.assert_allclose(np.abs(found.contributions(z[odd], cohort[odd])).sum(axis=1), 1)


def test_faults_among_the_rows_do_not_hide_themselves() -> None:
    z = healthy()
    z[:200, 4:] = 10
    found = core(z)
    assert np.linalg.inv(found.groups[0].precision)[4, 4] == pytest.approx(1, abs=0.15)


def test_finds_and_names_a_column_that_no_longer_fits_the_others() -> None:
    rows = planted()
    found = StatisticalCore.fit(rows.fit, rows.fit_cohort, {}, 0)
    assert core_checks.found_share(found, rows) > 0.8
    assert core_checks.named_first(found, rows) > 0.8


@pytest.mark.parametrize("settings", [{}, SETTINGS], ids=["plain", "faults"])
def test_arrays_are_all_there_is(settings: dict[str, object]) -> None:
    z = np.tile(healthy(), 2)
    cohort = np.zeros(len(z), dtype=np.int64)
    found = StatisticalCore.fit(z, cohort, settings, 0)
    core_checks.same_after_restore(found, settings, z, cohort)


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize(("rows", "columns"), core_checks.AWKWARD)
def test_awkward_rows(rows: int, columns: int, constant: bool) -> None:
    found = core_checks.survives(StatisticalCore, rows, columns, constant, {})
    if rows > 2:
        assert found[-1] > found[:-1].max()
