"""Two implementations of the contracts' rules, ours and PySpark's, written apart: they give the same rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from benchmarks.pyspark_env import JavaMissingError, require_java, run_hours
from refrig_assets.contracts import CLEAN_READINGS, DEVICE_FEATURES
from refrig_assets.contracts.features import HOURLY_WINDOWS_MIN
from refrig_assets.simulator import Mess, make_fleet, plan_faults, raw_hour
from refrig_assets.transforms.clean import CleanContext, clean_readings
from refrig_assets.transforms.events import event_hashes
from refrig_assets.transforms.features import window_features
from refrig_assets_tests.benchmarks.adversarial_hour import HOUR, adversarial_hour

RELATIVE = 1e-9
# A difference of means has no relative precision of its own near zero: this much of the sensors' size is allowed.
ABSOLUTE = 1e-9
OUTCOMES = ("clean", "quarantine", "dead")
FEATURE_KEY = ["device_id", "window_duration_minutes", "window_start"]

Frames = Mapping[str, pl.DataFrame]


@dataclass(frozen=True)
class BothWays:
    """What each implementation made of one case: clean, quarantine, dead, features."""

    ours: Frames
    spark: Frames


def _messy_hour() -> dict[str, pl.DataFrame]:
    start = HOUR - timedelta(days=2)
    fleet = make_fleet(300, 7, start)
    plan = plan_faults(fleet, start, HOUR + timedelta(days=1), 7)
    return {"raw": raw_hour(fleet, plan, HOUR, mess=Mess.usual().times(10)), "registry": fleet.registry}


def _ours(frames: Frames) -> Frames:
    context = CleanContext(registry=frames["registry"])
    if "history" in frames:
        before, later = (event_hashes(frames[n]["event_id"]).sort().to_numpy() for n in ("seen_before", "seen_later"))
        context = CleanContext(frames["registry"], frames["history"], before, later)
    cleaned = clean_readings(frames["raw"], context)
    return {
        "clean": cleaned.clean,
        "quarantine": cleaned.quarantine,
        "dead": cleaned.all_null,
        "features": window_features(cleaned.clean, HOURLY_WINDOWS_MIN),
    }


def _write(frames: Frames, folder: Path) -> dict[str, object]:
    """The case as files, raw in two of them, and the job's description of it."""
    folder.mkdir()
    half = frames["raw"].height // 2
    parts = [frames["raw"][:half], frames["raw"][half:]]
    raw = [str(folder / f"raw-{number}.parquet") for number in range(len(parts))]
    for path, part in zip(raw, parts, strict=True):
        part.write_parquet(path)
    others = {name: str(folder / f"{name}.parquet") for name in frames if name != "raw"}
    for name, path in others.items():
        frames[name].write_parquet(path)
    return {"raw": raw, "out": str(folder / "out"), **others}


def _read(out: Path) -> Frames:
    judged = {name: out / "judged" / f"destination={name}" for name in OUTCOMES}
    found = {
        name: pl.read_parquet(f"{folder}/*.parquet", hive_partitioning=False)
        for name, folder in judged.items()
        if folder.exists()
    }
    features = pl.read_parquet(f"{out}/features/*.parquet")
    return {name: found.get(name, CLEAN_READINGS.empty()) for name in OUTCOMES} | {"features": features}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, BothWays]:
    """Every case both ways; one Spark session for all."""
    try:
        require_java()
    except JavaMissingError as problem:
        pytest.skip(str(problem))
    work = tmp_path_factory.mktemp("pyspark")
    cases = {"adversarial": adversarial_hour(), "messy fleet": _messy_hour()}
    hours = [_write(frames, work / name) for name, frames in cases.items()]
    # The same generated code as when measured; only the JVM spends less on optimising what runs for seconds.
    run_hours(hours, work, memory="1g", jvm_options="-XX:TieredStopAtLevel=1")
    return {name: BothWays(_ours(frames), _read(work / name / "out")) for name, frames in cases.items()}


@pytest.mark.parametrize("case", ["adversarial", "messy fleet"])
@pytest.mark.parametrize("outcome", OUTCOMES)
def test_rows_are_equal(both: Mapping[str, BothWays], case: str, outcome: str) -> None:
    ours, spark = (_ordered(way[outcome]) for way in (both[case].ours, both[case].spark))
    assert ours.height > 0, "the case must have such rows"
    assert sorted(ours["event_id"]) == sorted(spark["event_id"])
    assert _differences(ours, spark) == {}


@pytest.mark.parametrize("case", ["adversarial", "messy fleet"])
def test_features_are_equal(both: Mapping[str, BothWays], case: str) -> None:
    ours, spark = (
        way["features"].select(list(DEVICE_FEATURES.columns)).sort(FEATURE_KEY)
        for way in (both[case].ours, both[case].spark)
    )
    assert ours.schema == spark.schema
    assert ours.select(FEATURE_KEY).equals(spark.select(FEATURE_KEY))
    assert {name: rows for name in ours.columns if (rows := _unlike(ours, spark, name))} == {}


def test_the_adversarial_case_has_every_flag(both: Mapping[str, BothWays]) -> None:
    flags = pl.concat([both["adversarial"].ours[n]["quality_flags"] for n in OUTCOMES]).explode().drop_nulls()
    assert flags.n_unique() == 8


def _ordered(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(list(CLEAN_READINGS.columns)).sort("event_id")


def _differences(ours: pl.DataFrame, spark: pl.DataFrame) -> dict[str, list[tuple[object, ...]]]:
    """Per column, the rows that are not exactly equal: event, ours, theirs."""
    assert ours.schema == spark.schema
    events = ours["event_id"].to_list()
    return {
        name: [row for row in zip(events, ours[name].to_list(), spark[name].to_list(), strict=True) if row[1] != row[2]]
        for name in ours.columns
        if not ours[name].equals(spark[name])
    }


def _unlike(ours: pl.DataFrame, spark: pl.DataFrame, name: str) -> list[tuple[object, ...]]:
    """The windows whose value is null on one side only, or differs by more than rounding."""
    a, b = ours[name], spark[name]
    if a.dtype == pl.Float64:
        alike = np.isclose(a.to_numpy(), b.to_numpy(), rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True)
        alike &= (a.is_null() == b.is_null()).to_numpy()
    else:
        alike = a.eq_missing(b).to_numpy()
    keys = ours.select(FEATURE_KEY).with_columns(a.alias("ours"), b.alias("spark"))
    return keys.filter(~pl.Series(alike)).rows()[:5]
