"""Training: a detector fitted on a version of the training data, judged on what it has not seen, and registered."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from refrig_assets.contracts.modelling import SPLITS
from refrig_assets.lake import Lake
from refrig_assets.models import MODELS, Model
from refrig_assets.models.calibration import PROMISED
from refrig_assets.models.card import Card, Promise, model_card, promises
from refrig_assets.models.registry import Registry
from refrig_assets.models.views import SETTINGS, VIEWS
from refrig_assets.pipeline.stopwatch import Stopwatch
from refrig_assets.pipeline.training_rows import TrainingRows, read_training_rows
from refrig_assets.pipeline.training_sample import TrainingDataError

TRAINER = "training"
# Proxies are named by what they were measured on: held-out devices are seen in the validation time only.
UNSEEN_TIME, UNSEEN_DEVICES = "validation", "held_out"


@dataclass(frozen=True)
class Trained:
    """A version in the registry, and how it did on what it has not seen."""

    model_id: str
    version: str
    model: Model
    card: Card
    metrics: Mapping[str, float]
    promises: tuple[Promise, ...]
    """on devices that were held out, or, where there are none, on the validation time"""
    snapshot_id: int
    training_version: int
    rows: Mapping[str, int]
    seconds: Mapping[str, float] = field(default_factory=dict)


def train(
    lake: Lake,
    registry: Registry,
    model_id: str,
    now: datetime,
    *,
    version: int | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    data: TrainingRows | None = None,
) -> Trained:
    """Fit the detector on a version of the training data (by default the newest) and register it for staging.

    Until it is registered nothing is written: killed before, nothing has happened; two at once give two versions.
    """
    watch = Stopwatch()
    data = data or read_training_rows(lake, version)
    watch.lap("read")
    model = fit(model_id, data, settings=settings, seed=seed)
    watch.lap("fit")
    metrics, told, scores = judge(model, data)
    # The devices held out have judged it: from now on they have normals of their own, too.
    model = model.refreshed(pl.concat([data.split(name, healthy=True) for name in SPLITS]))
    card = model_card(model.info, held_out=scores, proxies=metrics, limits=_limits(data))
    watch.lap("judge")
    registered = registry.register(
        model,
        card,
        metrics=metrics,
        params={"seed": seed},
        tags={"snapshot_id": str(data.snapshot_id), "training_data_version": str(data.version)},
    )
    registry.promote(model_id, registered, "staging", by=TRAINER, now=now)
    watch.lap("register")
    rows = dict(data.rows["split"].value_counts().sort("split").iter_rows())
    return Trained(
        model_id, registered, model, card, metrics, told, data.snapshot_id, data.version, rows, dict(watch.laps)
    )


def fit(model_id: str, data: TrainingRows, *, settings: Mapping[str, Any] | None = None, seed: int = 0) -> Model:
    """The detector as it comes out of these rows; the same rows, settings and seed give the same model."""
    if model_id not in MODELS:
        raise TrainingDataError(f"there is no model {model_id!r}; there are {', '.join(sorted(MODELS))}")
    rows = data.split("train", healthy=True)
    later = data.split("validation", healthy=True)
    if rows.is_empty() or later.is_empty():
        raise TrainingDataError(
            f"version {data.version} of training_data has {rows.height:,} healthy rows to fit and {later.height:,} to "
            "calibrate on: make it again over more time, or look at its labels"
        )
    chosen = {**SETTINGS[model_id], **(settings or {})}
    model = MODELS[model_id].fit(rows, VIEWS[model_id], validation=later, settings=chosen, seed=seed)
    trained = {
        **model.info.trained,
        "snapshot_id": data.snapshot_id,
        "training_data_version": data.version,
        "rows_labelled_ill": data.split("train").height - rows.height,
        "devices_held_out": data.split("held_out")["device_id"].n_unique(),
    }
    model.info = replace(model.info, trained=trained)
    return model


def judge(model: Model, data: TrainingRows) -> tuple[dict[str, float], tuple[Promise, ...], npt.NDArray[np.float64]]:
    """Proxy metrics, promises and scores on devices held out.

    Where none is held out, on the validation time: of its devices the model has learnt, so that it looks better there.
    """
    rows = data.split(UNSEEN_DEVICES, healthy=True)
    split = UNSEEN_DEVICES if rows.height else UNSEEN_TIME
    rows = rows if rows.height else data.split(UNSEEN_TIME, healthy=True)
    scored = rows.select("device_id", "window_start").hstack(model.score(rows, reasons="none"))
    known = scored.drop_nulls("anomaly_score")
    if known.is_empty():
        raise TrainingDataError(f"{model.info.model_id} could score none of the rows it was to be judged on")
    scores = known["anomaly_score"].to_numpy()
    return {f"{split}_{name}": v for name, v in proxies(known).items()}, tuple(promises(scores)), scores


def proxies(scored: pl.DataFrame) -> dict[str, float]:
    """What can be said of scores without labels: shares above the limits, flags, and how steady they are by device."""
    values = scored["anomaly_score"]
    if not len(values):
        return {}
    flips = (
        scored.sort("device_id", "window_start")
        .with_columns(before=pl.col("anomaly_flag").shift(1).over("device_id"))
        .drop_nulls("before")
        .select((pl.col("before") != pl.col("anomaly_flag")).mean())
        .item()
    )
    found = {f"above_{limit:g}": float((values > limit).sum() / len(values)) for limit in PROMISED}
    found["flag_rate"] = float(scored["anomaly_flag"].sum() / scored.height)
    found["devices_flagged"] = float(
        scored.filter("anomaly_flag")["device_id"].n_unique() / scored["device_id"].n_unique()
    )
    found["median"] = float(np.median(values.to_numpy()))
    found["rows"] = float(len(values))
    if flips is not None:
        found["flips"] = float(flips)
    return found


def _limits(data: TrainingRows) -> list[str]:
    few = data.rows.group_by("cohort_id").agg(pl.col("device_id").n_unique()).filter(pl.col("device_id") < 10)
    told = []
    if few.height:
        told.append(
            f"{few.height} cohorts have fewer than ten devices: their levels are their own, but how they answer to "
            "conditions and how far they stray is mostly the fleet's."
        )
    if not data.split("held_out").height:
        told.append("No device was held out: how it does on machines that it has not seen is not known.")
    return told
