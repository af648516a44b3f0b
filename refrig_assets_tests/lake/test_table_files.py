"""The files a table tells of are those of its newest version, though what a handle told is kept."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from refrig_assets.contracts.bookkeeping import HOUR_ACCOUNTS
from refrig_assets.lake import HOUR, Lake

START = datetime(2026, 3, 2, tzinfo=UTC)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake")).create()


def rows(hour: datetime, count: int) -> pl.DataFrame:
    told = [(hour, "raw", f"account-{n}", None, n) for n in range(count)]
    return pl.DataFrame(told, schema=HOUR_ACCOUNTS.dtypes, orient="row")


def test_every_commit_is_seen_by_the_next_look(lake: Lake) -> None:
    table = lake.table(HOUR_ACCOUNTS)
    for number in range(30):  # beyond what one handle follows
        hour = START + number * HOUR
        table.append(rows(hour, number + 1))
        assert sum(f.rows for f in table.files()) == (number + 1) * (number + 2) // 2
        assert [f.rows for f in table.files(start=hour, end=hour + HOUR)] == [number + 1]
    table.replace_range(START, START + timedelta(days=2), [])
    assert table.files() == []


def test_an_older_version_is_told_as_it_was(lake: Lake) -> None:
    table = lake.table(HOUR_ACCOUNTS)
    first = table.append(rows(START, 2)).version
    table.append(rows(START + HOUR, 3))
    assert [f.rows for f in table.files(first)] == [2]
    assert sorted(f.rows for f in table.files()) == [2, 3]


def test_a_table_made_anew_tells_nothing_of_the_one_before(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake")).create()
    lake.table(HOUR_ACCOUNTS).append(rows(START, 2))
    assert len(lake.table(HOUR_ACCOUNTS).files()) == 1
    (tmp_path / "lake").rename(tmp_path / "old")
    lake.create()
    assert lake.table(HOUR_ACCOUNTS).files() == []
    lake.table(HOUR_ACCOUNTS).append(rows(START, 5))
    assert [f.rows for f in lake.table(HOUR_ACCOUNTS).files()] == [5]
