"""Hours left: right where growth is clear, wide where it is not, and nothing where there is none."""

import math
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from refrig_assets.alerting.diagnosis_seen import HISTORY_H, HISTORY_STEP_H
from refrig_assets.alerting.prognosis import FARTHEST_H, prognoses
from refrig_assets.alerting.signatures import INDICATORS
from refrig_assets_tests.alerting.diagnosis_cases import END, Window, seen_of
from refrig_assets_tests.windows import ordinary

# Hours before the window's end, of the middles of six-hour means as the maker lays them.
TIMES = [-float(back) - 3.25 for back in range(HISTORY_H, -1, -HISTORY_STEP_H)]


def of_growth(
    mode: str, feature: str, grown: Callable[[float], float], noise: float = 0.0, seed: int = 0
) -> dict[str, object]:
    moods = np.random.default_rng(seed).normal(0, noise, len(TIMES)) if noise else np.zeros(len(TIMES))
    series = [grown(t) + mood for t, mood in zip(TIMES, moods.tolist(), strict=True)]
    return left(mode, Window(history={feature: series}))


def left(mode: str, window: Window) -> dict[str, object]:
    seen = seen_of(window)
    return prognoses([mode], seen.history, seen.windows["window_end"]).row(0, named=True)


@pytest.mark.parametrize(
    ("mode", "feature", "sign", "at"),
    [
        ("refrigerant_leak", "superheat_mean", 1, 9.0),
        ("condenser_fouling", "temp_condenser_mean", 1, 12.0),
        ("evaporator_icing", "temp_evaporator_mean", -1, 4.5),
        ("bearing_wear", "vibration_compressor_mean", 1, 2.5 * ordinary("vibration_compressor_mean")),
    ],
)
def test_a_line_is_followed_to_where_machines_fail(mode: str, feature: str, sign: int, at: float) -> None:
    """Begun 48 hours ago, and half way to the level at which half of such machines have failed: 48 hours are left."""
    found = of_growth(mode, feature, lambda t: sign * at / 2 * max(t + 48, 0) / 48)
    assert found["indicator"] == feature
    hours, low, high = (float(str(found[c])) for c in ("hours_left", "hours_left_low", "hours_left_high"))
    assert low < 48 < high
    assert 20 < hours < 80
    assert -60 <= float(str(found["begun_h"])) <= -36


def test_growth_that_feeds_on_itself_leaves_less_than_a_line_would() -> None:
    usual = ordinary("vibration_compressor_mean")
    steep = of_growth("bearing_wear", "vibration_compressor_mean", lambda t: usual * math.exp(t / 15))
    line = of_growth("bearing_wear", "vibration_compressor_mean", lambda t: usual * max(1 + t / 72, 0))
    assert float(str(steep["hours_left"])) < float(str(line["hours_left"]))
    # 15 hours for each factor of e: from the usual (once more) to 2.5 times as much.
    assert float(str(steep["hours_left_low"])) < 15 * math.log(2.5) < float(str(steep["hours_left_high"]))


def test_noise_widens_the_interval() -> None:
    def grown(t: float) -> float:
        return 5 * max(t + 60, 0) / 60

    clear = of_growth("refrigerant_leak", "superheat_mean", grown)
    noisy = of_growth("refrigerant_leak", "superheat_mean", grown, noise=1.2)

    def width(found: dict[str, object]) -> float:
        return math.log(float(str(found["hours_left_high"])) / float(str(found["hours_left_low"])))

    assert width(noisy) > width(clear)


@pytest.mark.parametrize("seed", range(5))
def test_moods_are_no_trend(seed: int) -> None:
    found = of_growth("refrigerant_leak", "superheat_mean", lambda _: 0.0, noise=0.4, seed=seed)
    assert set(found.values()) == {None}


def test_what_grows_too_slowly_or_falls_has_no_hours() -> None:
    assert of_growth("refrigerant_leak", "superheat_mean", lambda t: 0.01 * t)["hours_left"] is None
    assert of_growth("refrigerant_leak", "superheat_mean", lambda t: -0.1 * (t + 72))["hours_left"] is None


@pytest.mark.parametrize("mode", ["door_seal", "valve_hunting", "sensor_fault", "power_loss", "unknown"])
def test_what_ends_in_no_failure_has_no_hours(mode: str) -> None:
    assert of_growth(mode, "superheat_mean", lambda t: max(t + 48, 0) / 4)["hours_left"] is None


def test_a_machine_past_the_usual_level_still_runs() -> None:
    found = of_growth("refrigerant_leak", "superheat_mean", lambda t: 13 * max(t + 48, 0) / 48)
    assert 0 <= float(str(found["hours_left_low"])) <= float(str(found["hours_left"])) < 24


def test_another_indicator_stands_in_for_a_sensor_that_lacks() -> None:
    colder = [-4 * max(t + 48, 0) / 48 for t in TIMES]
    found = left("refrigerant_leak", Window(lacks=["superheat"], history={"temp_evaporator_mean": colder}))
    assert found["indicator"] == "temp_evaporator_mean"
    assert 0 < float(str(found["hours_left"])) < FARTHEST_H


def test_few_points_give_nothing() -> None:
    short: list[float | None] = [None] * (len(TIMES) - 4) + [1.0, 2.0, 3.0, 4.0]
    assert left("refrigerant_leak", Window(history={"superheat_mean": short}))["hours_left"] is None
    assert (
        left("refrigerant_leak", Window(lacks=["superheat", "temp_evaporator", "pressure_low"]))["hours_left"] is None
    )


def test_the_same_history_gives_the_same_hours_in_any_order_of_rows() -> None:
    grown = [5 * max(t + 60, 0) / 60 for t in TIMES]
    seen = seen_of(Window("a", history={"superheat_mean": grown}), Window("b"))
    modes, ends = ["refrigerant_leak", "bearing_wear"], seen.windows["window_end"]
    first = prognoses(modes, seen.history, ends)
    again = prognoses(modes, seen.history.sample(fraction=1.0, shuffle=True, seed=3), ends)
    assert first.equals(again)
    assert first["hours_left"].null_count() == 1


def test_no_windows() -> None:
    seen = seen_of()
    assert prognoses([], seen.history, pl.Series("window_end", [], dtype=seen.windows.schema["window_end"])).height == 0


def test_levels_of_failure_lie_in_order() -> None:
    for indicators in INDICATORS.values():
        for one in indicators:
            low, middle, high = one.fails_at
            assert 0 < low < middle < high
            assert abs(one.sign) == 1


assert END.minute == 15
