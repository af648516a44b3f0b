"""Stream, batch and three operators at once: every action is on the board, none lost, none twice.

Some seconds here; for a minute, REFRIG_TOGETHER_SECONDS=60.
"""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from refrig_assets.contracts.alerts import CLOSED_STATUSES
from refrig_assets.lake import Lake
from refrig_assets.pipeline.alert_log import current_board, read_log
from refrig_assets.pipeline.alert_reading import read_board
from refrig_assets.pipeline.published import publish_board
from refrig_assets_tests.builders import HOUR, ONE_HOUR
from refrig_assets_tests.pipeline.test_alerting import DEVICES, scored
from refrig_assets_tests.pipeline.together import HOURS

SECONDS = float(os.environ.get("REFRIG_TOGETHER_SECONDS", "5"))
PEOPLE = ("ann", "bob", "cid")
_ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_what_everybody_did_at_once_is_on_the_board_once(lake: Lake, tmp_path: Path) -> None:
    for hour in range(HOURS):
        # Another machine is ill every six hours, so that the batch opens and resolves all the time.
        scored(lake, HOUR + hour * ONE_HOUR, 1, {DEVICES[hour // 6 % len(DEVICES)]: 0.9})
    roles = ("stream", "batch", *PEOPLE)
    journals = {role: tmp_path / f"{role}.txt" for role in roles}
    running = {role: _start(lake, role, journals[role]) for role in roles}
    for process in running.values():
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in running.values():
        process.communicate("go\n", timeout=60 + 4 * SECONDS)
    assert {role: p.returncode for role, p in running.items()} == dict.fromkeys(roles, 0)
    log = read_log(lake)
    assert log["change_id"].is_unique().all()
    acted = dict.fromkeys(roles, False)
    for role in roles:
        actor = role if role in ("stream", "batch") else f"operator:{role}"
        mine = log.filter(pl.col("actor") == actor).group_by("alert_id", "change").len()
        counted = {(alert, change): n for alert, change, n in mine.iter_rows()}
        said = Counter(tuple(line.split()) for line in journals[role].read_text().splitlines())
        acted[role] = bool(said)
        for (change, alert), times in said.items():
            assert counted.get((alert, change)) == times, (role, change, alert)
    assert acted["stream"]
    assert acted["batch"]
    assert any(acted[name] for name in PEOPLE)
    board = current_board(lake)
    _closed_stays_closed(log, board)
    publish_board(lake)
    assert read_board(lake).sort("alert_id").equals(board.sort("alert_id"))


def _closed_stays_closed(log: pl.DataFrame, board: pl.DataFrame) -> None:
    """After a closing nobody took the alert, unless it was reopened; and the board says so, too."""
    by_person = pl.col("actor").str.starts_with("operator:") & pl.col("status").is_not_null()
    theirs = log.filter(by_person).sort("changed_at", "change_id")
    closes, opens = pl.col("status").is_in(CLOSED_STATUSES), pl.col("change") == "reopened"
    decided = pl.when(closes | opens).then("status")
    before = theirs.with_columns(before=decided.forward_fill().shift(1).over("alert_id"))
    taken = before.filter(pl.col("before").is_in(CLOSED_STATUSES) & ~opens)
    assert taken.is_empty(), taken.select("alert_id", "change", "actor", "changed_at").to_dicts()
    last = theirs.group_by("alert_id").agg(decided.drop_nulls().last().alias("status"))
    closed = last.filter(closes).join(board, on="alert_id", suffix="_now")
    assert closed.height > 0
    assert (closed["status"] == closed["status_now"]).all()


def _start(lake: Lake, role: str, journal: Path) -> "subprocess.Popen[str]":
    told = [lake.uri, role, str(SECONDS), str(journal)]
    command = [sys.executable, "-m", "refrig_assets_tests.pipeline.together", *told]
    return subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
