"""What counts as found, as early, and as false: on frames small enough to check by hand."""

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from refrig_assets.contracts.base import TS
from refrig_assets.evaluation import judge
from refrig_assets.evaluation.judge import HIGH, MEDIUM, Scored
from refrig_assets.simulator.plan import TRUTH_SCHEMA

START = datetime(2026, 3, 16, tzinfo=UTC)
END = START + timedelta(days=7)


def at(hours: float) -> datetime:
    return START + timedelta(hours=hours)


def fault(device: str, onset: float, failure: float | None, ended: float, **others: Any) -> dict[str, Any]:
    return {
        "device_id": device,
        "fault": "bearing_wear",
        "is_machine_fault": True,
        "is_gradual": True,
        "onset": at(onset),
        "failure_time": None if failure is None else at(failure),
        "ended_at": at(ended),
        "severity": 0.8,
        "sensor": None,
        **others,
    }


def scored(*faults: dict[str, Any], devices: str = "abcd") -> Scored:
    truth = pl.DataFrame(list(faults), schema=TRUTH_SCHEMA)
    return Scored(pl.Series("device_id", list(devices)), truth, START, END)


def hits(*windows: tuple[str, float], level: int = MEDIUM) -> pl.DataFrame:
    """Windows by device and hour of their end."""
    rows = [{"device_id": d, "window_end": at(h), "level": level} for d, h in windows]
    return pl.DataFrame(rows, schema={"device_id": pl.String, "window_end": TS, "level": pl.Int8})


def early(found: pl.DataFrame, span: Scored) -> float | None:
    return judge.found_early(judge.faults(judge.alerts(found, MEDIUM), span))


def test_hits_at_most_four_hours_apart_are_one_alert() -> None:
    raised = judge.alerts(hits(("a", 1), ("a", 5), ("a", 9.25), ("b", 9.5)), MEDIUM)
    assert raised["device_id"].to_list() == ["a", "a", "b"]
    assert raised["first_end"].to_list() == [at(1), at(9.25), at(9.5)]
    assert raised["windows"].to_list() == [2, 1, 1]


def test_an_alert_is_known_five_minutes_after_the_hour_of_its_window() -> None:
    raised = judge.alerts(hits(("a", 0.25), ("b", 1.0), ("c", 1.25)), MEDIUM)
    assert raised["raised_at"].to_list() == [at(1 + 5 / 60), at(1 + 5 / 60), at(2 + 5 / 60)]


def test_hits_below_the_level_make_no_alert() -> None:
    assert judge.alerts(hits(("a", 1)), HIGH).is_empty()
    assert judge.alerts(hits(("a", 1), level=HIGH), HIGH).height == 1


def test_early_is_twelve_hours_before_the_failure_by_the_time_it_is_known() -> None:
    span = scored(fault("a", 10, 60, 66))
    assert early(hits(("a", 47.0)), span) == 1.0
    assert early(hits(("a", 48.0)), span) == 0.0  # known at 48:05
    assert early(hits(), span) == 0.0


def test_an_alert_that_stood_before_the_onset_is_false_and_finds_nothing() -> None:
    span = scored(fault("a", 10, 60, 66))
    standing = hits(*(("a", h) for h in range(9, 60, 3)))
    assert early(standing, span) == 0.0
    assert judge.false_counts(judge.alerts(standing, MEDIUM), span)[judge.MACHINE] == 1
    again = hits(("a", 9), ("a", 14))  # more than four hours later
    assert early(again, span) == 1.0


def test_only_failures_with_twelve_hours_of_scores_before_them_are_judged() -> None:
    assert early(hits(), scored(fault("a", -50, 11, 20))) is None
    assert early(hits(), scored(fault("a", 100, 170, 180))) is None  # after the end
    assert early(hits(), scored(fault("a", 10, None, 400, fault="door_seal"))) is None
    assert early(hits(), scored(fault("a", 10, 60, 66, is_gradual=False))) is None


def test_after_a_repair_two_hours_are_forgiven() -> None:
    span = scored(fault("a", 10, 60, 66))
    assert judge.false_counts(judge.alerts(hits(("a", 68.0)), MEDIUM), span)[judge.MACHINE] == 0
    assert judge.false_counts(judge.alerts(hits(("a", 68.25)), MEDIUM), span)[judge.MACHINE] == 1


def test_false_alerts_are_told_apart_by_what_is_wrong_with_the_device() -> None:
    drift = fault("b", 10, None, 400, fault="sensor_drift", is_machine_fault=False)
    span = scored(fault("a", 10, 60, 66), drift)
    raised = judge.alerts(hits(("a", 20), ("b", 20), ("b", 40), ("c", 20)), MEDIUM)
    assert judge.false_counts(raised, span) == {judge.HEALTHY: 1, judge.TELEMETRY: 2, judge.MACHINE: 0}


def test_days_in_which_a_machine_is_ill_do_not_count() -> None:
    days = scored(fault("a", -24, 24, 48), fault("b", 0, None, 400, is_machine_fault=False)).device_days()
    assert days == {judge.HEALTHY: 14.0, judge.TELEMETRY: 7.0, judge.MACHINE: 5.0}
    assert judge.per_1000_days({judge.HEALTHY: 7}, days) == pytest.approx(500)


def test_a_summary_tells_lead_and_delay() -> None:
    span = scored(fault("a", 10, 60, 66), fault("b", -30, 50, 55))
    judged = judge.faults(judge.alerts(hits(("a", 20), ("b", 1)), MEDIUM), span)
    row = judge.summary(judged, ("fault",)).row(0, named=True)
    assert (row["faults"], row["found"], row["found_12h"]) == (2, 1.0, 1.0)
    assert row["lead_median_h"] == pytest.approx((60 - 20 + 50 - 1) / 2 - 5 / 60)
    # A fault that began before the first score is delayed from that on.
    assert row["delay_median_h"] == pytest.approx((10 + 1) / 2 + 5 / 60)
    assert judge.by_kind(judged)["size"].to_list() == ["0.7–0.85"]


def test_a_sweep_shows_what_finding_more_costs_and_the_cheapest_limit_is_chosen() -> None:
    span = scored(fault("a", 10, 60, 66), fault("b", 10, 60, 66))
    values = {("a", 20): 3.0, ("b", 20): 1.0, ("c", 30): 2.0, ("d", 30): 0.5, ("d", 60): 0.5}
    rows = [{"device_id": d, "window_end": at(h), "value": v} for (d, h), v in values.items()]
    curve = judge.sweep(pl.DataFrame(rows, schema_overrides={"window_end": TS}), span, [0.0, 0.7, 2.5, 9.0])
    assert curve["found_12h"].to_list() == [1.0, 1.0, 0.5, 0.0]
    assert curve["false"].to_list() == [3, 1, 0, 0]
    assert judge.cheapest_at(curve, 1.0) == pytest.approx(
        {"limit": 0.7, "found_12h": 1.0, "false": 1, "false_per_1000": curve["false_per_1000"][1]}
    )
    weak = curve.filter(pl.col("limit") > 1)
    chosen = judge.cheapest_at(weak, 1.0)
    assert chosen is not None
    assert chosen["found_12h"] == 0.5
    assert judge.cheapest_at(curve.clear(), 1.0) is None


def test_limits_reach_from_common_to_rare_on_devices_without_a_fault() -> None:
    span = scored(fault("a", 10, 60, 66))
    well = pl.DataFrame({"device_id": ["b"] * 1000, "value": [i / 1000 for i in range(1000)]})
    ill = pl.DataFrame({"device_id": ["a"] * 1000, "value": [5.0] * 1000})
    limits = judge.limits_for(pl.concat([well, ill]), span)
    assert limits == sorted(limits)
    assert 0.6 < limits[0] < 0.7
    assert 0.99 < limits[-1] < 1.0
    assert judge.limits_for(ill, span) == []


def test_chance_finds_as_often_as_false_alerts_come() -> None:
    span = scored(fault("a", 10, 46, 50))
    judged = judge.faults(judge.alerts(hits(), MEDIUM), span)
    assert judge.by_chance(judged, span, 0.0) == 0.0
    assert judge.by_chance(judged, span, 1.0) == pytest.approx(1 - 2.718281828**-1)  # a day from onset to 12 h before
    assert judge.by_chance(judged.clear(), span, 1.0) is None
