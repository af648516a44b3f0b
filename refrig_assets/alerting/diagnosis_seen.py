"""What a diagnosis is made from: frames that lie row by row beside the windows asked for. No rules here."""

from dataclasses import dataclass

import polars as pl

from refrig_assets.alerting.signatures import SENSED
from refrig_assets.contracts.base import F64, STR, STRS, TS
from refrig_assets.contracts.features import STATISTICS

DIAGNOSIS_SCHEMA = {
    "device_id": STR,
    "window_end": TS,
    "failure_mode": STR,
    "diagnosis_confidence": F64,
    "evidence": STRS,
    "first_check": STR,
    "hours_left": F64,
    "hours_left_low": F64,
    "hours_left_high": F64,
}
CHAMPION, BASELINES, NOTHING = "champion", "baselines", "nothing"
# Of each 15-minute window of the last hours: what every sensor said, and how far it moved.
RECENT_VALUES: tuple[str, ...] = (
    *(f"{s}_{statistic}" for s in STATISTICS for statistic in ("mean", "std")),
    "defrost_active_fraction",
)
RECENT_H = 6
HISTORY_H, HISTORY_STEP_H = 72, 2


@dataclass(frozen=True)
class Seen:
    """`windows`, `values`, `deviation` and `z` have one row a window asked for; the others name it in `row`."""

    windows: pl.DataFrame
    """device_id, window_end, top_contributors, contributor_scores, expected_sensors, expected_interval_s,
    current_threshold_a, expected_from (champion, baselines or nothing), why it was not the champion, and the hours that
    its levels rest on (level_hours; null where nobody knows)"""
    values: pl.DataFrame
    """the model rows; null where there is no such window"""
    deviation: pl.DataFrame
    """by feature, in its unit"""
    z: pl.DataFrame
    """by feature, in what healthy machines stray"""
    recent: pl.DataFrame
    """row, window_end, reading_count, quality_flag_count, and RECENT_VALUES of the windows of the last hours"""
    history: pl.DataFrame
    """row, at (middle of the six hours), and for each of SENSED: value, deviation (`_off`) and residual (`_z`)"""


HISTORY_COLUMNS: tuple[str, ...] = tuple(f"{f}{end}" for f in SENSED for end in ("", "_off", "_z"))
