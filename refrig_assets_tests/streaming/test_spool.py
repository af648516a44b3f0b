"""The spool reader against real files that are appended to, rotated, zipped, cut and deleted."""

import gzip
import logging
import os
import shutil
import threading
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refrig_assets_tests.streaming.spool_files import BIG, append, drain, opened, text
from streaming.transports.spool import SpoolTransport, position_of, segment_of


def test_partitions_are_the_directories_of_the_spool(tmp_path: Path) -> None:
    transport = SpoolTransport(tmp_path / "spool")
    assert transport.partitions() == []
    for name in ("b", "a", ".hidden"):
        (tmp_path / "spool" / name).mkdir(parents=True)
    (tmp_path / "spool" / "file").write_text("no partition")
    assert transport.partitions() == ["a", "b"]
    (tmp_path / "spool" / "a").rmdir()
    assert transport.partitions() == ["b"]


def test_segments_are_read_in_the_order_of_their_numbers_whatever_the_padding(partition: Path) -> None:
    (partition / "10.ndjson").write_bytes(b"third\n")
    (partition / "0009.ndjson").write_bytes(b"second\n")
    (partition / "000002.ndjson.gz").write_bytes(gzip.compress(b"first\n"))
    (partition / "10.ndjson.tmp").write_bytes(b"not a segment\n")
    assert text(drain(opened(partition))) == b"first\nsecond\nthird\n"


def test_positions_name_segment_and_byte_and_reading_goes_on_from_each(partition: Path) -> None:
    (partition / "3.ndjson").write_bytes(b"a\nbb\n")
    (partition / "4.ndjson").write_bytes(b"ccc\n")
    first, second = drain(opened(partition))
    assert (first.partition, segment_of(first.start), segment_of(first.end)) == ("gw-1", (3, 0), (4, 0))
    assert (second.start, second.end) == (position_of(4), position_of(4, 4))
    assert text(drain(opened(partition, position_of(3, 2)))) == b"bb\nccc\n"
    assert text(drain(opened(partition, second.end))) == b""


def test_appended_lines_and_new_segments_are_picked_up(partition: Path) -> None:
    reader = opened(partition)
    assert reader.poll(BIG) is None
    append(partition / "0.ndjson", b"a\n")
    assert text(drain(reader)) == b"a\n"
    append(partition / "0.ndjson", b"b\n")
    assert text(drain(reader)) == b"b\n"
    append(partition / "0.ndjson", b"c\n")
    append(partition / "1.ndjson", b"d\n")
    assert text(drain(reader)) == b"c\nd\n"
    append(partition / "2.ndjson", b"")
    append(partition / "3.ndjson", b"e\n")
    assert text(drain(reader)) == b"e\n"


def test_a_line_without_its_newline_waits_for_it(partition: Path) -> None:
    reader = opened(partition)
    append(partition / "0.ndjson", b"whole\nhal")
    assert text(drain(reader)) == b"whole\n"
    assert reader.lag() == 0
    append(partition / "0.ndjson", b"f\n")
    assert reader.lag() == 5
    assert text(drain(reader)) == b"half\n"
    assert reader.lag() == 0


def test_a_line_that_never_got_its_newline_is_a_line_once_there_is_a_newer_segment(partition: Path) -> None:
    reader = opened(partition)
    append(partition / "0.ndjson", b"a\ncut o")
    assert text(drain(reader)) == b"a\n"
    append(partition / "1.ndjson", b"b\n")
    cut, after = drain(reader)
    assert (cut.lines, cut.start, cut.end) == (b"cut o\n", position_of(0, 2), position_of(1))
    assert after.lines == b"b\n"


def test_a_writer_may_take_back_half_a_line(partition: Path) -> None:
    reader = opened(partition)
    append(partition / "0.ndjson", b"a\nhalf a li")
    assert text(drain(reader)) == b"a\n"
    os.truncate(partition / "0.ndjson", 2)
    assert drain(reader) == []
    append(partition / "0.ndjson", b"another\n")
    assert text(drain(reader)) == b"another\n"


def test_a_segment_cut_below_what_was_read_is_told_once_and_the_next_is_read(
    partition: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reader = opened(partition)
    append(partition / "0.ndjson", b"aaaa\nbbbb\n")
    assert text(drain(reader)) == b"aaaa\nbbbb\n"
    os.truncate(partition / "0.ndjson", 3)
    for _ in range(3):
        assert reader.poll(BIG) is None
        os.truncate(partition / "0.ndjson", 4)
    assert [r.levelname for r in caplog.records if "was cut" in r.message] == ["WARNING"]
    append(partition / "1.ndjson", b"c\n")
    assert text(drain(reader)) == b"c\n"


def test_segments_deleted_before_they_were_read_are_told_and_passed_over(
    partition: Path, caplog: pytest.LogCaptureFixture
) -> None:
    append(partition / "7.ndjson", b"later\n")
    reader = opened(partition, position_of(5, 10))
    assert text(drain(reader)) == b"later\n"
    assert "segment 5 is gone, of which 10 bytes were read; on with 7" in caplog.text


def test_the_beginning_is_the_oldest_segment_there_is(partition: Path, caplog: pytest.LogCaptureFixture) -> None:
    append(partition / "7.ndjson", b"oldest\n")
    assert text(drain(opened(partition))) == b"oldest\n"
    assert not caplog.records


def test_a_segment_deleted_after_it_was_opened_is_read_to_its_end(partition: Path) -> None:
    append(partition / "0.ndjson", b"a\nb\n")
    append(partition / "1.ndjson", b"c\n")
    reader = opened(partition)
    block = reader.poll(max_bytes=2)
    assert block is not None
    os.unlink(partition / "0.ndjson")
    assert text([block, *drain(reader)]) == b"a\nb\nc\n"


def test_lag_is_what_is_left_over_all_segments(partition: Path) -> None:
    for number in range(5):
        append(partition / f"{number}.ndjson", b"0123456\n" * 10)
    reader = opened(partition)
    assert reader.lag() == 400
    assert reader.poll(BIG) is not None
    assert reader.lag() == 320
    append(partition / "4.ndjson", b"more\n")
    assert reader.lag() == 325
    drain(reader)
    assert reader.lag() == 0


def test_the_end_is_what_was_there_when_first_asked(partition: Path) -> None:
    append(partition / "0.ndjson", b"a\n")
    append(partition / "1.ndjson", b"b\nhalf")
    reader = opened(partition)
    assert not reader.at_end()
    assert text(drain(reader)) == b"a\nb\n"
    assert reader.at_end()  # half a line is none
    append(partition / "2.ndjson", b"c\n")
    assert reader.at_end()


def test_an_empty_and_a_vanished_partition_are_at_their_end(partition: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert opened(partition).at_end()
    append(partition / "0.ndjson", b"a\n")
    reader = opened(partition)
    drain(reader)
    shutil.rmtree(partition)
    for _ in range(3):
        assert reader.poll(BIG) is None
    assert (reader.at_end(), reader.lag()) == (True, 0)
    assert caplog.text.count("directory is gone") == 1
    partition.mkdir()
    append(partition / "1.ndjson", b"b\n")
    assert text(drain(reader)) == b"b\n"


def test_a_numbering_that_starts_over_is_told(partition: Path, caplog: pytest.LogCaptureFixture) -> None:
    append(partition / "0.ndjson", b"a\n")
    assert drain(opened(partition, position_of(9, 5))) == []
    assert "numbering starts over" in caplog.text


def test_names_that_cannot_be_segments_are_told(partition: Path, caplog: pytest.LogCaptureFixture) -> None:
    append(partition / "2026-01-01.ndjson", b"a\n")
    append(partition / "99999999999.ndjson", b"a\n")
    assert drain(opened(partition)) == []
    assert "2026-01-01.ndjson" in caplog.text
    assert "99999999999.ndjson" in caplog.text


def test_a_file_put_back_in_place_of_another_is_read_on(partition: Path) -> None:
    path = partition / "0.ndjson"
    append(path, b"a\n")
    reader = opened(partition)
    drain(reader)
    (partition / "restored").write_bytes(b"a\nb\n")
    os.replace(partition / "restored", path)
    assert text([*drain(reader), *drain(reader)]) == b"b\n"


@settings(deadline=None, max_examples=60)
@given(st.lists(st.binary(max_size=12), max_size=30), st.lists(st.integers(0, 12), max_size=30), st.randoms())
def test_however_written_and_wherever_resumed_each_line_comes_once(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], sizes: list[int], random: Random
) -> None:
    """Pieces of bytes are appended, rotated at random, the reader is opened anew from positions at random."""
    partition = tmp_path_factory.mktemp("any") / "gw"
    partition.mkdir()
    written = b"".join(line.replace(b"\n", b"") + b"\n" for line in lines)
    at, number, reader, got = 0, 0, opened(partition), b""
    for size in [*sizes, len(written)]:
        append(partition / f"{number}.ndjson", written[at : at + size])
        at = min(at + size, len(written))
        if written[:at].endswith(b"\n"):
            number += int(random.random() < 0.3)
        while (block := reader.poll(random.choice([1, 5, BIG]))) is not None:
            got += block.lines
            if random.random() < 0.3:
                reader = opened(partition, block.end)
    assert got + text(drain(reader)) == written


def test_a_gateway_that_writes_rotates_zips_and_deletes_meanwhile_loses_nothing(
    partition: Path, caplog: pytest.LogCaptureFixture
) -> None:
    count, a_segment = 20_000, 400
    all_written = threading.Event()

    def gateway() -> None:
        for number in range(count // a_segment):
            with (partition / f"{number:06}.ndjson").open("ab", buffering=64) as file:
                file.writelines(b'{"n":%d}\n' % n for n in range(number * a_segment, (number + 1) * a_segment))
            before = partition / f"{number - 1:06}.ndjson"
            if number % 2 and before.exists():
                (partition / "in the making").write_bytes(gzip.compress(before.read_bytes()))
                os.replace(partition / "in the making", before.with_suffix(".ndjson.gz"))
                before.unlink()
        all_written.set()

    writing = threading.Thread(target=gateway)
    writing.start()
    reader, got = opened(partition), []
    while not all_written.is_set() or not reader.at_end():
        got += drain(reader, 4096)
    writing.join()
    got += drain(reader)
    assert text(got) == b"".join(b'{"n":%d}\n' % n for n in range(count))
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
