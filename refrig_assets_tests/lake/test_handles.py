"""Handles that are kept between uses: what they see, and what they must not mistake for their table."""

import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from refrig_assets.contracts.bookkeeping import EVENT_INDEX
from refrig_assets.lake import HOUR, Lake, Table
from refrig_assets_tests.builders import HOUR as FIRST


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return Lake(str(tmp_path / "lake")).create().table(EVENT_INDEX)


def rows(number: int) -> pl.DataFrame:
    return pl.DataFrame({"hour": [FIRST + number * HOUR], "event_hash": [number]}, schema=EVENT_INDEX.dtypes)


def numbers(table: Table) -> list[int]:
    return sorted(table.read()["event_hash"])


def test_a_kept_handle_sees_what_others_commit(table: Table) -> None:
    table.append(rows(1))
    assert numbers(table) == [1]
    code = (
        "import sys; from refrig_assets.lake import Lake; from refrig_assets_tests.lake.test_handles import rows;"
        "Lake(sys.argv[1]).table('event_index').append(rows(2))"
    )
    subprocess.run([sys.executable, "-c", code, str(Path(table.uri).parent)], check=True)
    assert numbers(table) == [1, 2]
    assert table.version == table.open().version()


def test_a_table_made_anew_in_the_same_place_is_another_table(table: Table) -> None:
    table.append(rows(1))
    table.append(rows(2))
    version = table.version
    lake = Lake(str(Path(table.uri).parent))
    shutil.rmtree(table.uri)
    anew = lake.create().table(EVENT_INDEX)
    assert anew.read().is_empty()
    while anew.open().version() < version:
        anew.append(rows(7))
    assert set(numbers(anew)) == {7}


def test_of_two_tables_of_the_same_number_of_commits_the_one_in_place_is_read(table: Table, tmp_path: Path) -> None:
    other = Lake(str(tmp_path / "other")).create().table(EVENT_INDEX)
    table.append(rows(1))
    other.append(rows(2))
    assert (numbers(table), table.version) == ([1], other.version)
    shutil.rmtree(table.uri)
    shutil.copytree(other.uri, table.uri)
    assert numbers(table) == [2]


def test_a_handle_has_one_user_at_a_time(table: Table) -> None:
    with table.newest() as one:
        with table.newest() as two:
            assert one is not two
        table.append(rows(1))
        assert one.version() < table.version
    with table.newest() as newest:
        assert newest.version() == table.open().version()


def test_a_handle_is_used_again_but_not_for_ever(table: Table) -> None:
    seen = set()
    handles = []  # kept, so that no two have the same id
    for number in range(60):
        table.append(rows(number))
        with table.newest() as handle:
            seen.add(id(handle))
            handles.append(handle)
    assert 2 <= len(seen) <= 6
    assert numbers(table) == list(range(60))


def test_a_handle_that_something_went_wrong_with_is_not_used_again(table: Table) -> None:
    with pytest.raises(RuntimeError), table.newest() as broken:
        raise RuntimeError
    with table.newest() as next_one:
        assert next_one is not broken
