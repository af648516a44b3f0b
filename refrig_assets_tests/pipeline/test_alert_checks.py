"""Checks of the alert board: each passes where all is well, and fails where it must."""

from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from refrig_assets.alerting.changes import log_rows
from refrig_assets.contracts import MODEL_SCORES
from refrig_assets.lake import Lake
from refrig_assets.pipeline.alert_checks import (
    batch_lags,
    deadlines_finding,
    duplicates_finding,
    last_level_finding,
    promptness_finding,
    silenced_finding,
)
from refrig_assets_tests.alerting.makers_board import board_of, closed, found, log_of, raised
from refrig_assets_tests.builders import HOUR, at

FIRST = found("dev-1")


def under(first: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return found("dev-1", 30, **{"suppressed": True, "suppressed_by": first["alert_id"], **changes})


@pytest.mark.parametrize(
    ("second", "passes"),
    [
        (found("dev-1", 9), False),
        (found("dev-1", 9, failure_mode="bearing_wear"), True),
        (found("dev-2", 9), True),
        (under(FIRST), True),
        (closed(found("dev-1", 9), timedelta(hours=1)), True),
        (raised("dev-1", 9, failure_mode="refrigerant_leak"), True),
    ],
)
def test_duplicates(second: dict[str, Any], passes: bool) -> None:
    finding = duplicates_finding(board_of(FIRST, second))
    assert (finding.passed, finding.severe) == (passes, True)
    assert finding.counts["repeated"] == (0 if passes else 1)
    assert len(finding.sample) == (0 if passes else 2)


def test_duplicates_of_an_unknown_failure_go_by_the_sensor() -> None:
    one, other = (found("dev-1", m, failure_mode="unknown", top_contributors=[c])
                  for m, c in ((0, "superheat_mean"), (9, "superheat_std_6h")))  # fmt: skip
    assert not duplicates_finding(board_of(one, other)).passed
    assert duplicates_finding(board_of(one, other | {"top_contributors": ["humidity_mean"]})).passed


@pytest.mark.parametrize(("late", "passes"), [(0, True), (1, True), (2, False)])
def test_deadlines(late: int, passes: bool) -> None:
    taken = [found(f"dev-{n}", 0, status="ACKNOWLEDGED") for n in range(20 - late)]
    waiting = [found(f"late-{n}", 0) for n in range(late)]
    finding = deadlines_finding(board_of(*taken, *waiting), at(5 * 60))
    assert (finding.passed, finding.severe, finding.counts["part"]) == (passes, False, late)
    assert deadlines_finding(board_of(*taken, *waiting), at(9 * 24 * 60)).counts["whole"] == 0


NEW = {"failure_mode": "bearing_wear", "top_contributors": ["vibration_compressor_max"]}
SILENCED: list[tuple[str, list[dict[str, Any]], int]] = [
    ("a repetition", [FIRST, under(FIRST)], 0),
    ("the same sensor", [FIRST, under(FIRST, failure_mode="valve_hunting")], 0),
    ("the same failure", [FIRST, under(FIRST, top_contributors=["pressure_low_mean"])], 0),
    ("something new", [FIRST, under(FIRST, **NEW)], 1),
    ("under a mute", [FIRST, under(FIRST, **NEW, suppressed_by="mute:7")], 0),
    ("by nothing that is there", [FIRST, under(FIRST, suppressed_by="nobody")], 1),
    ("odd beside the stream's", [raised("dev-1"), under(raised("dev-1"), **NEW | {"failure_mode": "unknown"})], 0),
    ("known beside the stream's", [raised("dev-1"), under(raised("dev-1"), **NEW)], 1),
    ("one of a storm", [raised("dev-2", id="storm"), raised("dev-1", suppressed=True, suppressed_by="storm")], 0),
]


@pytest.mark.parametrize(("alerts", "new"), [c[1:] for c in SILENCED], ids=[c[0] for c in SILENCED])
def test_new_failure_modes_that_were_suppressed(alerts: list[dict[str, Any]], new: int) -> None:
    finding = silenced_finding(log_of(*alerts))
    assert (finding.counts["part"], finding.passed) == (new, not new)
    many = [found(f"other-{n}") for n in range(150)]
    assert silenced_finding(log_of(*alerts, *many)).passed


def test_what_the_suppressing_alert_showed_before_counts() -> None:
    became = log_rows(
        [{"alert_id": FIRST["alert_id"], "changed_at": at(20), "failure_mode": "bearing_wear"}], "diagnosed", "batch"
    )
    log = pl.concat([log_of(FIRST, under(FIRST), under(FIRST, **NEW, id="later")), became])
    assert silenced_finding(log).counts["part"] == 0


@pytest.mark.parametrize(
    ("minutes", "passes", "severe"), [(0, True, False), (15, True, False), (16, False, False), (31, False, True)]
)
def test_promptness(lake: Lake, minutes: int, passes: bool, severe: bool) -> None:
    scores(lake, "dev-1", scored_at=at(5))
    alert = found("dev-1", 0, alert_created_at=at(5 + minutes))
    lags = batch_lags(lake, log_of(alert), at(60))
    assert lags["lag_s"].to_list() == [60.0 * minutes]
    finding = promptness_finding(lags)
    assert (finding.passed, finding.severe) == (passes, severe)


def test_promptness_is_of_live_hours_and_of_the_batch(lake: Lake) -> None:
    scores(lake, "dev-1", scored_at=at(150))
    made_again = found("dev-1", 0, alert_created_at=at(190))
    stream = raised("dev-1", 0, alert_created_at=at(190))
    long_ago = found("dev-1", 0, id="long-ago", alert_created_at=at(20))
    lags = batch_lags(lake, log_of(made_again, stream, long_ago), at(200))
    assert lags.is_empty()
    assert promptness_finding(lags).passed


def scores(lake: Lake, device: str, **changes: Any) -> None:
    row = {
        "score_id": "s", "device_id": device, "window_start": HOUR - timedelta(minutes=15), "window_end": HOUR,
        "model_id": "isolation_forest", "model_version": "1", "granularity": "fleet", "deployment_role": "champion",
        "anomaly_score": 0.9, "anomaly_flag": True, "threshold_used": 0.6, "scored_at": at(5),
        "sensor_completeness": 1.0,
    }  # fmt: skip
    lake.table(MODEL_SCORES).append(MODEL_SCORES.conform(pl.DataFrame([row | changes])))


def test_the_last_level() -> None:
    stuck = raised("dev-1", escalation_level="L3")
    assert not last_level_finding(board_of(stuck)).passed
    assert not last_level_finding(board_of(stuck)).severe
    for well in (
        raised("dev-1", escalation_level="L2"),
        closed(stuck, timedelta(hours=1)),
        found("d", escalation_level="L3"),
    ):
        assert last_level_finding(board_of(well)).passed


def test_of_no_alerts_there_is_nothing_to_say() -> None:
    board, log = board_of(FIRST).clear(), log_of(FIRST).clear()
    findings = (
        duplicates_finding(board),
        deadlines_finding(board, HOUR),
        silenced_finding(log),
        last_level_finding(board),
    )
    assert all(f.passed for f in findings)
