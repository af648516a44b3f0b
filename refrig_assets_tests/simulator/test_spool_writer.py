"""The spool's writer: whole lines, rotation, going on after a writer that was killed; read by the stream's reader."""

import gzip
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from refrig_assets.simulator.spool_writer import Spool, SpoolWriter
from streaming.transports.spool import SpoolTransport


def read_all(spool: Path, partition: str) -> bytes:
    """What the stream reads of the partition."""
    reader = SpoolTransport(spool).open(partition, 0)
    found = bytearray()
    while not reader.at_end():
        if (block := reader.poll(1000)) is not None:
            found += block.lines
    reader.close()
    return bytes(found)


def segments(spool: Path, partition: str = "part-000") -> list[str]:
    return sorted(p.name for p in (spool / partition).iterdir())


def test_lines_are_read_as_they_were_written(tmp_path: Path) -> None:
    with SpoolWriter(tmp_path, "part-000") as writer:
        writer.append(b'{"a":1}\n')
        writer.append(b'{"a":2}\n{"a":3}\n')
        writer.append(b"")
        assert read_all(tmp_path, "part-000") == b'{"a":1}\n{"a":2}\n{"a":3}\n'
    assert segments(tmp_path) == ["000000000001.ndjson"]


def test_half_a_line_is_refused(tmp_path: Path) -> None:
    with SpoolWriter(tmp_path, "part-000") as writer, pytest.raises(ValueError, match="newline"):
        writer.append(b"half")


def test_segments_rotate_by_size_and_age(tmp_path: Path) -> None:
    now = [1000.0]
    with SpoolWriter(tmp_path, "part-000", max_bytes=20, max_age_s=60, clock=lambda: now[0]) as writer:
        writer.append(b"123456789\n")
        writer.append(b"123456789\n")
        writer.append(b"123456789\n")  # too large for the first
        assert writer.number == 2
        now[0] += 59
        writer.append(b"1234\n")
        assert writer.number == 2
        now[0] += 2
        writer.append(b"1\n")
        assert writer.number == 3
        writer.append(b"longer than a whole segment may be\n")  # has one of its own, whole
        assert writer.number == 4
    assert [os.path.getsize(tmp_path / "part-000" / s) for s in segments(tmp_path)] == [20, 15, 2, 35]
    assert read_all(tmp_path, "part-000").count(b"\n") == 6


def test_an_idle_segment_does_not_rotate_into_empty_ones(tmp_path: Path) -> None:
    now = [1000.0]
    for _ in range(3):
        with SpoolWriter(tmp_path, "part-000", max_age_s=60, clock=lambda: now[0]):
            now[0] += 3600
    assert segments(tmp_path) == ["000000000001.ndjson"]


def test_a_new_writer_goes_on_after_the_last_whole_line(tmp_path: Path) -> None:
    with SpoolWriter(tmp_path, "part-000") as writer:
        writer.append(b"one\ntwo\n")
        path = writer.path
    for half in (b"hal", b"x" * 200_000):
        with path.open("ab") as file:
            file.write(half)
        with SpoolWriter(tmp_path, "part-000") as writer:
            assert path.read_bytes().endswith(b"\n")
            writer.append(b"more\n")
    assert read_all(tmp_path, "part-000") == b"one\ntwo\nmore\nmore\n"
    path.write_bytes(b"nothing whole")
    with SpoolWriter(tmp_path, "part-000") as writer:
        writer.append(b"first\n")
    assert path.read_bytes() == b"first\n"


def test_it_goes_on_after_foreign_names_and_finished_segments(tmp_path: Path) -> None:
    directory = tmp_path / "part-000"
    directory.mkdir()
    (directory / "7.ndjson").write_bytes(b"seven\n")
    (directory / "notes.txt").write_text("no segment")
    with SpoolWriter(tmp_path, "part-000") as writer:
        writer.append(b"also seven\n")
    assert (directory / "7.ndjson").read_bytes() == b"seven\nalso seven\n"
    (directory / "8.ndjson.gz").write_bytes(gzip.compress(b"eight\n"))
    with SpoolWriter(tmp_path, "part-000") as writer:
        writer.append(b"nine\n")
        assert writer.number == 9
    assert read_all(tmp_path, "part-000") == b"seven\nalso seven\neight\nnine\n"


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    with SpoolWriter(tmp_path, "part-000"):
        with pytest.raises(ValueError, match="another process writes to"):
            SpoolWriter(tmp_path, "part-000")
        SpoolWriter(tmp_path, "part-001").close()
    SpoolWriter(tmp_path, "part-000").close()


_WRITES = """
import sys
from pathlib import Path
from refrig_assets.simulator.spool_writer import Spool
spool, number = Spool(Path(sys.argv[1]), max_bytes=50_000), int(sys.argv[2])
while True:
    spool.write("part-000", b"".join(b"%d %s\\n" % (number + i, b"x" * 200) for i in range(50)))
    number += 50
    print(number, flush=True)
"""


def test_killed_again_and_again_every_line_is_whole_and_none_is_lost(tmp_path: Path) -> None:
    told = 0
    for attempt in range(6):
        process = subprocess.Popen([sys.executable, "-c", _WRITES, str(tmp_path), str(told)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        for _ in range(attempt * 7 + 1):
            told = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split()
        process.wait()
        written = int(rest[-1]) if rest else told
        lines = read_all(tmp_path, "part-000").splitlines()
        assert all(len(line.split()[1]) == 200 for line in lines)
        # What was told is there; what was written but not told may be.
        numbers = [int(line.split()[0]) for line in lines]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) >= written
        told = len(numbers)


def test_a_spool_opens_its_partitions_as_needed(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.write("part-003", memoryview(b"three\n"))
    spool.write("part-001", b"one\n")
    spool.close()
    assert SpoolTransport(tmp_path / "spool").partitions() == ["part-001", "part-003"]


def test_age_counts_from_the_file_after_a_restart(tmp_path: Path) -> None:
    with SpoolWriter(tmp_path, "part-000") as writer:
        writer.append(b"old\n")
        os.utime(writer.path, (time.time() - 3600,) * 2)
    with SpoolWriter(tmp_path, "part-000", max_age_s=60) as writer:
        writer.append(b"new\n")
        assert writer.number == 2
