"""How good alarms and scores are against labels: by point and by event, as they are, without point adjustment."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import fmean, median

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
NAMES = ("f1", "false_alarm_rate", "missed_alarm_rate", "roc_auc", "event_recall", "delay_rows", "delay_s")
# These are also given as the mean over groups, each counting alike.
MACRO = NAMES[:5]


@dataclass(frozen=True)
class Verdict:
    """One group's test rows in time order: what was true, what a detector said, and how sure it was."""

    group: str
    labels: Bools
    alarms: Bools
    scores: Floats
    times: Sequence[datetime] | None = None


def figures(verdicts: Sequence[Verdict]) -> dict[str, float | None]:
    """Over all groups' rows together, and `_macro` as the mean over the groups that have the figure."""
    each = [_of([verdict]) for verdict in verdicts]
    means = {f"{name}_macro": _mean([found[name] for found in each]) for name in MACRO}
    return _of(verdicts) | means


def _of(verdicts: Sequence[Verdict]) -> dict[str, float | None]:
    labels, alarms, scores = (
        np.concatenate([getattr(v, name) for v in verdicts]) for name in ("labels", "alarms", "scores")
    )
    hits, false = int((labels & alarms).sum()), int((~labels & alarms).sum())
    missed, quiet = int((labels & ~alarms).sum()), int((~labels & ~alarms).sum())
    delays = [delay for verdict in verdicts for delay in event_delays(verdict)]
    found = [delay for delay in delays if delay is not None]
    seconds = [s for _, s in found if s is not None]
    return {
        "f1": 2 * hits / (2 * hits + false + missed) if hits + missed else None,
        "false_alarm_rate": false / (false + quiet) if false + quiet else None,
        "missed_alarm_rate": missed / (missed + hits) if missed + hits else None,
        "roc_auc": roc_auc(labels, scores),
        "event_recall": len(found) / len(delays) if delays else None,
        "delay_rows": float(median(rows for rows, _ in found)) if found else None,
        "delay_s": float(median(seconds)) if seconds else None,
    }


def event_delays(verdict: Verdict) -> list[tuple[int, float | None] | None]:
    """For each run of anomalous rows, rows and seconds from its start to the first alarm in it; None without one.

    An alarm before an event is a false alarm, and one that is still on from before counts from the event's start.
    """
    delays: list[tuple[int, float | None] | None] = []
    for start, stop in events(verdict.labels):
        inside = np.flatnonzero(verdict.alarms[start:stop])
        if not len(inside):
            delays.append(None)
            continue
        rows, times = int(inside[0]), verdict.times
        delays.append((rows, (times[start + rows] - times[start]).total_seconds() if times is not None else None))
    return delays


def events(labels: Bools) -> list[tuple[int, int]]:
    """Start and end (not included) of each run of consecutive anomalous rows."""
    edges = np.diff(np.concatenate([[0], labels.astype(np.int8), [0]]))
    return [(int(a), int(b)) for a, b in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True)]


def roc_auc(labels: Bools, scores: Floats) -> float | None:
    """The chance that an anomalous row scores above a healthy one, a tie counting half; None if one kind is missing."""
    anomalous = int(labels.sum())
    healthy = len(labels) - anomalous
    if not anomalous or not healthy:
        return None
    _, position, count = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - (count - 1) / 2)[position]
    return float((ranks[labels].sum() - anomalous * (anomalous + 1) / 2) / (anomalous * healthy))


def _mean(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return fmean(there) if there else None
