"""Which faults an evaluation plans, and when."""

from dataclasses import replace
from datetime import timedelta

import polars as pl
import pytest

from refrig_assets.evaluation.plan import GRADUAL, EvaluationSpec, evaluation_plan, quick_spec

SPEC = EvaluationSpec(devices=600)


@pytest.fixture(scope="module")
def truth() -> pl.DataFrame:
    return evaluation_plan(SPEC.fleet(), SPEC).truth


def test_shares_and_kinds_are_as_asked_and_a_device_has_one_fault(truth: pl.DataFrame) -> None:
    assert truth["device_id"].is_unique().all()
    gradual = truth.filter(pl.col("is_machine_fault") & pl.col("is_gradual"))
    counts = gradual["fault"].value_counts()
    assert gradual.height == 60
    assert set(counts["fault"]) == {k.name for k in GRADUAL}
    assert counts["count"].to_list() == [10] * len(GRADUAL)
    assert truth.filter(~pl.col("is_machine_fault") & (pl.col("fault") != "firmware_scale")).height == 30


def test_most_failures_fall_in_the_scored_days_late_enough_to_be_found(truth: pl.DataFrame) -> None:
    failing = truth.filter(pl.col("failure_time").is_not_null() & pl.col("is_gradual"))
    due = pl.col("failure_time").is_between(SPEC.scored_from + timedelta(hours=14), SPEC.end)
    assert failing.filter(due).height >= 0.7 * failing.height


def test_faults_begin_in_the_training_days_too(truth: pl.DataFrame) -> None:
    machine = truth.filter("is_machine_fault")
    assert machine.filter(pl.col("ended_at") < SPEC.scored_from).height >= 3
    assert machine.filter(pl.col("onset") < SPEC.scored_from).height >= 15


def test_sizes_differ_from_the_simulators_own_and_scale(truth: pl.DataFrame) -> None:
    spec = replace(SPEC, severity=0.5)
    half = evaluation_plan(spec.fleet(), spec).truth
    both = truth.join(half, on=["device_id", "fault"], suffix="_half")
    assert both.height == truth.height
    machine = both.filter("is_machine_fault")
    assert ((machine["severity_half"] / machine["severity"] - 0.5).abs() < 0.01).all()
    assert truth.filter(pl.col("is_gradual"))["severity"].min() < 0.5


def test_the_same_spec_gives_the_same_plan_and_another_seed_another(truth: pl.DataFrame) -> None:
    assert evaluation_plan(SPEC.fleet(), SPEC).truth.equals(truth)
    other = replace(SPEC, seed=1)
    assert not evaluation_plan(other.fleet(), other).truth.equals(truth)


def test_impossible_specs_are_refused() -> None:
    with pytest.raises(ValueError, match="train_days must be between"):
        EvaluationSpec(days=3, train_days=3)
    with pytest.raises(ValueError, match="at least 20 devices"):
        EvaluationSpec(devices=3)
    with pytest.raises(ValueError, match="whole hours"):
        EvaluationSpec(train_days=14.01)


def test_a_first_look_has_failures_to_judge() -> None:
    spec = quick_spec()
    truth = evaluation_plan(spec.fleet(), spec).truth
    due = pl.col("failure_time").is_between(spec.scored_from + timedelta(hours=12), spec.end)
    assert truth.filter(due & pl.col("is_gradual")).height >= 20
