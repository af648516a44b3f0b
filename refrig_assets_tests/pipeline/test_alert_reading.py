"""Reading the board quickly gives what folding the whole log gives, whatever was published when."""

import random
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from refrig_assets.alerting.changes import log_rows, operator_action, suppressed
from refrig_assets.lake import Lake
from refrig_assets.pipeline.alert_log import append_changes, current_board
from refrig_assets.pipeline.alert_reading import alert_ids, history, read_board
from refrig_assets.pipeline.published import publish_board
from refrig_assets.pipeline.upkeep import compact_table
from refrig_assets_tests.alerting.makers import alert, created_alerts
from refrig_assets_tests.builders import HOUR, at

_NEXT_WEEK = HOUR + timedelta(days=7)


def some_change(lake: Lake, number: int, chance: random.Random) -> pl.DataFrame:
    """Anything that may happen: a new alert, a repetition seen later, an action, a grouping."""
    ids = alert_ids(lake)
    one = chance.choice(sorted(ids)) if ids else ""
    kind = chance.choice(["created", "repeated", "acknowledged", "resolved", "grouped", "seen"]) if ids else "created"
    seen = at(number + chance.randint(0, 300))
    if kind in ("created", "repeated"):
        silent = {"suppressed": True, "suppressed_by": one} if kind == "repeated" else {}
        day = chance.choice([HOUR, HOUR - timedelta(days=1), HOUR - timedelta(days=3)])
        return created_alerts(alert(f"dev-{number}", day + timedelta(minutes=number), last_seen_at=seen, **silent))
    if kind == "grouped":
        return suppressed([one], chance.choice(sorted(ids)), at(number), "stream", change="grouped")
    if kind == "seen":
        return log_rows(
            [{"alert_id": one, "changed_at": at(number), "last_seen_at": seen}], "sustained", "batch", str(seen)
        )
    return operator_action(one, kind, "ann", at(number))


@pytest.mark.parametrize("seed", range(4))
def test_the_board_read_is_the_log_folded(lake: Lake, seed: int) -> None:
    chance = random.Random(seed)
    for number in range(14):
        append_changes(lake, some_change(lake, number, chance))
        if chance.random() < 0.25:
            publish_board(lake)
        if chance.random() < 0.1:
            compact_table(lake, lake.table("device_alerts").contract, _NEXT_WEEK)
        whole = current_board(lake)
        assert read_board(lake).equals(whole)
        some = sorted(alert_ids(lake))[::2]
        assert read_board(lake, alerts=some).equals(whole.filter(pl.col("alert_id").is_in(some)))
        assert read_board(lake, ordered=False).sort("alert_created_at", "alert_id").equals(whole)


def test_before_anything_was_published_and_while_nothing_happened(lake: Lake) -> None:
    assert read_board(lake).equals(current_board(lake))
    publish_board(lake)
    assert read_board(lake).equals(current_board(lake))
    append_changes(lake, created_alerts(alert()))
    assert read_board(lake).height == 1
    publish_board(lake)
    assert read_board(lake).equals(current_board(lake))


def test_a_published_version_that_is_no_longer_known_is_folded_anew(lake: Lake) -> None:
    append_changes(lake, created_alerts(alert("dev-1")))
    publish_board(lake)
    append_changes(lake, created_alerts(alert("dev-2")))
    table = lake.table("device_alerts")
    table.open().create_checkpoint()
    for commit in sorted((Path(table.uri) / "_delta_log").glob("*.json"))[: table.version]:
        commit.unlink()  # as log retention does after a month
    assert read_board(lake)["device_id"].sort().to_list() == ["dev-1", "dev-2"]


def test_the_history_of_an_alert_is_in_the_order_in_which_it_happened(lake: Lake) -> None:
    one = alert("dev-1")
    append_changes(lake, operator_action(one["alert_id"], "acknowledged", "ann", at(-5)))
    append_changes(lake, created_alerts(one, alert("dev-2")))
    append_changes(lake, operator_action(one["alert_id"], "noted", "ann", at(5), note="x"))
    assert history(lake, [one["alert_id"]])["change"].to_list() == ["created", "acknowledged", "noted"]
