"""Rows of model_scores: how they are made, known by identity, and put in the place of a model's earlier ones."""

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl

from refrig_assets.contracts.base import TS
from refrig_assets.contracts.modelling import MODEL_SCORES
from refrig_assets.lake import HOUR, Commit, DataFile, Lake, TableFile

_NAMESPACE = uuid.UUID("1f2a4c54-2b0f-5c1e-8d0a-6a7c0f3b9e21")
# What a commit of scores says of itself: who reads it knows which hours changed.
SCORED = "refrig.scored"


class ScoringError(RuntimeError):
    """Scores that must not be written; the message says whose and why. Nothing was written."""


@dataclass(frozen=True)
class Producer:
    """Whose scores they are."""

    model_id: str
    version: str
    role: str = "champion"

    @property
    def version_and_role(self) -> str:
        return f"{self.version} {self.role}"


def score_ids(windows: pl.DataFrame, producer: Producer) -> pl.Series:
    """UUIDv5 of each row's key: the same window scored again has the same identity."""
    head = hashlib.sha1(_NAMESPACE.bytes)
    head.update(f"{producer.model_id}\n{producer.version}\n{producer.role}\n".encode())
    ends = windows["window_end"].dt.epoch("us").cast(pl.String)
    digests = bytearray()
    for device, end in zip(windows["device_id"], ends, strict=True):
        one = head.copy()
        one.update(f"{device}\n{end}".encode())
        digests += one.digest()[:16]
    raw = np.frombuffer(bytes(digests), dtype=np.uint8).reshape(-1, 16).copy()
    raw[:, 6] = raw[:, 6] & 0x0F | 0x50  # version 5
    raw[:, 8] = raw[:, 8] & 0x3F | 0x80  # variant of RFC 9562
    text = pl.Series("hex", [row.tobytes() for row in raw], dtype=pl.Binary).bin.encode("hex")
    parts = [text.str.slice(at, length) for at, length in ((0, 8), (8, 4), (12, 4), (16, 4), (20, 12))]
    return pl.select(pl.concat_str(parts, separator="-").alias("score_id")).to_series()


def score_rows(windows: pl.DataFrame, scored: pl.DataFrame, producer: Producer, scored_at: datetime) -> pl.DataFrame:
    """Rows of the contract from windows and, row by row, what the producer says of them. NaN is an error."""
    bad = int(scored["anomaly_score"].is_nan().sum())
    if bad:
        raise ScoringError(
            f"{producer.model_id} {producer.version} gave NaN for {bad:,} of {scored.height:,} windows: nothing is "
            "written. Go back to the version before (refrig models rollback) and look at the model's card."
        )
    rows = pl.concat(
        [windows.select("device_id", "window_start", "window_end", "sensor_completeness"), scored], how="horizontal"
    ).with_columns(
        score_ids(windows, producer),
        pl.lit(producer.model_id).alias("model_id"),
        pl.lit(producer.version).alias("model_version"),
        pl.lit(producer.role).alias("deployment_role"),
        pl.lit(scored_at, dtype=TS).alias("scored_at"),
    )
    return MODEL_SCORES.conform(rows)


def write_part(lake: Lake, hour: datetime, model_id: str, number: int, rows: pl.DataFrame) -> list[DataFile]:
    """Write rows, which nobody sees until `replace_scores`."""
    return lake.table(MODEL_SCORES).write_files(rows, f"{_tag(hour, model_id)}{number:03d}")


def replace_scores(
    lake: Lake, hour: datetime, model_id: str, files: Sequence[DataFile], devices: Sequence[str] | None = None
) -> Commit:
    """Put files in the place of a model's rows of the hour (of some devices). Other models' rows stay."""
    stays = pl.col("model_id") != model_id
    if devices is not None:
        stays |= ~pl.col("device_id").is_in(list(devices))
    others = [_tag(hour, other) for other in MODEL_SCORES.columns["model_id"].metadata["isin"] if other != model_id]

    def untouched(file: TableFile) -> bool:
        return file.path.rpartition("/")[2].startswith(tuple(others))

    said = {SCORED: f"{model_id} {hour.isoformat()}"}
    return lake.table(MODEL_SCORES).replace_range(hour, hour + HOUR, list(files), said, keep=stays, untouched=untouched)


def _tag(hour: datetime, model_id: str) -> str:
    return f"h{hour:%H}-{model_id}-"
