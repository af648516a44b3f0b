"""A process to be killed: trains a model and stops where it is told to, until a line comes on stdin."""

import sys
from typing import Any

from refrig_assets.contracts.trends import trend_name
from refrig_assets.lake import Lake
from refrig_assets.models import Roles
from refrig_assets.models.mlflow_store import MlflowStore
from refrig_assets.models.registry import Registry
from refrig_assets.pipeline import training
from refrig_assets_tests.pipeline.training_lake import END

# A few of the columns are enough to train on: tests are about what surrounds the models.
FEW = Roles(
    ("temp_evaporator_mean", "current_compressor_mean", "superheat_std", trend_name("pressure_ratio", 24)),
    ("temp_ambient_mean",),
    device="device_id",
    cohort="cohort_id",
    time="window_start",
)
STOPS = ("fit", "files", "version")


def small_views(patch: Any) -> None:
    """Let every model look at a few columns only."""
    patch(training, "VIEWS", dict.fromkeys(training.VIEWS, FEW))
    patch(training, "SETTINGS", {name: {} for name in training.SETTINGS})


def stop(where: str) -> None:
    print(where, flush=True)
    sys.stdin.readline()


def stopping(function: Any, where: str) -> Any:
    def stopped(*arguments: Any, **named: Any) -> Any:
        found = function(*arguments, **named)
        stop(where)
        return found

    return stopped


def run(lake: str, models: str, model_id: str, where: str) -> None:
    small_views(setattr)
    if where == "fit":
        model = training.MODELS[model_id]
        model.fit = stopping(model.fit, where)  # type: ignore[method-assign]
    elif where == "files":
        MlflowStore.keep = stopping(MlflowStore.keep, where)  # type: ignore[method-assign]
    elif where == "version":
        Registry.register = stopping(Registry.register, where)  # type: ignore[method-assign]
    print("made", training.train(Lake(lake), Registry(models), model_id, END).version, flush=True)


if __name__ == "__main__":
    run(*sys.argv[1:5])
