"""Events that the stream took for repetitions: told where the alert they repeat no longer stands."""

from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from refrig_assets.alerting.changes import log_rows, operator_action
from refrig_assets.alerting.fold import fold
from refrig_assets.alerting.mutes import mute_row
from refrig_assets.alerting.releasing import releases
from refrig_assets.alerting.standing import is_standing
from refrig_assets.contracts import ALERT_MUTES
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


STORM = alert("dev-0", at(1), alert_id="storm")


def member(device: str, minutes: float, by: str = "storm") -> dict[str, Any]:
    return alert(device, at(minutes), suppressed=True, suppressed_by=by)


def storm_closed(*alerts: dict[str, Any], minutes: float = 30) -> pl.DataFrame:
    closing = operator_action("storm", "resolved", "ann", at(minutes), "power is back")
    return pl.concat([created_alerts(STORM, *alerts), closing])


def told_after(log: pl.DataFrame, minutes: float) -> pl.DataFrame:
    """The log with what is released then."""
    return pl.concat([log, releases(fold(log), at(minutes))])


def standing(log: pl.DataFrame) -> list[str]:
    return fold(log).filter(is_standing())["device_id"].to_list()


def test_members_of_a_storm_go_with_it() -> None:
    log = storm_closed(member("dev-2", 6), member("dev-3", 7))
    assert releases(fold(log), at(31)).is_empty()


def test_a_device_that_fails_first_after_its_storm_was_closed_is_told() -> None:
    log = storm_closed(member("dev-2", 6), member("dev-9", 150))
    assert standing(told_after(log, 152)) == ["dev-9"]


def test_a_member_that_fails_again_after_its_storm_was_closed_is_told() -> None:
    old = member("dev-2", 6)
    log = storm_closed(old, member("dev-2", 120, old["alert_id"]))
    assert standing(told_after(log, 122)) == ["dev-2"]


def test_under_a_storm_that_stands_nothing_is_told_but_what_somebody_closed_by_itself() -> None:
    two, three = member("dev-2", 6), member("dev-3", 6)
    again = [member("dev-2", 60, two["alert_id"]), member("dev-3", 60, three["alert_id"])]
    log = created_alerts(STORM, two, three, *again)
    assert releases(fold(log), at(61)).is_empty()
    closed = pl.concat([log, operator_action(two["alert_id"], "resolved", "ann", at(40), "fuse")])
    assert releases(fold(closed), at(61))["alert_id"].to_list() == [again[0]["alert_id"]]


def test_a_sites_storm_in_a_firmwares_is_followed_to_its_end() -> None:
    firmware = alert("dev-7", at(2), alert_id="firmware")
    log = pl.concat(
        [
            created_alerts(firmware, {**STORM, "suppressed": True, "suppressed_by": "firmware"}, member("dev-2", 60)),
            operator_action("firmware", "resolved", "ann", at(30), "rolled back"),
        ]
    )
    assert standing(told_after(log, 61)) == ["dev-2"]


@pytest.mark.parametrize(("devices", "incident"), [(5, None), (6, "storm")])
def test_a_storm_that_is_back_is_one_incident(devices: int, incident: str | None) -> None:
    log = told_after(storm_closed(*(member(f"dev-{n}", 100) for n in range(1, devices + 1))), 101)
    told = fold(log).filter(is_standing())
    assert told["incident_id"].to_list() == [incident] * devices
    late = told_after(pl.concat([log, created_alerts(member("dev-30", 103))]), 104)
    # The sixth makes five an incident; what was told alone stays alone.
    assert fold(late).filter(device_id="dev-30")["incident_id"].to_list() == [incident]


def test_while_a_mute_is_on_nothing_is_told_of_its_devices() -> None:
    said = {"starts_at": at(140), "ends_at": at(200), "made_at": at(0), "made_by": "ann", "reason": "rebuilt"}
    mutes = pl.DataFrame([mute_row(mute_id="m1", site_id="site-1", **said)], schema=ALERT_MUTES.dtypes)
    board = fold(storm_closed(member("dev-9", 130)))
    assert releases(board, at(150), mutes).is_empty()
    assert releases(board, at(201), mutes).height == 1


def test_a_relapse_of_what_was_released_goes_on_under_it() -> None:
    log = pl.concat([created_alerts(FIRST), operator_action(FIRST["alert_id"], "resolved", "ann", at(20))])
    for minutes in (40, 80, 120):
        again = alert("dev-1", at(minutes), suppressed=True, suppressed_by=FIRST["alert_id"])
        log = told_after(pl.concat([log, created_alerts(again)]), minutes + 1)
    board = fold(log)
    assert standing(log) == ["dev-1"]
    told = board.filter(is_standing())["alert_id"].item()
    assert board.filter("suppressed")["suppressed_by"].unique().to_list() == [told]
    assert releases(board, at(122)).is_empty()


def test_relapses_found_together_are_one() -> None:
    more = alert("dev-1", at(118), suppressed=True, suppressed_by=FIRST["alert_id"])
    closed = operator_action(FIRST["alert_id"], "resolved", "ann", at(20))
    log = told_after(pl.concat([created_alerts(FIRST, AGAIN, more), closed]), 119)
    assert fold(log).filter(pl.col("suppressed_by") == AGAIN["alert_id"])["alert_id"].to_list() == [more["alert_id"]]
    assert standing(log) == ["dev-1"]


def test_what_came_before_the_last_closing_is_not_told_after_it() -> None:
    """Told at 1:56, again at 2:30, and closed before that was looked at: somebody has dealt with both."""
    more = alert("dev-1", at(150), suppressed=True, suppressed_by=FIRST["alert_id"])
    closed = operator_action(FIRST["alert_id"], "resolved", "ann", at(20))
    log = told_after(pl.concat([created_alerts(FIRST, AGAIN), closed]), 116)
    again = operator_action(AGAIN["alert_id"], "resolved", "ann", at(155))
    assert releases(fold(pl.concat([log, created_alerts(more), again])), at(156)).is_empty()
