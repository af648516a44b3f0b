"""A simulated fleet through the real pipeline on a real lake, hour by hour, from raw rows to scores.

Two processes share the work. This one lets the fleet report and makes clean rows and features; the other follows with
trends, trains when the training days are over, and scores each hour after that. An hour is made from what has arrived
by its end and is not made again, so every score rests on what was known when the product would have given it.
"""

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import polars as pl

from refrig_assets.contracts import DEVICE_REGISTRY, MAINTENANCE_EVENTS, RAW_READINGS
from refrig_assets.evaluation import follow
from refrig_assets.evaluation.plan import SCORED_AFTER, EvaluationSpec, evaluation_plan
from refrig_assets.lake import HOUR, Lake
from refrig_assets.pipeline.ahead import ahead
from refrig_assets.pipeline.clean import clean_hour
from refrig_assets.pipeline.features import feature_hour
from refrig_assets.pipeline.stopwatch import Stopwatch
from refrig_assets.simulator import Mess, raw_hour
from refrig_assets.simulator.fleet import Fleet
from refrig_assets.simulator.plan import FaultPlan

Tell = Callable[[int, int], None]
# Hours the first process may be ahead of the second, while that one trains.
_AHEAD = 200


@dataclass
class Run:
    """Where an evaluated fleet's lake is, the truth about it, and what it took."""

    spec: EvaluationSpec
    home: Path
    truth: pl.DataFrame
    readings: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def says(self) -> str:
        """What was run, in a sentence."""
        spec = self.spec
        return (
            f"{spec.devices:,} devices, {self.readings:,} readings in {spec.days:g} days of which the first "
            f"{spec.train_days:g} were trained on; seed {spec.seed}, severity {spec.severity:g}."
        )

    @property
    def lake(self) -> Lake:
        return Lake(follow.lake_uri(self.home))


def run(spec: EvaluationSpec, home: Path, tell: Tell | None = None) -> Run:
    """Simulate, train and score. `tell(done, all)` counts the hours that are done with."""
    fleet = spec.fleet()
    plan = evaluation_plan(fleet, spec)
    lake = Lake(follow.lake_uri(home)).create()
    lake.table(DEVICE_REGISTRY).replace_all(fleet.registry)
    lake.table(MAINTENANCE_EVENTS).append(repairs(plan.truth, spec.end))
    done = Run(spec, home, plan.truth)
    # Not forked: Polars' threads do not survive that.
    pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    following = _Following(len(spec.hours), tell)
    watch = Stopwatch()
    try:
        for hour in ahead(_reporting(lake, fleet, plan, spec.hours, done)):
            watch.lap("simulate (waited for)")
            clean_hour(lake, hour)
            watch.lap("clean")
            feature_hour(lake, hour, hour + HOUR + SCORED_AFTER)
            watch.lap("features")
            following.add(pool.submit(follow.hour_done, home, spec, hour))
            following.settle(_AHEAD)
            watch.lap("scoring (waited for)")
        following.settle(0)
        watch.lap("scoring (waited for)")
    finally:
        pool.shutdown(cancel_futures=True)
    done.seconds = watch.laps | following.seconds
    return done


class _Following:
    """The hours that the other process has been given, in order; what it took, and how far it is."""

    def __init__(self, total: int, tell: Tell | None) -> None:
        self.seconds: dict[str, float] = {}
        self._under_way: deque[Future[dict[str, float]]] = deque()
        self._done, self._total, self._tell = 0, total, tell

    def add(self, hour: "Future[dict[str, float]]") -> None:
        self._under_way.append(hour)

    def settle(self, at_most: int) -> None:
        """Take what is done, waiting until no more than so many hours are under way. What failed there, fails here."""
        while self._under_way and (len(self._under_way) > at_most or self._under_way[0].done()):
            for stage, seconds in self._under_way.popleft().result().items():
                self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds
            self._done += 1
            if self._tell is not None:
                self._tell(self._done, self._total)


def _reporting(
    lake: Lake, fleet: Fleet, plan: FaultPlan, hours: list[datetime], done: Run
) -> Iterator[datetime]:  # fmt: skip
    """Each hour, once its rows lie in the raw table."""
    for hour in hours:
        raw = raw_hour(fleet, plan, hour, Mess.usual())
        lake.table(RAW_READINGS).append(raw)
        done.readings += raw.height
        yield hour


def repairs(truth: pl.DataFrame, before: datetime) -> pl.DataFrame:
    """What the maintenance system comes to know: failed machines that have been repaired, each from then on."""
    known = truth.filter(pl.col("failure_time").is_not_null() & (pl.col("ended_at") < before))
    return MAINTENANCE_EVENTS.conform(
        known.select(
            pl.format("repair-{}-{}", "device_id", pl.col("ended_at").dt.epoch("s")).alias("event_id"),
            "device_id",
            pl.lit("emergency").alias("event_type"),
            pl.col("ended_at").alias("scheduled_date"),
            pl.col("ended_at").alias("completed_date"),
            pl.lit("repaired after a failure").alias("work_description"),
            pl.lit([], dtype=pl.List(pl.String)).alias("parts_replaced"),
            pl.lit(None, dtype=pl.String).alias("triggered_by_alert_id"),
            pl.lit(None, dtype=pl.Float64).alias("pre_maintenance_score"),
            pl.lit(None, dtype=pl.Float64).alias("post_maintenance_score"),
        )
    )


__all__ = ["Run", "repairs", "run"]
