"""Training data read back: wide frames for models, a split at a time."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from refrig_assets.contracts.modelling import HEALTHY_LABELS, SPLITS, TRAINING_DATA
from refrig_assets.lake import Lake
from refrig_assets.pipeline.training_sample import TrainingDataError

_AT_ONCE = 100_000


@dataclass(frozen=True)
class TrainingRows:
    """One version of the training data as wide rows."""

    version: int
    snapshot_id: int
    rows: pl.DataFrame

    def split(self, name: str, *, healthy: bool = False) -> pl.DataFrame:
        """The rows of a split; healthy: without those that are labelled ill."""
        mine = self.rows.filter(pl.col("split") == name)
        return mine.filter(pl.col("label").is_null() | pl.col("label").is_in(HEALTHY_LABELS)) if healthy else mine


def read_training_rows(lake: Lake, version: int | None = None, splits: Sequence[str] = SPLITS) -> TrainingRows:
    """The rows of a version of the table, by default of the newest."""
    table = lake.table(TRAINING_DATA)
    version = table.version if version is None else version
    rows = table.scan(version=version)
    head = rows.head(1).collect()
    if head.is_empty():
        raise TrainingDataError("training_data is empty: make it first (asset training_data)")
    # The names are the same on every row; read for every row they would be most of the memory.
    named = rows.filter(pl.col("split").is_in(splits)).drop("feature_names").collect(engine="in-memory")
    return TrainingRows(version, head["snapshot_id"][0], to_model_rows(named, head["feature_names"][0].to_list()))


def to_model_rows(training: pl.DataFrame, names: Sequence[str] | None = None) -> pl.DataFrame:
    """Rows of training_data with a column a feature in the place of the vectors, by device and time."""
    if names is None:
        if training.is_empty():
            raise TrainingDataError("there are no training rows to unpack")
        names = training["feature_names"][0].to_list()
    parts = [_unpacked(part, list(names)) for part in training.iter_slices(_AT_ONCE)]
    return pl.concat(parts).sort("device_id", "window_start") if parts else _unpacked(training, list(names))


def _unpacked(part: pl.DataFrame, names: list[str]) -> pl.DataFrame:
    lengths = part["feature_vector"].list.len()
    if part.height and (lengths.min(), lengths.max()) != (len(names), len(names)):
        raise TrainingDataError(
            f"feature_vector holds {lengths.min()!r} to {lengths.max()!r} values, but there are {len(names)} names"
        )
    values = part["feature_vector"].explode(empty_as_null=False).to_numpy().reshape(part.height, len(names))
    wide = pl.DataFrame(values, schema=dict.fromkeys(names, pl.Float64)).with_columns(pl.all().fill_nan(None))
    kept = part.drop("feature_vector", "feature_names", strict=False)
    return kept.with_columns(wide.get_columns())
