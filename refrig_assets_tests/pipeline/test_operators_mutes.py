"""Mutes and the alerts they silence: each once, told again when no mute covers them any more."""

from typing import Any

from refrig_assets.alerting.changes import log_rows
from refrig_assets.lake import Lake
from refrig_assets.pipeline.alert_log import append_changes, current_board
from refrig_assets.pipeline.operators import mute_alerts, unmute_alerts
from refrig_assets.pipeline.published import publish_board
from refrig_assets_tests.builders import HOUR, at
from refrig_assets_tests.pipeline.test_operators import raise_alerts


def test_alerts_of_a_muted_device_are_silenced_once_and_told_again_when_it_ends(lake: Lake) -> None:
    one, other = raise_alerts(lake)
    publish_board(lake)
    mute = {"device_id": "dev-0", "starts_at": HOUR, "ends_at": at(60), "reason": "fan"}
    made, silenced = mute_alerts(lake, made_by="ann", now=at(5), **mute)
    assert silenced == 1
    assert mute_alerts(lake, made_by="ann", now=at(6), **mute) == (
        made.__class__(made.mute | {"made_at": at(6)}, False),
        0,
    )
    board = {row["alert_id"]: row for row in current_board(lake).to_dicts()}
    assert (board[one]["suppressed_by"], board[one]["note"]) == (f"mute:{made.mute_id}", "fan")
    assert not board[other]["suppressed"]
    ended, told = unmute_alerts(lake, made.mute_id[:8], by="bob", now=at(9))
    assert (ended.written, told) == (True, 1)
    assert not current_board(lake)["suppressed"].any()
    assert unmute_alerts(lake, made.mute_id, by="bob", now=at(10))[1] == 0
    later = mute | {"starts_at": at(100), "ends_at": at(200)}
    assert mute_alerts(lake, made_by="ann", now=at(11), **later)[1] == 0


def test_a_mute_that_ends_tells_nothing_while_another_covers_the_device(lake: Lake) -> None:
    one, other = raise_alerts(lake)
    span: dict[str, Any] = {"starts_at": HOUR, "ends_at": at(600)}
    site, _ = mute_alerts(lake, made_by="bob", now=at(1), site_id="site-1", reason="power works", **span)
    assert unmute_alerts(lake, site.mute_id, by="bob", now=at(2))[1] == 2
    belt, _ = mute_alerts(lake, made_by="ann", now=at(3), device_id="dev-0", reason="belt", **span)
    again, _ = mute_alerts(lake, made_by="bob", now=at(4), site_id="site-1", reason="power works", **span)
    for _ in range(2):  # said again, it changes nothing
        assert unmute_alerts(lake, belt.mute_id, by="ann", now=at(10))[1] == 0
    board = {row["alert_id"]: row for row in current_board(lake).to_dicts()}
    by = f"mute:{again.mute_id}"
    assert [(board[a]["suppressed_by"], board[a]["note"]) for a in (one, other)] == [(by, "power works")] * 2
    assert unmute_alerts(lake, again.mute_id, by="bob", now=at(20))[1] == 2
    assert not current_board(lake)["suppressed"].any()


def test_a_mute_that_comes_again_takes_over_what_it_had_silenced_before(lake: Lake) -> None:
    (one,) = raise_alerts(lake, 1)
    nightly, _ = mute_alerts(
        lake, made_by="bob", now=at(1), site_id="site-1", reason="washing", repeats="daily",
        starts_at=HOUR, ends_at=at(60),
    )  # fmt: skip
    over = [{"alert_id": one, "changed_at": at(70), "suppressed": False}]
    append_changes(lake, log_rows(over, "unmuted", "batch"))  # seen after the first washing
    span = {"starts_at": at(80), "ends_at": at(3000)}
    belt, _ = mute_alerts(lake, made_by="ann", now=at(90), device_id="dev-0", reason="belt", **span)
    assert unmute_alerts(lake, belt.mute_id, by="ann", now=at(24 * 60 + 10))[1] == 0
    assert current_board(lake)["suppressed_by"].to_list() == [f"mute:{nightly.mute_id}"]
