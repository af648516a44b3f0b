"""From findings to rows of the alert log; many devices of a site or firmware at once become one alert of the group."""

from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from refrig_assets.alerting.changes import alert_id, created, log_rows, suppressed
from refrig_assets.alerting.known import MUTE
from refrig_assets.alerting.mutes import muted
from refrig_assets.contracts import ALERT_MUTES
from refrig_assets.contracts.alerts import DEVICE_ALERTS, MODE_OF_RULE, STREAM, SUPPRESSION_WINDOW
from streaming.fleet import UNKNOWN_SITE, Fleet
from streaming.wording import NAMED_AT_MOST, RULE_TEXTS, device_text, group_text

WINDOW = timedelta(minutes=10)
LEAST = 5  # so many alerts at once a person can still look at one by one
# More than this share of a group's devices makes a storm. A firmware runs at many sites.
SHARES = {"firmware_version": 0.02, "site_id": 0.2}
_REMEMBERED = timedelta(minutes=30)  # so that what comes in late by some minutes still finds its neighbours
# A change that follows another at the same moment must come after it in the log.
_AFTER = timedelta(microseconds=1)

GroupKey = tuple[str, str, str]
"""kind of group, its name, rule"""


@dataclass
class Storm:
    """A group's alert and whom it covers."""

    alert: str
    opened: datetime
    first: datetime
    last: datetime
    devices: list[str] = field(default_factory=list)
    """the first of them, to be named"""
    count: int = 0
    told: int = 0
    """how many the alert's text speaks of"""

    def covers(self, moment: datetime) -> bool:
        return self.first - WINDOW <= moment < self.opened + SUPPRESSION_WINDOW

    def add(self, device: str, moment: datetime) -> None:
        self.count += 1
        self.first, self.last = min(self.first, moment), max(self.last, moment)
        if len(self.devices) < NAMED_AT_MOST:
            self.devices.append(device)


@dataclass(frozen=True, order=True)
class Recent:
    """An alert that was not suppressed, not long ago."""

    moment: datetime
    device: str
    site: str
    alert: str


@dataclass(frozen=True)
class _Call:
    """What one call of `group` makes."""

    fleet: Fleet
    now: datetime
    alerts: dict[str, dict[str, Any]] = field(default_factory=dict)
    """new ones, by identity"""
    regrouped: dict[str, list[str]] = field(default_factory=dict)
    """alerts of earlier calls that a storm now covers, by the storm's alert"""


class Storms:
    """Remembers the last minutes' alerts by group, and the storms under way."""

    def __init__(self, saved: Mapping[str, Any] | None = None) -> None:
        self._recent: dict[GroupKey, list[Recent]] = {}
        self._storms: dict[GroupKey, Storm] = {}
        if saved is not None:
            self._recent = {key: [Recent(*one) for one in entries] for key, entries in saved["recent"]}
            self._storms = {key: Storm(**storm) for key, storm in saved["storms"]}

    def saved(self) -> dict[str, Any]:
        """Plain lists from which another one goes on."""
        recent = [(key, [(r.moment, r.device, r.site, r.alert) for r in rs]) for key, rs in self._recent.items()]
        return {"recent": recent, "storms": [(key, asdict(storm)) for key, storm in self._storms.items()]}

    def group(
        self, findings: pl.DataFrame, fleet: Fleet, now: datetime, mutes: pl.DataFrame | None = None
    ) -> pl.DataFrame:
        """Log rows (contract device_alerts) of findings, which may stand in any order within a call.

        Of devices under a mute they are written suppressed with its reason, and make no storm.
        """
        if findings.is_empty():
            return DEVICE_ALERTS.empty()
        call = _Call(fleet, now)
        ordered = findings.sort("event_time", "device_id", "rule")
        facts = fleet.facts(ordered["device_id"])
        told_of = ordered.hstack(facts.get_columns()).with_columns(moment="event_time")
        under = muted(told_of, ALERT_MUTES.empty() if mutes is None else mutes)
        for finding in under.iter_rows(named=True):
            alert = _device_alert(finding, now)
            call.alerts[alert["alert_id"]] = alert
            if not alert["suppressed"]:
                self._place(finding, alert, call)
        told = [_created(list(call.alerts.values()))]
        for by, members in call.regrouped.items():
            told.append(suppressed(members, by, now + _AFTER, STREAM, change="grouped"))
        grown = self._grown(call)
        if grown:
            told.append(log_rows(grown, "grouped", STREAM, pl.col("title")))
        self._forget()
        return pl.concat(told)

    def _place(self, finding: Mapping[str, Any], alert: dict[str, Any], call: _Call) -> None:
        """Under a storm that covers it; else among its groups' recent ones, which may make a storm of them."""
        moment, device = finding["event_time"], finding["device_id"]
        keys = [(kind, finding[kind], finding["rule"]) for kind in SHARES if finding[kind] not in (None, UNKNOWN_SITE)]
        for key in keys:
            storm = self._storms.get(key)
            if storm is not None and storm.covers(moment):
                storm.add(device, moment)
                alert.update(suppressed=True, suppressed_by=storm.alert)
                return
        recent = Recent(moment, device, finding["site_id"], alert["alert_id"])
        for key in keys:
            insort(self._recent.setdefault(key, []), recent)
        for key in keys:
            members = _storm_about(moment, self._recent[key], key, call.fleet)
            if members:
                self._open(key, members, call)
                return

    def _open(self, key: GroupKey, members: list[Recent], call: _Call) -> None:
        kind, name, rule = key
        first = members[0]
        # Of one storm told twice, in whatever order its devices come, the alert is the same.
        start = min(r.moment for r in members).replace(second=0, microsecond=0)
        start -= timedelta(minutes=start.minute % 10)
        storm = Storm(alert_id(f"{kind}:{name}", rule, start), first.moment, first.moment, first.moment)
        for member in members:
            storm.add(member.device, member.moment)
        within = self._storms_within(key, members)
        for covered in (*(m.alert for m in members), *(s.alert for s in within)):
            if covered in call.alerts:
                call.alerts[covered].update(suppressed=True, suppressed_by=storm.alert)
            else:
                call.regrouped.setdefault(storm.alert, []).append(covered)
        storm.told = storm.count
        self._storms[key] = storm
        called, of = _group(kind, name, call.fleet)
        title, description = group_text(kind, called, rule, storm.first, storm.last, storm.devices, storm.count, of)
        call.alerts[storm.alert] = _alert(storm.alert, first.device, first.site, rule, first.moment, call.now) | {
            "title": title,
            "description": description,
        }

    def _storms_within(self, key: GroupKey, members: list[Recent]) -> list[Storm]:
        """Storms of the same rule that turn out to be part of this one, such as a site's of a firmware's."""
        hit = {r.device for r in members}
        return [
            storm
            for (kind, _, rule), storm in self._storms.items()
            if kind != key[0] and rule == key[2] and storm.covers(members[0].moment)
            if 2 * len(hit.intersection(storm.devices)) >= len(storm.devices)
        ]

    def _grown(self, call: _Call) -> list[dict[str, Any]]:
        """New texts of storms that have doubled since they were written."""
        rows = []
        for (kind, name, rule), storm in self._storms.items():
            if storm.count < 2 * storm.told:
                continue
            storm.told = storm.count
            called, of = _group(kind, name, call.fleet)
            title, text = group_text(kind, called, rule, storm.first, storm.last, storm.devices, storm.count, of)
            rows.append({"alert_id": storm.alert, "changed_at": call.now + _AFTER, "title": title, "description": text})
        return rows

    def _forget(self) -> None:
        """What is too old to make a storm, and storms that are over. Times are compared within a group."""
        for key, recent in list(self._recent.items()):
            self._recent[key] = [r for r in recent if recent[-1].moment - r.moment <= _REMEMBERED]
        for key, storm in list(self._storms.items()):
            newest = self._recent.get(key)
            if newest and newest[-1].moment >= storm.opened + 2 * SUPPRESSION_WINDOW:
                del self._storms[key]


def _storm_about(moment: datetime, recent: list[Recent], key: GroupKey, fleet: Fleet) -> list[Recent]:
    """The first ten minutes around the moment in which enough of the group's devices were hit; else nothing."""
    kind, name, _ = key
    size = (fleet.devices_by_site if kind == "site_id" else fleet.devices_by_firmware).get(name, 0)
    limit = int(max(LEAST, SHARES[kind] * size))
    if len(recent) <= limit:
        return []
    times = [r.moment for r in recent]
    for begin in range(bisect_left(times, moment - WINDOW), bisect_right(times, moment)):
        members = recent[begin : bisect_right(times, times[begin] + WINDOW)]
        if len(members) > limit and len({r.device for r in members}) > limit and _is_the_groups(kind, members, fleet):
            return members
    return []


def _is_the_groups(kind: str, members: list[Recent], fleet: Fleet) -> bool:
    """Most of them at one site are that site's trouble, whatever they run."""
    at_one = max(Counter(r.site for r in members).values())
    return kind == "site_id" or 2 * at_one <= len(members) or len(fleet.devices_by_site) == 1


def _group(kind: str, name: str, fleet: Fleet) -> tuple[str, int]:
    """What people call it, and how many devices it has."""
    if kind != "site_id":
        return name, fleet.devices_by_firmware.get(name, 0)
    called = fleet.site_names.get(name)
    return f"{called} ({name})" if called else name, fleet.devices_by_site.get(name, 0)


def _alert(alert: str, device: str, site: str, rule: str, first: datetime, now: datetime) -> dict[str, Any]:
    return {
        "alert_id": alert,
        "device_id": device,
        "site_id": site,
        "severity": "CRITICAL",
        "source": "streaming",
        "rule": rule,
        "top_contributors": [RULE_TEXTS[rule].feature],
        "failure_mode": MODE_OF_RULE[rule],
        "first_check": RULE_TEXTS[rule].first,
        "first_detected_at": first,
        "alert_created_at": now,
        "suppressed": False,
        "suppressed_by": None,
        "note": None,
        "title": "",
        "description": "",
    }


def _device_alert(finding: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    device, rule = finding["device_id"], finding["rule"]
    title, description = device_text(finding)
    one = alert_id(device, rule, finding["event_time"])
    alert = _alert(one, device, finding["site_id"], rule, finding["first_moment"], now)
    alert |= {"title": title, "description": description, "suppressed": finding["suppressed"]}
    if finding["mute_id"] is not None:
        alert |= {"suppressed": True, "suppressed_by": MUTE + finding["mute_id"], "note": finding["mute_reason"]}
    elif finding["suppressed"]:
        alert["suppressed_by"] = alert_id(device, rule, finding["suppressed_by_time"])
    return alert


def _created(alerts: list[dict[str, Any]]) -> pl.DataFrame:
    return created(pl.DataFrame(alerts, schema={name: DEVICE_ALERTS.dtypes[name] for name in alerts[0]}), STREAM)
