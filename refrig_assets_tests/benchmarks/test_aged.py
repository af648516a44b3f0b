"""The aged log's benchmark makes a log as judgements leave it, and does the work that it says."""

from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from benchmarks import aged
from benchmarks.aged_log import newest_rows
from refrig_assets.alerting.standing import is_standing
from refrig_assets.contracts import DEVICE_ALERTS
from refrig_assets.pipeline.alert_log import append_changes, current_board
from refrig_assets.pipeline.alert_reading import read_board
from refrig_assets.pipeline.published import board_is_current

DEVICES = 400


def test_the_log_is_mostly_repetitions_and_the_work_is_done(tmp_path: Path) -> None:
    lake = aged.make(tmp_path, 8, DEVICES)
    log = lake.table(DEVICE_ALERTS).read()
    assert log["change_id"].n_unique() == log.height
    board = current_board(lake)
    assert board["suppressed"].mean() > 0.5  # type: ignore[operator]
    assert read_board(lake, where=is_standing()).height == 40 * 6
    now = datetime.now(UTC)
    append_changes(lake, newest_rows(now, 20))
    assert not board_is_current(lake)
    for name in sorted(aged.WORK, key="minute".__eq__):  # the board's comes last
        aged.WORK[name](tmp_path, now)
    assert board_is_current(lake)
    assert read_board(lake).equals(current_board(lake))
    assert read_board(lake).filter(pl.col("sla_breached")).height > 0
    assert lake.table(DEVICE_ALERTS).read().height > log.height + 20
