"""What an alert says: numbers, limit, since when, what it means, what to do first."""

from typing import Any

import pytest

from refrig_assets.contracts.alerts import STREAM_RULES
from refrig_assets.contracts.features import DEVICE_FEATURES
from refrig_assets_tests.builders import at
from streaming.wording import RULE_TEXTS, device_text, group_text

FACTS = {
    "site_id": "S-0012",
    "site_name": "Market 12",
    "model": "Norda WF-20",
    "firmware_version": "2.3.0",
    "maintenance_contact": "dispatch@coldcare.example",
}
NUMBERS: dict[str, tuple[float, float, float | None]] = {
    "compressor_overload": (47.24, 40.0, None),
    "vibration_spike": (12.34, 9.0, 3.0),
    "acute_pressure_loss": (120.0, 140.0, 200.0),
    "total_cooling_loss": (3.26, 2.0, -24.9),
}
SAYS = {
    "compressor_overload": ["47.2 A", "40.0 A"],
    "vibration_spike": ["12.3 mm/s", "4.1 times", "3.0 mm/s", "9.0 mm/s"],
    "acute_pressure_loss": ["200 kPa", "120 kPa", "40 %", "140 kPa", "30 % down"],
    "total_cooling_loss": ["3.3 °C a minute", "-24.9 °C", "2.0 °C a minute"],
}


def finding(rule: str, **changes: Any) -> dict[str, Any]:
    measured, limit, reference = NUMBERS[rule]
    times = {"event_time": at(5), "since": at(2), "first_moment": at(5), "suppressed_by_time": None}
    numbers = {"measured": measured, "limit": limit, "reference": reference, "suppressed": False}
    return {"device_id": "RF-000123", "rule": rule} | times | numbers | FACTS | changes


def test_every_rule_has_words_and_a_feature_that_exists() -> None:
    assert set(RULE_TEXTS) == set(STREAM_RULES)
    assert {text.feature for text in RULE_TEXTS.values()} <= set(DEVICE_FEATURES.columns)


@pytest.mark.parametrize("rule", STREAM_RULES)
def test_an_alert_says_all_a_person_needs(rule: str) -> None:
    title, text = device_text(finding(rule))
    assert "RF-000123" in title
    assert "Market 12" in title
    assert len(title) < 100
    for said in [*SAYS[rule], "2026-03-02 10:02:00 UTC", "2026-03-02 10:05:00 UTC", "It means: ", "Do first: "]:
        assert said in text
    for fact in FACTS.values():
        assert fact in text
    assert "nan" not in text.lower()


@pytest.mark.parametrize("rule", STREAM_RULES)
def test_what_the_registry_does_not_know_is_left_out(rule: str) -> None:
    unknown = dict.fromkeys(FACTS) | {"site_id": "unknown"}
    title, text = device_text(finding(rule, **unknown))
    assert "None" not in title + text


def test_a_lasting_one_says_how_long() -> None:
    _, text = device_text(finding("compressor_overload", event_time=at(485)))
    assert "It has lasted 8.0 hours" in text


def test_a_repetition_says_of_what() -> None:
    _, text = device_text(finding("compressor_overload", suppressed=True, suppressed_by_time=at(-30)))
    assert "2026-03-02 09:30:00 UTC" in text
    assert "not notified" in text


@pytest.mark.parametrize(("kind", "said"), [("site_id", "power supply"), ("firmware_version", "unit")])
def test_a_group_says_what_so_many_at_once_rather_mean(kind: str, said: str) -> None:
    title, text = group_text(kind, "X", "total_cooling_loss", at(0), at(9), ["a", "b"], 12, 40)
    assert title.endswith("X: total cooling loss on 12 of 40 devices at once")
    assert said in text
    assert "Devices: a, b and 10 more." in text
    assert "2026-03-02 10:00:00 UTC" in text
