"""What follows an hour's features in an evaluation: trends, training when it is time, scores, alerts. An hour a call.

Runs in a process of its own; everything it needs lies in the lake and the model registry.
"""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from refrig_assets.contracts.scoring import DAILY_HOUR, DETECTORS, HOURLY_DETECTORS
from refrig_assets.evaluation.plan import SCORED_AFTER, EvaluationSpec
from refrig_assets.lake import HOUR, Lake
from refrig_assets.models.registry import Registry
from refrig_assets.pipeline.alerting import Alerting
from refrig_assets.pipeline.baselines import write_baselines
from refrig_assets.pipeline.fallback import score_by_limits
from refrig_assets.pipeline.scoring import score_hour
from refrig_assets.pipeline.stopwatch import Stopwatch
from refrig_assets.pipeline.training import train
from refrig_assets.pipeline.training_data import assemble_training_data
from refrig_assets.pipeline.training_rows import read_training_rows
from refrig_assets.pipeline.training_sample import SampleSettings
from refrig_assets.pipeline.trends import TrendReport, trend_hours

_BY = "evaluation"


def lake_uri(home: Path) -> str:
    return str(home / "lake")


class Follower:
    """Takes the hours in order; what it learnt lies in the registry beside the lake."""

    def __init__(self, home: Path, spec: EvaluationSpec) -> None:
        self.spec, self.lake = spec, Lake(lake_uri(home))
        self.registry = Registry(f"sqlite:///{home / 'models' / 'mlflow.db'}")
        self._alerting = Alerting(self.lake, self.registry)
        # Each hour's windows are read when the trends are asked for the next: they are made by then.
        self._trends: Iterator[TrendReport] = trend_hours(self.lake, spec.hours, spec.end + SCORED_AFTER, at_once=1)

    def hour_done(self, hour: datetime) -> dict[str, float]:
        """Trends of an hour whose features are made; after the training days its scores. Returns seconds by stage."""
        watch = Stopwatch()
        made = next(self._trends)
        if made.hour != hour:
            raise ValueError(f"the trends are at {made.hour}, the features at {hour}: hours come in order, each once")
        watch.lap("trends")
        if hour == self.spec.scored_from:
            self._train(hour, watch)
        if hour >= self.spec.scored_from:
            self._score(hour, watch)
        return watch.laps

    def _train(self, now: datetime, watch: Stopwatch) -> None:
        """Train and release all four on what lies before `now`, and the limits they are compared with."""
        assemble_training_data(self.lake, now, SampleSettings(max_rows=self.spec.training_rows))
        data = read_training_rows(self.lake)
        watch.lap("training data")
        write_baselines(self.lake, data, now)
        watch.lap("baselines")
        for model_id in DETECTORS:
            version = train(self.lake, self.registry, model_id, now, data=data).version
            self.registry.promote(model_id, version, "released", by=_BY, now=now)
            watch.lap(f"train {model_id}")

    def _score(self, hour: datetime, watch: Stopwatch) -> None:
        now = hour + HOUR + SCORED_AFTER
        daily = (hour.hour + 1) % 24 == DAILY_HOUR
        for model_id in DETECTORS if daily else HOURLY_DETECTORS:
            score_hour(self.lake, self.registry, model_id, hour, now)
            watch.lap(f"score {model_id}")
        score_by_limits(self.lake, hour, now)
        watch.lap("score threshold_baseline")
        self._alerting.hour(hour, now)
        watch.lap("alerts")


_followers: dict[Path, Follower] = {}


def hour_done(home: Path, spec: EvaluationSpec, hour: datetime) -> dict[str, float]:
    """The same in the other process, which keeps its follower from call to call."""
    if home not in _followers:
        _followers[home] = Follower(home, spec)
    return _followers[home].hour_done(hour)
