"""What every transport offers: partitions of lines, in order, each read from a position on."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from refrig_assets.transforms.wire import Dead


@dataclass(frozen=True)
class Block:
    """Whole lines of one partition, in order."""

    partition: str
    start: int
    """position of the first byte or message"""
    end: int
    """position to go on from"""
    lines: bytes
    arrived_at: float
    """Unix time at which the block was taken from the transport"""
    offsets: npt.NDArray[np.int64] | None = None
    """the position of each line; without it, start and the bytes before it"""
    wrong: tuple[Dead, ...] = ()
    """what could not be handed over as lines"""


class Reader(Protocol):
    """One partition, being read."""

    def poll(self, max_bytes: int) -> Block | None:
        """What is there to read, at once; None: nothing now."""

    def lag(self) -> int:
        """Bytes or messages that are there and not read yet."""

    def at_end(self) -> bool:
        """Whether all that the partition held when this was asked first is read."""

    def close(self) -> None: ...


class Transport(Protocol):
    """A set of partitions, which may grow and shrink."""

    def partitions(self) -> list[str]: ...

    def open(self, partition: str, position: int) -> Reader:
        """A reader from the position on; 0 is the beginning."""
