"""Tables of the lake under other writers: hours replaced at once, marks with rows, what a writer's death leaves."""

import os
import shutil
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction

import refrig_assets
from refrig_assets.contracts import CONTRACTS, DEAD_LETTER, RAW_READINGS, ContractError
from refrig_assets.contracts.base import PARTITION_DATE
from refrig_assets.contracts.bookkeeping import HOUR_ACCOUNTS, LANDING_LOG
from refrig_assets.lake import DataFile, Lake, LakeUnavailableError, MarkTakenError, Table
from refrig_assets.lake import table as table_module
from refrig_assets.pipeline.upkeep import vacuum_table
from refrig_assets_tests.builders import HOUR, ONE_HOUR, at, everything, raw_rows

ROOT = Path(refrig_assets.__file__).parents[1]


@pytest.fixture
def raw(lake: Lake) -> Table:
    return lake.table(RAW_READINGS)


def hour_rows(number: int, rows: int = 4, tag: str = "v1") -> pl.DataFrame:
    """Rows of the hour that lies so many hours after the first."""
    hour = HOUR + number * ONE_HOUR
    return raw_rows([{"event_id": f"h{number}-{tag}-{m}", "minute": m, "hour": hour} for m in range(rows)])


def ids(table: Table, number: int | None = None) -> list[str]:
    hour = HOUR + (number or 0) * ONE_HOUR
    frame = table.read() if number is None else table.read(hour, hour + ONE_HOUR)
    return sorted(frame["event_id"])


def replace(table: Table, number: int, tag: str, rows: int = 4) -> None:
    table.replace_hour(HOUR + number * ONE_HOUR, table.write_files(hour_rows(number, rows, tag)))


def expected(*parts: tuple[int, str]) -> list[str]:
    return sorted(f"h{n}-{tag}-{m}" for n, tag in parts for m in range(4))


# -- replacing -----------------------------------------------------------------------------------------------------


def test_an_hour_is_replaced_and_no_other(raw: Table) -> None:
    for number in range(4):
        raw.append(hour_rows(number))
    replace(raw, 2, "v2")
    assert ids(raw) == expected((0, "v1"), (1, "v1"), (2, "v2"), (3, "v1"))
    replace(raw, 2, "v2")
    assert ids(raw, 2) == expected((2, "v2"))
    raw.replace_hour(HOUR, [])
    assert ids(raw) == expected((1, "v1"), (2, "v2"), (3, "v1"))


def test_rows_of_other_hours_in_a_compacted_file_are_carried_over(raw: Table) -> None:
    for number in range(5):
        raw.append(hour_rows(number))
    raw.open().optimize.compact([(PARTITION_DATE, "=", "2026-03-02")])
    assert len(raw.files()) == 1
    before = raw.read().filter(pl.col("event_id").str.starts_with("h2").not_()).sort("event_id")
    replace(raw, 2, "v2")
    after = raw.read().filter(pl.col("event_id").str.starts_with("h2").not_()).sort("event_id")
    assert after.equals(before)
    assert ids(raw, 2) == expected((2, "v2"))
    assert sum(f.rows for f in raw.files()) == 20
    assert [f.rows for f in raw.files(start=HOUR + 2 * ONE_HOUR, end=HOUR + 3 * ONE_HOUR)] == [16, 4]


def test_a_range_of_hours_over_midnight_is_replaced_in_one_commit(raw: Table) -> None:
    for number in range(12, 17):  # 22:00 to 02:00
        raw.append(hour_rows(number))
    before = raw.version
    frame = pl.concat([hour_rows(n, tag="v2") for n in (13, 14)])
    files = raw.write_files(frame)
    assert len(files) == 2
    commit = raw.replace_range(HOUR + 13 * ONE_HOUR, HOUR + 15 * ONE_HOUR, files)
    assert (commit.version, commit.rows, commit.files) == (before + 1, 8, 2)
    assert ids(raw) == expected((12, "v1"), (13, "v2"), (14, "v2"), (15, "v1"), (16, "v1"))
    assert {f.partition_date for f in raw.files()} == {"2026-03-02", "2026-03-03"}


def test_rows_to_keep_stay(lake: Lake) -> None:
    accounts = lake.table(HOUR_ACCOUNTS)
    columns = {"hour": HOUR, "account": "raw", "other_hour": None}
    schema = HOUR_ACCOUNTS.dtypes

    def rows(*tables: tuple[str, int]) -> pl.DataFrame:
        return pl.DataFrame([columns | {"table": t, "rows": n} for t, n in tables], schema=schema)

    accounts.append(rows(("a", 1), ("b", 2)))
    files = accounts.write_files(rows(("a", 10)))
    accounts.replace_range(HOUR, HOUR + ONE_HOUR, files, keep=pl.col("table") != "a")
    assert sorted(accounts.read().select("table", "rows").rows()) == [("a", 10), ("b", 2)]


def test_a_file_of_which_all_rows_stay_is_left_as_it_is(lake: Lake) -> None:
    letters, hour = lake.table(DEAD_LETTER), pl.lit(HOUR)
    frame = DEAD_LETTER.empty().clear(4).with_columns(
        timestamp_ingested=hour, source_partition=pl.lit("p"), source_offset=pl.int_range(4), reason=pl.lit("bad"),
        payload=pl.lit("{"), payload_encoding=pl.lit("utf-8"),
        stage=pl.Series(["landing", "landing", "clean", "clean"]),
    )  # fmt: skip
    kept, mixed = (letters.append(DEAD_LETTER.conform(part)) for part in (frame[:2], frame[1:]))
    before = {f.path for f in letters.files()}
    letters.replace_range(HOUR, HOUR + ONE_HOUR, [], keep=pl.col("stage") != "clean")
    after = {f.path for f in letters.files()}
    assert (len(before), len(after), len(before & after)) == (2, 2, 1)
    assert kept.version < mixed.version
    assert letters.read()["stage"].to_list() == ["landing"] * 3


def test_rows_of_a_file_that_does_not_tell_its_size_are_replaced(lake: Lake) -> None:
    accounts = lake.table(HOUR_ACCOUNTS)
    rows = pl.DataFrame([(HOUR, "t", "raw", None, 1)], schema=HOUR_ACCOUNTS.dtypes, orient="row")
    [file] = accounts.write_files(rows)
    silent = AddAction(
        path=file.action.path, size=file.size, partition_values=file.action.partition_values,
        modification_time=file.action.modification_time, data_change=True, stats=None,
    )  # fmt: skip
    accounts.append_files([DataFile(silent, 1, file.size)])
    assert [f.rows for f in accounts.files()] == [0]
    accounts.replace_range(HOUR, HOUR + ONE_HOUR, [], keep=pl.col("table") != "t")
    assert accounts.read().is_empty()


def test_an_earlier_version_stays_readable(raw: Table) -> None:
    version = raw.append(hour_rows(0)).version
    replace(raw, 0, "v2")
    assert sorted(raw.read(version=version)["event_id"]) == expected((0, "v1"))
    assert ids(raw) == expected((0, "v2"))


# -- writers beside each other -------------------------------------------------------------------------------------

REPLACER = """
import sys
from refrig_assets.lake import Lake
from refrig_assets_tests.lake.test_table import hour_rows, replace
table = Lake(sys.argv[1]).table("raw_sensor_readings")
for turn in range(5):
    replace(table, int(sys.argv[2]), f"turn{turn}")
    table.append(hour_rows(20, 1, f"{sys.argv[2]}-{turn}"))
"""

APPENDER = """
import sys
from refrig_assets.lake import Lake
from refrig_assets_tests.lake.test_table import append_once
table = Lake(sys.argv[1]).table("raw_sensor_readings")
for version in range(1, 16):
    append_once(table, "source-1", version, sys.argv[2])
"""


def append_once(table: Table, app: str, version: int, tag: str) -> bool:
    """The pattern of exactly once: what is at or below the stored mark has landed before."""
    if (table.transaction_version(app) or 0) >= version:
        return False
    table.append(hour_rows(0, 1, f"{tag}-{version}"), transactions=[(app, version)])
    return True


def run_beside(script: str, lake: Lake, count: int) -> list[subprocess.Popen[bytes]]:
    return [
        subprocess.Popen([sys.executable, "-c", script, lake.uri, str(n)], cwd=ROOT, stderr=subprocess.PIPE)
        for n in range(count)
    ]


def finish(workers: list[subprocess.Popen[bytes]]) -> None:
    for worker in workers:
        _, told = worker.communicate(timeout=120)
        assert worker.returncode == 0, told.decode()


def test_processes_replace_different_hours_and_append_at_the_same_time(lake: Lake, raw: Table) -> None:
    for number in range(3):
        raw.append(hour_rows(number))
    raw.open().optimize.compact([(PARTITION_DATE, "=", "2026-03-02")])  # so that they carry each other's rows over
    finish(run_beside(REPLACER, lake, 3))
    assert [ids(raw, n) for n in range(3)] == [expected((n, "turn4")) for n in range(3)]
    assert ids(raw, 20) == sorted(f"h20-{n}-{turn}-0" for n in range(3) for turn in range(5))


def test_a_writer_that_compares_marks_lands_nothing_twice(lake: Lake, raw: Table) -> None:
    finish(run_beside(APPENDER, lake, 1))
    assert raw.transaction_version("source-1") == 15
    finish(run_beside(APPENDER, lake, 1))
    assert not append_once(raw, "source-1", 15, "again")
    assert append_once(raw, "source-1", 16, "again")
    assert len(ids(raw)) == 16


def test_of_two_writers_that_race_with_one_mark_one_lands(raw: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    write, met = raw._write_actions, []

    def meet(*arguments: Any) -> None:
        if not met:
            met.append(append_once(Table(raw.contract, raw.uri, {}), "app", 1, "other"))
        write(*arguments)

    monkeypatch.setattr(raw, "_write_actions", meet)
    with pytest.raises(MarkTakenError, match="app stands at 1"):
        append_once(raw, "app", 1, "mine")
    assert ids(raw) == ["h0-other-1-0"]


def test_a_mark_lands_with_its_rows_or_not_at_all(raw: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(*_: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(raw, "_write_actions", no_more)
    with pytest.raises(OSError, match="No space left"):
        append_once(raw, "app", 1, "x")
    monkeypatch.undo()
    assert raw.transaction_version("app") is None
    assert ids(raw) == []
    commit = raw.append(RAW_READINGS.empty(), transactions=[("app", 3)])  # a mark alone, where nothing was to land
    assert (commit.rows, raw.transaction_version("app")) == (0, 3)
    version = raw.version
    assert raw.append(RAW_READINGS.empty()).version == version == raw.version


def test_marks_survive_checkpoints_and_replacement(raw: Table) -> None:
    append_once(raw, "app", 7, "x")
    for turn in range(60):  # past the checkpoint interval
        replace(raw, 1, f"turn{turn}", 1)
    assert any((Path(raw.uri) / "_delta_log").glob("*.checkpoint.parquet"))
    assert raw.transaction_version("app") == 7
    assert len(ids(raw)) == 2


def test_a_commit_that_meets_another_looks_again(raw: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    raw.append(pl.concat([hour_rows(0), hour_rows(1)]))
    write, met = raw._write_actions, []

    def meet(*arguments: Any) -> None:
        if len(met) < 3:
            met.append(raw.version)
            replace(Table(raw.contract, raw.uri, {}), 1, f"other{len(met)}")
        write(*arguments)

    monkeypatch.setattr(raw, "_write_actions", meet)
    replace(raw, 0, "v2")
    assert ids(raw) == expected((0, "v2"), (1, "other3"))
    assert len(met) == 3


def test_a_commit_that_always_meets_others_gives_up_and_leaves_the_table(
    raw: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw.append(hour_rows(0))
    write = raw._write_actions
    turns = iter(range(10))

    def meet(*arguments: Any) -> None:
        replace(Table(raw.contract, raw.uri, {}), 0, f"other{next(turns)}")
        write(*arguments)

    monkeypatch.setattr(table_module, "COMMIT_ATTEMPTS", 2)
    monkeypatch.setattr(raw, "_write_actions", meet)
    with pytest.raises(CommitFailedError):
        replace(raw, 0, "mine")
    assert ids(raw) == expected((0, "other1"))


def test_threads_replace_their_hours(lake: Lake, raw: Table) -> None:
    raw.append(pl.concat([hour_rows(n) for n in range(4)]))
    failed: list[Exception] = []

    def work(number: int) -> None:
        try:
            for turn in range(3):
                replace(lake.table(RAW_READINGS), number, f"turn{turn}")
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert ids(raw) == expected(*((n, "turn2") for n in range(4)))


# -- what is not committed -----------------------------------------------------------------------------------------


def test_files_a_dead_writer_left_are_invisible_and_vacuumed(lake: Lake, raw: Table) -> None:
    raw.append(hour_rows(0))
    orphan = raw.write_files(hour_rows(1))[0]
    path = Path(raw.uri) / orphan.action.path
    assert path.exists()
    assert ids(raw) == expected((0, "v1"))
    assert vacuum_table(lake, RAW_READINGS, dry_run=False) == 0  # it may be a writer that lives
    long_ago = path.stat().st_mtime - timedelta(days=8).total_seconds()
    for file in Path(raw.uri).rglob("*.parquet"):
        os.utime(file, (long_ago, long_ago))
    assert vacuum_table(lake, RAW_READINGS, dry_run=True) == 1
    assert path.exists()
    assert vacuum_table(lake, RAW_READINGS, dry_run=False) == 1
    assert not path.exists()
    assert ids(raw) == expected((0, "v1"))


# -- what may be written -------------------------------------------------------------------------------------------


def test_a_frame_that_breaks_the_contract_is_not_written(raw: Table) -> None:
    good = hour_rows(0)
    for bad in (good.drop("humidity"), good.with_columns(pl.lit(1).alias("more")),
                good.with_columns(pl.col("humidity").cast(pl.Float32)),
                good.with_columns(pl.lit(None, dtype=pl.String).alias("event_id"))):  # fmt: skip
        with pytest.raises(ContractError, match="raw_sensor_readings breaks its contract"):
            raw.append(bad)
    assert ids(raw) == []
    assert not list(Path(raw.uri).rglob("*.parquet"))


def _by_another(table: Table, frame: pl.DataFrame, hour_column: str) -> None:
    dated = frame.with_columns(pl.col(hour_column).dt.date().alias(PARTITION_DATE))
    write_deltalake(table.uri, dated, mode="append")


def test_another_writer_may_append_what_keeps_the_contract(raw: Table) -> None:
    raw.append(hour_rows(0))
    _by_another(raw, hour_rows(1), "timestamp_ingested")
    assert ids(raw) == expected((0, "v1"), (1, "v1"))
    assert ids(raw, 1) == expected((1, "v1"))
    replace(raw, 1, "v2")
    assert ids(raw) == expected((0, "v1"), (1, "v2"))


def _letter(**changes: Any) -> pl.DataFrame:
    row = {"timestamp_ingested": HOUR, "source_partition": "a", "source_offset": 1, "reason": "r", "payload": "p",
           "payload_encoding": "utf-8", "stage": "landing", "event_id": None, "device_id": None}  # fmt: skip
    return pl.DataFrame([row | changes], schema=DEAD_LETTER.dtypes)


def _entry(**changes: Any) -> pl.DataFrame:
    counts = dict.fromkeys(("bytes", "messages", "rows_landed", "messages_joined", "dead_letters", "unknown_fields"), 0)
    row = {"landing_hour": HOUR, "path": "a", "sha256": "b", "outcome": "landed", "detail": None, "landed_at": HOUR}
    return pl.DataFrame([row | counts | changes], schema=LANDING_LOG.dtypes)


@pytest.mark.parametrize(
    ("contract", "good", "bad", "hour_column"),
    [
        (DEAD_LETTER, _letter(), _letter(stage="elsewhere"), "timestamp_ingested"),
        (DEAD_LETTER, _letter(), _letter(payload_encoding="latin-1"), "timestamp_ingested"),
        (DEAD_LETTER, _letter(), _letter(reason=None), "timestamp_ingested"),
        (LANDING_LOG, _entry(), _entry(dead_letters=-1), "landing_hour"),
        (LANDING_LOG, _entry(), _entry(outcome="lost"), "landing_hour"),
    ],
)
def test_constraints_hold_for_other_writers_too(
    lake: Lake, contract: Any, good: pl.DataFrame, bad: pl.DataFrame, hour_column: str
) -> None:
    table = lake.table(contract)
    _by_another(table, good, hour_column)
    with pytest.raises((DeltaError, ValueError, OSError), match=r"(?i)constraint|check|invariant|null"):
        _by_another(table, bad, hour_column)
    assert table.read().height == 1
    with pytest.raises(ContractError):
        table.append(bad)


# -- the lake itself -----------------------------------------------------------------------------------------------


def test_creating_a_lake_twice_is_creating_it_once(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "new" / "lake"))
    assert not lake.exists()
    versions = lake.create().versions
    assert lake.exists()
    assert Lake(lake.uri).create().versions == versions
    for contract in CONTRACTS:
        assert lake.table(contract).read().schema == contract.empty().schema


def test_a_creation_that_was_killed_is_finished_by_the_next(tmp_path: Path, empty_lake: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    script = "import sys; from refrig_assets.lake import Lake; Lake(sys.argv[1]).create()"
    for tables in (1, 5, 9):
        (worker,) = run_beside(script, lake, 1)
        while worker.poll() is None and len(list(Path(lake.uri).glob("*/_delta_log"))) < tables:
            time.sleep(0.001)
        worker.kill()
        worker.communicate()
    lake.create()
    for contract in CONTRACTS:
        ours, whole = (Lake(uri).table(contract).open().metadata() for uri in (lake.uri, str(empty_lake)))
        assert ours.configuration == whole.configuration
        assert lake.table(contract).read().is_empty()


def test_a_lake_that_lost_a_table_gets_it_back(lake: Lake) -> None:
    shutil.rmtree(lake.table(DEAD_LETTER).uri)
    lake.table(RAW_READINGS).append(hour_rows(0))
    assert not lake.exists()
    lake.create()
    assert lake.exists()
    assert everything(lake, "raw_sensor_readings").height == 4
    assert everything(lake, "dead_letter").is_empty()


def test_a_lake_in_a_place_that_cannot_be_written_says_so_and_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(LakeUnavailableError, match=r"file/lake' is not writable: Not a directory.*REFRIG_LAKE"):
        Lake(str(tmp_path / "file" / "lake")).create()


def test_reads_take_only_the_files_of_their_range(raw: Table) -> None:
    for number in range(6):
        raw.append(hour_rows(number))
    found = raw.files(start=at(60), end=at(180))
    assert {(f.first, f.rows) for f in found} == {(at(60), 4), (at(120), 4)}
    assert raw.read(at(61), at(62))["event_id"].to_list() == ["h1-v1-1"]
    assert raw.read(at(60), at(120), column="timestamp_device").height == 4
    assert raw.read(at(6000), at(6060)).is_empty()
