"""What is made of an oddity without a name: it is listed, and told once models agree that it lasts, or it is rare."""

import polars as pl
import pytest

from refrig_assets.alerting.sustained import named

HOURS = 4  # windows
BASELINE, FOREST, DAILY = "statistical_baseline", "isolation_forest", "autoencoder"


@pytest.mark.parametrize(
    ("severity", "mode", "run", "model", "score", "flagging", "believed"),
    [
        ("LOW", "refrigerant_leak", HOURS, BASELINE, 0.61, 1, "MEDIUM"),
        ("LOW", "unknown", HOURS, BASELINE, 0.61, 1, "LOW"),
        ("LOW", None, HOURS, BASELINE, 0.61, 1, "LOW"),
        ("LOW", "unknown", 8 * HOURS, BASELINE, 0.61, 1, "LOW"),  # one opinion, however long
        ("MEDIUM", "unknown", 2, BASELINE, 0.65, 2, "LOW"),  # two opinions, of a moment
        ("MEDIUM", "unknown", 4 * HOURS - 1, BASELINE, 0.65, 2, "LOW"),
        ("MEDIUM", "unknown", 4 * HOURS, BASELINE, 0.65, 2, "MEDIUM"),
        ("MEDIUM", None, 2, BASELINE, 0.65, 2, "MEDIUM"),  # nobody was asked
        ("MEDIUM", "evaporator_icing", 2, BASELINE, 0.65, 2, "MEDIUM"),
        ("MEDIUM", "unknown", 2, BASELINE, 0.71, 1, "MEDIUM"),
        ("MEDIUM", "unknown", 2, "rules_fallback", 0.71, 1, "MEDIUM"),
        ("MEDIUM", "unknown", 4 * HOURS, FOREST, 0.71, 1, "LOW"),
        ("MEDIUM", "unknown", 2, DAILY, 0.71, 1, "LOW"),
        ("HIGH", "unknown", 1, FOREST, 0.9, 2, "MEDIUM"),
    ],
)
def test_an_oddity_without_a_name_is_listed(
    severity: str, mode: str | None, run: int, model: str, score: float, flagging: int, believed: str
) -> None:
    hit = _hit(severity, "MEDIUM", mode, run, model, score, flagging)
    assert named(hit)["confirmed"].to_list() == [believed]


def test_what_is_no_medium_is_left_alone() -> None:
    assert named(_hit("CRITICAL", "CRITICAL", None, 1, FOREST, 0.99, 1))["confirmed"].to_list() == ["CRITICAL"]
    assert named(_hit("HIGH", "HIGH", None, 2, BASELINE, 0.9, 2))["confirmed"].to_list() == ["HIGH"]
    assert named(_hit("LOW", "LOW", None, 2, BASELINE, 0.61, 1))["confirmed"].to_list() == ["LOW"]


def _hit(
    severity: str, confirmed: str, mode: str | None, run: int, model: str, score: float, flagging: int
) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "severity": [severity],
            "confirmed": [confirmed],
            "failure_mode": pl.Series([mode], dtype=pl.String),
            "run": [run],
            "model_id": [model],
            "anomaly_score": [score],
            "models_flagging": [flagging],
        }
    )
