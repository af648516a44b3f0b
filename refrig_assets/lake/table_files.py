"""The files of a committed snapshot, as the log tells of them: what pruning and replacing go by. Reads no rows."""

from dataclasses import dataclass
from datetime import datetime
from weakref import ReferenceType, ref

import polars as pl
from deltalake import DeltaTable

from refrig_assets.contracts.base import PARTITION_DATE

_TOLD = ("path", "num_records", "size_bytes", f"partition.{PARTITION_DATE}", "min.device_id", "max.device_id")
# By handle, which cannot be hashed: what it told, and at which version.
_read: dict[int, tuple[ReferenceType[DeltaTable], int, pl.DataFrame]] = {}


@dataclass(frozen=True)
class TableFile:
    """A file of a committed snapshot, with the bounds of the hour column."""

    path: str
    rows: int
    size: int
    partition_date: str | None
    first: datetime | None
    last: datetime | None
    first_device: str | None = None
    last_device: str | None = None

    def touches(self, start: datetime, end: datetime) -> bool:
        if self.first is None or self.last is None:
            return True
        return self.first < end and self.last >= start

    def lies_within(self, start: datetime, end: datetime) -> bool:
        return self.first is not None and self.last is not None and self.first >= start and self.last < end


def files_of(table: DeltaTable, start: datetime | None, end: datetime | None, column: str | None) -> list[TableFile]:
    """The files of a handle's version, in the order of their names; of [start, end) by a time column, if asked."""
    actions = _actions(table)
    first, last = f"min.{column}", f"max.{column}"
    if start is not None and end is not None and {first, last} <= set(actions.columns):
        # As `TableFile.touches` says, before thousands of files become Python's.
        unbound = pl.col(first).is_null() | pl.col(last).is_null()
        actions = actions.filter(unbound | ((pl.col(first) < end) & (pl.col(last) >= start)))
    day = f"partition.{PARTITION_DATE}"
    told = ["path", "num_records", "size_bytes", day, first, last, "min.device_id", "max.device_id"]
    found = [
        TableFile(
            path=row["path"],
            rows=row["num_records"] or 0,
            size=row["size_bytes"],
            partition_date=str(row[day]) if day in row else None,
            first=row.get(first),
            last=row.get(last),
            first_device=row.get("min.device_id"),
            last_device=row.get("max.device_id"),
        )
        for row in actions.select(c for c in told if c in actions.columns).to_dicts()
    ]
    return sorted(found, key=lambda f: f.path)


def _actions(table: DeltaTable) -> pl.DataFrame:
    """What the log tells of the version's files, kept as long as the handle is at it.

    Making a frame of it takes longer than what is asked of the frame, and one version is asked again and again.
    """
    key, version = id(table), table.version()
    known = _read.get(key)
    if known is not None and known[0]() is table and known[1] == version:
        return known[2]
    actions = pl.DataFrame(table.get_add_actions(flatten=True))
    bounds = [n for n, t in actions.schema.items() if n.startswith(("min.", "max.")) and t.is_temporal()]
    actions = actions.select(c for c in actions.columns if c in _TOLD or c in bounds)
    _read[key] = ref(table, lambda _: _read.pop(key, None)), version, actions
    return actions
