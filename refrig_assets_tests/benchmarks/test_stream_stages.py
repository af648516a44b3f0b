"""The stream benchmark's pieces, run for real on a few thousand messages. What they measure is not asserted."""

from pathlib import Path

import polars as pl
import pytest

from benchmarks import flink_env
from benchmarks.measure import run_module
from benchmarks.stream import STAGES
from benchmarks.stream_live import alert_waits, at_rate
from refrig_assets.contracts import DEVICE_ALERTS, RAW_READINGS
from refrig_assets.lake import Lake

DEVICES, MINUTES = 400, 10


@pytest.fixture(scope="module")
def messages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fleet's messages; some devices whose compressors run may draw next to nothing."""
    folder = tmp_path_factory.mktemp("messages") / "made"
    made = run_module(STAGES, "make", folder, str(DEVICES), str(MINUTES))
    assert made["messages"] > made["plain_messages"] > 0.9 * DEVICES * MINUTES
    assert sum(path.stat().st_size for path in (folder / "plain").iterdir()) == made["plain_bytes"]
    registry = pl.read_parquet(folder / "registry.parquet")
    few = pl.int_range(pl.len()) % 40 == 0
    registry.with_columns(current_threshold_a=pl.when(few).then(1.0).otherwise("current_threshold_a")).write_parquet(
        folder / "registry.parquet"
    )
    return folder


@pytest.fixture(scope="module")
def lake(messages: Path, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """What our stream made of them, in two processes."""
    place = tmp_path_factory.mktemp("ours") / "lake"
    reported = run_module(STAGES, "ours", messages, place, "2")
    lines = sum(path.read_bytes().count(b"\n") for path in (messages / "spool").glob("*/*.ndjson"))
    assert reported["messages"] == lines == reported["rows"] + reported["dead"]
    assert reported["seconds"] > 0
    assert reported["restarts"] == 0
    return Lake(str(place))


def test_the_limit_writes_the_rows_that_ours_lands(messages: Path, lake: Lake, tmp_path: Path) -> None:
    target = tmp_path / "limit"
    reported = run_module(STAGES, "limit", messages, target)
    theirs = pl.read_parquet(f"{target}/*.parquet")
    assert theirs.columns == list(RAW_READINGS.columns)
    assert theirs.height == reported["rows"]
    ours = lake.table(RAW_READINGS).read().drop("_sequence_number")
    # Ours has, too, what was a bare NaN, which is no JSON; theirs what has no device or no time.
    both = ours.join(theirs.select("event_id", "device_id", "timestamp_device"), on="event_id", how="semi")
    assert both.height > 0.99 * ours.height
    same = theirs.drop("_sequence_number").filter(pl.col("event_id").is_in(ours["event_id"].implode()))
    key = ["event_id", "timestamp_ingested"]
    assert both.sort(key).equals(same.select(both.columns).sort(key))


def test_the_waits_at_a_steady_rate_are_those_of_every_overload(tmp_path: Path) -> None:
    found = at_rate(tmp_path, seconds=4, rate=500, overloads=200)
    assert found["messages"] == 2000
    assert found["alerts"] > 50
    assert 0 < found["p50_s"] <= found["p99_s"] <= found["most_s"]
    assert found["cores"] > 0


def test_a_wait_is_from_the_write_that_holds_the_line(lake: Lake) -> None:
    alerts = lake.table(DEVICE_ALERTS).read().filter(pl.col("change") == "created")
    readable = alerts.with_columns(readable_at=pl.lit(110.0))
    never, later = 1 << 50, 103.0
    written = {f"part-{n:03d}": [[0, 100.0], [never, later]] for n in range(8)}
    assert set(alert_waits(lake, readable, written)) == {110.0 - later}


@pytest.mark.slow
def test_flink_finds_the_same_overloads(messages: Path, lake: Lake, tmp_path: Path) -> None:
    if not flink_env.installed():
        pytest.skip("Flink is not installed: python -m benchmarks.stream installs it")
    found = flink_env.run_flink(messages / "plain", messages / "registry.parquet", tmp_path / "flink")
    names = ("device_id", "rule", "event_time", "measured")
    files = sorted(found.alerts.glob("part-*"))
    theirs = pl.concat(pl.read_csv(file, has_header=False, new_columns=names, infer_schema=False) for file in files)
    ours = lake.table(DEVICE_ALERTS).read().filter(pl.col("change") == "created")
    overloads = [set(a.filter(pl.col("rule") == "compressor_overload")["device_id"]) for a in (ours, theirs)]
    assert overloads[0] == overloads[1]
    assert len(overloads[0]) > 5
