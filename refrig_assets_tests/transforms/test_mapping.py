"""Mappings: what TOML is accepted, wide and long layouts, times and clocks that change, what the report says."""

from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from refrig_assets.transforms.mapped import Memory, map_chunk, merge_points
from refrig_assets.transforms.mapping import Mapping, MappingError
from refrig_assets.transforms.mapping_report import map_frame
from refrig_assets.transforms.mapping_toml import parse_mapping

WIDE = """
interval_s = 300
[device]
column = "Case"
[timestamp]
column = "Time"
timezone = "America/Chicago"
[sensors]
temperature_evaporator = { column = "Evap", unit = "°F" }
pressure_low_side = { column = "Suct", unit = "psig" }
door_open_close = { column = "Door" }
"""
LONG = """
interval_s = 300
[device]
column = "unit"
[timestamp]
column = "at"
[long]
sensor_column = "point"
value_column = "value"
unit_column = "eu"
[sensors]
temperature_evaporator = { name = "EVAP" }
pressure_low_side = { name = "SUCT", unit = "psig" }
door_open_close = { name = "DOOR" }
"""


def wide(**columns: list[Any]) -> pl.DataFrame:
    rows = len(next(iter(columns.values())))
    base: dict[str, list[Any]] = {
        "Case": ["A"] * rows, "Time": ["2026-06-01 00:00:00"] * rows, "Evap": ["-13"] * rows,
        "Suct": ["14.5"] * rows, "Door": ["OPEN"] * rows,
    }  # fmt: skip
    return pl.DataFrame(base | columns)


def times(local: list[str], **options: str) -> list[datetime | None]:
    """UTC of local times in Chicago, in the order given."""
    extra = "".join(f'{k} = "{v}"\n' for k, v in options.items())
    mapping = parse_mapping(WIDE.replace("[timestamp]\n", f"[timestamp]\n{extra}"))
    return map_frame(wide(Time=local), mapping)[0]["timestamp_device"].to_list()


def test_wide_frame_becomes_contract_columns_and_units() -> None:
    rows, report = map_frame(wide(Case=["A", "B"], Extra=[1, 2]), parse_mapping(WIDE))
    row = rows.row(0, named=True)
    assert row["temperature_evaporator"] == pytest.approx(-25.0)
    assert row["pressure_low_side"] == pytest.approx(14.5 * 6.894757 + 101.325, rel=1e-6)
    assert row["door_open_close"] is True
    assert row["humidity"] is None
    assert row["timestamp_device"] == datetime(2026, 6, 1, 5, tzinfo=UTC)
    assert row["event_id"] == f"A@{int(row['timestamp_device'].timestamp() * 1e6)}"
    assert report.unused_columns == ["Extra"]
    assert "humidity" in report.missing_sensors
    assert report.devices == ["A", "B"]
    assert [(s.sensor, s.source, s.unit) for s in report.sensors][:2] == [
        ("temperature_evaporator", "Evap", "°F"), ("pressure_low_side", "Suct", "psig"),
    ]  # fmt: skip


def test_long_rows_become_one_reading() -> None:
    frame = pl.DataFrame(
        {
            "unit": ["A", "A", "A", "A", "B", "A"],
            "at": ["2026-06-01T00:00:00Z"] * 5 + ["never"],
            "point": ["EVAP", "SUCT", "FAN", "EVAP", "DOOR", "EVAP"],
            "value": ["-13", "14.5", "1", "99", "on", "1"],
            "eu": ["degF", "", "", "C", "", "F"],
        }
    )
    rows, report = map_frame(frame, parse_mapping(LONG))
    assert rows["device_id"].to_list() == ["A", "B", "A"]
    assert rows["temperature_evaporator"][0] == pytest.approx(-25.0)  # the first value counts, in its own unit
    assert rows["pressure_low_side"][0] == pytest.approx(201.3, abs=0.1)
    assert rows["door_open_close"].to_list() == [None, True, None]
    assert report.unread_points == {"FAN": 1}
    assert (report.readings, report.without_time) == (2, 1)


def test_long_rows_in_chunks_give_what_they_give_at_once() -> None:
    frame = pl.DataFrame(
        {
            "unit": ["A"] * 40,
            "at": [f"2026-06-01T00:{m:02d}:00Z" for m in range(20)] * 2,
            "point": ["EVAP"] * 20 + ["SUCT"] * 20,
            "value": [str(v) for v in range(40)],
            "eu": ["C"] * 40,
        }
    )
    mapping = parse_mapping(LONG)
    memory = Memory()
    parts = [map_chunk(frame[i : i + 7], mapping, memory).rows for i in range(0, 40, 7)]
    whole = map_chunk(frame, mapping, Memory()).rows
    assert merge_points(pl.concat(parts)).equals(whole)
    assert whole.height == 20


def test_unknown_unit_in_a_long_file_is_named() -> None:
    frame = pl.DataFrame({"unit": ["A"], "at": ["2026-06-01"], "point": ["EVAP"], "value": ["1"], "eu": ["furlong"]})
    with pytest.raises(MappingError, match=r"column 'eu': unit 'furlong' of temperature_evaporator is unknown"):
        map_frame(frame, parse_mapping(LONG))


# -- times -------------------------------------------------------------------------------------------------------

AUTUMN = [f"2026-11-01 {t}:00" for t in ("00:30", "01:00", "01:30", "01:00", "01:30", "02:00")]
AUTUMN_UTC = [datetime(2026, 11, 1, h, m, tzinfo=UTC) for h, m in ((5, 30), (6, 0), (6, 30), (7, 0), (7, 30), (8, 0))]


def test_repeated_hour_is_told_apart_by_the_order_of_rows() -> None:
    assert times(AUTUMN) == AUTUMN_UTC


def test_repeated_hour_of_a_file_that_runs_backwards() -> None:
    assert times(AUTUMN[::-1]) == AUTUMN_UTC[::-1]


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("backwards", [False, True])
def test_repeated_hour_across_chunks(size: int, backwards: bool) -> None:
    step = -1 if backwards else 1
    frame, memory, mapping = wide(Time=AUTUMN[::step]), Memory(), parse_mapping(WIDE)
    parts = [map_chunk(frame[i : i + size], mapping, memory).rows for i in range(0, 6, size)]
    found = pl.concat(parts)["timestamp_device"].to_list()
    if backwards and size == 1:
        return  # a chunk of one row tells no direction; real ones hold hundreds of thousands
    assert found == AUTUMN_UTC[::step]


def test_repeated_hour_of_devices_side_by_side() -> None:
    both = [t for t in AUTUMN for _ in range(2)]
    rows, _ = map_frame(wide(Time=both, Case=["A", "B"] * 6), parse_mapping(WIDE))
    assert rows.filter(pl.col("device_id") == "B")["timestamp_device"].to_list() == AUTUMN_UTC


def test_repeated_hour_by_declaration() -> None:
    assert times(AUTUMN, repeated_hour="first")[3] == AUTUMN_UTC[1]
    assert times(AUTUMN, repeated_hour="second")[1] == AUTUMN_UTC[3]
    assert times(AUTUMN, repeated_hour="reject").count(None) == 4


def test_skipped_hour_has_no_time_and_is_counted() -> None:
    rows, report = map_frame(wide(Time=["2026-03-08 01:59:00", "2026-03-08 02:30:00"]), parse_mapping(WIDE))
    assert rows["timestamp_device"].null_count() == 1
    assert report.skipped_hour == 1
    assert any("do not exist in America/Chicago" in note for note in report.notes)


@pytest.mark.parametrize(
    ("text", "form", "expected"),
    [
        ("2026-06-01T00:00:00+02:00", "iso", datetime(2026, 5, 31, 22, tzinfo=UTC)),
        ("2026-06-01 00:00", "iso", datetime(2026, 6, 1, 5, tzinfo=UTC)),
        ("6/1/2026 1:05 PM", "%m/%d/%Y %I:%M %p", datetime(2026, 6, 1, 18, 5, tzinfo=UTC)),
        ("1780272000", "epoch_s", datetime(2026, 6, 1, tzinfo=UTC)),
        ("1780272000250", "epoch_ms", datetime(2026, 6, 1, 0, 0, 0, 250000, tzinfo=UTC)),
        ("46174.5", "excel", datetime(2026, 6, 1, 17, tzinfo=UTC)),
        ("yesterday", "iso", None),
    ],
)
def test_formats_of_times(text: str, form: str, expected: datetime | None) -> None:
    assert times([text], format=form) == [expected]


def test_fixed_offset_has_no_summer_time() -> None:
    mapping = parse_mapping(WIDE.replace("America/Chicago", "-06:00"))
    assert map_frame(wide(Time=["2026-06-01 00:00:00"]), mapping)[0]["timestamp_device"][0].hour == 6


def test_clock_that_was_never_set_is_no_time() -> None:
    rows, report = map_frame(wide(Time=["1970-01-01 00:00:07", "2026-06-01 00:00:00"]), parse_mapping(WIDE))
    assert rows["timestamp_device"].null_count() == 1
    assert report.implausible_time == 1


def test_rows_without_device_or_time_are_named_by_their_place() -> None:
    rows, report = map_frame(
        wide(Case=["A", "", "A"], Time=["2026-06-01", "2026-06-01 00:00", "x"]), parse_mapping(WIDE)
    )
    assert rows["event_id"].to_list()[1:] == ["import#row-2", "import#row-3"]
    assert report.without_device == 1
    assert report.readings == 0 or report.without_time >= 1


# -- what the report notices -------------------------------------------------------------------------------------


def test_hint_at_the_unit_that_fits() -> None:
    mapping = parse_mapping(WIDE.replace('column = "Evap", unit = "°F"', 'column = "Evap", unit = "°C"'))
    _, report = map_frame(wide(Evap=["72", "75.5", "70", "68"]), mapping)
    sensor = report.sensors[0]
    assert (sensor.outside, sensor.outside_share, sensor.minimum, sensor.maximum) == (4, 1.0, 68.0, 75.5)
    assert sensor.hint is not None
    assert "values look like °F" in sensor.hint


def test_unreadable_values_and_markers_for_nothing() -> None:
    _, report = map_frame(wide(Evap=["---", "ERR", "NaN", "-13"]), parse_mapping(WIDE))
    sensor = report.sensors[0]
    assert (sensor.values, sensor.nulls, sensor.unconvertible, sensor.unconvertible_sample) == (1, 3, 1, ["ERR"])


def test_numeric_marker_for_nothing() -> None:
    mapping = parse_mapping(WIDE + '\n[source]\nnull_values = ["-999"]\n')
    rows, _ = map_frame(wide(Evap=["-999", "-999.0", "-13"]), mapping)
    assert rows["temperature_evaporator"].null_count() == 2
    rows, _ = map_frame(wide(Evap=[-999.0, -13.0, float("nan")]), mapping)
    assert rows["temperature_evaporator"].null_count() == 2


def test_intervals_and_repeats() -> None:
    at = [f"2026-06-01 00:{m:02d}:00" for m in (0, 1, 2, 3, 3)]
    _, report = map_frame(wide(Time=at), parse_mapping(WIDE))
    assert report.median_interval_s == 60.0
    assert report.off_interval == {"A": 60.0}
    assert report.repeated == 1


def test_scale_and_offset_come_before_the_unit() -> None:
    mapping = parse_mapping(
        WIDE.replace('column = "Evap", unit = "°F"', 'column = "Evap", unit = "°F", scale = 0.1, offset = 1')
    )
    assert map_frame(wide(Evap=["-140"]), mapping)[0]["temperature_evaporator"][0] == pytest.approx(-25.0)


def test_own_event_ids_arrival_prefix_and_names() -> None:
    text = WIDE.replace('column = "Case"', 'column = "Case"\nprefix = "s1/"\nnames = { A = "RF-1" }')
    text += '[event_id]\ncolumn = "id"\n[timestamp_ingested]\ncolumn = "got"\n'
    frame = wide(Case=["A", "B"], id=["e1", None], got=["2026-06-01T07:00:00Z", None])
    rows, _ = map_frame(frame, parse_mapping(text))
    assert rows["device_id"].to_list() == ["s1/RF-1", "s1/B"]
    assert rows["event_id"][0] == "e1"
    assert rows["event_id"][1].startswith("s1/B@")
    assert [t.hour for t in rows["timestamp_ingested"]] == [7, 5]


# -- what is refused ---------------------------------------------------------------------------------------------


def refuse(text: str) -> str:
    with pytest.raises(MappingError) as caught:
        parse_mapping(text, "m.toml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("temperature_evaporator", "temperature_evaporater", "did you mean 'temperature_evaporator'?"),
        ('unit = "psig"', 'unit = "psx"', "unit 'psx' of pressure_low_side is unknown; known"),
        ('unit = "psig"', 'units = "psig"', "did you mean 'unit'?"),
        (', unit = "psig"', "", "[sensors.pressure_low_side] needs unit; the contract's is kPa"),
        ("America/Chicago", "America/Chicagoo", "timezone of [timestamp] 'America/Chicagoo' is unknown"),
        ('column = "Time"', 'format = "iso"', "[timestamp] needs either column or columns"),
        ('column = "Case"', 'colum = "Case"', "did you mean 'column'?"),
        ("interval_s = 300", "interval_s = 0", "interval_s must be at least 1"),
        ("interval_s = 300", 'interval_s = "5 min"', "interval_s must be int, not '5 min'"),
        ("interval_s = 300", "interval_s == 300", "is not valid TOML"),
    ],
)
def test_mistakes_are_named(old: str, new: str, says: str) -> None:
    assert says in refuse(WIDE.replace(old, new))


def test_bad_toml_names_the_line() -> None:
    assert "at line 2" in refuse(WIDE.replace("interval_s = 300", "interval_s == 300"))


def test_missing_column_lists_those_that_exist() -> None:
    mapping: Mapping = parse_mapping(WIDE)
    with pytest.raises(MappingError, match=r"'Evap' is not in the file \(did you mean 'EvapT'\?\).*'Case', 'Time'"):
        map_frame(wide(Time=["2026-06-01"]).rename({"Evap": "EvapT"}), mapping)
