"""What speaks for a diagnosis, chosen from all that was seen: signs it rests on, what lacks, what else it may be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl

from refrig_assets.alerting import diagnosis_wording as say
from refrig_assets.alerting.diagnosis_seen import BASELINES, NOTHING, Seen
from refrig_assets.alerting.diagnosis_signs import F64, UNKNOWN, WAYS, column_of
from refrig_assets.alerting.diagnosis_telemetry import (
    PRESSURES,
    Telemetry,
    hard_to_hear,
    much_flagged,
    pressure_factor,
)
from refrig_assets.alerting.signatures import SENSED, Signs
from refrig_assets.contracts.trends import sensor_of

_AT_MOST = 4
_LEAST, _WORTH_SAYING = 0.3, 0.2
# Said by the mean already.
_SAME_AGAIN = ("vibration_compressor_p95",)
_WAYS = list(WAYS)


@dataclass(frozen=True)
class Case:
    """Where a diagnosis stands."""

    failure_mode: str
    confidence: float
    sensor: str | None
    """the one that is off alone"""
    leaning: str
    """what fits best, however little"""
    leaning_confidence: float
    harmless: str | None
    """what explains it as well, and is no failure"""


def evidence(
    case: Case, row: int, seen: Seen, told: Telemetry, vectors: F64, signs: Signs, left: pl.DataFrame
) -> list[str]:  # fmt: skip
    """Sentences, the hardest evidence first."""
    said = [*_of_rest(row, seen, told), *_of_limits(case, row, seen), *_of_telemetry(row, seen, told)]
    pattern: Mapping[str, float] = signs.get(case.failure_mode, {})
    if case.sensor is not None:
        pattern = {f: 0.0 for f in SENSED if sensor_of(f) == case.sensor}
    said += _of_signs(pattern, row, seen, vectors[:, row], left.row(row, named=True), any_way=case.sensor is not None)
    if case.sensor is not None:
        said.append(say.lone(case.sensor, _usual_beside(case.sensor, vectors[:, row])))
    if not said:
        said += _of_signs({}, row, seen, vectors[:, row], {}, any_way=True)
    lacks = _lacking(pattern, vectors[:, row])
    said += [say.as_usual(lacks)] if lacks else []
    if case.failure_mode == UNKNOWN and case.leaning_confidence > _WORTH_SAYING:
        said.append(say.runner_up(case.leaning))
    if case.harmless is not None and (case.failure_mode in signs or case.failure_mode == UNKNOWN):
        said.append(say.harmless(case.harmless))
    source = seen.windows["expected_from"][row]
    if source == BASELINES:
        said.append(say.no_champion(seen.windows["champion_broken"][row]))
    elif source == NOTHING:
        said.append(say.nothing_known())
    if told.defrosted[row] and case.failure_mode == UNKNOWN:
        said.append(say.in_defrost())
    return said or [say.all_as_usual()]


def _of_rest(row: int, seen: Seen, told: Telemetry) -> list[str]:
    since = told.rest_since[row]
    if since is None:
        return []
    first = seen.recent.filter(pl.col("row") == row)["window_end"].min()
    return [say.at_rest(since - timedelta(minutes=15), at_least=since == first)]


def _of_limits(case: Case, row: int, seen: Seen) -> list[str]:
    current, limit = seen.values["current_compressor_max"][row], seen.windows["current_threshold_a"][row]
    over = current is not None and limit is not None and current > limit
    return [say.above_limit(current, limit)] if over else []


def _of_telemetry(row: int, seen: Seen, told: Telemetry) -> list[str]:
    said = []
    factor = pressure_factor(seen, row)
    lost = [*told.dead[row], *told.absent[row]]
    if factor is not None:
        said.append(say.scaled(factor))
    if set(PRESSURES) <= set(lost):
        said.append(say.pressures_lost())
        lost = [s for s in lost if s not in PRESSURES]
    if told.stuck[row]:
        last = seen.recent.filter(pl.col("row") == row).tail(8)
        said.append(say.stuck(told.stuck[row], [_last(last[f"{s}_mean"]) for s in told.stuck[row]]))
    for shorts, lately in ((told.dead[row], True), (told.absent[row], False)):
        if mine := [s for s in shorts if s in lost]:
            said.append(say.silent(mine, lately))
    share = told.heard[row]
    if share is not None and hard_to_hear(share):
        said.append(say.hard_to_hear(share))
    flagged = told.flagged[row]
    if flagged is not None and much_flagged(flagged) and not (lost or told.absent[row] or told.dead[row]):
        said.append(say.much_flagged())
    return said


def _last(values: pl.Series) -> float:
    return float(values.drop_nulls()[-1])


def _of_signs(
    pattern: Mapping[str, float], row: int, seen: Seen, vector: F64, left: Mapping[str, Any], *, any_way: bool
) -> list[str]:  # fmt: skip
    """The features that speak most, each once, in the way in which it stands out."""
    parts = []
    for f, feature in enumerate(SENSED):
        if (pattern and feature not in pattern) or feature in _SAME_AGAIN:
            continue
        by_way = vector[:, f] * np.array(list(WAYS.values()))
        weights = np.nan_to_num(np.abs(by_way) if any_way else by_way * pattern.get(feature, 0.0))
        best = float(weights.max())
        if best > _LEAST:
            # The level says it best, where it says it at all.
            way = next(w for w, weight in zip(_WAYS, weights.tolist(), strict=True) if weight >= best / 2)
            parts.append((best, feature, way))
    said, done = [], set()
    source = seen.windows["expected_from"][row]
    for _, feature, way in sorted(parts, key=lambda p: (-p[0], p[1], p[2])):
        value, off = seen_of(seen, row, feature, way)
        if sensor_of(feature) in done or value is None or off is None:
            continue
        done.add(sensor_of(feature))
        since = _since(left, feature, row, seen)
        said.append(say.deviation(feature, value, off, way, source, since))
        if len(said) == _AT_MOST:
            break
    return said


def seen_of(seen: Seen, row: int, feature: str, way: str) -> tuple[float | None, float | None]:
    """Value and deviation of a feature as seen in a way; of a level in which nothing is measured, from the window."""
    name = column_of(feature, way)
    if name not in seen.values.columns or name not in seen.deviation.columns:
        return None, None
    return seen.values[name][row], seen.deviation[name][row]


def _since(left: Mapping[str, Any], feature: str, row: int, seen: Seen) -> Any:
    if left.get("indicator") != feature or left.get("begun_h") is None:
        return None
    return seen.windows["window_end"][row] + timedelta(hours=float(left["begun_h"]))


def _lacking(pattern: Mapping[str, float], vector: F64) -> list[str]:
    """Signs that weigh fully, are measured, and are not there in any way; one a sensor."""
    lacks: dict[str, str] = {}
    shown: set[str] = set()
    for feature, sign in pattern.items():
        column = vector[:, SENSED.index(feature)] if feature in SENSED else np.array([np.nan])
        known = np.isfinite(column)
        if known.any() and not (column[known] * sign > 0).any() and abs(sign) >= 1:
            lacks.setdefault(sensor_of(feature), feature)
        elif known.any():
            shown.add(sensor_of(feature))
    return [feature for sensor, feature in lacks.items() if sensor not in shown]


def _usual_beside(short: str, vector: F64) -> list[str]:
    """Sensors that physics ties to this one and that are as usual."""
    usual = []
    for other in TIED.get(short, ()):
        columns = [i for i, f in enumerate(SENSED) if sensor_of(f) == other]
        part = vector[:, columns]
        if np.isfinite(part).any() and float(np.nanmax(np.abs(part))) < 1.0:
            usual.append(other)
    return usual


# Which sensors move together in any machine.
TIED: Mapping[str, Sequence[str]] = {
    "temp_evaporator": ("pressure_low", "temp_suction", "superheat"),
    "pressure_low": ("temp_evaporator", "temp_suction"),
    "temp_suction": ("temp_evaporator", "superheat"),
    "superheat": ("temp_suction", "temp_evaporator", "subcooling"),
    "temp_condenser": ("pressure_high", "temp_discharge"),
    "pressure_high": ("temp_condenser", "temp_discharge"),
    "temp_discharge": ("temp_condenser", "current_compressor"),
    "current_compressor": ("temp_discharge", "vibration_compressor"),
    "vibration_compressor": ("current_compressor",),
    "subcooling": ("superheat", "temp_condenser"),
    "humidity": ("current_compressor", "temp_evaporator"),
}
