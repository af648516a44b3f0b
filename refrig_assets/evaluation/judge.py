"""From hits and truth: what was found, how early, and what was false. Frames in, frames out; no clock, no I/O.

A hit is a window of a device that something calls odd, with a level (1 = LOW … 4 = CRITICAL). Hits of a device at most
four hours apart are one alert, as C6 counts duplicates. An alert belongs to a machine fault when its first window ends
after the fault's onset and at most two hours after the repair; all others are false, also one that was standing when
the fault began. A fault counts as found from the first alert that belongs to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

import polars as pl

from refrig_assets.alerting.severity import severities
from refrig_assets.contracts.alerts import SEVERITIES, SUPPRESSION_WINDOW
from refrig_assets.evaluation.plan import SCORED_AFTER

LEVEL = {name: i for i, name in enumerate(SEVERITIES, start=1)}
MEDIUM, HIGH = LEVEL["MEDIUM"], LEVEL["HIGH"]
EARLY = timedelta(hours=12)
RECOVERY = timedelta(hours=2)
HEALTHY, TELEMETRY, MACHINE = "healthy", "telemetry", "machine"
_HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Scored:
    """What was scored: which devices (their truth beside them), from when to when."""

    devices: pl.Series
    truth: pl.DataFrame
    start: datetime
    end: datetime

    def classes(self) -> pl.DataFrame:
        """Each device with its class and its fault, if it has one."""
        kind = pl.when("is_machine_fault").then(pl.lit(MACHINE)).otherwise(pl.lit(TELEMETRY))
        faults = self.truth.with_columns(kind.alias("class"))
        joined = self.devices.to_frame("device_id").join(faults, on="device_id", how="left", maintain_order="left")
        return joined.with_columns(pl.col("class").fill_null(HEALTHY))

    def device_days(self) -> dict[str, float]:
        """By class, the days in which a device had no fault of its machine: those in which an alert is false."""
        over = pl.min_horizontal("ended_at", pl.lit(self.end)) - pl.max_horizontal("onset", pl.lit(self.start))
        ill = pl.when(pl.col("class") == MACHINE).then((over.dt.total_seconds() / 86_400).clip(0)).otherwise(0.0)
        well = (self.end - self.start) / timedelta(days=1) - ill
        days = self.classes().group_by("class").agg(well.sum().alias("days"))
        return dict.fromkeys((HEALTHY, TELEMETRY, MACHINE), 0.0) | dict(days.iter_rows())


def hits(scores: pl.DataFrame) -> pl.DataFrame:
    """The windows the severity rules call something, with their level; from the rows of model_scores."""
    judged = severities(scores).filter(pl.col("severity").is_not_null())
    level = pl.col("severity").replace_strict(LEVEL, return_dtype=pl.Int8)
    return judged.select("device_id", "window_end", level.alias("level"), "models_flagging", "top_contributors")


def alerts(found: pl.DataFrame, least: int) -> pl.DataFrame:
    """Hits of at least this level as alerts: their first and last window's end, and when the first was known."""
    mine = found.filter(pl.col("level") >= least).select("device_id", "window_end").sort("device_id", "window_end")
    apart = (pl.col("window_end") - pl.col("window_end").shift(1)).over("device_id") > SUPPRESSION_WINDOW
    known = (pl.col("first_end") - timedelta(microseconds=1)).dt.truncate("1h") + _HOUR + SCORED_AFTER
    return (
        mine.with_columns(apart.fill_null(value=True).cum_sum().alias("number"))
        .group_by("number", maintain_order=True)
        .agg(
            pl.col("device_id").first(),
            pl.col("window_end").first().alias("first_end"),
            pl.col("window_end").last().alias("last_end"),
            pl.len().alias("windows"),
        )
        .drop("number")
        .with_columns(known.alias("raised_at"))
    )


def attributed(raised: pl.DataFrame, scored: Scored) -> pl.DataFrame:
    """Alerts with the device's class and fault, and whether they are false."""
    joined = raised.join(scored.classes(), on="device_id", how="left", maintain_order="left")
    belongs = (
        (pl.col("class") == MACHINE)
        & (pl.col("first_end") > pl.col("onset"))
        & (pl.col("first_end") <= pl.col("ended_at") + RECOVERY)
    )
    return joined.with_columns((~belongs.fill_null(value=False)).alias("false"))


def faults(raised: pl.DataFrame, scored: Scored) -> pl.DataFrame:
    """The machine faults that were on in the scored days, with their first alert, lead and delay in hours.

    `early` says whether it could count and did: only those that end in failure with 12 h of scores before it can.
    """
    true = attributed(raised, scored).filter(~pl.col("false"))
    first = true.group_by("device_id").agg(pl.col("raised_at").min(), pl.len().alias("alerts"))
    on = pl.col("is_machine_fault") & (pl.col("onset") < scored.end) & (pl.col("ended_at") > scored.start)
    could = (
        pl.col("is_gradual")
        & pl.col("failure_time").is_between(scored.start + EARLY, scored.end).fill_null(value=False)
    )  # fmt: skip
    begun = pl.max_horizontal("onset", pl.lit(scored.start))
    return (
        scored.truth.filter(on)
        .join(first, on="device_id", how="left", maintain_order="left")
        .with_columns(
            could.alias("could_be_early"),
            ((pl.col("failure_time") - pl.col("raised_at")).dt.total_seconds() / 3600).alias("lead_h"),
            ((pl.col("raised_at") - begun).dt.total_seconds() / 3600).alias("delay_h"),
        )
        .with_columns((pl.col("could_be_early") & (pl.col("lead_h") >= 12.0).fill_null(value=False)).alias("early"))
    )


def found_early(judged: pl.DataFrame) -> float | None:
    """Share of the gradual faults that end in failure which were found 12 h before; None where there were none."""
    count = int(judged["could_be_early"].sum())
    return int(judged["early"].sum()) / count if count else None


def by_chance(judged: pl.DataFrame, scored: Scored, false_per_day: float) -> float | None:
    """The share that alerts at random would find 12 h ahead, coming as often as the false ones do."""
    failing = judged.filter("could_be_early")
    begun = pl.max_horizontal("onset", pl.lit(scored.start))
    days = (pl.col("failure_time") - EARLY - begun).dt.total_seconds().clip(0) / 86_400
    found = failing.select((1 - (-false_per_day * days).exp()).mean()).item()
    return None if found is None else float(found)


def by_kind(judged: pl.DataFrame, bands: Sequence[float] = (0.5, 0.7, 0.85)) -> pl.DataFrame:
    """One row a kind and band of severity: how many, share found, share in time, median lead and delay."""
    edges = [0.0, *bands, 1.0]
    names = [f"{low:g}–{high:g}" for low, high in pairwise(edges)]
    at = sum(((pl.col("severity") >= b).cast(pl.Int32) for b in bands), pl.lit(0))
    band = at.replace_strict(dict(enumerate(names)), return_dtype=pl.String).alias("size")
    return summary(judged.with_columns(band), ("fault", "size"))


def summary(judged: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    in_time = pl.when(pl.col("could_be_early").sum() > 0).then(pl.col("early").sum() / pl.col("could_be_early").sum())
    lead = pl.col("lead_h").filter(pl.col("could_be_early"))
    return (
        judged.group_by(keys)
        .agg(
            pl.len().alias("faults"),
            pl.col("raised_at").is_not_null().mean().alias("found"),
            pl.col("could_be_early").sum().alias("failures"),
            in_time.alias("found_12h"),
            lead.median().alias("lead_median_h"),
            pl.col("delay_h").median().alias("delay_median_h"),
        )
        .sort(keys)
    )


def false_counts(raised: pl.DataFrame, scored: Scored) -> dict[str, int]:
    """False alerts by the device's class."""
    false = attributed(raised, scored).filter(pl.col("false"))
    counted = dict(false.group_by("class").len().iter_rows())
    return {kind: int(counted.get(kind, 0)) for kind in (HEALTHY, TELEMETRY, MACHINE)}


def per_1000_days(counts: dict[str, int], days: dict[str, float]) -> float:
    """False alerts of these classes per 1,000 of their device-days."""
    whole = sum(days[kind] for kind in counts)
    return 1000 * sum(counts.values()) / whole if whole else 0.0


def evidence_hits(evidence: pl.DataFrame, limit: float) -> pl.DataFrame:
    """Windows whose evidence (`value`) lies above the limit, as hits of MEDIUM."""
    above = evidence.filter(pl.col("value") > limit)
    return above.select("device_id", "window_end", pl.lit(MEDIUM, pl.Int8).alias("level"))


def sweep(evidence: pl.DataFrame, scored: Scored, limits: Sequence[float]) -> pl.DataFrame:
    """For each limit on the evidence: the share found 12 h ahead and the false alerts it costs."""
    days = scored.device_days()
    rows = []
    for limit in limits:
        raised = alerts(evidence_hits(evidence, limit), MEDIUM)
        false = false_counts(raised, scored)
        rows.append(
            {
                "limit": float(limit),
                "found_12h": found_early(faults(raised, scored)),
                "false": sum(false.values()),
                "false_per_1000": per_1000_days(false, days),
            }
        )
    schema = {"limit": pl.Float64, "found_12h": pl.Float64, "false": pl.Int64, "false_per_1000": pl.Float64}
    return pl.DataFrame(rows, schema=schema)


def limits_for(evidence: pl.DataFrame, scored: Scored, count: int = 24) -> list[float]:
    """Limits from one that a third of the windows of devices without a fault exceed to one that hardly any does."""
    well = scored.classes().filter(pl.col("class") == HEALTHY)["device_id"]
    values = evidence.filter(pl.col("device_id").is_in(well.implode()))["value"].drop_nulls()
    if values.is_empty():
        return []
    often, rarely = 1 / 3, 1e-5
    steps = [often * (rarely / often) ** (i / (count - 1)) for i in range(count)]
    return sorted({float(values.quantile(1 - s, "nearest") or 0.0) for s in steps})


def cheapest_at(curve: pl.DataFrame, share: float) -> dict[str, float] | None:
    """The limit that finds at least this share with the fewest false alerts; else the one that finds most."""
    known = curve.drop_nulls("found_12h")
    if known.is_empty():
        return None
    reach = known.filter(pl.col("found_12h") >= share - 1e-9)
    chosen = (
        reach.sort("false", "limit") if reach.height else known.sort("found_12h", "false", descending=[True, False])
    )
    return chosen.row(0, named=True)
