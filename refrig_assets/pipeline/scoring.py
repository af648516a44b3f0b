"""Scoring an hour: the versions in charge of each device, their scores of its closed windows, written in one commit."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import polars as pl

from refrig_assets.contracts.features import DEVICE_FEATURES
from refrig_assets.contracts.modelling import MODEL_SCORES
from refrig_assets.contracts.registry import DEVICE_REGISTRY
from refrig_assets.lake import HOUR, DataFile, Lake
from refrig_assets.models import Model
from refrig_assets.models.serving import ServingPlan
from refrig_assets.monitoring.freshness import describe
from refrig_assets.pipeline.ahead import ahead
from refrig_assets.pipeline.model_input import DEVICES_AT_ONCE, REGION, model_inputs, without_young
from refrig_assets.pipeline.quality import active_devices
from refrig_assets.pipeline.score_rows import Producer, ScoringError, replace_scores, score_rows, write_part
from refrig_assets.pipeline.status import newest_moment
from refrig_assets.pipeline.stopwatch import Stopwatch

CHAMPION = "champion"
_HEADS = ["cohort_id", REGION]


class ModelSource(Protocol):
    """The part of the model registry that scoring needs."""

    def plan(self, model_id: str) -> ServingPlan: ...
    def load(self, model_id: str, version: str) -> tuple[Model, Any]: ...


class OneLook:
    """A registry as it was when it was first asked: the hours of one run have the same versions, each loaded once."""

    def __init__(self, registry: ModelSource) -> None:
        self._registry = registry
        self._plans: dict[str, ServingPlan] = {}
        self._loaded: dict[tuple[str, str], tuple[Model, Any]] = {}

    def plan(self, model_id: str) -> ServingPlan:
        if model_id not in self._plans:
            self._plans[model_id] = self._registry.plan(model_id)
        return self._plans[model_id]

    def load(self, model_id: str, version: str) -> tuple[Model, Any]:
        if (model_id, version) not in self._loaded:
            self._loaded[model_id, version] = self._registry.load(model_id, version)
        return self._loaded[model_id, version]


class StaleFeaturesError(ScoringError):
    """The newest features are too old to be scored as if they were of now."""


@dataclass
class ScoringReport:
    model_id: str
    hour: datetime
    devices: Sequence[str] | None = None
    """None: the whole fleet"""
    windows: int = 0
    incomplete: int = 0
    """windows left out: completeness below 0.5"""
    unscorable: int = 0
    """windows left out: nothing in them that the model can judge"""
    filled_values: int = 0
    new_devices: int = 0
    rows: int = 0
    flagged: int = 0
    devices_scored: int = 0
    devices_expected: int = 0
    by_version: dict[str, int] = field(default_factory=dict)
    """rows by version and role"""
    by_window: dict[str, int] = field(default_factory=dict)
    """windows the champion scored, by their end"""
    broken: dict[str, str] = field(default_factory=dict)
    """challengers and shadows that could not score, and why"""
    bytes: int = 0
    version: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def coverage(self) -> float:
        return self.devices_scored / self.devices_expected if self.devices_expected else 1.0


def score_hour(
    lake: Lake,
    registry: ModelSource,
    model_id: str,
    hour: datetime,
    now: datetime,
    devices: Sequence[str] | None = None,
    *,
    even_stale: bool = False,
    devices_at_once: int = DEVICES_AT_ONCE,
) -> ScoringReport:
    """Score the hour's windows that have closed by now with every version in service, and replace the model's rows.

    Restricted to devices, only their rows are replaced. Whatever goes wrong, nothing is written: the scores there were
    stay. Raises StaleFeaturesError for the newest hour there is, when its features are past their limit.
    """
    if not even_stale:
        refuse_stale(lake, hour, now)
    watch = Stopwatch()
    report = ScoringReport(model_id, hour, devices)
    expected = _expected(lake, devices)
    report.devices_expected = expected.height
    versions = _load(registry, model_id, _heads(lake), report)
    watch.lap("load")
    scored: list[pl.Series] = []
    parts = model_inputs(lake, hour, min(now, hour + HOUR), devices=devices, devices_at_once=devices_at_once)
    for number, part in enumerate(ahead(parts)):
        watch.lap("read")
        report.windows += part.windows
        report.incomplete += part.incomplete
        report.filled_values += part.filled
        report.new_devices += part.new_devices
        for version in versions:
            rows, scores = _score_part(version, part.rows, now, report)
            watch.lap("score")
            if version.producer.role == CHAMPION:
                _account(report, rows, scores)
                scored.append(scores["device_id"].unique())
            tag = number * len(versions) + versions.index(version)
            version.files += write_part(lake, hour, model_id, tag, scores)
            version.rows += scores.height
            watch.lap("write")
    sound = [v for v in versions if v.producer.version_and_role not in report.broken]
    commit = replace_scores(lake, hour, model_id, [f for v in sound for f in v.files], devices)
    if scored:
        report.devices_scored = int(pl.concat(scored).unique().is_in(expected["device_id"].implode()).sum())
    report.by_version = {v.producer.version_and_role: v.rows for v in sound}
    report.rows = sum(v.rows for v in sound)
    report.bytes, report.version = commit.bytes, commit.version
    watch.lap("write")
    report.seconds = watch.laps
    return report


@dataclass
class _Version:
    """A version at work: whom it scores, and what it has written."""

    producer: Producer
    model: Model
    heads: pl.DataFrame | None
    files: list[DataFile] = field(default_factory=list)
    rows: int = 0


def _load(registry: ModelSource, model_id: str, heads: pl.DataFrame, report: ScoringReport) -> list[_Version]:
    """The versions to score with. What is wrong with a challenger or shadow is told, and does not stop the champion."""
    versions: list[_Version] = []
    loaded: dict[str, Model] = {}
    for (version, role), whom in routed(registry, model_id, heads).items():
        producer = Producer(model_id, version, role)
        with _told_unless_champion(producer, report):
            loaded[version] = loaded.get(version) or registry.load(model_id, version)[0]
            versions.append(_Version(producer, loaded[version], whom))
    return versions


@contextmanager
def _told_unless_champion(producer: Producer, report: ScoringReport) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if producer.role == CHAMPION:
            raise
        report.broken[producer.version_and_role] = f"{type(error).__name__}: {error}"


def _score_part(
    version: _Version, rows: pl.DataFrame, now: datetime, report: ScoringReport
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows that the version is to score, and its scores of those in which it finds something to judge."""
    mine = rows if version.heads is None else rows.join(version.heads, on=_HEADS, how="semi", nulls_equal=True)
    mine = mine.sort("device_id", "window_start")
    if mine.height and version.producer.version_and_role not in report.broken:
        with _told_unless_champion(version.producer, report):
            scored = score_with(version.model, mine)
            judged = scored["anomaly_score"].is_not_null()
            return mine, score_rows(mine.filter(judged), scored.filter(judged), version.producer, now)
    return mine, MODEL_SCORES.empty()


def score_with(model: Model, rows: pl.DataFrame, reasons: str = "flagged") -> pl.DataFrame:
    """What a model says of rows of model input, a row a row; young devices are strangers to it."""
    roles = model.info.roles
    roles.check(rows.columns)
    return model.score(without_young(rows, roles.device), reasons=reasons)  # type: ignore[arg-type]


def refuse_stale(lake: Lake, hour: datetime, now: datetime) -> None:
    """An error if the hour is the newest that has features, and these are older than their contract's error level.

    Earlier hours are history, scored when somebody asks for them; the newest would pass for what is going on now.
    """
    newest = newest_moment(DEVICE_FEATURES, lake.table(DEVICE_FEATURES).files(start=hour, end=now + HOUR))
    promise = DEVICE_FEATURES.freshness
    if newest is None or promise is None or newest > hour + HOUR:
        return
    age = now - newest
    if age > promise.error:
        raise StaleFeaturesError(
            f"the newest features are {describe(age)} old (limit {describe(promise.error)}): "
            f"{hour:%Y-%m-%d %H}:00 is not scored, as its scores would pass for what is going on now. "
            "See why no features come (refrig status); to score history, ask for it: even_stale, or --even-stale"
        )


def routed(registry: ModelSource, model_id: str, heads: pl.DataFrame) -> dict[tuple[str, str], pl.DataFrame | None]:
    """Which version in which role scores which cohorts and regions; None for all of them."""
    found: dict[tuple[str, str], list[tuple[str | None, str | None]]] = {}
    plan = registry.plan(model_id)
    for cohort, region in heads.select(_HEADS).unique().sort(_HEADS).iter_rows():
        served = plan.of(cohort=cohort, region=region)
        if not any(s.role == CHAMPION for s in served):
            raise ScoringError(
                f"no version of {model_id} is in charge of cohort {cohort}, region {region}: release or pin one "
                f"(refrig models list; refrig models promote {model_id} VERSION --to released)"
            )
        for one in served:
            found.setdefault((one.version, one.role), []).append((cohort, region))
    everyone = heads.select(_HEADS).n_unique()
    types = heads.select(_HEADS).schema
    return {
        key: None if len(pairs) == everyone else pl.DataFrame(pairs, schema=types, orient="row")
        for key, pairs in found.items()
    }


def _heads(lake: Lake) -> pl.DataFrame:
    return lake.table(DEVICE_REGISTRY).read().select(_HEADS)


def _expected(lake: Lake, devices: Sequence[str] | None) -> pl.DataFrame:
    """Active devices, of those asked for."""
    registry = lake.table(DEVICE_REGISTRY).read()
    if devices is None:
        return active_devices(registry)
    unknown = sorted(set(devices) - set(registry["device_id"]))
    if unknown:
        shown = ", ".join(unknown[:10]) + (f" and {len(unknown) - 10} more" if len(unknown) > 10 else "")
        raise ScoringError(f"{len(unknown)} devices are not in the device registry: {shown}")
    return active_devices(registry).filter(pl.col("device_id").is_in(list(devices)))


def _account(report: ScoringReport, rows: pl.DataFrame, scores: pl.DataFrame) -> None:
    report.unscorable += rows.height - scores.height
    report.flagged += int(scores["anomaly_flag"].sum())
    for end, count in scores.group_by("window_end").len().sort("window_end").iter_rows():
        report.by_window[f"{end:%H:%M}"] = report.by_window.get(f"{end:%H:%M}", 0) + count


def totals(report: ScoringReport) -> Mapping[str, int]:
    """Where the hour's windows went."""
    return {
        "windows": report.windows,
        "scored by the champion": report.windows - report.incomplete - report.unscorable,
        "too little of them there": report.incomplete,
        "nothing the model can judge": report.unscorable,
        "flagged": report.flagged,
        "values filled from earlier windows": report.filled_values,
        "new devices, judged by their cohort": report.new_devices,
    }
