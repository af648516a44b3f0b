"""Rows find their shard, devices their limits."""

import math

import numpy as np
import polars as pl
import pytest

from refrig_assets_tests.builders import registry_of
from refrig_assets_tests.streaming.rows import frame, row
from streaming.fleet import RULE_COLUMNS, Fleet, Positions, Thresholds, shard_of

NAMES = [f"dev-{n}" for n in range(50)]


def test_the_shard_of_a_device_never_changes() -> None:
    """Saved state is found by it: other numbers would lose it at an update."""
    assert [shard_of(d, 8) for d in ("RF-000001", "RF-000002", "Kühltruhe 7", "")] == [3, 1, 0, 0]


def test_rows_are_split_by_shard_in_their_order() -> None:
    fleet = Fleet.of(registry_of(NAMES), 4)
    rows = frame(row(m, d) for m in range(3) for d in reversed(NAMES)).with_columns(other=pl.lit("column"))
    parts = fleet.split(rows)
    assert sum(p.height for p in parts.values()) == rows.height
    for shard, part in parts.items():
        assert tuple(part.columns) == RULE_COLUMNS
        mine = [d for d in NAMES if shard_of(d, 4) == shard]
        assert part.equals(rows.filter(pl.col("device_id").is_in(mine)).select(RULE_COLUMNS))


def test_unknown_and_retired_devices_are_left_out() -> None:
    registry = registry_of(NAMES).with_columns(
        status=pl.when(pl.col("device_id") == "dev-1").then(pl.lit("retired")).otherwise("status")
    )
    fleet = Fleet.of(registry, 4)
    parts = fleet.split(frame([row(0, "dev-1"), row(0, "dev-2"), row(0, "nobody")]))
    assert [d for p in parts.values() for d in p["device_id"]] == ["dev-2"]


def test_no_rows_and_no_devices() -> None:
    assert Fleet.of(registry_of(NAMES), 4).split(frame([])) == {}
    assert Fleet.of(registry_of([]), 4).split(frame([row(0)])) == {}
    assert Fleet.of(registry_of([]), 4).thresholds(0).device_ids == ()


def test_thresholds_stand_beside_their_sorted_devices() -> None:
    registry = registry_of(["b", "a", "c"]).with_columns(
        current_threshold_a=pl.Series([2.0, 1.0, 3.0]), vibration_baseline_mm_s=pl.Series([None, 2.5, None])
    )
    limits = Fleet.of(registry, 1).thresholds(0)
    assert limits.device_ids == ("a", "b", "c")
    assert limits.current_a.tolist() == [1.0, 2.0, 3.0]
    assert limits.vibration_baseline[0] == 2.5
    assert math.isnan(limits.vibration_baseline[1])
    assert limits.pressure_drop.tolist() == [0.3] * 3
    assert limits.temperature_rise.tolist() == [2.0] * 3
    assert limits.interval_us.tolist() == [60_000_000] * 3


@pytest.mark.parametrize(
    ("expected", "reports"),
    [(["defrost_cycle", "humidity"], True), (["humidity"], False), ([], True)],
)
def test_whether_a_device_reports_defrosts(expected: list[str], reports: bool) -> None:
    limits = Fleet.of(registry_of(["a"], expected_sensors=expected), 1).thresholds(0)
    assert limits.reports_defrost.tolist() == [reports]


def test_every_device_is_in_one_shard() -> None:
    fleet = Fleet.of(registry_of(NAMES), 8)
    shards = [fleet.thresholds(n) for n in range(8)]
    assert sorted(d for t in shards for d in t.device_ids) == sorted(NAMES)
    assert all(isinstance(t, Thresholds) for t in shards)


def test_facts_and_counts() -> None:
    registry = registry_of(NAMES, site_name="Market", firmware_version="1.0").with_columns(
        site_id=pl.Series([f"site-{n % 5}" for n in range(50)])
    )
    fleet = Fleet.of(registry, 4)
    facts = fleet.facts(pl.Series(["dev-7", "nobody", "dev-7"]))
    assert facts["site_id"].to_list() == ["site-2", "unknown", "site-2"]
    assert facts["firmware_version"].to_list() == ["1.0", None, "1.0"]
    assert fleet.devices_by_site == {f"site-{n}": 10 for n in range(5)}
    assert fleet.devices_by_firmware == {"1.0": 50}
    assert fleet.site_names["site-3"] == "Market"


def test_positions() -> None:
    rng = np.random.default_rng(1)
    names = [f"{n}" for n in rng.permutation(5000)]
    found = Positions(names).find(pl.Series([*names[::-1], "x", "-1"]))
    assert found.tolist() == [*range(4999, -1, -1), -1, -1]
    with pytest.raises(ValueError, match="unique"):
        Positions(["a", "b", "a"])
