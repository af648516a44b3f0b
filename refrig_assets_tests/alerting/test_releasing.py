"""Events that the stream took for repetitions: told where the alert they repeat no longer stands."""

from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from refrig_assets.alerting.changes import log_rows, operator_action
from refrig_assets.alerting.fold import fold
from refrig_assets.alerting.releasing import releases
from refrig_assets_tests.alerting.makers import alert, created_alerts
from refrig_assets_tests.builders import at

FIRST = alert("dev-1", at(5))
AGAIN = alert("dev-1", at(115), suppressed=True, suppressed_by=FIRST["alert_id"])


def released(*logs: pl.DataFrame, minutes: float = 116) -> list[str]:
    board = fold(pl.concat([created_alerts(FIRST, AGAIN), *logs]))
    return releases(board, at(minutes))["alert_id"].to_list()


def ended(minutes: float, **fields: Any) -> pl.DataFrame:
    told = {"alert_id": FIRST["alert_id"], "changed_at": at(minutes)} | fields
    return log_rows([told], "resolved" if "status" in fields else "muted", "batch", str(minutes))


def test_a_relapse_after_a_closing_is_told_with_a_deadline_of_its_own() -> None:
    log = pl.concat([created_alerts(FIRST, AGAIN), ended(65, status="RESOLVED", resolved_at=at(65))])
    rows = releases(fold(log), at(116))
    assert rows["alert_id"].to_list() == [AGAIN["alert_id"]]
    after = fold(pl.concat([log, rows])).filter(~pl.col("suppressed") & (pl.col("status") == "OPEN")).row(0, named=True)
    assert after["sla_deadline"] == at(116) + timedelta(minutes=30)
    assert releases(fold(pl.concat([log, rows])), at(120)).is_empty()


@pytest.mark.parametrize(
    ("logs", "minutes"),
    [
        ([], 116),  # the alert stands
        ([ended(130, status="RESOLVED", resolved_at=at(130))], 131),  # it was one event with what was closed later
        ([ended(65, status="RESOLVED", resolved_at=at(65))], 600),  # long ago
    ],
)
def test_what_stays_a_repetition(logs: list[pl.DataFrame], minutes: float) -> None:
    assert released(*logs, minutes=minutes) == []


def test_what_repeats_a_muted_alert_is_told_and_so_is_what_a_person_closed() -> None:
    assert released(ended(20, suppressed=True, suppressed_by="mute:m1")) == [AGAIN["alert_id"]]
    assert released(operator_action(FIRST["alert_id"], "false_positive", "ann", at(50))) == [AGAIN["alert_id"]]


def test_members_of_a_storm_go_with_it() -> None:
    member = alert("dev-2", at(6), suppressed=True, suppressed_by=FIRST["alert_id"])
    closed = ended(1, status="RESOLVED", resolved_at=at(1))
    board = fold(pl.concat([created_alerts(FIRST, member), closed]))
    assert releases(board, at(7)).is_empty()
