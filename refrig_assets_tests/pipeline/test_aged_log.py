"""A log that goes on for weeks: what is published and judged part by part is what the whole log tells."""

import random
import shutil
from datetime import datetime, timedelta

import polars as pl
import pytest

from refrig_assets.alerting.changes import log_rows, operator_action, suppressed
from refrig_assets.alerting.fold import fold
from refrig_assets.alerting.incidents import incidents
from refrig_assets.alerting.known import MUTE, known_alerts
from refrig_assets.alerting.work_orders import work_orders
from refrig_assets.contracts import ALERT_BOARD, DEVICE_ALERTS, DEVICE_REGISTRY, INCIDENTS, WORK_ORDERS
from refrig_assets.lake import Lake
from refrig_assets.pipeline.alert_families import members_of
from refrig_assets.pipeline.alert_living import living_log
from refrig_assets.pipeline.alert_log import append_changes, current_board, read_log
from refrig_assets.pipeline.alert_reading import board_now, read_board
from refrig_assets.pipeline.published import publish_board
from refrig_assets.pipeline.upkeep import compact_table
from refrig_assets_tests.alerting.makers import alert, created_alerts
from refrig_assets_tests.builders import HOUR, registry_of

DEVICES = [f"dev-{n}" for n in range(6)]
DAY = timedelta(days=1)


def happening(board: pl.DataFrame, number: int, chance: random.Random) -> pl.DataFrame:
    """Something happens, so many thirds of a day after the first: to new alerts, or to any of those known."""
    now = HOUR + number * DAY / 3
    known = board["alert_id"].to_list()
    # Mostly the young: what is over stays so, but now and then something comes up of long ago.
    one = chance.choice(known[-6:] if chance.random() < 0.8 else known) if known else ""
    kind = chance.choice(["new", "new", "storm", "repeated", "order", "closed", "reopened", "muted", "grouped", "seen"])
    if kind in ("new", "repeated", "storm") or not known:
        more = {"suppressed": True, "suppressed_by": one} if kind == "repeated" and known else {}
        device = board.row(by_predicate=pl.col("alert_id") == one, named=True)["device_id"] if more else None
        rows = [
            alert(device or d, now + timedelta(minutes=n), last_seen_at=now + timedelta(minutes=n),
                  severity=chance.choice(["HIGH", "CRITICAL"]), failure_mode=chance.choice(["refrigerant_leak", None]),
                  incident_id=f"incident-{number}" if kind == "storm" else None, **more)
            for n, d in enumerate(DEVICES[: 4 if kind == "storm" else 1] if kind != "new" else [chance.choice(DEVICES)])
        ]  # fmt: skip
        return created_alerts(*rows)
    if kind == "order":
        return log_rows([{"alert_id": one, "changed_at": now, "work_order_at": now}], "escalated", "batch", str(number))
    if kind == "muted":
        return suppressed([one], f"{MUTE}m", now, "batch", change="muted")
    if kind == "grouped":
        return suppressed([one], chance.choice(known), now, "stream", change="grouped")
    if kind == "seen":
        return log_rows([{"alert_id": one, "changed_at": now, "last_seen_at": now}], "sustained", "batch", str(number))
    return operator_action(one, {"closed": "resolved"}.get(kind, kind), "ann", now)


@pytest.mark.parametrize("seed", range(6))
def test_what_is_made_part_by_part_is_what_the_whole_log_tells(lake: Lake, seed: int) -> None:
    chance = random.Random(seed)
    registry = registry_of(DEVICES, site_name="Harbour")
    lake.table(DEVICE_REGISTRY).replace_all(registry)
    for number in range(40):
        before = current_board(lake)
        append_changes(lake, happening(before, number, chance))
        if chance.random() < 0.5:
            publish_board(lake)
            whole = current_board(lake)
            made = ((ALERT_BOARD, whole), (INCIDENTS, incidents(whole, registry)),
                    (WORK_ORDERS, work_orders(whole, registry)))  # fmt: skip
            for contract, rows in made:
                assert lake.table(contract).read().sort(contract.key).equals(rows.sort(contract.key)), contract.name
        if chance.random() < 0.1:
            compact_table(lake, DEVICE_ALERTS, HOUR + 30 * DAY)
        if chance.random() < 0.3:
            the_living_are_as_in_the_whole_log(lake, HOUR + number * DAY / 3)
    assert board_now(lake).upto is not None


def the_living_are_as_in_the_whole_log(lake: Lake, now: datetime) -> None:
    since = now - DAY
    log = read_log(lake)
    living = living_log(lake, since)
    assert living.height == log.filter(pl.col("change_id").is_in(living["change_id"].implode())).height  # none twice
    told = fold(living)
    of_them = fold(log).filter(pl.col("alert_id").is_in(told["alert_id"].implode()))
    beside = told.filter(pl.col("suppressed") & ~pl.col("suppressed_by").str.starts_with(MUTE))["alert_id"]
    mine = ~pl.col("alert_id").is_in(beside.implode())  # a repetition's own repetitions are nobody's business
    assert told.filter(mine).equals(of_them.filter(mine))
    whole = known_alerts(fold(log), log, now, now)
    assert known_alerts(told, living, now, now) == whole


def test_of_an_old_log_no_more_is_read_than_lives(lake: Lake) -> None:
    lake.table(DEVICE_REGISTRY).replace_all(registry_of(DEVICES))
    for day in range(10):
        stays = alert("dev-2", HOUR + day * DAY) if day == 2 else alert("dev-3", HOUR)
        append_changes(lake, created_alerts(alert("dev-1", HOUR + day * DAY, status="RESOLVED"), stays))
    publish_board(lake)
    living = living_log(lake, HOUR + 9 * DAY)
    assert sorted(living["device_id"].to_list()) == ["dev-1", "dev-2", "dev-3"]
    days = {f.path for f in lake.table(ALERT_BOARD).files()}
    append_changes(lake, operator_action(read_board(lake)["alert_id"][-1], "acknowledged", "ann", HOUR + 9 * DAY))
    publish_board(lake)
    assert len(days & {f.path for f in lake.table(ALERT_BOARD).files()}) == len(days) - 1


def test_a_published_table_that_was_lost_is_made_anew(lake: Lake) -> None:
    lake.table(DEVICE_REGISTRY).replace_all(registry_of(DEVICES))
    append_changes(lake, created_alerts(alert("dev-1", severity="CRITICAL"), alert("dev-2", severity="CRITICAL")))
    publish_board(lake)
    orders = lake.table(WORK_ORDERS).read()
    shutil.rmtree(lake.table(WORK_ORDERS).uri)
    lake.create()
    publish_board(lake)
    assert lake.table(WORK_ORDERS).read().equals(orders)
    assert members_of(lake, orders["alert_id"].to_list()) == []
