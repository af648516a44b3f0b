"""A small fleet as a table: machines with levels of their own in cohorts, a condition that moves them, and noise."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from refrig_assets.models import Roles

START = datetime(2026, 3, 2, tzinfo=UTC)
COLUMNS = ("a", "b", "c")
ROLES = Roles(COLUMNS, ("ambient",), device="device", cohort="cohort", time="at")
SLOPE = 2.0


def fleet(devices: int = 24, hours: int = 60, *, cohorts: int = 3, seed: int = 0, apart: float = 5.0) -> pl.DataFrame:
    """One row a device and hour, by hour. Noise is 1, cohorts lie 20 apart, devices `apart` within them."""
    rng = np.random.default_rng(seed)
    device = np.tile(np.arange(devices), hours)
    hour = np.repeat(np.arange(hours), devices)
    level = np.random.default_rng(1000).normal(0, apart, (devices, len(COLUMNS)))
    level += 20.0 * (np.arange(devices) % cohorts)[:, None]
    ambient = rng.normal(20, 3, len(device))
    return pl.DataFrame(
        {
            "device": [f"d{n:03}" for n in device],
            "cohort": [f"c{n % cohorts}" for n in device],
            "at": [START + timedelta(hours=int(h)) for h in hour],
            "ambient": ambient,
            **{
                c: level[device, k] + SLOPE * (ambient - 20) + rng.normal(size=len(device))
                for k, c in enumerate(COLUMNS)
            },
        }
    )


def raised(rows: pl.DataFrame, by: float, *columns: str) -> pl.DataFrame:
    return rows.with_columns(pl.col(c) + by for c in columns)
