"""Units a plant may write its values in, and their conversion to the contract's. Numbers and words only: no columns'
names, no files.

Every conversion is linear, (value - shift) * factor + offset, so that it costs one pass and can be turned round.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from refrig_assets.contracts.sensors import SENSORS, Sensor

ATMOSPHERE_KPA = 101.325
PSI_KPA = 6.894757293168361
_QUANTITY_OF_UNIT = {
    "°C": "temperature",
    "K": "temperature difference",
    "kPa": "pressure",
    "A": "current",
    "mm/s RMS": "vibration",
    "%RH": "humidity",
}
TRUE_WORDS: tuple[str, ...] = ("true", "1", "on", "open", "opened", "yes", "y", "t", "active")
FALSE_WORDS: tuple[str, ...] = ("false", "0", "off", "closed", "close", "shut", "no", "n", "f", "inactive")


class UnitError(ValueError):
    """A unit nobody knows, or one that needs more facts than were declared."""


@dataclass(frozen=True)
class Circumstances:
    """What some conversions need to know of the plant."""

    atmospheric_kpa: float = ATMOSPHERE_KPA
    voltage_v: float | None = None
    power_factor: float | None = None
    phases: int | None = None


@dataclass(frozen=True)
class Unit:
    """A unit of a quantity, with what makes it the contract's."""

    name: str
    quantity: str
    factor: float = 1.0
    shift: float = 0.0
    offset: float = 0.0

    def to_contract(self, value: pl.Expr) -> pl.Expr:
        result = value - self.shift if self.shift else value
        result = result * self.factor if self.factor != 1 else result
        return result + self.offset if self.offset else result

    def from_contract(self, value: pl.Expr) -> pl.Expr:
        return (value - self.offset) / self.factor + self.shift


# Per quantity: name → (factor, shift, gauge). The name is what messages show.
_TABLE: dict[str, dict[str, tuple[float, float, bool]]] = {
    "temperature": {"°C": (1, 0, False), "°F": (5 / 9, 32, False), "K": (1, 273.15, False)},
    "temperature difference": {"K": (1, 0, False), "Δ°F": (5 / 9, 0, False)},
    "pressure": {
        "kPa": (1, 0, False),
        "Pa": (0.001, 0, False),
        "hPa": (0.1, 0, False),
        "mbar": (0.1, 0, False),
        "bar": (100, 0, False),
        "MPa": (1000, 0, False),
        "psi": (PSI_KPA, 0, False),
        "kPag": (1, 0, True),
        "barg": (100, 0, True),
        "MPag": (1000, 0, True),
        "psig": (PSI_KPA, 0, True),
    },
    "current": {"A": (1, 0, False), "mA": (0.001, 0, False)},
    "vibration": {
        "mm/s": (1, 0, False),
        "in/s": (25.4, 0, False),
        "m/s": (1000, 0, False),
        "mm/s peak": (1 / math.sqrt(2), 0, False),
        "in/s peak": (25.4 / math.sqrt(2), 0, False),
    },
    "humidity": {"%": (1, 0, False), "fraction": (100, 0, False)},
}
_POWER = {"kW": 1000.0, "W": 1.0}

# Other spellings, in the squeezed form that `_squeeze` makes.
_SPELLINGS: dict[str, dict[str, str]] = {
    "temperature": {
        **dict.fromkeys(("c", "degc", "degreesc", "celsius", "℃", "degreescelsius"), "°C"),
        **dict.fromkeys(("f", "degf", "degreesf", "fahrenheit", "℉", "degreesfahrenheit"), "°F"),
        **dict.fromkeys(("kelvin", "degk", "°k"), "K"),
    },
    "temperature difference": {
        **dict.fromkeys(("°c", "c", "degc", "deltac", "δ°c", "δc", "celsius", "℃", "kelvin", "δk", "deltak"), "K"),
        **dict.fromkeys(("°f", "f", "degf", "deltaf", "δf", "delta°f", "fahrenheit", "℉", "°r", "rankine"), "Δ°F"),
    },
    "pressure": {
        **dict.fromkeys(("kpaa", "kpaabs", "kilopascal", "kilopascals"), "kPa"),
        **dict.fromkeys(("pascal", "pascals", "paabs"), "Pa"),
        **dict.fromkeys(("millibar", "mbara", "mbars"), "mbar"),
        **dict.fromkeys(("bara", "barabs", "bars"), "bar"),
        **dict.fromkeys(("mpaa", "mpaabs", "megapascal"), "MPa"),
        **dict.fromkeys(("psia", "psiabs", "lbf/in2", "lbf/in²"), "psi"),
        **dict.fromkeys(("kpagauge", "kpag"), "kPag"),
        **dict.fromkeys(("bargauge",), "barg"),
        **dict.fromkeys(("psigauge", "#g"), "psig"),
    },
    "current": dict.fromkeys(("amp", "amps", "ampere", "amperes"), "A")
    | dict.fromkeys(("milliamp", "milliamps", "milliampere"), "mA"),
    "vibration": {
        **dict.fromkeys(("mm/srms", "mm/sec", "mms", "mmps", "mmpersecond"), "mm/s"),
        **dict.fromkeys(("in/srms", "in/sec", "ips", "inch/s", "inches/s"), "in/s"),
        **dict.fromkeys(("m/srms", "m/sec"), "m/s"),
        **dict.fromkeys(("mm/speak", "mm/spk", "mm/s0-p"), "mm/s peak"),
        **dict.fromkeys(("in/speak", "in/spk", "ipspk", "ipspeak"), "in/s peak"),
    },
    "humidity": {
        **dict.fromkeys(("%rh", "rh", "rh%", "percent", "pct", "%r.h"), "%"),
        **dict.fromkeys(("ratio", "0-1", "0..1", "fractionrh"), "fraction"),
    },
}
# Read as absolute because the contract says so; most controllers mean gauge when they write them.
OFTEN_GAUGE: frozenset[str] = frozenset({"psi", "bar"})


def quantity_of(sensor: Sensor) -> str:
    return "boolean" if sensor.is_bool else _QUANTITY_OF_UNIT[sensor.unit]


def known_units(sensor: Sensor) -> tuple[str, ...]:
    quantity = quantity_of(sensor)
    return tuple(_TABLE.get(quantity, ())) + (tuple(_POWER) if quantity == "current" else ())


def parse_unit(sensor: Sensor, text: str, plant: Circumstances | None = None) -> Unit:
    """The unit a text means for this sensor, spelled tolerantly, or an UnitError that names those known."""
    quantity = quantity_of(sensor)
    plant = plant or Circumstances()
    if quantity == "boolean":
        raise UnitError(f"{sensor.name} is true or false and has no unit; leave {text!r} out (see true_values)")
    name = _name_of(quantity, text)
    if name in _POWER and quantity == "current":
        return _from_power(sensor, name, plant)
    if name not in _TABLE[quantity]:
        raise UnitError(
            f"unit {text!r} of {sensor.name} is unknown; known for a {quantity}: {', '.join(known_units(sensor))}"
        )
    factor, shift, gauge = _TABLE[quantity][name]
    return Unit(name, quantity, factor, shift, plant.atmospheric_kpa if gauge else 0.0)


def units_of(sensor: Sensor, plant: Circumstances | None = None) -> tuple[Unit, ...]:
    """Every unit the sensor's values could be in without further facts."""
    return tuple(parse_unit(sensor, name, plant) for name in _TABLE.get(quantity_of(sensor), ()))


def _squeeze(text: str) -> str:
    """Lower case, without blanks, dots, brackets and underscores: what people vary."""
    kept = text.strip().lower().replace("º", "°").replace("˚", "°")
    return "".join(c for c in kept if c not in " _()[]{}").removesuffix(".")


def _name_of(quantity: str, text: str) -> str:
    """The table's name for a spelling, or an empty text."""
    names: tuple[str, ...] = (*_TABLE[quantity], *(_POWER if quantity == "current" else ()))
    if text.strip() in names:  # exactly as written first: MPa is not mPa
        return text.strip()
    squeezed = _squeeze(text)
    for name in names:
        if _squeeze(name) == squeezed:
            return name
    found: str = _SPELLINGS[quantity].get(squeezed, "")
    return found


def _from_power(sensor: Sensor, name: str, plant: Circumstances) -> Unit:
    """Amperes of an electrical power: P = U · I · cos φ, times √3 for three phases."""
    lacking = [k for k in ("voltage_v", "power_factor", "phases") if getattr(plant, k) is None]
    if lacking:
        raise UnitError(
            f"{sensor.name} in {name} needs {', '.join(lacking)} under [plant] to become amperes "
            "(for example voltage_v = 400, power_factor = 0.82, phases = 3)"
        )
    assert plant.voltage_v is not None
    assert plant.power_factor is not None
    if plant.phases not in (1, 3):
        raise UnitError(f"phases must be 1 or 3, not {plant.phases}")
    if plant.voltage_v <= 0 or not 0 < plant.power_factor <= 1:
        raise UnitError("voltage_v must be above 0 and power_factor above 0 and at most 1")
    volts = plant.voltage_v * plant.power_factor * (math.sqrt(3) if plant.phases == 3 else 1.0)
    return Unit(name, "current", _POWER[name] / volts)


def number(value: pl.Expr, dtype: pl.DataType, decimal: str = ".") -> pl.Expr:
    """A source column as numbers; what is no number becomes null."""
    if dtype == pl.String:
        text = value.str.strip_chars()
        if decimal != ".":
            text = text.str.replace(decimal, ".", literal=True)
        return text.str.strip_prefix("+").cast(pl.Float64, strict=False)
    if dtype.is_numeric() or dtype == pl.Boolean:
        return value.cast(pl.Float64, strict=False)
    return pl.lit(None, dtype=pl.Float64)


def truth(
    value: pl.Expr,
    dtype: pl.DataType,
    true_values: Sequence[str] | None = None,
    false_values: Sequence[str] | None = None,
) -> pl.Expr:
    """A source column as true and false; other words become null.

    With only `true_values` given, the usual words that are not among them are false; likewise the other way round.
    So true_values = ["closed"] turns a contact that is made when the door is shut.
    """
    words = set(TRUE_WORDS) | set(FALSE_WORDS)
    yes = {_word(v) for v in true_values} if true_values is not None else None
    no = {_word(v) for v in false_values} if false_values is not None else None
    if yes is None and no is None:
        yes, no = set(TRUE_WORDS), set(FALSE_WORDS)
    yes = words - (no or set()) if yes is None else yes
    no = words - yes if no is None else no
    if dtype.is_numeric():
        # 0 and 0.0 are the same word
        text: pl.Expr = pl.when(value.cast(pl.Float64) == value.cast(pl.Float64).round()).then(
            value.cast(pl.Int64, strict=False).cast(pl.String)
        )
    elif dtype == pl.Boolean:
        text = value.cast(pl.String)
    elif dtype == pl.String:
        text = value.str.strip_chars().str.to_lowercase().str.replace(r"^(-?\d+)\.0+$", "$1")
    else:
        return pl.lit(None, dtype=pl.Boolean)
    return pl.when(text.is_in(sorted(yes))).then(True).when(text.is_in(sorted(no))).then(False).otherwise(None)


def _word(value: object) -> str:
    text = str(value).strip().lower()
    whole, _, rest = text.partition(".")
    return whole if rest and not rest.strip("0") else text


BY_SENSOR: dict[str, Sensor] = {s.name: s for s in SENSORS}
