"""What tells one failure mode from another, from refrigeration practice: signs, leading indicators, levels of failure.

Tables only. The signs by which faults are found are `FAULT_SIGNS` of the models; these add what tells them apart.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from refrig_assets.contracts.features import STATISTICS

Signs = Mapping[str, Mapping[str, float]]

# What a diagnosis looks at: the level of every sensor that tells of the machine, and how restless three of them are.
# Ambient temperature, door and defrost are conditions, not signs.
SENSED: tuple[str, ...] = (
    *(f"{s}_mean" for s in STATISTICS if s != "temp_ambient"),
    "vibration_compressor_p95",
    "temp_evaporator_std",
    "superheat_std",
    "pressure_low_std",
)

# Signs beside those that faults are found by. Weights are no finer than "as much", "half as much", "a little":
# a leak empties the high side, too, and the gas that is left comes back and leaves hotter; a dirty condenser costs
# power; cold gas of an iced coil leaves the compressor cooler; a valve that hunts takes the suction pressure with it.
FURTHER_SIGNS: Signs = {
    "refrigerant_leak": {
        "pressure_high_mean": -0.5, "temp_condenser_mean": -0.5, "current_compressor_mean": -0.5,
        "temp_discharge_mean": 0.3,
    },
    "condenser_fouling": {"current_compressor_mean": 0.5},
    "evaporator_icing": {"temp_discharge_mean": -0.3},
    "bearing_wear": {"temp_discharge_mean": 0.2},
    "valve_hunting": {"pressure_low_std": 0.5},
    "door_seal": {"temp_condenser_mean": 0.3, "pressure_high_mean": 0.3},
    "liquid_slugging": {
        "superheat_mean": -1, "temp_discharge_mean": -1, "vibration_compressor_mean": 1, "vibration_compressor_p95": 1,
        "temp_suction_mean": -0.5, "current_compressor_mean": 0.5,
    },
    "compressor_overload": {"current_compressor_mean": 1, "temp_discharge_mean": 0.5},
}  # fmt: skip

# What a defrost does for a quarter of an hour or two, to no harm.
DEFROST: Mapping[str, float] = {
    "temp_evaporator_mean": 1, "temp_discharge_mean": -0.7, "current_compressor_mean": -0.7, "temp_suction_mean": 0.5,
    "vibration_compressor_mean": -0.3, "temp_condenser_mean": -0.3, "pressure_high_mean": -0.3,
}  # fmt: skip

# What moves a machine as a failure does, and is none; a weight of 0 says what must be as usual. A set point that was
# lowered takes evaporator and suction pressure down as ice does; but the valve holds its superheat, the motor works no
# harder, and the gas, compressed farther, leaves hotter. Through warm rooms the suction gas follows by half.
LOWERED = "set_point_lowered"
HARMLESS: Signs = {
    LOWERED: {
        "temp_evaporator_mean": -1, "pressure_low_mean": -1, "temp_suction_mean": -0.5, "temp_discharge_mean": 0.5,
        "superheat_mean": 0, "current_compressor_mean": 0,
    },
}  # fmt: skip

# A sensor that is off alone is a sensor fault. Vibration is believed alone, unless there is too little of it.
LONE_SENSORS: tuple[str, ...] = tuple(s for s in STATISTICS if s not in ("temp_ambient", "vibration_compressor"))

# Modes that show in hardly more than one sensor, whose moods could pass for them.
ONE_SENSOR: tuple[str, ...] = ("compressor_overload",)


def signatures(found_by: Signs) -> dict[str, dict[str, float]]:
    """The signs of every mode that shows as a pattern: those it is found by, and the further ones."""
    modes = dict.fromkeys([*found_by, *FURTHER_SIGNS])
    return {m: {**FURTHER_SIGNS.get(m, {}), **found_by.get(m, {})} for m in modes}


@dataclass(frozen=True)
class Indicator:
    """What leads a failure, and how far it goes before such machines stop: 10 %, half and 90 % have by then."""

    feature: str
    sign: float
    fails_at: tuple[float, float, float]
    relative: bool = False
    """in multiples of what is expected rather than in the feature's unit"""
    accelerates: bool = False
    """wear and ice feed on themselves, and what is left of a surface shrinks; a leak goes on as it began"""


# From practice: a coil starved by some ten kelvin holds no temperature; high-pressure switches open 7 to 20 K above the
# usual; defrosts on demand start when ice takes 3 to 5 K, and some 8 close the coil; a bearing is done at 2.5 to 5
# times its usual vibration (between the zones of ISO 20816 lie factors of about 2.5).
INDICATORS: Mapping[str, tuple[Indicator, ...]] = {
    "refrigerant_leak": (
        Indicator("superheat_mean", 1, (6.0, 9.0, 14.0)),
        Indicator("temp_evaporator_mean", -1, (5.0, 8.0, 12.0)),
        Indicator("pressure_low_mean", -1, (0.2, 0.3, 0.45), relative=True),
    ),
    "condenser_fouling": (
        Indicator("temp_condenser_mean", 1, (7.0, 12.0, 20.0), accelerates=True),
        Indicator("pressure_high_mean", 1, (0.2, 0.35, 0.6), relative=True, accelerates=True),
    ),
    "evaporator_icing": (
        Indicator("temp_evaporator_mean", -1, (2.5, 4.5, 8.0), accelerates=True),
        Indicator("pressure_low_mean", -1, (0.08, 0.15, 0.3), relative=True, accelerates=True),
    ),
    "bearing_wear": (Indicator("vibration_compressor_mean", 1, (1.5, 2.5, 4.0), relative=True, accelerates=True),),
}
