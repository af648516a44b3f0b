"""`refrig import` on real files: what is written, that it is always the same, what is refused."""

import gzip
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner, Result

from refrig_assets.cli import main
from refrig_assets.pipeline.import_source import ImportFailedError
from refrig_assets.pipeline.importing import import_file, read_mapping
from refrig_assets.pipeline.sources import landing_hours
from refrig_assets.transforms.mapping_toml import parse_mapping

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "import"
MAPPING = """
[device]
column = "dev"
[device.defaults]
site_id = "s"
cohort_id = "c"
[timestamp]
column = "t"
[sensors]
temperature_evaporator = { column = "evap", unit = "°F" }
humidity = { column = "rh", unit = "%" }
"""


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def places(tmp_path: Path) -> list[str | Path]:
    return ["--landing", tmp_path / "landing", "--lake", tmp_path / "lake", "--registry", tmp_path / "registry.parquet"]


def write_export(path: Path, rows: int, seed: int = 1) -> Path:
    """An export of 50 devices, a row a minute, some rows with nothing readable in them."""
    rng = random.Random(seed)
    lines = ["dev,t,evap,rh"]
    for n in range(rows):
        minute = n // 50
        when = f"2026-03-{2 + minute // 1440:02d} {minute // 60 % 24:02d}:{minute % 60:02d}:00"
        lines.append(f"D{n % 50},{'' if n % 997 == 5 else when},{rng.uniform(-20, 0):.2f},{rng.randint(20, 60)}")
    text = ("\n".join(lines) + "\n").encode()
    path.write_bytes(gzip.compress(text, mtime=0) if path.suffix == ".gz" else text)
    return path


def digests(landing: Path) -> dict[str, str]:
    """Every file under the landing directory with the hash of its bytes."""
    found = sorted(p for p in landing.rglob("*") if p.is_file())
    return {p.relative_to(landing).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in found}


def everything(landing: Path) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(p) for p in sorted(landing.glob("*/*/*.parquet"))])


# -- the example of docs/import.md -------------------------------------------------------------------------------


def test_example_lands_in_contract_units_and_utc(tmp_path: Path) -> None:
    result = run("import", EXAMPLE / "supermarket.csv", "--map", EXAMPLE / "supermarket.toml", *places(tmp_path))
    assert result.exit_code == 0, result.output
    assert "2026-11-01-05:00...2026-11-01-08:00" in result.stdout
    rows = everything(tmp_path / "landing").filter(pl.col("device_id").is_not_null()).sort("timestamp_device")
    first = rows.filter(pl.col("device_id") == "store-0214/LT-A1").row(0, named=True)
    raw = (EXAMPLE / "supermarket.csv").read_text().splitlines()[3].split(",")
    assert raw[:3] == ["11/1/2026", "12:00 AM", "LT-A1"]
    assert first["temperature_evaporator"] == pytest.approx((float(raw[3]) - 32) / 1.8)
    assert first["pressure_low_side"] == pytest.approx(float(raw[9]) * 6.894757293 + 101.325)
    assert first["superheat"] == pytest.approx(float(raw[14]) / 1.8)
    # the clock is set back at 2:00: sixteen quarters of an hour, each its own
    assert rows.group_by("device_id").len()["len"].to_list() == [16, 16, 16]
    assert rows["event_id"].n_unique() == 48
    assert "vibration_compressor" not in rows.columns


def test_example_dry_run_says_what_maps_and_writes_nothing(tmp_path: Path) -> None:
    before = digests(EXAMPLE)
    result = run("import", EXAMPLE / "supermarket.csv", "--map", EXAMPLE / "supermarket.toml", "--dry-run",
                 "--json", *places(tmp_path))  # fmt: skip
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert list(tmp_path.iterdir()) == []
    assert digests(EXAMPLE) == before
    report = found["report"]
    assert report["missing_sensors"] == ["vibration_compressor"]
    assert report["unused_columns"] == ["Valve %"]
    assert report["median_interval_s"] == 900
    assert not any(s["outside"] for s in report["sensors"])
    assert len(found["unknown_devices"]) == 3


def test_wrong_unit_is_seen_in_a_dry_run(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text((EXAMPLE / "supermarket.toml").read_text().replace('"Store Temp", unit = "°F"',
                                                                        '"Store Temp", unit = "°C"'))  # fmt: skip
    result = run("import", EXAMPLE / "supermarket.csv", "--map", wrong, "--dry-run", *places(tmp_path))
    assert "temperature_ambient from 'Store Temp' as °C: values look like °F" in result.stdout
    assert "100.0%" in result.stdout


def test_docs_show_the_example_as_it_is() -> None:
    assert (EXAMPLE / "supermarket.toml").read_text().strip() in (ROOT / "docs" / "import.md").read_text()


# -- the same files, always --------------------------------------------------------------------------------------


def test_importing_again_writes_nothing_new(tmp_path: Path) -> None:
    export, mapping, landing = write_export(tmp_path / "e.csv", 5000), parse_mapping(MAPPING), tmp_path / "landing"
    first = import_file(export, mapping, landing)
    before = {p: os.stat(p).st_mtime_ns for p in landing.rglob("*.parquet")}
    again = import_file(export.rename(tmp_path / "other name.csv"), mapping, landing)
    assert again.unchanged == len(again.files) == len(first.files) == 2
    assert {p: os.stat(p).st_mtime_ns for p in landing.rglob("*.parquet")} == before
    assert not list(landing.glob(".tmp*"))


def test_chunks_and_compression_do_not_show(tmp_path: Path) -> None:
    export, mapping = write_export(tmp_path / "e.csv", 20_000), parse_mapping(MAPPING)
    whole = import_file(export, mapping, tmp_path / "a")
    pieces = import_file(export, mapping, tmp_path / "b", block_bytes=10_000, group_rows=4_000)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert whole.report.as_dict() == pieces.report.as_dict()
    assert (whole.rows, whole.rejected) == (20_000 - 21, 21)
    packed = import_file(write_export(tmp_path / "e.csv.gz", 20_000), mapping, tmp_path / "c")
    assert everything(tmp_path / "c").drop("event_id").equals(everything(tmp_path / "a").drop("event_id"))
    assert packed.identity != whole.identity


def test_parquet_and_ndjson_give_the_same_rows(tmp_path: Path) -> None:
    export, mapping = write_export(tmp_path / "e.csv", 3000), parse_mapping(MAPPING)
    frame = pl.read_csv(export, infer_schema_length=None)
    frame.write_parquet(tmp_path / "e.parquet")
    frame.write_ndjson(tmp_path / "e.ndjson")
    import_file(export, mapping, tmp_path / "csv")
    wanted = everything(tmp_path / "csv").drop("event_id")
    for kind in ("parquet", "ndjson"):
        import_file(tmp_path / f"e.{kind}", mapping, tmp_path / kind, chunk_rows=700, block_bytes=9_999)
        assert everything(tmp_path / kind).drop("event_id").equals(wanted), kind


def test_long_layout_in_chunks(tmp_path: Path) -> None:
    lines = ["dev,t,point,value"]
    for point, value in (("EV", "-4"), ("RH", "40")):  # all of one point, then all of the other
        lines += [f"D{d},2026-03-02 {m // 60:02d}:{m % 60:02d},{point},{value}" for m in range(120) for d in range(5)]
    (tmp_path / "long.csv").write_text("\n".join(lines))
    text = MAPPING.replace('column = "evap"', 'name = "EV"').replace('column = "rh"', 'name = "RH"')
    mapping = parse_mapping(text + '[long]\nsensor_column = "point"\nvalue_column = "value"\n')
    import_file(tmp_path / "long.csv", mapping, tmp_path / "a")
    import_file(tmp_path / "long.csv", mapping, tmp_path / "b", block_bytes=500, group_rows=100)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    rows = everything(tmp_path / "a")
    assert rows.height == 600
    assert rows["temperature_evaporator"].null_count() == rows["humidity"].null_count() == 0


@pytest.mark.parametrize("wait_for", ["spill", "hour"])
def test_killed_in_the_middle_then_run_again(tmp_path: Path, wait_for: str) -> None:
    export, landing = write_export(tmp_path / "e.csv", 120_000), tmp_path / "landing"
    (tmp_path / "m.toml").write_text(MAPPING)
    script = (
        "import sys; from pathlib import Path; from refrig_assets.pipeline.importing import *\n"
        f"import_file(Path({str(export)!r}), read_mapping(Path({str(tmp_path / 'm.toml')!r})), "
        f"Path({str(landing)!r}), block_bytes=100_000, group_rows=3_000)"
    )
    pattern = ".tmp-import-*/*.parquet" if wait_for == "spill" else "*/*/*.parquet"
    child = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT)
    deadline = time.monotonic() + 20
    while not list(landing.glob(pattern)) and time.monotonic() < deadline and child.poll() is None:
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert list(landing.glob(".tmp-import-*")), "the kill came too late"
    mapping = read_mapping(tmp_path / "m.toml")
    import_file(export, mapping, landing)
    import_file(export, mapping, tmp_path / "undisturbed")
    assert digests(landing) == digests(tmp_path / "undisturbed")


def test_what_was_imported_lands_exactly(tmp_path: Path, lake: Any, landing: Path) -> None:
    from datetime import timedelta

    from refrig_assets.pipeline.landing import land_hour

    summary = import_file(write_export(tmp_path / "e.csv", 5000), parse_mapping(MAPPING), landing)
    for _ in range(2):
        for hour in landing_hours(landing):
            land_hour(lake, landing, hour, hour + timedelta(hours=3))
    raw, dead = lake.table("raw_sensor_readings").read(), lake.table("dead_letter").read()
    assert (raw.height, dead.height) == (summary.rows, summary.rejected) == (4994, 6)
    assert raw["event_id"].n_unique() == raw.height
    assert dead["reason"].unique().to_list() == ["no readable timestamp"]
    assert all(f"{summary.identity}#row-" in p for p in dead["payload"])


# -- registering -------------------------------------------------------------------------------------------------


def test_register_adds_only_unknown_devices(tmp_path: Path) -> None:
    write_export(tmp_path / "e.csv", 500)
    (tmp_path / "m.toml").write_text(MAPPING)
    command = ("import", tmp_path / "e.csv", "--map", tmp_path / "m.toml", "--register", "--json", *places(tmp_path))
    first, second = (json.loads(run(*command).stdout) for _ in range(2))
    assert len(first["registered"]["added"]) == 50
    assert second["registered"]["added"] == []
    assert second["unknown_devices"] == []
    registry = pl.read_parquet(tmp_path / "registry.parquet")
    assert registry["expected_sensors"][0].to_list() == ["temperature_evaporator", "humidity"]
    assert registry.height == pl.read_delta(str(tmp_path / "lake" / "device_registry")).height == 50


def test_register_extends_a_csv_and_keeps_its_rows(tmp_path: Path) -> None:
    write_export(tmp_path / "e.csv", 500)
    (tmp_path / "m.toml").write_text(MAPPING)
    registry = tmp_path / "registry.csv"
    registry.write_text("device_id,site_id,cohort_id,site_name\nD7,mine,mine,My Shop\n")
    run("import", tmp_path / "e.csv", "--map", tmp_path / "m.toml", "--register", *places(tmp_path)[:4],
        "--registry", registry)  # fmt: skip
    found = pl.read_csv(registry)
    assert found.height == 50
    assert found.filter(pl.col("device_id") == "D7")["site_name"].to_list() == ["My Shop"]


# -- what is refused ---------------------------------------------------------------------------------------------


def refuse(tmp_path: Path, content: bytes | None, mapping: str = MAPPING, name: str = "e.csv") -> str:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    (tmp_path / "m.toml").write_text(mapping)
    result = run("import", tmp_path / name, "--map", tmp_path / "m.toml", *places(tmp_path))
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    assert not list((tmp_path / "landing").rglob("*.parquet"))
    return result.stderr


GOOD = b"dev,t,evap,rh\nD1,2026-03-02 00:00:00,1,2\n"


def test_missing_column_names_those_there_are(tmp_path: Path) -> None:
    said = refuse(tmp_path, GOOD.replace(b"evap", b"EvapTemp"))
    assert "column 'evap' is not in the file" in said
    assert "'EvapTemp'" in said


@pytest.mark.parametrize(
    ("content", "name", "says"),
    [
        (None, "e.csv", "there is no such file"),
        (b"", "e.csv", "is empty"),
        (b"dev,t,evap,rh\n", "e.csv", "has columns but no rows"),
        (b"\x00\x01\x02\x03" * 100, "e.csv", "is not text"),
        (b"PAR1 no", "e.parquet", "is not readable as Parquet"),
        (gzip.compress(GOOD * 5000)[:-200], "e.csv.gz", "is damaged or cut off"),
        (GOOD, "e.xls", "unknown kind of file"),
        (GOOD.replace(b"2026-03-02", b"02.03.26"), "e.csv", "does format = 'iso' fit what stands in 't'?"),
    ],
)
def test_unusable_files(tmp_path: Path, content: bytes | None, name: str, says: str) -> None:
    assert says in refuse(tmp_path, content, name=name)


def test_bad_mappings(tmp_path: Path) -> None:
    assert "at line 2" in refuse(tmp_path, GOOD, "[device]\ncolumn = = 1\n")
    assert "did you mean 'humidity'" in refuse(tmp_path, GOOD, MAPPING.replace("humidity", "humiditty"))
    result = run("import", tmp_path / "e.csv", "--map", tmp_path / "none.toml")
    assert "there is no such mapping" in result.stderr


def test_register_without_defaults_stops_before_writing(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_bytes(GOOD)
    (tmp_path / "m.toml").write_text(MAPPING.replace('cohort_id = "c"\n', ""))
    result = run("import", tmp_path / "e.csv", "--map", tmp_path / "m.toml", "--register", *places(tmp_path))
    assert "registering devices needs cohort_id" in result.stderr
    assert not (tmp_path / "landing").exists()


def test_a_line_with_a_stray_quote_swallows_no_other(tmp_path: Path) -> None:
    rows = [f"D1,2026-03-02 00:{m:02d}:00,1,2" for m in range(50)]
    rows[10], rows[30] = '"D1,2026-03-02 00:10:00,1,2', "D1,2026-03-02 00:30:00"
    (tmp_path / "e.csv").write_text("dev,t,evap,rh\n" + "\r\n".join(rows) + "\r\n\r\n")
    summary = import_file(tmp_path / "e.csv", parse_mapping(MAPPING), tmp_path / "landing")
    assert (summary.rows, summary.rejected, summary.unreadable_lines) == (49, 1, 1)


def test_decimal_comma_semicolon_and_windows_encoding(tmp_path: Path) -> None:
    text = "Gerät;Zeit;Temp °C;Tür\nK1;02.03.2026 13:00;-24,5;auf\n"
    (tmp_path / "e.csv").write_bytes(text.encode("cp1252"))
    mapping = parse_mapping("""
[source]
encoding = "cp1252"
decimal = ","
[device]
column = "Gerät"
[timestamp]
column = "Zeit"
format = "%d.%m.%Y %H:%M"
timezone = "Europe/Berlin"
[sensors]
temperature_evaporator = { column = "Temp °C", unit = "°C" }
door_open_close = { column = "Tür", true_values = ["auf"], false_values = ["zu"] }
""")
    import_file(tmp_path / "e.csv", mapping, tmp_path / "landing")
    row = everything(tmp_path / "landing").row(0, named=True)
    assert (row["temperature_evaporator"], row["door_open_close"], row["timestamp_device"].hour) == (-24.5, True, 12)


def test_two_imports_of_one_file_at_once_are_one(tmp_path: Path) -> None:
    import fcntl

    export, mapping, landing = write_export(tmp_path / "e.csv", 200), parse_mapping(MAPPING), tmp_path / "landing"
    identity = import_file(export, mapping, landing).identity
    with (landing / f".tmp-{identity}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ImportFailedError, match="imported by another process"):
            import_file(export, mapping, landing)
