"""The measured pieces of the scoring benchmark, each a process of its own: make the lake, train, score, alert."""

import argparse
import json
import shutil
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.measure import own_peak_bytes
from benchmarks.scoring_fleet import SCORED, make_lake
from refrig_assets.contracts import DEVICE_ALERTS
from refrig_assets.contracts.scoring import DETECTORS, HOURLY_DETECTORS
from refrig_assets.lake import HOUR, Lake

NOW = SCORED + HOUR + timedelta(minutes=5)
# When only the first window of the hour has closed.
FIRST_CLOSED = SCORED + timedelta(minutes=15)


def _registry(home: Path) -> Any:
    from refrig_assets.models.registry import Registry

    return Registry(f"sqlite:///{home / 'models' / 'mlflow.db'}")


def simulate(home: Path, devices: int, donors: int, rows: int) -> dict[str, Any]:
    return dict(make_lake(str(home / "lake"), devices, donors, rows))


def train(home: Path, model_id: str) -> dict[str, Any]:
    """From the training table to a registered version, model card and all; then released, which is not measured."""
    from refrig_assets.pipeline.training import train as train_model

    lake, registry = Lake(str(home / "lake")), _registry(home)
    began, cpu = time.perf_counter(), time.process_time()
    version = train_model(lake, registry, model_id, SCORED).version
    found = {"seconds": time.perf_counter() - began, "cpu_s": time.process_time() - cpu}
    registry.promote(model_id, version, "released", by="benchmark", now=SCORED)
    return found


def hourly(home: Path) -> dict[str, Any]:
    """Statistical baseline and isolation forest over the hour's four windows, as the hourly run does them."""
    return _score(home, HOURLY_DETECTORS, first_window=False)


def all_four(home: Path) -> dict[str, Any]:
    """Every model over the hour's first window."""
    return _score(home, DETECTORS, first_window=True)


def _score(home: Path, models: tuple[str, ...], *, first_window: bool) -> dict[str, Any]:
    from refrig_assets.pipeline.scoring import score_hour

    lake, registry = Lake(str(home / "lake")), _registry(home)
    found: dict[str, Any] = {"rows": 0, "flagged": 0}
    began, cpu = time.perf_counter(), time.process_time()
    for model_id in models:
        since = time.perf_counter()
        report = score_hour(lake, registry, model_id, SCORED, FIRST_CLOSED if first_window else NOW)
        found[f"{model_id}_s"] = time.perf_counter() - since
        found[f"{model_id}_stages"] = report.seconds
        found["rows"] += report.rows
        found["flagged"] += report.flagged
    return {**found, "seconds": time.perf_counter() - began, "cpu_s": time.process_time() - cpu}


def alerts(home: Path) -> dict[str, Any]:
    """The hour's alerts, diagnoses and all, into a log that holds none yet."""
    from refrig_assets.pipeline.alerting import alert_hour

    lake, registry = Lake(str(home / "lake")), _registry(home)
    shutil.rmtree(home / "lake" / DEVICE_ALERTS.name)
    lake.create()
    began, cpu = time.perf_counter(), time.process_time()
    report = alert_hour(lake, registry, SCORED, NOW)
    found = {"seconds": time.perf_counter() - began, "cpu_s": time.process_time() - cpu}
    told = {"hits": report.hits, "diagnosed": report.diagnosed, "written": report.written}
    return {**found, **told, "stages": report.seconds}


STAGES: dict[str, Callable[[Path, list[str]], dict[str, Any]]] = {
    "simulate": lambda home, extra: simulate(home, *(int(e) for e in extra)),
    "train": lambda home, extra: train(home, extra[0]),
    "hourly": lambda home, _: hourly(home),
    "alerts": lambda home, _: alerts(home),
    "all_four": lambda home, _: all_four(home),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("home", type=Path)
    parser.add_argument("extra", nargs="*", help="of simulate: devices, donors, training rows; of train: the model")
    arguments = parser.parse_args()
    began = time.perf_counter()
    found = STAGES[arguments.stage](arguments.home, arguments.extra)
    found["process_s"] = time.perf_counter() - began
    found["peak_bytes"] = own_peak_bytes()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
