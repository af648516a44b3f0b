"""Roles, a model's metadata, and how columns become numbers and names become codes."""

import json

import numpy as np
import polars as pl
import pytest

from refrig_assets.models.base import FeatureMismatchError, ModelInfo, Names, Roles, numbers


def test_a_model_needs_features_and_a_column_has_one_role() -> None:
    with pytest.raises(ValueError, match="at least one feature"):
        Roles(())
    with pytest.raises(ValueError, match="features and context at once: b, c"):
        Roles(("c", "a", "b"), ("b", "c"))


def test_missing_columns_of_any_role_are_named() -> None:
    roles = Roles(("a", "b"), ("c",), device="d", cohort="e", time="f")
    roles.check(["f", "e", "d", "c", "b", "a", "more"])
    with pytest.raises(FeatureMismatchError, match=r"^4 columns .*: b, c, d, f. Give it") as told:
        roles.check(["a", "e"])
    assert told.value.missing == ["b", "c", "d", "f"]


def test_of_many_missing_columns_the_first_twenty_are_named() -> None:
    error = FeatureMismatchError([f"f{n}" for n in range(23)])
    assert len(error.missing) == 23
    assert "f19 and 3 more" in str(error)
    assert "f20" not in str(error)


def test_metadata_survive_json() -> None:
    roles = Roles(("a", "b"), ("c",), device="d", time="t")
    info = ModelInfo("m", "device", roles, 0.7, {"groups": [["a"], ["b"]], "rate": None}, {"rows": 3})
    assert ModelInfo.from_dict(json.loads(json.dumps(info.to_dict()))) == info


def test_columns_of_any_kind_become_numbers_and_what_is_none_becomes_nan() -> None:
    rows = pl.DataFrame(
        {
            "whole": [1, None, 3],
            "truth": [True, False, None],
            "number": [float("inf"), float("nan"), -2.5],
            "nothing": [None, None, None],
            "unused": ["x", "y", "z"],
        }
    )
    found = numbers(rows, ["number", "whole", "truth", "nothing"])
    nan = np.nan
    np.testing.assert_array_equal(found, [[nan, 1, 1, nan], [nan, nan, 0, nan], [-2.5, 3, nan, nan]])
    assert numbers(rows, []).shape == (3, 0)


def test_names_keep_the_order_of_rows_and_unknown_ones_have_no_code() -> None:
    names = Names.of(pl.Series(["b", None, "a", "b"]))
    assert names.names.tolist() == ["a", "b"]
    rows = pl.DataFrame({"n": ["b", "z", None, "a", "b"]})
    assert names.codes(rows, "n").tolist() == [1, -1, -1, 0, 1]
    assert names.codes(rows, None).tolist() == [-1] * 5
    assert Names.of(None).codes(rows, "n").tolist() == [-1] * 5


def test_names_may_be_numbers_or_categories() -> None:
    assert Names.of(pl.Series([10, 9])).codes(pl.DataFrame({"n": [9, 10, 11]}), "n").tolist() == [1, 0, -1]
    categories = pl.DataFrame({"n": pl.Series(["y", "x", "q"], dtype=pl.Categorical)})
    assert Names.of(pl.Series(["x", "y"])).codes(categories, "n").tolist() == [1, 0, -1]


def test_a_feature_is_named_once() -> None:
    with pytest.raises(ValueError, match="more than once: a"):
        Roles(("a", "b", "a"))
