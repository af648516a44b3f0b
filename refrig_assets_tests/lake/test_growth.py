"""Lakes of an earlier version: tables with rows get new columns and constraints, beside writers, and repeatably."""

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError

from refrig_assets.cli import main
from refrig_assets.contracts import ALERT_BOARD, DEAD_LETTER, DEVICE_ALERTS
from refrig_assets.contracts.base import F64, PARTITION_DATE, STR, Contract, column
from refrig_assets.lake import Lake, OutgrownError, Table, growth
from refrig_assets.lake.schema import constraints, delta_schema
from refrig_assets.pipeline.alert_log import append_changes, current_board
from refrig_assets.pipeline.published import publish_board
from refrig_assets_tests.alerting.makers import alert, created_alerts
from refrig_assets_tests.builders import HOUR
from refrig_assets_tests.lake.test_table import finish, run_beside

OLD_CHANGES = ("created", "suppressed", "resolved")


def earlier(contract: Contract) -> Contract:
    """The contract before alerts carried their diagnosis, and before alerts could ease."""
    kept = {n: c for n, c in contract.columns.items() if not (c.metadata or {}).get("extension")}
    if "change" in kept:
        kept["change"] = column(STR, "what happened to the alert", isin=OLD_CHANGES)
    return replace(contract, columns=kept)


def made_by(contract: Contract, table: Table) -> Table:
    """The table as the contract of that version made it."""
    DeltaTable.create(table.uri, delta_schema(contract), mode="overwrite", partition_by=[PARTITION_DATE])
    growth.renew_constraints(table.open, contract)
    return Table(contract, table.uri, table.storage_options)


def old_rows(*devices: str) -> pl.DataFrame:
    return created_alerts(*(alert(device) for device in devices)).select(list(earlier(DEVICE_ALERTS).columns))


def new_rows(device: str) -> pl.DataFrame:
    return created_alerts(alert(device, failure_mode="refrigerant_leak", evidence=["superheat rises"], hours_left=9.5))


@pytest.fixture
def old(lake: Lake) -> Lake:
    """A lake whose log of alerts and board were made, and written to, by the version before."""
    made_by(earlier(DEVICE_ALERTS), lake.table(DEVICE_ALERTS)).append(old_rows("dev-1", "dev-2"))
    board = current_board(lake).select(list(earlier(ALERT_BOARD).columns))
    made_by(earlier(ALERT_BOARD), lake.table(ALERT_BOARD)).append(board)
    return lake


def test_a_fresh_lake_lacks_nothing(lake: Lake) -> None:
    assert lake.outgrown_tables() == {}


def test_old_rows_stay_and_have_nulls_in_the_new_columns(old: Lake) -> None:
    table = old.table(DEVICE_ALERTS)
    before, files = table.read(), table.files()
    assert sorted(old.outgrown_tables()) == ["alert_board", "device_alerts"]
    assert old.outgrown_tables()["device_alerts"][:2] == ["failure_mode", "diagnosis_confidence"]
    assert "change_valid" in old.outgrown_tables()["device_alerts"]
    old.create()
    assert old.outgrown_tables() == {}
    assert table.files() == files  # nothing was rewritten
    assert table.read().equals(before)
    assert table.read().schema == DEVICE_ALERTS.empty().schema
    assert before["evidence"].to_list() == [None, None]
    versions = old.versions
    assert Lake(old.uri).create().versions == versions


def test_other_readers_see_old_and_new_rows(old: Lake) -> None:
    append_changes(old.create(), new_rows("dev-3"))
    seen = pl.scan_delta(old.table(DEVICE_ALERTS).uri).sort("device_id").collect()
    assert seen["failure_mode"].to_list() == [None, None, "refrigerant_leak"]
    assert seen["evidence"].to_list() == [None, None, ["superheat rises"]]
    assert publish_board(old).alerts == 3
    assert old.table(ALERT_BOARD).read().sort("device_id")["hours_left"].to_list() == [None, None, 9.5]


def test_who_writes_first_gives_the_table_its_columns(old: Lake) -> None:
    """Where nobody ran `refrig doctor --create` after an upgrade, compaction must not lose what was written since."""
    append_changes(old, new_rows("dev-3"))
    table = old.table(DEVICE_ALERTS)
    table.open().optimize.compact()
    assert len(table.files()) == 1
    assert table.read().sort("device_id")["failure_mode"].to_list() == [None, None, "refrigerant_leak"]


def test_rows_of_an_hour_are_replaced_across_versions(old: Lake) -> None:
    board = current_board(old).with_columns(failure_mode=pl.lit("condenser_fouling"))
    old.table(ALERT_BOARD).replace_changed_days(board, pl.lit(value=True), ("test", 1), {})
    assert old.table(ALERT_BOARD).read().sort("device_id").equals(board.sort("device_id"))


def test_marks_stay(old: Lake) -> None:
    table = Table(earlier(DEVICE_ALERTS), old.table(DEVICE_ALERTS).uri, {})
    table.append(old_rows("dev-4"), transactions=[("stream", 7)])
    old.create()
    assert old.table(DEVICE_ALERTS).transaction_version("stream") == 7


def test_constraints_follow_the_contract(old: Lake) -> None:
    table = old.table(DEVICE_ALERTS)
    eased = new_rows("dev-3").with_columns(
        pl.lit("eased").alias("change"), pl.col("changed_at").dt.date().alias(PARTITION_DATE)
    )

    def written_by_another(frame: pl.DataFrame) -> None:
        write_deltalake(table.uri, frame, mode="append", schema_mode="merge")

    with pytest.raises((DeltaError, ValueError, OSError), match=r"(?i)constraint|check|invariant"):
        written_by_another(eased)
    old.create()
    written_by_another(eased)
    with pytest.raises((DeltaError, ValueError, OSError), match=r"(?i)constraint|check|invariant"):
        written_by_another(eased.with_columns(pl.lit("melted").alias("change")))
    assert table.read().height == 3


def test_rows_that_the_new_constraint_refuses_are_named(lake: Lake) -> None:
    loose = replace(DEAD_LETTER, columns=DEAD_LETTER.columns | {"stage": column(STR, "where it was refused")})
    letter = {n: ["x"] if t == STR else [1] for n, t in DEAD_LETTER.dtypes.items()} | {"timestamp_ingested": [HOUR]}
    letter |= {"payload_encoding": ["utf-8"]}
    table = lake.table(DEAD_LETTER)
    made_by(loose, table).append(pl.DataFrame(letter, schema=DEAD_LETTER.dtypes))
    with pytest.raises(OutgrownError, match="dead_letter holds rows that its contract refuses"):
        lake.create()
    assert table.read().height == 1


CREATOR = "import sys; from refrig_assets.lake import Lake; Lake(sys.argv[1]).create()"
WRITER = """
import sys
from refrig_assets.lake import Lake
from refrig_assets.pipeline.alert_log import append_changes
from refrig_assets_tests.lake.test_growth import new_rows
for turn in range(8):
    append_changes(Lake(sys.argv[1]), new_rows(f"w{sys.argv[2]}-{turn}"))
"""


def test_tables_grow_once_beside_each_other_and_beside_writers(old: Lake) -> None:
    finish([*run_beside(CREATOR, old, 2), *run_beside(WRITER, old, 2)])
    rows = pl.read_delta(old.table(DEVICE_ALERTS).uri)
    assert sorted(rows["device_id"]) == sorted(["dev-1", "dev-2", *(f"w{n}-{t}" for n in range(2) for t in range(8))])
    assert rows["failure_mode"].drop_nulls().len() == 16
    assert old.outgrown_tables() == {}


def test_a_column_that_needs_a_value_is_refused_where_rows_lack_it(old: Lake) -> None:
    grown = replace(DEVICE_ALERTS, columns=DEVICE_ALERTS.columns | {"weight": column(F64, "weight", "kg")})
    table = Table(grown, old.table(DEVICE_ALERTS).uri, {})
    version = table.version
    with pytest.raises(OutgrownError, match=r"device_alerts was made before its column weight, which needs a value"):
        table.append(new_rows("dev-3").with_columns(weight=1.0))
    assert table.version == version


def test_an_empty_table_is_made_anew_where_a_column_needs_a_value(lake: Lake) -> None:
    table = lake.table(DEVICE_ALERTS)
    made_by(ALERT_BOARD, table)  # has no changed_at
    lake.create()
    assert table.columns() == DEVICE_ALERTS.dtypes
    configuration = table.open().metadata().configuration
    assert {k for k in configuration if "constraints" in k} == {
        f"delta.constraints.{n}" for n in constraints(DEVICE_ALERTS)
    }
    version = table.version
    assert lake.create().table(DEVICE_ALERTS).version == version


def test_the_doctor_tells_of_older_tables_and_mends_them(old: Lake, tmp_path: Path) -> None:
    def doctor(*options: str) -> str:
        registry = f"sqlite:///{tmp_path}/models/mlflow.db"
        return CliRunner().invoke(main, ["doctor", "--lake", old.uri, "--models", registry, *options]).output

    assert "2 made by an earlier version: device_alerts lacks failure_mode, diagnosis_confidence" in doctor()
    assert "all there" in doctor("--create")
    assert old.outgrown_tables() == {}
