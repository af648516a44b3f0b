"""Who is told what and when: a table of cases for routes, paces, hours and quiet hours."""

from datetime import UTC, datetime, timedelta

import pytest

from refrig_assets.notify.reach import reach
from refrig_assets_tests.builders import registry_of
from refrig_assets_tests.notify.makers import HOOK, about, routing_of

# A Monday; Berlin is two hours ahead.
NOON = datetime(2026, 6, 1, 12, 20, tzinfo=UTC)
NIGHT = datetime(2026, 6, 1, 22, 30, tzinfo=UTC)  # 00:30 in Berlin
BERLIN = 'timezone = "Europe/Berlin"'


def due(route: str, severity: str = "CRITICAL", now: datetime = NOON, **changes: object) -> float | None:
    """Minutes until it is told by the route; None if never."""
    found = routing_of(f'[[routes]]\nchannels = ["hook"]\n{route}').deliveries(about(severity, **changes), now)  # type: ignore[arg-type]
    return (found[0].due - now) / timedelta(minutes=1) if found else None


@pytest.mark.parametrize(
    ("route", "severity", "now", "minutes"),
    [
        ("", "CRITICAL", NOON, 0),
        ("", "HIGH", NOON, 0),
        ("", "MEDIUM", NOON, 40),
        ("", "LOW", NOON, 18 * 60 + 40),
        (BERLIN, "LOW", NOON, 16 * 60 + 40),
        ('daily_at = "13:00"', "LOW", NOON, 40),
        ('send = "now"', "LOW", NOON, 0),
        ('send = "hourly"', "CRITICAL", NOON, 40),
        ('severities = ["HIGH"]', "CRITICAL", NOON, None),
        ('kinds = ["device_alert"]', "HIGH", NOON, 0),
        ('kinds = ["device_alert"]', "MEDIUM", NOON, None),
        ('kinds = ["device_alert"]\nsend = "now"', "MEDIUM", NOON, 0),
        ('kinds = ["digest"]', "MEDIUM", NOON, 40),
        ('kinds = ["digest"]', "HIGH", NOON, None),
        ('kinds = ["data_quality"]', "HIGH", NOON, None),
        ('sites = ["site-1", "x"]', "HIGH", NOON, 0),
        ('sites = ["site-*"]', "HIGH", NOON, 0),
        ('sites = ["berlin-*"]', "HIGH", NOON, None),
        ('regions = ["north"]', "HIGH", NOON, 0),
        ('regions = ["south"]', "HIGH", NOON, None),
        ('levels = ["L2", "L3"]', "HIGH", NOON, None),
        ('days = ["mon"]', "HIGH", NOON, 0),
        ('days = ["tue"]', "HIGH", NOON, None),
        (f'{BERLIN}\ndays = ["tue"]', "HIGH", NIGHT, 0),
        ('hours = "08:00-18:00"', "CRITICAL", NOON, 0),
        ('hours = "18:00-08:00"', "CRITICAL", NOON, None),
        ('hours = "18:00-08:00"', "CRITICAL", NIGHT, 0),
        # The hours after midnight belong to the shift of the day before.
        (f'{BERLIN}\nhours = "18:00-08:00"\ndays = ["mon"]', "CRITICAL", NIGHT, 0),
        (f'{BERLIN}\nhours = "18:00-08:00"\ndays = ["tue"]', "CRITICAL", NIGHT, None),
        ('quiet = "22:00-06:00"', "CRITICAL", NIGHT, 0),
        ('quiet = "22:00-06:00"', "HIGH", NIGHT, 7 * 60 + 30),
        ('quiet = "22:00-06:00"', "HIGH", NOON, 0),
        ('quiet = "22:00-06:00"', "MEDIUM", NIGHT, 7 * 60 + 30),
        (f'{BERLIN}\nquiet = "22:00-06:00"', "HIGH", NIGHT, 5 * 60 + 30),
        ('quiet = "22:00-06:00"\nsend = "hourly"', "CRITICAL", NIGHT, 7 * 60 + 30),
    ],
)
def test_a_route(route: str, severity: str, now: datetime, minutes: float | None) -> None:
    assert due(route, severity, now) == minutes


def test_other_kinds_have_no_site_and_are_not_called_digests() -> None:
    found = routing_of('[[routes]]\nchannels = ["hook"]\nkinds = ["model"]')
    assert found.deliveries(about("MEDIUM", "model", site_id=None, region=None), NOON)
    assert due('sites = ["site-1"]', kind="model", site_id=None) is None


def test_levels_and_closings_go_where_they_are_asked_for() -> None:
    assert due('levels = ["L2"]', level="L2") == 0
    assert due('levels = ["L1"]', level="L2") is None
    assert due("", closing=True) is None
    assert due("resolved = true", closing=True) == 0


def test_of_several_routes_to_a_channel_the_soonest_counts() -> None:
    routing = routing_of('[[routes]]\nchannels = ["hook"]\nsend = "daily"\n[[routes]]\nchannels = ["hook"]')
    (delivery,) = routing.deliveries(about("HIGH"), NOON)
    assert (delivery.due, delivery.collected) == (NOON, False)


def test_an_hour_that_the_clock_skips_does_not_swallow_a_digest() -> None:
    before = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)  # 01:30 in Berlin, at 02:00 it becomes 03:00
    minutes = due(f'{BERLIN}\ndaily_at = "02:30"', "LOW", before)
    assert minutes is not None
    assert 0 < minutes <= 120


CONTACT = '[channels.team]\nurl = "mailto://h?from=a@b.org&to={maintenance_contact}"\n'


def test_contacts_of_the_registry_stand_in_the_address_or_the_fallback_is_told() -> None:
    routes = '[[routes]]\nchannels = ["team"]'
    routing = routing_of(routes, CONTACT + 'fallback = "hook"\n' + HOOK)
    known = {"maintenance_contact": "fix@example.org", "site_manager": None}
    assert routing.recipient("team", known) == ("team", {"maintenance_contact": "fix@example.org"})
    assert routing.recipient("team", {"maintenance_contact": None}) == ("hook", {})
    assert routing_of(routes, CONTACT).recipient("team", {"maintenance_contact": None}) is None


def test_a_fallback_that_leads_back_ends() -> None:
    two = CONTACT + 'fallback = "other"\n' + CONTACT.replace("team", "other") + 'fallback = "team"\n'
    assert routing_of('[[routes]]\nchannels = ["team"]', two).recipient("team", {}) is None


@pytest.mark.parametrize(
    ("routes", "warned"),
    [
        ('[[routes]]\nchannels = ["hook"]', []),
        (
            '[[routes]]\nchannels = ["hook"]\nseverities = ["HIGH"]',
            ["CRITICAL alerts of site-1 reach nobody at any hour"],
        ),
        (
            '[[routes]]\nchannels = ["hook"]\nhours = "08:00-18:00"',
            ["Mon 00:00 to Mon 08:00 UTC, Mon 18:00 to Tue 08:00 UTC"],
        ),
        (
            '[[routes]]\nchannels = ["hook"]\nhours = "08:00-18:00"\n'
            '[[routes]]\nchannels = ["hook"]\nhours = "18:00-08:00"',
            [],
        ),
        ('[[routes]]\nchannels = ["hook"]\nsend = "hourly"\nquiet = "22:00-06:00"', ["reach nobody"]),
        ('[[routes]]\nchannels = ["hook"]\nsites = ["site-2"]', ["site-1 reach nobody at any hour"]),
    ],
)
def test_it_is_said_when_critical_reaches_nobody(routes: str, warned: list[str]) -> None:
    found = reach(routing_of(routes), registry_of(["dev-1"])).warnings
    assert len(found) == len(warned)
    assert all(part in one for part, one in zip(warned, found, strict=True))


def test_sites_without_contact_and_channels_without_route_are_named() -> None:
    found = reach(routing_of('[[routes]]\nchannels = ["team"]', CONTACT + HOOK), registry_of(["dev-1"]))
    assert [w.partition(":")[0] for w in found.warnings] == ["channel team", "channel hook"]
    assert "maintenance_contact for site-1" in found.warnings[0]
    (row,) = found.routes
    assert (row["CRITICAL"], row["LOW"], row["what"], row["when"]) == ("now", "daily", "everything", "always")
