"""From messages and tables to raw rows: times, identities, narrow messages, units, and what cannot be a row."""

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from refrig_assets.contracts import DEAD_LETTER, RAW_READINGS
from refrig_assets.contracts.sensors import SENSOR_NAMES, SENSORS
from refrig_assets.transforms.landing import Arrival, Landed, land_messages, land_table
from refrig_assets.transforms.times import read_times
from refrig_assets.transforms.wire import read_lines
from refrig_assets_tests.builders import HEALTHY, HOUR, at, iso, line, lines, narrow, wide

ARRIVAL = Arrival("2026-03-02/10/a.ndjson", HOUR, 5000)


def land(*messages: Any) -> Landed:
    """What one block of messages comes to; that it is accounted for is checked."""
    landed = land_messages(read_lines(lines(messages)), ARRIVAL)
    RAW_READINGS.validate(landed.raw)
    DEAD_LETTER.validate(landed.dead)
    assert landed.messages == len(messages) == landed.raw.height + landed.joined + landed.dead.height
    return landed


def only_row(*messages: Any) -> dict[str, Any]:
    landed = land(*messages)
    assert landed.dead.is_empty(), landed.dead["reason"].to_list()
    assert landed.raw.height == 1
    return landed.raw.row(0, named=True)


def only_reason(*messages: Any) -> str:
    landed = land(*messages)
    assert (landed.raw.height, landed.dead.height) == (0, 1)
    return str(landed.dead["reason"][0])


# -- times ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-03-02T10:00:00Z", at()),
        ("2026-03-02T10:00:00z", at()),
        ("2026-03-02t10:00:00Z", at()),
        ("2026-03-02T10:00:00", at()),
        ("2026-03-02 10:00:00", at()),
        (" 2026-03-02  10:00:00 ", at()),
        ("2026-03-02T12:00:00+02:00", at()),
        ("2026-03-02T12:00:00+0200", at()),
        ("2026-03-02T12:00:00+02", at()),
        ("2026-03-02 12:00:00 +02:00", at()),
        ("2026-03-02T04:30:00-05:30", at()),
        ("2026-03-02 10:00:00 UTC", at()),
        ("2026-03-02T10:00Z", at()),
        ("2026-03-02T12:00+02:00", at()),
        ("2026-03-02T10:00", at()),
        ("2026-03-02T10:00:00.5Z", at() + timedelta(milliseconds=500)),
        ("2026-03-02T10:00:00,5Z", at() + timedelta(milliseconds=500)),
        ("2026-03-02T10:00:00.123456Z", at() + timedelta(microseconds=123456)),
        ("2026-03-02T10:00:00.123456789Z", at() + timedelta(microseconds=123456)),
        ("2026-03-02T12:00:00.123456789+02:00", at() + timedelta(microseconds=123456)),
        ("2024-02-29T23:59:59Z", datetime(2024, 2, 29, 23, 59, 59, tzinfo=UTC)),
        ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC)),
        ("1970-01-01T00:00:00Z", datetime(1970, 1, 1, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59.999999Z", datetime(9999, 12, 31, 23, 59, 59, 999999, UTC)),
    ],
)
def test_times_that_can_be_read(text: str, moment: datetime) -> None:
    assert read_times(pl.Series([text, None, text])).to_list() == [moment, None, moment]


@pytest.mark.parametrize(
    "text",
    ["", "now", "2026-03-02", "10:00:00", "2023-02-29T10:00:00Z", "2026-13-01T10:00:00Z", "2026-03-02T24:30:00Z",
     "2026-03-02T10:61:00Z", "02.03.2026 10:00:00", "26-03-02T10:00:00Z", "+12026-03-02T10:00:00Z",
     "-2026-03-02T10:00:00Z", "0000-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00",
     "1772445600", "1772445600000", "1772445600.5", "2026-03-02T10:00:00Zz", "2026-03-02T10:00:00+99:00"],
)  # fmt: skip
def test_times_that_cannot_be_read_are_null_whatever_stands_beside_them(text: str) -> None:
    good = "2026-03-02T10:00:00Z"
    assert read_times(pl.Series([good, text, good])).to_list() == [at(), None, at()]


@pytest.mark.parametrize("epoch", [1772445600, 1772445600000, 1772445600.25, "1772445600"])
def test_a_number_is_not_guessed_to_be_a_time(epoch: Any) -> None:
    reason = only_reason(wide(timestamp=epoch))
    assert reason == f"no readable timestamp, which should be ISO 8601: {epoch}"


def test_what_lacks_a_device_or_a_time_is_dead_and_says_who_sent_it() -> None:
    landed = land(
        wide(device_id=None), wide(device_id="  "), wide(timestamp=None), wide(timestamp="soon"), "{}", narrow("x", 1)
    )
    assert landed.raw.is_empty()
    letters = landed.dead.select("reason", "event_id", "device_id").rows()
    assert letters[:3] == [
        ("no device_id", "dev-1:0", None),
        ("no device_id", "dev-1:0", None),
        ("no readable timestamp", "dev-1:0", "dev-1"),
    ]
    assert letters[3][0].endswith(": soon")
    assert letters[4:] == [("no device_id", None, None), ("unknown sensor_type x", None, "dev-1")]
    sent = [wide(device_id=None), wide(device_id="  "), wide(timestamp=None)]
    assert landed.dead["payload"].head(3).to_list() == [line(m).decode() for m in sent]
    assert landed.dead["source_partition"].unique().to_list() == ["2026-03-02/10/a.ndjson"]
    assert set(landed.dead["timestamp_ingested"]) == {HOUR}


# -- the gateway clock ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gateway", [None, "garbage", 1772445600])
def test_without_a_gateway_clock_a_message_has_arrived_in_its_landing_hour(gateway: Any) -> None:
    last = at(60) - timedelta(microseconds=1)
    for device_clock, arrived in ((at(7), at(7)), (at(-600), HOUR), (at(600), last), (at(60), last), (HOUR, HOUR)):
        row = only_row(wide(timestamp=iso(device_clock), timestamp_ingested=gateway))
        assert (row["timestamp_device"], row["timestamp_ingested"]) == (device_clock, arrived)


def test_a_gateway_clock_need_not_agree_with_the_folder_but_must_be_possible() -> None:
    for minutes in (-60, 0, 59, 61, 119, -7 * 24 * 60):
        assert only_row(wide(timestamp_ingested=iso(at(minutes))))["timestamp_ingested"] == at(minutes)
    assert "in the future of its landing hour" in only_reason(wide(timestamp_ingested=iso(at(120))))
    assert "in the future" in only_reason(narrow("humidity", 4, timestamp_ingested="2199-01-01T00:00:00Z"))
    assert "more than 7 days before" in only_reason(wide(timestamp_ingested="1970-01-01T00:00:00Z"))


def test_a_device_clock_may_say_anything() -> None:
    assert only_row(wide(timestamp="2001-01-01T00:00:00Z"))["timestamp_ingested"] == HOUR
    assert only_row(wide(timestamp="2100-01-01T00:00:00Z"))["timestamp_device"].year == 2100


# -- identity and order --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("identity", [None, "", "  "])
def test_without_an_event_id_device_and_time_are_the_identity(identity: Any) -> None:
    row = only_row(wide("dev-3", timestamp="2026-03-02T10:00:00.000007Z", event_id=identity))
    assert row["event_id"] == "dev-3@1772445600000007"


def test_sequence_numbers_are_the_offsets_behind_the_files_first() -> None:
    messages = [wide("a", 1), "{", wide("b", 2), narrow("humidity", 3, "c"), narrow("superheat", 4, "c")]
    landed = land(*messages)
    offsets = [0, len(line(messages[0])) + 3]
    offsets.append(offsets[1] + len(line(messages[2])) + 1)
    assert landed.raw["_sequence_number"].to_list() == [5000 + o for o in offsets]
    assert landed.raw["_partition_key"].to_list() == ["a", "b", "c"]
    assert landed.dead["source_offset"].to_list() == [len(line(messages[0])) + 1]


# -- narrow messages -----------------------------------------------------------------------------------------------


def test_narrow_messages_of_one_device_and_time_are_one_row_and_the_first_value_counts() -> None:
    row = only_row(
        narrow("humidity", None, timestamp_ingested=iso(at(9))),
        narrow("humidity", 45, timestamp_ingested=iso(at(8)), event_id="second"),
        narrow("humidity", 46, event_id="third"),
        narrow("door_open_close", "open"),
        narrow("defrost_cycle", 0),
        narrow("superheat", "-2.5", timestamp="2026-03-02T11:00:00+01:00"),
    )
    values = {k: row[k] for k in SENSOR_NAMES if row[k] is not None}
    assert values == {"humidity": 45.0, "door_open_close": True, "defrost_cycle": False, "superheat": -2.5}
    assert (row["event_id"], row["timestamp_ingested"], row["_sequence_number"]) == ("second", HOUR, 5000)


def test_other_devices_and_times_are_other_rows() -> None:
    landed = land(
        narrow("humidity", 1, "a", 0), narrow("humidity", 2, "b", 0), narrow("humidity", 3, "a", 1),
        narrow("superheat", 4, "a", 0), wide("a", 0),
    )  # fmt: skip
    got = landed.raw.select("device_id", "timestamp_device", "humidity", "superheat").rows()
    assert got == [("a", at(), 1, 4), ("b", at(), 2, None), ("a", at(1), 3, None), ("a", at(), 45, 8)]
    assert landed.joined == 1


def test_bad_narrow_messages_are_dead_and_the_others_of_their_row_land() -> None:
    landed = land(
        narrow("humidity", "wet"), narrow("door_open_close", 2), narrow("temperature", 4), narrow("superheat", "1_0"),
        narrow("subcooling", 5), narrow("door_open_close", "ajar"), narrow("humidity", 4, unit="kPa"),
    )  # fmt: skip
    assert landed.raw.height == 1
    assert {k for k in SENSOR_NAMES if landed.raw[k][0] is not None} == {"subcooling"}
    assert [r[:35] for r in landed.dead["reason"]] == [
        "value is not a number: wet",
        "value is not a number: 2",
        "unknown sensor_type temperature",
        "value is not a number: 1_0",
        "value is not a number: ajar",
        "unit 'kPa' of humidity is unknown; ",
    ]


@pytest.mark.parametrize(
    ("sensor", "unit", "value", "expected"),
    [
        ("temperature_evaporator", "°F", -13, -25),
        ("temperature_evaporator", "degF", "-13.0", -25),
        ("temperature_evaporator", "K", 248.15, -25),
        ("temperature_evaporator", " °C ", -25, -25),
        ("temperature_evaporator", "", -25, -25),
        ("temperature_evaporator", None, -25, -25),
        ("superheat", "K", 8, 8),
        ("superheat", "°F", 9, 5),
        ("pressure_high_side", "psi", 100, 689.4757293168361),
        ("pressure_high_side", "bar", 15, 1500),
        ("pressure_high_side", "barg", 14, 1501.325),
        ("current_compressor", "mA", 12000, 12),
        ("vibration_compressor", "in/s", 1, 25.4),
        ("humidity", "fraction", 0.45, 45),
        ("humidity", "%RH", "45", 45),
        ("door_open_close", "state", "open", True),
        ("door_open_close", "bool", 0.0, False),
        ("door_open_close", "whatever", "CLOSED", False),
    ],
)
def test_narrow_values_come_in_the_units_they_name(sensor: str, unit: Any, value: Any, expected: float) -> None:
    assert only_row(narrow(sensor, value, unit=unit))[sensor] == pytest.approx(expected, abs=1e-9)


def test_the_contracts_own_units_change_no_bit() -> None:
    values = {s.name: 0.1 + n / 7 for n, s in enumerate(SENSORS) if not s.is_bool}
    row = only_row(*(narrow(n, v, unit=next(s.unit for s in SENSORS if s.name == n)) for n, v in values.items()))
    assert {n: row[n] for n in values} == values


def test_units_are_understood_message_by_message() -> None:
    landed = land(
        narrow("temperature_ambient", 68, "a", unit="°F"), narrow("temperature_ambient", 20, "b", unit="°C"),
        narrow("temperature_ambient", 20, "c"), narrow("temperature_ambient", 20, "d", unit="furlong"),
        narrow("current_compressor", 5, "e", unit="kW"), narrow("temperature_ambient", 293.15, "f", unit="K"),
    )  # fmt: skip
    assert landed.raw["temperature_ambient"].to_list() == pytest.approx([20, 20, 20, 20])
    assert landed.raw["device_id"].to_list() == ["a", "b", "c", "f"]
    assert "'furlong' of temperature_ambient is unknown" in landed.dead["reason"][0]
    assert "needs voltage_v" in landed.dead["reason"][1]


def test_a_unit_converts_infinities_and_nan_to_themselves() -> None:
    for word in ("NaN", "Infinity", "-Infinity"):
        value = only_row(line(narrow("humidity", "?", unit="fraction")).replace(b'"?"', word.encode()))["humidity"]
        assert str(value) == str(float(word.replace("inity", "")))


def test_a_row_goes_on_in_the_next_block_where_it_began_in_this_one() -> None:
    parts = [narrow(s, 1.0, d, 1) for s in ("humidity", "superheat", "subcooling") for d in ("a", "b", "c")]
    whole = land(*parts)
    for cut in range(1, len(parts)):
        first, second = lines(parts[:cut]), lines(parts[cut:])
        one = land_messages(read_lines(first), ARRIVAL, hold_from=0)
        two = land_messages(read_lines(second, len(first)), ARRIVAL, one.held)
        assert one.raw.is_empty()
        assert one.held is not None
        assert one.held.height == cut
        assert two.raw.equals(whole.raw)
        assert two.joined == whole.joined


def test_of_three_blocks_the_rows_of_the_first_are_done_with_the_second() -> None:
    blocks = [[narrow("humidity", n, f"dev-{n}"), narrow("superheat", n, f"dev-{n}")] for n in range(3)]
    held, offset, rows = None, 0, []
    for number, block in enumerate(blocks):
        hold_from = None if number == 2 else offset
        landed = land_messages(read_lines(lines(block), offset), ARRIVAL, held, hold_from=hold_from)
        held, offset = landed.held, offset + len(lines(block))
        rows.append(landed.raw["device_id"].to_list())
    assert rows == [[], ["dev-0"], ["dev-1", "dev-2"]]


# -- tables --------------------------------------------------------------------------------------------------------

TABLE: dict[str, Any] = {"device_id": ["a", "b"], "timestamp_device": [at(), at(1)], "humidity": [45.0, 46.0]}


def table(**changes: Any) -> Landed:
    columns = {k: v for k, v in (TABLE | changes).items() if v is not None}
    landed = land_table(pl.DataFrame(columns), ARRIVAL)
    RAW_READINGS.validate(landed.raw)
    DEAD_LETTER.validate(landed.dead)
    assert landed.messages == 2 == landed.raw.height + landed.dead.height
    return landed


def test_a_table_may_lack_what_can_be_assumed() -> None:
    landed = table()
    assert landed.raw["event_id"].to_list() == ["a@1772445600000000", "b@1772445660000000"]
    assert landed.raw["timestamp_ingested"].to_list() == [at(), at(1)]
    assert landed.raw["humidity"].to_list() == [45.0, 46.0]
    assert landed.raw["superheat"].is_null().all()
    assert landed.raw["_sequence_number"].to_list() == [5000, 5001]
    assert landed.unknown_fields == 0


@pytest.mark.parametrize(
    ("column", "values", "expected"),
    [
        ("humidity", [45, 46], [45.0, 46.0]),
        ("humidity", ["45", " 46.5 "], [45.0, 46.5]),
        ("humidity", [True, False], [1.0, 0.0]),
        ("humidity", [None, None], [None, None]),
        ("humidity", [float("nan"), float("inf")], ["nan", "inf"]),
        ("door_open_close", [1, 0], [True, False]),
        ("door_open_close", [1.0, 0.0], [True, False]),
        ("door_open_close", ["TRUE", "0"], [True, False]),
        ("door_open_close", ["1.0", "false"], [True, False]),
    ],
)
def test_a_tables_values_may_have_other_types(column: str, values: list[Any], expected: list[Any]) -> None:
    found = table(**{column: values}).raw[column].to_list()
    assert [str(f) if isinstance(e, str) else f for f, e in zip(found, expected, strict=True)] == expected


@pytest.mark.parametrize(
    ("column", "values", "reason"),
    [
        ("humidity", ["wet", "46"], "humidity is not a value"),
        ("humidity", [[1.0], None], "humidity is not a value"),
        ("humidity", [{"a": 1}, None], "humidity is not a value"),
        ("humidity", [at(), None], "humidity is not a value"),
        ("door_open_close", [2, 1], "door_open_close is not a value"),
        ("door_open_close", ["ajar", "1"], "door_open_close is not a value"),
        ("door_open_close", [float("nan"), 1.0], "door_open_close is not a value"),
        ("device_id", [None, "b"], "no device_id"),
        ("device_id", ["  ", "b"], "no device_id"),
        ("timestamp_device", ["soon", iso(at())], "no readable timestamp, which should be ISO 8601: soon"),
        ("timestamp_device", [None, at()], "no readable timestamp"),
        ("timestamp_ingested", [at(500), at()], "timestamp_ingested lies in the future of its landing hour"),
        ("timestamp_ingested", ["1970-01-01T00:00:00Z", iso(at())], "timestamp_ingested lies more than 7 days before"),
    ],
)
def test_a_tables_bad_rows_are_dead(column: str, values: list[Any], reason: str) -> None:
    landed = table(**{column: values})
    assert landed.raw.height == 1
    assert landed.dead["reason"][0].startswith(reason)
    assert landed.dead["source_offset"].to_list() == [0]
    if column != "device_id":
        assert '"device_id": "a"' in landed.dead["payload"][0]
        assert landed.dead["device_id"].to_list() == ["a"]


def test_several_bad_values_of_a_row_are_all_named() -> None:
    landed = table(humidity=["x", "1"], superheat=["y", "1"])
    assert landed.dead["reason"][0] == "humidity is not a value; superheat is not a value"


def test_a_tables_times_may_be_naive_zoned_finer_or_text() -> None:
    naive = pl.Series([at(), at(1)]).dt.replace_time_zone(None)
    zoned = pl.Series([at(), at(1)]).dt.convert_time_zone("Europe/Berlin")
    for times in (naive, zoned, naive.dt.cast_time_unit("ns"), zoned.dt.cast_time_unit("ms"), [iso(at()), iso(at(1))]):
        assert table(timestamp_device=times).raw["timestamp_device"].to_list() == [at(), at(1)]
    assert table(timestamp_device=None, timestamp=naive).raw["timestamp_device"].to_list() == [at(), at(1)]
    assert table(timestamp_device=[1772445600, 1772445600]).dead.height == 2


def test_extra_columns_are_ignored_and_rows_that_use_them_counted() -> None:
    landed = table(rssi=[-61, None], _sequence_number=[1, 2], event_id=[7, None])
    assert landed.unknown_fields == 1
    assert landed.raw["event_id"].to_list() == ["7", "b@1772445660000000"]
    assert landed.raw["_sequence_number"].to_list() == [5000, 5001]


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"device_id": ["a"], "humidity": [1]}, "no column timestamp_device; the file has device_id, humidity"),
        ({"when": ["a"], "humidity": [1]}, "no column device_id and no column timestamp_device"),
        ({"device_id": ["a"], "timestamp": ["b"], "temp_f": [1]}, "no column of any sensor"),
        ({"device_id": ["a"], "timestamp": ["b"], "sensor_type": ["humidity"], "value": [4]}, "refrig import"),
    ],
)
def test_a_table_without_the_contracts_columns_is_refused(columns: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        land_table(pl.DataFrame(columns), ARRIVAL)


def test_wide_readings_land_as_they_are() -> None:
    row = only_row(wide())
    assert {n: row[n] for n in SENSOR_NAMES} == HEALTHY
