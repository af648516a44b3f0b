"""Keeping tables small and fast: compaction of small files, retention, vacuum. What is destructive can be tried dry."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import polars as pl

from refrig_assets.contracts import CONTRACTS
from refrig_assets.contracts.base import PARTITION_DATE, Contract
from refrig_assets.contracts.bookkeeping import EVENT_INDEX
from refrig_assets.lake import Lake

TARGET_BYTES = 256 * 1024 * 1024
SMALL_BYTES = 32 * 1024 * 1024
# A day with fewer small files than this reads fast enough as it is.
FEW_FILES = 8
READER_RETENTION = timedelta(days=7)


@dataclass(frozen=True)
class Upkeep:
    table: str
    files_before: int
    files_after: int
    compacted_days: int
    expired_files: int
    vacuumed_files: int


def compact_table(lake: Lake, contract: Contract, now: datetime) -> tuple[int, int, int]:
    """Join the small files of closed days; returns files before, files after, days compacted."""
    table = lake.table(contract)
    before = table.files()
    # The names of index files say which version of the hash made them, and compaction would lose that.
    if not contract.partitioned or contract is EVENT_INDEX:
        return len(before), len(before), 0
    small = pl.DataFrame({"day": [f.partition_date for f in before if f.size < SMALL_BYTES]}, schema={"day": pl.String})
    today = f"{now.astimezone(UTC):%Y-%m-%d}"
    days = small.filter(pl.col("day") < today)["day"].value_counts().filter(pl.col("count") > FEW_FILES)["day"].sort()
    for day in days:
        table.open().optimize.compact([(PARTITION_DATE, "=", day)], target_size=TARGET_BYTES)
    return len(before), len(table.files()), len(days)


def expire(lake: Lake, contract: Contract, now: datetime, *, dry_run: bool) -> int:
    """Drop days past the contract's retention; returns the number of files concerned."""
    if contract.retention is None:
        return 0
    table = lake.table(contract)
    limit = f"{now.astimezone(UTC) - contract.retention:%Y-%m-%d}"
    old = [f for f in table.files() if f.partition_date is not None and f.partition_date < limit]
    if old and not dry_run:
        table.open().delete(f"{PARTITION_DATE} < '{limit}'")
    return len(old)


def vacuum_table(lake: Lake, contract: Contract, *, dry_run: bool, retention: timedelta = READER_RETENTION) -> int:
    """Remove files no reader of the last week needs, also those that a killed writer left; returns how many."""
    table = lake.table(contract).open()
    hours = int(retention.total_seconds() // 3600)
    usual = retention >= READER_RETENTION
    gone = table.vacuum(retention_hours=hours, dry_run=dry_run, full=True, enforce_retention_duration=usual)
    return len(gone)


def keep_up(lake: Lake, now: datetime, *, dry_run: bool) -> list[Upkeep]:
    """Compact, expire and vacuum every table. A dry run changes nothing and says what would go."""
    done = []
    for contract in CONTRACTS:
        before = after = len(lake.table(contract).files())
        days = 0
        if not dry_run:
            before, after, days = compact_table(lake, contract, now)
        expired = expire(lake, contract, now, dry_run=dry_run)
        done.append(Upkeep(contract.name, before, after, days, expired, vacuum_table(lake, contract, dry_run=dry_run)))
    return done
