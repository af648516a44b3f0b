"""Which segments a spool partition has. Nothing about what is in them."""

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

from streaming.transports.told import Told

LAST_NUMBER = (1 << 23) - 1
"""number << 40 | byte must fit 63 bits"""

_NAME = re.compile(r"(\d+)\.ndjson(\.gz)?")
_TICK_NS = 1_000_000_000  # a directory changed less than this before it was listed may change again unnoticed


@dataclass(frozen=True)
class Segment:
    number: int
    path: Path
    file: int
    """inode: the same name may come to be another file"""

    @property
    def zipped(self) -> bool:
        return self.path.suffix == ".gz"

    def size(self) -> int:
        """On disk; 0 where it is gone."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0


class Listing:
    """The segments of a partition by number, rising; listed anew only when the directory has changed."""

    def __init__(self, directory: Path, told: Told) -> None:
        self._directory = directory
        self._told = told
        self._segments: dict[int, Segment] = {}
        self._sizes: dict[int, int] = {}
        self._changed_ns = -1
        self._sure = False

    def now(self) -> dict[int, Segment]:
        changed_ns = os.stat(self._directory).st_mtime_ns
        if changed_ns != self._changed_ns or not self._sure:
            self._list(changed_ns)
        return self._segments

    def anew(self) -> dict[int, Segment]:
        self._sure = False
        return self.now()

    def size_after(self, number: int) -> int:
        """Bytes on disk of the later segments. All but the newest have their size for good."""
        later = [n for n in self.now() if n > number]
        for n in later[:-1]:
            if n not in self._sizes:
                self._sizes[n] = self._segments[n].size()
        return sum(self._sizes[n] for n in later[:-1]) + sum(self._segments[n].size() for n in later[-1:])

    def _list(self, changed_ns: int) -> None:
        now_ns = time.time_ns()
        # Twice: a file that is renamed or zipped while the directory is read may be seen under neither name.
        first, _ = list_segments(self._directory)
        second, unusable = list_segments(self._directory)
        self._segments = dict(sorted({**first, **second}.items()))
        self._sizes = {n: s for n, s in self._sizes.items() if n in self._segments}
        self._changed_ns, self._sure = changed_ns, now_ns - changed_ns > _TICK_NS
        if unusable:
            self._told.warn(
                "names", f"not read: {unusable[:5]}; segments are named 0.ndjson … {LAST_NUMBER}.ndjson[.gz]"
            )


def list_segments(directory: Path) -> tuple[dict[int, Segment], list[str]]:
    """The segments, and names that look like one but cannot be. Of a number that is there plain and zipped the plain
    file counts: the other may be in the making.
    """
    found: dict[int, Segment] = {}
    unusable = []
    with os.scandir(directory) as entries:
        for entry in entries:
            name = _NAME.fullmatch(entry.name)
            number = int(name[1]) if name else LAST_NUMBER + 1
            if number > LAST_NUMBER:
                if entry.name.endswith((".ndjson", ".ndjson.gz")) and not entry.name.startswith("."):
                    unusable.append(entry.name)
            elif number not in found or found[number].zipped:
                found[number] = Segment(number, Path(entry.path), entry.inode())
    return found, sorted(unusable)
