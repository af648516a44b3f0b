"""The board's benchmark makes a lake as the product would, and its figures have their names."""

from pathlib import Path

from benchmarks import board
from refrig_assets.alerting.standing import is_standing
from refrig_assets.lake import Lake
from refrig_assets.pipeline.alert_log import current_board
from refrig_assets.pipeline.alert_reading import read_board
from refrig_assets.pipeline.published import board_is_current

ALERTS = 300


def test_the_lake_holds_standing_alerts_of_which_some_were_touched_since_the_board_was_published(
    tmp_path: Path,
) -> None:
    took = board.make(tmp_path, ALERTS)
    assert set(took) == {"append_s", "publish_s", "act_s"}
    lake = Lake(str(tmp_path / "lake"))
    whole = current_board(lake)
    assert (whole.height, whole.filter(is_standing()).height) == (ALERTS, ALERTS)
    assert whole["severity"].n_unique() == 4
    assert not board_is_current(lake)
    assert read_board(lake).equals(whole)
    assert all(seconds > 0 for seconds in board.listed(tmp_path, *board.COMMANDS["board_list"]))
    assert all(words[0] in ("alerts", "--help") for words in board.COMMANDS.values())
