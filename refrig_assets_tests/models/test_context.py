"""The basis of conditions and the columns' response to it."""

from itertools import pairwise

import numpy as np
import pytest

from refrig_assets.models.base import F64, I64
from refrig_assets.models.context import Basis, demeaned, response, restlessness

DAY_US = 86_400_000_000


def explained(condition: F64, column: F64, at: F64) -> F64:
    """What the response to a condition, learnt from rows, says of other conditions."""
    basis = Basis.of(condition[:, None], None)
    found = response(basis.rows(condition[:, None], None), column[:, None], None, 1.0)
    return (basis.rows(at[:, None], None) @ found)[:, 0]


def test_a_bent_response_is_recovered() -> None:
    """A fan that takes over above 25 degrees: flat below, a line above."""
    rng = np.random.default_rng(0)
    warm = rng.uniform(0, 40, 20_000)
    at = np.linspace(2, 38, 50)
    bent = explained(warm, np.maximum(warm - 25, 0.0) + rng.normal(0, 4, len(warm)), at)
    # The bend lies between two of the basis; a parabola, the best that few rows allow, is nearly twice as far off.
    assert np.abs(bent - np.maximum(at - 25, 0.0)).max() < 1.3
    assert np.abs(bent - np.maximum(at - 25, 0.0)).mean() < 0.5


def test_of_few_rows_a_response_is_a_parabola() -> None:
    warm = np.random.default_rng(0).uniform(0, 40, 500)
    at = np.linspace(2, 38, 50)
    np.testing.assert_allclose(explained(warm, (warm - 10) ** 2, at), (at - 10) ** 2, atol=8)
    assert not np.isfinite(Basis.of(warm[:, None], None).bends).any()


def test_a_condition_of_few_values_does_not_bend() -> None:
    on = np.random.default_rng(0).integers(0, 2, (20_000, 1)).astype(float)
    assert not np.isfinite(Basis.of(on, None).bends).any()


@pytest.mark.parametrize("size", [5.0, 30.0, 100.0])
def test_a_condition_that_seldom_holds_is_conditioned_on_as_a_whole(size: float) -> None:
    """A defrost takes a tenth of the time and moves columns by many times their noise."""
    rng = np.random.default_rng(0)
    on = (rng.random(5000) < 0.1).astype(float)
    off, defrost = explained(on, size * on + rng.normal(size=5000), np.array([0.0, 1.0]))
    assert defrost - off == pytest.approx(size, abs=0.3)


def test_one_row_in_ten_far_out_hardly_moves_the_response() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=2000)
    y = 3 * x + rng.normal(0, 0.1, 2000)
    y[::10] += 100 * np.abs(x[::10])
    spared = response(np.column_stack([np.ones(2000), x]), y[:, None], None, 1.0)
    assert spared[1, 0] == pytest.approx(3, abs=0.1)


def test_few_rows_follow_the_prior_and_many_their_own() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5000, 1))
    basis, prior = np.hstack([np.ones((5000, 1)), x]), np.array([[0.0], [1.0]])
    slopes = [response(basis[:n], 3 * x[:n], prior, 200.0)[1, 0] for n in (5, 200, 5000)]
    assert slopes[0] < 1.2
    assert 1.7 < slopes[1] < 2.3
    assert slopes[2] > 2.8
    np.testing.assert_array_equal(response(basis[:5], np.full((5, 1), np.nan), prior, 200.0), prior)


@pytest.mark.parametrize("missing", [0.2, 0.7])
def test_what_is_missing_does_not_draw_the_response_to_zero(missing: float) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=4000)
    y = np.where(rng.random(4000) < missing, np.nan, 50 + 3 * x)
    found = response(np.column_stack([np.ones(4000), x]), y[:, None], None, 1.0)
    np.testing.assert_allclose(found[:, 0], [50, 3], atol=0.6)


def test_a_missing_condition_counts_as_its_median_and_a_constant_one_as_nothing() -> None:
    context = np.column_stack([np.arange(11.0), np.full(11, 7.0)])
    basis = Basis.of(context, None)
    asked = np.array([[np.nan, 3.0], [5.0, np.nan], [5.0, 7.0]])
    rows = basis.rows(asked, None)
    assert np.isfinite(rows).all()
    np.testing.assert_array_equal(rows[0], rows[1])
    np.testing.assert_array_equal(rows[0], rows[2])


def test_a_condition_far_out_of_what_was_seen_is_drawn_in() -> None:
    context = np.random.default_rng(0).normal(size=(1000, 1))
    basis = Basis.of(context, None)
    np.testing.assert_array_equal(basis.rows(np.array([[1e6]]), None), basis.rows(np.array([[50.0]]), None))


def test_the_rhythm_of_the_day_needs_three_days() -> None:
    nothing = np.zeros((100, 0))

    def over(days: float) -> I64:
        return np.linspace(0, days * DAY_US, 100).astype(np.int64)

    assert not Basis.of(nothing, None).daily
    assert not Basis.of(nothing, over(2.9)).daily
    basis = Basis.of(nothing, over(4))
    assert basis.daily
    at = np.array([0, DAY_US, DAY_US // 4])
    midnight, next_midnight, morning = basis.rows(nothing[:3], at)
    np.testing.assert_allclose(midnight, next_midnight, atol=1e-9)
    assert np.abs(morning - midnight).max() > 0.5


def test_products_of_conditions_only_where_there_are_few() -> None:
    rng = np.random.default_rng(0)
    widths = [Basis.of(c, None).rows(c, None).shape[1] for c in (rng.normal(size=(50, k)) for k in range(6))]
    assert widths == [1, 3, 1 + 4 + 1, 1 + 6 + 3, 1 + 8 + 6, 1 + 10]


def test_demeaned_by_group_leaves_strangers_and_gaps_alone() -> None:
    values = np.array([[1.0], [3.0], [10.0], [np.nan], [7.0]])
    group = np.array([0, 0, 2, 2, -1])
    np.testing.assert_array_equal(demeaned(values, group), [[-1], [1], [0], [np.nan], [7]])
    np.testing.assert_array_equal(demeaned(values, np.full(5, -1)), values)


def test_restless_conditions_are_found_by_how_much_more_columns_stray_there() -> None:
    rng = np.random.default_rng(0)
    defrost = (rng.random(5000) < 0.2).astype(float)
    size = np.column_stack([np.where(defrost > 0, 3.0, 0.5), np.ones(5000)])
    basis = np.column_stack([np.ones(5000), defrost])
    extra = np.array([[1.0, 0.0], [1.0, 1.0]]) @ restlessness(basis, size)
    np.testing.assert_allclose(extra, [[-0.5, 0.0], [2.0, 0.0]], atol=0.1)
    # A few rows of a cohort do not speak against what the fleet says.
    fleet = restlessness(basis, size)
    few = restlessness(basis[:10], np.ones((10, 2)), fleet)
    told, own = np.array([1.0, 1.0]) @ few, np.array([1.0, 1.0]) @ fleet
    assert all(low <= high for low, high in pairwise((0.0, told[0], own[0] + 1e-9)))
