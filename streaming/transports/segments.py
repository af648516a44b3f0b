"""Whole lines out of one segment file. Nothing about going from one to the next, nor about what lines mean."""

import gzip
import os
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from streaming.transports.listing import Segment

LONGEST_LINE = 1 << 20
"""bytes of a line that is handed over in any case; a longer one as far as it fits what is asked for at a time"""
KEPT_OF_WRONG = 1 << 16
_TAIL = 1 << 16
_SCAN = 1 << 24
_SETTLED_S = 60.0  # a damaged gzip file untouched for so long is not being copied any more
_DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error)


@dataclass(frozen=True)
class Wrong:
    """Bytes that are no lines."""

    byte: int
    reason: str
    payload: bytes


@dataclass(frozen=True)
class Taken:
    lines: bytes
    end: int
    """byte of the segment to go on from"""
    wrong: Wrong | None = None


class OpenSegment(Protocol):
    def take(self, byte: int, most: int, final: bool) -> Taken | None:
        """Whole lines from a byte on; `final`: nothing will be appended, so what is left at the end is a line."""

    def size(self) -> int:
        """Of the file now; it grows where there is something new."""

    def left(self, byte: int) -> int:
        """Bytes not read yet; of a gzip file those on disk."""

    def trouble(self) -> str | None:
        """Why it cannot be read further."""

    def is_file(self, file: int) -> bool: ...

    def close(self) -> None: ...


def open_segment(segment: Segment) -> OpenSegment:
    return ZippedSegment(segment.path) if segment.zipped else PlainSegment(segment.path)


class PlainSegment:
    """A file that may still be written to. Bytes are read once and not copied."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._scanned: tuple[int, int] = (-1, 0)  # a line too long begins there, and was looked through up to there

    def take(self, byte: int, most: int, final: bool) -> Taken | None:
        size = self.size()
        if size <= byte:
            return None
        for window in (most, LONGEST_LINE):
            end = self._after_last_line(byte, min(byte + window, size))
            if end > byte:
                return Taken(os.pread(self._file, end - byte, byte), end)
        if byte + max(most, LONGEST_LINE) < size:
            return self._too_long(byte, size, final)
        if not final:
            return None
        rest = os.pread(self._file, size - byte, byte)
        return Taken(rest + b"\n", byte + len(rest))

    def size(self) -> int:
        return os.fstat(self._file).st_size

    def left(self, byte: int) -> int:
        return max(0, self.size() - byte)

    def trouble(self) -> str | None:
        return None

    def is_file(self, file: int) -> bool:
        return os.fstat(self._file).st_ino == file

    def close(self) -> None:
        os.close(self._file)

    def _after_last_line(self, start: int, end: int) -> int:
        """The byte after the last newline; `start` where there is none. Looks from the end, in growing steps."""
        step = _TAIL
        while end > start:
            begin = max(start, end - step)
            found = os.pread(self._file, end - begin, begin).rfind(b"\n")
            if found >= 0:
                return begin + found + 1
            end, step = begin, step * 4
        return start

    def _too_long(self, byte: int, size: int, final: bool) -> Taken | None:
        """The line as a wrong one, once its end is found."""
        at = self._scanned[1] if self._scanned[0] == byte else byte
        found = -1
        while found < 0 and at < size:
            piece = os.pread(self._file, min(_SCAN, size - at), at)
            found = piece.find(b"\n")
            at += found if found >= 0 else len(piece)
        self._scanned = (byte, at)
        if found < 0 and not final:
            return None
        return Taken(b"", at + (found >= 0), _too_long(byte, at - byte, os.pread(self._file, KEPT_OF_WRONG, byte)))


class ZippedSegment:
    """A finished file. Bytes count as unzipped; reading goes forward, so that only a first position costs."""

    def __init__(self, path: Path) -> None:
        self._raw = path.open("rb")
        self._start = 0
        self._rest = b""
        self._zip = gzip.GzipFile(fileobj=self._raw)
        self._ended = False
        self._damage: str | None = None
        self._seen = self.size()

    def take(self, byte: int, most: int, final: bool) -> Taken | None:
        if byte != self._start or (self._damage and self.size() != self._seen):
            self._restart(byte)
        for window in (most, LONGEST_LINE):
            self._fill(window)
            end = self._rest.rfind(b"\n", 0, window) + 1
            if end:
                lines, self._rest = self._rest[:end], self._rest[end:]
                return self._taken(lines, end)
        if not self._ended:
            return self._too_long()
        if self._damage:
            settled = final and time.time() - os.fstat(self._raw.fileno()).st_mtime > _SETTLED_S
            return self._given_up() if settled else None
        rest, self._rest = self._rest, b""
        return self._taken(rest + b"\n", len(rest)) if rest else None

    def size(self) -> int:
        return os.fstat(self._raw.fileno()).st_size

    def left(self, byte: int) -> int:
        return 0 if self._ended and not (self._rest or self._damage) else max(1, self.size() - self._raw.tell())

    def trouble(self) -> str | None:
        return self._damage

    def is_file(self, file: int) -> bool:
        return os.fstat(self._raw.fileno()).st_ino == file

    def close(self) -> None:
        self._raw.close()

    def _fill(self, most: int) -> None:
        pieces, length = [self._rest], len(self._rest)
        try:
            while not self._ended and length < most:
                piece = self._zip.read1(most - length)
                self._ended = not piece
                pieces.append(piece)
                length += len(piece)
        except _DAMAGED as error:
            self._ended, self._damage = True, str(error)
        self._rest = b"".join(pieces)

    def _taken(self, lines: bytes, length: int, wrong: Wrong | None = None) -> Taken:
        self._start += length
        return Taken(lines, self._start, wrong)

    def _too_long(self) -> Taken:
        kept, length = self._rest[:KEPT_OF_WRONG], 0
        while True:
            found = self._rest.find(b"\n")
            if found >= 0 or (self._ended and not self._rest):
                break
            length += len(self._rest)
            self._rest = b""
            self._fill(_SCAN)
        length += max(found, 0)
        self._rest = self._rest[found + 1 :]
        return self._taken(b"", length + (found >= 0), _too_long(self._start, length, kept))

    def _given_up(self) -> Taken | None:
        """The rest of a damaged file, once; from then on it has ended."""
        reason = f"the gzip file is damaged after byte {self._start + len(self._rest)}: {self._damage}"
        rest, self._rest, self._damage = self._rest, b"", None
        return self._taken(b"", len(rest), Wrong(self._start, reason, rest[:KEPT_OF_WRONG]))

    def _restart(self, byte: int) -> None:
        self._raw.seek(0)
        self._zip = gzip.GzipFile(fileobj=self._raw)
        self._start, self._rest, self._ended, self._damage = 0, b"", False, None
        self._seen = self.size()
        while self._start < byte and not self._ended:
            self._fill(min(_SCAN, byte - self._start))
            self._start += len(self._rest)
            self._rest = b""
        self._start = byte  # a file that ends before has nothing left


def _too_long(byte: int, length: int, start: bytes) -> Wrong:
    kept = f"; its first {len(start)} are kept" if len(start) < length else ""
    return Wrong(byte, f"a line of {length} bytes is too long{kept}", start)
