"""The spool: a directory of partitions, each a directory of NDJSON segments that a gateway appends to and rotates.

`<spool>/<partition>/<number>.ndjson`, also `.ndjson.gz` where a segment is finished; numbers rise, with or without
leading zeros. A position is number << 40 | byte, a byte counting as unzipped; positions rise, and two blocks need not
touch, since a segment's end and the next one's beginning are different positions.
"""

import logging
import os
import time
from pathlib import Path

from refrig_assets.transforms.wire import Dead
from streaming.transports.base import Block
from streaming.transports.listing import Listing, Segment
from streaming.transports.segments import OpenSegment, Taken, open_segment
from streaming.transports.told import Told

_LOG = logging.getLogger(__name__)
_BYTES = 40
_STEPS = 64  # segments passed over in one poll, empty ones or such as hold nothing more


def position_of(number: int, byte: int = 0) -> int:
    return number << _BYTES | byte


def segment_of(position: int) -> tuple[int, int]:
    """Number of the segment and the byte in it."""
    return position >> _BYTES, position & ((1 << _BYTES) - 1)


class SpoolTransport:
    """The partitions of a spool directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._told = Told(_LOG, f"spool {directory}")

    def partitions(self) -> list[str]:
        """Names of the directories in the spool; none while the spool itself is not there."""
        try:
            with os.scandir(self._directory) as entries:
                found = sorted(e.name for e in entries if not e.name.startswith(".") and e.is_dir())
        except OSError as error:
            self._told.warn("spool", f"cannot be read, waiting for it: {error.strerror}")
            return []
        self._told.over("spool", "can be read again")
        return found

    def open(self, partition: str, position: int) -> "SpoolReader":
        return SpoolReader(self._directory / partition, position)


class SpoolReader:
    """One partition, segment by segment. Once a newer segment is there, nothing is appended to an older one: what has
    no newline yet is read when the newline comes or when it cannot come any more.
    """

    def __init__(self, directory: Path, position: int) -> None:
        self._directory = directory
        self._number, self._byte = segment_of(position)
        self._told = Told(_LOG, f"spool partition {directory.name}")
        self._listing = Listing(directory, self._told)
        self._open: OpenSegment | None = None
        self._looked: tuple[int, int] = (-1, 0)  # no whole line further on in this segment, while its size is this
        self._aim: tuple[int, int] | None = None

    def poll(self, max_bytes: int) -> Block | None:
        try:
            block = self._poll(max_bytes)
        except FileNotFoundError:
            self._close_segment()
            self._told.warn("directory", "the directory is gone; waiting for it to come back")
            return None
        except OSError as error:
            self._close_segment()
            self._told.warn("error", f"cannot be read, trying again: {error}")
            return None
        self._told.over("directory", "the directory is back")
        self._told.over("error", "can be read again")
        return block

    def lag(self) -> int:
        """Bytes not read yet; zipped segments count as on disk, half a line at the end not at all."""
        try:
            return self._listing.size_after(self._number) + self._left_here()
        except OSError:
            return 0

    def at_end(self) -> bool:
        try:
            segments = self._listing.now()
            newest = max(segments, default=-1)
            if self._aim is None:
                self._aim = (newest, segments[newest].size() if segments else 0)
        except OSError:
            return True
        number, size = self._aim
        if self._number != number or number not in segments:
            return self._number > number or newest < number
        if not segments[number].zipped and self._byte >= size:
            return True
        return self._looked[0] == number and (segments[number].zipped or self._looked[1] >= size)

    def close(self) -> None:
        self._close_segment()

    @property
    def position(self) -> int:
        """From where the next block is read."""
        return position_of(self._number, self._byte)

    def _poll(self, max_bytes: int) -> Block | None:
        for _ in range(_STEPS):
            # What is newer is asked before reading: then what the segment holds afterwards is all it will ever hold.
            newer = self._newer()
            segment = self._segment()
            if segment is None:
                if newer is None:
                    return None
                self._missed(newer)
                self._go_to(newer)
                continue
            taken = self._take(segment, max_bytes, final=newer is not None)
            if taken is not None:
                return self._block(taken, segment, newer)
            if newer is None or segment.left(self._byte):
                return None
            self._go_to(newer)
        return None

    def _take(self, segment: OpenSegment, max_bytes: int, final: bool) -> Taken | None:
        size = segment.size()
        if not final and self._looked == (self._number, size):
            self._check_file()
            return None
        if size < self._byte and not self._listing.now()[self._number].zipped:
            self._told.warn(f"cut {self._number}", self._cut())
        taken = segment.take(self._byte, max_bytes, final)
        if taken is None:
            self._looked = (self._number, size)
            trouble = segment.trouble()
            if trouble:
                self._told.warn(
                    f"damage {self._number}", f"segment {self._number} is not whole, waiting for the rest: {trouble}"
                )
        return taken

    def _block(self, taken: Taken, segment: OpenSegment, newer: int | None) -> Block:
        number, start = self._number, self.position
        self._byte = taken.end
        if newer is not None and not segment.left(taken.end):
            self._go_to(newer)
        wrong = taken.wrong
        dead = (Dead(position_of(number, wrong.byte), wrong.reason, wrong.payload),) if wrong else ()
        return Block(self._directory.name, start, self.position, taken.lines, time.time(), wrong=dead)

    def _newer(self) -> int | None:
        return next((n for n in self._listing.now() if n > self._number), None)

    def _segment(self) -> OpenSegment | None:
        """The segment of the position, or None where it is not there (any more)."""
        if self._open is None:
            self._open = self._opened(self._listing.now())
            if self._open is None:  # deleted or zipped since it was listed, perhaps
                self._open = self._opened(self._listing.anew())
        if self._open is not None:
            self._told.over("ahead", "segments go on")
        elif max(self._listing.now(), default=self._number) < self._number:
            self._told.warn("ahead", self._ahead(max(self._listing.now())))
        return self._open

    def _opened(self, segments: dict[int, Segment]) -> OpenSegment | None:
        try:
            return open_segment(segments[self._number]) if self._number in segments else None
        except FileNotFoundError:
            return None

    def _check_file(self) -> None:
        """Nothing new: is the open file still the one that the directory holds?"""
        listed = self._listing.now().get(self._number)
        if self._open is not None and (listed is None or not self._open.is_file(listed.file)):
            self._close_segment()

    def _go_to(self, number: int) -> None:
        self._close_segment()
        self._number, self._byte = number, 0

    def _close_segment(self) -> None:
        self._looked = (-1, 0)
        if self._open is not None:
            self._open.close()
            self._open = None

    def _left_here(self) -> int:
        if self._open is not None:
            waits = self._looked == (self._number, self._open.size()) and self._open.trouble() is None
            return 0 if waits else self._open.left(self._byte)
        listed = self._listing.now().get(self._number)
        if listed is None:
            return 0
        return listed.size() if listed.zipped else max(0, listed.size() - self._byte)

    def _missed(self, newer: int) -> None:
        if self.position:  # 0 is no segment that anyone knows of, but the beginning
            self._told.warn(
                f"missed {self._number}",
                f"segment {self._number} is gone, of which {self._byte} bytes were read; on with {newer}",
            )

    def _cut(self) -> str:
        return (
            f"segment {self._number} is shorter than the {self._byte} bytes that were read of it: it was cut. What is"
            " written to it up to there is not read; a gateway that starts over makes the next segment"
        )

    def _ahead(self, newest: int) -> str:
        return (
            f"the newest segment is {newest}, read was up to {self._number}: numbering starts over. Waiting for segment"
            f" {self._number}; name the segments on from there, or give the partition a new name"
        )
