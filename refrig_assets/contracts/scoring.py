"""What scoring agrees on beside C5: which models run when, how long a score is good for, tables about scores."""

from collections.abc import Mapping
from datetime import timedelta

from refrig_assets.contracts.base import F64, F64S, I64, STR, STRS, TS, Contract, Freshness, column
from refrig_assets.contracts.features import HOURLY_WINDOWS_MIN
from refrig_assets.contracts.modelling import MODEL_SCORES, MODELS

HOURLY_DETECTORS = ("statistical_baseline", "isolation_forest")
DAILY_DETECTORS = ("autoencoder", "dbscan_cohort")
DETECTORS = (*HOURLY_DETECTORS, *DAILY_DETECTORS)
RULES_FALLBACK, THRESHOLD_BASELINE = "rules_fallback", "threshold_baseline"
# The daily detectors run over the hour before this one (UTC); the others run then, too, over the same windows.
DAILY_HOUR = 3

SCORED_WINDOW_MIN = HOURLY_WINDOWS_MIN[0]
# C4: rows with less are left out and counted.
LEAST_COMPLETENESS = 0.5
# Until then a device has no normal of its own.
NEW_DEVICE_DAYS = 30.0
COVERAGE_LEVEL = 0.99

# One model failing: its last good scores stand in for this long.
USE_BY = timedelta(hours=2)
# Age of the newest scores: from here on stale, from there very stale, beyond expired.
STALE_AFTER, VERY_STALE_AFTER, EXPIRED_AFTER = timedelta(hours=1), timedelta(hours=2), timedelta(hours=4)
# The daily detectors: a day longer than what the contract says of model_scores.
DAILY_FRESHNESS = Freshness(timedelta(hours=25), timedelta(hours=26), timedelta(hours=28))

# What the severity limits of C6 ask of a score, and what share of a healthy fleet's windows may pass each.
SCORE_LIMITS: Mapping[float, float] = {0.6: 0.01, 0.7: 0.001, 0.85: 1e-4, 0.95: 1e-6}
FLIP_LIMIT, RANK_CORRELATION_LEVEL, AGREEMENT_LEVEL = 0.10, 0.90, 0.85
FLAG_RATE_TARGET, FLAG_RATE_TOLERANCE = 0.01, 0.03
HISTOGRAM_BINS = 20

MEASURES = ("model", "pair", "joint")
SCORE_QUALITY = Contract(
    code="-",
    name="score_quality",
    title="Score quality",
    description="What can be said of scores without labels: one row a model and hour, one a pair of models that scored "
    "the same windows, one for all models together. Champion scores only.",
    key=("hour", "measure", "model_id", "other_model"),
    hour_of="hour",
    group="scoring",
    columns={
        "hour": column(TS, "hour of the windows"),
        "measure": column(STR, "what the row is of", isin=MEASURES),
        "model_id": column(STR, "the model, the first of a pair, or all that scored joined by +"),
        "other_model": column(STR, "the second of a pair", nullable=True),
        "model_versions": column(STRS, "versions whose scores these are"),
        "windows": column(I64, "windows scored (by all of the models compared)", ge=0),
        "devices": column(I64, "devices with such a window", ge=0),
        "flagged": column(I64, "windows flagged (by all of the models compared)", ge=0),
        "flag_rate": column(F64, "flagged / windows", "fraction", ge=0, le=1),
        "score_mean": column(F64, "mean score", "0-1", ge=0, le=1, nullable=True),
        **{f"score_{q}": column(F64, f"{says} of the scores", "0-1", ge=0, le=1, nullable=True)
           for q, says in (("p50", "median"), ("p90", "90th percentile"), ("p99", "99th percentile"),
                           ("p999", "99.9th percentile"), ("max", "maximum"))},
        **{f"share_above_{round(100 * limit)}": column(F64, f"share of scores above {limit:g}", "fraction", ge=0, le=1,
                                                       nullable=True)
           for limit in SCORE_LIMITS},
        "histogram": column(F64S, f"share of scores in each of {HISTOGRAM_BINS} bins of 0-1", nullable=True),
        "compared_hour": column(TS, "hour of the run before, which stability is against", nullable=True),
        "flip_rate": column(F64, "devices whose flag differs from the run before / devices of both", "fraction", ge=0,
                            le=1, nullable=True),
        "rank_correlation": column(F64, "Spearman's: with the run before, or between the two models", "-1-1", ge=-1,
                                   le=1, nullable=True),
        "agreement": column(F64, "windows on which all of the models agree / windows", "fraction", ge=0, le=1,
                            nullable=True),
        "overlap": column(F64, "flagged by all / flagged by any", "fraction", ge=0, le=1, nullable=True),
    },
)  # fmt: skip

CANARY_OUTCOMES = ("pass", "investigate", "review", "block")
CANARY_REPORTS = Contract(
    code="-",
    name="canary_reports",
    title="Canary reports",
    description="A new version beside the champion over the same windows: one row a gate. Nothing here makes an alert.",
    key=("hour", "model_id", "candidate_version", "gate"),
    hour_of="hour",
    group="scoring",
    columns={
        "hour": column(TS, "hour of the windows both versions scored"),
        "model_id": column(STR, "model", isin=DETECTORS),
        "champion_version": column(STR, "version in charge"),
        "candidate_version": column(STR, "version that wants to be"),
        "candidate_role": column(STR, "where it stands: staging, challenger or shadow"),
        "gate": column(STR, "gate"),
        "value": column(F64, "what was measured", nullable=True),
        "limit": column(F64, "limit of the gate"),
        "outcome": column(STR, "what the gate asks for", isin=CANARY_OUTCOMES),
        "says": column(STR, "in words"),
        "windows": column(I64, "windows compared", ge=0),
        "compared_at": column(TS, "when it was compared"),
    },
)

assert MODEL_SCORES.freshness is not None
HOURLY_FRESHNESS = MODEL_SCORES.freshness
assert set(DETECTORS) | {RULES_FALLBACK, THRESHOLD_BASELINE} == set(MODELS)
