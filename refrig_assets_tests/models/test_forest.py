"""Isolation forest: same paths as scikit-learn's, finds what is planted, and names the column."""

import numpy as np
import pytest
from sklearn.ensemble import IsolationForest

from refrig_assets.models.forest import IsolationForestCore
from refrig_assets.models.forest_paths import Trees, credits, depths, typical_path
from refrig_assets_tests.models import core_checks
from refrig_assets_tests.models.planted import planted

SMALL = {"trees": 60, "rows_per_tree": 256}


@pytest.mark.parametrize("rows_per_tree", [2, 37, 256])
def test_paths_are_those_of_scikit_learn(rows_per_tree: int) -> None:
    rng = np.random.default_rng(0)
    z = rng.standard_t(3, (5000, 7)).astype(np.float32)
    z[:, 3] = 0
    theirs = IsolationForest(n_estimators=30, max_samples=rows_per_tree, random_state=1).fit(z)
    ours = Trees.of([tree.tree_ for tree in theirs.estimators_])
    score = np.exp2(-depths(ours, z) / ours.count / typical_path(np.array([rows_per_tree]))[0])
    np.testing.assert_allclose(score, -theirs.score_samples(z), rtol=1e-12)


def test_values_on_a_cut_go_the_same_way() -> None:
    z = np.random.default_rng(0).integers(0, 4, (600, 3)).astype(np.float32)
    theirs = IsolationForest(n_estimators=20, max_samples=256, random_state=1).fit(z)
    ours = Trees.of([tree.tree_ for tree in theirs.estimators_])
    cuts = np.unique(ours.cut[np.isfinite(ours.cut)])
    on_cuts = np.stack([cuts, cuts, cuts], axis=1)
    score = np.exp2(-depths(ours, on_cuts) / ours.count / typical_path(np.array([256]))[0])
    np.testing.assert_allclose(score, -theirs.score_samples(on_cuts), rtol=1e-12)


def test_credits_add_up_to_what_the_path_fell_short() -> None:
    z = np.random.default_rng(0).standard_normal((300, 4)).astype(np.float32)
    theirs = IsolationForest(n_estimators=20, max_samples=64, random_state=1).fit(z)
    trees = Trees.of([tree.tree_ for tree in theirs.estimators_])
    np.testing.assert_allclose(credits(trees, z).sum(axis=1), trees.path[:, 0].sum() - depths(trees, z), atol=1e-9)


def test_finds_and_names_a_column_that_no_longer_fits_the_others() -> None:
    rows = planted()
    core = IsolationForestCore.fit(rows.fit, rows.fit_cohort, SMALL, 0)
    assert core_checks.found_share(core, rows) > 0.5
    assert core_checks.named_first(core, rows) > 0.85


def test_rows_stand_alone_and_arrays_are_all_there_is() -> None:
    rows = planted()
    core = IsolationForestCore.fit(rows.fit, rows.fit_cohort, SMALL, 0)
    core_checks.rows_stand_alone(core, rows.fit, rows.fit_cohort)
    core_checks.same_after_restore(core, SMALL, rows.odd, rows.cohort)
    core_checks.same_when_fitted_again(IsolationForestCore, rows, SMALL)


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize(("rows", "columns"), core_checks.AWKWARD)
def test_awkward_rows(rows: int, columns: int, constant: bool) -> None:
    raw = core_checks.survives(IsolationForestCore, rows, columns, constant, SMALL)
    if rows > 2 and not constant:
        assert raw[-1] >= raw[:-1].max()
