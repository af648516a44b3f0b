"""The event index: which raw hours hold which events, so that duplicates are found days apart."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from refrig_assets.contracts.bookkeeping import DEVICE_HOURS, EVENT_INDEX
from refrig_assets.contracts.readings import DUPLICATE_HORIZON, RAW_READINGS
from refrig_assets.lake import HOUR, Lake, TableFile
from refrig_assets.pipeline.hours import hours_held
from refrig_assets.transforms.events import Hashes, HashSet, event_hashes, scheme

_SCHEME = "scheme"
_ROWS_AT_ONCE = 6_000_000


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


@dataclass(frozen=True)
class Shared:
    """The hour's events that other hours hold, too."""

    before: Hashes
    later: Hashes
    by_hour: dict[datetime, int]


def seen_elsewhere(lake: Lake, hour: datetime, mine: Hashes) -> Shared:
    """Of the hour's events: those of earlier hours and of later hours within the horizon, and how many of each hour."""
    events = HashSet(mine)
    found = [frame[events.holds(frame["event_hash"].to_numpy())] for frame in _indexed(lake, hour)]
    others = pl.concat([EVENT_INDEX.empty(), *found]).filter(pl.col("hour") != hour)
    by_hour = others.group_by("hour").agg(pl.col("event_hash").n_unique()).sort("hour")
    return Shared(
        before=others.filter(pl.col("hour") < hour)["event_hash"].unique().sort().to_numpy(),
        later=others.filter(pl.col("hour") > hour)["event_hash"].unique().sort().to_numpy(),
        by_hour=dict(by_hour.iter_rows()),
    )


def _indexed(lake: Lake, hour: datetime) -> Iterator[pl.DataFrame]:
    """The index of the hours around this one, as many files at a time as are cheap to hold."""
    start, end = hour - DUPLICATE_HORIZON, hour + HOUR + DUPLICATE_HORIZON
    table = lake.table(EVENT_INDEX)
    files = table.files(start=start, end=end)
    stale = {f.first for f in files if f.first is not None and _foreign(f.path)}
    gone = _cleaned(lake, start, end) - {f.first for f in files}
    if stale or gone:
        for other in sorted(stale | gone):
            index_hour(lake, other)
        files = table.files(start=start, end=end)
    files = [f for f in files if not f.lies_within(hour, hour + HOUR)]
    batch: list[TableFile] = []
    for file in files:
        if batch and sum(f.rows for f in batch) + file.rows > _ROWS_AT_ONCE:
            yield table.scan_files(batch).collect(engine="in-memory")
            batch = []
        batch.append(file)
    if batch:
        yield table.scan_files(batch).collect(engine="in-memory")


def _cleaned(lake: Lake, start: datetime, end: datetime) -> set[datetime]:
    """Hours that have been cleaned: each has had its index, which may have been dropped with age since."""
    return set(hours_held(lake.table(DEVICE_HOURS).files(start=start, end=end), start, end))


def _foreign(path: str) -> bool:
    """Made with another Polars version, whose hashes differ."""
    name = path.rsplit("/", 1)[-1]
    return _SCHEME in name and f"{_SCHEME}{scheme() & 0xFFFFFFFF:08x}" not in name
