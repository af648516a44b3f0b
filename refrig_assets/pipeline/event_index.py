"""The event index: which raw hours hold which events, so that duplicates are found days apart."""

from collections.abc import Iterator
from datetime import datetime

import numpy as np
import polars as pl

from refrig_assets.contracts.bookkeeping import EVENT_INDEX
from refrig_assets.contracts.readings import DUPLICATE_HORIZON, RAW_READINGS
from refrig_assets.lake import HOUR, Lake
from refrig_assets.transforms.events import Hashes, HashSet, event_hashes, scheme, shared_events

_SCHEME = "scheme"


def index_hour(lake: Lake, hour: datetime, event_ids: pl.Series | None = None) -> Hashes:
    """Write the hour's sorted hashes, from its raw rows or from the ids given, and return them."""
    if event_ids is None:
        event_ids = lake.table(RAW_READINGS).scan(hour, hour + HOUR).select("event_id").collect()["event_id"]
    hashes = event_hashes(event_ids).unique().sort()
    table = lake.table(EVENT_INDEX)
    frame = hashes.to_frame().select(pl.lit(hour).cast(pl.Datetime("us", "UTC")).alias("hour"), "event_hash")
    table.replace_hour(hour, table.write_files(frame, _tag(hour)))
    return hashes.to_numpy()


def _tag(hour: datetime) -> str:
    # Hashes of another Polars version cannot be compared with ours; the name says which version made them.
    return f"h{hour:%H}-{_SCHEME}{scheme() & 0xFFFFFFFF:08x}"


def seen_elsewhere(lake: Lake, hour: datetime, mine: Hashes) -> tuple[Hashes, Hashes, dict[datetime, int]]:
    """Of the hour's events: those of earlier hours, those of later hours, and how many each other hour shares."""
    events = HashSet(mine)
    shared: dict[datetime, int] = {}

    def look(start: datetime, end: datetime) -> Iterator[Hashes]:
        for other, hashes in _indexed(lake, start, end):
            common = events.shared_with(hashes)
            if len(common):
                shared[other] = len(common)
                yield common

    before = shared_events(events, look(hour - DUPLICATE_HORIZON, hour))
    later = shared_events(events, look(hour + HOUR, hour + HOUR + DUPLICATE_HORIZON))
    return before, later, shared


def _indexed(lake: Lake, start: datetime, end: datetime) -> Iterator[tuple[datetime, Hashes]]:
    table = lake.table(EVENT_INDEX)
    files = table.files(start=start, end=end)
    stale = {f.first for f in files if f.lies_within(start, end) and f.first == f.last and _foreign(f.path)}
    for hour in sorted(h for h in stale if h is not None):
        index_hour(lake, hour)
    for file in table.files(start=start, end=end) if stale else files:
        frame = table.scan_files([file]).filter(pl.col("hour").is_between(start, end, closed="left")).collect()
        for (hour,), part in (
            frame.partition_by("hour", as_dict=True).items() if file.first != file.last else [((file.first,), frame)]
        ):
            if part.height and isinstance(hour, datetime):
                yield hour, part["event_hash"].to_numpy()


def _foreign(path: str) -> bool:
    """Made with another Polars version, whose hashes differ."""
    name = path.rsplit("/", 1)[-1]
    return _SCHEME in name and f"{_SCHEME}{scheme() & 0xFFFFFFFF:08x}" not in name


def empty_hashes() -> Hashes:
    return np.empty(0, dtype=np.int64)
