"""Detectors as a library: any Polars frame in, scores and reasons out. No lake, no Dagster."""

from collections.abc import Mapping

from refrig_assets.models.autoencoder import AutoencoderCore
from refrig_assets.models.base import FeatureMismatchError, ModelInfo, Roles
from refrig_assets.models.dbscan import DbscanCore
from refrig_assets.models.detector import Model
from refrig_assets.models.forest import IsolationForestCore
from refrig_assets.models.statistical import StatisticalCore


class StatisticalBaseline(Model):
    """Robust z and Mahalanobis distance of what the machine's own normal and its conditions do not explain."""

    core_type = StatisticalCore


class IsolationForest(Model):
    """How few cuts it takes to set a row apart from the fleet's."""

    core_type = IsolationForestCore


class Autoencoder(Model):
    """How badly a small network, fitted on a cohort, can say the row again."""

    core_type = AutoencoderCore


class DbscanCohort(Model):
    """How far a row lies from the dense part of its cohort."""

    core_type = DbscanCore


MODELS: Mapping[str, type[Model]] = {
    m.core_type.model_id: m for m in (StatisticalBaseline, IsolationForest, Autoencoder, DbscanCohort)
}

__all__ = [
    "MODELS",
    "Autoencoder",
    "DbscanCohort",
    "FeatureMismatchError",
    "IsolationForest",
    "Model",
    "ModelInfo",
    "Roles",
    "StatisticalBaseline",
]
