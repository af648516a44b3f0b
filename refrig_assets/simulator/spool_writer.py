"""Appends lines to a spool as a gateway does: `<spool>/<partition>/<number>.ndjson`. What lines mean is not known here.

A line is written whole, in one call; a segment that is large or old enough is left for the next number, and is final.
A writer that was killed may leave half a line at the end of its newest segment: nobody reads that as a message, and
the next writer cuts it off and goes on after the last whole line.
"""

import fcntl
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

_SEGMENT = re.compile(r"(\d+)\.ndjson(\.gz)?")
_DIGITS = 12
_TAIL = 1 << 16
DEFAULT_SEGMENT_BYTES = 64 << 20
DEFAULT_SEGMENT_AGE_S = 300.0


class SpoolWriter:
    """One partition. Only one writer at a time may have it; another is refused."""

    def __init__(
        self, spool: Path, partition: str, max_bytes: int = DEFAULT_SEGMENT_BYTES,
        max_age_s: float = DEFAULT_SEGMENT_AGE_S, clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        if max_bytes < 1 or max_age_s <= 0:
            raise ValueError(f"a segment needs room and time: {max_bytes} bytes, {max_age_s} s")
        self.directory = Path(spool) / partition
        self.directory.mkdir(parents=True, exist_ok=True)
        self._max_bytes, self._max_age_s, self._clock = max_bytes, max_age_s, clock
        self._segment, self._name, self.number = -1, "", 0
        self._size, self._begun = 0, 0.0
        self._lock = os.open(self.directory, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._open_newest()
        except BlockingIOError:
            self.close()
            raise ValueError(f"another process writes to {self.directory}; end it, or choose another spool") from None
        except BaseException:
            self.close()
            raise

    @property
    def path(self) -> Path:
        """The segment that is written to now."""
        return self.directory / self._name

    def append(self, lines: bytes | memoryview) -> None:
        """Whole lines, with their newlines. They are in the segment when this returns."""
        if not len(lines):
            return
        if lines[-1] != 0x0A:
            raise ValueError("what is appended must end with a newline")
        if self._size and (self._size + len(lines) > self._max_bytes or self._age() >= self._max_age_s):
            self.rotate()
        if not self._size:
            self._begun = self._clock()
        self._write(memoryview(lines))

    def rotate(self) -> None:
        """Leave the segment as final and begin the next."""
        os.close(self._segment)
        self._segment = -1
        self._create(self.number + 1)

    def close(self) -> None:
        for descriptor in (self._segment, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._segment = self._lock = -1

    def __enter__(self) -> "SpoolWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _age(self) -> float:
        return self._clock() - self._begun

    def _write(self, lines: memoryview) -> None:
        done = os.write(self._segment, lines)
        self._size += done
        # Only a full disk or a signal cuts a write short; the rest then follows, or what is half is taken back.
        while done < len(lines):
            try:
                more = os.write(self._segment, lines[done:])
            except OSError:
                self._size -= done - (bytes(lines[:done]).rfind(b"\n") + 1)
                os.ftruncate(self._segment, self._size)
                raise
            done += more
            self._size += more

    def _open_newest(self) -> None:
        found = {int(m[1]): entry for entry in os.listdir(self.directory) if (m := _SEGMENT.fullmatch(entry))}
        if not found:
            return self._create(1)
        newest = max(found)
        if found[newest].endswith(".gz"):
            return self._create(newest + 1)
        self._name = found[newest]
        self._segment = os.open(self.path, os.O_RDWR | os.O_APPEND)
        found_size, self._begun = os.fstat(self._segment).st_size, os.fstat(self._segment).st_mtime
        self.number, self._size = newest, _whole(self._segment)
        if self._size < found_size:
            os.ftruncate(self._segment, self._size)
        return None

    def _create(self, number: int) -> None:
        self._name = f"{number:0{_DIGITS}}.ndjson"
        self.number, self._size, self._begun = number, 0, self._clock()
        self._segment = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o644)


def _whole(descriptor: int) -> int:
    """The bytes up to and including the last newline."""
    at = os.fstat(descriptor).st_size
    while at:
        begin = max(at - _TAIL, 0)
        newline = os.pread(descriptor, at - begin, begin).rfind(b"\n")
        if newline >= 0:
            return begin + newline + 1
        at = begin
    return 0


class Spool:
    """All partitions of a spool, opened as they are first written to."""

    def __init__(self, directory: Path, max_bytes: int = DEFAULT_SEGMENT_BYTES,
                 max_age_s: float = DEFAULT_SEGMENT_AGE_S, clock: Callable[[], float] = time.time) -> None:  # fmt: skip
        self.directory = Path(directory)
        self._how = (max_bytes, max_age_s, clock)
        self._writers: dict[str, SpoolWriter] = {}

    def write(self, partition: str, lines: bytes | memoryview) -> None:
        if partition not in self._writers:
            self._writers[partition] = SpoolWriter(self.directory, partition, *self._how)
        self._writers[partition].append(lines)

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()
