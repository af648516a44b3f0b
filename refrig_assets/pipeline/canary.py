"""The canary: a new version and the champion over the same windows of an hour, held against the gates.

What is scored here goes nowhere but into the comparison: no canary score is ever an alert.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import polars as pl

from refrig_assets.contracts.modelling import MODEL_SCORES
from refrig_assets.contracts.scoring import CANARY_REPORTS
from refrig_assets.lake import HOUR, Lake
from refrig_assets.models import Model
from refrig_assets.models.canary import CanaryReport, compare
from refrig_assets.pipeline.model_input import DEVICES_AT_ONCE, model_inputs
from refrig_assets.pipeline.scoring import ModelSource, score_with

# Who wants to be champion, the nearest first; a version that stands in two places is compared once.
CANDIDATES = ("staging", "challenger", "shadow")
_KEYS = ("device_id", "window_end")
_COMPARED = ("anomaly_score", "anomaly_flag")


class CanarySource(ModelSource, Protocol):
    """The part of the model registry that the canary needs."""

    def aliases(self, model_id: str) -> Mapping[str, str]: ...
    def record_canary(self, report: CanaryReport) -> None: ...


@dataclass(frozen=True)
class Compared:
    """What the gates say of a candidate, and both versions' scores for a picture."""

    report: CanaryReport
    role: str
    scores: pl.DataFrame
    """device_id, window_end, old, new"""


def candidates(registry: CanarySource, model_id: str) -> tuple[str | None, dict[str, str]]:
    """The champion of those without a route of their own, and the versions beside it with the role of each."""
    aliases, champion = registry.aliases(model_id), registry.plan(model_id).champion
    found: dict[str, str] = {}
    for role in CANDIDATES:
        version = aliases.get(role)
        if version is not None and version != champion:
            found.setdefault(version, role)
    return champion, found


def canary_hour(
    lake: Lake, registry: CanarySource, model_id: str, hour: datetime, now: datetime, *, record: bool = True
) -> list[Compared]:
    """Compare each candidate of a model with its champion; `record` keeps the report with the candidate."""
    champion, beside = candidates(registry, model_id)
    if champion is None or not beside:
        return []
    models = {v: registry.load(model_id, v)[0] for v in (champion, *beside)}
    scores = _score_all(lake, models, hour, now)
    compared = []
    for version, role in beside.items():
        old, new = scores[champion], scores[version]
        report = compare(old, new, model_id=model_id, old_version=champion, new_version=version)
        if record:
            registry.record_canary(report)
        pairs = old.select(*_KEYS, old="anomaly_score").join(
            new.select(*_KEYS, new="anomaly_score"), on=_KEYS, how="inner"
        )
        compared.append(Compared(report, role, pairs))
    return compared


def _score_all(lake: Lake, models: Mapping[str, Model], hour: datetime, now: datetime) -> dict[str, pl.DataFrame]:
    parts: dict[str, list[pl.DataFrame]] = {version: [] for version in models}
    for part in model_inputs(lake, hour, min(now, hour + HOUR), devices_at_once=DEVICES_AT_ONCE):
        for version, model in models.items():
            scored = score_with(model, part.rows, reasons="none").select(_COMPARED)
            parts[version].append(pl.concat([part.rows.select(_KEYS), scored], how="horizontal"))
    nothing = MODEL_SCORES.empty().select(*_KEYS, *_COMPARED)
    return {version: pl.concat([nothing, *found]) for version, found in parts.items()}


def write_canary_hour(lake: Lake, hour: datetime, compared: Sequence[Compared], now: datetime) -> int:
    """Put the hour's reports in the place of those before; returns the table's version."""
    rows = [
        {
            "hour": hour,
            "model_id": one.report.model_id,
            "champion_version": one.report.old_version,
            "candidate_version": one.report.new_version,
            "candidate_role": one.role,
            "gate": gate.name,
            "value": gate.value,
            "limit": gate.limit,
            "outcome": gate.outcome,
            "says": gate.says,
            "windows": one.report.rows,
            "compared_at": now,
        }
        for one in compared
        for gate in one.report.gates
    ]
    frame = pl.DataFrame(rows, schema=CANARY_REPORTS.dtypes, orient="row")
    table = lake.table(CANARY_REPORTS)
    return table.replace_hour(hour, table.write_files(CANARY_REPORTS.conform(frame), f"h{hour:%H}")).version
