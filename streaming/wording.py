"""What an alert of the stream says to a person at 3 a.m.: measured, limit, since when, what it means, what to do first.

Plain text from findings and the registry's facts; decides nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from refrig_assets.contracts.alerts import SUPPRESSION_WINDOW

NAMED_AT_MOST = 50


@dataclass(frozen=True)
class RuleText:
    """A rule in words. `says` is filled with the finding's numbers."""

    title: str
    says: str
    means: str
    first: str
    feature: str
    """the feature (C3) that shows it"""


RULE_TEXTS: dict[str, RuleText] = {
    "compressor_overload": RuleText(
        title="Compressor overload: {measured:.1f} A, limit {limit:.1f} A",
        says="The compressor draws {measured:.1f} A; this device's limit is {limit:.1f} A.",
        means="The compressor is jammed or works against too much: windings or mechanics may be ruined in minutes.",
        first="Switch the compressor off and leave it off, save the goods, then check supply phases, contactor and "
        "condenser fans before anybody starts it again.",
        feature="current_compressor_max",
    ),
    "vibration_spike": RuleText(
        title="Vibration {times:.1f} times the usual: {measured:.1f} mm/s",
        says="The compressor vibrates at {measured:.1f} mm/s RMS, {times:.1f} times its usual {reference:.1f} mm/s; "
        "the limit is {limit:.1f} mm/s (3 times the mean of its last 24 hours, or its registered baseline).",
        means="A bearing is breaking up, a part is loose, or liquid or a foreign object is in the compressor.",
        first="Have somebody listen at the machine; if it knocks or rattles, stop the compressor and save the goods, "
        "then check mountings, bearings and for liquid coming back.",
        feature="vibration_compressor_max",
    ),
    "acute_pressure_loss": RuleText(
        title="Low-side pressure fell {fall:.0f} % within 5 minutes: {measured:.0f} kPa",
        says="The low-side pressure fell from {reference:.0f} kPa to {measured:.0f} kPa, by {fall:.0f} %, "
        "within 5 minutes while the compressor ran; the limit is {limit:.0f} kPa ({allowed:.0f} % down).",
        means="Refrigerant is probably escaping fast: cooling stops soon, and the gas can be a danger to people.",
        first="Keep people out of closed rooms, air them, no flames or switches where the refrigerant burns; stop the "
        "compressor, close the receiver valve, save the goods, call a refrigeration engineer with a leak detector.",
        feature="pressure_low_min",
    ),
    "total_cooling_loss": RuleText(
        title="Evaporator warms by {measured:.1f} °C a minute",
        says="The evaporator, at {reference:.1f} °C before, warms by {measured:.1f} °C a minute; the limit is "
        "{limit:.1f} °C a minute for 3 minutes. No defrost is reported.",
        means="Nothing cools any more: the compressor has failed, or the power is gone.",
        first="Check power, breaker and whether the compressor runs; keep doors shut and move goods that must stay "
        "cold within the hour.",
        feature="temp_evaporator_slope",
    ),
}  # fmt: skip

# What all devices of a site, or of a firmware, having it at once rather means.
_COMMON = {
    "site_id": "So many at one site at once is rather one cause than as many failures: the power supply, a shared "
    "plant, the air around them, or the gateway. Look at the site first, then at each device named here.",
    "firmware_version": "So many devices of one firmware at once, at several sites, is rather the firmware than as "
    "many failures: a changed unit or scale, or a bad update. Compare one device with a gauge on the spot and stop the "
    "roll-out; if the gauge agrees with the values, treat each device named here as failing.",
}


def clock(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def device_text(finding: Mapping[str, Any]) -> tuple[str, str]:
    """Title and description of one device's alert, from a finding's row with the registry's facts joined."""
    text = RULE_TEXTS[finding["rule"]]
    numbers = _numbers(finding)
    title = f"{text.title.format(**numbers)}, {finding['device_id']}"
    if finding["site_name"]:
        title += f" at {finding['site_name']}"
    parts = [
        text.says.format(**numbers),
        _when(finding),
        *_again(finding),
        f"It means: {text.means}",
        f"Do first: {text.first}",
        _where(finding),
    ]
    return title, " ".join(parts)


def group_text(
    kind: str, name: str, rule: str, first: datetime, last: datetime, devices: Sequence[str], count: int, of: int
) -> tuple[str, str]:
    """Title and description of the one alert for a storm; `devices` are the first ones, `count` is all of them."""
    what = f"Site {name}" if kind == "site_id" else f"Firmware {name}"
    plain = rule.replace("_", " ")
    title = f"{what}: {plain} on {count} of {of} devices at once"
    more = f" and {count - len(devices)} more" if count > len(devices) else ""
    described = (
        f"{count} of the {of} devices of {what[0].lower() + what[1:]} show {plain} "
        f"from {clock(first)} to {clock(last)}. {_COMMON[kind]} Usually, on one device, it means: "
        f"{RULE_TEXTS[rule].means} The alerts of the devices are written suppressed. "
        f"Devices: {', '.join(devices)}{more}."
    )
    return title, described


def _numbers(finding: Mapping[str, Any]) -> dict[str, float]:
    measured, limit, reference = finding["measured"], finding["limit"], finding["reference"]
    known = float("nan") if reference is None else reference
    return {
        "measured": measured,
        "limit": limit,
        "reference": known,
        "times": measured / known if known else float("nan"),
        "fall": 100 * (1 - measured / known) if known else float("nan"),
        "allowed": 100 * (1 - limit / known) if known else float("nan"),
    }


def _when(finding: Mapping[str, Any]) -> str:
    since, seen = finding["since"], finding["event_time"]
    return f"Since {clock(since)}, last seen {clock(seen)}." if since < seen else f"Since {clock(since)}."


def _again(finding: Mapping[str, Any]) -> list[str]:
    hours = SUPPRESSION_WINDOW / timedelta(hours=1)
    if finding["suppressed"]:
        return [
            f"It was alerted less than {hours:.0f} hours before, {clock(finding['suppressed_by_time'])}: not notified."
        ]
    lasting = finding["event_time"] - finding["first_moment"]
    return [f"It has lasted {lasting / timedelta(hours=1):.1f} hours by now."] if lasting >= SUPPRESSION_WINDOW else []


def _where(finding: Mapping[str, Any]) -> str:
    model, site, firmware = finding["model"], finding["site_name"], finding["firmware_version"]
    parts = [f"Device {finding['device_id']}" + (f" ({model})" if model else "")]
    parts.append(f"site {finding['site_id']}" + (f" ({site})" if site else ""))
    if firmware:
        parts.append(f"firmware {firmware}")
    if finding["maintenance_contact"]:
        parts.append(f"repairs: {finding['maintenance_contact']}")
    return ", ".join(parts) + "."
