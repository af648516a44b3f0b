"""From findings to the alert log: one row an alert, and one alert for many devices of a site or firmware at once."""

import pickle
import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from refrig_assets.alerting.changes import alert_id, incomplete
from refrig_assets.alerting.fold import fold
from refrig_assets.alerting.mutes import mute_row
from refrig_assets.contracts import ALERT_BOARD, ALERT_MUTES, DEVICE_ALERTS
from refrig_assets_tests.builders import at, registry_of
from refrig_assets_tests.streaming.rows import frame, row
from streaming.fleet import Fleet
from streaming.judging import FINDINGS, ShardJudge
from streaming.storms import Storms

NOW = at(60)
RULE = "compressor_overload"


def finding(device: str, minute: float, rule: str = RULE, **changes: Any) -> dict[str, Any]:
    moment = at(minute)
    one = {"device_id": device, "rule": rule, "event_time": moment, "since": moment, "first_moment": moment}
    numbers = {"measured": 45.0, "limit": 40.0, "reference": None if rule == RULE else 15.0}
    return one | numbers | {"suppressed": False, "suppressed_by_time": None, "arrived_at": 0.0} | changes


def findings(rows: Sequence[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=FINDINGS, orient="row")


def names(count: int, first: int = 0) -> list[str]:
    return [f"dev-{n:04d}" for n in range(first, first + count)]


def fleet_of(devices: int, per_site: int = 20, firmware: str | None = None) -> Fleet:
    """Devices in sites; all run one firmware, if any."""
    sites = [f"site-{n // per_site}" for n in range(devices)]
    registry = registry_of(names(devices), firmware_version=firmware, site_name="Market")
    return Fleet.of(registry.with_columns(pl.Series("site_id", sites)), 4)


def board(log: pl.DataFrame) -> pl.DataFrame:
    return fold(log)


def grouped(storms: Storms, fleet: Fleet, calls: Sequence[Sequence[dict[str, Any]]]) -> pl.DataFrame:
    return pl.concat([storms.group(findings(c), fleet, NOW + timedelta(seconds=n)) for n, c in enumerate(calls)])


def test_one_finding_is_one_complete_alert() -> None:
    log = Storms().group(findings([finding("dev-0001", 5)]), fleet_of(3), NOW)
    DEVICE_ALERTS.validate(log)
    assert incomplete(log).is_empty()
    one = ALERT_BOARD.validate(board(log)).row(0, named=True)
    assert one["alert_id"] == alert_id("dev-0001", RULE, at(5))
    assert (one["device_id"], one["site_id"], one["rule"], one["severity"]) == ("dev-0001", "site-0", RULE, "CRITICAL")
    assert (one["source"], one["status"], one["suppressed"]) == ("streaming", "OPEN", False)
    assert (one["first_detected_at"], one["alert_created_at"]) == (at(5), NOW)
    assert one["sla_deadline"] == NOW + timedelta(minutes=30)
    assert one["top_contributors"] == ["current_compressor_max"]
    assert "45.0 A" in one["description"]


def test_nothing_found_nothing_written() -> None:
    log = Storms().group(findings([]), fleet_of(3), NOW)
    assert log.is_empty()
    DEVICE_ALERTS.validate(log)


def test_a_repetition_is_written_suppressed_by_its_first() -> None:
    again = finding("dev-0001", 30, suppressed=True, suppressed_by_time=at(5))
    log = Storms().group(findings([finding("dev-0001", 5), again]), fleet_of(3), NOW)
    assert log["suppressed"].to_list() == [False, True]
    assert log["suppressed_by"].to_list() == [None, alert_id("dev-0001", RULE, at(5))]


def test_said_twice_the_changes_are_the_same() -> None:
    rows = findings([finding(d, 1) for d in names(9)])
    first, second = (Storms().group(rows, fleet_of(20), NOW) for _ in range(2))
    assert first["change_id"].to_list() == second["change_id"].to_list()


def test_a_device_that_left_the_registry_meanwhile_still_has_its_alert() -> None:
    log = Storms().group(findings([finding("gone", 1)]), fleet_of(3), NOW)
    assert log["site_id"].to_list() == ["unknown"]


def test_five_devices_of_a_site_are_five_alerts() -> None:
    log = grouped(Storms(), fleet_of(20), [[finding(d, m)] for m, d in enumerate(names(5))])
    assert log["suppressed"].to_list() == [False] * 5


def test_the_sixth_makes_it_one_alert_of_the_site() -> None:
    log = grouped(Storms(), fleet_of(20), [[finding(d, m)] for m, d in enumerate(names(8))])
    DEVICE_ALERTS.validate(log)
    told = board(log)
    group = told.filter(~pl.col("suppressed"))
    assert group.height == 1
    assert (group["device_id"][0], group["site_id"][0], group["severity"][0]) == ("dev-0000", "site-0", "CRITICAL")
    assert "Market (site-0)" in group["title"][0]
    assert "6 of 20" in group["title"][0]
    assert all(d in group["description"][0] for d in names(6))
    rest = told.filter(pl.col("suppressed"))
    assert rest.height == 8
    assert rest["suppressed_by"].unique().to_list() == group["alert_id"].to_list()


def test_in_one_call_no_member_is_ever_told_alone() -> None:
    log = Storms().group(findings([finding(d, 1) for d in names(10)]), fleet_of(20), NOW)
    assert log.filter(pl.col("change") == "created").height == 11
    assert log.filter(~pl.col("suppressed")).height == 1


def test_the_share_counts_at_large_sites() -> None:
    fleet = fleet_of(200, per_site=100)
    few = grouped(Storms(), fleet, [[finding(d, 1) for d in names(20)]])
    assert few["suppressed"].sum() == 0
    more = grouped(Storms(), fleet, [[finding(d, 1) for d in names(21)]])
    assert more.filter(~pl.col("suppressed")).height == 1


def test_minutes_apart_they_are_no_storm() -> None:
    log = grouped(Storms(), fleet_of(20), [[finding(d, 3 * m)] for m, d in enumerate(names(20))])
    assert log["suppressed"].sum() == 0


def test_different_rules_are_no_storm() -> None:
    rules = ("compressor_overload", "total_cooling_loss")
    log = grouped(Storms(), fleet_of(20), [[finding(d, 1, rules[n % 2])] for n, d in enumerate(names(10))])
    assert log["suppressed"].sum() == 0


def test_one_device_again_and_again_is_no_storm() -> None:
    log = grouped(Storms(), fleet_of(20), [[finding("dev-0001", m)] for m in range(10)])
    assert log["suppressed"].sum() == 0


def test_a_unit_change_of_a_firmware_over_many_sites_is_one_alert() -> None:
    fleet = fleet_of(400, firmware="3.1.0")
    hit = names(400)[::10]
    log = grouped(Storms(), fleet, [[finding(d, 1 + n / 10)] for n, d in enumerate(hit)])
    told = board(log)
    group = told.filter(~pl.col("suppressed"))
    assert group.height == 1
    assert "Firmware 3.1.0" in group["title"][0]
    assert "40 of 400" in group["title"][0] or "36 of 400" in group["title"][0]
    assert told.filter(pl.col("suppressed")).height == 40


def test_a_site_is_not_taken_for_its_firmware() -> None:
    log = grouped(Storms(), fleet_of(400, firmware="3.1.0"), [[finding(d, 1)] for d in names(15)])
    titles = board(log).filter(~pl.col("suppressed"))["title"].to_list()
    assert len(titles) == 1
    assert titles[0].startswith("Site Market")


def test_only_fifty_devices_are_named_and_all_are_counted() -> None:
    log = grouped(Storms(), fleet_of(4000, firmware="9"), [[finding(d, 1) for d in names(4000)[::4]]])
    group = board(log).filter(~pl.col("suppressed"))
    assert "1000 of the 4000" in group["description"][0]
    assert "and 950 more" in group["description"][0]


def test_a_growing_storm_is_told_anew_when_it_has_doubled() -> None:
    calls = [[finding(d, 1 + n / 10)] for n, d in enumerate(names(20))]
    log = grouped(Storms(), fleet_of(20), calls)
    anew = log.filter((pl.col("change") == "grouped") & pl.col("title").is_not_null())
    assert anew["title"].to_list() == ["Site Market (site-0): compressor overload on 12 of 20 devices at once"]
    assert board(log).filter(~pl.col("suppressed"))["title"].to_list() == anew["title"].to_list()


def test_a_storm_covers_four_hours_then_the_next_is_told() -> None:
    storms, fleet = Storms(), fleet_of(20)
    grouped(storms, fleet, [[finding(d, 1) for d in names(10)]])
    later = grouped(storms, fleet, [[finding("dev-0015", 200)]])
    assert later["suppressed"].to_list() == [True]
    alone = grouped(storms, fleet, [[finding("dev-0016", 242)]])
    assert alone["suppressed"].to_list() == [False]
    again = grouped(storms, fleet, [[finding(d, 243) for d in names(10)]])
    assert board(pl.concat([alone, again])).filter(~pl.col("suppressed")).height == 1


def test_other_sites_and_rules_are_not_covered() -> None:
    storms, fleet = Storms(), fleet_of(40)
    grouped(storms, fleet, [[finding(d, 1) for d in names(10)]])
    others = grouped(storms, fleet, [[finding("dev-0030", 2), finding("dev-0001", 2, "total_cooling_loss")]])
    assert others["suppressed"].to_list() == [False, False]


def test_an_update_that_changes_a_unit_is_told_once() -> None:
    """From rows on: at some moment all devices of a firmware report psi instead of kPa, one after the other."""
    fleet = fleet_of(60, per_site=6, firmware="3.1.0")
    judges = {n: ShardJudge(fleet.thresholds(n)) for n in range(4)}
    storms, logs = Storms(), []
    for minute in range(30):
        rows = frame(row(minute + n / 100, d, pressure=200.0 if minute < 20 else 60.0) for n, d in enumerate(names(60)))
        told = [judges[n].judge(part) for n, part in fleet.split(rows).items()]
        logs.append(storms.group(pl.concat(told), fleet, at(minute + 1)))
    alerts = board(pl.concat(logs))
    # The first devices are all of one site: taken for the site's at first, then for the firmware's.
    assert alerts.height == 62
    one = alerts.filter(~pl.col("suppressed"))
    assert one.height == 1
    assert one["title"][0].startswith("Firmware 3.1.0: acute pressure loss on ")
    assert "unit" in one["description"][0]


@pytest.mark.parametrize("seed", range(5))
def test_order_within_a_call_does_not_matter(seed: int) -> None:
    rows = [finding(d, 1 + n / 7) for n, d in enumerate(names(30))]
    shuffled = random.Random(seed).sample(rows, len(rows))
    fleet = fleet_of(60, firmware="1.0")
    ordered = Storms().group(findings(rows), fleet, NOW)
    assert Storms().group(findings(shuffled), fleet, NOW).sort("change_id").equals(ordered.sort("change_id"))


def test_the_alert_of_a_storm_is_the_same_however_its_findings_arrive() -> None:
    rows = [finding(d, 1 + n / 7) for n, d in enumerate(names(12))]

    def alerts(order: Sequence[dict[str, Any]]) -> list[str]:
        log = grouped(Storms(), fleet_of(20), [[r] for r in order])
        return board(log).filter(~pl.col("suppressed"))["alert_id"].to_list()

    assert len(alerts(rows)) == 1
    for seed in range(10):
        assert alerts(random.Random(seed).sample(rows, len(rows))) == alerts(rows)
    assert alerts(rows[::-1]) == alerts(rows)


@pytest.mark.parametrize("way", ["pickle", "saved"])
def test_goes_on_from_what_is_kept(way: str) -> None:
    fleet, calls = fleet_of(20), [[finding(d, m / 2)] for m, d in enumerate(names(14))]
    whole = grouped(Storms(), fleet, calls)
    storms, parts = Storms(), []
    for n, call in enumerate(calls):
        parts.append(storms.group(findings(call), fleet, NOW + timedelta(seconds=n)))
        kept = pickle.loads(pickle.dumps(storms if way == "pickle" else storms.saved()))
        storms = kept if way == "pickle" else Storms(kept)
    assert pl.concat(parts).equals(whole)


def test_what_is_over_is_forgotten() -> None:
    storms, fleet = Storms(), fleet_of(400)
    for hour in range(50):
        for n, device in enumerate(names(400)[:: 40 if hour else 1]):
            storms.group(findings([finding(device, 60 * hour + n / 400)]), fleet, NOW)
    assert len(pickle.dumps(storms)) < 20_000


def test_under_a_mute_an_alert_is_written_suppressed_with_the_reason_and_makes_no_storm() -> None:
    said = {"starts_at": at(0), "ends_at": at(30), "made_at": at(0), "made_by": "ann", "reason": "site rebuilt"}
    mutes = pl.DataFrame([mute_row(mute_id="m1", site_id="site-0", **said)], schema=ALERT_MUTES.dtypes)
    hit = [*(finding(name, 5) for name in names(20)), finding("dev-0025", 5), finding("dev-0001", 45)]
    told = board(Storms().group(findings(hit), fleet_of(40), NOW, mutes))
    silent = told.filter("suppressed")
    assert set(silent["device_id"]) == set(names(20))
    assert silent.select("suppressed_by", "note").unique().rows() == [("mute:m1", "site rebuilt")]
    assert sorted(told.filter(~pl.col("suppressed"))["device_id"]) == ["dev-0001", "dev-0025"]
