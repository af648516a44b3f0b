"""Landing an hour's files into real tables: each message once, whatever happens to the files."""

import gzip
import os
import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from refrig_assets.contracts import RAW_READINGS
from refrig_assets.contracts.bookkeeping import LANDING_LOG
from refrig_assets.lake import Lake
from refrig_assets.pipeline import landing as landing_module
from refrig_assets.pipeline import sources
from refrig_assets.pipeline.hours import read_accounts
from refrig_assets.pipeline.landing import land_hour
from refrig_assets.pipeline.landing_report import LandingReport
from refrig_assets_tests.builders import (
    HOUR,
    NOW,
    ONE_HOUR,
    at,
    everything,
    iso,
    land_file,
    line,
    lines,
    minutes_of,
    narrow,
    raw_rows,
    wide,
)


def land(lake: Lake, landing: Path, hour: datetime = HOUR, **options: Any) -> LandingReport:
    return land_hour(lake, landing, hour, NOW, **options)


def raw(lake: Lake) -> pl.DataFrame:
    return everything(lake, "raw_sensor_readings")


def dead(lake: Lake) -> pl.DataFrame:
    return everything(lake, "dead_letter").sort("source_partition", "source_offset")


def log(lake: Lake) -> list[dict[str, Any]]:
    return everything(lake, "landing_log").sort("path", "bytes").to_dicts()


def ids(lake: Lake) -> list[str]:
    return sorted(raw(lake)["event_id"])


def accounted(report: LandingReport) -> None:
    for file in report.files:
        assert file.messages == file.rows + file.joined + file.dead, file


def test_every_kind_of_file_lands(lake: Lake, landing: Path) -> None:
    table = raw_rows([{"event_id": f"t{n}", "minute": n} for n in range(3)])
    land_file(landing, "a.ndjson", [wide("a", 1), "{"])
    land_file(landing, "sub/b.jsonl.gz", gzip.compress(lines([wide("b", 1)])))
    land_file(landing, "c.parquet", b"")
    table.write_parquet(landing / "2026-03-02/10/c.parquet")
    text = table.with_columns(pl.col("event_id") + "csv", pl.col(pl.Datetime).dt.strftime("%Y-%m-%dT%H:%M:%S%.fZ"))
    land_file(landing, "d.csv", text.write_csv().encode())
    text = text.with_columns(pl.col("event_id") + "gz")
    land_file(landing, "e.csv.gz", gzip.compress(text.write_csv().encode()))
    report = land(lake, landing)
    accounted(report)
    assert [(f.path[14:], f.outcome, f.rows, f.dead) for f in report.files] == [
        ("a.ndjson", "landed", 1, 1), ("c.parquet", "landed", 3, 0), ("d.csv", "landed", 3, 0),
        ("e.csv.gz", "landed", 3, 0), ("sub/b.jsonl.gz", "landed", 1, 0),
    ]  # fmt: skip
    assert raw(lake).height == report.rows == 11
    assert raw(lake)["_sequence_number"].n_unique() == 11
    sensors = [c for c in table.columns if c not in ("event_id", "_sequence_number", "_partition_key", "device_id")]
    assert raw(lake).filter(pl.col("event_id").str.starts_with("t")).select(sensors).unique().height == 3
    RAW_READINGS.validate(raw(lake))


def test_run_again_nothing_lands_again(lake: Lake, landing: Path) -> None:
    land_file(landing, "a.ndjson", [*minutes_of(3, 5), "{", narrow("humidity", 4), narrow("superheat", 4)])
    land(lake, landing)
    before = [everything(lake, t) for t in ("raw_sensor_readings", "dead_letter", "landing_log")]
    again = land(lake, landing)
    assert (again.files, again.skipped, again.rows_by_hour) == ([], [], {})
    for table, was in zip(("raw_sensor_readings", "dead_letter", "landing_log"), before, strict=True):
        assert everything(lake, table).equals(was)


def test_the_same_bytes_under_another_name_are_logged_and_not_landed(lake: Lake, landing: Path) -> None:
    land_file(landing, "a.ndjson", minutes_of(2, 2))
    land_file(landing, "b.jsonl", minutes_of(2, 2))
    land(lake, landing)
    land_file(landing, "c.ndjson", minutes_of(2, 2))
    land_file(landing, "d.ndjson", minutes_of(2, 2), at(60))
    land(lake, landing)
    land(lake, landing, at(60))
    assert len(ids(lake)) == 4
    assert [(e["path"][11:], e["outcome"], e["rows_landed"], e["detail"]) for e in log(lake)] == [
        ("10/a.ndjson", "landed", 4, None),
        ("10/b.jsonl", "same_content", 0, "holds the same bytes as 2026-03-02/10/a.ndjson"),
        ("10/c.ndjson", "same_content", 0, "holds the same bytes as 2026-03-02/10/a.ndjson"),
        ("11/d.ndjson", "same_content", 0, "holds the same bytes as 2026-03-02/10/a.ndjson"),
    ]


def test_a_file_under_a_wrong_name_lands_once_it_is_renamed(lake: Lake, landing: Path) -> None:
    path = land_file(landing, "a.dat", minutes_of(2, 2))
    also = land_file(landing, "b.csv", minutes_of(3, 1))
    land(lake, landing)
    assert ids(lake) == []
    assert [e["outcome"] for e in log(lake)] == ["unreadable", "unreadable"]
    assert "unknown kind of file: a.dat" in dead(lake)["reason"][0]
    path.rename(path.with_suffix(".ndjson"))
    also.rename(also.with_suffix(".jsonl"))
    land(lake, landing)
    assert len(ids(lake)) == 7
    assert dead(lake).height == 2


def test_of_a_grown_file_only_the_tail_lands(lake: Lake, landing: Path) -> None:
    first, second, third = minutes_of(2, 2), minutes_of(2, 2, 2), minutes_of(2, 2, 4)
    land_file(landing, "a.ndjson", first)
    land(lake, landing)
    land_file(landing, "a.ndjson", first + second)
    report = land(lake, landing)
    assert (report.rows, report.files[0].messages) == (4, 4)
    assert "grown" in (report.files[0].detail or "")
    land_file(landing, "a.ndjson", first + second + third)
    assert land(lake, landing).rows == 4
    assert ids(lake) == sorted(m["event_id"] for m in first + second + third)
    assert raw(lake)["_sequence_number"].n_unique() == 12


@pytest.mark.parametrize("cut", [1, 30, -1])
def test_a_line_that_was_half_written_lands_when_it_is_whole(lake: Lake, landing: Path, cut: int) -> None:
    block = lines([wide("a", 1), wide("a", 2)])
    middle = len(line(wide("a", 1))) + 1
    land_file(landing, "a.ndjson", block[: (middle if cut > 0 else len(block)) + cut])
    land(lake, landing)
    halves = dead(lake).height
    assert halves == (cut > 0)
    land_file(landing, "a.ndjson", block + lines([wide("a", 3)]))
    land(lake, landing)
    assert ids(lake) == ["a:1", "a:2", "a:3"]
    assert dead(lake).height == halves


def test_gzip_files_grow_by_members_or_by_being_finished(lake: Lake, landing: Path) -> None:
    whole = gzip.compress(lines(minutes_of(5, 30)), mtime=0)
    land_file(landing, "a.ndjson.gz", whole[: len(whole) // 2])
    first = land(lake, landing)
    accounted(first)
    assert 10 < first.rows < 149
    assert dead(lake)["reason"].to_list() == ["gzip stream ends early"]
    land_file(landing, "a.ndjson.gz", whole)
    accounted(land(lake, landing))
    assert ids(lake) == sorted(m["event_id"] for m in minutes_of(5, 30))
    land_file(landing, "a.ndjson.gz", whole + gzip.compress(lines(minutes_of(5, 3, 30))))
    assert land(lake, landing).rows == 15
    assert ids(lake) == sorted(m["event_id"] for m in minutes_of(5, 33))
    assert dead(lake).height == 1


def test_a_csv_grows(lake: Lake, landing: Path) -> None:
    text = "device_id,timestamp,humidity\n" + "".join(f"a,{iso(at(n))},{n}\n" for n in range(4))
    land_file(landing, "a.csv", text[:-10].encode())
    report = land(lake, landing)
    assert report.rows == 3
    land_file(landing, "a.csv", (text + f"b,{iso(at(9))},9\n").encode())
    land(lake, landing)
    assert sorted(raw(lake)["humidity"]) == [0, 1, 2, 3, 9]
    assert raw(lake)["_sequence_number"].n_unique() == 5


def test_a_replaced_file_is_another_file(lake: Lake, landing: Path) -> None:
    land_file(landing, "a.ndjson", [wide("a", 1), wide("a", 2)])
    land(lake, landing)
    land_file(landing, "a.ndjson", [wide("b", 1)])
    land(lake, landing)
    land_file(landing, "a.ndjson", [wide("a", 1), wide("a", 2)])
    assert not land(lake, landing).files
    assert ids(lake) == ["a:1", "a:2", "b:1"]


def test_a_gzip_file_yields_what_stands_before_the_damage(lake: Lake, landing: Path) -> None:
    messages = minutes_of(20, 30)
    packed = bytearray(gzip.compress(lines(messages)))
    packed[len(packed) // 2 : len(packed) // 2 + 50] = b"\xff" * 50
    land_file(landing, "a.ndjson.gz", bytes(packed))
    land_file(landing, "b.ndjson.gz", gzip.compress(lines([wide("b", 1)])) + bytes(packed))
    land_file(landing, "c.ndjson.gz", b"this is no gzip file at all")
    land_file(landing, "d.ndjson.gz", gzip.compress(lines([wide("d", 1)])) + b"\0" * 100)
    wrong_sum = bytearray(gzip.compress(lines([wide("e", 1)])))
    wrong_sum[-6] ^= 1
    land_file(landing, "e.ndjson.gz", bytes(wrong_sum))
    report = land(lake, landing)
    accounted(report)
    rows = {f.path[-11:]: (f.rows, f.dead) for f in report.files}
    assert rows["c.ndjson.gz"] == (0, 1)
    assert rows["d.ndjson.gz"] == (1, 0)
    assert rows["e.ndjson.gz"] == (1, 1)
    assert 250 < rows["a.ndjson.gz"][0] < 600
    assert rows["b.ndjson.gz"][0] == rows["a.ndjson.gz"][0] + 1
    assert all(r.startswith(("gzip stream is damaged", "not ")) for r in dead(lake)["reason"])
    assert set(ids(lake)) <= {m["event_id"] for m in messages} | {"b:1", "d:1", "e:1"}


@pytest.mark.parametrize("name", ["a.ndjson", "a.csv", "a.ndjson.gz", "a.csv.gz"])
def test_an_empty_file_is_no_trouble(lake: Lake, landing: Path, name: str) -> None:
    land_file(landing, name, b"")
    report = land(lake, landing)
    assert [(f.outcome, f.messages) for f in report.files] == [("landed", 0)]
    assert not land(lake, landing).files
    assert raw(lake).is_empty()
    assert dead(lake).is_empty()


@pytest.mark.parametrize("name", ["a.parquet", "a.txt", "a.parquet.gz", "noextension"])
def test_an_empty_file_of_which_nothing_can_be_read_is_a_dead_letter(lake: Lake, landing: Path, name: str) -> None:
    land_file(landing, name, b"")
    assert [f.outcome for f in land(lake, landing).files] == ["unreadable"]
    assert dead(lake).height == 1
    assert not land(lake, landing).files


def test_binary_junk_is_dead_letters_line_by_line(lake: Lake, landing: Path) -> None:
    junk = b"".join(bytes([(n * 7919) % 256, (n * 104729) >> 3 & 255]) for n in range(20000))
    land_file(landing, "a.ndjson", junk)
    report = land(lake, landing)
    accounted(report)
    assert report.rows == 0
    assert dead(lake).height == report.files[0].messages > 50
    assert "base64" in set(dead(lake)["payload_encoding"])


def test_a_table_cut_in_half_is_one_dead_letter(lake: Lake, landing: Path) -> None:
    path = land_file(landing, "a.parquet", b"")
    raw_rows([{}] * 50).write_parquet(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    land_file(landing, "b.csv", b"\x00\xff\xfe junk, not a table\nmore\n")
    land_file(landing, "c.csv", b"device_id,when\na,b\n")
    report = land(lake, landing)
    accounted(report)
    assert [f.outcome for f in report.files] == ["unreadable"] * 3
    assert dead(lake)["reason"][0].startswith("not readable as parquet")
    assert "no column timestamp_device" in dead(lake)["reason"][2]
    assert dead(lake)["payload_encoding"].to_list() == ["base64", "base64", "utf-8"]
    assert raw(lake).is_empty()


def test_a_csvs_bad_lines_are_dead_and_the_others_land(lake: Lake, landing: Path) -> None:
    rows = [f"a,{iso(at(1))},1", "b,soon,2", "", f"c,{iso(at(1))}", f"d,{iso(at(1))},4,5", f"e,{iso(at(1))},wet"]
    text = "\r\n".join(["device_id,timestamp,humidity", *rows]).encode() + b"\r\n\xff\xfe,x,1\r\n" + b"f,\r\n"
    land_file(landing, "a.csv", b"\xef\xbb\xbf" + text)
    report = land(lake, landing)
    accounted(report)
    assert raw(lake)["device_id"].to_list() == ["a"]
    letters = dead(lake)
    assert [r.split(":")[0] for r in letters["reason"]] == [
        "no readable timestamp, which should be ISO 8601", "2 fields where the header has 3",
        "4 fields where the header has 3", "humidity is not a value", "not UTF-8", "2 fields where the header has 3",
    ]  # fmt: skip
    content = b"\xef\xbb\xbf" + text
    assert content[letters["source_offset"][1] :].startswith(b"c,")


def test_a_quoted_csv_lands(lake: Lake, landing: Path) -> None:
    text = f'"device_id","timestamp","humidity","note"\n"a","{iso(at(1))}","4","one, two\nthree"\n"b",{iso(at(2))},5,\n'
    land_file(landing, "a.csv", text.encode())
    accounted(land(lake, landing))
    assert raw(lake).select("device_id", "humidity").rows() == [("a", 4.0), ("b", 5.0)]


def test_unfinished_and_hidden_files_are_left_until_renamed(lake: Lake, landing: Path) -> None:
    for name in ("a.ndjson.tmp", "b.ndjson.part", ".c.ndjson", "d.parquet.crdownload"):
        path = land_file(landing, name, minutes_of(1, 1))
    assert not land(lake, landing).files
    path = landing / "2026-03-02/10/a.ndjson.tmp"
    path.rename(path.with_suffix(""))
    assert land(lake, landing).rows == 1


def test_an_hour_without_a_folder_has_nothing(lake: Lake, landing: Path) -> None:
    report = land(lake, landing)
    assert (report.files, report.rows) == ([], 0)
    assert not land(lake, landing / "nowhere").files


def test_files_that_vanish_are_left_for_the_next_run(
    lake: Lake, landing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c", "d"):
        land_file(landing, f"{name}.ndjson", [wide(name, 1)])
    listed = sources.landing_files(landing, HOUR)
    listed[0].unlink()  # between listing and hashing
    monkeypatch.setattr(landing_module, "landing_files", lambda *_: listed)
    look = landing_module._look_at

    def look_and_delete(path: Path, *rest: Any) -> Any:  # between hashing and reading
        found = look(path, *rest)
        if path == listed[2]:
            path.unlink()
        return found

    monkeypatch.setattr(landing_module, "_look_at", look_and_delete)
    report = land(lake, landing)
    assert report.skipped == [
        "2026-03-02/10/a.ndjson: deleted before it could be read",
        "2026-03-02/10/c.ndjson: deleted while it was read",
    ]
    assert ids(lake) == ["b:1", "d:1"]
    assert [e["path"][-8:] for e in log(lake)] == ["b.ndjson", "d.ndjson"]
    monkeypatch.undo()
    for name in ("a", "c"):
        land_file(landing, f"{name}.ndjson", [wide(name, 1)])
    land(lake, landing)
    assert ids(lake) == ["a:1", "b:1", "c:1", "d:1"]


def test_what_is_appended_while_a_file_is_read_is_the_next_runs(
    lake: Lake, landing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = land_file(landing, "a.ndjson", minutes_of(2, 2))
    read = landing_module.read_chunks

    def append_and_read(*arguments: Any) -> Any:
        with path.open("ab") as file:
            file.write(lines(minutes_of(2, 1, 2)))
        return read(*arguments)

    monkeypatch.setattr(landing_module, "read_chunks", append_and_read)
    assert land(lake, landing).rows == 4
    monkeypatch.undo()
    assert land(lake, landing).rows == 2
    assert len(ids(lake)) == len(set(ids(lake))) == 6


def test_a_file_of_many_chunks_is_the_file(lake: Lake, landing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mixed = [*minutes_of(3, 20), "{", b"\xff", *[narrow("humidity", 4, f"old-{n}") for n in range(20)], "tail"]
    land_file(landing, "a.ndjson", mixed)
    whole = land(lake, landing)
    other = Lake(str(Path(lake.uri).parent / "other")).create()
    monkeypatch.setattr(sources, "CHUNK_BYTES", 700)
    monkeypatch.setattr(landing_module, "FLUSH_ROWS", 10)
    chunked = land(other, landing)
    accounted(chunked)
    assert (chunked.rows, chunked.dead, chunked.messages) == (whole.rows, whole.dead, whole.messages) == (80, 3, 83)
    assert raw(other).equals(raw(lake))
    assert dead(other).equals(dead(lake))


@pytest.mark.parametrize(("chunk", "devices"), [(300, 1), (333, 1), (700, 2), (1000, 2), (4000, 2)])
def test_a_narrow_row_may_lie_across_chunks(
    lake: Lake, landing: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, devices: int
) -> None:
    sensors = ("humidity", "superheat", "subcooling")
    # Devices take turns: neighbouring lines belong to different rows. A row's lines lie less than a chunk apart.
    messages = [narrow(s, m, f"old-{d}", m) for m in range(30) for s in sensors for d in range(devices)]
    land_file(landing, "a.ndjson", messages)
    monkeypatch.setattr(sources, "CHUNK_BYTES", chunk)
    report = land(lake, landing)
    accounted(report)
    rows = raw(lake)
    assert rows.height == len(messages) // 3 == report.rows
    assert rows.select(sensors).null_count().sum_horizontal().item() == 0


def test_a_line_longer_than_all_messages_does_not_fill_the_memory(
    lake: Lake, landing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "CHUNK_BYTES", 4000)
    monkeypatch.setattr(sources, "LINE_BYTES", 10_000)
    endless = b'{"device_id": "' + b"x" * 60_000
    land_file(landing, "a.ndjson", lines([wide("a", 1), endless, wide("a", 2), wide("a", 3)]))
    land_file(landing, "b.ndjson", endless)
    report = land(lake, landing)
    accounted(report)
    assert ids(lake) == ["a:1", "a:2", "a:3"]
    assert [r[:40] for r in dead(lake)["reason"]] == ["a line of more than 10,000 bytes; only t"] * 2
    assert dead(lake)["payload"].str.len_bytes().max() == 4096


def test_an_hour_to_come_is_refused(lake: Lake, landing: Path) -> None:
    with pytest.raises(ValueError, match="2026-03-02 12:00 UTC lies in the future"):
        land(lake, landing, at(120))
    assert land(lake, landing, at(60)).files == []


def test_rows_belong_to_the_hour_of_their_gateway_clock(lake: Lake, landing: Path) -> None:
    early, late = at(-30), at(61)
    clocks = [early, at(5), late, at(6), at(-24 * 60)]
    land_file(landing, "a.ndjson", [wide(f"d{n}", n, timestamp_ingested=iso(c)) for n, c in enumerate(clocks)])
    report = land(lake, landing)
    assert report.rows_by_hour == {HOUR: 2, HOUR - ONE_HOUR: 1, HOUR + ONE_HOUR: 1, HOUR - 24 * ONE_HOUR: 1}
    table = lake.table(RAW_READINGS)
    assert {h: table.read(h, h + ONE_HOUR).height for h in report.rows_by_hour} == report.rows_by_hour
    accounts = read_accounts(lake, HOUR - 48 * ONE_HOUR, HOUR + 2 * ONE_HOUR)
    assert dict(accounts.select("hour", "rows").iter_rows()) == report.rows_by_hour
    assert {f.partition_date for f in table.files()} == {"2026-03-01", "2026-03-02"}


def test_young_files_wait_until_they_have_settled(lake: Lake, landing: Path) -> None:
    path = land_file(landing, "a.ndjson", minutes_of(1, 1))
    os.utime(path, (NOW.timestamp() - 5,) * 2)
    report = land(lake, landing, settle=timedelta(seconds=30))
    assert not report.files
    assert report.skipped == ["2026-03-02/10/a.ndjson: written 5 s ago, may not be complete yet"]
    os.utime(path, (NOW.timestamp() - 30,) * 2)
    assert land(lake, landing, settle=timedelta(seconds=30)).rows == 1
    path = land_file(landing, "b.ndjson", minutes_of(2, 1))
    os.utime(path, (NOW.timestamp() + 3600,) * 2)  # a clock that is ahead must not keep a file for ever
    assert land(lake, landing, settle=timedelta(seconds=30)).rows == 2


def test_progress_names_every_file(lake: Lake, landing: Path) -> None:
    for name in "abc":
        land_file(landing, f"{name}.ndjson", [wide(name, 1)])
    seen: list[tuple[int, int]] = []
    land(lake, landing, progress=lambda done, all_: seen.append((done, all_)))
    assert seen == [(0, 3), (1, 3), (2, 3)]


def test_many_small_files_keep_their_order_in_the_sequence(lake: Lake, landing: Path) -> None:
    for number in range(40):
        land_file(landing, f"{number:03d}.ndjson", [wide(f"d{number}", 1)])
        if number in (10, 25):
            land(lake, landing)
    land(lake, landing)
    by_sequence = raw(lake).sort("_sequence_number")["event_id"].to_list()
    assert by_sequence == [f"d{n}:1" for n in range(40)]
    later = land_file(landing, "x.ndjson", [wide("later", 61)], at(60))
    land(lake, landing, at(60))
    assert later.exists()
    assert raw(lake).sort("_sequence_number")["event_id"][-1] == "later:61"


def test_the_log_says_what_became_of_a_file(lake: Lake, landing: Path) -> None:
    content = lines([wide("a", 1, rssi=1), wide("a", 2), "{", narrow("humidity", 1), narrow("superheat", 1)])
    land_file(landing, "a.ndjson", content)
    land(lake, landing)
    (entry,) = log(lake)
    names = ("messages", "rows_landed", "messages_joined", "dead_letters", "unknown_fields", "bytes", "landing_hour")
    assert tuple(entry[n] for n in names) == (5, 3, 1, 1, 1, len(content), HOUR)
    assert entry["landed_at"] == NOW
    LANDING_LOG.validate(everything(lake, "landing_log"))


def test_a_failed_commit_leaves_nothing_behind_and_the_next_run_is_right(lake: Lake, landing: Path) -> None:
    land_file(landing, "a.ndjson", [*minutes_of(2, 10), "{"])
    table = Path(lake.table(RAW_READINGS).uri)
    shutil.move(table / "_delta_log", table / "aside")
    with pytest.raises(Exception, match=r"(?i)not a delta table|no such|not found|log"):
        land(lake, landing)
    shutil.rmtree(table / "_delta_log", ignore_errors=True)
    shutil.move(table / "aside", table / "_delta_log")
    assert raw(lake).is_empty()
    assert log(lake) == []
    land(lake, landing)
    assert (raw(lake).height, dead(lake).height, len(log(lake))) == (20, 1, 1)
