"""Which diagnoses count as right, and how hours left are judged: on frames small enough to check by hand."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from refrig_assets.evaluation import diagnosed
from refrig_assets.evaluation.report import draw_confusion
from refrig_assets.simulator.plan import TRUTH_SCHEMA
from refrig_assets_tests.evaluation.test_judge import at, fault

TRUTH = pl.DataFrame(
    [
        fault("leaks", 10, 60, 66, fault="refrigerant_leak_slow"),
        fault("seizes", 10, 10, 20, fault="compressor_seizure", is_gradual=False),
        fault("drifts", 0, None, 90, fault="sensor_drift", is_machine_fault=False, sensor="humidity"),
    ],
    schema=TRUTH_SCHEMA,
)


def alerts(*rows: tuple[Any, ...]) -> pl.DataFrame:
    """Device, hour of the first window's end, mode; and hours left, low, high where there are some."""
    names = ("device_id", "first_end", "failure_mode", "hours_left", "hours_left_low", "hours_left_high")
    told = [dict(zip(names, (d, at(h), *more, *[None] * (4 - len(more))), strict=True)) for d, h, *more in rows]
    types = dict.fromkeys(names[3:], pl.Float64)
    return pl.DataFrame(
        told, schema={"device_id": pl.String, "first_end": TRUTH_SCHEMA["onset"], "failure_mode": pl.String, **types}
    )


@pytest.mark.parametrize(
    ("device", "mode", "right"),
    [
        ("leaks", "refrigerant_leak", True),
        ("leaks", "evaporator_icing", False),
        ("leaks", "unknown", False),
        ("leaks", None, None),
        ("seizes", "bearing_wear", True),
        ("seizes", "compressor_overload", True),
        ("seizes", "power_loss", False),
        ("drifts", "sensor_fault", True),
        ("nobody", "sensor_fault", None),
    ],
)
def test_right_is_what_may_be_said_of_the_fault(device: str, mode: str | None, right: bool | None) -> None:
    assert diagnosed.with_truth(alerts((device, 15, mode)), TRUTH)["right"].to_list() == [right]


def test_only_alerts_raised_while_the_fault_was_on_count() -> None:
    hours = (10, 10.25, 67, 68.25)
    judged = diagnosed.with_truth(alerts(*(("leaks", h, "refrigerant_leak") for h in hours)), TRUTH)
    assert judged["right"].to_list() == [None, True, True, None]


def test_figures_are_shares_of_alerts_on_faults() -> None:
    told = alerts(
        ("leaks", 15, "refrigerant_leak"), ("leaks", 20, "unknown"), ("leaks", 25, "sensor_fault"),
        ("drifts", 5, "sensor_fault"), ("well", 5, "unknown"), ("well", 9, "door_seal"),
    )  # fmt: skip
    found = diagnosed.figures(told, TRUTH)
    assert found["diagnosed_right"] == pytest.approx(2 / 4)
    assert found["diagnosed_right_first_of_device"] == 1.0
    assert found["diagnosed_right_machine"] == pytest.approx(1 / 3)
    assert found["diagnosed_right_sensor_fault"] == 1.0
    assert found["diagnosed_right_where_named"] == pytest.approx(2 / 3)
    assert found["machine_fault_called_sensor_fault"] == pytest.approx(1 / 3)
    assert found["unknown_where_no_fault"] == 0.5
    assert found["hours_left_within_interval"] is None
    assert set(diagnosed.figures(alerts(), TRUTH).values()) == {None, 0.0}


def test_by_kind_tells_wrong_from_unknown_and_at_rest() -> None:
    told = alerts(
        *(("leaks", 15 + n, m) for n, m in enumerate(["refrigerant_leak", "unknown", "power_loss", "door_seal"]))
    )
    (row,) = diagnosed.by_kind(told, TRUTH).iter_rows(named=True)
    assert row == {
        "fault": "refrigerant_leak_slow", "alerts": 4, "right": 0.25, "unknown": 0.25, "at_rest": 0.25, "wrong": 0.25,
    }  # fmt: skip


def test_hours_left_are_judged_where_a_failure_followed() -> None:
    told = alerts(
        ("leaks", 20, "refrigerant_leak", 30.0, 10.0, 45.0),  # truly 40
        ("leaks", 50, "refrigerant_leak", 30.0, 20.0, 45.0),  # truly 10
        ("leaks", 61, "refrigerant_leak", 1.0, 0.0, 2.0),  # it has failed
        ("drifts", 20, "refrigerant_leak", 1.0, 0.0, 2.0),  # it never does
        ("leaks", 21, "refrigerant_leak"),
    )
    left = diagnosed.hours_left(told, TRUTH)
    assert left["left_h"].to_list() == [40.0, 10.0]
    assert left["error_h"].to_list() == [-10.0, 20.0]
    assert left["within"].to_list() == [True, False]
    found = diagnosed.figures(told, TRUTH)
    assert (found["hours_left_given"], found["hours_left_within_interval"]) == (2.0, 0.5)
    assert found["hours_left_error_median_h"] == 15.0


def test_confusion_counts_and_is_drawn(tmp_path: Path) -> None:
    told = alerts(("leaks", 15, "refrigerant_leak"), ("leaks", 16, "refrigerant_leak"), ("well", 9, "unknown"))
    counted = diagnosed.confusion(told, TRUTH)
    assert counted.rows() == [(diagnosed.NO_FAULT, "unknown", 1), ("refrigerant_leak_slow", "refrigerant_leak", 2)]
    for frame in (counted, counted.clear()):
        assert draw_confusion(frame, tmp_path / "pictures" / "confusion.png").stat().st_size > 1000
