"""Hours, and the accounts each step leaves of them: from these it is seen which hours must be made again."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import polars as pl

from refrig_assets.contracts.bookkeeping import HOUR_ACCOUNTS
from refrig_assets.contracts.features import DEVICE_FEATURES
from refrig_assets.contracts.readings import CLEAN_READINGS, RAW_READINGS
from refrig_assets.lake import HOUR, Lake, Table, TableFile

# Accounts that name another hour.
EVENT_HOUR = "event_hour"  # clean: rows whose timestamp_utc lies in the other hour
SHARED_EVENTS = "shared_events"  # clean: events that the other hour's raw rows hold, too
EVENT_MARK = "event_mark"  # clean: `ROWS_MARK` of the same rows
HISTORY = "history"  # clean: devices whose history in the other, earlier hour changed after this hour was made
SOURCE_HOUR = "source_hour"  # features: rows taken from the other (clean) hour
SOURCE_MARK = "source_mark"  # features: `ROWS_MARK` of the same rows
RAW = "raw"
# Hours made together. A commit of each would take longer than the rows of a small fleet; what a kill costs stays small.
ROWS_AT_ONCE = 1_000_000
HOURS_AT_ONCE = 12
# Differs where as many rows are other rows, or carry other flags. Sums of parts are the sum of the whole.
ROWS_MARK = (
    pl.col("timestamp_utc").dt.epoch("us") % 3_600_000_000
    + pl.col("quality_flags").list.len().cast(pl.Int64) * 1_000_003
).sum()


def floor_hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def hours_between(start: datetime, end: datetime) -> Iterator[datetime]:
    """The hours of [start, end), in order."""
    hour = floor_hour(start)
    while hour < end:
        yield hour
        hour += HOUR


def hours_held(files: Iterable[TableFile], start: datetime, end: datetime) -> list[datetime]:
    """The hours of [start, end) that the files, whose hour column holds whole hours, may have rows of."""
    spans = [(f.first, f.last) for f in files if f.first is not None and f.last is not None]
    return sorted({h for first, last in spans for h in hours_between(max(first, start), min(last + HOUR, end))})


def neighbours(hours: Sequence[datetime]) -> list[list[datetime]]:
    """The hours, each with those that follow it without a gap."""
    groups: list[list[datetime]] = []
    for hour in hours:
        if groups and hour - groups[-1][-1] == HOUR:
            groups[-1].append(hour)
        else:
            groups.append([hour])
    return groups


def together(table: Table, hours: Sequence[datetime], at_once: int | None = None) -> Iterator[list[datetime]]:
    """Neighbouring hours that are worth one commit: those of which the table holds few rows."""
    files = table.files(start=min(hours), end=max(hours) + HOUR) if hours else []
    for stretch in neighbours(hours):
        group: list[datetime] = []
        held = 0
        for hour in stretch:
            more = sum(f.rows for f in files if f.touches(hour, hour + HOUR))
            if group and (held + more > ROWS_AT_ONCE or len(group) == (at_once or HOURS_AT_ONCE)):
                yield group
                group, held = [], 0
            group.append(hour)
            held += more
        yield group


@dataclass(frozen=True)
class HourAccount:
    """What is counted of an hour, and what of it by other hours."""

    counts: Mapping[str, int]
    by_other_hour: Mapping[str, Mapping[datetime, int]] = field(default_factory=dict)


def write_accounts(
    lake: Lake,
    table: str,
    hour: datetime,
    counts: Mapping[str, int],
    by_other_hour: Mapping[str, Mapping[datetime, int]] | None = None,
) -> None:
    """Replace a table's accounts of an hour."""
    write_many_accounts(lake, table, {hour: HourAccount(counts, by_other_hour or {})})


def write_many_accounts(lake: Lake, table: str, told: Mapping[datetime, HourAccount]) -> None:
    """Replace a table's accounts of neighbouring hours, in one commit."""
    rows: list[tuple[datetime, str, str, datetime | None, int]] = []
    for hour, account in sorted(told.items()):
        rows += [(hour, table, name, None, n) for name, n in account.counts.items()]
        for name, hours in account.by_other_hour.items():
            rows += [(hour, table, name, other, n) for other, n in sorted(hours.items())]
    frame = pl.DataFrame(rows, schema=HOUR_ACCOUNTS.dtypes, orient="row")
    accounts, first, end = lake.table(HOUR_ACCOUNTS), min(told), max(told) + HOUR
    if end - first != len(told) * HOUR:
        raise ValueError(f"accounts of {table}: hours between {first} and {end} are left out")
    files = accounts.write_files(frame, f"h{first:%H}-{table}")
    accounts.replace_range(first, end, files, keep=pl.col("table") != table)


def write_marks(lake: Lake, table: str, account: str, hour: datetime, marked: Mapping[datetime, int]) -> None:
    """Add to the accounts of the marked hours what `hour` has to tell them; they go when those hours are made again."""
    rows = [(other, table, account, hour, n) for other, n in sorted(marked.items())]
    if rows:
        frame = pl.DataFrame(rows, schema=HOUR_ACCOUNTS.dtypes, orient="row")
        lake.table(HOUR_ACCOUNTS).append(frame, tag=f"h{hour:%H}-{account}")


def read_accounts(lake: Lake, start: datetime, end: datetime) -> pl.DataFrame:
    return lake.table(HOUR_ACCOUNTS).read(start, end).sort("hour", "table", "account", "other_hour")


def stale_clean_hours(accounts: pl.DataFrame) -> dict[datetime, str]:
    """Clean hours made from other raw rows than there are, or without knowing of duplicates or of history elsewhere."""
    clean = accounts.filter(pl.col("table") == CLEAN_READINGS.name)
    made = clean.filter(pl.col("account") == RAW)
    landed = accounts.filter((pl.col("table") == RAW_READINGS.name) & (pl.col("account") == RAW))
    grown = landed.join(made, on="hour", how="left", suffix="_made").filter(
        (pl.col("rows") > 0) & (pl.col("rows") != pl.col("rows_made").fill_null(-1))
    )
    found = {
        hour: f"{rows:,} raw rows, {'never cleaned' if before is None else f'{before:,} when it was cleaned'}"
        for hour, rows, before in grown.select("hour", "rows", "rows_made").iter_rows()
    }
    shared = clean.filter(pl.col("account") == SHARED_EVENTS)
    mirrored = shared.select(hour="other_hour", other_hour="hour", rows="rows")
    unknown = (
        mirrored.join(shared, on=["hour", "other_hour"], how="left", suffix="_known")
        .filter(pl.col("rows") > pl.col("rows_known").fill_null(0))  # raw only grows: who knows of fewer is behind
        .join(made.select("hour"), on="hour", how="semi")
    )
    for hour, other, rows in unknown.select("hour", "other_hour", "rows").iter_rows():
        found.setdefault(hour, f"shares {rows:,} events with {other:%Y-%m-%d %H}:00, unknown when it was cleaned")
    changed = clean.filter(pl.col("account") == HISTORY)
    for hour, other, rows in changed.select("hour", "other_hour", "rows").iter_rows():
        found.setdefault(hour, f"{rows:,} devices were heard otherwise in {other:%Y-%m-%d %H}:00 than it knew")
    return dict(sorted(found.items()))


def stale_feature_hours(accounts: pl.DataFrame) -> dict[datetime, str]:
    """Feature hours that lack rows which clean holds for them (late ones, or all), or that used rows now gone."""
    held = accounts.filter(
        (pl.col("table") == CLEAN_READINGS.name) & pl.col("account").is_in([EVENT_HOUR, EVENT_MARK])
    ).select(source="hour", hour="other_hour", marks=pl.col("account") == EVENT_MARK, held="rows")
    used = accounts.filter(
        (pl.col("table") == DEVICE_FEATURES.name) & pl.col("account").is_in([SOURCE_HOUR, SOURCE_MARK])
    ).select(source="other_hour", hour="hour", marks=pl.col("account") == SOURCE_MARK, used="rows")
    more = pl.col("held").fill_null(0) - pl.col("used").fill_null(0)
    differing = held.join(used, on=["hour", "source", "marks"], how="full", coalesce=True).filter(more != 0)
    late = differing.group_by("hour").agg(
        more.filter(~pl.col("marks")).sum().alias("rows"),
        pl.col("source").n_unique().alias("sources"),
    )
    return {
        hour: f"{f'{rows:+,}' if rows else 'other'} clean rows since it was made, from {sources} hours of arrival"
        for hour, rows, sources in late.sort("hour").iter_rows()
    }


def day_range(day: datetime) -> tuple[datetime, datetime]:
    return day, day + timedelta(days=1)
