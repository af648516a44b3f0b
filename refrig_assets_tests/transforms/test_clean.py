"""The rules of C2 on one hour's frame, against a reference that goes row by row."""

import random
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from refrig_assets.contracts import CLEAN_READINGS
from refrig_assets.contracts.readings import QUALITY_FLAGS
from refrig_assets.contracts.sensors import NUMERIC_SENSORS, SENSOR_NAMES
from refrig_assets.transforms.clean import CleanContext, Cleaned, clean_readings
from refrig_assets.transforms.events import event_hashes
from refrig_assets.transforms.gaps import device_hours
from refrig_assets_tests.builders import HEALTHY, HOUR, NOTHING, at, raw_rows
from refrig_assets_tests.readings import FLEET, INF, NAN, history_frame, registry_frame
from refrig_assets_tests.reference_clean import Device, Heard, heard_in, judge_hour

REGISTRY = registry_frame(FLEET)
_US = timedelta(microseconds=1)
_ARRIVALS = st.sampled_from([0.0, 0.5, 1, 5, 6, 14, 30, 31, 59, 59.999])
_LATE = st.sampled_from(
    [timedelta(0)] * 8
    + [timedelta(minutes=5), timedelta(minutes=5) + _US, timedelta(minutes=25) + _US, timedelta(hours=3)]
    + [sign * timedelta(days=1) + off for sign in (1, -1) for off in (-_US, timedelta(0), _US)]
    + [timedelta(days=400), timedelta(days=-2)]
)
_UGLY = [None, None, NAN, INF, -INF, -0.0, -1.0, -5.0, -5.0001, 0.0, 50.0, 100.0, 1e300]


@st.composite
def _values(draw: st.DrawFn) -> dict[str, Any]:
    base: dict[str, Any] = dict(draw(st.sampled_from([HEALTHY] * 6 + [NOTHING])))
    for name in draw(st.lists(st.sampled_from(SENSOR_NAMES), max_size=3, unique=True)):
        numeric = isinstance(HEALTHY[name], float)
        base[name] = draw(st.sampled_from(_UGLY if numeric else [None, True, False]))
    return base


@st.composite
def _rows(draw: st.DrawFn) -> list[dict[str, Any]]:
    rows = []
    for _ in range(draw(st.integers(0, 14))):
        arrived = at(draw(_ARRIVALS))
        device = draw(st.sampled_from([*FLEET, "dev-a", "ghost"]))
        rows.append(
            {
                "event_id": f"e{draw(st.integers(0, 9))}",
                "device_id": device,
                "timestamp_device": arrived - draw(_LATE),
                "timestamp_ingested": arrived,
                **draw(_values()),
                "_partition_key": device,
                "_sequence_number": draw(st.integers(0, 3)),
            }
        )
    return rows


@st.composite
def _history(draw: st.DrawFn) -> list[Heard]:
    found = {}
    for _ in range(draw(st.integers(0, 5))):
        hour = HOUR - timedelta(hours=draw(st.sampled_from([1, 2, 24, 168])))
        device = draw(st.sampled_from([*FLEET, "ghost"]))
        first = hour - timedelta(minutes=draw(st.sampled_from([0, 90, 300])))
        last = hour + timedelta(minutes=draw(st.sampled_from([0, 54, 55, 59])))
        sensors = frozenset(draw(st.sets(st.sampled_from(SENSOR_NAMES), max_size=14)))
        found[hour, device] = Heard(hour, device, first, last, sensors)
    return list(found.values())


def _clean(
    rows: list[dict[str, Any]] | pl.DataFrame,
    history: list[Heard] | None = None,
    before: tuple[str, ...] = (),
    later: tuple[str, ...] = (),
    registry: pl.DataFrame = REGISTRY,
) -> Cleaned:
    raw = rows if isinstance(rows, pl.DataFrame) else raw_rows(rows)
    hashes = [event_hashes(pl.Series(list(e), dtype=pl.String)).sort().to_numpy() for e in (before, later)]
    return clean_readings(raw, CleanContext(registry, history_frame(history or []), *hashes))


def _as_told(rows: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=CLEAN_READINGS.dtypes, orient="row").sort("event_id")


def _flags(rows: pl.DataFrame) -> dict[str, list[str]]:
    return dict(rows.select("event_id", "quality_flags").iter_rows())


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(_rows(), _history(), st.sets(st.integers(0, 9), max_size=2), st.sets(st.integers(0, 9), max_size=2))
def test_every_rule_is_as_the_reference_has_it(
    rows: list[dict[str, Any]], history: list[Heard], before: set[int], later: set[int]
) -> None:
    told = [tuple(f"e{n}" for n in sorted(s)) for s in (before, later)]
    expected = judge_hour(rows, FLEET, history, *told)
    found = _clean(rows, history, *told)
    for name, ours, theirs in (
        ("clean", found.clean, expected.clean),
        ("quarantine", found.quarantine, expected.quarantine),
        ("dead letters", found.all_null, expected.dead),
    ):
        assert ours.sort("event_id").to_dicts() == _as_told(theirs).to_dicts(), name
    assert found.duplicate_rows == expected.duplicates
    accounts = dict(found.accounts)
    assert accounts.pop("raw") == len(rows) == sum(accounts.values())
    for frame in (found.clean, found.quarantine):
        assert CLEAN_READINGS.violations(frame) == []


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(_rows(), _history(), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(
    rows: list[dict[str, Any]], history: list[Heard], rng: random.Random
) -> None:
    shuffled = rows[:]
    rng.shuffle(shuffled)
    one, other = _clean(rows, history), _clean(shuffled, history)
    for name in ("clean", "quarantine", "all_null"):
        assert getattr(one, name).equals(getattr(other, name)), name
    assert one.accounts == other.accounts


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(_rows())
def test_what_later_hours_are_told_of_an_hour(rows: list[dict[str, Any]]) -> None:
    found = _clean(rows)
    told = device_hours(found.clean, HOUR)
    assert told.equals(history_frame(heard_in(HOUR, found.clean.to_dicts())))


def test_the_first_by_sequence_number_is_kept_and_says_so() -> None:
    rows = [
        {"event_id": "x", "minute": 1, "_sequence_number": 7, "humidity": 7.0},
        {"event_id": "x", "minute": 2, "_sequence_number": 3, "humidity": 3.0},
        {"event_id": "x", "minute": 3, "_sequence_number": 5, "humidity": 5.0},
        {"event_id": "y", "minute": 4},
    ]
    found = _clean([{"device_id": "dev-a"} | r for r in rows])
    assert found.clean.select("event_id", "humidity").rows() == [("x", 3.0), ("y", 45.0)]
    assert _flags(found.clean) == {"x": ["DUPLICATE_REMOVED"], "y": []}
    assert found.duplicate_rows == 2


def test_copies_of_one_sequence_number_are_told_apart_by_what_they_say() -> None:
    rows = [
        {"event_id": "x", "device_id": "dev-a", "minute": 1, "_sequence_number": 1, "humidity": h} for h in (9.0, 8.0)
    ]
    assert _clean(rows).clean["humidity"].to_list() == _clean(rows[::-1]).clean["humidity"].to_list() == [8.0]


def test_events_of_other_hours() -> None:
    rows = [{"event_id": e, "device_id": "dev-a"} for e in ("old", "old", "mine", "again")]
    found = _clean(rows, before=("old",), later=("again", "never sent"))
    assert _flags(found.clean) == {"mine": [], "again": ["DUPLICATE_REMOVED"]}
    assert found.duplicate_rows == 2


@pytest.mark.parametrize("direction", [1, -1])
def test_clocks_a_day_apart_are_believed_and_no_more(direction: int) -> None:
    day, rows = timedelta(days=1), []
    for number, off in enumerate([-_US, timedelta(0), _US]):
        moment = at(number)
        rows.append(
            {
                "event_id": f"{number}",
                "device_id": "dev-a",
                "timestamp_ingested": moment,
                "timestamp_device": moment + direction * (day + off),
            }
        )
    found = _clean(rows).clean.sort("event_id")
    assert ["CLOCK_DRIFT" in f for f in found["quality_flags"]] == [False, False, True]
    assert found["timestamp_utc"].to_list() == [rows[0]["timestamp_device"], rows[1]["timestamp_device"], at(2)]


def test_every_limit_of_every_sensor_belongs_to_its_range() -> None:
    rows, expected = [], {}
    for sensor in NUMERIC_SENSORS:
        good = (sensor.low, sensor.high)
        bad = (sensor.low - 1e-9, sensor.high + 1e-9, NAN, INF, -INF)
        for value, inside in [*((v, True) for v in good), *((v, False) for v in bad)]:
            event = f"{sensor.name} {value}"
            rows.append({"event_id": event, "device_id": "dev-a", "minute": len(rows) / 10, sensor.name: value})
            expected[event] = (value if inside else None, not inside, 0 if inside else 1)
    found = {r["event_id"]: r for r in _clean(rows).clean.to_dicts()}
    for event, (value, flagged, nulls) in expected.items():
        row = found[event]
        assert row[event.split(" ")[0]] == value
        assert ("RANGE_VIOLATION" in row["quality_flags"]) == flagged
        assert row["sensor_null_count"] == nulls


@pytest.mark.parametrize(("device", "minutes"), [("dev-a", 5), ("dev-c", 25)])
def test_a_reading_gap_is_more_than_five_intervals(device: str, minutes: int) -> None:
    gap = timedelta(minutes=minutes)
    times = [HOUR, HOUR + gap, HOUR + 2 * gap + _US]
    rows = [
        {"event_id": f"{n}", "device_id": device, "timestamp_device": t, "timestamp_ingested": t}
        for n, t in enumerate(times)
    ]
    assert _clean(rows).clean["quality_flags"].to_list() == [[], [], ["READING_GAP"]]
    heard = Heard(HOUR - timedelta(hours=1), device, times[0] - gap, times[0] - gap - _US, frozenset())
    assert "READING_GAP" in _clean(rows[:1], [heard]).clean["quality_flags"][0]
    heard = Heard(HOUR - timedelta(hours=1), device, times[0] - gap, times[0] - gap, frozenset())
    assert "READING_GAP" not in _clean(rows[:1], [heard]).clean["quality_flags"][0]


def test_sensor_gaps_by_registry_in_the_hour_and_by_history() -> None:
    rows = [
        {"event_id": "expected", "device_id": "dev-b", "humidity": None},
        {"event_id": "never there", "device_id": "dev-c", "vibration_compressor": None, "minute": 1},
        {"event_id": "there", "device_id": "dev-c", "minute": 2},
        {"event_id": "gone", "device_id": "dev-c", "vibration_compressor": None, "minute": 3},
    ]
    found = _flags(_clean(rows).clean)
    assert {e for e, f in found.items() if "SENSOR_GAP" in f} == {"expected", "gone"}
    history = [Heard(HOUR - timedelta(hours=30), "dev-c", at(-1800), at(-3), frozenset({"vibration_compressor"}))]
    assert "SENSOR_GAP" in _flags(_clean(rows, history).clean)["never there"]


def test_flags_stand_in_the_order_of_the_contract() -> None:
    row = {
        "event_id": "x",
        "device_id": "dev-a",
        "humidity": NAN,
        "superheat": -1.0,
        "subcooling": -2.0,
        "current_compressor": None,
    }
    row |= {"timestamp_device": at(-3000), "minute": 10}
    history = [Heard(HOUR - timedelta(hours=1), "dev-a", at(-60), at(-60), frozenset())]
    flags = _clean([row, row], history).clean["quality_flags"][0].to_list()
    assert flags == [f for f in QUALITY_FLAGS if f != "DEVICE_UNKNOWN"]


def test_an_unknown_device_goes_to_quarantine_even_with_nothing_to_say() -> None:
    rows = [
        {"event_id": "full", "device_id": "ghost"},
        {"event_id": "void", "device_id": "ghost", **NOTHING, "minute": 1},
    ]
    found = _clean(rows)
    assert found.clean.is_empty()
    assert found.all_null.is_empty()
    assert all("DEVICE_UNKNOWN" in f for f in found.quarantine["quality_flags"])


def test_only_nulls_is_dead_but_only_nonsense_is_not() -> None:
    rows = [
        {"event_id": "void", "device_id": "dev-a", **NOTHING},
        {"event_id": "nonsense", "device_id": "dev-a", "minute": 1, **NOTHING, "humidity": NAN},
    ]
    found = _clean(rows)
    assert found.all_null["event_id"].to_list() == ["void"]
    assert found.clean.select("event_id", "sensor_null_count").rows() == [("nonsense", 14)]


def test_an_empty_hour_and_an_empty_registry() -> None:
    assert set(_clean([]).accounts.values()) == {0}
    found = _clean([{"device_id": "dev-a"}], registry=registry_frame({}))
    assert found.quarantine.height == 1


def test_the_default_interval_holds_for_devices_nobody_knows() -> None:
    rows = [{"event_id": f"{m}", "device_id": "ghost", "minute": m} for m in (0, 5, 10.1)]
    assert [("READING_GAP" in f) for f in _clean(rows).quarantine["quality_flags"]] == [False, False, True]


def test_a_device_may_have_its_own_interval_without_any_expected_sensor() -> None:
    registry = registry_frame({"dev-x": Device(expected=[], interval_s=3600)})
    rows: list[dict[str, Any]] = [{"device_id": "dev-x", "minute": m} for m in (0, 59)]
    found = _clean(rows, registry=registry).clean
    assert found["quality_flags"].to_list() == [[], []]
    assert found["timestamp_utc"].to_list() == [HOUR, at(59)]


def test_datetimes_keep_their_microseconds() -> None:
    moment: datetime = HOUR + 123457 * _US
    row = {"device_id": "dev-a", "timestamp_device": moment, "timestamp_ingested": moment}
    assert _clean([row]).clean["timestamp_utc"][0] == moment
