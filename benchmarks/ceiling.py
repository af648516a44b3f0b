"""How much of the failures anybody could find in time: detectors that are told the truth, on a kept evaluation.

`refrig evaluate --keep DIR` leaves a lake, its models and the truth. Of half of the machines a detector learns how each
fault looks 12 to 20 hours before the failure; the other half is judged, and the other way round. It sees what the
statistical baseline sees, and how that changed within half a day and a day. No product knows as much: what such a
detector does not find is not to be seen in these rows at that price.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from benchmarks.report import print_report
from refrig_assets.contracts import DEVICE_ALERTS
from refrig_assets.evaluation import judge
from refrig_assets.evaluation.judge import EARLY, MEDIUM, RECOVERY, Scored
from refrig_assets.evaluation.raised import raised
from refrig_assets.lake import HOUR, Lake
from refrig_assets.models.registry import Registry
from refrig_assets.pipeline.model_rows import model_rows

# False alerts per 1,000 device-days at which the share found is told.
PRICES = (10, 30, 100, 300)
LEARNT_H = (EARLY / HOUR, 20.0)
CHANGES_H = (12, 24)
_AT_ONCE = timedelta(hours=6)
_EVERY_HEALTHY = 3
_STEPS = 24

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def seen_rows(lake: Lake, registry: Registry, scored: Scored) -> pl.DataFrame:
    """One row an hour and device: the baseline's residuals, and how the 6-hour ones changed."""
    version = registry.serving("statistical_baseline")[0].version
    model, _ = registry.load("statistical_baseline", version)
    names = list(model.info.roles.features)
    parts = []
    hour = scored.start - max(CHANGES_H) * HOUR
    while hour < scored.end:
        rows = model_rows(lake, hour, hour + _AT_ONCE)
        rows = rows.filter(pl.col("window_end").dt.minute() == 0)
        known = pl.DataFrame(model.conditioner.residuals(rows), schema=names)
        parts.append(rows.select("device_id", "window_end").hstack(known))
        hour += _AT_ONCE
    rows = pl.concat(parts)
    slow = [name for name in names if name.endswith("_6h")]
    for back in CHANGES_H:
        then = rows.select("device_id", pl.col("window_end") + back * HOUR, *slow)
        rows = rows.join(then, on=["device_id", "window_end"], how="left", suffix=f"_{back}")
        rows = rows.with_columns((pl.col(n) - pl.col(f"{n}_{back}")).alias(f"{n}_{back}") for n in slow)
    return rows.filter(pl.col("window_end") > scored.start).sort("device_id", "window_end")


def labelled(rows: pl.DataFrame, scored: Scored) -> pl.DataFrame:
    """By row: the fault that will fail, in how many hours, and whether the machine is well."""
    faults = scored.truth.filter("is_machine_fault").select("device_id", "fault", "onset", "failure_time", "ended_at")
    faults = faults.unique("device_id", keep="first", maintain_order=True)
    joined = rows.select("device_id", "window_end").join(faults, on="device_id", how="left", maintain_order="left")
    ill = pl.col("window_end").is_between("onset", pl.col("ended_at") + RECOVERY)
    left = (pl.col("failure_time") - pl.col("window_end")).dt.total_seconds() / 3600
    return joined.with_columns(well=~ill.fill_null(value=False), left=left.fill_null(float("nan")))


def told_the_truth(kind: str, values: Floats, known: pl.DataFrame) -> Floats:
    """How odd each row is to a detector that learnt from the other half of the machines."""
    half = (known["device_id"].hash(seed=3) % 2).to_numpy().astype(np.int64)
    left, well = known["left"].to_numpy(), known["well"].to_numpy()
    soon = (left >= LEARNT_H[0]) & (left <= LEARNT_H[1]) & ~well
    found = np.zeros(len(values))
    for side in (0, 1):
        healthy = np.flatnonzero((half != side) & well)[::_EVERY_HEALTHY]
        for fault in known["fault"].drop_nulls().unique().sort():
            ill = np.flatnonzero((half != side) & soon & (known["fault"] == fault).fill_null(value=False).to_numpy())
            if len(ill) > 1:
                mine = half == side
                found[mine] = np.maximum(found[mine], _rarity(kind, values, ill, healthy, mine))
    return found


def _rarity(kind: str, values: Floats, ill: Any, healthy: Any, asked: Bools) -> Floats:
    """By the learnt healthy rows, how rare it is to look so much like the fault: powers of ten."""
    rows = np.concatenate([ill, healthy])
    model = _detector(kind).fit(values[rows], np.arange(len(rows)) < len(ill))
    usual = np.sort(model.decision_function(values[healthy]))
    asked_for = model.decision_function(values[asked])
    beyond = 1 - np.searchsorted(usual, asked_for) / len(usual)
    # Beyond all healthy rows the order is still the detector's own.
    return np.asarray(-np.log10(np.maximum(beyond, 0.3 / len(usual))) + 1e-6 * asked_for, dtype=np.float64)


def _detector(kind: str) -> Any:
    if kind == "linear":
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

        return LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.05)
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(
        max_iter=150, learning_rate=0.06, max_leaf_nodes=15, l2_regularization=5, min_samples_leaf=40, random_state=0
    )


def at_price(odd: Floats, rows: pl.DataFrame, scored: Scored, price: float) -> float | None:
    """The share found 12 h ahead where so many alerts in 1,000 device-days are false."""
    days = scored.device_days()
    low, high = float(np.quantile(odd, 0.5)), float(odd.max())
    for _ in range(_STEPS):
        middle = (low + high) / 2
        false = judge.false_counts(_alerts(odd, rows, middle), scored)
        low, high = (middle, high) if judge.per_1000_days(false, days) > price else (low, middle)
    return judge.found_early(judge.faults(_alerts(odd, rows, high), scored))


def _alerts(odd: Floats, rows: pl.DataFrame, above: float) -> pl.DataFrame:
    hits = rows.select("device_id", "window_end").filter(pl.Series(odd > above))
    return judge.alerts(hits.with_columns(level=pl.lit(MEDIUM, dtype=pl.Int8)), MEDIUM)


def measure(home: Path) -> dict[str, float | None]:
    lake = Lake(str(home / "lake"))
    truth = pl.read_parquet(home / "truth.parquet")
    scores = lake.table("model_scores").scan().select("device_id", "window_start", "window_end")
    devices, start, end = _scored(scores)
    scored = Scored(devices, truth, start, end)
    told = raised(lake.table(DEVICE_ALERTS).read(), MEDIUM)
    ours = judge.faults(told, scored)
    figures: dict[str, float | None] = {
        "failures": float(ours["could_be_early"].sum()),
        "product_found_12h": judge.found_early(ours),
        "product_false_per_1000_device_days": judge.per_1000_days(
            judge.false_counts(told, scored), scored.device_days()
        ),
    }
    print("reading what the baseline sees", file=sys.stderr, flush=True)
    rows = seen_rows(lake, Registry(f"sqlite:///{home}/models/mlflow.db"), scored)
    known = labelled(rows, scored)
    values = np.nan_to_num(rows.drop("device_id", "window_end").to_numpy().astype(np.float64))
    for kind, name, price, share in _curve(values, known, rows, scored):
        figures[f"{kind}_found_12h_at_{price}"] = share
        print(f"{name}, {price} false: {share}", file=sys.stderr, flush=True)
    return figures


def _curve(
    values: Floats, known: pl.DataFrame, rows: pl.DataFrame, scored: Scored
) -> Iterator[tuple[str, str, int, float | None]]:
    for kind in ("linear", "trees"):
        odd = told_the_truth(kind, values, known)
        for price in PRICES:
            yield kind, f"told the truth, {kind}", price, at_price(odd, rows, scored, price)


def _scored(scores: pl.LazyFrame) -> tuple[pl.Series, Any, Any]:
    found = scores.select(
        pl.col("device_id").unique().sort().implode(),
        start=pl.col("window_start").min(),
        end=pl.col("window_end").max(),
    ).collect()
    return found["device_id"].explode(), found["start"].item(), found["end"].item()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kept", type=Path, metavar="DIR", help="what `refrig evaluate --keep DIR` left")
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")
    chosen = parser.parse_args(arguments)
    if not (chosen.kept / "truth.parquet").exists():
        parser.error(f"{chosen.kept} holds no truth.parquet: make it with `refrig evaluate --keep {chosen.kept}`")
    print_report(measure(chosen.kept), {}, 1, chosen.json, title="What anybody could find twelve hours ahead")


if __name__ == "__main__":
    main()
