"""The figures of an evaluation: from the lake's scores and the truth to tables and bars. Prints and draws nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import polars as pl

from refrig_assets.contracts import DEVICE_ALERTS, DEVICE_FEATURES, DEVICE_REGISTRY, MODEL_SCORES
from refrig_assets.contracts.scoring import DAILY_HOUR, DETECTORS, HOURLY_DETECTORS, SCORED_WINDOW_MIN
from refrig_assets.evaluation import diagnosed, judge
from refrig_assets.evaluation.judge import LEVEL, MEDIUM, Scored
from refrig_assets.evaluation.probed import probed
from refrig_assets.evaluation.raised import raised as raised_alerts
from refrig_assets.lake import HOUR, Lake
from refrig_assets.pipeline.fallback import RULES, Rule

ALARMS = "alarms_per_10_min_of_100000_healthy"
BARS: Mapping[str, tuple[float, bool]] = {  # value, at most
    "found_12h": (0.9, False),
    "false_high_per_1000_device_days": (1.0, True),
    "fewer_false_than_rules": (5.0, False),
    ALARMS: (1.0, True),
}
RULES_CURVE, LIMITS_CURVE, PRODUCT_CURVE = "fallback rules", "threshold limits", "highest of the hourly models"
_COLUMNS = (
    "device_id", "window_start", "window_end", "model_id", "deployment_role", "anomaly_score", "anomaly_flag",
    "top_contributors", "contributor_scores",
)  # fmt: skip


@dataclass
class Evaluation:
    """What came out. Frames hold shares from 0 to 1, hours, and counts."""

    figures: dict[str, float | None]
    faults: pl.DataFrame
    by_kind: pl.DataFrame
    by_kind_and_size: pl.DataFrame
    false: pl.DataFrame
    alone: pl.DataFrame
    agreement: pl.DataFrame
    curves: dict[str, pl.DataFrame]
    false_by_cause: pl.DataFrame
    diagnosed: pl.DataFrame
    confusion: pl.DataFrame
    device_days: dict[str, float]
    notes: list[str] = field(default_factory=list)

    @property
    def bars(self) -> dict[str, dict[str, float | bool | None]]:
        found: dict[str, dict[str, float | bool | None]] = {}
        for name, (bar, at_most) in BARS.items():
            value = self.figures[name]
            holds = value is not None and (value <= bar if at_most else value >= bar)
            found[name] = {"value": value, "bar": bar, "holds": holds}
        return found


def evaluate(lake: Lake, truth: pl.DataFrame, start: datetime, end: datetime) -> Evaluation:
    """Judge what the lake's alerts and model_scores tell from start to end."""
    scores = lake.table(MODEL_SCORES).scan(start, end).select(_COLUMNS).collect(engine="in-memory")
    champions = scores.filter((pl.col("deployment_role") == "champion") & pl.col("model_id").is_in(DETECTORS))
    log = lake.table(DEVICE_ALERTS).read()
    scored = Scored(champions["device_id"].unique().sort(), truth, start, end)
    days = scored.device_days()
    raised = {name: raised_alerts(log, level) for name, level in LEVEL.items()}
    faults = judge.faults(raised["MEDIUM"], scored)
    curves = _curves(lake, scores, champions, scored)
    false = pl.DataFrame([_false_row(name, raised[name], scored, days) for name in LEVEL])
    found = judge.found_early(faults)
    ours = sum(judge.false_counts(raised["MEDIUM"], scored).values())
    ratio, notes, baseline = _against_rules(found, ours, curves)
    figures = {
        "found_12h": found,
        "false_high_per_1000_device_days": judge.per_1000_days(judge.false_counts(raised["HIGH"], scored), days),
        "fewer_false_than_rules": ratio,
        **_false_high_by_class(raised["HIGH"], scored, days),
        **{f"false_{n.lower()}_per_1000_device_days": judge.per_1000_days(judge.false_counts(raised[n], scored), days)
           for n in LEVEL if n != "HIGH"},
        **_of_faults(faults, lake.table(DEVICE_REGISTRY).read()),
        "found_12h_by_chance": judge.by_chance(faults, scored, ours / max(sum(days.values()), 1e-9)),
        **baseline,
        **_truly(raised, truth),
        **diagnosed.figures(raised["MEDIUM"], truth),
    }  # fmt: skip
    return Evaluation(
        figures, faults, judge.summary(faults, ("fault",)), judge.by_kind(faults), false,
        _alone(champions, scored, days), agreement(champions), curves,
        _false_by_cause(raised["MEDIUM"], scored), diagnosed.by_kind(raised["MEDIUM"], truth),
        diagnosed.confusion(raised["MEDIUM"], truth), days, notes,
    )  # fmt: skip


def _truly(raised: Mapping[str, pl.DataFrame], truth: pl.DataFrame) -> dict[str, float | None]:
    """Of the alerts at each level and above, how many there were, and the share that was of something really wrong."""
    found: dict[str, float | None] = {}
    for level in ("MEDIUM", "HIGH"):
        judged = diagnosed.with_truth(raised[level], truth)
        found[f"{level.lower()}_alerts"] = judged.height
        found[f"{level.lower()}_alerts_of_a_fault"] = _share(judged["fault"].is_not_null())
    return found


def _of_faults(faults: pl.DataFrame, registry: pl.DataFrame) -> dict[str, float | None]:
    gradual, acute = faults.filter("is_gradual"), faults.filter(~pl.col("is_gradual"))
    failing = faults.filter("could_be_early")
    seen = probed(failing, registry)
    return {
        "gradual_faults": gradual.height,
        "failures_judged": failing.height,
        "failures_without_a_probe": int((~seen).sum()),
        "found_12h_where_a_probe_sees": judge.found_early(failing.filter(seen)),
        "found_gradual": _share(gradual["raised_at"].is_not_null()),
        "found_before_failure": _share((failing["lead_h"] > 0).fill_null(value=False)),
        "found_acute": _share(acute["raised_at"].is_not_null()),
        "lead_median_h": _number(failing["lead_h"].median()),
        "delay_median_h": _number(gradual["delay_h"].median()),
    }


def _share(found: pl.Series) -> float | None:
    return _number(found.mean())


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _false_high_by_class(raised: pl.DataFrame, scored: Scored, days: dict[str, float]) -> dict[str, float]:
    counts = judge.false_counts(raised, scored)
    rates = {kind: judge.per_1000_days({kind: n}, days) for kind, n in counts.items()}
    by_class = {f"false_high_per_1000_device_days_{kind}": rate for kind, rate in rates.items()}
    # HIGH and above wake somebody. 100,000 healthy devices make 100,000 device-days in 144 times ten minutes.
    return {**by_class, ALARMS: rates[judge.HEALTHY] * 100 / 144}


def _false_row(name: str, raised: pl.DataFrame, scored: Scored, days: dict[str, float]) -> dict[str, float | str]:
    counts = judge.false_counts(raised, scored)
    rates = {f"{kind}_per_1000": judge.per_1000_days({kind: n}, days) for kind, n in counts.items()}
    return {"at_least": name, "false": sum(counts.values()), "per_1000": judge.per_1000_days(counts, days), **rates}


def _false_by_cause(raised: pl.DataFrame, scored: Scored) -> pl.DataFrame:
    """What stood on the devices that gave false alerts, and what the alerts named first."""
    false = judge.attributed(raised, scored).filter("false")
    told = false.with_columns(pl.col("top_contributors").list.first().alias("first_contributor"))
    when = (
        pl.when(pl.col("first_end") <= pl.col("onset"))
        .then(pl.lit(", before it began"))
        .when(pl.col("first_end") > pl.col("ended_at"))
        .then(pl.lit(", after the repair"))
        .otherwise(pl.lit(""))
    )
    cause = pl.when(pl.col("fault").is_null()).then(pl.lit("nothing")).otherwise(pl.concat_str("fault", when))
    return told.group_by(cause.alias("on_device"), "first_contributor").len("alerts").sort("alerts", descending=True)


def _alone(champions: pl.DataFrame, scored: Scored, days: dict[str, float]) -> pl.DataFrame:
    """Each model by itself, and together: over all windows those that scored all, then all at the daily hour."""
    at_three = (pl.col("window_start").dt.hour() + 1) % 24 == DAILY_HOUR
    groups: list[tuple[str, str, pl.DataFrame]] = []
    for label, part in (("every hour", champions), ("daily hour", champions.filter(at_three))):
        models = sorted(part["model_id"].unique())
        if label == "every hour":
            by_model = part.group_by("model_id").agg(pl.col("window_end").n_unique())
            most = by_model["window_end"].max()
            models = sorted(by_model.filter(pl.col("window_end") == most)["model_id"])
        groups += [(label, m, part.filter(pl.col("model_id") == m)) for m in models]
        groups.append((label, " + ".join(models), part.filter(pl.col("model_id").is_in(models))))
    rows = []
    for label, name, part in groups:
        raised = judge.alerts(judge.hits(part), MEDIUM)
        rows.append(
            {
                "windows": label,
                "models": name,
                "found_12h": judge.found_early(judge.faults(raised, scored)),
                "false_medium_per_1000": judge.per_1000_days(judge.false_counts(raised, scored), days),
            }
        )
    return pl.DataFrame(rows)


def agreement(champions: pl.DataFrame) -> pl.DataFrame:
    """Of windows that two models scored: in how many their flags agree, and of those either flags, how many both do."""
    wide = champions.pivot("model_id", index=["device_id", "window_end"], values="anomaly_flag")
    models = [m for m in DETECTORS if m in wide.columns]
    rows = []
    for i, one in enumerate(models):
        for other in models[i + 1 :]:
            both = wide.select(one, other).drop_nulls()
            either = both.filter(pl.col(one) | pl.col(other))
            rows.append(
                {
                    "model": one,
                    "other": other,
                    "windows": both.height,
                    "agree": _share(both[one] == both[other]),
                    "both_of_either": _share(either[one] & either[other]),
                }
            )
    return pl.DataFrame(rows)


def _curves(lake: Lake, scores: pl.DataFrame, champions: pl.DataFrame, scored: Scored) -> dict[str, pl.DataFrame]:
    """Share found against false alerts, by the limit on a score; of models, of limits, of the fallback's rules."""
    value = pl.col("anomaly_score").alias("value")
    evidence = {
        model: champions.filter(pl.col("model_id") == model).select("device_id", "window_end", value)
        for model in DETECTORS
    }
    hourly = champions.filter(pl.col("model_id").is_in(HOURLY_DETECTORS))
    highest = hourly.group_by("device_id", "window_end").agg(pl.col("anomaly_score").max().alias("value"))
    evidence[PRODUCT_CURVE] = highest
    limits = scores.filter(pl.col("model_id") == "threshold_baseline").select("device_id", "window_end", value)
    evidence[LIMITS_CURVE] = twice(limits)
    evidence[RULES_CURVE] = twice(rules_evidence(lake, scored.start, scored.end))
    return {
        name: judge.sweep(rows, scored, judge.limits_for(rows, scored))
        for name, rows in evidence.items()
        if rows.height
    }


def twice(evidence: pl.DataFrame) -> pl.DataFrame:
    """What two windows in a row have in common: rules are asked for as much as alerts are."""
    ordered = evidence.sort("device_id", "window_end")
    both = pl.min_horizontal("value", pl.col("value").shift(1).over("device_id").fill_null(float("-inf")))
    return ordered.with_columns(both.alias("value")).filter(pl.col("value").is_finite())


def rules_evidence(lake: Lake, start: datetime, end: datetime) -> pl.DataFrame:
    """How far beyond (negative: within) its limit the worst of the fallback's four features lies, in shares of a scale.

    0 is the rule as CONTRACTS has it; moving the limit on this evidence moves all four limits together.
    """
    worst = pl.max_horizontal(_beyond(rule) for rule in RULES)
    parts = []
    day = start
    while day < end:
        rows = lake.table(DEVICE_FEATURES).scan(day, min(day + timedelta(days=1), end))
        rows = rows.filter(pl.col("window_duration_minutes") == SCORED_WINDOW_MIN)
        parts.append(rows.select("device_id", "window_end", worst.alias("value")).collect(engine="in-memory"))
        day += 24 * HOUR
    return pl.concat(parts).drop_nulls("value")


_SCALES = {"temp_evaporator_mean": 25.0}  # °C have no zero to take a share of


def _beyond(rule: Rule) -> pl.Expr:
    over = (pl.col(rule.feature) - rule.limit) / _SCALES.get(rule.feature, abs(rule.limit))
    return over if rule.above else -over


def _against_rules(
    found: float | None, ours: int, curves: Mapping[str, pl.DataFrame]
) -> tuple[float | None, list[str], dict[str, float | None]]:
    """How many times as many false alerts the rules give as the product, at MEDIUM or above and the same share found.

    The limits of both rule baselines are moved together until they find, 12 h ahead, at least as much as the product;
    of all such settings the one with the fewest false alerts counts, and of the two baselines the better one. Where a
    baseline finds as much at no setting, it stands at the setting that finds most: the ratio is then a lower bound of
    what it would cost.
    """
    notes: list[str] = []
    figures: dict[str, float | None] = {"false_medium_alerts": ours}
    if found is None:
        return None, ["no fault ended in failure in the scored days: nothing can be compared with the rules"], figures
    standing = []
    for name in (LIMITS_CURVE, RULES_CURVE):
        at = judge.cheapest_at(curves[name], found) if name in curves else None
        key = name.replace(" ", "_")
        if at is None:
            continue
        figures |= {f"{key}_found_12h": at["found_12h"], f"{key}_false_alerts": at["false"]}
        if at["found_12h"] < found - 1e-9:
            notes.append(
                f"The {name} find at most {at['found_12h']:.0%} 12 h ahead, whatever their limits ({found:.0%} ours)."
            )
        standing.append((at["found_12h"] < found - 1e-9, at["false"]))
    if not standing:
        return None, notes, figures
    reached = [false for short, false in standing if not short]
    rules = min(reached) if reached else min(false for _, false in standing)
    return rules / max(ours, 1), notes, figures
