"""Zipped segments, damaged ones, and lines beyond all bounds, in real files."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from refrig_assets_tests.streaming.spool_files import append, drain, opened, text
from streaming.transports.segments import KEPT_OF_WRONG, LONGEST_LINE


def test_zipping_a_segment_while_it_is_read_changes_nothing(partition: Path) -> None:
    lines = b"".join(b"%07d\n" % n for n in range(3 * LONGEST_LINE // 8))
    append(partition / "0.ndjson", lines)
    append(partition / "1.ndjson", b"end\n")
    reader = opened(partition)
    first = reader.poll(LONGEST_LINE)
    assert first is not None
    (partition / "0.ndjson.gz").write_bytes(gzip.compress(lines, 1))
    os.unlink(partition / "0.ndjson")
    assert text([first, *drain(reader, LONGEST_LINE)]) == lines + b"end\n"
    assert text(drain(opened(partition, first.end), LONGEST_LINE)) == lines[len(first.lines) :] + b"end\n"


def test_zipped_segments_may_have_members_and_lack_the_last_newline(partition: Path) -> None:
    (partition / "0.ndjson.gz").write_bytes(gzip.compress(b"a\nb") + gzip.compress(b"b\nlast"))
    append(partition / "1.ndjson", b"c\n")
    assert text(drain(opened(partition))) == b"a\nbb\nlast\nc\n"


def test_the_plain_segment_counts_while_it_is_being_zipped(partition: Path) -> None:
    append(partition / "0.ndjson", b"a\nb\n")
    (partition / "0.ndjson.gz").write_bytes(gzip.compress(b"a\nb\n")[:12])
    assert text(drain(opened(partition))) == b"a\nb\n"


def test_a_damaged_zipped_segment_is_waited_for_then_told_with_what_is_left_of_it(
    partition: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = b"".join(b'{"n":%d}\n' % n for n in np.random.default_rng(1).integers(0, 1 << 60, 5000).tolist())
    zipped = gzip.compress(lines)
    path = partition / "0.ndjson.gz"
    path.write_bytes(zipped[: len(zipped) // 2])
    append(partition / "1.ndjson", b"next\n")
    reader = opened(partition)
    early = drain(reader)
    assert lines.startswith(text(early))
    assert reader.lag() > 0
    os.utime(path, (0, 0))
    given_up, after = drain(reader)
    assert after.lines == b"next\n"
    (dead,) = given_up.wrong
    assert "damaged" in dead.reason
    assert lines.startswith(text(early) + dead.payload)
    assert dead.offset == early[-1].end
    assert "not whole, waiting" in caplog.text


def test_a_zipped_segment_that_is_still_being_copied_is_read_when_it_is_whole(partition: Path) -> None:
    zipped = gzip.compress(b"".join(b"%d\n" % n for n in range(1000)))
    path = partition / "0.ndjson.gz"
    append(path, zipped[:500])
    append(partition / "1.ndjson", b"next\n")
    reader = opened(partition)
    early = drain(reader)
    append(path, zipped[500:])
    assert text([*early, *drain(reader)]) == b"".join(b"%d\n" % n for n in range(1000)) + b"next\n"


@pytest.mark.parametrize("zipped", [False, True])
def test_a_line_beyond_all_bounds_is_a_dead_letter_and_the_lines_around_it_are_read(
    partition: Path, zipped: bool
) -> None:
    long = b"x" * (20 * LONGEST_LINE)
    lines = b"before\n" + long + b"\nafter\n"
    if zipped:
        (partition / "0.ndjson.gz").write_bytes(gzip.compress(lines, 1))
    else:
        append(partition / "0.ndjson", lines)
    blocks = drain(opened(partition), LONGEST_LINE)
    assert text(blocks) == b"before\nafter\n"
    (dead,) = [d for b in blocks for d in b.wrong]
    assert (dead.offset, dead.payload) == (7, long[:KEPT_OF_WRONG])
    assert str(len(long)) in dead.reason
    assert blocks[-1].end == len(lines)


def test_a_long_line_still_being_written_is_waited_for(partition: Path) -> None:
    reader = opened(partition)
    append(partition / "0.ndjson", b"y" * (2 * LONGEST_LINE))
    assert drain(reader, LONGEST_LINE) == []
    append(partition / "0.ndjson", b"y" * LONGEST_LINE + b"\nok\n")
    blocks = drain(reader, LONGEST_LINE)
    assert text(blocks) == b"ok\n"
    assert [len(b.wrong) for b in blocks] == [1, 0]
