"""Autoencoder: finds what is planted and names it, learns the same twice, and leaves torch as it was."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from refrig_assets.models.autoencoder import AutoencoderCore
from refrig_assets.models.core import F64
from refrig_assets_tests.models import core_checks
from refrig_assets_tests.models.planted import COLUMNS, Planted, planted

QUICK = {"steps": 600, "cohort_steps": 1200}


@pytest.fixture(scope="module")
def rows() -> Planted:
    return planted()


@pytest.fixture(scope="module")
def core(rows: Planted) -> AutoencoderCore:
    return AutoencoderCore.fit(rows.fit, rows.fit_cohort, QUICK, 0)


def test_finds_and_names_a_column_that_no_longer_fits_the_others(core: AutoencoderCore, rows: Planted) -> None:
    assert sorted(core.parts) == [-1, 0, 1]
    assert core_checks.found_share(core, rows) > 0.9
    assert core_checks.named_first(core, rows) > 0.85


def test_rows_far_off_that_fit_together_are_odd_too(core: AutoencoderCore, rows: Planted) -> None:
    """Ten times a healthy row lies where the network may well tell it again."""
    far = np.clip(rows.healthy * 10, -20, 20)
    limit = np.quantile(core.raw(rows.healthy, rows.cohort), 0.99)
    assert (core.raw(far, rows.cohort) > limit).mean() > 0.95


def test_rows_stand_alone_and_arrays_are_all_there_is(core: AutoencoderCore, rows: Planted) -> None:
    core_checks.rows_stand_alone(core, rows.fit, rows.fit_cohort)
    core_checks.same_after_restore(core, QUICK, rows.odd, rows.cohort)


def test_slopes_are_those_of_finite_differences(core: AutoencoderCore, rows: Planted) -> None:
    net, z = core.parts[-1].net, rows.healthy[:20].astype(np.float64)
    hidden, code = net.encode(z)
    by_code = np.random.default_rng(0).standard_normal(code.shape)
    slope = net.slope(z, hidden, by_code)

    def height(at: F64) -> F64:
        return np.asarray((net.encode(at)[1] * by_code).sum(axis=1))

    for column in range(COLUMNS):
        step = np.zeros(COLUMNS)
        step[column] = 1e-6
        np.testing.assert_allclose((height(z + step) - height(z - step)) / 2e-6, slope[:, column], atol=1e-6)


def test_learns_the_same_twice_and_leaves_torch_as_it_was(rows: Planted) -> None:
    torch.set_num_threads(2)
    state = torch.get_rng_state()
    core_checks.same_when_fitted_again(AutoencoderCore, rows, {**QUICK, "steps": 200})
    assert torch.get_num_threads() == 2
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.equal(torch.get_rng_state(), state)


def test_small_and_unknown_cohorts_use_the_fleets_network(rows: Planted) -> None:
    cohort = np.where(np.arange(len(rows.fit)) < 100, 1, 0)
    core = AutoencoderCore.fit(rows.fit, cohort, {**QUICK, "steps": 200}, 0)
    assert sorted(core.parts) == [-1, 0]
    n = len(rows.odd)
    assert np.array_equal(core.raw(rows.odd, np.full(n, 1)), core.raw(rows.odd, np.full(n, -1)))


def test_scoring_does_not_import_torch() -> None:
    check = "import sys, refrig_assets.models.autoencoder; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize(("rows", "columns"), core_checks.AWKWARD)
def test_awkward_rows(rows: int, columns: int, constant: bool) -> None:
    raw = core_checks.survives(AutoencoderCore, rows, columns, constant, {"steps": 60})
    if rows > 2:
        assert raw[-1] > raw[:-1].max()
