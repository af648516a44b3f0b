"""Detectors as their users see them, on tables of any kind: what they find, what they say, and that they keep to it."""

import io
import json
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import polars as pl
import pytest

from refrig_assets.models import MODELS, FeatureMismatchError, Model, ModelInfo, Roles, StatisticalBaseline
from refrig_assets.models.calibration import Calibration
from refrig_assets_tests.models.fleet import COLUMNS, ROLES, fleet, raised

QUICK: dict[str, dict[str, Any]] = {
    "statistical_baseline": {},
    # Its second forest is blind to how far beyond its rows one lies; of few columns it must see nearly all of them.
    "isolation_forest": {"trees": 40, "rows_per_tree": 256, "trim": 0.0},
    "autoencoder": {"steps": 60, "cohort_steps": 60},
    "dbscan_cohort": {},
}
FAMILIES = {c: [c] for c in COLUMNS}
SCORES = {
    "anomaly_score": pl.Float64,
    "anomaly_flag": pl.Boolean,
    "threshold_used": pl.Float64,
    "granularity": pl.String,
    "top_contributors": pl.List(pl.String),
    "contributor_scores": pl.List(pl.Float64),
}
FLEET = fleet()


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> Model:
    name = str(request.param)
    return MODELS[name].fit(FLEET, ROLES, settings={**QUICK[name], "families": FAMILIES})


@pytest.fixture(scope="module")
def plain() -> Model:
    return StatisticalBaseline.fit(FLEET, ROLES)


def baseline(rows: pl.DataFrame, roles: Roles = ROLES, **more: Any) -> Model:
    return StatisticalBaseline.fit(rows, roles, **more)


def test_scores_are_rows_in_their_order(model: Model) -> None:
    odd = pl.concat([FLEET.head(50), raised(FLEET.head(50), 25, "a", "b"), FLEET.tail(20)])
    found = model.score(odd)
    assert dict(found.schema) == SCORES
    assert found.height == 120
    assert found["anomaly_score"].is_between(0, 1).all()
    assert found["anomaly_flag"][50:100].mean() > 0.9
    assert found["anomaly_flag"][:50].sum() + found["anomaly_flag"][100:].sum() < 8
    assert dict(model.score(odd.head(0)).schema) == SCORES


def test_a_row_has_the_same_score_in_any_batch(model: Model) -> None:
    asked = raised(fleet(seed=1), 3, "b")
    whole = model.score(asked, reasons="all")
    order = np.random.default_rng(0).permutation(asked.height)
    assert model.score(asked[order], reasons="all").equals(whole[order])
    for at in (0, 700, asked.height - 1):
        assert model.score(asked[at], reasons="all").equals(whole[at])
    other_columns_first = asked.select(pl.lit("x").alias("more"), *reversed(asked.columns))
    assert model.score(other_columns_first, reasons="all").equals(whole)


def test_metadata_and_arrays_are_all_there_is(model: Model) -> None:
    file = io.BytesIO()
    np.savez(file, **model.arrays())
    file.seek(0)
    info = ModelInfo.from_dict(json.loads(json.dumps(model.info.to_dict())))
    with np.load(file, allow_pickle=False) as kept:
        again = type(model).restore(info, dict(kept))
    asked = raised(fleet(seed=2), 4, "a")
    assert again.score(asked, reasons="all").equals(model.score(asked, reasons="all"))
    assert np.array_equal(again.raw(asked), model.raw(asked))
    assert again.info.to_dict() == model.info.to_dict()


def test_two_fits_with_one_seed_are_one_model(model: Model) -> None:
    name = model.info.model_id
    again = type(model).fit(FLEET, ROLES, settings={**QUICK[name], "families": FAMILIES})
    kept = model.arrays()
    assert set(again.arrays()) == set(kept)
    for key, array in again.arrays().items():
        np.testing.assert_array_equal(array, kept[key], err_msg=key)


def test_what_is_said_of_training_can_be_kept_as_json(model: Model) -> None:
    told = json.loads(json.dumps(model.info.to_dict()))["trained"]
    assert (told["rows"], told["devices"], told["held_out_rows"]) == (FLEET.height, 24, FLEET.height)
    assert told["from"] < told["to"]
    assert 0 < told["held_out_flag_rate"] < 0.03
    assert told["held_out_above"]["0.6"] == pytest.approx(told["held_out_flag_rate"], abs=1e-6)
    assert list(told["held_out_above"]) == ["0.6", "0.7", "0.85", "0.95"]


@pytest.mark.parametrize("name", MODELS)
def test_a_table_from_a_file_without_any_roles(name: str) -> None:
    """Just columns of numbers, as whoever finds the library would try it first."""
    rng = np.random.default_rng(0)
    file = io.StringIO()
    pl.DataFrame({"speed": rng.normal(50, 5, 600).round(2), "load": rng.integers(0, 100, 600)}).write_csv(file)
    rows = pl.read_csv(io.StringIO(file.getvalue()))
    model = MODELS[name].fit(rows, Roles(("speed", "load")), settings=QUICK[name])
    found = model.score(pl.concat([rows, pl.DataFrame({"speed": [150.0], "load": [50]})]))
    # A forest knows only that a row lies beyond all others, not how far.
    limit = found["anomaly_score"][:-1].quantile(0.97) if name == "isolation_forest" else 0.6
    assert found["anomaly_score"][-1] > limit
    assert found["anomaly_flag"][:-1].mean() < 0.04
    said = model.score(pl.DataFrame({"speed": [150.0], "load": [50]}), reasons="all")
    assert said["top_contributors"][0].to_list()[0] == "speed"
    assert said["contributor_scores"][0][0] > 0.5
    if model.info.granularity == "device":
        assert set(found["granularity"]) == {"fleet"}


def test_a_row_with_nothing_to_judge_has_no_score(plain: Model) -> None:
    nothing, infinite = (FLEET.head(4).with_columns(pl.lit(v).alias(c) for c in COLUMNS) for v in (None, float("inf")))
    one_left = nothing.with_columns(b=FLEET["b"].head(4))
    for reasons in ("flagged", "all", "none"):
        found = plain.score(pl.concat([nothing.cast(FLEET.schema), infinite, one_left]), reasons=reasons)
        assert found["anomaly_score"].is_null().to_list() == [True] * 8 + [False] * 4
        assert not found["anomaly_flag"][:8].any()
        assert found["top_contributors"][:8].null_count() == 8
        assert found["anomaly_flag"].null_count() == found["threshold_used"].null_count() == 0


def test_missing_conditions_and_values_are_no_oddity(plain: Model) -> None:
    usual = FLEET.filter(pl.col("ambient").is_between(19.8, 20.2))
    gaps = usual.with_columns(ambient=pl.lit(None, pl.Float64), c=pl.lit(None, pl.Float64))
    assert plain.score(gaps)["anomaly_flag"].mean() < 0.05
    assert plain.score(raised(gaps, 30, "a", "b"))["anomaly_flag"].all()


@pytest.mark.parametrize("flag_rate", [None, 0.2, 0.05])
def test_flags_are_scores_above_the_threshold(flag_rate: float | None) -> None:
    model = baseline(FLEET, settings={"flag_rate": flag_rate})
    found = model.score(raised(FLEET, 3, "a"))
    limit = model.info.threshold
    assert found["threshold_used"].unique().to_list() == [limit]
    assert (found["anomaly_flag"] == (found["anomaly_score"] > limit)).all()
    assert 0 < found["anomaly_flag"].mean() < 1
    if flag_rate is None:
        assert limit == 0.6
    else:
        assert model.info.trained["held_out_flag_rate"] == pytest.approx(flag_rate, abs=0.005)
        assert model.score(fleet(seed=5))["anomaly_flag"].mean() == pytest.approx(flag_rate, rel=0.5)


def test_a_score_at_the_threshold_is_not_above_it() -> None:
    model = baseline(FLEET)
    scores = model.score(FLEET)["anomaly_score"]
    model.info = replace(model.info, threshold=float(scores.sort()[-30]))
    assert model.score(FLEET)["anomaly_flag"].to_list() == (scores > model.info.threshold).to_list()


@pytest.mark.parametrize("flag_rate", [0, 1, 1.5, -0.1])
def test_a_share_to_flag_lies_between_none_and_all(flag_rate: float) -> None:
    with pytest.raises(ValueError, match="flag_rate must lie between 0 and 1"):
        baseline(FLEET.head(200), settings={"flag_rate": flag_rate})


def test_missing_columns_are_named_when_fitting_scoring_and_validating(plain: Model) -> None:
    for lost in ("a", "ambient", "device", "cohort", "at"):
        with pytest.raises(FeatureMismatchError, match=f"^1 columns .*: {lost}"):
            plain.score(FLEET.drop(lost))
        with pytest.raises(FeatureMismatchError, match=lost):
            baseline(FLEET.drop(lost))
        with pytest.raises(FeatureMismatchError, match=lost):
            baseline(FLEET, validation=FLEET.drop(lost))


def test_reasons_are_given_as_asked() -> None:
    columns = tuple(f"f{n}" for n in range(8))
    rng = np.random.default_rng(0)
    rows = pl.DataFrame({c: rng.normal(size=500) for c in columns})
    model = baseline(rows, Roles(columns))
    odd = rows.head(30).with_columns(
        f2=pl.when(pl.int_range(30) < 10).then(-30.0).otherwise("f2"),
        f5=pl.when(pl.int_range(30) < 10).then(15.0).otherwise("f5"),
    )
    flagged, everyone, nobody = (model.score(odd, reasons=r) for r in ("flagged", "all", "none"))
    assert flagged["anomaly_flag"][:10].all()
    assert flagged["top_contributors"].is_not_null().to_list() == flagged["anomaly_flag"].to_list()
    assert nobody["top_contributors"].null_count() == nobody["contributor_scores"].null_count() == 30
    assert set(everyone["top_contributors"].list.len()) == set(everyone["contributor_scores"].list.len()) == {5}
    for names, sizes in everyone.head(10).select("top_contributors", "contributor_scores").iter_rows():
        assert names[:2] == ["f2", "f5"]
        assert sizes[0] < 0 < sizes[1]
        assert [abs(s) for s in sizes] == sorted((abs(s) for s in sizes), reverse=True)
        assert sum(abs(s) for s in sizes) <= 1.001
    same = pl.col("anomaly_score", "anomaly_flag", "threshold_used", "granularity")
    assert flagged.select(same).equals(nobody.select(same))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("features", [COLUMNS, ("a",)], ids=["three", "one"])
def test_constant_features_are_not_odd(name: str, features: tuple[str, ...]) -> None:
    still = FLEET.head(480).with_columns(a=pl.lit(3), b=pl.lit(False), c=pl.lit(None, pl.Float64))
    roles = Roles(features, ("ambient",), "device", "cohort", "at")
    found = MODELS[name].fit(still, roles, settings={**QUICK[name], "families": FAMILIES}).score(still)
    assert found["anomaly_score"].null_count() == 0
    assert not found["anomaly_flag"].any()


@pytest.mark.parametrize("name", MODELS)
def test_one_feature(name: str) -> None:
    model = MODELS[name].fit(FLEET, Roles(("b",), ("ambient",), "device", "cohort", "at"), settings=QUICK[name])
    assert model.score(FLEET)["anomaly_flag"].mean() < 0.03
    found = model.score(raised(FLEET, -20, "b"))
    assert found["anomaly_flag"].all()
    assert set(found["top_contributors"].list.join(",")) == {"b"}
    assert (found["contributor_scores"].list.first() < 0).all()


@pytest.mark.parametrize("name", MODELS)
def test_a_cohort_of_three_machines(name: str) -> None:
    few = FLEET.with_columns(
        cohort=pl.when(pl.col("device").is_in(["d000", "d003", "d006"])).then(pl.lit("few")).otherwise("cohort")
    )
    model = MODELS[name].fit(few, ROLES, settings=QUICK[name])
    mine = few.filter(pl.col("cohort") == "few")
    assert model.score(mine)["anomaly_flag"].mean() < 0.05
    assert model.score(raised(mine, 25, "a", "c"))["anomaly_flag"].mean() > 0.9


def test_who_judges_a_row_is_said(plain: Model) -> None:
    who = FLEET.head(4).with_columns(
        device=pl.Series(["d000", "new", None, None]), cohort=pl.Series(["c0", "c0", "c0", "new"])
    )
    assert plain.score(who)["granularity"].to_list() == ["device", "cohort", "cohort", "fleet"]


def test_any_kind_of_number_is_taken() -> None:
    rows = FLEET.with_columns(
        device=pl.col("device").str.slice(1).cast(pl.Int64),
        cohort=pl.col("cohort").cast(pl.Categorical),
        at=pl.col("at").dt.replace_time_zone(None),
        a=(pl.col("a") * 10).round().cast(pl.Int32),
        b=pl.when(pl.int_range(pl.len()) % 7 == 0).then(float("nan")).otherwise("b"),
        c=pl.when(pl.int_range(pl.len()) % 50 == 0).then(float("-inf")).otherwise("c"),
        on=pl.col("ambient") > 20,
    )
    roles = Roles((*COLUMNS, "on"), ("ambient",), "device", "cohort", "at")
    model = baseline(rows, roles)
    assert model.score(rows)["anomaly_flag"].mean() < 0.03
    assert model.score(rows.with_columns(pl.col("a") + 250))["anomaly_flag"].mean() > 0.95


def test_days_serve_as_time() -> None:
    days = FLEET.with_columns(at=pl.lit(date(2026, 3, 1)) + pl.duration(days=pl.int_range(pl.len()) // 144))
    assert baseline(days.cast({"at": pl.Date})).score(days.cast({"at": pl.Date}))["anomaly_flag"].mean() < 0.03


def test_rows_that_are_held_out_calibrate_and_set_the_newest_levels() -> None:
    later = fleet(seed=9)
    model = baseline(FLEET, validation=later)
    assert model.info.trained["held_out_rows"] == later.height
    assert model.score(fleet(seed=10))["anomaly_flag"].mean() == pytest.approx(0.01, abs=0.012)
    # Machines that were set anew since: all are judged by what they have been lately.
    moved = baseline(FLEET.head(480), validation=raised(fleet(seed=9), 12, "a"))
    usual = baseline(FLEET.head(480), validation=later)
    after = raised(fleet(seed=10), 12, "a")
    assert np.median(moved.conditioner.residuals(after)[:, 0]) < 2 < np.median(usual.conditioner.residuals(after)[:, 0])
    assert moved.score(after)["anomaly_flag"].mean() < 0.1 < 0.9 < usual.score(after)["anomaly_flag"].mean()


def test_of_many_rows_the_last_part_of_the_time_is_held_out() -> None:
    rows = fleet(devices=40, hours=120)
    told = baseline(rows.sample(fraction=1, shuffle=True, seed=0)).info.trained
    assert told["held_out_rows"] == pytest.approx(0.3 * rows.height, rel=0.03)
    assert told["rows"] == pytest.approx(0.67 * rows.height, rel=0.03)
    assert told["to"] < str(rows["at"].max())


def test_an_allowance_makes_for_fewer_flags() -> None:
    asked = raised(FLEET, 2, "a", "b")
    strict, lenient = (
        baseline(FLEET, validation=fleet(seed=9), settings={"allowance": a}).score(asked)["anomaly_flag"].mean()
        for a in (0.0, 0.5)
    )
    assert lenient < 0.7 * strict


def test_ill_machines_in_training_are_found_all_the_same() -> None:
    rows = fleet(devices=40)
    ill = rows.with_columns(
        pl.when(pl.col("device").is_in(["d001", "d002"]) & (pl.int_range(pl.len()) % 3 > 0))
        .then(pl.col("a") + 30)
        .otherwise("a")
    )
    model = baseline(ill)
    # Two devices' 60 rows each: taken for ill as a whole.
    assert 60 <= model.info.trained["rows_left_out_as_ill"] <= 0.1 * rows.height
    assert model.score(raised(rows, 8, "a"))["anomaly_flag"].mean() > 0.9
    well = rows.filter(~pl.col("device").is_in(["d001", "d002"]))
    assert model.score(well)["anomaly_flag"].mean() < 0.03


def test_a_lone_sensor_is_doubted_where_families_are_told() -> None:
    columns = tuple("abcdefgh")
    rng = np.random.default_rng(0)

    def rows(count: int) -> pl.DataFrame:
        cause = rng.normal(size=count)
        return pl.DataFrame({c: cause + rng.normal(size=count) for c in columns})

    told, untold = (
        baseline(rows(2000), Roles(columns), settings={"families": f}) for f in ({c: [c] for c in columns}, None)
    )
    lone = raised(rows(300), 12, "c")
    assert untold.score(lone)["anomaly_flag"].mean() > 0.95
    assert told.score(lone)["anomaly_flag"].mean() < 0.55
    assert told.score(raised(lone, 12, "f"))["anomaly_flag"].mean() > 0.95


def test_few_rows_do_not_break_any_detector() -> None:
    for rows in (1, 2, 3, 5, 20):
        few = FLEET.head(rows)
        for name in ("statistical_baseline", "isolation_forest", "dbscan_cohort"):
            found = MODELS[name].fit(few, ROLES, settings={**QUICK[name], "families": FAMILIES}).score(few)
            assert found["anomaly_score"].is_between(0, 1).all()


def test_rows_without_a_time_cannot_be_learnt_from_but_are_judged(plain: Model) -> None:
    lost = FLEET.with_columns(at=pl.when(pl.int_range(pl.len()) == 7).then(None).otherwise("at"))
    with pytest.raises(ValueError, match="1 of 1,440 rows have no at: leave them out"):
        baseline(lost)
    daily = baseline(fleet(hours=100))
    assert plain.score(lost)["anomaly_score"].null_count() == 0
    assert abs(daily.score(lost)["anomaly_score"][7] - daily.score(FLEET)["anomaly_score"][7]) < 0.2
    assert daily.score(raised(lost, 30, "a", "b"))["anomaly_flag"][7]


def test_no_rows_are_an_error_that_says_so() -> None:
    with pytest.raises(ValueError, match="no rows to learn from"):
        baseline(FLEET.head(0))


def test_many_rows_of_one_moment_are_held_out_in_turn() -> None:
    rows = fleet(devices=40, hours=120)
    told = baseline(rows.with_columns(at=pl.lit(rows["at"][0]))).info.trained
    assert (told["rows"], told["held_out_rows"]) == (4800, 4800)


def test_a_clock_that_is_years_off_does_not_decide_what_is_held_out() -> None:
    rows = fleet(devices=40, hours=120)
    for years in (-50, 50):
        off = rows.with_columns(
            at=pl.when(pl.int_range(pl.len()) == 99).then(pl.col("at").dt.offset_by(f"{years}y")).otherwise("at")
        )
        assert baseline(off).info.trained["held_out_rows"] == pytest.approx(0.3 * rows.height, rel=0.03)


def test_a_table_sorted_by_machine_is_learnt_as_well_as_one_that_is_not() -> None:
    roles = Roles(COLUMNS, ("ambient",), "device", "cohort")
    found = [
        baseline(rows, roles).score(raised(FLEET, 8, "a"))["anomaly_flag"].mean()
        for rows in (FLEET, FLEET.sort("device", maintain_order=True))
    ]
    assert found[0] == found[1] > 0.95


def test_columns_may_be_of_another_kind_of_number_in_what_is_held_out() -> None:
    whole = FLEET.with_columns(pl.col("a").round().cast(pl.Int64))
    model = baseline(whole, validation=fleet(seed=9).with_columns(c=pl.lit(None)))
    assert model.score(fleet(seed=10))["anomaly_flag"].mean() < 0.05


def test_a_fault_of_columns_that_are_not_there_says_nothing() -> None:
    told, untold = (baseline(FLEET, settings={"faults": f}) for f in ({"gone": {"z": 1.0}}, None))
    assert told.score(FLEET, reasons="all").equals(untold.score(FLEET, reasons="all"))


def test_what_never_varies_is_not_rare() -> None:
    assert Calibration.fit(np.full(500, 3.0), np.arange(500)).score(np.array([0.0, 3.0, 3.1])).tolist() == [0, 0, 1]


def test_explain_gives_the_reasons_of_every_row(plain: Model) -> None:
    told = plain.score(FLEET, reasons="all").select("top_contributors", "contributor_scores")
    assert plain.explain(FLEET).equals(told)
    assert told["top_contributors"].null_count() == 0


def test_residuals_tell_how_far_each_column_is_from_what_was_expected(plain: Model) -> None:
    rows = raised(FLEET.head(40), 6.0, "a").with_columns(
        pl.when(pl.int_range(pl.len()) == 3).then(None).otherwise("b").alias("b")
    )
    found, before = plain.residuals(rows), plain.residuals(FLEET.head(40))
    assert found.deviation.columns == found.z.columns == list(COLUMNS)
    assert np.allclose(found.deviation["a"] - before.deviation["a"], 6.0)
    assert 4 < float((found.z["a"] - before.z["a"]).median()) < 8, "the noise is 1"  # type: ignore[arg-type]
    assert found.deviation["c"].equals(before.deviation["c"])
    assert found.z["b"].is_null().to_list() == found.deviation["b"].is_null().to_list() == [n == 3 for n in range(40)]
    assert plain.residuals(rows.head(0)).z.height == 0


def test_residuals_are_what_scores_rest_on(plain: Model) -> None:
    z = plain.residuals(FLEET).z.to_numpy().astype(np.float32)
    assert np.array_equal(z, plain.conditioner.residuals(FLEET))
