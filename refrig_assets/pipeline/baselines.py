"""C3b: what is normal for a feature in the fleet, a cohort, a device; from the rows that the models are fitted on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from refrig_assets.contracts.features import FEATURE_BASELINES
from refrig_assets.contracts.trends import MODEL_ROW_FEATURES, TREND_NAMES
from refrig_assets.lake import DataFile, Lake
from refrig_assets.pipeline.training_rows import TrainingRows
from refrig_assets.pipeline.training_sample import TrainingDataError

PERCENTILES = (5, 25, 50, 75, 95)
# A device has a row for each of these: means and trends. All of them would be ten million rows for a large fleet.
DEVICE_FEATURES_TOLD: tuple[str, ...] = (*(f for f in MODEL_ROW_FEATURES if f.endswith("_mean")), *TREND_NAMES)
_FEATURES_A_FILE = 10
_SCOPES = (("fleet", None, MODEL_ROW_FEATURES), ("cohort", "cohort_id", MODEL_ROW_FEATURES),
           ("device", "device_id", DEVICE_FEATURES_TOLD))  # fmt: skip


@dataclass(frozen=True)
class BaselineReport:
    model_version: str
    rows: int
    by_scope: dict[str, int]
    version: int
    bytes: int


def baseline_version(snapshot_id: int) -> str:
    """What baselines of a training are called: they belong to all models of one snapshot."""
    return f"snapshot-{snapshot_id}"


def write_baselines(lake: Lake, data: TrainingRows, now: datetime) -> BaselineReport:
    """Put the baselines of this training in the place of those before."""
    table = lake.table(FEATURE_BASELINES)
    files: list[DataFile] = []
    by_scope: dict[str, int] = {}
    for part in baselines(data, now):
        scope = part["granularity"][0]
        by_scope[scope] = by_scope.get(scope, 0) + part.height
        files += table.write_files(part, f"{scope}-{len(files):03d}")
    commit = table.replace_with(files, {"snapshot_id": str(data.snapshot_id)})
    version = baseline_version(data.snapshot_id)
    return BaselineReport(version, sum(by_scope.values()), by_scope, commit.version, commit.bytes)


def baselines(data: TrainingRows, now: datetime) -> Iterator[pl.DataFrame]:
    """The rows of feature_baselines, some features of a scope at a time."""
    rows = data.split("train", healthy=True)
    if rows.is_empty():
        raise TrainingDataError(f"version {data.version} of training_data has no healthy rows to make baselines of")
    told = {
        "computed_at": pl.lit(now),
        "training_window_start": pl.lit(rows["window_start"].min()),
        "training_window_end": pl.lit(rows["window_end"].max()),
        "model_version": pl.lit(baseline_version(data.snapshot_id)),
    }
    for scope, key, features in _SCOPES:
        for first in range(0, len(features), _FEATURES_A_FILE):
            names = features[first : first + _FEATURES_A_FILE]
            part = pl.concat([_of_feature(rows, name, key) for name in names])
            known = part if key is None else part.filter(pl.col(key).is_not_null())
            if known.height:
                yield FEATURE_BASELINES.conform(known.with_columns(pl.lit(scope).alias("granularity"), **told))


def _of_feature(rows: pl.DataFrame, name: str, key: str | None) -> pl.DataFrame:
    value = pl.col(name)
    figures: Sequence[pl.Expr] = [
        value.mean().alias("baseline_mean"),
        value.std().alias("baseline_std"),
        *(value.quantile(p / 100, "linear").alias(f"baseline_p{p:02d}") for p in PERCENTILES),
        value.is_null().mean().alias("null_rate"),
    ]
    of = rows.select(pl.lit("fleet").alias("fleet") if key is None else pl.col(key), name)
    found = of.group_by("fleet" if key is None else key, maintain_order=True).agg(figures)
    found = found.with_columns(pl.lit(name).alias("feature_name"))
    return found.drop("fleet") if key is None else found.sort(key)
