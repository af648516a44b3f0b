"""What is made of windows in a row, and of an oddity without a name: it is listed, and told once models agree that it
lasts, or it is rare."""

from typing import Any

import polars as pl
import pytest

from refrig_assets.alerting.severity import SEVERITY_SCHEMA
from refrig_assets.alerting.sustained import named, sustained
from refrig_assets_tests.alerting.night import window

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


@pytest.mark.parametrize(
    ("severity", "hours_left", "one_look", "believed"),
    [
        ("LOW", 60.0, True, "LOW"),
        ("LOW", None, True, "LOW"),
        ("LOW", 12.0, True, "MEDIUM"),  # there is no time for a second look
        ("LOW", 60.0, False, "MEDIUM"),
        ("LOW", None, False, "MEDIUM"),
        ("HIGH", None, True, "MEDIUM"),
    ],
)
def test_a_second_look_is_waited_for_where_there_is_time(
    severity: str, hours_left: float | None, one_look: bool, believed: str
) -> None:
    hit = _hit(severity, "MEDIUM", "evaporator_icing", HOURS, BASELINE, 0.65, 1, one_look, hours_left)
    assert named(hit)["confirmed"].to_list() == [believed]


@pytest.mark.parametrize(
    ("scores", "confirmed", "one_look"),
    [
        ([0.2] * 8 + [0.65] * 3, "LOW", False),
        ([0.2] * 8 + [0.65] * 4, "MEDIUM", True),
        ([0.2] * 8 + [0.65] * 7, "MEDIUM", True),
        ([0.2] * 8 + [0.65] * 8, "MEDIUM", False),
        ([0.59] * 4 + [0.65] * 4, "MEDIUM", False),  # two hours as odd as a flag
        ([0.65] * 5 + [0.55] + [0.65] * 2, "MEDIUM", False),  # a window below breaks the row, and not the mean
        ([0.65] * 7 + [0.55], None, False),
        ([0.65] * 4, "MEDIUM", False),  # the first hour that is scored: there is no more to look at
        ([0.6] * 8, None, False),
        ([0.2] * 8 + [0.75] * 2, "MEDIUM", False),
        ([0.2] * 8 + [0.9], "MEDIUM", False),
    ],
)
def test_an_hour_is_one_look(scores: list[float], confirmed: str | None, one_look: bool) -> None:
    last = sustained(_windows(scores)).tail(1)
    assert last.select("confirmed", "one_look").row(0) == (confirmed, one_look)


def test_devices_and_what_came_before_are_no_business_of_a_window() -> None:
    mine = _windows([0.2] * 8 + [0.59] * 4 + [0.65] * 4)
    both = pl.concat([mine, _windows([0.9] * 16, "dev-2")])
    alone, beside = (sustained(frame).filter(pl.col("device_id") == "dev-1") for frame in (mine, both))
    assert alone.equals(beside)
    assert sustained(mine.tail(9)).tail(1).equals(alone.tail(1))


def _windows(scores: list[float], device: str = "dev-1") -> pl.DataFrame:
    def rated(score: float) -> str | None:
        return "HIGH" if score > 0.85 else "MEDIUM" if score > 0.7 else "LOW" if score > 0.6 else None

    rows: list[dict[str, Any]] = [
        window(15 * n, rated(score), device, anomaly_score=score) for n, score in enumerate(scores)
    ]
    return pl.DataFrame(rows, schema=SEVERITY_SCHEMA, orient="row")


def test_what_is_no_medium_is_left_alone() -> None:
    assert named(_hit("CRITICAL", "CRITICAL", None, 1, FOREST, 0.99, 1))["confirmed"].to_list() == ["CRITICAL"]
    assert named(_hit("HIGH", "HIGH", None, 2, BASELINE, 0.9, 2))["confirmed"].to_list() == ["HIGH"]
    assert named(_hit("LOW", "LOW", None, 2, BASELINE, 0.61, 1))["confirmed"].to_list() == ["LOW"]


def _hit(
    severity: str, confirmed: str, mode: str | None, run: int, model: str, score: float, flagging: int,
    one_look: bool = False, hours_left: float | None = None,
) -> pl.DataFrame:  # fmt: skip
    return pl.DataFrame(
        {
            "severity": [severity],
            "confirmed": [confirmed],
            "failure_mode": pl.Series([mode], dtype=pl.String),
            "run": [run],
            "model_id": [model],
            "anomaly_score": [score],
            "models_flagging": [flagging],
            "one_look": [one_look],
            "hours_left": pl.Series([hours_left], dtype=pl.Float64),
        }
    )
