"""From oddity to score: what a score promises holds on rows not seen, whatever the oddity's distribution."""

from collections.abc import Callable

import numpy as np
import pytest

from refrig_assets.models.base import F64, I64
from refrig_assets.models.calibration import PROMISED, RARITY, SCORES, Calibration, healthy, upper

Draw = Callable[[np.random.Generator, int], F64]
KINDS: dict[str, Draw] = {
    "uniform": lambda rng, n: rng.random(n),
    "normal": lambda rng, n: rng.normal(50, 3, n),
    "exponential": lambda rng, n: rng.exponential(0.01, n),
    "distance of many columns": lambda rng, n: np.sqrt(rng.chisquare(20, n)),
    "negative": lambda rng, n: -rng.exponential(5, n),
}


def units(rows: int, count: int) -> I64:
    return np.arange(rows, dtype=np.int64) % count


def test_the_contracts_shares_are_those_of_the_scale() -> None:
    assert PROMISED == {0.6: 1e-2, 0.7: 1e-3, 0.85: 1e-4, 0.95: 1e-6}
    for score, share in PROMISED.items():
        assert np.interp(-np.log10(share), RARITY, SCORES) == pytest.approx(score)


# Tails lighter than exponential are taken for exponential: a little more is flagged, and less is far out.
LIGHT = ("uniform", "negative")


@pytest.mark.parametrize("kind", KINDS)
def test_promises_hold_on_fresh_rows(kind: str) -> None:
    draw = KINDS[kind]
    scale = Calibration.fit(draw(np.random.default_rng(0), 20_000), units(20_000, 100))
    fresh = scale.score(draw(np.random.default_rng(1), 200_000))
    flagged, far = (fresh > 0.6).mean(), (fresh > 0.7).mean()
    assert 0.8e-2 < flagged < (1.5e-2 if kind in LIGHT else 1.2e-2)
    assert (0.0 if kind in LIGHT else 0.5e-3) <= far < 1.5e-3
    assert (fresh > 0.85).mean() <= 3e-4
    assert np.median(fresh) == pytest.approx(0.2, abs=0.02)
    assert np.quantile(fresh, 0.9) == pytest.approx(0.45, abs=0.02)


@pytest.mark.parametrize("rows", [1, 2, 10, 60, 500, 5000])
@pytest.mark.parametrize("kind", KINDS)
def test_rarity_never_falls_and_stays_finite(kind: str, rows: int) -> None:
    raw = KINDS[kind](np.random.default_rng(2), rows)
    scale = Calibration.fit(raw, units(rows, 25))
    size = float(np.abs(raw).max())
    asked = np.sort(np.r_[np.linspace(-2 * size, 10 * size, 2000), raw, -1e9, 1e9])
    rarity, score = scale.rarity_of(asked), scale.score(asked)
    assert np.isfinite(rarity).all()
    assert (np.diff(rarity) >= 0).all()
    assert (np.diff(score) >= 0).all()
    assert rarity[0] == 0
    assert score[0] == 0
    assert score[-1] == 1


def test_few_rows_do_not_promise_what_they_cannot_know() -> None:
    """Calibrated on sixty rows, few healthy rows are flagged, and what is far out is."""
    shares = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        scale = Calibration.fit(rng.normal(size=60), units(60, 6))
        shares.append((scale.score(rng.normal(size=5000)) > 0.6).mean())
        assert scale.score(np.array([20.0]))[0] > 0.7
    assert np.median(shares) < 0.02
    assert max(shares) < 0.1


def test_no_rows_at_all_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"no held-out rows.*give rows of more time"):
        Calibration.fit(np.zeros(0), units(0, 1))


def test_at_most_a_tenth_of_the_units_is_left_out() -> None:
    rng = np.random.default_rng(0)
    unit = units(10_000, 100)
    raw = rng.exponential(1.0, 10_000)
    assert healthy(raw, unit).mean() > 0.98
    few, many = np.where(unit < 8, raw + 30, raw), np.where(unit < 30, raw + 30, raw)
    assert np.unique(unit[~healthy(few, unit)]).tolist() == list(range(8))
    left_out = np.unique(unit[~healthy(many, unit)])
    assert len(left_out) <= 10
    assert set(left_out) <= set(range(30))


def test_few_units_are_all_kept() -> None:
    unit = units(1900, 19)
    assert healthy(np.where(unit == 0, 1000.0, 1.0), unit).all()


def test_ill_units_do_not_stretch_the_tail() -> None:
    rng = np.random.default_rng(0)
    unit = units(20_000, 100)
    clean = rng.exponential(1.0, 20_000)
    ill = np.where(unit < 8, clean + rng.exponential(15, 20_000), clean)
    told = [Calibration.fit(raw, unit).rarity_of(np.array([8.0, 14.0])) for raw in (clean, ill)]
    np.testing.assert_allclose(told[1], told[0], rtol=0.15)


def test_a_tail_of_a_few_units_that_were_not_cleaned_does_not_stretch_it_either() -> None:
    """Units ill for a part of the time too short to stand out by: that the tail is theirs alone gives them away."""
    rng = np.random.default_rng(0)
    unit = units(40_000, 400)
    clean = rng.exponential(1.0, 40_000)
    tail = rng.permutation(np.flatnonzero(unit < 60))[:1800]
    ill = clean.copy()
    ill[tail] += 5 + rng.exponential(20, len(tail))
    own, all_over = Calibration.fit(ill, unit), Calibration.fit(ill, rng.permutation(unit))
    assert own.shape == 0
    assert own.scale < all_over.scale / 3
    # The same rows spread over all units are how these machines are.
    assert all_over.rarity_of(np.array([25.0]))[0] < 3


def test_a_heavy_tail_of_all_units_is_kept() -> None:
    rng = np.random.default_rng(0)
    heavy = np.abs(rng.standard_t(4, 40_000))
    scale = Calibration.fit(heavy, units(40_000, 200))
    assert scale.shape > 0.1
    fresh = scale.score(np.abs(rng.standard_t(4, 400_000)))
    assert (fresh > 0.7).mean() == pytest.approx(1e-3, rel=0.5)
    assert (fresh > 0.85).mean() < 3e-4


def test_the_scale_is_its_arrays() -> None:
    rng = np.random.default_rng(0)
    scale = Calibration.fit(rng.exponential(1, 3000), units(3000, 30))
    asked = rng.exponential(3, 1000)
    again = Calibration.restore(scale.arrays())
    assert np.array_equal(again.rarity_of(asked), scale.rarity_of(asked))


def test_the_upper_level_of_a_unit_is_its_own() -> None:
    raw = np.r_[np.arange(100.0), [7.0], np.arange(1000.0, 1020.0)]
    code = np.r_[np.zeros(100), [1], np.full(20, 2)].astype(np.int64)
    assert upper(raw, code, 3).tolist() == [95.0, 7.0, 1019.0]


def test_a_heavy_tail_of_few_units_is_not_taken_over() -> None:
    """However short it begins: what leads up to the tail tells how it would go on where all is well."""
    rng = np.random.default_rng(0)
    unit = units(60_000, 600)
    raw = np.exp(0.3 * rng.normal(size=600))[unit] * rng.random(60_000)
    ill = (unit < 60) & (rng.random(60_000) < 0.3)
    raw[ill] = np.quantile(raw, 0.97) + 0.05 * rng.pareto(3.0, int(ill.sum()))
    own, all_over = Calibration.fit(raw, unit), Calibration.fit(raw, rng.permutation(unit))
    assert own.shape == 0 < 0.1 < all_over.shape
    far = np.array([3.5])
    assert own.rarity_of(far)[0] > all_over.rarity_of(far)[0] + 1
