"""Whether a machine has a probe in which its fault shows: what no probe sees, no detector finds. Frames only."""

import polars as pl

from refrig_assets.contracts.sensors import SENSORS
from refrig_assets.contracts.trends import sensor_of
from refrig_assets.evaluation.diagnosed import MODES_OF
from refrig_assets.models.views import FAULT_SIGNS

# Signs of this weight lead; the others come with them and are slighter.
_LEADING = 1.0


def leading_sensors(fault: str) -> list[str]:
    """The sensors in which a kind of fault shows first, as the registry names them; none where no signs are known."""
    names = {s.short: s.name for s in SENSORS}
    signs = [FAULT_SIGNS[mode] for mode in MODES_OF.get(fault, ()) if mode in FAULT_SIGNS]
    leading = {sensor_of(f) for by_feature in signs for f, weight in by_feature.items() if abs(weight) >= _LEADING}
    return sorted(names[short] for short in leading)


def probed(faults: pl.DataFrame, registry: pl.DataFrame) -> pl.Series:
    """By fault (device_id, fault): whether its machine has one of the leading sensors. Without known signs: yes."""
    expected = dict(registry.select("device_id", "expected_sensors").iter_rows())
    return pl.Series(
        "probed",
        [
            not (leading := leading_sensors(fault)) or bool(set(leading) & set(expected.get(device) or ()))
            for device, fault in faults.select("device_id", "fault").iter_rows()
        ],
        dtype=pl.Boolean,
    )
