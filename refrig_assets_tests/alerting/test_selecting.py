"""Choosing alerts: each filter, the order of urgency, and the alerts that another one stands for."""

from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from refrig_assets.alerting.changes import operator_action, suppressed
from refrig_assets.alerting.fold import fold
from refrig_assets.alerting.selecting import Filters, by_urgency, covered, meet
from refrig_assets_tests.alerting.makers import alert, created_alerts
from refrig_assets_tests.builders import HOUR, at

REGISTRY = pl.DataFrame({"device_id": ["a", "b", "c", "d", "e"], "model": ["KX", "KX", "NF", None, "NF"]})
ALERTS = [
    alert("a", at(0), severity="LOW", failure_mode="door_seal"),
    alert("b", at(10), severity="CRITICAL", site_id="site-2", model_id="autoencoder", rule=None),
    alert("c", at(20), severity="HIGH", incident_id="fire"),
    alert("d", at(30), severity="HIGH"),
    alert("e", at(40), severity="MEDIUM"),
]
IDS = {a["device_id"]: a["alert_id"] for a in ALERTS}
LOG = pl.concat(
    [
        created_alerts(*ALERTS),
        operator_action(IDS["c"], "acknowledged", "ann", at(41)),
        operator_action(IDS["e"], "resolved", "ann", at(42)),
        suppressed([IDS["d"]], IDS["c"], at(43), "stream"),
    ]
)
BOARD = fold(LOG)


def chosen(**filters: Any) -> str:
    return "".join(by_urgency(BOARD.filter(meet(Filters(**filters), at(60), REGISTRY)))["device_id"])


@pytest.mark.parametrize(
    ("filters", "devices"),
    [
        ({}, "bca"),
        ({"everything": True}, "bcade"),
        ({"sites": ["site-1"]}, "ca"),
        ({"devices": ["b", "a"]}, "ba"),
        ({"severities": ["LOW"]}, "a"),
        ({"at_least": "HIGH"}, "bc"),
        ({"statuses": ["RESOLVED"]}, "e"),
        ({"statuses": ["OPEN"], "everything": True}, "bad"),
        ({"modes": ["door_seal"]}, "a"),
        ({"models": ["KX"]}, "ba"),
        ({"models": ["autoencoder"]}, "b"),
        ({"models": ["compressor_overload"]}, "ca"),
        ({"levels": ["L2"]}, ""),
        ({"incident": "fire"}, "c"),
        ({"older_than": timedelta(minutes=50)}, "ba"),
        ({"newer_than": timedelta(minutes=50)}, "c"),
        ({"breached": True}, "b"),
        ({"sites": ["site-2"], "severities": ["LOW"]}, ""),
    ],
)
def test_filters(filters: dict[str, Any], devices: str) -> None:
    assert chosen(**filters) == devices


def test_urgent_is_what_is_severe_then_untaken_then_nearly_due() -> None:
    alerts = [
        alert("late", at(10)), alert("soon", at(0)), alert("taken", at(-60)), alert("high", at(-600), severity="HIGH"),
    ]  # fmt: skip
    log = pl.concat([created_alerts(*alerts), operator_action(alerts[2]["alert_id"], "started", "ann", HOUR)])
    assert by_urgency(fold(log))["device_id"].to_list() == ["soon", "late", "taken", "high"]


def test_what_an_alert_stands_for_is_found_through_storms_within_storms() -> None:
    alerts = [alert(name) for name in ("storm", "site", "one", "two", "done", "other")]
    ids = {a["device_id"]: a["alert_id"] for a in alerts}
    log = pl.concat(
        [
            created_alerts(*alerts),
            suppressed([ids["site"]], ids["storm"], at(1), "stream", change="grouped"),
            suppressed([ids["one"], ids["two"], ids["done"]], ids["site"], at(1), "stream", change="grouped"),
            operator_action(ids["done"], "resolved", "ann", at(2)),
        ]
    )
    board = fold(log)
    assert covered(board, [ids["storm"]]) == sorted([ids["site"], ids["one"], ids["two"]])
    assert covered(board, [ids["other"]]) == []
    again = alert("other", at(30), suppressed=True, suppressed_by=ids["other"])
    assert covered(fold(pl.concat([log, created_alerts(again)])), [ids["other"]]) == []
    of_incident = board.with_columns(
        incident_id=pl.when(pl.col("device_id").is_in(["other", "one"])).then(pl.lit("fire"))
    )
    assert covered(of_incident, [ids["other"]]) == [ids["one"]]
