"""The whole fleet's hour, within its time and memory. Slow."""

import resource
import time

import pytest

from refrig_assets.simulator import make_fleet, plan_faults, simulate_hour

from .helpers import HOUR, START


@pytest.mark.slow
def test_an_hour_of_the_whole_fleet() -> None:
    fleet = make_fleet(100_000, 7, START)
    plan = plan_faults(fleet, START, START + HOUR * 24, 3)
    begin = time.process_time()
    found = simulate_hour(fleet, plan, START + HOUR * 11)
    # A generous bar: it takes about 9 s of a core.
    assert time.process_time() - begin < 60
    assert found.height > 5_700_000
    assert found["event_id"].n_unique() == found.height
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6 < 6
