"""Opened tables, kept in this process from one use to the next: opening one anew costs more than most that follows.

A handle is lent to one user at a time and brought to the newest version first. Knows Delta's log, no table's meaning.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deltalake import DeltaTable

from refrig_assets.lake.files import is_local

Mark = tuple[int, int, int]
# A handle slows down with every commit that it follows; beyond this many a new one is cheaper.
_FOLLOWED = 20
# The tables of a lake, and some; each kept snapshot costs memory.
_KEPT = 40


@dataclass(frozen=True)
class _Handle:
    table: DeltaTable
    opened_at: int
    mark: Mark | None


class Handles:
    """Handles of tables on local disks. Elsewhere a table is opened anew: what became of it cannot be seen cheaply."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, _Handle] = OrderedDict()

    @contextmanager
    def newest(self, uri: str, opened: Callable[[], DeltaTable]) -> Iterator[DeltaTable]:
        """The table at its newest version, nobody else's for as long. What fails in between costs the handle."""
        if not is_local(uri):
            yield opened()
            return
        key = os.path.abspath(uri)
        handle = self._borrow(key)
        if handle is None:
            table = opened()
            handle = _Handle(table, table.version(), None)
        yield handle.table
        mark = _mark(key, handle.table.version())
        if mark is not None:
            self._give_back(key, _Handle(handle.table, handle.opened_at, mark))

    def _borrow(self, key: str) -> _Handle | None:
        with self._lock:
            handle = self._kept.pop(key, None)
        if handle is None or _mark(key, handle.table.version()) != handle.mark:
            return None  # nobody has used it yet, somebody is using it, or another table is in its place
        if _commit_file(key, handle.opened_at + _FOLLOWED).exists():
            return None
        if _commit_file(key, handle.table.version() + 1).exists():
            handle.table.update_incremental()
        return handle

    def _give_back(self, key: str, handle: _Handle) -> None:
        with self._lock:
            known = self._kept.pop(key, handle)
            self._kept[key] = max(known, handle, key=lambda h: h.table.version())
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)


def _commit_file(key: str, version: int) -> Path:
    return Path(key, "_delta_log", f"{version:020}.json")


def _mark(key: str, version: int) -> Mark | None:
    """What tells a version's commit from one of the same number in a table that was made anew in the same place."""
    try:
        found = _commit_file(key, version).stat()
    except FileNotFoundError:  # dropped with age, or with its table
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


HANDLES = Handles()
