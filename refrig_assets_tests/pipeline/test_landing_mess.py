"""The simulator's mess at ten times its usual rates, accounted for to the row; and a disk that runs full."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from refrig_assets.contracts.sensors import NUMERIC_SENSORS, SENSOR_NAMES
from refrig_assets.lake import Lake
from refrig_assets.pipeline import landing as landing_module
from refrig_assets.pipeline import sources
from refrig_assets.pipeline.landing import land_batches, land_hour
from refrig_assets.simulator import FleetSpec, Mess, write_landing
from refrig_assets_tests.builders import HOUR, NOW, ONE_HOUR, everything, land_file, minutes_of
from refrig_assets_tests.readings import twin

DEVICES, HOURS = 300, 3


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = FleetSpec(DEVICES, 7, HOUR, HOURS, mess=Mess.usual().times(10))
    return write_landing(spec, tmp_path_factory.mktemp("simulated")).out


@pytest.mark.parametrize("chunk_bytes", [sources.CHUNK_BYTES, 300_000])
def test_the_mess_is_accounted_for_to_the_row(
    lake: Lake, simulated: Path, monkeypatch: pytest.MonkeyPatch, chunk_bytes: int
) -> None:
    monkeypatch.setattr(sources, "CHUNK_BYTES", chunk_bytes)
    out = simulated
    account = json.loads((out / "mess.json").read_text())
    reports = [land_hour(lake, out / "landing", HOUR + n * ONE_HOUR, NOW + 9 * ONE_HOUR) for n in range(HOURS)]
    files = [f for r in reports for f in r.files]
    rows, joined, dead = (sum(getattr(f, n) for f in files) for n in ("rows", "joined", "dead"))
    assert rows + joined + dead == sum(f.messages for f in files) == account["lines"]
    assert dead == account["expected_dead_letters_at_landing"] > 100
    assert joined == account["narrow_rows"] - account["narrow_messages"] > 0
    assert rows == account["messages"] - dead
    assert sum(f.unknown_fields for f in files) == account["unknown_fields"] > 0

    raw, letters = everything(lake, "raw_sensor_readings"), everything(lake, "dead_letter")
    assert (raw.height, letters.height) == (rows, dead)
    by_kind = dict(letters.group_by(pl.col("reason").str.slice(0, 8)).len().iter_rows())
    assert by_kind["not UTF-"] == account["non_utf8"]
    assert by_kind["not JSON"] == account["broken_json"]
    assert by_kind["no devic"] + by_kind["no reada"] == account["no_identity"]
    duplicates = account["near_duplicates"] + account["far_duplicates"]
    assert raw.height - raw["event_id"].n_unique() == duplicates
    assert raw.filter(pl.all_horizontal(pl.col(SENSOR_NAMES).is_null())).height == account["all_null"]
    outside = [(pl.col(s.name) < s.low) | (pl.col(s.name) > s.high) | pl.col(s.name).is_nan() for s in NUMERIC_SENSORS]
    assert raw.filter(pl.any_horizontal(outside)).height > account["nan"]
    assert raw.filter(pl.any_horizontal(pl.col(s.name).is_nan() for s in NUMERIC_SENSORS)).height == account["nan"]
    assert raw.select("_partition_key", "_sequence_number").is_unique().all()


@pytest.mark.parametrize("flush", [landing_module.FLUSH_ROWS, 100])
def test_hours_landed_together_hold_what_each_would_alone(
    lake: Lake, simulated: Path, monkeypatch: pytest.MonkeyPatch, flush: int
) -> None:
    hours, now = [HOUR + n * ONE_HOUR for n in range(HOURS)], NOW + 9 * ONE_HOUR
    again = hours[-1] + ONE_HOUR
    folder = shutil.copytree(simulated / "landing", Path(lake.uri).parent / "landing")
    twin_of = min((folder / f"{hours[0]:%Y-%m-%d/%H}").iterdir())
    copy = folder / f"{again:%Y-%m-%d/%H}" / twin_of.name
    copy.parent.mkdir(parents=True)
    shutil.copy(twin_of, copy)
    one_by_one = twin(lake)
    alone = [land_hour(one_by_one, folder, hour, now) for hour in (*hours, again)]
    monkeypatch.setattr(landing_module, "FLUSH_ROWS", flush)
    together = [report for batch in land_batches(lake, folder, [*hours, again], now) for report in batch]
    assert together[-1].files[0].outcome == "same_content"
    for one, other in zip(alone, together, strict=True):
        assert (one.hour, one.files, one.skipped, one.rows_by_hour) == (
            other.hour, other.files, other.skipped, other.rows_by_hour,
        )  # fmt: skip
    for table in ("raw_sensor_readings", "dead_letter", "landing_log", "hour_accounts"):
        assert everything(lake, table).equals(everything(one_by_one, table)), table


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of three megabytes."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = shutil.which("mount")
    if (
        mount is None
        or subprocess.run([mount, "-t", "tmpfs", "-o", "size=3m", "none", path], capture_output=True).returncode
    ):
        pytest.skip("needs the right to mount a small file system")
    yield path
    subprocess.run(["umount", "-l", path], check=True)


def test_on_a_full_disk_landing_fails_clearly_and_the_next_run_is_right(
    small_disk: Path, empty_lake: Path, landing: Path, lake: Lake
) -> None:
    for n in range(4):
        land_file(landing, f"{n}.ndjson", [m | {"event_id": f"{n}-{m['event_id']}"} for m in minutes_of(150, 60)])
    land_file(landing, "bad.ndjson", ["{"] * 20)
    full = Lake(str(shutil.copytree(empty_lake, small_disk / "lake")))
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * (shutil.disk_usage(small_disk).free - 60_000))
    with pytest.raises(Exception, match=r"(?i)no space left|storage full"):
        land_hour(full, landing, HOUR, NOW)
    for table in ("raw_sensor_readings", "landing_log"):
        assert everything(full, table).is_empty()
    ballast.unlink()
    subprocess.run(["mount", "-o", "remount,size=60m", small_disk], check=True)
    land_hour(full, landing, HOUR, NOW)
    land_hour(lake, landing, HOUR, NOW)
    for table in ("raw_sensor_readings", "dead_letter", "landing_log"):
        assert everything(full, table).equals(everything(lake, table)), table
