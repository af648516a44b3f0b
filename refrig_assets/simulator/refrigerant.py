"""Saturation curves of refrigerants, tabulated once from CoolProp and interpolated. No machine, no fleet."""

from functools import cache

import numpy as np
import numpy.typing as npt

from refrig_assets.simulator.noise import F32, F64

REFRIGERANTS: tuple[str, ...] = ("R404A", "R290", "R134a", "R1234yf")
# How much the gas heats when compressed: T_discharge / T_suction = ratio ** exponent, losses included.
COMPRESSION_EXPONENT: dict[str, float] = {"R404A": 0.124, "R290": 0.134, "R134a": 0.138, "R1234yf": 0.118}

T_MIN, T_MAX, T_STEP = -70.0, 70.0, 0.25
_TEMPERATURES: F64 = np.arange(T_MIN, T_MAX + T_STEP / 2, T_STEP)


@cache
def _pressures() -> F32:
    """kPa by refrigerant and temperature step. CoolProp is imported only here: it takes longer than the table."""
    from CoolProp.CoolProp import PropsSI

    kelvin = _TEMPERATURES + 273.15
    # Dew point (quality 1): it is the vapour whose pressure the probes measure.
    return np.stack([np.asarray(PropsSI("P", "T", kelvin, "Q", 1, name)) / 1000 for name in REFRIGERANTS]).astype(
        np.float32
    )


def saturation_pressure(refrigerant: npt.NDArray[np.int64], temperature: F32) -> F32:
    """kPa at °C. `refrigerant` holds indices into REFRIGERANTS and broadcasts against `temperature`."""
    table = _pressures()
    last = table.shape[1] - 2
    x = (temperature - np.float32(T_MIN)) * np.float32(1 / T_STEP)
    at = np.clip(x.astype(np.int32), 0, last)
    part = np.clip(x - at, 0, 1).astype(np.float32)
    flat = table.ravel()
    index = at + (refrigerant * table.shape[1]).astype(np.int32)
    low = flat[index]
    found: F32 = low + (flat[index + 1] - low) * part
    return found


def saturation_temperature(refrigerant: str, pressure: F64) -> F64:
    """°C at kPa, the inverse, for one refrigerant."""
    return np.interp(pressure, _pressures()[REFRIGERANTS.index(refrigerant)].astype(np.float64), _TEMPERATURES)
