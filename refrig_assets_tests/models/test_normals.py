"""What is normal for a device, a cohort and the fleet, and how far rows are from it."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from refrig_assets.models.base import F64, Roles
from refrig_assets.models.blocks import blocks_of, last_part, turns
from refrig_assets.models.conditioning import Conditioner
from refrig_assets.models.drift import trend, wandered
from refrig_assets.models.normals import CLIP, DeviceNormals, group_medians
from refrig_assets_tests.models.fleet import COLUMNS, ROLES, SLOPE, START, fleet, raised

ALIKE = 1.0


def one_column(levels: Mapping[int, float], rows: Mapping[int, int], noise: float = 1.0) -> DeviceNormals:
    """Normals of devices of one cohort."""
    rng = np.random.default_rng(0)
    device = np.concatenate([np.full(n, d) for d, n in rows.items()])
    left = np.concatenate([levels[d] + rng.normal(0, noise, n) for d, n in rows.items()])[:, None]
    return DeviceNormals.learn(left, device, np.zeros(len(device), dtype=np.int64), len(levels), 1, ALIKE)


def expected(normals: DeviceNormals, device: int, cohort: int) -> float:
    return float(normals.expected(np.array([device]), np.array([cohort]))[0, 0])


def test_a_device_known_long_has_its_own_level_and_a_new_one_its_cohorts() -> None:
    levels = {n: float(n - 10) for n in range(21)}
    normals = one_column(levels, {n: 4 if n == 20 else 500 for n in range(21)}, noise=6.0)
    assert expected(normals, 19, 0) == pytest.approx(9, abs=1.0)
    # Its own median would be about 10 off the cohort's.
    own = float(normals.level[20, 0])
    assert abs(expected(normals, 20, 0) - normals.cohort_level[0, 0]) < 0.9 * abs(own - normals.cohort_level[0, 0])
    assert normals.weight[20, 0] < 0.85 < 0.95 < normals.weight[19, 0]
    assert expected(normals, -1, 0) == normals.cohort_level[0, 0] == pytest.approx(0, abs=1.0)


def test_a_machine_ill_from_the_first_day_is_not_its_own_normal() -> None:
    """A fault that stood through the training would else never be found, and its repair would."""
    levels = {n: 60.0 if n == 29 else float(n % 5) for n in range(30)}
    normals = one_column(levels, dict.fromkeys(range(30), 200))
    apart = float(normals.between[0, 0])
    home = float(normals.cohort_level[0, 0])
    assert expected(normals, 29, 0) == pytest.approx(home + 4 * apart, rel=0.05)
    assert expected(normals, 29, 0) < 15
    assert expected(normals, 4, 0) == pytest.approx(4, abs=0.3)


def test_a_device_without_a_value_is_taken_for_its_cohort() -> None:
    normals = one_column({0: 0.0, 1: 1.0, 2: 50.0}, {0: 100, 1: 100})
    assert np.isnan(normals.level[2, 0])
    assert normals.weight[2, 0] == 0
    assert expected(normals, 2, 0) == normals.cohort_level[0, 0] < 2


def test_devices_that_do_not_differ_are_all_taken_for_the_cohort() -> None:
    same = one_column(dict.fromkeys(range(30), 7.0), dict.fromkeys(range(30), 20))
    apart = one_column({n: 7.0 + 3 * n for n in range(30)}, dict.fromkeys(range(30), 20))
    assert same.weight.max() < 0.7
    assert apart.weight.min() > 0.98


def test_neighbouring_rows_that_are_alike_count_as_fewer() -> None:
    rng = np.random.default_rng(0)
    device = np.repeat(np.arange(20), 10)
    left = rng.normal(0, 1, (20, 1))[device] + rng.normal(0, 2, (200, 1))
    none = np.zeros(200, dtype=np.int64)
    alone, alike = (DeviceNormals.learn(left, device, none, 20, 1, a) for a in (1.0, 8.0))
    assert (alike.weight < alone.weight).all()
    np.testing.assert_array_equal(alike.level, alone.level)


def test_the_level_of_a_cohort_is_its_middle_device_however_many_rows_one_has() -> None:
    normals = one_column({0: 0.0, 1: 1.0, 2: 100.0}, {0: 50, 1: 50, 2: 5000}, noise=0.01)
    assert normals.cohort_level[:, 0] == pytest.approx(1, abs=0.1)


def test_medians_by_group_skip_gaps_and_strangers() -> None:
    values = np.array([[1.0, np.nan], [3.0, 5.0], [9.0, np.nan], [100.0, 100.0]])
    medians, counts = group_medians(values, np.array([0, 0, 2, -1]), 4)
    nan = np.nan
    np.testing.assert_array_equal(medians, [[2, 5], [nan, nan], [9, nan], [nan, nan]])
    np.testing.assert_array_equal(counts, [[2, 1], [0, 0], [1, 0], [0, 0]])


def test_residuals_are_clipped_and_zero_where_nothing_is_known() -> None:
    normals = replace(
        DeviceNormals.none(),
        cohort_level=np.zeros((1, 3)),
        within=np.array([[2.0, np.nan, 0.0]]),
        between=np.array([[np.nan, np.nan, 0.0]]),
    )
    z = normals.standardise(np.array([[4.0, 4.0, 4.0], [1e6, np.nan, -1.0]]), np.full(2, -1), np.full(2, -1))
    assert z.tolist() == [[2.0, 0.0, 0.0], [CLIP, 0.0, 0.0]]


def residuals(rows: pl.DataFrame, roles: Roles, asked: pl.DataFrame | None = None) -> F64:
    found = Conditioner.fit(rows, roles)[0].residuals(rows if asked is None else asked)
    return found.astype(np.float64)


def test_conditions_and_levels_are_taken_out() -> None:
    rows = fleet()
    z = residuals(rows, ROLES)
    assert np.abs(np.median(z, axis=0)).max() < 0.1
    np.testing.assert_allclose(z.std(axis=0), 1, atol=0.12)
    for column in z.T:
        assert abs(np.corrcoef(column, rows["ambient"])[0, 1]) < 0.05
    hot = raised(rows, 4, "ambient")
    assert residuals(rows, ROLES, hot).mean() == pytest.approx(-4 * SLOPE, rel=0.15)
    assert residuals(rows, ROLES, raised(hot, 4 * SLOPE, *COLUMNS)).mean() == pytest.approx(0, abs=0.3)


def test_slopes_come_from_how_devices_move_not_from_how_they_differ() -> None:
    """Machines in the heat stand higher for another reason: what happens as one warms up is the other way round."""
    rng = np.random.default_rng(0)
    home = np.repeat(np.linspace(0, 30, 20), 100)
    warm = home + rng.normal(0, 2, 2000)
    rows = pl.DataFrame(
        {"d": np.repeat(np.arange(20), 100), "w": warm, "a": 10 * home - 3 * (warm - home) + rng.normal(0, 0.5, 2000)}
    ).sample(fraction=1, shuffle=True, seed=0)
    roles = Roles(("a",), ("w",), device="d")
    warmer = rows.with_columns(pl.col("w") + 2, pl.col("a") - 6)
    assert np.abs(residuals(rows, roles, warmer)).mean() < 1.5


def test_cohorts_may_respond_differently() -> None:
    rows = fleet(hours=100)
    bent = rows.with_columns(
        a=pl.when(pl.col("cohort") == "c1").then(pl.col("a") - 2 * SLOPE * (pl.col("ambient") - 20)).otherwise("a")
    )
    turned = residuals(bent, ROLES, raised(bent, 3, "ambient"))[:, 0] - residuals(bent, ROLES)[:, 0]
    odd_one = (bent["cohort"] == "c1").to_numpy()
    assert turned[~odd_one].mean() < -2
    assert turned[odd_one].mean() > 1


@pytest.mark.parametrize("device", ["d004", "never seen", None])
def test_who_a_row_is_compared_with(device: str | None) -> None:
    rows = fleet(apart=8.0)
    conditioner, _, _ = Conditioner.fit(rows, ROLES)
    mine = rows.filter(pl.col("device") == "d004")

    def size(device: str | None, cohort: str | None) -> float:
        who = mine.with_columns(device=pl.lit(device, pl.String), cohort=pl.lit(cohort, pl.String))
        return float(np.abs(conditioner.residuals(raised(who, 5, "b"))[:, 1]).mean())

    if device == "d004":
        assert size(device, "c1") > 4
    else:
        assert size(device, "c1") == size("another", "c1") < 3
        assert size(device, "no such") == size("another", None)
    # Of the fleet, a machine whose cohort is not known may be anything.
    assert size(None, None) < 2


def test_a_channel_that_wanders_from_day_to_day_counts_less() -> None:
    rows = fleet(hours=24 * 8)
    rng = np.random.default_rng(0)
    days = rng.normal(0, 6, (8, 24))
    day, device = np.arange(rows.height) // (24 * 24), np.arange(rows.height) % 24
    wandering = rows.with_columns(pl.col("a") + days[day, device])
    normals = Conditioner.fit(wandering, ROLES)[0].normals
    assert normals.within[-1, 0] > 4
    assert normals.within[-1, 1] < 1.4


def test_spreads_are_of_other_blocks_of_time_than_levels() -> None:
    """Every device at a level of its own in every block: within a block all is still, between blocks it is not."""
    rows = fleet(devices=20, hours=40)
    jumps = np.random.default_rng(0).normal(0, 9, (4, 20))
    block, device = np.arange(800) // 200, np.arange(800) % 20
    jumping = rows.with_columns(pl.col("a") + jumps[block, device])
    _, z, found = Conditioner.fit(jumping, ROLES)
    assert found.tolist() == block.tolist()
    assert 0.5 < np.median(np.abs(z[:, 0])) < 2
    # A row that is one of four has moved its device's level towards itself; it is not asked.
    few = Conditioner.fit(fleet(devices=200, hours=4, apart=50.0), ROLES)[0]
    assert few.normals.within[-1].min() > 1.1


def test_restless_conditions_make_less_of_a_deviation() -> None:
    rows = fleet(devices=30, hours=100)
    rng = np.random.default_rng(0)
    defrost = rng.random(rows.height) < 0.15
    stray = rng.normal(0, 1, rows.height) * np.where(defrost, 6.0, 1.0)
    restless = rows.with_columns(defrost=pl.Series(defrost), a=pl.col("a") + stray)
    roles = Roles(COLUMNS, ("ambient", "defrost"), device="device", cohort="cohort", time="at")
    conditioner, _, _ = Conditioner.fit(restless, roles)
    off = conditioner.residuals(raised(restless, 8, "a", "b")) - conditioner.residuals(restless)
    assert np.median(off[defrost, 0]) < 0.5 * np.median(off[~defrost, 0])
    # Columns that keep calm meanwhile are believed.
    assert np.median(off[defrost, 1]) > 0.7 * np.median(off[~defrost, 1])


def test_few_devices_say_nothing_of_restless_conditions() -> None:
    assert not Conditioner.fit(fleet(devices=19), ROLES)[0].restless.any()


def test_a_column_that_trends_in_health_is_forgiven() -> None:
    rows = fleet(hours=24 * 6)
    age = (pl.col("at") - START).dt.total_hours() / (24 * 6)
    ageing = rows.with_columns(pl.col("a") + 12 * age)
    conditioner, _, _ = Conditioner.fit(ageing, ROLES)
    still, _, _ = Conditioner.fit(rows, ROLES)
    assert not still.wander.any()
    assert conditioner.wander[0] > 0.5
    assert conditioner.wander[1:].tolist() == [0, 0]
    assert conditioner.normals.within[-1, 0] > 8
    z = wandered(np.zeros((5000, 3), dtype=np.float32), conditioner.wander, 0)
    assert z[:, 0].std() == pytest.approx(conditioner.wander[0], rel=0.05)
    assert not z[:, 1:].any()


def test_a_trend_must_be_clear() -> None:
    rng = np.random.default_rng(0)
    device, time = np.tile(np.arange(10), 100), np.repeat(np.arange(100), 10) * 3_600_000_000
    noise = rng.normal(size=(1000, 2))
    rising = noise + np.column_stack([np.zeros(1000), np.repeat(np.linspace(0, 5, 100), 10)])
    np.testing.assert_allclose(trend(rising, device, time), [0, 5], atol=0.4)
    # One machine's trend is a machine's, but it is told as well where devices are not told apart.
    nobody = np.full(1000, -1)
    np.testing.assert_allclose(trend(rising, nobody, time), [0, 5], atol=0.4)
    assert trend(np.full((1000, 2), np.nan), device, time).tolist() == [0, 0]


def test_levels_follow_the_newest_rows_and_spreads_stay() -> None:
    rows = fleet()
    conditioner, _, _ = Conditioner.fit(rows, ROLES)
    higher = raised(rows, 30, "a")
    refreshed = conditioner.refreshed(higher)
    assert conditioner.residuals(higher)[:, 0].min() > 15
    assert abs(float(np.median(refreshed.residuals(higher)[:, 0]))) < 0.2
    np.testing.assert_array_equal(refreshed.normals.within, conditioner.normals.within)


def test_a_residual_is_the_same_in_any_order_and_after_restoring() -> None:
    rows = fleet()
    conditioner, _, _ = Conditioner.fit(rows, ROLES)
    asked = fleet(seed=1)
    z = conditioner.residuals(asked)
    order = np.random.default_rng(0).permutation(len(z))
    np.testing.assert_allclose(conditioner.residuals(asked[order]), z[order], atol=1e-5)
    np.testing.assert_array_equal(Conditioner.restore(ROLES, conditioner.arrays()).residuals(asked), z)


NOBODY = np.full(8, -1)


def test_blocks_are_filled_and_in_order() -> None:
    assert blocks_of(np.array([0, 1, 2, 3, 100, 101, 102, 103]), NOBODY).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert blocks_of(np.full(8, 9), NOBODY).tolist() == [0] * 8
    assert np.unique(blocks_of(np.array([0] * 60 + [5] * 40), np.zeros(100, dtype=np.int64))).tolist() == [0, 1]


def test_without_time_every_device_is_in_every_block() -> None:
    assert blocks_of(None, NOBODY).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert blocks_of(None, np.repeat([3, 1], 4)).tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
    assert blocks_of(None, np.array([5, 6, 5, 6])).tolist() == [0, 0, 1, 1]
    assert turns(np.array([1, 0, 1, 0, 0, -1])).tolist() == [0, 0, 0.5, 1 / 3, 2 / 3, 0]


def test_the_last_part_leaves_a_gap() -> None:
    hours = np.arange(1000) * timedelta(hours=1).total_seconds()
    before, after = last_part(hours, 0.3)
    assert np.flatnonzero(after).min() == pytest.approx(700, abs=2)
    assert np.flatnonzero(before).max() == pytest.approx(669, abs=2)
    assert not (before & after).any()
    # One clock that is years off changes nothing.
    for wrong in (0, -1):
        hours[wrong] = 1e12 * (1 + wrong * 2)
        assert last_part(hours, 0.3)[1].sum() == pytest.approx(300, abs=2)
    assert [part.any() for part in last_part(np.full(10, 5.0), 0.3)] == [False, True]


def moods(machines: int, days: int, seed: int) -> tuple[F64, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Values, device and time in microseconds: levels that come and go over four days, and no trend."""
    rng = np.random.default_rng(seed)
    turns = rng.normal(size=(machines, days // 4 + 2))
    hours = np.arange(24 * days)
    values = np.stack([np.interp(hours / 96, np.arange(turns.shape[1]), t) for t in turns])
    device = np.repeat(np.arange(machines), len(hours))
    return values.reshape(-1, 1), device, np.tile(hours, machines) * 3_600_000_000


def test_the_moods_of_a_fleet_are_no_trend() -> None:
    """Each machine's line through its blocks is clear enough; that it does not go on gives it away."""
    values, device, time = moods(machines=100, days=10, seed=0)
    assert trend(values, device, time)[0] == 0
    ageing = values + 4 * (time / time.max())[:, None]
    assert trend(ageing, device, time)[0] == pytest.approx(4, rel=0.2)


def test_levels_learnt_anew_know_machines_that_were_not_there() -> None:
    rows = fleet(devices=20)
    known, late = (rows.filter((pl.col("device") == "d003") == so) for so in (False, True))
    late = raised(late, 8, "a")
    conditioner, _, _ = Conditioner.fit(known, ROLES)
    before = conditioner.residuals(late)[:, 0]
    refreshed = conditioner.refreshed(pl.concat([known, late]))
    after = refreshed.residuals(late)[:, 0]
    assert abs(np.median(after)) < 0.2 * abs(np.median(before))
    # The others keep theirs.
    np.testing.assert_allclose(np.median(refreshed.residuals(known), axis=0), 0, atol=0.3)
