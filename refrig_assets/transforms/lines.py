"""Lines of a block of JSON, found by their bytes: what is cheap to know of a line without parsing it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
COLON, SPACE, NEWLINE = b": \n"


@dataclass(frozen=True)
class Lines:
    """Where the lines of a block begin and end; a line ends before its newline."""

    block: bytes
    starts: Integers
    ends: Integers

    @classmethod
    def of(cls, block: bytes) -> "Lines":
        ends = np.flatnonzero(np.frombuffer(block, np.uint8) == NEWLINE)
        if block and block[-1] != NEWLINE:
            ends = np.append(ends, len(block))
        return cls(block, np.append(np.zeros(1, np.int64), ends[:-1] + 1)[: len(ends)], ends)

    def line(self, number: int) -> bytes:
        return self.block[self.starts[number] : self.ends[number]].rstrip(b"\r")

    def text(self, numbers: Integers) -> bytes:
        """These lines and nothing between them."""
        if not len(numbers):
            return b""
        breaks = np.flatnonzero(np.diff(numbers) != 1)
        if not len(breaks) and len(numbers) == len(self.starts):
            return self.block
        firsts, lasts = numbers[np.append(0, breaks + 1)], numbers[np.append(breaks, len(numbers) - 1)]
        return b"".join(self.block[self.starts[a] : self.ends[b] + 1] for a, b in zip(firsts, lasts, strict=True))

    @cached_property
    def colons(self) -> tuple[Integers, Bytes, Bytes, Bytes]:
        """Where the colons are; what stands before each, and the two bytes (of which one blank is skipped) after it."""
        data = np.frombuffer(self.block + b"   ", np.uint8)
        at = np.flatnonzero(data[: len(self.block)] == COLON)
        spaced = data[at + 1] == SPACE
        return at, data[at - 1], data[at + 1 + spaced], data[at + 2 + spaced]

    def at_bytes(self, at: Integers) -> Integers:
        """Numbers of the lines that hold the bytes."""
        return np.searchsorted(self.ends, at)
