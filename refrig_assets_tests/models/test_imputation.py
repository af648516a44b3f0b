"""What is missing is what the others lead one to expect: in the residuals, in the scores, and never in the reasons."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from refrig_assets.models import IsolationForest, StatisticalBaseline
from refrig_assets.models.base import F32, Bools, Roles
from refrig_assets.models.imputation import Imputation
from refrig_assets_tests.models.fleet import START

CORRELATION = 0.9


def pairs(rows: int = 20_000, seed: int = 0) -> F32:
    """Two columns that move together, and one of its own."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((rows, 3))
    z[:, 1] = CORRELATION * z[:, 0] + np.sqrt(1 - CORRELATION**2) * z[:, 1]
    return z.astype(np.float32)


def gone(z: F32, *columns: int, share: float = 1.0) -> tuple[F32, Bools]:
    """The rows with these columns missing, which is 0, in a share of them."""
    missing = np.zeros(z.shape, dtype=np.bool_)
    missing[np.ix_(np.arange(len(z)) < share * len(z), columns)] = True
    return np.where(missing, np.float32(0), z), missing


def test_a_missing_column_is_what_its_neighbour_says() -> None:
    z = pairs()
    found = Imputation.fit(z, np.zeros(z.shape, dtype=np.bool_))
    row, missing = gone(np.array([[2.0, 9.0, 1.0]], dtype=np.float32), 1)
    np.testing.assert_allclose(found.filled(row, missing), [[2.0, 2.0 * CORRELATION, 1.0]], atol=0.05)


def test_rows_without_it_do_not_weaken_what_is_learnt() -> None:
    """Taken for zeros, a third of missing values would leave two thirds of the relation."""
    z, missing = gone(pairs(), 1, share=1 / 3)
    row, row_missing = gone(np.array([[2.0, 0.0, 0.0]], dtype=np.float32), 1)
    told = Imputation.fit(z, missing).filled(row, row_missing)[0, 1]
    assert told == pytest.approx(2.0 * CORRELATION, abs=0.25)


def test_rows_that_are_whole_or_empty_are_left_alone() -> None:
    z = pairs(50)
    found = Imputation.fit(pairs(), np.zeros((20_000, 3), dtype=np.bool_))
    assert found.filled(z, np.zeros(z.shape, dtype=np.bool_)) is z
    empty, missing = gone(z, 0, 1, 2)
    assert not found.filled(empty, missing).any()


def test_columns_known_together_or_not_at_all_stay_unknown() -> None:
    z = pairs()
    found = Imputation.fit(z, np.zeros(z.shape, dtype=np.bool_), [[1, 2]])
    row = np.array([[2.0, 0.0, 0.0]], dtype=np.float32)
    assert found.filled(*gone(row, 1, 2))[0].tolist() == [2.0, 0.0, 0.0]
    assert found.filled(*gone(row, 1))[0, 1] > 1.5


def test_a_rows_values_do_not_depend_on_its_neighbours() -> None:
    z, missing = gone(pairs(3000), 1, share=0.5)
    missing[::7, 2] = True
    found = Imputation.fit(z, missing)
    together = found.filled(z, missing)
    for row in (0, 7, 1499, 2996):
        np.testing.assert_allclose(found.filled(z[[row]], missing[[row]])[0], together[row], rtol=1e-6, atol=1e-6)


def test_it_is_its_arrays() -> None:
    z, missing = gone(pairs(), 1, share=0.2)
    found = Imputation.fit(z, missing, [[1, 2]])
    again = Imputation.restore(found.arrays())
    assert np.array_equal(again.filled(z, missing), found.filled(z, missing))
    assert Imputation.restore({}).filled(z, missing) is z


def machines(count: int = 30, hours: int = 96) -> pl.DataFrame:
    """Machines whose pressure and temperature follow a load that nobody measures, and a speed that does not."""
    rng = np.random.default_rng(1)
    device = np.repeat(np.arange(count), hours)
    load = rng.standard_normal(count * hours)
    noise = rng.standard_normal((count * hours, 3)) * 0.1
    return pl.DataFrame(
        {
            "device": [f"m{d:02}" for d in device],
            "at": [START + timedelta(hours=int(h)) for h in np.tile(np.arange(hours), count)],
            "pressure": 5 * load + noise[:, 0],
            "temperature": 3 * load + noise[:, 1],
            "speed": 10 * noise[:, 2],
        }
    )


@pytest.mark.parametrize("kind", [StatisticalBaseline, IsolationForest])
def test_a_machine_without_a_sensor_is_no_odder_for_it(kind: type[StatisticalBaseline | IsolationForest]) -> None:
    roles = Roles(("pressure", "temperature", "speed"), device="device", time="at")
    model = kind.fit(machines(), roles, seed=1)
    rows = machines().filter(pl.col("at") > START + timedelta(hours=72))
    whole, without = model.score(rows), model.score(rows.with_columns(pressure=pl.lit(None, pl.Float64)))
    flagged, usual = (scored["anomaly_flag"].to_numpy().mean() for scored in (without, whole))
    assert flagged <= usual + 0.01


def test_what_was_not_measured_is_no_reason() -> None:
    roles = Roles(("pressure", "temperature", "speed"), device="device", time="at")
    model = StatisticalBaseline.fit(machines(), roles)
    row = machines().head(1).with_columns(temperature=pl.lit(40.0), pressure=pl.lit(None, pl.Float64))
    told = model.score(row, reasons="all").row(0, named=True)
    sizes = dict(zip(told["top_contributors"], told["contributor_scores"], strict=True))
    assert sizes["pressure"] == 0
    assert sizes["temperature"] > 0.9
    assert sum(abs(s) for s in sizes.values()) == pytest.approx(1, abs=1e-3)
