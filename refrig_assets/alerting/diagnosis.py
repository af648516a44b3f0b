"""The diagnosis of alerted windows: failure mode, confidence, evidence, first check, hours left. Frames in, frame out.

Three things are weighed: what the signs explain, whether the telemetry itself is broken, and whether the machine
stands still; what it did before it came to rest then says why.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from refrig_assets.alerting.diagnosis_evidence import Case, evidence
from refrig_assets.alerting.diagnosis_seen import DIAGNOSIS_SCHEMA, NOTHING, Seen
from refrig_assets.alerting.diagnosis_signs import (
    F64,
    LEVEL,
    NOW,
    SENSOR_FAULT,
    UNKNOWN,
    WAYS,
    compressed,
    explained,
    judged,
    like_a_defrost,
    of_contributors,
    vectors,
    without_sensors,
)
from refrig_assets.alerting.diagnosis_telemetry import (
    PRESSURES,
    Telemetry,
    badly_told,
    pressure_factor,
    telemetry,
)
from refrig_assets.alerting.diagnosis_wording import FIRST_CHECKS
from refrig_assets.alerting.prognosis import prognoses
from refrig_assets.alerting.signatures import SENSED, Signs
from refrig_assets.contracts.trends import HORIZONS_H

POWER_LOSS, OVERLOAD = "power_loss", "compressor_overload"
# As odd as this without the broken sensors, and it is more than the sensors.
_STILL_ODD = 2.5
_SURE, _LIKELY, _PERHAPS = 0.9, 0.7, 0.5
_AT_REST_WHY = 0.5
_HALF_H = min(HORIZONS_H) / 2
# What moves within windows moves most in a defrost. Six hours hold about one, and so does what they are compared with:
# in the mean of fewer hours than this it weighs half as much again, as if a valve hunted.
_LEAST_LEVEL_HOURS = 4
_RESTLESS = np.array([f.endswith("_std") for f in SENSED])
_OF_A_CASE = ("failure_mode", "confidence", "sensor", "leaning", "leaning_confidence", "harmless")
# Faults that make a compressor draw too much, and show in more than that.
_DRAW_CURRENT = ("bearing_wear", "liquid_slugging", OVERLOAD)


def diagnosed(seen: Seen, signs: Signs) -> pl.DataFrame:
    """One row a window of `seen`, in their order."""
    told = telemetry(seen)
    broken = [[*stuck, *dead] for stuck, dead in zip(told.stuck, told.dead, strict=True)]
    all_of = _all_seen(seen, told)
    found = explained(without_sensors(all_of, broken), signs)
    firsts = judged(found).iter_rows(named=True)
    cases = [_case(row, first, seen, told) for row, first in enumerate(firsts)]
    modes = [c.failure_mode for c in cases]
    ends = seen.windows["window_end"]
    going = [POWER_LOSS if told.rest_since[row] is not None else mode for row, mode in enumerate(modes)]
    left = prognoses(going, seen.history, ends)
    hours = left.select("hours_left", "hours_left_low", "hours_left_high")
    said = [evidence(case, row, seen, told, all_of, signs, left) for row, case in enumerate(cases)]
    return (
        seen.windows.select("device_id", "window_end")
        .with_columns(
            pl.Series("failure_mode", modes, dtype=pl.String),
            pl.Series("diagnosis_confidence", [round(c.confidence, 3) for c in cases], dtype=pl.Float64),
            pl.Series("evidence", said, dtype=pl.List(pl.String)),
            pl.Series("first_check", [FIRST_CHECKS[m] for m in modes], dtype=pl.String),
            *hours.get_columns(),
        )
        .select(pl.col(name).cast(dtype) for name, dtype in DIAGNOSIS_SCHEMA.items())
    )


def _all_seen(seen: Seen, told: Telemetry) -> F64:
    """The vectors of each window; of a machine at rest those before it came to rest; else what contributors say."""
    found = vectors(seen.z)
    # In a defrost, and just after it, everything is off and nothing is wrong.
    now = list(WAYS).index(NOW)
    found[now, np.array(told.defrosted, dtype=np.bool_) | like_a_defrost(found[now])] = np.nan
    thin = (seen.windows["level_hours"] < _LEAST_LEVEL_HOURS).fill_null(value=False).to_numpy()
    found[list(WAYS).index(LEVEL)][np.ix_(thin, _RESTLESS)] = np.nan
    for row, since in enumerate(told.rest_since):
        if since is not None:
            found[:, row] = _before(seen.history, row, since)
    nothing = ~(np.isfinite(found) & (found != 0)).any(axis=(0, 2))
    for row in np.flatnonzero(nothing & (seen.windows["expected_from"] == NOTHING).to_numpy()).tolist():
        reasons = seen.windows.row(row, named=True)
        found[:, row] = of_contributors(reasons["top_contributors"], reasons["contributor_scores"])
    return found


def _before(history: pl.DataFrame, row: int, since: datetime) -> F64:
    """Way × feature of the last six hours that lay wholly before the moment: levels alone."""
    found = np.full((len(WAYS), len(SENSED)), np.nan)
    ran = history.filter((pl.col("row") == row) & (pl.col("at") + timedelta(hours=_HALF_H) < since)).sort("at")
    if ran.height:
        last = ran.select(f"{f}_z" for f in SENSED).tail(1).to_numpy().astype(np.float64)[0]
        found[list(WAYS).index(LEVEL)] = compressed(last)
    return found


def _case(row: int, first: Mapping[str, Any], seen: Seen, told: Telemetry) -> Case:
    """What it comes to, in the order of how hard the evidence is."""
    case = Case(**{name: first[name] for name in _OF_A_CASE})
    unsure = case.failure_mode in (UNKNOWN, SENSOR_FAULT)
    if told.rest_since[row] is not None:
        known = case.failure_mode not in (UNKNOWN, SENSOR_FAULT) and case.confidence >= _AT_REST_WHY
        return case if known else replace(case, failure_mode=POWER_LOSS, confidence=_LIKELY, sensor=None)
    if pressure_factor(seen, row) is not None or set(PRESSURES) <= {*told.dead[row], *told.absent[row]}:
        scaled = pressure_factor(seen, row) is not None
        return _sensor_fault(case, _SURE) if scaled or unsure else case
    current, limit = seen.values["current_compressor_max"][row], seen.windows["current_threshold_a"][row]
    if current is not None and limit is not None and current > limit and case.failure_mode not in _DRAW_CURRENT:
        return replace(case, failure_mode=OVERLOAD, confidence=_SURE, sensor=None)
    if (told.stuck[row] or told.dead[row]) and (unsure or first["size"] < _STILL_ODD):
        return _sensor_fault(case, _SURE if told.stuck[row] else _LIKELY)
    if case.failure_mode == UNKNOWN and badly_told(told, row):
        # The one thing that is known to be wrong, though it need not be what the alert is of.
        return _sensor_fault(case, _PERHAPS)
    return case


def _sensor_fault(case: Case, confidence: float) -> Case:
    if case.failure_mode == SENSOR_FAULT:
        confidence = max(confidence, case.confidence)
    return replace(case, failure_mode=SENSOR_FAULT, confidence=confidence, sensor=None)
