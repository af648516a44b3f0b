"""The wire message: whatever bytes come, every line becomes a row or a dead letter, and none spoils another."""

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refrig_assets.contracts.sensors import SENSOR_NAMES
from refrig_assets.transforms.wire import Messages, dead_payload, read_lines
from refrig_assets_tests.builders import HEALTHY, line, lines, narrow, wide

GOOD = wide("good", 1)


def _readings(messages: Messages, row: int = 0) -> dict[str, Any]:
    """The readings of a row that are there."""
    return {k: v for k, v in messages.rows["readings"][row].items() if v is not None}


def _told(messages: Messages) -> list[str]:
    """Rows as text, in which NaN is itself."""
    return [repr(row) for row in messages.rows.drop("offset").iter_rows()]


def _with(**readings: Any) -> dict[str, Any]:
    return wide(readings=readings)


def _raw(readings: str) -> str:
    """A wide message with this text as its readings."""
    return json.dumps(wide(readings="?")).replace('"?"', readings)


def _accounted(messages: Messages, block: bytes, offset: int = 0) -> None:
    """Every line that is not blank is a row or dead, and stands where it is said to stand."""
    sent = {}
    at = offset
    for raw in block.split(b"\n"):
        if raw.decode(errors="replace").strip().removeprefix("\ufeff"):
            sent[at] = raw.rstrip(b"\r")
        at += len(raw) + 1
    assert messages.lines == len(sent) == messages.rows.height + len(messages.dead)
    assert {d.offset: d.payload for d in messages.dead} == {d.offset: sent[d.offset] for d in messages.dead}
    assert sorted([*messages.rows["offset"], *(d.offset for d in messages.dead)]) == sorted(sent)
    assert all(messages.payload(o) == sent[o] for o in messages.rows["offset"])


def test_a_wide_message_is_a_row_with_all_its_readings() -> None:
    messages = read_lines(lines([wide("dev-7", 2)]))
    assert messages.rows.height == messages.lines == 1
    assert messages.unknown_fields == 0
    assert _readings(messages) == HEALTHY
    row = messages.rows.row(0, named=True)
    assert (row["event_id"], row["device_id"], row["offset"]) == ("dev-7:2", "dev-7", 0)
    assert row["timestamp"] == "2026-03-02T10:02:00.000000Z"
    assert row["sensor_type"] is None


def test_a_narrow_message_keeps_its_fields_as_text() -> None:
    messages = read_lines(lines([narrow("humidity", 45.5, unit="%RH"), narrow("door_open_close", True, quality=192)]))
    fields = messages.rows.select("sensor_type", "value", "unit", "quality").rows()
    assert fields == [("humidity", "45.5", "%RH", "GOOD"), ("door_open_close", "true", None, "192")]
    assert messages.rows["readings"].is_null().all()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"humidity": 45}', {"humidity": 45.0}),
        ('{"humidity": "45.5"}', {"humidity": 45.5}),
        ('{"humidity": " 45 "}', {"humidity": 45.0}),
        ('{"humidity": true}', {"humidity": 1.0}),
        ('{"humidity": 1E2}', {"humidity": 100.0}),
        ('{"humidity": 9999999999999999999999999}', {"humidity": 1e25}),
        ('{"humidity": 1e400}', {"humidity": float("inf")}),
        ('{"humidity": -1e400}', {"humidity": float("-inf")}),
        (f'{{"humidity": {"1" * 5000}}}', {"humidity": float("inf")}),
        ('{"humidity": Infinity}', {"humidity": float("inf")}),
        ('{"humidity": -Infinity}', {"humidity": float("-inf")}),
        ('{"humidity": null}', {}),
        ("{}", {}),
        ('{"door_open_close": 1, "defrost_cycle": 0}', {"door_open_close": True, "defrost_cycle": False}),
        ('{"door_open_close": 1.0, "defrost_cycle": "0"}', {"door_open_close": True, "defrost_cycle": False}),
        ('{"door_open_close": "True", "defrost_cycle": "false"}', {"door_open_close": True, "defrost_cycle": False}),
        ('{"humidity": 1, "humidity": 2}', {"humidity": 1.0}),
        ('{"humidity": 1, "humidity": 2, "superheat": "3"}', {"humidity": 1.0, "superheat": 3.0}),
    ],
)
def test_a_value_may_come_in_any_form_that_says_it(text: str, expected: dict[str, Any]) -> None:
    for surrounding in (0, 40):  # alone, and in a block that Polars reads as a whole
        messages = read_lines(lines([*[GOOD] * surrounding, _raw(text), *[GOOD] * surrounding]))
        assert not messages.dead
        assert _readings(messages, surrounding) == expected


@pytest.mark.parametrize("word", ["NaN", '"nan"'])
def test_nan_lands_as_nan(word: str) -> None:
    value = _readings(read_lines(lines([_raw(f'{{"humidity": {word}}}')])))["humidity"]
    assert value != value


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (_raw('{"humidity": "wet"}'), "humidity is not a number: 'wet'"),
        (_raw('{"humidity": "1_0"}'), "humidity is not a number"),
        (_raw('{"humidity": ""}'), "humidity is not a number: ''"),
        (_raw('{"humidity": {"value": 4}}'), "humidity is not a number"),
        (_raw('{"humidity": [4]}'), "humidity is not a number"),
        (_raw('{"door_open_close": 2}'), "door_open_close is neither true nor false: 2"),
        (_raw('{"door_open_close": NaN}'), "door_open_close is neither true nor false"),
        (_raw('"45"'), "readings is str, not an object"),
        (_raw("[1, 2]"), "readings is list, not an object"),
        (_raw('{"humidity": 007}'), "not JSON"),
        (_raw('{"humidity": nan}'), "not JSON"),
        (_raw('{"humidity": 1,}'), "not JSON"),
        ("5", "not a JSON object but int"),
        ('"text"', "not a JSON object but str"),
        ("null", "not a JSON object but NoneType"),
        ("[]", "not a JSON object but list"),
        (b"[" + line(GOOD) + b"]", "not a JSON object but list"),
        (line(GOOD) + line(GOOD), "Extra data"),
        (line(GOOD) + b" " + line(GOOD), "Extra data"),
        (line(GOOD) + b",", "Extra data"),
        (line(GOOD)[:-1], "not JSON"),
        (line(GOOD)[20:], "not JSON"),
        ("{", "not JSON"),
        ("}", "not JSON"),
        ("[" * 5000, "recursion"),
        ('{"a":' * 5000 + "1" + "}" * 5000, "recursion"),
        ('{"device_id": "a\x01b", "readings": {}}', "control character"),
        ('{"device_id": "a\x00b", "readings": {}}', "control character"),
        ('{"device_id": "a\tb", "readings": {}}', "control character"),
        ('{"device_id": "\\ud800", "readings": {}}', "device_id holds half a surrogate pair"),
        ('{"device_id": "x\\uDFFFy", "readings": {}}', "device_id holds half a surrogate pair"),
        ('{"device_id": {"a": 1}, "readings": {}}', "device_id is dict, not text"),
        ('{"event_id": ["a"], "readings": {}}', "event_id is list, not text"),
        ('{"timestamp": {}, "readings": {}}', "timestamp is dict, not text"),
        ('{"sensor_type": "humidity", "value": [1]}', "value is list, not text"),
        (b'{"device_id": "\xff\xfe", "readings": {}}', "not UTF-8: invalid start byte at byte 15"),
        (b"\x80\x81\x82", "not UTF-8"),
        (b"\x00\x01\x02", "not JSON"),
    ],
)
def test_a_line_that_cannot_be_read_is_dead_and_alone(bad: str | bytes, reason: str) -> None:
    for before, after in ((0, 0), (40, 0), (0, 40), (40, 40)):
        block = lines([*[GOOD] * before, bad, *[GOOD] * after])
        messages = read_lines(block)
        _accounted(messages, block)
        (dead,) = messages.dead
        assert reason in dead.reason
        assert dead.payload == line(bad)
        assert messages.rows.height == before + after
        assert all(r == HEALTHY for r in messages.rows["readings"])


def test_quality_is_not_used_so_it_may_be_anything() -> None:
    messages = read_lines(lines([narrow("humidity", 4, quality={"code": 192}), narrow("humidity", 4, quality=[1])]))
    assert messages.rows.height == 2


def test_texts_written_as_numbers_read_the_same_alone_and_in_a_block() -> None:
    ids = ["5", "5.0", "5.50", "1e22", "1e-7", "-0", "12345678901234567890", "true", "0.1"]
    messages = [_raw("{}").replace('"dev-1"', i) for i in ids]
    whole = read_lines(lines(messages))
    alone = [read_lines(lines([m.replace('"readings": {}', '"readings": {"humidity": NaN}')])) for m in messages]
    assert whole.rows["device_id"].to_list() == [a.rows["device_id"][0] for a in alone]


def test_blank_lines_line_ends_and_byte_order_marks_are_not_messages() -> None:
    block = b"\xef\xbb\xbf" + line(GOOD) + b"\r\n\r\n  \t \n\n" + line(GOOD) + b"\r\n\xef\xbb\xbf\n" + line(GOOD)
    messages = read_lines(block)
    _accounted(messages, block)
    assert (messages.rows.height, messages.lines) == (3, 3)
    assert read_lines(b"").lines == read_lines(b"\n\r\n \n").lines == 0


def test_blanks_around_a_message_do_not_matter() -> None:
    text = line(GOOD)
    for block in (b"  " + text + b"  ", b"\xc2\xa0" + text + b"\xe2\x80\x83", text.replace(b": ", b" \t: \r")):
        assert _readings(read_lines(block)) == HEALTHY


def test_offsets_are_bytes_from_the_start_of_the_source() -> None:
    block = lines(["x", wide("Kühlmöbel-冷", 1), b"\xff", wide("dev", 2), "", "{"])
    messages = read_lines(block, 1000)
    _accounted(messages, block, 1000)
    for found in messages.dead:
        start = found.offset - 1000
        assert block[start : start + len(found.payload)] == found.payload
    assert messages.rows["device_id"].to_list() == ["Kühlmöbel-冷", "dev"]
    assert messages.rows["offset"].to_list() == [1002, 1002 + len(line(wide("Kühlmöbel-冷", 1))) + 1 + 2]


@pytest.mark.parametrize(
    ("message", "unknown"),
    [
        (wide(), 0),
        (wide(rssi=-61), 1),
        (wide(rssi=-61, build="x"), 1),
        ('{"device_id": "d", "rssi": null}', 0),
        ('{"device_id": "d", "rssi" : 5}', 1),
        ('{"device_id": "d", "rssi"\t:\t5}', 1),
        ('{"device_id": "d", "rssi" : null, "unit" : "K"}', 0),
        ('{"device_id": "d", "rssi":  null}', 0),
        ('{"device_id": "d", "device_id": "e"}', 0),
        ('{"device_id": "d", "nested": {"humidity": 3}}', 1),
        ('{"device_id": "d", "nested": {"a": null}}', 1),
        ('{"device_id": "d", "list": [{"a": 1}, {"b": 2}]}', 1),
        ('{"device_id": "d", "": 1}', 1),
        ('{"device_id": "d\\": x", "unit": "\\":null"}', 0),
        ('{"device\\u005fid": "d"}', 0),
        ('{"device_id": "d", "Readings": {}}', 1),
        (_with(humidity=3, temperature_product=3.5), 1),
        (_with(humidity=3, temperature_product=None), 0),
        (_with(humidity=None, temperature_product=2), 1),
        (_raw('{"humidity": NaN, "temperature_product": 2}'), 1),
        (_raw('{"humidity": "4", "temperature_product": 2}'), 1),
        ('{"device_id": "d", "deep": ' + "[" * 900 + "]" * 900 + "}", 1),
    ],
)
def test_messages_with_unknown_fields_are_counted_exactly(message: Any, unknown: int) -> None:
    assert read_lines(lines([message])).unknown_fields == unknown
    among = read_lines(lines([*[GOOD] * 30, message, *[GOOD] * 30, message, "{"]))
    assert among.unknown_fields == 2 * unknown
    assert among.rows.height == 62


def test_compact_json_counts_unknown_fields_too() -> None:
    messages = [wide("a"), wide("b", rssi=1), wide("c", readings={"humidity": None})]
    block = b"\n".join(json.dumps(m, separators=(",", ":")).encode() for m in messages)
    assert read_lines(block).unknown_fields == 1


def test_a_fleet_that_writes_all_values_as_text_is_read_as_a_whole() -> None:
    texts = {k: str(v).lower() for k, v in HEALTHY.items()}
    block = lines([wide(f"dev-{n}", readings=texts) for n in range(3000)] + [_raw('{"humidity": "wet"}')])
    messages = read_lines(block)
    assert messages.rows.height == 3000
    assert len(messages.dead) == 1
    assert all(r == HEALTHY for r in messages.rows["readings"].head(20))


def test_payloads_are_text_where_they_are_text() -> None:
    assert dead_payload("Kühl".encode()) == ("Kühl", "utf-8")
    assert dead_payload(b"\xff\x00") == ("/wA=", "base64")


BAD = ["{", "5", "", "  ", "null", "}{", b"\xff\xfe", b"\x00", _raw('{"humidity": "x"}'), _raw("[]"), line(GOOD)[:50],
       '"\\ud800"', "[" * 2000, line(GOOD) * 2, "NaN", '{"device_id": {"a": 1}}']  # fmt: skip


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.one_of(st.integers(0, 3), st.sampled_from(BAD)), max_size=60))
def test_bad_lines_anywhere_leave_the_good_rows_as_they_are(drawn: list[Any]) -> None:
    kinds = [wide("a", 1), wide("b", 2, extra=1), narrow("humidity", 5), _raw('{"humidity": "4", "superheat": NaN}')]
    mixed = [kinds[d] if isinstance(d, int) else d for d in drawn]
    only_good = [kinds[d] for d in drawn if isinstance(d, int)]
    found, expected = read_lines(lines(mixed)), read_lines(lines(only_good))
    assert _told(found) == _told(expected)
    assert found.unknown_fields == expected.unknown_fields
    _accounted(found, lines(mixed))


_SEEDS = [wide("dev-1", 1), narrow("humidity", 44.5, unit="%RH"), wide("x", 2, extra={"a": [1, None]}), wide("冷", 3)]
_EDIT = st.tuples(
    st.sampled_from(["insert", "delete", "flip", "double"]), st.floats(0, 1), st.binary(min_size=1, max_size=4)
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(_EDIT, min_size=1, max_size=12), st.integers(0, 5))
def test_mutilated_bytes_never_raise_and_are_all_accounted_for(edits: list[Any], copies: int) -> None:
    block = bytearray(lines(_SEEDS * (copies + 1)))
    for kind, place, payload in edits:
        at = int(place * len(block))
        if kind == "insert":
            block[at:at] = payload
        elif kind == "delete":
            del block[at : at + len(payload)]
        elif kind == "double":
            block[at:at] = block[at : at + 40]
        elif at < len(block):
            block[at] ^= payload[0]
    _accounted(read_lines(bytes(block)), bytes(block))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.binary(max_size=400))
def test_any_bytes_are_accounted_for(block: bytes) -> None:
    _accounted(read_lines(block), block)


_VALUE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=6),
    st.just({}),
    st.lists(st.none(), max_size=1),
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.dictionaries(st.sampled_from(["event_id", "device_id", "timestamp", "value", "readings", "other"]), _VALUE),
    st.dictionaries(st.sampled_from([*SENSOR_NAMES, "other"]), _VALUE, max_size=4),
    st.booleans(),
)
def test_a_line_reads_the_same_whatever_stands_around_it(
    fields: dict[str, Any], readings: dict[str, Any], nested: bool
) -> None:
    message = fields | ({"readings": readings} if nested else {})
    alone = read_lines(lines([message]))
    plain = {"device_id": "d", "readings": {"humidity": 1.0}}
    amid = read_lines(lines([*[plain] * 20, message, *[plain] * 20]))
    beside_bad = read_lines(lines(["{}}", message, "{}}"]))  # so that it is looked at on its own
    assert (_told(amid)[20:21] if amid.rows.height == 41 else []) == _told(alone) == _told(beside_bad)
    assert [d.reason for d in amid.dead] == [d.reason for d in alone.dead]
    assert amid.unknown_fields == alone.unknown_fields == beside_bad.unknown_fields


def test_a_large_block_with_scattered_damage_is_read_to_the_line() -> None:
    order = random.Random(5)
    messages: list[Any] = [wide(f"dev-{n % 50}", n % 60) for n in range(4000)]
    places = order.sample(range(4000), 25)
    for number, place in enumerate(places):
        messages[place] = [line(messages[place])[:-1] + b",}", b"}", line(messages[place])[:90]][number % 3]
    block = lines(messages)
    found = read_lines(block)
    _accounted(found, block)
    assert len(found.dead) == 25
