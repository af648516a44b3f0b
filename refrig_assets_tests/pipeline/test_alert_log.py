"""The alert log: each change once whoever writes it and however often, and a board that follows."""

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from refrig_assets.alerting.changes import operator_action, suppressed
from refrig_assets.alerting.fold import fold
from refrig_assets.contracts import ALERT_BOARD, DEVICE_ALERTS, ContractError
from refrig_assets.lake import Lake, commits_since
from refrig_assets.pipeline.alert_log import (
    CHANGES_KEY,
    STREAM_KEY,
    AlertLog,
    append_changes,
    current_board,
    escalate_overdue,
    read_log,
    release_relapses,
)
from refrig_assets.pipeline.published import board_is_current, publish_board
from refrig_assets.pipeline.upkeep import compact_table
from refrig_assets_tests.alerting.makers import alert, created_alerts
from refrig_assets_tests.builders import HOUR, at, everything
from refrig_assets_tests.pipeline.write_alerts import ALERTS_A_PIECE, PIECES, changes

KILLS = 12
_ROOT = Path(__file__).parents[2]
_KINDS = ("stream", "batch", "operators")


@contextmanager
def writer(lake: Lake, kind: str) -> Iterator["subprocess.Popen[str]"]:
    """A process that is ready to write and waits to be let go."""
    command = [sys.executable, "-m", "refrig_assets_tests.pipeline.write_alerts", lake.uri, kind]
    process = subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()


def let_go(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def said(*kinds: str) -> pl.DataFrame:
    return pl.concat([rows for kind in kinds for rows in changes(kind)])


def assert_holds_exactly(lake: Lake, expected: pl.DataFrame) -> None:
    assert expected["change_id"].is_unique().all()
    columns = list(DEVICE_ALERTS.columns)
    assert everything(lake, DEVICE_ALERTS.name).sort("change_id").equals(expected.select(columns).sort("change_id"))
    assert current_board(lake).equals(fold(expected))


@pytest.mark.slow
def test_writers_at_once_lose_nothing_and_write_nothing_twice(lake: Lake) -> None:
    with (
        writer(lake, "stream") as one,
        writer(lake, "stream") as another,
        writer(lake, "batch") as batch,
        writer(lake, "operators") as people,
    ):
        together = (one, another, batch, people)
        for process in together:
            let_go(process)
        assert [p.wait() for p in together] == [0, 0, 0, 0]
    assert_holds_exactly(lake, said(*_KINDS))
    assert current_board(lake).height == PIECES * (ALERTS_A_PIECE + 1)


@pytest.mark.slow
def test_killed_and_repeated_among_others_each_change_is_there_once(lake: Lake) -> None:
    chance = random.Random(3)
    table = lake.table(DEVICE_ALERTS)
    with writer(lake, "batch") as batch, writer(lake, "operators") as people:
        let_go(batch)
        let_go(people)
        for _ in range(KILLS):
            with writer(lake, "stream") as victim:
                until = table.version + chance.randint(1, 5)
                let_go(victim)
                while victim.poll() is None and table.version < until:
                    time.sleep(0.001)
                time.sleep(chance.uniform(0, 0.03))
                victim.kill()
                victim.wait()
        assert [p.wait() for p in (batch, people)] == [0, 0]
    held = read_log(lake)
    assert held["change_id"].is_unique().all()
    with writer(lake, "stream") as last:
        let_go(last)
        assert last.wait() == 0
    assert_holds_exactly(lake, said(*_KINDS))


def test_a_change_repeated_is_known_and_not_written(lake: Lake) -> None:
    log, rows = AlertLog(lake), created_alerts(alert("dev-1"), alert("dev-2"))
    assert (log.append(rows).written, log.append(rows).known) == (2, 2)
    version = lake.table(DEVICE_ALERTS).version
    for again in (log, AlertLog(lake)):
        found = again.append(pl.concat([rows, rows]))
        assert (found.written, found.known, found.version) == (0, 4, version)
    more = append_changes(lake, pl.concat([rows, created_alerts(alert("dev-3"), alert("dev-3"))]))
    assert (more.written, more.known) == (1, 3)
    assert append_changes(lake, DEVICE_ALERTS.empty()).written == 0


def test_an_alert_of_long_ago_is_known_when_its_messages_are_replayed_days_later(lake: Lake) -> None:
    first = created_alerts(alert("dev-1", alert_created_at=at(1)))
    append_changes(lake, first)
    replayed = created_alerts(alert("dev-1", alert_created_at=HOUR + timedelta(days=12)))
    assert append_changes(lake, replayed).written == 0
    assert read_log(lake)["changed_at"].to_list() == [at(1)]


def test_compaction_does_not_make_the_log_forget(lake: Lake) -> None:
    log = AlertLog(lake)
    rows = [created_alerts(alert(f"dev-{n}")) for n in range(10)]
    for one in rows:
        log.append(one)
    assert compact_table(lake, DEVICE_ALERTS, HOUR + timedelta(days=2))[2] == 1
    assert log.append(pl.concat(rows)).written == 0
    assert append_changes(lake, pl.concat(rows)).written == 0
    assert current_board(lake).height == 10


def test_half_an_alert_is_refused(lake: Lake) -> None:
    rows = created_alerts(alert("dev-1"), alert("dev-2", description=None))
    with pytest.raises(ContractError, match=r"creates half an alert \(1 rows\)"):
        append_changes(lake, rows)
    with pytest.raises(ContractError, match="rule: not an allowed value"):
        append_changes(lake, created_alerts(alert(rule="bad_mood")))
    assert read_log(lake).is_empty()


def test_a_commit_tells_what_it_holds(lake: Lake) -> None:
    alerts = created_alerts(alert("dev-1"), alert("dev-2", suppressed=True), alert("dev-3", rule="vibration_spike"))
    begun = append_changes(lake, alerts)
    one = alerts["alert_id"][0]
    append_changes(lake, operator_action(one, "acknowledged", "ann", at(1)))
    append_changes(lake, suppressed([one], "group", at(2), "stream", change="grouped"))
    notes = commits_since(lake.table(DEVICE_ALERTS), begun.version - 1, [CHANGES_KEY, STREAM_KEY]).commits
    told = [json.loads(n.metadata[CHANGES_KEY]) for n in notes]
    assert [t["by_actor"] for t in told] == [{"stream": 3}, {"operator": 1}, {"stream": 1}]
    assert told[0]["by_rule"] == {"compressor_overload": 2, "vibration_spike": 1}
    assert [t["newest"] for t in told] == [m.isoformat() for m in (HOUR, at(1), at(2))]
    streamed = [json.loads(n.metadata[STREAM_KEY]) if STREAM_KEY in n.metadata else None for n in notes]
    assert streamed == [{"written": 3, "suppressed": 1}, None, {"written": 0, "suppressed": 0}]


def test_the_board_follows_the_log(lake: Lake) -> None:
    assert not board_is_current(lake)
    assert publish_board(lake).alerts == 0
    assert board_is_current(lake)
    yesterday = alert("dev-1", HOUR - timedelta(days=1))
    append_changes(lake, created_alerts(yesterday, alert("dev-2")))
    assert not board_is_current(lake)
    published = publish_board(lake)
    assert (published.alerts, published.days_written) == (2, 2)
    append_changes(lake, operator_action(yesterday["alert_id"], "resolved", "ann", at(5)))
    assert publish_board(lake).days_written == 1
    assert publish_board(lake).days_written == 0
    board = lake.table(ALERT_BOARD).read().sort("alert_created_at", "alert_id")
    assert board.equals(current_board(lake))
    assert board["status"].to_list() == ["RESOLVED", "OPEN"]


def test_what_nobody_took_in_time_is_escalated_once(lake: Lake) -> None:
    append_changes(lake, created_alerts(alert("dev-1"), alert("dev-2", severity="HIGH")))
    assert escalate_overdue(lake, at(29)).written == 0
    assert escalate_overdue(lake, at(31)).written == 1
    assert escalate_overdue(lake, at(32)).written == 0
    board = current_board(lake).sort("device_id")
    assert board["escalation_level"].to_list() == ["L2", "L1"]
    assert board["sla_breached"].to_list() == [True, False]


def test_a_hundred_thousand_alerts_are_published_a_day_at_a_time(lake: Lake) -> None:
    count, days = 100_000, 20
    numbers = pl.int_range(count, eager=True)
    created_at = pl.lit(HOUR) + pl.duration(minutes=numbers * (days * 1440) // count)
    one = created_alerts(alert())
    rows = pl.concat([one] * count).with_columns(
        change_id="c" + numbers.cast(pl.String),
        alert_id="a" + numbers.cast(pl.String),
        device_id="d" + numbers.cast(pl.String),
        changed_at=created_at,
        alert_created_at=created_at,
    )
    append_changes(lake, rows)
    assert publish_board(lake).alerts == count
    append_changes(lake, operator_action("a7", "false_positive", "ann", at(9)))
    assert publish_board(lake).days_written == 1
    board = lake.table(ALERT_BOARD).scan().filter(pl.col("status") == "FALSE_POSITIVE").collect()
    assert board["alert_id"].to_list() == ["a7"]


def test_relapses_are_told_once_and_only_the_told_are_counted(lake: Lake) -> None:
    closed = alert("dev-1", at(0))
    more = [alert("dev-1", at(m), suppressed=True, suppressed_by=closed["alert_id"]) for m in (40, 50, 60)]
    append_changes(lake, created_alerts(closed))
    append_changes(lake, operator_action(closed["alert_id"], "resolved", "ann", at(20)))
    for number, one in enumerate(more):
        append_changes(lake, created_alerts(one))
        assert release_relapses(lake, at(61 + number)).written == (number == 0)
        assert release_relapses(lake, at(61.5 + number)).written == 0
    board = current_board(lake).filter(pl.col("status") == "OPEN")
    assert board["suppressed"].to_list() == [False, True, True]
    assert set(board["suppressed_by"].drop_nulls()) == {more[0]["alert_id"]}
    version = lake.table("device_alerts").version
    assert append_changes(lake, DEVICE_ALERTS.empty()).written == 0
    assert lake.table("device_alerts").version == version
