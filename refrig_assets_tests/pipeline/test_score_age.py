"""The age of scores: the fallback table at its borders, and what is read of the table."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from refrig_assets.contracts import MODEL_SCORES
from refrig_assets.contracts.scoring import DAILY_DETECTORS, HOURLY_DETECTORS
from refrig_assets.lake import Lake
from refrig_assets.pipeline.score_age import ScoreAge, score_age
from refrig_assets_tests.alerting.test_severity import frame, score
from refrig_assets_tests.builders import HOUR

STAT, FOREST = HOURLY_DETECTORS
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("minutes", "status", "use"),
    [
        (0, "fresh", "scores"),
        (59, "fresh", "scores"),
        (60, "stale", "scores"),
        (119, "stale", "scores"),
        (120, "very_stale", "rules"),
        (240, "very_stale", "rules"),
        (241, "expired", "stream"),
        (None, "expired", "stream"),
    ],
)
def test_the_table(minutes: int | None, status: str, use: str) -> None:
    newest = {} if minutes is None else {FOREST: HOUR - minutes * MINUTE, STAT: HOUR - timedelta(hours=20)}
    age = ScoreAge(HOUR, newest)
    assert (age.status, age.use) == (status, use)
    assert age.says


def test_one_failing_model_is_named_once_its_last_scores_are_past_use() -> None:
    def failing(minutes: int) -> list[str]:
        return list(ScoreAge(HOUR, {FOREST: HOUR, STAT: HOUR - minutes * MINUTE}).failing)

    assert failing(120) == []
    assert failing(121) == [STAT]
    age = ScoreAge(HOUR, {FOREST: HOUR})
    assert age.status == "fresh"
    assert STAT in age.says


def write(lake: Lake, *rows: tuple[str, datetime, dict[str, Any]]) -> None:
    table = lake.table(MODEL_SCORES)
    for model, end, changes in rows:
        table.append(frame(score(model, 0.5, start=end - 15 * MINUTE, **changes)))


def test_what_the_table_holds_by_now(lake: Lake) -> None:
    daily = DAILY_DETECTORS[0]
    write(
        lake,
        (STAT, HOUR, {}),
        (STAT, HOUR - 30 * MINUTE, {}),
        (FOREST, HOUR - timedelta(hours=3), {}),
        (daily, HOUR - timedelta(hours=26), {}),
        (FOREST, HOUR, {"deployment_role": "shadow"}),
        ("rules_fallback", HOUR, {}),
        (FOREST, HOUR + timedelta(hours=2), {}),
    )
    age = score_age(lake, HOUR + 5 * MINUTE)
    assert age.newest == {STAT: HOUR, FOREST: HOUR - timedelta(hours=3), daily: HOUR - timedelta(hours=26)}
    assert age.age == 5 * MINUTE
    assert list(age.failing) == [FOREST]


def test_too_old_is_as_good_as_none(lake: Lake) -> None:
    assert score_age(lake, HOUR).newest == {}
    write(lake, (STAT, HOUR - timedelta(hours=40), {}))
    assert score_age(lake, HOUR).newest == {}
