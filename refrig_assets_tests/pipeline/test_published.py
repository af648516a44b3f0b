"""Board, incidents and work orders are published from one fold: changed days only, and never an older fold."""

import polars as pl
import pytest

from refrig_assets.alerting.changes import log_rows, operator_action
from refrig_assets.alerting.fold import fold
from refrig_assets.alerting.incidents import incidents
from refrig_assets.alerting.work_orders import work_orders
from refrig_assets.contracts import ALERT_BOARD, DEVICE_ALERTS, DEVICE_REGISTRY, INCIDENTS, WORK_ORDERS
from refrig_assets.lake import Lake
from refrig_assets.pipeline import published
from refrig_assets.pipeline.alert_log import append_changes, read_log
from refrig_assets.pipeline.alert_reading import FOLDED
from refrig_assets.pipeline.published import board_is_current, publish_board
from refrig_assets_tests.alerting.makers_board import found, log_of, raised
from refrig_assets_tests.builders import HOUR, at, registry_of

YESTERDAY = -24 * 60
EVERYTHING = pl.lit(value=True)
TABLES = (ALERT_BOARD, INCIDENTS, WORK_ORDERS)


@pytest.fixture
def plant(lake: Lake) -> Lake:
    """Two incidents, today's and yesterday's, and an urgent alert."""
    lake.table(DEVICE_REGISTRY).replace_all(registry_of([f"dev-{n}" for n in range(20)], site_name="Harbour"))
    today = [found(f"dev-{n}", n, incident_id="today") for n in range(6)]
    before = [found(f"dev-{n}", YESTERDAY + n, incident_id="before", severity="HIGH", work_order_at=at(YESTERDAY + 30))
              for n in range(10, 13)]  # fmt: skip
    append_changes(lake, log_of(*today, *before, raised("dev-9", 50)))
    return lake


def assert_tells_all(lake: Lake) -> None:
    board, registry = fold(read_log(lake)), lake.table(DEVICE_REGISTRY).read()
    expected = (board, incidents(board, registry), work_orders(board, registry))
    for contract, rows in zip(TABLES, expected, strict=True):
        assert lake.table(contract).read().sort(contract.key).equals(rows.sort(contract.key)), contract.name


def test_they_are_published_together_and_follow(plant: Lake) -> None:
    assert not board_is_current(plant)
    publish_board(plant)
    assert board_is_current(plant)
    assert_tells_all(plant)
    assert [plant.table(c).read().height for c in TABLES] == [10, 2, 4]
    append_changes(plant, operator_action(raised("dev-9", 50)["alert_id"], "resolved", "ann", at(90)))
    assert not board_is_current(plant)
    publish_board(plant)
    assert_tells_all(plant)
    assert plant.table(WORK_ORDERS).read().filter(pl.col("status") == "DONE").height == 1


def test_only_days_that_changed_are_written(plant: Lake) -> None:
    publish_board(plant)
    files = {c.name: {f.path for f in plant.table(c).files()} for c in TABLES}
    append_changes(plant, operator_action(found("dev-3", 3)["alert_id"], "acknowledged", "ann", at(90)))
    publish_board(plant)
    stayed = {c.name: files[c.name] & {f.path for f in plant.table(c).files()} for c in TABLES}
    assert len(stayed[ALERT_BOARD.name]) == 1  # yesterday's
    assert stayed[WORK_ORDERS.name] == files[WORK_ORDERS.name]
    assert stayed[INCIDENTS.name] == files[INCIDENTS.name]  # as many stand as before


def test_an_older_fold_does_not_take_the_place_of_a_newer(plant: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    append_changes(
        plant, log_rows([{"alert_id": found("dev-0")["alert_id"], "changed_at": at(70), "note": "n"}], "noted", "batch")
    )
    old = plant.table(DEVICE_ALERTS).version
    append_changes(plant, operator_action(found("dev-3", 3)["alert_id"], "resolved", "ann", at(90)))
    slow = fold(read_log(plant, old))
    publish_board(plant)
    registry = plant.table(DEVICE_REGISTRY).read()
    assert published._publish(plant, ALERT_BOARD, slow, old, EVERYTHING) == 0
    assert published._publish(plant, INCIDENTS, incidents(slow, registry), old, EVERYTHING) == 0
    assert_tells_all(plant)


def test_who_was_killed_between_the_tables_is_made_up_for(plant: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> pl.DataFrame:
        raise KeyboardInterrupt

    made = dict(published._MADE)
    with monkeypatch.context() as patched:
        patched.setitem(published._MADE, WORK_ORDERS.name, (WORK_ORDERS, killed))  # type: ignore[arg-type]
        with pytest.raises(KeyboardInterrupt):
            publish_board(plant)
    assert dict(published._MADE) == made
    assert plant.table(INCIDENTS).transaction_version(FOLDED) is not None
    assert not board_is_current(plant)
    publish_board(plant)
    assert_tells_all(plant)


def test_a_lake_without_registry_and_alerts_publishes_nothing(lake: Lake) -> None:
    assert publish_board(lake).alerts == 0
    append_changes(lake, log_of(*(found(f"d{n}", n, incident_id="i") for n in range(6)), raised("x")))
    publish_board(lake)
    assert [lake.table(c).read().height for c in TABLES] == [7, 1, 1]


def test_twenty_thousand_alerts_of_which_many_are_incidents(lake: Lake) -> None:
    count = 20_000
    numbers = pl.int_range(count, eager=True)
    moment = pl.lit(HOUR) + pl.duration(minutes=pl.Series(numbers // 200))
    one = log_of(found("dev-0", severity="HIGH", work_order_at=HOUR))
    rows = pl.concat([one] * count).with_columns(
        change_id="c" + numbers.cast(pl.String), alert_id="a" + numbers.cast(pl.String),
        device_id="d" + (numbers % 6_000).cast(pl.String), site_id="s" + (numbers % 1000).cast(pl.String),
        changed_at=moment, alert_created_at=moment, first_detected_at=moment,
        incident_id=pl.when(numbers % 10 == 0).then("i" + (numbers % 1000).cast(pl.String)),
    )  # fmt: skip
    append_changes(lake, rows)
    publish_board(lake)
    assert lake.table(INCIDENTS).read().height == 100
    assert lake.table(WORK_ORDERS).read().height == 6_000
    assert lake.table(ALERT_BOARD).read().height == count
