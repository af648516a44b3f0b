"""The bytes of a landing file, decompressed, a chunk at a time; of a damaged file all that can be had."""

import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

# A small compressed piece may hold a thousand times its size.
_PIECE_BYTES = 1 << 16
_GZIP = 31


class Text(AbstractContextManager["Text"]):
    """From `start` on (in decompressed bytes), of the first `size` bytes of the file as it lies on disk."""

    def __init__(self, path: Path, start: int = 0, size: int | None = None) -> None:
        self.damage: str | None = None
        """why nothing follows, once the end has come too early"""
        self._file = path.open("rb")
        self._compressed = path.name.lower().endswith(".gz")
        self._left = size
        self._rest = b""
        if self._compressed:
            self._pieces = self._inflated()
            self._skip(start)
        else:
            self._file.seek(start)
            self._left = None if size is None else size - start

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, size: int) -> bytes:
        """So many bytes; fewer only at the end."""
        if not self._compressed:
            return self._read_file(size)
        parts, have = [self._rest], len(self._rest)
        while have < size and (piece := next(self._pieces, None)) is not None:
            parts.append(piece)
            have += len(piece)
        whole = b"".join(parts)
        self._rest = whole[size:]
        return whole[:size]

    def _read_file(self, size: int) -> bytes:
        found = self._file.read(size if self._left is None else min(size, self._left))
        if self._left is not None:
            self._left -= len(found)
        return found

    def _skip(self, count: int) -> None:
        while count > 0 and (skipped := len(self.read(min(count, 1 << 24)))):
            count -= skipped

    def _inflated(self) -> Iterator[bytes]:
        """Member after member. At damage everything before it is handed out first."""
        inflate, begun = zlib.decompressobj(_GZIP), False
        while raw := self._read_file(_PIECE_BYTES):
            while raw:
                before, begun = inflate.copy(), True
                try:
                    yield inflate.decompress(raw)
                except zlib.error as error:
                    yield _before_damage(before, raw)
                    self.damage = f"gzip stream is damaged: {error}"
                    return
                raw = inflate.unused_data.lstrip(b"\0") if inflate.eof else b""
                if inflate.eof:
                    inflate, begun = zlib.decompressobj(_GZIP), False
        if begun:
            self.damage = "gzip stream ends early"


def _before_damage(inflate: "zlib._Decompress", raw: bytes) -> bytes:
    """Byte by byte, since a piece with damage in it yields nothing."""
    found = []
    try:
        for at in range(len(raw)):
            found.append(inflate.decompress(raw[at : at + 1]))
    except zlib.error:
        pass
    return b"".join(found)


def end_of_lines(path: Path, size: int) -> int:
    """Where to go on in a text of which the file's first `size` bytes have been read: behind its last line.

    A line that had no end then and has gone on since is read again from its beginning.
    """
    length = open_line = 0
    with Text(path, 0, size) as text:
        while block := text.read(1 << 24):
            newline = block.rfind(b"\n")
            open_line = open_line + len(block) if newline < 0 else len(block) - newline - 1
            length += len(block)
    with Text(path, length) as text:
        goes_on = text.read(1) not in (b"", b"\n", b"\r")
    return length - open_line if goes_on else length
