"""Conversions: known pairs, round trips, spellings, what is refused."""

import math

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refrig_assets.contracts.sensors import NUMERIC_SENSORS
from refrig_assets.transforms.units import (
    BY_SENSOR,
    Circumstances,
    UnitError,
    known_units,
    number,
    parse_unit,
    truth,
)

PLANT = Circumstances(voltage_v=400.0, power_factor=0.82, phases=3)


def convert(sensor: str, value: float, unit: str, plant: Circumstances | None = None) -> float:
    found = parse_unit(BY_SENSOR[sensor], unit, plant)
    return float(pl.DataFrame({"v": [value]}).select(found.to_contract(pl.col("v"))).item())


@pytest.mark.parametrize(
    ("sensor", "value", "unit", "expected"),
    [
        ("temperature_ambient", 32, "°F", 0.0),
        ("temperature_ambient", -40, "F", -40.0),
        ("temperature_ambient", 273.15, "K", 0.0),
        ("superheat", 9, "°F", 5.0),
        ("superheat", 5, "°C", 5.0),
        ("subcooling", 18, "delta F", 10.0),
        ("pressure_low_side", 0, "psig", 101.325),
        ("pressure_low_side", 29.0075, "psi", 200.0),
        ("pressure_high_side", 14, "barg", 1501.325),
        ("pressure_high_side", 1.5, "MPa", 1500.0),
        ("pressure_high_side", 15000, "mbar", 1500.0),
        ("pressure_low_side", 200_000, "Pa", 200.0),
        ("current_compressor", 12_000, "mA", 12.0),
        ("current_compressor", 2.3, "kW", 2300 / (400 * 0.82 * math.sqrt(3))),
        ("vibration_compressor", 0.1, "in/s", 2.54),
        ("vibration_compressor", 0.003, "m/s", 3.0),
        ("vibration_compressor", math.sqrt(2), "mm/s peak", 1.0),
        ("humidity", 0.45, "fraction", 45.0),
        ("humidity", 45, "%RH", 45.0),
    ],
)
def test_known_pairs(sensor: str, value: float, unit: str, expected: float) -> None:
    assert convert(sensor, value, unit, PLANT) == pytest.approx(expected, rel=1e-5, abs=1e-9)


def test_gauge_pressure_takes_the_place_s_own_atmosphere() -> None:
    assert convert("pressure_low_side", 100, "kPag", Circumstances(atmospheric_kpa=84.5)) == pytest.approx(184.5)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.floats(-1e4, 1e4))
def test_every_unit_goes_there_and_back(data: st.DataObject, value: float) -> None:
    sensor = data.draw(st.sampled_from(NUMERIC_SENSORS))
    unit = parse_unit(sensor, data.draw(st.sampled_from(known_units(sensor))), PLANT)
    column = pl.DataFrame({"v": [value]})
    back = column.select(unit.from_contract(unit.to_contract(pl.col("v")))).item()
    assert back == pytest.approx(value, rel=1e-9, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_spelling_does_not_matter_to_case_and_blanks(data: st.DataObject) -> None:
    sensor = data.draw(st.sampled_from(NUMERIC_SENSORS))
    name = data.draw(st.sampled_from(known_units(sensor)))
    spelled = data.draw(st.sampled_from([name.upper(), name.lower(), f" {name} ", f"({name})"]))
    assert parse_unit(sensor, spelled, PLANT).name == name


@pytest.mark.parametrize(
    ("sensor", "spelled", "name"),
    [
        ("temperature_ambient", "degC", "°C"),
        ("temperature_ambient", "º F", "°F"),
        ("temperature_ambient", "Fahrenheit", "°F"),
        ("pressure_low_side", "PSI(G)", "psig"),
        ("pressure_low_side", "bar a", "bar"),
        ("pressure_low_side", "kPa abs", "kPa"),
        ("humidity", "% r.H.", "%"),
        ("vibration_compressor", "IPS", "in/s"),
        ("current_compressor", "Amps", "A"),
    ],
)
def test_spellings(sensor: str, spelled: str, name: str) -> None:
    assert parse_unit(BY_SENSOR[sensor], spelled).name == name


def test_unknown_unit_names_itself_and_the_known_ones() -> None:
    with pytest.raises(UnitError, match=r"'furlong' of pressure_low_side is unknown; known .*kPa, .*psig"):
        parse_unit(BY_SENSOR["pressure_low_side"], "furlong")


def test_power_needs_the_supply() -> None:
    with pytest.raises(UnitError, match=r"needs voltage_v, power_factor, phases under \[plant\]"):
        parse_unit(BY_SENSOR["current_compressor"], "kW")


def test_contacts_have_no_unit() -> None:
    with pytest.raises(UnitError, match="has no unit"):
        parse_unit(BY_SENSOR["door_open_close"], "bool")


def read_truth(values: list[object], **words: list[str]) -> list[bool | None]:
    frame = pl.DataFrame({"v": values}, strict=False)
    return frame.select(truth(pl.col("v"), frame.schema["v"], **words)).to_series().to_list()  # type: ignore[arg-type]


def test_words_for_true_and_false() -> None:
    assert read_truth(["OPEN", "closed", " On", "off ", "1", "0.0", "yes", "N", "?"]) == [
        True, False, True, False, True, False, True, False, None,
    ]  # fmt: skip
    assert read_truth([1, 0, 2]) == [True, False, None]
    assert read_truth([1.0, 0.5, None]) == [True, None, None]
    assert read_truth([True, False]) == [True, False]


def test_own_words_turn_a_contact_round() -> None:
    assert read_truth(["closed", "open", "jammed"], true_values=["closed"]) == [True, False, None]
    assert read_truth([2, 1, 0, 7], true_values=["2"]) == [True, False, False, None]
    assert read_truth(["auf", "zu"], true_values=["Auf"], false_values=["zu"]) == [True, False]


def test_numbers_from_text() -> None:
    frame = pl.DataFrame({"v": [" 1.5 ", "+2", "x", None, "1e3"]})
    assert frame.select(number(pl.col("v"), pl.String())).to_series().to_list() == [1.5, 2.0, None, None, 1000.0]
    comma = pl.DataFrame({"v": ["1,5", "-0,25"]})
    assert comma.select(number(pl.col("v"), pl.String(), ",")).to_series().to_list() == [1.5, -0.25]
