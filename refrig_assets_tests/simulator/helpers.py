"""Where the tests' fleets start, and ranges of hours."""

from datetime import UTC, datetime, timedelta

import polars as pl

from refrig_assets.simulator import FaultPlan, Fleet, simulate_hour

START = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)


def simulate(fleet: Fleet, plan: FaultPlan, start: datetime, hours: int) -> pl.DataFrame:
    return pl.concat([simulate_hour(fleet, plan, start + HOUR * h) for h in range(hours)])
