"""Each rule of the contract's table: what makes it fire, and what must not."""

import pytest

from refrig_assets_tests.streaming.rows import Row, fired, found, minutes, row, series

NAN = float("nan")
OVERLOAD, SPIKE = ["compressor_overload"], ["vibration_spike"]
LOSS, COOLING = ["acute_pressure_loss"], ["total_cooling_loss"]
NOTHING: list[str] = []


def rising(start: float, per_minute: float, count: int, step_s: float = 60.0) -> list[float]:
    return [start + per_minute * step_s / 60 * n for n in range(count)]


OVERLOADS: dict[str, tuple[list[Row], list[str]]] = {
    "above the limit": (series(current=[12.0, 41.0]), OVERLOAD),
    "the very first reading of a device": (series(current=[41.0]), OVERLOAD),
    "at the limit": (series(current=[40.0, 40.0]), NOTHING),
    "stays above": (series(current=[41.0] * 100), OVERLOAD),
    "no current sensor": (series(current=[None] * 10), NOTHING),
    "NaN": (series(current=[NAN] * 10), NOTHING),
    "beyond the sensor's range": (series(current=[999.9, 51.0, -5.0]), NOTHING),
    "in a defrost": (series(current=[12.0, 41.0], defrost=[False, True]), OVERLOAD),
}


@pytest.mark.parametrize("case", OVERLOADS)
def test_overload(case: str) -> None:
    rows, expected = OVERLOADS[case]
    assert fired(rows) == expected


def test_overload_has_the_limit_of_the_device() -> None:
    rows = series(current=[30.0])
    assert fired(rows, current_threshold_a=25.0) == OVERLOAD
    assert fired(rows, current_threshold_a=35.0) == NOTHING


SIXTY = [3.0] * 61
SPIKES: dict[str, tuple[list[Row], list[str]]] = {
    "three times the mean": (series(vibration=[*SIXTY, 9.1]), SPIKE),
    "not quite three times": (series(vibration=[*SIXTY, 8.9]), NOTHING),
    "first reading of a device": (series(vibration=[50.0]), NOTHING),
    "too few readings": (series(vibration=[3.0] * 29 + [30.0], step_s=300), NOTHING),
    "too short a time": (series(vibration=[3.0] * 59 + [30.0], step_s=30), NOTHING),
    "fast readings": (series(vibration=[3.0] * 601 + [9.1], step_s=6), SPIKE),
    "slow readings": (series(vibration=[3.0] * 31 + [9.1], step_s=300, readings=32), SPIKE),
    "next to nothing": (series(vibration=[0.1] * 61 + [0.9]), NOTHING),
    "a small machine": (series(vibration=[0.3] * 61 + [1.0]), SPIKE),
    "no sensor": (series(vibration=[None] * 100), NOTHING),
    "NaN among readings": (series(vibration=[*SIXTY, NAN, 9.1]), SPIKE),
    "beyond the sensor's range": (series(vibration=[*SIXTY, 1e6, 100.5]), NOTHING),
    "standing still does not lower the mean": (
        series(vibration=[3.0, 0.3] * 61 + [5.0], current=[12.0, 0.1] * 61 + [12.0]),
        NOTHING,
    ),
    "a start after a night's rest": (
        series(vibration=[3.0] * 61 + [0.2] * 600 + [4.0], current=[12.0] * 61 + [0.0] * 600 + [12.0]),
        NOTHING,
    ),
    "current unknown": (series(vibration=[*SIXTY, 9.1], current=None), SPIKE),
    "after a gap of hours": ([*series(vibration=SIXTY), row(400, vibration=9.1)], SPIKE),
    "after a gap of two days the history is gone": ([*series(vibration=SIXTY), row(2940, vibration=9.1)], NOTHING),
}


@pytest.mark.parametrize("case", SPIKES)
def test_spike(case: str) -> None:
    rows, expected = SPIKES[case]
    assert fired(rows) == expected


def test_spike_without_a_history_goes_by_the_baseline() -> None:
    assert fired(series(vibration=[9.1]), vibration_baseline_mm_s=3.0) == SPIKE
    assert fired(series(vibration=[8.9]), vibration_baseline_mm_s=3.0) == NOTHING
    assert fired(series(vibration=[8.9]), vibration_baseline_mm_s=0.0) == NOTHING


def test_spike_with_a_history_does_not() -> None:
    assert fired(series(vibration=[2.0] * 61 + [6.1]), vibration_baseline_mm_s=9.0) == SPIKE


def test_a_small_machine_draws_little_and_runs() -> None:
    rows = [*series(vibration=SIXTY, current=0.8), row(61, vibration=9.1, current=0.8)]
    assert fired(rows) == NOTHING
    assert fired(rows, current_threshold_a=4.0) == SPIKE


def test_spike_tells_the_mean() -> None:
    one = found(series(vibration=[2.0] * 31 + [4.0] * 31 + [12.5]))
    assert one.select("measured", "limit", "reference").row(0) == pytest.approx((12.5, 9.0, 3.0))


def stopped_until(readings: int, count: int) -> list[float]:
    return [0.0] * readings + [12.0] * (count - readings)


LOSSES: dict[str, tuple[list[Row], list[str]]] = {
    "a third, at once": (series(pressure=[200.0, 134.0]), LOSS),
    "a third, step by step": (series(pressure=[200.0, 190.0, 180.0, 165.0, 150.0, 139.0]), LOSS),
    "exactly 30 %": (series(pressure=[200.0, 140.0]), NOTHING),
    "a third, in ten minutes": (series(pressure=[200.0 - 6.7 * n for n in range(11)]), NOTHING),
    "five minutes are inclusive": (series(pressure=[200.0, 139.0], step_s=300), LOSS),
    "six minutes are not": (series(pressure=[200.0, 139.0], step_s=360), NOTHING),
    "slow readings": (series(pressure=[200.0] * 5 + [139.0], step_s=300), LOSS),
    "fast readings": (series(pressure=[200.0 - n for n in range(0, 80, 2)], step_s=6), LOSS),
    "a rise": (series(pressure=[100.0, 200.0, 200.0]), NOTHING),
    "a first reading": (series(pressure=[60.0]), NOTHING),
    "over a gap": ([row(0, pressure=200.0), *series(11, pressure=[130.0] * 30)], NOTHING),
    "a gap shorter than the window": ([row(0, pressure=200.0), row(4, pressure=130.0)], LOSS),
    "no sensor": (series(pressure=[None] * 10), NOTHING),
    "NaN, nothing, and values out of range": (series(pressure=[200.0, NAN, None, 0.0, 49.0, 200.0]), NOTHING),
    "a wild high reading out of range": (series(pressure=[200.0, 999.9, 200.0]), NOTHING),
    "current unknown": (series(pressure=[200.0, 134.0], current=None), LOSS),
    "the compressor stops": (series(pressure=[200.0, 100.0], current=[12.0, 0.0]), NOTHING),
    "pulled down after a start": (
        series(pressure=[400.0, 390.0, 250.0, 200.0, 150.0, 130.0, 120.0], current=stopped_until(2, 7)),
        NOTHING,
    ),
    "lost well after a start": (
        series(pressure=[400.0] * 2 + [200.0] * 12 + [130.0], current=stopped_until(2, 15)),
        LOSS,
    ),
    "pulled down after a defrost": (
        series(pressure=[300.0] * 3 + [280.0, 200.0, 180.0, 170.0], defrost=[True] * 3 + [False] * 4),
        NOTHING,
    ),
    "in a defrost": (series(pressure=[200.0, 200.0, 120.0], defrost=[False, True, True]), NOTHING),
    "pulled down after a gap": ([row(0), *series(30, pressure=[300.0, 250.0, 190.0, 180.0])], NOTHING),
    "a compressor that cycles": (
        series(pressure=[400.0, 300.0, 180.0, 400.0] * 20, current=[0.0, 12.0, 12.0, 0.0] * 20),
        NOTHING,
    ),
}


@pytest.mark.parametrize("case", LOSSES)
def test_pressure_loss(case: str) -> None:
    rows, expected = LOSSES[case]
    assert fired(rows) == expected


def test_pressure_loss_has_the_limit_of_the_device() -> None:
    rows = series(pressure=[200.0, 150.0])
    assert fired(rows, pressure_drop_fraction=0.2) == LOSS
    assert fired(rows, pressure_drop_fraction=0.3) == NOTHING


def test_pressure_loss_tells_the_highest_and_when_it_was() -> None:
    one = found(series(pressure=[200.0, 220.0, 210.0, 150.0]))
    assert one.select("measured", "limit", "reference").row(0) == pytest.approx((150.0, 154.0, 220.0))
    assert minutes(one, "since") == [1.0]


COOLINGS: dict[str, tuple[list[Row], list[str]]] = {
    "three minutes": (series(temperature=rising(-25, 2.1, 4)), COOLING),
    "two minutes": (series(temperature=[*rising(-25, 2.1, 3), -20.8, -20.8]), NOTHING),
    "at the limit": (series(temperature=rising(-25, 2.0, 20)), NOTHING),
    "slowly": (series(temperature=rising(-25, 1.5, 20)), NOTHING),
    "one step too slow": (series(temperature=[-25, -22, -19, -18, -15, -12]), NOTHING),
    "one wild reading": (series(temperature=[-25.0] * 5 + [20.0] + [-25.0] * 5), NOTHING),
    "one wild low reading": (series(temperature=[-25.0] * 5 + [-59.0] + [-25.0] * 5), NOTHING),
    "a jump that stays": (series(temperature=[-25.0] * 5 + [-5.0] * 5), NOTHING),
    "over a gap": ([row(0, temperature=-25.0), row(20, temperature=10.0), row(21, temperature=10.5)], NOTHING),
    "broken by a gap": (
        [*series(temperature=rising(-25, 2.5, 3)), *series(12, temperature=rising(5, 2.5, 3))],
        NOTHING,
    ),
    "over one lost reading": ([row(m, temperature=-25 + 2.5 * m) for m in (0, 1, 3, 4)], COOLING),
    "in a defrost": (series(temperature=rising(-25, 3, 8), defrost=True), NOTHING),
    "just after a defrost": (
        series(temperature=[*rising(-25, 3, 4), *rising(-13, 3, 6)], defrost=[True] * 4 + [False] * 6),
        NOTHING,
    ),
    "well after a defrost": (
        series(temperature=[0.0] * 4 + [-25.0] * 15 + rising(-25, 3, 5), defrost=[True] * 4 + [False] * 20),
        COOLING,
    ),
    "defrosts are not reported": (series(temperature=rising(-25, 2.1, 4), defrost=None), COOLING),
    "fast readings": (series(temperature=rising(-25, 2.5, 35, 6), step_s=6), COOLING),
    "fast and noisy": (
        series(temperature=[t + 0.2 * (-1) ** n for n, t in enumerate(rising(-25, 3, 40, 6))], step_s=6),
        COOLING,
    ),
    "every two minutes": (series(temperature=rising(-25, 2.5, 3, 120), step_s=120), COOLING),
    "no sensor": (series(temperature=[None] * 10), NOTHING),
    "NaN, nothing, and values out of range": (
        series(temperature=[-25.0, NAN, None, 999.9, -273.15, 31.0, -25.0]),
        NOTHING,
    ),
    "the first readings of a device": (series(temperature=[-25.0]), NOTHING),
    "the compressor does not matter": (series(temperature=rising(-25, 2.1, 4), current=0.0), COOLING),
    "jittering clocks": (
        [row(m, temperature=-25 + 2.5 * m) for m in (0.0, 0.993, 2.004, 2.993)],
        COOLING,
    ),
}


@pytest.mark.parametrize("case", COOLINGS)
def test_cooling_loss(case: str) -> None:
    rows, expected = COOLINGS[case]
    assert fired(rows) == expected


SLOW = {"expected_interval_s": 300}
SLOW_COOLINGS: dict[str, tuple[list[float], list[str]]] = {
    "confirmed by the next reading": ([-3.0, -3.0, 13.5, 17.9], COOLING),
    "confirmed though it rises no more": ([-3.0, -3.0, 13.5, 13.5], COOLING),
    "one wild reading": ([-3.0, -3.0, 28.0, -3.0, -3.0], NOTHING),
    "not confirmed yet": ([-3.0, -3.0, 13.5], NOTHING),
    "too slow": ([-25.0, -16.0, -7.0, 2.0, 9.0], NOTHING),
    "goes on rising": ([-29.0, -18.5, -8.0], COOLING),
}


@pytest.mark.parametrize("case", SLOW_COOLINGS)
def test_cooling_loss_of_devices_that_report_every_five_minutes(case: str) -> None:
    temperatures, expected = SLOW_COOLINGS[case]
    assert fired(series(temperature=temperatures, step_s=300), **SLOW) == expected


def test_a_long_silence_of_a_slow_device_is_a_gap_too() -> None:
    rows = [row(0, temperature=-3.0), row(30, temperature=25.0), row(35, temperature=27.0)]
    assert fired(rows, **SLOW) == NOTHING


def test_a_defrost_that_the_device_cannot_report_is_not_a_cooling_loss() -> None:
    """The registry knows which devices do not; of those only a coil warmer than any defrost makes it counts."""
    silent = {"expected_sensors": ["temperature_evaporator", "current_compressor"]}
    defrost = series(temperature=[-25.0, -19.0, -14.0, -9.0, -4.5, 0.0, 4.0, 7.0, 5.0, 0.0, -6.0], defrost=None)
    failure = series(temperature=[-25.0, -19.0, -13.0, -7.0, -1.0, 5.0, 11.0, 15.0], defrost=None)
    assert fired(defrost, **silent) == NOTHING
    assert minutes(found(failure, **silent)) == [6.0]
    assert fired(failure, expected_sensors=[]) == COOLING


def test_cooling_loss_has_the_limit_of_the_device() -> None:
    rows = series(temperature=rising(-25, 1.5, 6))
    assert fired(rows, temperature_rise_c_per_min=1.0) == COOLING
    assert fired(rows) == NOTHING


def test_cooling_loss_tells_rate_and_beginning() -> None:
    one = found(series(temperature=[-25.0, -25.0, *rising(-25, 3, 5)]))
    assert one.select("measured", "limit", "reference").row(0) == pytest.approx((3.0, 2.0, -25.0))
    assert (minutes(one, "since"), minutes(one)) == ([2.0], [5.0])


@pytest.mark.parametrize("step_s", [6, 10, 15, 30, 60, 90, 120])
@pytest.mark.parametrize("per_minute", [2.05, 2.5, 6.0])
def test_a_steady_rise_fires_after_three_minutes_at_any_interval(step_s: int, per_minute: float) -> None:
    one = found(series(temperature=[-50.0] * 5 + rising(-50, per_minute, 600 // step_s, step_s), step_s=step_s))
    assert one["rule"].to_list() == COOLING
    waited = minutes(one)[0] - 5 * step_s / 60
    # The first step may begin up to 45 s before the rise, and be steep enough all the same.
    assert 2.25 <= waited <= 3 + max(step_s, 60) / 60
