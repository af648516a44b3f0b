"""What commits say about themselves: reads the log of a table, a stretch of versions at a time. Knows no meaning."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from refrig_assets.lake.table import Table

# Commits are named by their version in 20 digits; a stretch of names is one pattern, whatever the store.
_STRETCH_DIGITS = 2
_STRETCH = 10**_STRETCH_DIGITS


@dataclass(frozen=True)
class CommitNote:
    """A commit's version, moment, and those of the asked keys of its metadata that it carries."""

    version: int
    at: datetime
    metadata: dict[str, str]


@dataclass(frozen=True)
class CommitNotes:
    """Commits in order, and the version up to which they were looked at: ask again from there."""

    upto: int
    commits: list[CommitNote]


def commits_since(table: Table, version: int, keys: Sequence[str], limit: int = 500) -> CommitNotes:
    """The commits after a version that carry one of the keys; about `limit` versions are looked at.

    A version beyond the table's is of a table that was made anew: it begins again. Commits older than the log's
    retention are gone and are passed over. (`DeltaTable.history` counts back from the newest commit under the numbers
    of the version it was opened at, which is wrong as soon as somebody else commits.)
    """
    newest = table.version
    first = version + 1 if version <= newest else 0
    last = min(newest, first + limit - 1)
    found: list[CommitNote] = []
    for stretch in range(first // _STRETCH, last // _STRETCH + 1):
        notes = _stretch(table, stretch, keys)
        found += [n for n in notes if first <= n.version <= last]
    return CommitNotes(max(last, first - 1), found)


def _stretch(table: Table, number: int, keys: Sequence[str]) -> list[CommitNote]:
    fields = {"timestamp": pl.Int64(), **dict.fromkeys(keys, pl.String())}
    lines = pl.scan_ndjson(
        f"{table.uri.rstrip('/')}/_delta_log/{number:0{20 - _STRETCH_DIGITS}d}{'[0-9]' * _STRETCH_DIGITS}.json",
        schema={"commitInfo": pl.Struct(fields)},
        include_file_paths="path",
        storage_options=table.storage_options or None,
    )
    version = pl.col("path").str.extract(r"(\d{20})\.json$").cast(pl.Int64).alias("version")
    rows = lines.filter(pl.col("commitInfo").is_not_null()).select(version, "commitInfo").unnest("commitInfo")
    told = rows.filter(pl.any_horizontal(pl.col(k).is_not_null() for k in keys)).collect().sort("version")
    return [
        CommitNote(
            row["version"],
            datetime.fromtimestamp((row["timestamp"] or 0) / 1000, UTC),
            {k: row[k] for k in keys if row[k] is not None},
        )
        for row in told.to_dicts()
    ]
