"""Model cards: what they tell, how they judge promises, and that pictures travel with the text."""

import dataclasses

import numpy as np
import pytest

from refrig_assets.models.card import Card, Promise, model_card, promises
from refrig_assets_tests.models.registry_tools import fitted, rows

PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def card() -> Card:
    scores = fitted().score(rows(4))["anomaly_score"].to_numpy()
    return model_card(
        fitted().info,
        held_out=scores,
        proxies={"flag_rate": 0.0125, "rank_correlation": float("nan")},
        data={"features_snapshot": 41, "left_out_after_maintenance": 1234},
        limits=["Trained on one winter only."],
    )


def test_a_card_tells_everything(card: Card) -> None:
    text = card.text
    assert text.startswith("# statistical_baseline\n")
    for heading in ("Data and window", "Do its scores keep their promise?", "Proxy metrics", "Features",
                    "Hyperparameters", "Limits", "How to read it"):  # fmt: skip
        assert f"\n## {heading}\n" in text
    assert "| features snapshot | 41 |" in text
    assert "| left out after maintenance | 1,234 |" in text
    assert "| rank correlation | not known |" in text
    assert "| `trim` | 0.05 |" in text
    assert "3 features are scored: `a`, `b`, `c`" in text
    assert "- Trained on one winter only." in text
    assert "exceeds **0.6**" in text


def test_pictures_are_files_or_within(card: Card) -> None:
    assert sorted(card.files()) == ["card.md", "scores.png", "tail.png"]
    assert all(image.startswith(PNG) for image in card.images.values())
    assert "](scores.png)" in card.text
    assert card.embedded.count("data:image/png;base64,") == 2
    assert ".png)" not in card.embedded
    assert Card.of_files(card.files()) == card


def test_without_held_out_scores_a_card_says_so() -> None:
    plain = model_card(fitted().info)
    assert not plain.images
    assert "so it is not known" in plain.text
    assert model_card(fitted().info, held_out=np.full(5, np.nan)).images == {}


def test_long_settings_are_cut_and_bars_kept_apart() -> None:
    info = dataclasses.replace(fitted().info, settings={"groups": ["word"] * 500, "odd": "a|b"})
    text = model_card(info).text
    assert "| `groups` | ['word', 'word'" in text
    assert len(text) < 5000
    assert r"a\|b" in text


@pytest.mark.parametrize(
    ("above", "rows_", "verdict"),
    [
        (90, 10_000, "kept"),
        (105, 10_000, "kept, within chance"),
        (150, 10_000, "broken"),
        (0, 100, "too few rows to tell (it takes 300)"),
        (30, 100, "broken"),
        (10_100, 1_000_000, "kept, within chance"),
        (10_500, 1_000_000, "broken"),
    ],
)
def test_verdicts_allow_for_chance(above: int, rows_: int, verdict: str) -> None:
    assert Promise(0.6, 0.01, rows_, above).verdict == verdict


def test_promises_leave_unscored_rows_out() -> None:
    scores = np.array([0.1, 0.65, 0.72, 0.9, 0.99, np.nan])
    assert [(p.limit, p.rows, p.above) for p in promises(scores)] == [
        (0.6, 5, 4), (0.7, 5, 3), (0.85, 5, 2), (0.95, 5, 1)
    ]  # fmt: skip
