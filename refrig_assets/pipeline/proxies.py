"""The quality of an hour's scores without labels, counted from model_scores and written to score_quality."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from refrig_assets.contracts.modelling import MODEL_SCORES
from refrig_assets.contracts.scoring import DAILY_DETECTORS, DETECTORS, SCORE_QUALITY
from refrig_assets.lake import HOUR, Lake, commits_since
from refrig_assets.monitoring.proxies import Agreement, Stability, agreements, distribution, stability
from refrig_assets.pipeline.score_rows import SCORED

_NEEDED = ["device_id", "window_end", "model_id", "model_version", "anomaly_score", "anomaly_flag"]


@dataclass(frozen=True)
class ScoredHours:
    """Hours whose scores changed, and the version of model_scores that this was read at."""

    upto: int
    hours: list[datetime]


def quality_hour(lake: Lake, hour: datetime) -> pl.DataFrame:
    """The hour's rows of score_quality: each model, each pair, and all together."""
    by_model = _by_model(lake, hour)
    rows = [_model_row(lake, hour, model, scores) for model, scores in by_model.items()]
    rows += [_agreement_row(hour, found, by_model) for found in agreements(by_model)]
    frame = pl.DataFrame(rows, schema=SCORE_QUALITY.dtypes, orient="row") if rows else SCORE_QUALITY.empty()
    return SCORE_QUALITY.conform(frame)


def write_quality_hour(lake: Lake, hour: datetime) -> pl.DataFrame:
    """Put the hour's rows in the place of those before."""
    rows = quality_hour(lake, hour)
    table = lake.table(SCORE_QUALITY)
    table.replace_hour(hour, table.write_files(rows, f"h{hour:%H}"))
    return rows


def scored_since(lake: Lake, version: int) -> ScoredHours:
    """The hours that commits after this version of model_scores say they scored."""
    notes = commits_since(lake.table(MODEL_SCORES), version, [SCORED])
    hours = {datetime.fromisoformat(c.metadata[SCORED].partition(" ")[2]) for c in notes.commits}
    return ScoredHours(notes.upto, sorted(hours))


def _by_model(lake: Lake, hour: datetime, model: str | None = None) -> dict[str, pl.DataFrame]:
    models = DETECTORS if model is None else (model,)
    mine = (pl.col("deployment_role") == "champion") & pl.col("model_id").is_in(models)
    rows = lake.table(MODEL_SCORES).scan(hour, hour + HOUR).filter(mine).select(_NEEDED).collect(engine="in-memory")
    return {str(m[0]): part for m, part in sorted(rows.partition_by("model_id", as_dict=True).items())}


def _model_row(lake: Lake, hour: datetime, model: str, scores: pl.DataFrame) -> dict[str, Any]:
    spread = distribution(scores)
    before, steady = _stability(lake, hour, model, scores)
    return {
        "hour": hour,
        "measure": "model",
        "model_id": model,
        "model_versions": scores["model_version"].unique().sort().to_list(),
        "windows": spread.windows,
        "devices": spread.devices,
        "flagged": spread.flagged,
        "flag_rate": spread.flag_rate,
        "score_mean": spread.mean,
        **{f"score_{name}": value for name, value in spread.quantiles.items()},
        **{f"share_above_{round(100 * limit)}": share for limit, share in spread.shares_above.items()},
        "histogram": spread.histogram,
        "compared_hour": before,
        "flip_rate": steady.flip_rate if steady else None,
        "rank_correlation": steady.rank_correlation if steady else None,
    }


def _stability(
    lake: Lake, hour: datetime, model: str, scores: pl.DataFrame
) -> tuple[datetime | None, Stability | None]:
    """Against the model's run before: an hour before, or a day before for those that run daily."""
    before = hour - (timedelta(days=1) if model in DAILY_DETECTORS else HOUR)
    earlier = _by_model(lake, before, model).get(model)
    return (None, None) if earlier is None else (before, stability(earlier, scores))


def _agreement_row(hour: datetime, found: Agreement, by_model: Mapping[str, pl.DataFrame]) -> dict[str, Any]:
    pair = len(found.models) == 2
    versions = pl.concat([by_model[m]["model_version"].unique() for m in found.models])
    return {
        "hour": hour,
        "measure": "pair" if pair else "joint",
        "model_id": found.models[0] if pair else "+".join(found.models),
        "other_model": found.models[1] if pair else None,
        "model_versions": versions.unique().sort().to_list(),
        "windows": found.windows,
        "devices": found.devices,
        "flagged": found.flagged_by_all,
        "flag_rate": found.flagged_by_all / found.windows if found.windows else 0.0,
        "rank_correlation": found.rank_correlation,
        "agreement": found.agreement,
        "overlap": found.overlap,
    }
