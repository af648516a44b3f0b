"""Faults on machines that lack the probe in which they show."""

import polars as pl

from refrig_assets.contracts.sensors import SENSOR_NAMES
from refrig_assets.evaluation.probed import leading_sensors, probed


def test_a_fault_is_seen_by_the_probes_it_shows_in() -> None:
    assert leading_sensors("bearing_wear") == ["vibration_compressor"]
    assert "superheat" in leading_sensors("refrigerant_leak_slow")
    assert leading_sensors("power_loss") == []
    deaf = [s for s in SENSOR_NAMES if s != "vibration_compressor"]
    registry = pl.DataFrame({"device_id": ["whole", "deaf"], "expected_sensors": [list(SENSOR_NAMES), deaf]})
    faults = pl.DataFrame(
        [("whole", "bearing_wear"), ("deaf", "bearing_wear"), ("deaf", "condenser_fouling"), ("deaf", "power_loss")],
        schema=["device_id", "fault"],
        orient="row",
    )
    assert probed(faults, registry).to_list() == [True, False, True, True]
