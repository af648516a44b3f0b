"""Work orders: who has one, since when, one at a time; what becomes of it, and what it says."""

from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refrig_assets.alerting.signs import mode_or_rules, sign
from refrig_assets.alerting.work_orders import work_orders
from refrig_assets.contracts import WORK_ORDERS
from refrig_assets_tests.alerting.makers_board import board_of, closed, found, raised
from refrig_assets_tests.alerting.test_incidents import REGISTRY, storm
from refrig_assets_tests.builders import at

HOURS = timedelta(hours=1)


def orders_of(*alerts: dict[str, Any]) -> list[dict[str, Any]]:
    return WORK_ORDERS.validate(work_orders(board_of(*alerts), REGISTRY)).to_dicts()


HIGH = found("dev-1", severity="HIGH", work_order_at=at(15))
CASES: list[tuple[str, dict[str, Any], tuple[str, str, datetime] | None]] = [
    ("a CRITICAL of the stream at once", raised("dev-1", 3), ("urgent", "OPEN", at(3))),
    ("a CRITICAL of the batch at once", found("dev-1", 4, severity="CRITICAL"), ("urgent", "OPEN", at(4))),
    ("a HIGH when it is due", HIGH, ("planned", "OPEN", at(15))),
    ("a HIGH not before", HIGH | {"work_order_at": None}, None),
    ("a MEDIUM none", found("dev-1"), None),
    ("what was HIGH keeps its order", HIGH | {"severity": "MEDIUM"}, ("planned", "OPEN", at(15))),
    ("a suppressed one none", raised("dev-1", suppressed=True, suppressed_by="mute:1"), None),
    ("resolved is done", closed(HIGH, 5 * HOURS), ("planned", "DONE", at(15))),
    ("false is cancelled", closed(HIGH, 5 * HOURS, "FALSE_POSITIVE"), ("planned", "CANCELLED", at(15))),
    ("over before it was due, none", closed(HIGH, timedelta(minutes=15)), None),
    ("somebody at work", HIGH | {"status": "IN_PROGRESS"}, ("planned", "OPEN", at(15))),
]


@pytest.mark.parametrize(("alert", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_who_has_an_order(alert: dict[str, Any], expected: tuple[str, str, datetime] | None) -> None:
    found_orders = orders_of(alert)
    assert [(o["priority"], o["status"], o["opened_at"]) for o in found_orders] == ([expected] if expected else [])
    assert [o["alert_id"] for o in found_orders] == ([alert["alert_id"]] if expected else [])
    assert all((o["closed_at"] is None) == (o["status"] == "OPEN") for o in found_orders)


def test_one_a_device_and_failure_and_the_next_when_it_is_closed() -> None:
    second = raised("dev-1", 40, failure_mode="refrigerant_leak", rule="acute_pressure_loss")
    other = found("dev-1", severity="CRITICAL", failure_mode="bearing_wear", id="other")
    assert [o["alert_id"] for o in orders_of(HIGH, second, other)] == ["other", HIGH["alert_id"]]
    done = closed(HIGH, 5 * HOURS)
    first, following = (o for o in orders_of(done, second))
    assert (first["status"], following["status"]) == ("DONE", "OPEN")
    assert following["opened_at"] == done["resolved_at"]
    assert [o["status"] for o in orders_of(done, closed(second, 2 * HOURS))] == ["DONE"]
    assert len({o["work_order_id"] for o in (first, following)}) == 2


def test_where_an_alert_goes_on_under_another_its_order_does_too() -> None:
    taker = raised("dev-1", 40, failure_mode="refrigerant_leak", rule="acute_pressure_loss")
    under = HIGH | {"suppressed": True, "suppressed_by": taker["alert_id"]}
    (before,), (after,) = orders_of(HIGH), orders_of(under, taker)
    assert after["work_order_id"] == before["work_order_id"]
    assert (after["alert_id"], after["priority"], after["opened_at"]) == (taker["alert_id"], "urgent", at(15))


def test_its_identity_stays() -> None:
    before, after = orders_of(HIGH)[0], orders_of(closed(HIGH, 9 * HOURS), found("dev-2", severity="CRITICAL"))
    assert before["work_order_id"] in {o["work_order_id"] for o in after}


@pytest.mark.parametrize(
    ("changes", "due"),
    [
        ({"severity": "CRITICAL"}, at(15) + 4 * HOURS),
        ({}, at(15) + 24 * HOURS),
        ({"hours_left": 10.0}, at(0) + 10 * HOURS),
        ({"hours_left": 10.0, "last_seen_at": at(60)}, at(60) + 10 * HOURS),
        ({"hours_left": 0.0}, at(15)),
        ({"hours_left": 90.0}, at(15) + 24 * HOURS),
    ],
)
def test_by_when(changes: dict[str, Any], due: datetime) -> None:
    assert orders_of(HIGH | changes)[0]["due_at"] == due


def test_what_it_says() -> None:
    told = HIGH | {
        "evidence": ["Superheat is 4 times its usual straying above normal."],
        "first_check": "Search the flare joints.",
        "hours_left": 14.0, "hours_left_low": 8.0, "hours_left_high": 30.0, "incident_id": "inc",
    }  # fmt: skip
    order = orders_of(told)[0]
    assert order["maintenance_contact"] == "cold@example.org"
    for part in ("4 times its usual", "Search the flare", "14 h (8 to 30)", "dev-1", "firmware 2.1", "Harbour (site-1)",
                 "incident inc", "refrigerant leak", "cold@example.org", HIGH["alert_id"]):  # fmt: skip
        assert part in order["instructions"]
    assert "superheat high" in orders_of(HIGH)[0]["instructions"]


def test_a_storm_has_one_order_that_lists_its_devices() -> None:
    (order,) = orders_of(*storm())
    assert order["alert_id"] == "storm"
    assert all(f"dev-{n}" in order["instructions"] for n in range(10))
    assert "10 devices of one incident" in order["instructions"]


def test_a_device_that_nobody_registered_has_one_too() -> None:
    assert orders_of(raised("stranger"))[0]["maintenance_contact"] is None


_ONES = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.integers(0, 400),
        st.sampled_from(["refrigerant_leak", "bearing_wear", "unknown"]),
        st.sampled_from(["HIGH", "CRITICAL"]),
        st.one_of(st.none(), st.integers(0, 500)),
        st.booleans(),
    ),
    min_size=1,
    max_size=20,
    unique_by=lambda one: one[:2],
)


@settings(max_examples=60, deadline=None)
@given(_ONES)
def test_never_two_at_a_time(ones: list[tuple[int, int, str, str, int | None, bool]]) -> None:
    alerts = []
    for device, minute, mode, severity, until, quiet in ones:
        due = at(minute + 15)
        alert = found(
            f"dev-{device}", minute, failure_mode=mode, severity=severity, work_order_at=due, suppressed=quiet
        )
        alerts.append(alert if until is None else closed(alert, timedelta(minutes=until)))
    board = board_of(*alerts)
    orders = work_orders(board, REGISTRY)
    shown = board.select(
        "alert_id", "suppressed", "status", "work_order_at", trouble=pl.coalesce(mode_or_rules(), sign())
    )
    told = orders.join(shown, on="alert_id", suffix="_of_alert").sort("opened_at")
    assert told.height == orders.height
    assert not told["suppressed"].any()
    for mine in told.partition_by("device_id", "trouble"):
        ends = mine["closed_at"].to_list()
        assert all(e is not None for e in ends[:-1])
        assert all(end <= begin for end, begin in zip(ends, mine["opened_at"][1:], strict=False))
    # Nothing that stands and asks for an order is without one of its kind.
    asking = board.with_columns(trouble=pl.coalesce(mode_or_rules(), sign())).filter(
        ~pl.col("suppressed") & pl.col("resolved_at").is_null()
    )
    open_ones = told.filter(pl.col("status") == "OPEN").select("device_id", "trouble")
    assert asking.join(open_ones, on=["device_id", "trouble"], how="anti").is_empty()
