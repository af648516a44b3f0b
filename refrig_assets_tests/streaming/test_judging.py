"""When a verdict becomes a finding: time, order, repetition; and that what a judge remembers is exact."""

import pickle
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from refrig_assets_tests.builders import DEVICE, at, registry_of
from refrig_assets_tests.streaming.rows import Row, fired, found, frame, judge_of, minutes, row, series
from streaming.fleet import Fleet
from streaming.judging import FINDINGS, ShardJudge

RISE = [-25.0, -22.0, -19.0, -16.0, -13.0]


def state_of(judge: ShardJudge) -> dict[str, Any]:
    return {k: v if isinstance(v, list) else (v.dtype, v.shape, v.tobytes()) for k, v in judge.saved().items()}


# Repetition.


def test_a_rule_that_stays_true_is_told_each_four_hours() -> None:
    told = found(series(current=[12.0] * 5 + [45.0] * 600))
    assert minutes(told) == [5.0, 245.0, 485.0]
    assert minutes(told, "first_moment") == [5.0, 5.0, 5.0]
    assert told["suppressed"].to_list() == [False, False, False]


def test_again_within_four_hours_is_suppressed_by_the_first() -> None:
    told = found([*series(current=[45.0]), *series(1, current=[12.0] * 20), row(30, current=46.0)])
    assert told["suppressed"].to_list() == [False, True]
    assert told["suppressed_by_time"].to_list() == [None, at(0)]
    assert minutes(told, "first_moment") == [0.0, 30.0]


def test_again_after_four_hours_is_not() -> None:
    told = found([row(0, current=45.0), row(100, current=12.0), row(240, current=45.0)])
    assert told["suppressed"].to_list() == [False, False]


def test_suppression_counts_from_the_last_alert_that_was_not() -> None:
    told = found([row(m, current=45.0) for m in (0, 100, 200, 300)])
    assert told["suppressed"].to_list() == [False, True, True, False]


def test_flapping_is_one_episode() -> None:
    assert len(fired(series(current=[45.0, 12.0] * 60))) == 1


def test_ten_minutes_of_quiet_end_an_episode() -> None:
    nine = [row(0, current=45.0), *series(1, current=[12.0] * 8), row(9.9, current=45.0)]
    ten = [row(0, current=45.0), *series(1, current=[12.0] * 9), row(10, current=45.0)]
    assert (len(fired(nine)), len(fired(ten))) == (1, 2)


def test_readings_every_ten_minutes_that_stay_true_are_one_episode() -> None:
    assert len(fired(series(current=[45.0] * 20, step_s=600), expected_interval_s=600)) == 1


def test_rules_are_told_apart() -> None:
    rows = [*series(vibration=[3.0] * 61), row(61, vibration=20.0, current=45.0)]
    assert fired(rows) == ["compressor_overload", "vibration_spike"]


def test_devices_are_told_apart() -> None:
    rows = [row(m, device, current=45.0) for m in range(3) for device in ("dev-1", "dev-2")]
    assert found(rows)["device_id"].to_list() == ["dev-1", "dev-2"]


def test_findings_have_their_columns_and_the_rows_arrival() -> None:
    told = found([row(0), row(1, current=45.0)])
    assert dict(told.schema) == FINDINGS
    assert told["arrived_at"].to_list() == [1.0]
    assert dict(found([row(0)]).schema) == FINDINGS
    assert dict(found([]).schema) == FINDINGS


# Time and order.


def test_duplicates_are_ignored() -> None:
    rows = [r for r in series(vibration=[3.0] * 40) for _ in range(3)]
    once, thrice = judge_of(), judge_of()
    once.judge(frame(rows[::3]))
    thrice.judge(frame(rows))
    assert state_of(once) == state_of(thrice)


def test_replayed_rows_fire_nothing_and_leave_no_alert_behind() -> None:
    rows = [*series(current=[45.0] * 3), *series(3, temperature=RISE), *series(8, pressure=[200.0, 100.0])]
    judge = judge_of()
    assert judge.judge(frame(rows))["rule"].n_unique() == 3
    assert judge.judge(frame(rows)).is_empty()
    assert judge.judge(frame(rows[-2:])).is_empty()


def test_rows_hours_late_are_judged_by_their_own_time() -> None:
    """A gateway that was cut off hands in its backlog, oldest first."""
    late = [r | {"timestamp_ingested": at(400)} for r in series(temperature=RISE)]
    assert minutes(found(late)) == [3.0]


def test_late_behind_newer_rows_they_are_not_judged_but_their_vibration_counts() -> None:
    judge = judge_of()
    judge.judge(frame([row(120)]))
    assert judge.judge(frame(series(current=[45.0] * 40, vibration=9.0))).is_empty()
    assert judge.judge(frame([row(121, vibration=20.0)])).is_empty()
    assert judge.judge(frame([row(122, vibration=30.0)]))["rule"].to_list() == ["vibration_spike"]


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (1, 0, 2, 3), (0, 2, 1, 3), (0, 1, 3, 2), (1, 0, 3, 2)])
def test_disorder_within_two_minutes_hides_nothing(order: Sequence[int]) -> None:
    rise = series(10, temperature=RISE[:4])
    assert fired([*series(temperature=[-25.0] * 10), *(rise[n] for n in order)]) == ["total_cooling_loss"]
    fall = series(pressure=[200.0, 180.0, 160.0, 135.0])
    assert fired([fall[n] for n in order]) == ["acute_pressure_loss"]


def test_disorder_makes_nothing_up() -> None:
    rows = series(temperature=[-25.0 + n for n in range(40)], pressure=[200.0 - 3 * n for n in range(40)])
    shuffled = [rows[n + (1 if n % 2 == 0 else -1)] for n in range(40)]
    assert fired(shuffled) == []


def test_a_clock_days_off_is_replaced_by_the_gateways() -> None:
    rows = [r | {"timestamp_device": r["timestamp_device"] - timedelta(days=5)} for r in series(temperature=RISE)]
    one = found(rows)
    assert one["rule"].to_list() == ["total_cooling_loss"]
    assert one["event_time"].to_list() == [at(3) + timedelta(seconds=1)]


def test_a_clock_ahead_does_not_blind_the_rules_once_it_is_right_again() -> None:
    ahead = [r | {"timestamp_device": r["timestamp_device"] + timedelta(hours=5)} for r in series(readings=5)]
    assert fired([*ahead, row(6, current=45.0)]) == ["compressor_overload"]


def test_a_clock_hours_behind_is_followed() -> None:
    behind = [
        r | {"timestamp_ingested": r["timestamp_ingested"] + timedelta(hours=5)} for r in series(temperature=RISE)
    ]
    assert minutes(found(behind)) == [3.0]


def test_unknown_devices_are_left_out() -> None:
    judge = judge_of(["dev-1"])
    told = judge.judge(frame([row(0, "other", current=45.0), row(0, current=45.0), row(0, "strange", current=45.0)]))
    assert told["device_id"].to_list() == [DEVICE]
    assert judge_of([]).judge(frame([row(0)])).is_empty()


def test_all_sensors_missing() -> None:
    nothing: dict[str, Any] = dict.fromkeys(("current", "vibration", "pressure", "temperature", "defrost"))
    assert fired([row(m, **nothing) for m in range(100)]) == []


def test_two_messages_with_half_of_the_sensors_each() -> None:
    """Narrow messages whose clocks differ by a second are rows of their own."""
    rows = [
        one
        for n, t in enumerate(RISE)
        for one in (
            row(n, temperature=t, pressure=None, vibration=None, current=None, defrost=None),
            row(n + 1 / 60, temperature=None, pressure=200.0 - 30 * n),
        )
    ]
    assert sorted(fired(rows)) == ["acute_pressure_loss", "total_cooling_loss"]


# The registry changes.


def reloaded(judge: ShardJudge, devices: Sequence[str], **registry: Any) -> None:
    judge.reload(Fleet.of(registry_of(list(devices), **registry), 1).thresholds(0))


def test_a_new_threshold_holds_from_then_on() -> None:
    judge = judge_of()
    assert judge.judge(frame([row(0, current=30.0)])).is_empty()
    reloaded(judge, [DEVICE], current_threshold_a=25.0)
    assert judge.judge(frame([row(1, current=30.0)])).height == 1


def test_devices_come_and_go_and_the_others_keep_their_state() -> None:
    judge, rise = judge_of(["a", "c"]), series(device="c", temperature=RISE[:4])
    judge.judge(frame(rise[:3]))
    reloaded(judge, ["b", "c", "d"])
    assert judge.judge(frame([row(3, "a", current=45.0)])).is_empty()
    assert judge.judge(frame([row(3, "b", current=45.0), rise[3]]))["device_id"].to_list() == ["b", "c"]


def test_another_interval_begins_the_buckets_anew_and_keeps_the_rest() -> None:
    judge = judge_of()
    judge.judge(frame([*series(vibration=[3.0] * 61), row(61, current=45.0)]))
    reloaded(judge, [DEVICE], expected_interval_s=300)
    assert judge.judge(frame([row(62, pressure=100.0, current=45.0)])).is_empty()
    assert judge.judge(frame([row(63, vibration=10.0)]))["rule"].to_list() == ["vibration_spike"]


# What is remembered.


@st.composite
def telemetry(draw: st.DrawFn) -> list[Row]:
    """Readings of three devices in any state of order and health."""
    rows: list[Row] = []
    minute = 0.0
    for _ in range(draw(st.integers(5, 60))):
        minute += draw(st.sampled_from([0.0, 0.05, 0.1, 0.25, 1.0, 1.0, 1.0, 3.0, 10.0, 70.0]))
        back = draw(st.sampled_from([0.0] * 8 + [0.5, 1.9, 2.5, 100.0, 1500.0]))
        rows.append(
            row(
                minute - back + 1500,
                draw(st.sampled_from(["dev-1", "dev-2", "dev-3", "stranger"])),
                current=draw(st.sampled_from([12.0, 12.0, 12.0, 0.2, 45.0, None, float("nan")])),
                vibration=draw(st.sampled_from([3.0, 3.1, 0.7, 25.0, None, 1e6])),
                pressure=draw(st.sampled_from([200.0, 190.0, 120.0, 60.0, None, -1.0])),
                temperature=draw(st.sampled_from([-25.0, -20.0, -14.0, -8.0, 5.0, None])),
                defrost=draw(st.sampled_from([False] * 6 + [True, None])),
            )
        )
    return rows


DEVICES = ("dev-1", "dev-2", "dev-3")


@given(telemetry(), st.lists(st.integers(0, 60), max_size=8), st.sampled_from([60, 300]))
@settings(max_examples=60, deadline=None)
def test_batch_cuts_change_nothing(rows: list[Row], cuts: list[int], interval: int) -> None:
    def judged(edges: list[int], restart: bool) -> tuple[pl.DataFrame, dict[str, Any]]:
        registry = registry_of(DEVICES, expected_interval_s=interval, vibration_baseline_mm_s=3.0)
        thresholds = Fleet.of(registry, 1).thresholds(0)
        judge, told = ShardJudge(thresholds), [pl.DataFrame(schema=FINDINGS)]
        for begin, end in zip([0, *edges], [*edges, len(rows)], strict=True):
            told.append(judge.judge(frame(rows[begin:end])))
            if restart:
                judge = ShardJudge(thresholds, pickle.loads(pickle.dumps(judge.saved())))
        return pl.concat(told), state_of(judge)

    whole = judged([], restart=False)
    for edges in (list(range(1, len(rows))), sorted(min(c, len(rows)) for c in cuts)):
        for restart in (False, True):
            told, state = judged(edges, restart)
            assert_frame_equal(told, whole[0], check_exact=True)
            assert state == whole[1]


@given(telemetry())
@settings(max_examples=60, deadline=None)
def test_what_was_judged_never_fires_again(rows: list[Row]) -> None:
    judge = judge_of(DEVICES)
    judge.judge(frame(rows))
    newest: dict[str, Any] = {}
    for one in rows:
        newest[one["device_id"]] = max(newest.get(one["device_id"], at(0)), one["timestamp_device"])
    # What is hours old is late, what is minutes old is known by its time or by the episode it began.
    again = [r for r in rows if newest[r["device_id"]] - r["timestamp_device"] > timedelta(minutes=2)]
    assert judge.judge(frame(again)).is_empty()


@given(telemetry())
@settings(max_examples=40, deadline=None)
def test_every_vibration_of_the_day_is_in_the_sums(rows: list[Row]) -> None:
    judge = judge_of(DEVICES)
    judge.judge(frame(rows))
    state = judge._state
    assert (state.vibration_total == state.hour_sum.sum(axis=1)).all()
    assert (state.vibration_count == state.hour_count.sum(axis=1)).all()


def test_saved_state_is_plain_small_and_names_devices_once() -> None:
    names = [f"device-{n:06d}" for n in range(2000)]
    judge = judge_of(names)
    for minute in range(10):
        judge.judge(frame(row(minute, name) for name in names))
    saved = judge.saved()
    assert all(isinstance(v, list | np.ndarray) for v in saved.values())
    packed = pickle.dumps(saved)
    assert packed.count(b"device-000007") == 1
    assert len(packed) / len(names) < 600
    assert state_of(ShardJudge(Fleet.of(registry_of(names), 1).thresholds(0), pickle.loads(packed))) == state_of(judge)
