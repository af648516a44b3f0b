"""A diagnosis in sentences: what was measured, how far that is from usual, since when, and what to check first."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from refrig_assets.alerting.diagnosis_seen import CHAMPION
from refrig_assets.alerting.diagnosis_signs import CHANGE
from refrig_assets.alerting.signatures import LOWERED
from refrig_assets.alerting.wording import plain, sensor_name
from refrig_assets.contracts.sensors import SENSORS

_UNITS = {s.short: s.unit.removesuffix(" RMS").replace("%RH", "%") for s in SENSORS}
_SWINGS, _PEAKS = "_std", "_p95"

FIRST_CHECKS: Mapping[str, str] = {
    "refrigerant_leak": "Look for bubbles in the sight glass and search joints, valves and coils with a leak detector.",
    "condenser_fouling": "Look at the condenser: clean its fins, and see that its fan runs and its air is not blocked.",
    "evaporator_icing": "Look at the evaporator for ice; try the defrost heater, its sensor and the drain.",
    "bearing_wear": "Listen to the compressor and measure its vibration at the bearing; look at mounts and oil.",
    "valve_hunting": "Look at the expansion valve: its bulb's contact, the superheat setting, the controller's gains.",
    "liquid_slugging": "Stop the compressor if liquid comes back: check expansion valve, fans, and crankcase heater.",
    "door_seal": "Look at the door: seal, hinges and closer; see that nothing keeps it open.",
    "compressor_overload": "Measure the compressor's current on all phases; check voltage, contactor and start gear.",
    "power_loss": "See whether there is power: breaker, contactor, thermostat and the safety switches.",
    "sensor_fault": "Compare the sensor with a gauge or thermometer; check its plug, cable and fixing.",
    "unknown": "Look at the sensors named in the evidence, and compare them with a gauge on the spot.",
}

LOOKS_LIKE: Mapping[str, str] = {
    LOWERED: "a set point that was lowered would show so, too: superheat and compressor current are as usual",
}


def amount(value: float, unit: str) -> str:
    digits = 0 if abs(value) >= 100 else 2 if unit == "mm/s" else 1
    return f"{value:.{digits}f} {unit}".strip()


def deviation(feature: str, value: float, off: float, way: str, source: str, since: datetime | None = None) -> str:
    """Superheat 14.2 K, 6.1 K above what this device usually has at this ambient, rising since …"""
    short = _short(feature)
    unit = "K" if _UNITS.get(short) == "°C" else _UNITS.get(short, "")
    own = _UNITS.get(short, "")
    name = sensor_name(short)
    where = "above" if off > 0 else "below"
    grows = "" if since is None else f", {'rising' if off > 0 else 'falling'} since {moment(since)}"
    if way == CHANGE:
        went = f"{name} {'rose' if off > 0 else 'fell'} by {amount(abs(off), unit)}"
        than = " more than the conditions explain" if source == CHAMPION else ""
        return _sentence(f"in three days {went}{than}")
    usual = "what this device usually has at this ambient" if source == CHAMPION else "usual"
    if feature.endswith(_SWINGS):
        return _sentence(f"{name} swings by {amount(value, unit)}, {amount(abs(off), unit)} {where} usual{grows}")
    kind = " peaks at" if feature.endswith(_PEAKS) else ""
    return _sentence(f"{name}{kind} {amount(value, own)}, {amount(abs(off), unit)} {where} {usual}{grows}")


def as_usual(features: Sequence[str]) -> str:
    """What a mode leads one to expect, and is not there."""
    names = listed([sensor_name(_short(f)) + (" swings" if f.endswith(_SWINGS) else "") for f in features])
    return _sentence(f"{names} {'is' if len(features) == 1 else 'are'} as usual, which speaks against it")


def lone(short: str, others: Sequence[str]) -> str:
    tied = listed([sensor_name(s) for s in others])
    usual = f"; {tied} {'is' if len(others) == 1 else 'are'} as usual" if tied else ""
    return _sentence(f"only {sensor_name(short)} is off{usual}")


def stuck(shorts: Sequence[str], values: Sequence[float]) -> str:
    said = [f"{sensor_name(s)} at {amount(v, _UNITS.get(s, ''))}" for s, v in zip(shorts, values, strict=True)]
    return _sentence(f"has not moved for hours: {listed(said)}")


def silent(shorts: Sequence[str], lately: bool) -> str:
    said = listed([sensor_name(s) for s in shorts])
    return _sentence(f"reports nothing: {said}, since less than three days" if lately else f"reports nothing: {said}")


def scaled(factor: float) -> str:
    by = f"{factor:.1f} times" if factor > 1 else f"1/{1 / factor:.1f} of"
    return _sentence(f"both pressures are {by} what they should be, and the temperatures are not: a matter of units")


def pressures_lost() -> str:
    return _sentence("both pressures are missing or outside what is possible, while the other sensors report")


def hard_to_hear(share: float) -> str:
    return _sentence(f"only {share:.0%} of the readings due in the last hours have come")


def much_flagged() -> str:
    return _sentence("nearly every reading carries a quality flag: see its clock, its ranges and its units")


def at_rest(since: datetime, at_least: bool) -> str:
    return _sentence(f"the compressor stands still since {moment(since)}{' or longer' if at_least else ''}")


def above_limit(current: float, limit: float) -> str:
    return _sentence(
        f"compressor current up to {amount(current, 'A')}, above this device's limit of {amount(limit, 'A')}"
    )


def runner_up(mode: str) -> str:
    return _sentence(f"it may also be {plain(mode)}")


def harmless(change: str) -> str:
    return _sentence(LOOKS_LIKE[change])


def nothing_known() -> str:
    return _sentence("nothing is known of this device that it could be compared with")


def in_defrost() -> str:
    return _sentence("a defrost ran in this window or the one before, so it was judged by the hours before it")


def all_as_usual() -> str:
    return _sentence("over the hours before, nothing was far from usual")


def no_champion(why: str | None) -> str:
    lost = f" could not be loaded ({why})" if why else " is not there"
    return _sentence(f"the statistical model{lost}; compared with the device's baselines")


def listed(names: Sequence[str]) -> str:
    once = list(dict.fromkeys(names))
    return once[0] if len(once) == 1 else f"{', '.join(once[:-1])} and {once[-1]}" if once else ""


def moment(at: datetime) -> str:
    rounded = (at + timedelta(minutes=30)).replace(minute=0, second=0, microsecond=0)
    return f"{rounded:%d %b %H:%M} UTC"


def _short(feature: str) -> str:
    return feature.rpartition("_")[0]


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
