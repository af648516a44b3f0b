"""The kinds of faults, as a table: what each changes in the machine or its telemetry, how fast, and how it ends.

Where and when they strike is `plan.py`; what the changes do to the sensors is `physics.py` and `sensors.py`.
"""

from dataclasses import dataclass, field
from typing import Literal

Growth = Literal["linear", "exponential", "step"]
MINUTE, HOUR, DAY = 1.0, 60.0, 1440.0

# What a fault can change in a machine, each 0 when healthy. `physics.py` gives them their meaning.
CHANNELS: tuple[str, ...] = (
    "charge",  # share of the refrigerant missing that still lets it cool, felt by every pressure
    "burst",  # share of the low-side pressure lost with a broken pipe
    "fouling",  # share of the condenser's surface lost
    "icing",  # share of the evaporator's surface lost
    "hunting",  # amplitude of the valve's oscillation
    "floodback",  # liquid returning to the compressor
    "load",  # additional heat load
    "moisture",  # additional humidity
    "friction",  # additional compressor work
    "vibration",  # additional vibration, in multiples of the normal
    "locked",  # towards the current of a locked rotor
    "overload",  # towards a current above the device's threshold
    "off",  # compressor not running
    "warm_coil",  # coil warming up because nothing cools it
    "equalise",  # pressures of both sides meeting
)


@dataclass(frozen=True)
class Effect:
    """A channel moves by `gain` at full level. A step follows with the time constant, in minutes."""

    channel: str
    gain: float
    time_constant: float = 0.0


# A machine that has failed stands still until it is repaired.
STANDSTILL: tuple[Effect, ...] = (
    Effect("off", 1.0),
    Effect("warm_coil", 1.0, 4.0),
    Effect("equalise", 1.0, 18.0),
)


# A worn bearing breaks up before it seizes: in the last minutes it shakes the machine many times as much.
BREAK_UP_MIN = 10.0
_BREAK_UP: tuple[Effect, ...] = (Effect("vibration", 12.0),)


@dataclass(frozen=True)
class FaultKind:
    name: str
    is_machine_fault: bool
    is_gradual: bool
    growth: Growth
    duration: tuple[float, float]  # minutes from onset to full level
    usual_share: float
    effects: tuple[Effect, ...] = ()
    fails: bool = False  # ends in a standstill at full level
    lasts: tuple[float, float] = (4 * HOUR, 12 * HOUR)  # minutes from full level until repaired
    needs_sensor: bool = False
    severities: tuple[float, float] = field(default=(0.6, 1.0))
    break_up: tuple[Effect, ...] = ()  # what comes on top in the last BREAK_UP_MIN minutes before a failure


def _machine(name: str, growth: Growth, duration: tuple[float, float], share: float, *effects: Effect,
             gradual: bool = True, fails: bool = True, lasts: tuple[float, float] = (4 * HOUR, 12 * HOUR),
             severities: tuple[float, float] = (0.6, 1.0), break_up: tuple[Effect, ...] = ()) -> FaultKind:  # fmt: skip
    return FaultKind(name, True, gradual, growth, duration, share, effects, fails, lasts, False, severities, break_up)


def _telemetry(name: str, growth: Growth, duration: tuple[float, float], share: float,
               lasts: tuple[float, float], gradual: bool = False, needs_sensor: bool = False) -> FaultKind:  # fmt: skip
    return FaultKind(name, False, gradual, growth, duration, share, lasts=lasts, needs_sensor=needs_sensor)


_SLOW = (1.0 * DAY, 6 * DAY)
_CERTAIN = (0.9, 1.0)

FAULTS: tuple[FaultKind, ...] = (
    _machine("refrigerant_leak_slow", "linear", _SLOW, 0.005, Effect("charge", 1.0)),
    _machine("refrigerant_leak_fast", "linear", (5, 8), 0.002, Effect("burst", 1.0),
             gradual=False, severities=_CERTAIN),
    _machine("bearing_wear", "exponential", _SLOW, 0.005, Effect("vibration", 4.0), Effect("friction", 0.18),
             break_up=_BREAK_UP),
    _machine("compressor_seizure", "step", (2, 4), 0.001, Effect("locked", 1.0), Effect("vibration", 3.5),
             gradual=False, severities=_CERTAIN),
    _machine("compressor_overload", "linear", (4, 15), 0.0015, Effect("overload", 1.3), Effect("friction", 0.1),
             gradual=False, severities=_CERTAIN),
    _machine("condenser_fouling", "linear", _SLOW, 0.005, Effect("fouling", 1.0)),
    _machine("evaporator_icing", "exponential", (1 * DAY, 4 * DAY), 0.004, Effect("icing", 1.0)),
    _machine("valve_hunting", "linear", (1 * DAY, 3 * DAY), 0.003, Effect("hunting", 1.0),
             fails=False, lasts=(5 * DAY, 20 * DAY)),
    _machine("liquid_slugging", "linear", (10, 40), 0.001, Effect("floodback", 1.0), Effect("vibration", 4.5),
             Effect("friction", 0.25), gradual=False, severities=_CERTAIN),
    _machine("door_seal", "linear", (2 * DAY, 6 * DAY), 0.004, Effect("load", 0.42), Effect("moisture", 1.0),
             fails=False, lasts=(10 * DAY, 30 * DAY)),
    _machine("power_loss", "step", (20, 60), 0.0015, *STANDSTILL, gradual=False, severities=(1.0, 1.0),
             lasts=(0.5 * HOUR, 4 * HOUR)),
    _telemetry("sensor_stuck", "step", (1, 1), 0.003, (3 * DAY, 20 * DAY), needs_sensor=True),
    _telemetry("sensor_drift", "linear", (1 * DAY, 6 * DAY), 0.003, (3 * DAY, 20 * DAY), True, needs_sensor=True),
    _telemetry("sensor_dead", "step", (1, 1), 0.004, (5 * DAY, 40 * DAY), needs_sensor=True),
    _telemetry("dropouts", "step", (1, 1), 0.004, (2 * DAY, 10 * DAY)),
    _telemetry("clock_drift", "step", (1, 1), 0.002, (5 * DAY, 30 * DAY)),
    _telemetry("firmware_scale", "step", (1, 1), 0.01, (30 * DAY, 60 * DAY)),
)  # fmt: skip
BY_NAME: dict[str, FaultKind] = {f.name: f for f in FAULTS}
NUMBER: dict[str, int] = {f.name: i for i, f in enumerate(FAULTS)}

# How far a drifting sensor is off at full severity, in its unit.
DRIFT_SIZE: dict[str, float] = {
    "temperature_evaporator": 9.0,
    "temperature_condenser": 10.0,
    "temperature_ambient": 9.0,
    "temperature_discharge": 18.0,
    "temperature_suction": 9.0,
    "pressure_high_side": 350.0,
    "pressure_low_side": 70.0,
    "current_compressor": 5.0,
    "vibration_compressor": 4.0,
    "humidity": 25.0,
    "superheat": 8.0,
    "subcooling": 5.0,
}
FIRMWARE_SCALE = 6.895  # a firmware that takes kPa for psi
SCALED_SENSORS: tuple[str, ...] = ("pressure_high_side", "pressure_low_side")


def parse_faults(text: str) -> dict[str, float]:
    """Shares of devices by kind from "usual", "none" or "bearing_wear=0.02,door_seal=0.01"."""
    text = text.strip()
    if text in ("", "none"):
        return {}
    if text == "usual":
        return {f.name: f.usual_share for f in FAULTS}
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, _, share = (p.strip() for p in part.partition("="))
        if name not in BY_NAME:
            raise ValueError(f"unknown fault {name!r}; known are: {', '.join(BY_NAME)}, or 'usual' or 'none'")
        try:
            shares[name] = float(share) if share else BY_NAME[name].usual_share
        except ValueError:
            raise ValueError(f"the share of {name} must be a number from 0 to 1, not {share!r}") from None
    return check_shares(shares)


def check_shares(shares: dict[str, float]) -> dict[str, float]:
    for name, share in shares.items():
        if name not in BY_NAME:
            raise ValueError(f"unknown fault {name!r}; known are: {', '.join(BY_NAME)}")
        if not 0 <= share <= 1:
            raise ValueError(f"the share of {name} must be from 0 to 1, not {share}")
    if sum(shares.values()) > 1:
        raise ValueError(f"the shares sum to {sum(shares.values()):.2f}; a device has at most one fault")
    return shares
