"""Quality of an hour's scores from the table: a row a model, a pair, all together; and which hours changed."""

from datetime import datetime, timedelta

import polars as pl
import pytest

from refrig_assets.contracts import MODEL_SCORES, SCORE_QUALITY
from refrig_assets.lake import Lake
from refrig_assets.pipeline.proxies import quality_hour, scored_since, write_quality_hour
from refrig_assets.pipeline.score_rows import replace_scores, write_part
from refrig_assets_tests.alerting.test_severity import AUTO, FOREST, STAT, frame, score
from refrig_assets_tests.builders import HOUR, ONE_HOUR, everything


def put(lake: Lake, model: str, hour: datetime, scores: list[float], role: str = "champion") -> None:
    rows = frame(
        *(score(model, s, device_id=f"dev-{n}", start=hour, deployment_role=role) for n, s in enumerate(scores))
    )
    replace_scores(lake, hour, model, write_part(lake, hour, model, 0, rows))


def test_rows_of_models_pairs_and_all(lake: Lake) -> None:
    put(lake, STAT, HOUR - ONE_HOUR, [0.1, 0.2, 0.7, 0.4])
    put(lake, STAT, HOUR, [0.1, 0.65, 0.7, 0.3])
    put(lake, FOREST, HOUR, [0.2, 0.3, 0.9, 0.1])
    put(lake, AUTO, HOUR - timedelta(days=1), [0.2, 0.3, 0.9, 0.1])
    put(lake, AUTO, HOUR - ONE_HOUR, [0.9, 0.9, 0.1, 0.1])  # on demand: daily models are held against the day before
    put(lake, AUTO, HOUR, [0.2, 0.3, 0.9, 0.1])
    put(lake, "threshold_baseline", HOUR, [0.9] * 4)
    rows = quality_hour(lake, HOUR)
    assert SCORE_QUALITY.violations(rows) == []
    models = {r["model_id"]: r for r in rows.filter(measure="model").to_dicts()}
    assert sorted(models) == [AUTO, FOREST, STAT]
    stat = models[STAT]
    assert (stat["windows"], stat["flagged"], stat["flag_rate"]) == (4, 2, 0.5)
    assert (stat["compared_hour"], stat["flip_rate"]) == (HOUR - ONE_HOUR, 0.25)
    assert models[FOREST]["compared_hour"] is None
    assert (models[AUTO]["compared_hour"], models[AUTO]["flip_rate"]) == (HOUR - timedelta(days=1), 0.0)
    pairs = {(r["model_id"], r["other_model"]): r for r in rows.filter(measure="pair").to_dicts()}
    assert pairs[AUTO, FOREST]["agreement"] == 1.0
    assert pairs[FOREST, STAT]["agreement"] == 0.75
    joint = rows.filter(measure="joint").row(0, named=True)
    assert joint["model_id"] == "+".join(sorted([AUTO, FOREST, STAT]))
    assert (joint["flagged"], joint["agreement"]) == (1, 0.75)


def test_writing_again_replaces(lake: Lake) -> None:
    put(lake, STAT, HOUR, [0.1, 0.65])
    write_quality_hour(lake, HOUR)
    put(lake, STAT, HOUR, [0.1, 0.1])
    write_quality_hour(lake, HOUR)
    assert everything(lake, "score_quality")["flag_rate"].to_list() == [0.0]
    put(lake, STAT, HOUR, [0.1, 0.65], role="shadow")
    assert write_quality_hour(lake, HOUR).is_empty()
    assert everything(lake, "score_quality").is_empty()


def test_which_hours_were_scored_since(lake: Lake) -> None:
    start = scored_since(lake, -1)
    assert start.hours == []
    put(lake, STAT, HOUR, [0.1])
    put(lake, FOREST, HOUR - ONE_HOUR, [0.1])
    news = scored_since(lake, start.upto)
    assert news.hours == [HOUR - ONE_HOUR, HOUR]
    lake.table(MODEL_SCORES).open().optimize.compact()
    assert scored_since(lake, news.upto).hours == []


@pytest.mark.parametrize("model", [STAT, FOREST])
def test_an_empty_hour_takes_the_models_rows_away(lake: Lake, model: str) -> None:
    put(lake, STAT, HOUR, [0.1])
    put(lake, model, HOUR, [0.3, 0.2])
    replace_scores(lake, HOUR, model, [])
    left = everything(lake, "model_scores").select(pl.col("model_id").unique())["model_id"].to_list()
    assert left == ([] if model == STAT else [STAT])
