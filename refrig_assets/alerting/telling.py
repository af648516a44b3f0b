"""What a batch alert says to a person: what, which sensors and which way, since when, what to do. Decides nothing."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from refrig_assets.alerting.wording import sensor_name
from refrig_assets.contracts.scoring import SCORED_WINDOW_MIN
from refrig_assets.contracts.trends import sensor_of

if TYPE_CHECKING:
    from refrig_assets.alerting.known import Known

Hit = Mapping[str, Any]
MODE_TITLES: Mapping[str, str] = {
    "refrigerant_leak": "Refrigerant leak",
    "condenser_fouling": "Fouled condenser",
    "evaporator_icing": "Iced evaporator",
    "bearing_wear": "Worn compressor bearing",
    "valve_hunting": "Hunting expansion valve",
    "liquid_slugging": "Liquid returns to the compressor",
    "door_seal": "Door leaks or stands open",
    "compressor_overload": "Overloaded compressor",
    "power_loss": "No power, or the compressor stands still",
    "sensor_fault": "Sensor fault",
}
_MODEL_NAMES = {
    "statistical_baseline": "statistical baseline",
    "isolation_forest": "isolation forest",
    "autoencoder": "autoencoder",
    "dbscan_cohort": "cohort clusters",
    "rules_fallback": "rules on features",
}
_FIRST = "Look at the sensors named above, and compare with a gauge on the spot."


def sensor_phrases(contributors: Sequence[str] | None, weights: Sequence[float] | None) -> list[str]:
    """Each contributor's sensor once, in their order, with the way in which it strays."""
    told: dict[str, str] = {}
    for place, feature in enumerate(contributors or ()):
        sensor = sensor_of(feature)
        weight = weights[place] if weights and place < len(weights) else 0.0
        way = (
            "" if not weight else " unsteady" if "_std" in feature and weight > 0 else " high" if weight > 0 else " low"
        )
        told.setdefault(sensor, f"{sensor_name(sensor)}{way}")
    return list(told.values())


def device_text(hit: Hit) -> tuple[str, str]:
    """Title and description of an alert, from a window with registry facts and diagnosis."""
    phrases = sensor_phrases(hit["top_contributors"], hit["contributor_scores"])
    mode = MODE_TITLES.get(hit["failure_mode"] or "")
    if mode:
        what = mode if hit["diagnosis_confidence"] and hit["diagnosis_confidence"] >= 0.8 else f"{mode} likely"
    else:
        what = f"Unusual: {', '.join(phrases[:2])}" if phrases else "Unusual behaviour"
    title = f"{what}, {hit['device_id']}" + (f" at {hit['site_name']}" if hit["site_name"] else "")
    parts = [
        *(hit["evidence"] or []),
        f"Furthest from usual: {', '.join(phrases)}." if phrases else "",
        _seen(hit),
        _left(hit),
        _models(hit),
        f"Do first: {hit['first_check'] or _FIRST}",
        _where(hit),
    ]
    return title, " ".join(p for p in parts if p)


def repeated_text(hit: Hit, alert: "Known") -> tuple[str, str]:
    """Title and description of a repetition, which nobody is told of."""
    title = f"Seen again, {hit['device_id']}"
    if alert.closed:
        when = f"{alert.resolved_at:%Y-%m-%d %H:%M} UTC" if alert.resolved_at else "before"
        closed = "called false" if alert.status == "FALSE_POSITIVE" else "closed"
        return title, f"The same as an alert that was {closed} at {when}. Not notified."
    return title, f"The same as the alert that stands since {alert.first:%Y-%m-%d %H:%M} UTC. Not notified."


def _seen(hit: Hit) -> str:
    lasts = timedelta(minutes=SCORED_WINDOW_MIN) * max(hit["run"], 1)
    since = hit["window_end"] - lasts
    return f"Seen in {hit['run']} windows in a row since {since:%Y-%m-%d %H:%M} UTC." if hit["run"] > 1 else ""


def _left(hit: Hit) -> str:
    if hit["hours_left"] is None:
        return ""
    low, high = hit["hours_left_low"], hit["hours_left_high"]
    between = f" (between {low:.0f} and {high:.0f})" if low is not None and high is not None else ""
    return f"If it goes on so, about {hit['hours_left']:.0f} hours{between} are left."


def _models(hit: Hit) -> str:
    by = _MODEL_NAMES.get(hit["model_id"], hit["model_id"])
    if hit["source"] == "fallback":
        return "The models are silent: this comes from rules on features alone."
    flags = hit["models_flagging"]
    others = f"; {flags} models flag it" if flags > 1 else ""
    carried = "; a model that failed is stood in for by its last good score" if hit["carried"] else ""
    return f"Score {hit['anomaly_score']:.2f} by the {by}{others}{carried}."


def _where(hit: Hit) -> str:
    model, site = hit["model"], hit["site_name"]
    parts = [f"Device {hit['device_id']}" + (f" ({model})" if model else "")]
    parts.append(f"site {hit['site_id']}" + (f" ({site})" if site else ""))
    if hit["maintenance_contact"]:
        parts.append(f"repairs: {hit['maintenance_contact']}")
    return ", ".join(parts) + "."
