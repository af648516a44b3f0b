"""Incidents: who is part of one, what it says, when it ends."""

from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from refrig_assets.alerting.incidents import incidents, members_of
from refrig_assets.contracts import INCIDENTS
from refrig_assets_tests.alerting.makers_board import board_of, closed, found, raised
from refrig_assets_tests.builders import at, registry_of

DEVICES = [f"dev-{n}" for n in range(10)]
REGISTRY = registry_of(DEVICES, site_name="Harbour", firmware_version="2.1", maintenance_contact="cold@example.org")


def grouped_alerts(count: int = 10, **changes: Any) -> list[dict[str, Any]]:
    return [found(d, n, incident_id="one", **changes) for n, d in enumerate(DEVICES[:count])]


def storm(**changes: Any) -> list[dict[str, Any]]:
    """A site's storm as the stream writes it: its alert, and those of the devices under it."""
    head = raised("dev-0", 0, id="storm", title="Site Harbour: total cooling loss", description="40 of them", **changes)
    return [head, *(raised(d, n, suppressed=True, suppressed_by="storm") for n, d in enumerate(DEVICES))]


def only(board: pl.DataFrame) -> dict[str, Any]:
    found_ones = INCIDENTS.validate(incidents(board, REGISTRY))
    assert found_ones.height == 1
    return found_ones.row(0, named=True)


def test_of_alerts_that_share_nothing_there_is_none() -> None:
    again = found("dev-0", 60, suppressed=True, suppressed_by=found("dev-0")["alert_id"])
    muted = found("dev-1", 3, suppressed=True, suppressed_by="mute:4711")
    board = board_of(found("dev-0"), again, muted)
    assert incidents(board, REGISTRY).equals(INCIDENTS.empty())
    assert incidents(board.clear(), REGISTRY.clear()).is_empty()


def test_a_batch_incident_lists_its_devices_and_its_severest() -> None:
    alerts = grouped_alerts(6)
    alerts[3] |= {"severity": "HIGH", "last_seen_at": at(77)}
    one = only(board_of(*alerts, found("dev-9", 4)))
    assert (one["incident_id"], one["severity"], one["status"]) == ("one", "HIGH", "OPEN")
    assert one["device_ids"] == DEVICES[:6]
    assert set(one["alert_ids"]) == {a["alert_id"] for a in alerts}
    assert (one["opened_at"], one["last_seen_at"], one["closed_at"]) == (at(0), at(77), None)
    assert (one["device_count"], one["standing_count"]) == (6, 6)
    assert one["title"] == "Harbour (site-1): refrigerant leak on 6 of 10 devices at once"
    assert "cold@example.org" in one["description"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"failure_mode": "power_loss"}, "the power supply"),
        ({"failure_mode": "condenser_fouling"}, "the air around them"),
        ({"failure_mode": "unknown", "top_contributors": ["temp_ambient_mean"]}, "the air around them"),
        ({"failure_mode": "sensor_fault"}, "firmware 2.1"),
    ],
)
def test_what_a_whole_site_has_is_the_sites(changes: dict[str, Any], says: str) -> None:
    one = only(board_of(*grouped_alerts(**changes)))
    assert says in one["title"]
    assert says in one["description"]
    assert one["description"].startswith("All devices of Harbour")


def test_sensors_of_several_firmwares_are_the_gateways() -> None:
    mixed = REGISTRY.with_columns(firmware_version=pl.Series(["2.1", "3.0"] * 5))
    one = incidents(board_of(*grouped_alerts(failure_mode="sensor_fault")), mixed).row(0, named=True)
    assert "the gateway" in one["title"]


def test_a_leak_has_no_common_cause_and_few_devices_have_none() -> None:
    assert "rather" not in only(board_of(*grouped_alerts()))["title"]
    assert "rather" not in only(board_of(*grouped_alerts(7, failure_mode="condenser_fouling")))["title"]


def test_a_storm_goes_by_its_alert_and_in_its_words() -> None:
    one = only(board_of(*storm()))
    assert (one["incident_id"], one["title"], one["description"]) == (
        "storm",
        "Site Harbour: total cooling loss",
        "40 of them",
    )
    assert (one["failure_mode"], one["shared_sign"]) == ("power_loss", "total_cooling_loss")
    assert (one["device_count"], one["standing_count"], one["status"]) == (10, 1, "OPEN")


def test_a_storm_within_another_is_part_of_it() -> None:
    inner = storm(suppressed=True, suppressed_by="firmware")
    head = raised("dev-0", 0, id="firmware", title="Firmware 2.1")
    again = raised("dev-3", 90, suppressed=True, suppressed_by=inner[4]["alert_id"])
    one = only(board_of(head, *inner, again))
    assert one["incident_id"] == "firmware"
    assert len(one["alert_ids"]) == 13


def test_a_repetition_belongs_to_the_incident_of_what_it_repeats() -> None:
    alerts = grouped_alerts(6)
    again = found("dev-2", 61, suppressed=True, suppressed_by=alerts[2]["alert_id"])
    assert set(members_of(board_of(*alerts, again))["alert_id"]) == {a["alert_id"] for a in (*alerts, again)}


def test_alerts_that_cover_each_other_end() -> None:
    a, b = found("dev-0", suppressed=True), found("dev-1", suppressed=True)
    board = board_of(a | {"suppressed_by": b["alert_id"]}, b | {"suppressed_by": a["alert_id"]})
    assert members_of(board).height <= 2


def test_it_is_over_when_its_last_alert_is() -> None:
    alerts = grouped_alerts(6)
    half = [closed(a, timedelta(hours=3)) for a in alerts[:3]]
    assert only(board_of(*half, *alerts[3:]))["status"] == "OPEN"
    over = only(board_of(*half, *(closed(a, timedelta(hours=5), "FALSE_POSITIVE") for a in alerts[3:])))
    assert (over["status"], over["standing_count"]) == ("CLOSED", 0)
    assert over["closed_at"] == at(5) + timedelta(hours=5)
