"""What scores tell of themselves without labels: how they are spread, how steady they are, how far models agree.

Frames of model_scores in, figures out. No I/O. What the figures should be is in `contracts/scoring.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import polars as pl

from refrig_assets.contracts.scoring import (
    AGREEMENT_LEVEL,
    FLAG_RATE_TARGET,
    FLAG_RATE_TOLERANCE,
    FLIP_LIMIT,
    HISTOGRAM_BINS,
    RANK_CORRELATION_LEVEL,
    SCORE_LIMITS,
)
from refrig_assets.monitoring.findings import Finding

QUANTILES: Mapping[str, float] = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999, "max": 1.0}
_WINDOW = ["device_id", "window_end"]


@dataclass(frozen=True)
class Distribution:
    windows: int
    devices: int
    flagged: int
    mean: float | None
    quantiles: Mapping[str, float | None]
    shares_above: Mapping[float, float | None]
    histogram: list[float] | None

    @property
    def flag_rate(self) -> float:
        return self.flagged / self.windows if self.windows else 0.0


@dataclass(frozen=True)
class Stability:
    """Two runs of one model over the devices that both scored; None where there are too few to say."""

    devices: int
    flip_rate: float | None
    rank_correlation: float | None


@dataclass(frozen=True)
class Agreement:
    """Models over the windows that all of them scored."""

    models: tuple[str, ...]
    windows: int
    devices: int
    flagged_by_all: int
    agreement: float | None
    overlap: float | None
    rank_correlation: float | None


def distribution(scores: pl.DataFrame) -> Distribution:
    """How one model's scores are spread."""
    score = scores["anomaly_score"]
    known = bool(scores.height)
    return Distribution(
        windows=scores.height,
        devices=scores["device_id"].n_unique(),
        flagged=int(scores["anomaly_flag"].sum()),
        mean=float(score.mean()) if known else None,  # type: ignore[arg-type]
        quantiles={n: _plain(score.quantile(q, "nearest")) for n, q in QUANTILES.items()},
        shares_above={limit: _plain((score > limit).mean()) for limit in SCORE_LIMITS},
        histogram=histogram(score) if known else None,
    )


def histogram(scores: pl.Series) -> list[float]:
    """The share of scores in each of equal bins of 0-1."""
    counts, _ = np.histogram(scores.to_numpy(), bins=HISTOGRAM_BINS, range=(0.0, 1.0))
    return [float(c) for c in counts / max(len(scores), 1)]


def by_device(scores: pl.DataFrame) -> pl.DataFrame:
    """A run as its devices show: the mean of a device's scores, and whether any window was flagged."""
    return scores.group_by("device_id").agg(pl.col("anomaly_score").mean(), pl.col("anomaly_flag").any())


def stability(before: pl.DataFrame, after: pl.DataFrame) -> Stability:
    """How far a run repeats the one before: flags that flipped, and whether the devices rank alike.

    Windows of two runs are never the same, so devices are compared: by their mean score, and by whether any window
    was flagged.
    """
    both = by_device(before).join(by_device(after), on="device_id", how="inner", suffix="_after")
    flipped = (both["anomaly_flag"] != both["anomaly_flag_after"]).mean()
    return Stability(both.height, _plain(flipped), rank_correlation(both["anomaly_score"], both["anomaly_score_after"]))


def rank_correlation(first: pl.Series, second: pl.Series) -> float | None:
    """Spearman's; None with fewer than three values, or where one of the two is all alike."""
    if len(first) < 3 or first.n_unique() < 2 or second.n_unique() < 2:
        return None
    ranks = pl.DataFrame({"a": first.rank("average"), "b": second.rank("average")})
    return float(np.clip(ranks.select(pl.corr("a", "b")).item(), -1.0, 1.0))


def agreements(by_model: Mapping[str, pl.DataFrame]) -> list[Agreement]:
    """Each pair of models, in the order of their names; and, where there are more than two, all of them together."""
    names = sorted(name for name, scores in by_model.items() if scores.height)
    groups: list[Sequence[str]] = [*combinations(names, 2)]
    if len(names) > 2:
        groups.append(names)
    return [_agreement(tuple(group), by_model) for group in groups]


def _agreement(models: tuple[str, ...], by_model: Mapping[str, pl.DataFrame]) -> Agreement:
    first, *others = models
    both = by_model[first].select(*_WINDOW, score_0="anomaly_score", flag_0="anomaly_flag")
    for number, model in enumerate(others, start=1):
        other = by_model[model].select(
            *_WINDOW, pl.col("anomaly_score").alias(f"score_{number}"), pl.col("anomaly_flag").alias(f"flag_{number}")
        )
        both = both.join(other, on=_WINDOW, how="inner")
    flags = [pl.col(f"flag_{n}") for n in range(len(models))]
    counted = both.select(
        pl.all_horizontal(flags).sum().alias("all"),
        pl.any_horizontal(flags).sum().alias("any"),
        pl.col("device_id").n_unique().alias("devices"),
    ).row(0, named=True)
    every, some = int(counted["all"]), int(counted["any"])
    return Agreement(
        models=models,
        windows=both.height,
        devices=int(counted["devices"]),
        flagged_by_all=every,
        agreement=(both.height - some + every) / both.height if both.height else None,
        overlap=every / some if some else None,
        rank_correlation=rank_correlation(both["score_0"], both["score_1"]) if len(models) == 2 else None,
    )


def _plain(value: object) -> float | None:
    return None if value is None else float(value)  # type: ignore[arg-type]


# -- findings: each warns, none stops -----------------------------------------------------------------------------


def flag_rate_finding(quality: pl.DataFrame) -> Finding:
    """Each model flags about as many windows as it is meant to, within the tolerance of the drift rules."""
    rows = quality.filter(pl.col("measure") == "model")
    most = FLAG_RATE_TARGET + FLAG_RATE_TOLERANCE
    return _finding(
        "flag_rate", rows, pl.col("flag_rate") > most, "flag_rate", f"at most {most:.0%} of windows flagged"
    )


def stability_findings(quality: pl.DataFrame) -> list[Finding]:
    """Flags that flipped, and devices that rank otherwise, since the run before."""
    rows = quality.filter((pl.col("measure") == "model") & pl.col("compared_hour").is_not_null())
    flips = f"at most {FLIP_LIMIT:.0%} of devices flip"
    ranks = f"rank correlation with the run before at least {RANK_CORRELATION_LEVEL:g}"
    return [
        _finding("flag_flips", rows, pl.col("flip_rate") > FLIP_LIMIT, "flip_rate", flips),
        _finding(
            "rank_correlation", rows, pl.col("rank_correlation") < RANK_CORRELATION_LEVEL, "rank_correlation", ranks
        ),
    ]


def agreement_finding(quality: pl.DataFrame) -> Finding:
    """Pairs of models flag the same windows, mostly."""
    rows = quality.filter(pl.col("measure") == "pair")
    return _finding(
        "agreement",
        rows,
        pl.col("agreement") < AGREEMENT_LEVEL,
        "agreement",
        f"pairs agree on at least {AGREEMENT_LEVEL:.0%} of windows",
    )


def _finding(check: str, rows: pl.DataFrame, wrong: pl.Expr, value: str, promise: str) -> Finding:
    known = rows.filter(pl.col(value).is_not_null())
    bad = known.filter(wrong)
    named = [
        f"{m}{f' and {o}' if o else ''} {v:.3g}" for m, o, v in bad.select("model_id", "other_model", value).iter_rows()
    ]
    says = f"{promise}; {', '.join(named[:5]) or f'{known.height} compared' if known.height else 'nothing to compare'}"
    sample = bad.select("hour", "model_id", "other_model", value).head(20).to_dicts()
    return Finding(check, not bad.height, says, {"compared": known.height, "out_of_bounds": bad.height}, sample, False)
