"""The event index: which raw hours hold which events, so that duplicates are found days apart."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from refrig_assets.contracts.bookkeeping import DEVICE_HOURS, EVENT_INDEX
from refrig_assets.contracts.readings import DUPLICATE_HORIZON, RAW_READINGS
from refrig_assets.lake import HOUR, Lake, Table, TableFile
from refrig_assets.pipeline.hours import hours_held, neighbours, together
from refrig_assets.transforms.events import Hashes, HashSet, event_hashes, scheme

_SCHEME = "scheme"
_ROWS_AT_ONCE = 6_000_000  # of hashes


def index_raw(lake: Lake, hours: Sequence[datetime]) -> None:
    """Write the sorted hashes of the hours' raw rows, some hours in one commit where they hold few."""
    raw = lake.table(RAW_READINGS)
    for group in together(raw, hours):
        ids = {h: raw.scan(h, h + HOUR).select("event_id").collect(engine="in-memory")["event_id"] for h in group}
        index_hours(lake, ids)


def index_hours(lake: Lake, event_ids: Mapping[datetime, pl.Series]) -> dict[datetime, Hashes]:
    """Write neighbouring hours' sorted hashes of their events' ids, in one commit, and return them.

    Where the index holds just these already, nothing is written.
    """
    table = lake.table(EVENT_INDEX)
    hashes = {hour: event_hashes(ids).unique().sort() for hour, ids in event_ids.items()}
    other = {hour: mine for hour, mine in hashes.items() if not _is_current(table, hour, mine)}
    for group in neighbours(sorted(other)):
        files = [
            file
            for hour in group
            for file in table.write_files(
                other[hour].to_frame().select(pl.lit(hour, EVENT_INDEX.dtypes["hour"]).alias("hour"), "event_hash"),
                _tag(hour),
            )
        ]
        table.replace_range(group[0], group[-1] + HOUR, files)
    return {hour: mine.to_numpy() for hour, mine in hashes.items()}


def _is_current(table: Table, hour: datetime, hashes: pl.Series) -> bool:
    files = table.files(start=hour, end=hour + HOUR)
    if sum(f.rows for f in files) != len(hashes) or any(_foreign(f.path) for f in files):
        return False
    return table.scan_files(files).collect(engine="in-memory")["event_hash"].equals(hashes)


def _tag(hour: datetime) -> str:
    # Hashes of another Polars version cannot be compared with ours; the name says which version made them.
    return f"h{hour:%H}-{_SCHEME}{scheme() & 0xFFFFFFFF:08x}"


@dataclass(frozen=True)
class Shared:
    """The hour's events that other hours hold, too."""

    before: Hashes
    later: Hashes
    by_hour: dict[datetime, int]


def seen_elsewhere(lake: Lake, held: Mapping[datetime, Hashes]) -> dict[datetime, Shared]:
    """Of each hour's events: those of earlier hours and of later hours within the horizon, and how many of each hour.

    The hours are neighbours, and in the index themselves; it is read once for all of them.
    """
    events = {hour: HashSet(mine) for hour, mine in held.items()}
    found = {hour: [EVENT_INDEX.empty()] for hour in held}
    for frame in _indexed(lake, min(held), max(held)):
        hashes = frame["event_hash"].to_numpy()
        for hour, mine in events.items():
            found[hour].append(frame[mine.holds(hashes)])
    return {hour: _shared(hour, pl.concat(parts)) for hour, parts in found.items()}


def _shared(hour: datetime, holding: pl.DataFrame) -> Shared:
    near = pl.col("hour").is_between(hour - DUPLICATE_HORIZON, hour + DUPLICATE_HORIZON)
    others = holding.filter((pl.col("hour") != hour) & near)
    by_hour = others.group_by("hour").agg(pl.col("event_hash").n_unique()).sort("hour")
    return Shared(
        before=others.filter(pl.col("hour") < hour)["event_hash"].unique().sort().to_numpy(),
        later=others.filter(pl.col("hour") > hour)["event_hash"].unique().sort().to_numpy(),
        by_hour=dict(by_hour.iter_rows()),
    )


def _indexed(lake: Lake, first: datetime, last: datetime) -> Iterator[pl.DataFrame]:
    """The index of the hours around these, as many files at a time as are cheap to hold."""
    start, end = first - DUPLICATE_HORIZON, last + HOUR + DUPLICATE_HORIZON
    table = lake.table(EVENT_INDEX)
    files = table.files(start=start, end=end)
    stale = {f.first for f in files if f.first is not None and _foreign(f.path)}
    gone = _cleaned(lake, start, end) - {f.first for f in files}
    if stale or gone:
        index_raw(lake, sorted(stale | gone))
        files = table.files(start=start, end=end)
    if first == last:  # of its own events an hour knows
        files = [f for f in files if not f.lies_within(first, first + HOUR)]
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
