"""What is probably wrong: how well each failure mode's signs explain what a device does. Frames in, frames out.

A window is seen three ways: the mean of the 6 hours before (level), the window itself (now), and the change in three
days. Each is a vector of signed residuals; a mode explains the part of it that lies along its signs. What nothing
explains is unknown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from refrig_assets.alerting.signatures import DEFROST, HARMLESS, LONE_SENSORS, ONE_SENSOR, SENSED
from refrig_assets.contracts.trends import HORIZONS_H, change_name, sensor_of, trend_name

F64 = npt.NDArray[np.float64]
LEVEL, NOW, CHANGE = "level", "now", "change"
# How much a way of seeing counts: 15 minutes hold a defrost or a start, a change is known to most devices only.
WAYS: Mapping[str, float] = {LEVEL: 1.0, NOW: 0.6, CHANGE: 0.6}
_WAYS = list(WAYS)
_SHORT_H = min(HORIZONS_H)
# Residuals of this size are everyday; beyond, ten times as far counts about twice as much.
_EVERYDAY, _HALF_WAY = 1.0, 2.0
# Nine healthy windows of ten stray no farther than 1.64; compressed as all residuals.
_AS_USUAL = float(np.arcsinh((1.64 - _EVERYDAY) / _HALF_WAY))
# "unknown" explains this share of anything; how sharply shares are told apart.
_UNKNOWN_SHARE, _SHARPNESS = 0.45, 10.0
# Less than this along the signs, and there is nothing to name; a lone sensor must be farther off.
_LEAST_STRENGTH, _LEAST_ALONE = 0.6, 1.3
_LEAST_CONFIDENCE = 1 / 3
_AS_A_DEFROST = 0.6
# A residual that a reason with all the weight stands for.
_SAID_SIZE = 10.0

UNKNOWN, SENSOR_FAULT = "unknown", "sensor_fault"
_QUIET = f"{SENSOR_FAULT}:vibration_compressor"
_LONE: Mapping[str, Mapping[str, float]] = {
    **{f"{SENSOR_FAULT}:{s}": {f"{s}_mean": 1.0} for s in LONE_SENSORS},
    _QUIET: {"vibration_compressor_mean": -1.0},
}


def column_of(feature: str, way: str) -> str:
    """The model row's column of a feature seen in a way."""
    return {LEVEL: trend_name(feature, _SHORT_H), NOW: feature, CHANGE: change_name(feature)}[way]


@dataclass(frozen=True)
class Explained:
    """Window × mode: the share of what is odd that the mode explains, and how far it goes along its signs."""

    modes: tuple[str, ...]
    shares: F64
    strengths: F64
    size: F64
    """by window, how odd it is at all"""


def vectors(z: pl.DataFrame) -> F64:
    """Way × window × feature: residuals made comparable; NaN where there is none. Columns that lack are not known."""
    empty = pl.lit(None, dtype=pl.Float64)
    parts = []
    for way in WAYS:
        names = [(f, column_of(f, way)) for f in SENSED]
        found = z.select((pl.col(c) if c in z.columns else empty).alias(f) for f, c in names)
        values = found.to_numpy().astype(np.float64).reshape(z.height, len(SENSED))
        parts.append(compressed(values))
    return np.stack(parts)


def explained(seen: F64, signs: Mapping[str, Mapping[str, float]]) -> Explained:
    """How well each mode explains each window; a lone sensor's fault is "sensor_fault:<sensor>"."""
    table = {**signs, **HARMLESS, **_LONE}
    patterns = np.array([[float(told.get(f, 0.0)) for f in SENSED] for told in table.values()])
    lone = np.array([m in _LONE for m in table])
    weights = np.array(list(WAYS.values()))
    known = np.isfinite(seen)
    filled = np.where(known, seen, 0.0)
    along = filled @ patterns.T  # way × window × mode
    norm = known.astype(np.float64) @ (patterns**2).T
    part = np.divide(along, np.sqrt(norm), out=np.zeros_like(along), where=norm > 0)
    # A probe may fail either way; only of vibration is too much believed.
    part = np.where(lone & np.array([m != _QUIET for m in table]), np.abs(part), np.maximum(part, 0.0))
    # A probe that has failed stays so; what is off for a quarter of an hour was a defrost, a start, or the machine.
    level, now = part[_WAYS.index(LEVEL)], part[_WAYS.index(NOW)]
    part[_WAYS.index(NOW)] = np.where(lone, np.minimum(now, level), now)
    # What cannot be seen of a mode's signs speaks for nobody, and leaves the mode less certain.
    covered = np.sqrt(norm / (patterns**2).sum(axis=1))
    power = np.tensordot(weights, part**2 * covered, axes=1) * _believable(seen[_WAYS.index(LEVEL)], table)
    total = (filled**2).sum(axis=2).T @ weights
    shares = np.divide(power, total[:, None], out=np.zeros_like(power), where=total[:, None] > 0)
    return Explained(tuple(table), shares, np.sqrt(power), np.sqrt(total))


def _believable(level: F64, table: Mapping[str, Mapping[str, float]]) -> npt.NDArray[np.bool_]:
    """Window × mode: what is harmless is believed only where all that tells it from a failure is seen to say so."""
    found = np.ones((len(level), len(table)), dtype=np.bool_)
    for number, mode in enumerate(table):
        if mode in HARMLESS:
            columns = [SENSED.index(f) for f in table[mode]]
            most = np.array([np.inf if sign else _AS_USUAL for sign in table[mode].values()])
            found[:, number] = (np.abs(level[:, columns]) <= most).all(axis=1)
    return found


def judged(found: Explained) -> pl.DataFrame:
    """One row a window: failure_mode and confidence in it, the sensor where one is at fault, what is likeliest
    (`leaning`, `leaning_confidence`) though it may not be likely enough to be named, and the `harmless` change that
    would look so, too."""
    lone = np.array([m in _LONE for m in found.modes])
    odds = _odds(found, lone)
    innocent = _innocent(found, odds)
    # A failure is not explained away: what may be harmless is said beside it.
    odds = np.where([m in HARMLESS for m in found.modes], 0.0, odds)
    sensors = [m.partition(":")[2] for m in found.modes]
    modes = [m.partition(":")[0] for m in found.modes]
    names = list(dict.fromkeys(modes))
    # A sensor fault is as likely as the likeliest sensor's.
    by_mode = np.stack([odds[:, [m == name for m in modes]].max(axis=1) for name in names], axis=1)
    likeliest = by_mode.argmax(axis=1).tolist()
    height, total = by_mode.max(axis=1, initial=0.0), 1.0 + by_mode.sum(axis=1)
    named = (height > 1.0) & (height / total >= _LEAST_CONFIDENCE)
    which = np.where(lone, odds, -1.0).argmax(axis=1).tolist()
    leaning = [names[i] for i in likeliest]
    chosen = [mode if said else UNKNOWN for mode, said in zip(leaning, named.tolist(), strict=True)]
    at_fault = [sensors[w] if mode == SENSOR_FAULT else None for w, mode in zip(which, chosen, strict=True)]
    return pl.DataFrame(
        {
            "failure_mode": pl.Series(chosen, dtype=pl.String),
            "confidence": np.where(named, height, 1.0) / total,
            "sensor": pl.Series(at_fault, dtype=pl.String),
            "leaning": pl.Series(leaning, dtype=pl.String),
            "leaning_confidence": height / total,
            "size": found.size,
            "harmless": pl.Series(innocent, dtype=pl.String),
        }
    )


def _innocent(found: Explained, odds: F64) -> list[str | None]:
    """By window, the harmless change that explains it better than every failure does, if one does."""
    best = [(found.modes[i], row[i]) for row, i in zip(odds, odds.argmax(axis=1).tolist(), strict=True)]
    return [mode if mode in HARMLESS and likely > 1.0 else None for mode, likely in best]


def _odds(found: Explained, lone: npt.NDArray[np.bool_]) -> F64:
    """Window × mode: how much likelier than "unknown"; 0 where hardly anything lies along the signs."""
    hardly_more = np.array([m in ONE_SENSOR for m in found.modes])
    least = np.where(lone | hardly_more, _LEAST_ALONE, _LEAST_STRENGTH)
    odds = np.exp(_SHARPNESS * (found.shares - _UNKNOWN_SHARE))
    return np.asarray(np.where(found.strengths >= least, odds, 0.0))


def without_sensors(seen: F64, broken: Sequence[Sequence[str]]) -> F64:
    """The vectors with what broken sensors say taken out, window by window."""
    of = np.array([sensor_of(f) for f in SENSED])
    out = np.array([np.isin(of, list(sensors)) for sensors in broken]).reshape(len(broken), len(SENSED))
    return np.where(out[None], np.nan, seen)


def compressed(values: F64) -> F64:
    """Residuals made comparable: what is everyday is nothing, and ten times as far counts about twice as much."""
    return np.asarray(np.sign(values) * np.arcsinh(np.maximum(np.abs(values) - _EVERYDAY, 0.0) / _HALF_WAY))


def like_a_defrost(now: F64) -> npt.NDArray[np.bool_]:
    """Windows that look like a defrost, of devices that do not say when they defrost."""
    pattern = np.array([float(DEFROST.get(f, 0.0)) for f in SENSED])
    known = np.isfinite(now)
    along = np.where(known, now, 0.0) @ pattern
    norm = np.sqrt((known * pattern**2).sum(axis=1) * (np.where(known, now, 0.0) ** 2).sum(axis=1))
    return np.asarray(np.divide(along, norm, out=np.zeros_like(along), where=norm > 0) > _AS_A_DEFROST)


def of_contributors(names: Sequence[str] | None, weights: Sequence[float] | None) -> F64:
    """Way × feature from a model's reasons, where nothing better is known: signs, and sizes as far as shares tell."""
    found = np.full((len(WAYS), len(SENSED)), np.nan)
    told = dict(zip(names or (), weights or (), strict=False))
    for w, way in enumerate(WAYS):
        for f, feature in enumerate(SENSED):
            share = told.get(
                column_of(feature, way), told.get(feature.replace("_mean", "_max")) if way == NOW else None
            )
            if share is not None:
                found[w, f] = compressed(np.array(np.sign(share) * _SAID_SIZE * np.sqrt(abs(share))))
    # What no reason names is as usual, as far as anybody can tell.
    named = np.isfinite(found).any()
    return np.where(np.isfinite(found), found, 0.0) if named else found
