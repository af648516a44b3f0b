"""The detectors that are told the truth: they find what shows, and only that, at the price asked for."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from benchmarks.ceiling import at_price, labelled, told_the_truth
from refrig_assets.evaluation.judge import Scored
from refrig_assets.simulator.plan import TRUTH_SCHEMA

START = datetime(2026, 3, 16, tzinfo=UTC)
HOURS = 72
DEVICES = [f"RF-{n:03d}" for n in range(120)]
ILL = DEVICES[::3]
FAILS = START + timedelta(hours=60)


def scored() -> Scored:
    """A third of the machines wears for two days and fails after 60 hours."""
    truth = pl.DataFrame(
        {
            "device_id": ILL, "fault": ["bearing_wear"] * len(ILL), "is_machine_fault": True, "is_gradual": True,
            "onset": FAILS - timedelta(hours=48), "failure_time": FAILS, "ended_at": FAILS + timedelta(hours=6),
            "severity": 0.7, "sensor": None,
        },
        schema_overrides=TRUTH_SCHEMA,
    )  # fmt: skip
    return Scored(pl.Series("device_id", DEVICES), truth, START, START + timedelta(hours=HOURS))


def rows() -> pl.DataFrame:
    moments = pl.DataFrame({"window_end": [START + timedelta(hours=n + 1) for n in range(HOURS)]})
    moments = moments.with_columns(pl.col("window_end").cast(pl.Datetime("us", "UTC")))
    return pl.DataFrame({"device_id": DEVICES}).join(moments, how="cross").sort("device_id", "window_end")


@pytest.mark.parametrize("kind", ["linear", "trees"])
@pytest.mark.parametrize(("shows", "least", "most"), [(6.0, 0.95, 1.0), (0.0, 0.0, 0.5)])
def test_what_shows_is_found_and_what_does_not_is_not(kind: str, shows: float, least: float, most: float) -> None:
    seen, whole = rows(), scored()
    known = labelled(seen, whole)
    dice = np.random.default_rng(5)
    values = dice.normal(size=(seen.height, 4))
    wearing = ~known["well"].to_numpy() & (known["left"].to_numpy() < 24)
    values[wearing, 2] += shows
    found = at_price(told_the_truth(kind, values, known), seen, whole, 30)
    assert found is not None
    assert least <= found <= most


def test_a_machine_is_well_before_its_fault_and_again_after_the_repair() -> None:
    known = labelled(rows(), scored()).filter(pl.col("device_id") == ILL[0]).sort("window_end")
    well = known["well"].to_list()
    assert well[:11] == [True] * 11
    assert not any(well[12:67])
    assert well[-2:] == [True] * 2
    assert known.filter(pl.col("window_end") == FAILS)["left"].to_list() == [0.0]
