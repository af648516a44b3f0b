"""Whether a new version of a model may take over: two versions' scores of the same rows, held against four gates."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import polars as pl

Outcome = Literal["pass", "investigate", "review", "block"]

MEAN_DIFFERENCE = 0.05
FLAG_RATE_POINTS = 2.0
TOP_DEVICES = 100
TOP_OVERLAP = 0.80
KL_LIMIT = 0.1
BINS = 20
# Half a count a bin: a bin that one version leaves empty must not make the divergence infinite.
SMOOTHING = 0.5

_SEVERITY: tuple[Outcome, ...] = ("pass", "investigate", "review", "block")
_DIGITS = 12  # 0.05 - 0.03 is not 0.02: a change of just two points passes


class CanaryError(ValueError):
    """The two sets of scores cannot be compared; the message says why."""


@dataclass(frozen=True)
class Gate:
    name: str
    value: float
    limit: float
    outcome: Outcome
    says: str

    @property
    def passed(self) -> bool:
        return self.outcome == "pass"


@dataclass(frozen=True)
class CanaryReport:
    model_id: str
    old_version: str
    new_version: str
    rows: int
    devices: int
    rows_only_old: int
    """rows that the old version could score and the new one could not"""
    rows_only_new: int
    gates: tuple[Gate, ...]

    @property
    def outcome(self) -> Outcome:
        return max((g.outcome for g in self.gates), key=_SEVERITY.index)

    @property
    def passed(self) -> bool:
        return all(g.passed for g in self.gates)

    @property
    def failed(self) -> tuple[Gate, ...]:
        return tuple(g for g in self.gates if not g.passed)

    @property
    def says(self) -> str:
        what = f"{self.model_id} {self.new_version} against {self.old_version}, {self.rows:,} rows"
        if self.passed:
            return f"{what}: all gates pass"
        return f"{what}: " + "; ".join(f"{g.name} says {g.outcome} ({g.says})" for g in self.failed)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "gates": [asdict(g) for g in self.gates], "outcome": self.outcome}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "CanaryReport":
        told = {k: v for k, v in data.items() if k not in ("gates", "outcome")}
        return cls(**told, gates=tuple(Gate(**g) for g in data["gates"]))


def compare(
    old: pl.DataFrame,
    new: pl.DataFrame,
    *,
    model_id: str,
    old_version: str,
    new_version: str,
    keys: tuple[str, ...] = ("device_id", "window_end"),
) -> CanaryReport:
    """Scores of the same rows by both versions (`keys`, anomaly_score, anomaly_flag), joined on the keys.

    A row that one of the two could not score is counted and left out of the gates.
    """
    pairs = _pairs(old, new, keys)
    has_old, has_new = pl.col("old").is_not_null(), pl.col("new").is_not_null()
    both = pairs.filter(has_old & has_new)
    if both.is_empty():
        raise CanaryError(
            f"{model_id} {new_version} and {old_version} have no scored row in common: nothing to compare. "
            "Compare over hours that have features of the devices both versions know."
        )
    gates = (
        _mean_difference(both),
        _flag_rate_change(both),
        _top_devices(both, keys[0]),
        _divergence(both["old"].to_numpy(), both["new"].to_numpy()),
    )
    return CanaryReport(
        model_id=model_id,
        old_version=old_version,
        new_version=new_version,
        rows=both.height,
        devices=both[keys[0]].n_unique(),
        rows_only_old=pairs.filter(has_old & ~has_new).height,
        rows_only_new=pairs.filter(has_new & ~has_old).height,
        gates=gates,
    )


def _pairs(old: pl.DataFrame, new: pl.DataFrame, keys: tuple[str, ...]) -> pl.DataFrame:
    for name, frame in (("old", old), ("new", new)):
        missing = [c for c in (*keys, "anomaly_score", "anomaly_flag") if c not in frame.columns]
        if missing:
            raise CanaryError(f"the scores of the {name} version lack the columns {', '.join(missing)}")
        if frame.select(keys).is_duplicated().any():
            raise CanaryError(f"the scores of the {name} version hold a row twice: {', '.join(keys)} must be unique")
        if frame["anomaly_score"].is_nan().any():
            raise CanaryError(f"the scores of the {name} version hold NaN: such a version must not score at all")

    def named(frame: pl.DataFrame, name: str) -> pl.DataFrame:
        score = pl.col("anomaly_score").cast(pl.Float64)
        return frame.select(*keys, score.alias(name), pl.col("anomaly_flag").alias(f"{name}_flag"))

    return named(old, "old").join(named(new, "new"), on=list(keys), how="full", coalesce=True).sort(*keys)


def _mean_difference(both: pl.DataFrame) -> Gate:
    value = float(np.abs(both["new"].to_numpy() - both["old"].to_numpy()).mean())
    outcome: Outcome = "pass" if round(value, _DIGITS) < MEAN_DIFFERENCE else "investigate"
    says = f"scores differ by {value:.4f} on average, and should by less than {MEAN_DIFFERENCE}"
    return Gate("mean_difference", value, MEAN_DIFFERENCE, outcome, says)


def _flag_rate_change(both: pl.DataFrame) -> Gate:
    before, after = (100 * float(both[f"{n}_flag"].fill_null(False).sum()) / both.height for n in ("old", "new"))
    value = after - before
    outcome: Outcome = "pass" if round(abs(value), _DIGITS) <= FLAG_RATE_POINTS else "block"
    says = f"{before:.2f} % flagged before, {after:.2f} % after; within {FLAG_RATE_POINTS:g} points is allowed"
    return Gate("flag_rate_change", value, FLAG_RATE_POINTS, outcome, says)


def _top_devices(both: pl.DataFrame, device: str) -> Gate:
    """How many of the devices highest in the old version's eyes are among the highest in the new one's."""
    highest = both.group_by(device).agg(pl.col("old", "new").max())
    most = min(TOP_DEVICES, highest.height)
    top = [set(highest.sort([n, device], descending=[True, False])[device].head(most)) for n in ("old", "new")]
    value = len(top[0] & top[1]) / most
    outcome: Outcome = "pass" if round(value, _DIGITS) >= TOP_OVERLAP else "review"
    says = f"{value:.0%} of the {most} highest devices are the same, and {TOP_OVERLAP:.0%} should be"
    if highest.height <= TOP_DEVICES:
        says += f" (there are only {highest.height} devices: this gate cannot fail)"
    return Gate("top_devices_overlap", value, TOP_OVERLAP, outcome, says)


def _divergence(old: np.ndarray[Any, Any], new: np.ndarray[Any, Any]) -> Gate:
    value = kl_divergence(old, new)
    outcome: Outcome = "pass" if round(value, _DIGITS) < KL_LIMIT else "block"
    says = f"the scores' distribution moved by a KL divergence of {value:.4f}, below {KL_LIMIT} is allowed"
    return Gate("score_divergence", value, KL_LIMIT, outcome, says)


def kl_divergence(old: np.ndarray[Any, Any], new: np.ndarray[Any, Any]) -> float:
    """KL(new || old) in nats, over 20 equal bins from 0 to 1, with half a count added to each bin."""
    p, q = (np.histogram(s, bins=BINS, range=(0.0, 1.0))[0] + SMOOTHING for s in (new, old))
    p, q = p / p.sum(), q / q.sum()
    return float(np.sum(p * np.log(p / q)))
