"""What is left of a row's oddity once the loudest sensor family is set aside, and how that doubts a core."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from refrig_assets.models.base import F32, F64, Roles
from refrig_assets.models.corroboration import Corroboration, shrunk_precision
from refrig_assets.models.judge import Judge
from refrig_assets.models.statistical import StatisticalCore

COLUMNS = tuple("abcdef")
FAMILIES: Mapping[str, Sequence[str]] = {"one": "ab", "two": "cd", "three": "ef", "not here": ["z"], "all": COLUMNS}


def related(rows: int = 4000, seed: int = 0, sensors: int = 3) -> F32:
    """Sensors with two columns each; one cause moves all."""
    rng = np.random.default_rng(seed)
    cause, sensor = rng.normal(size=(rows, 1)), rng.normal(size=(rows, sensors))
    z = cause + np.repeat(sensor, 2, axis=1) + 0.5 * rng.normal(size=(rows, 2 * sensors))
    return (z / 1.5).astype(np.float32)


def doubt(z: F32) -> Corroboration:
    return Corroboration.fit(shrunk_precision(z), COLUMNS, FAMILIES)


def distance(z: F32, precision: F64) -> F64:
    return np.asarray(np.sqrt(((z @ precision) * z).sum(axis=1)))


def test_families_that_leave_nothing_or_take_nothing_are_none() -> None:
    assert doubt(related()).families.astype(int).tolist() == [
        [1, 1, 0, 0, 0, 0],
        [0, 0, 1, 1, 0, 0],
        [0, 0, 0, 0, 1, 1],
    ]


def test_a_lone_family_loses_its_oddity_and_two_keep_it() -> None:
    z = related()
    found = doubt(z)
    healthy, lone, both = related(500, 1), related(500, 1), related(500, 1)
    lone[:, 2:4] += 12
    both[:, 0:4] += 12
    usual = np.quantile(distance(healthy, found.precision), 0.99)
    assert distance(lone, found.precision).min() > usual
    assert (distance(found.without_the_loudest(lone), found.precision) > usual).mean() < 0.02
    assert distance(found.without_the_loudest(both), found.precision).min() > usual


def test_what_is_set_aside_is_what_the_others_lead_to_expect() -> None:
    z = related(20_000)
    found = doubt(z)
    row = related(50, 1)
    row[:, 4:] = 20
    kept = found.without_the_loudest(row)
    np.testing.assert_array_equal(kept[:, :4], row[:, :4])
    others, theirs = z[:, :4].astype(np.float64), z[:, 4:].astype(np.float64)
    expected = row[:, :4] @ np.linalg.lstsq(others, theirs, rcond=None)[0]
    np.testing.assert_allclose(kept[:, 4:], expected, atol=0.05)


def test_each_row_has_its_own_loudest_family_in_any_batch() -> None:
    found = doubt(related())
    rows = np.zeros((3, 6), dtype=np.float32)
    rows[0, 0], rows[1, 2], rows[2, 4] = 9, -9, 9
    together = found.without_the_loudest(rows)
    assert np.abs(together).max() < 1e-5
    mixed = related(300, 1)
    whole = found.without_the_loudest(mixed)
    for at in (0, 100, 299):
        np.testing.assert_allclose(found.without_the_loudest(mixed[at : at + 1])[0], whole[at], atol=1e-5)
    assert found.without_the_loudest(mixed[:0]).shape == (0, 6)


def test_columns_that_are_alike_or_constant_do_not_break_it() -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(size=500)
    z = np.column_stack([one, one, one, np.zeros(500), 2 * one, np.zeros(500)]).astype(np.float32)
    precision = shrunk_precision(z)
    assert np.isfinite(precision).all()
    assert precision[3].tolist() == precision[:, 3].tolist() == [0, 0, 0, 1, 0, 0]
    found = Corroboration.fit(precision, COLUMNS, FAMILIES)
    asked = np.vstack([z[:5], np.full((1, 6), 20)]).astype(np.float32)
    assert np.isfinite(found.without_the_loudest(asked)).all()


def test_what_rounding_leaves_of_a_constant_does_not_vary() -> None:
    z = related(1003)
    z[:, 2] = 0.1
    assert shrunk_precision(z)[2].tolist() == [0, 0, 1, 0, 0, 0]


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_of_too_few_rows_columns_count_as_independent(rows: int) -> None:
    assert shrunk_precision(related()[:rows]).tolist() == np.eye(6).tolist()


def test_precision_is_the_inverse_covariance_shrunk_by_at_least_so_much() -> None:
    z = related(20_000)
    free = np.linalg.inv(shrunk_precision(z))
    np.testing.assert_allclose(free, np.cov(z.T), atol=0.05)
    drawn = np.linalg.inv(shrunk_precision(z, 0.6))
    off = ~np.eye(6, dtype=np.bool_)
    np.testing.assert_allclose(drawn[off], 0.4 * free[off], atol=0.03)
    np.testing.assert_allclose(np.diag(drawn), np.diag(free), rtol=1e-3)


def judge(z: F32, families: Mapping[str, Sequence[str]] | None, columns: tuple[str, ...] = COLUMNS) -> Judge:
    settings: dict[str, Any] = {"families": families}
    everyone, cohort = np.ones(len(z), dtype=np.bool_), np.zeros(len(z), dtype=np.int64)
    return Judge.fit(StatisticalCore, z, cohort, np.arange(len(z)) % 50, everyone, Roles(columns), settings, 0)


def test_a_judge_doubts_one_family_and_believes_two() -> None:
    columns = tuple("abcdefghijklmnopqrst")
    families = {c: columns[2 * n : 2 * n + 2] for n, c in enumerate(columns[:10])}

    z, cohort = related(8000, sensors=10), np.zeros(500, dtype=np.int64)
    believing, doubting = judge(z, None, columns), judge(z, families, columns)
    lone, both = related(500, 1, 10), related(500, 1, 10)
    lone[:, 2:4] += 12
    both[:, 0:4] += 12
    limit = np.quantile(doubting.raw(related(5000, 2, 10), np.zeros(5000, dtype=np.int64)), 0.99)
    assert believing.raw(lone, cohort).min() > 5
    # It counts for no more than twice as rare as what the other sensors say, which is much in some rows.
    assert (doubting.raw(lone, cohort) > limit).mean() < 0.5
    assert doubting.raw(both, cohort).min() > limit
    # Doubt takes away, it never adds.
    full = doubting.full
    assert full is not None
    assert (doubting.raw(lone, cohort) <= full.rarity_of(doubting.core.raw(lone, cohort)) + 1e-12).all()


def test_without_families_or_with_one_column_there_is_no_doubt() -> None:
    z = related(500)
    assert judge(z, None).doubt is None
    assert judge(z, {}).doubt is None
    assert judge(z[:, :1], {"one": ["a"]}, ("a",)).doubt is None


def test_a_judge_is_its_arrays() -> None:
    z, cohort = related(500), np.zeros(500, dtype=np.int64)
    for found in (judge(z, FAMILIES), judge(z, None)):
        kept = found.arrays()
        again = Judge.restore(found.core, lambda name, kept=kept: dict(kept.get(name, {})))
        np.testing.assert_array_equal(again.raw(z, cohort), found.raw(z, cohort))
