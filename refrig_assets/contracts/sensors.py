"""The 14 sensors of a device: names, units, valid ranges. Nothing here knows of tables or frames."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sensor:
    name: str
    unit: str
    short: str
    description: str
    low: float | None = None
    high: float | None = None

    @property
    def is_bool(self) -> bool:
        return self.low is None


SENSORS: tuple[Sensor, ...] = (
    Sensor("temperature_evaporator", "°C", "temp_evaporator", "evaporator surface temperature", -60, 30),
    Sensor("temperature_condenser", "°C", "temp_condenser", "condenser surface temperature", 20, 80),
    Sensor("temperature_ambient", "°C", "temp_ambient", "air temperature around the unit", -40, 60),
    Sensor("temperature_discharge", "°C", "temp_discharge", "compressor discharge gas temperature", 30, 150),
    Sensor("temperature_suction", "°C", "temp_suction", "compressor suction gas temperature", -40, 30),
    Sensor("pressure_high_side", "kPa", "pressure_high", "condensing (high side) pressure, absolute", 500, 3500),
    Sensor("pressure_low_side", "kPa", "pressure_low", "evaporating (low side) pressure, absolute", 50, 800),
    Sensor("current_compressor", "A", "current_compressor", "compressor motor current", 0, 50),
    Sensor("vibration_compressor", "mm/s RMS", "vibration_compressor", "compressor vibration velocity", 0, 100),
    Sensor("humidity", "%RH", "humidity", "relative humidity around the unit", 0, 100),
    Sensor("door_open_close", "true = open", "door_open", "door contact"),
    Sensor("defrost_cycle", "true = active", "defrost_active", "defrost in progress"),
    Sensor("superheat", "K", "superheat", "suction superheat; negative is kept and flagged", -5, 50),
    Sensor("subcooling", "K", "subcooling", "liquid line subcooling; negative is kept and flagged", -5, 30),
)

SENSOR_NAMES: tuple[str, ...] = tuple(s.name for s in SENSORS)
NUMERIC_SENSORS: tuple[Sensor, ...] = tuple(s for s in SENSORS if not s.is_bool)
BOOL_SENSORS: tuple[Sensor, ...] = tuple(s for s in SENSORS if s.is_bool)
SENSOR_BIT: dict[str, int] = {name: 1 << i for i, name in enumerate(SENSOR_NAMES)}
MAY_BE_NEGATIVE_BUT_FLAGGED: tuple[str, ...] = ("superheat", "subcooling")
