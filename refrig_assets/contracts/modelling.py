"""C3.5, C4, C5 and C7: training rows, model input, scores, labels and maintenance."""

from datetime import timedelta

from refrig_assets.contracts.base import BOOL, F64, F64S, STR, STRS, TS, Contract, Freshness, column
from refrig_assets.contracts.base import I64 as _I64

GRANULARITIES = ("fleet", "cohort", "device")
MODELS = (
    "statistical_baseline",
    "isolation_forest",
    "autoencoder",
    "dbscan_cohort",
    "rules_fallback",
    "threshold_baseline",
)

_WINDOW = {
    "device_id": column(STR, "device"),
    "window_start": column(TS, "first instant of the window"),
    "window_end": column(TS, "first instant after the window"),
}
_VECTOR = {
    "feature_vector": column(F64S, "values, in the order of feature_names"),
    "feature_names": column(STRS, "names of the values"),
}
_COMPLETENESS = {"sensor_completeness": column(F64, "share of sensor values that are there", "fraction", ge=0, le=1)}

SPLITS = ("train", "validation", "held_out")
# Whose windows models may take for healthy; the others are kept to be judged on.
HEALTHY_LABELS = ("normal", "false_positive")

TRAINING_DATA = Contract(
    code="C3.5",
    name="training_data",
    title="Training data",
    description="Feature windows fit to train on, from one pinned snapshot of the features table.",
    key=("device_id", "window_start", "window_end"),
    group="training",
    rules=(
        "the same snapshot_id gives byte-identical rows",
        "split in time: train, a gap that is never written, then validation; held_out are devices in neither",
        "a value that is not known is null in feature_vector, never NaN",
        "a window is labelled only if it ends at least 24 h before the label was given",
    ),
    columns={
        **_WINDOW,
        "window_duration_minutes": column(_I64, "length of the window", "min", gt=0),
        **_VECTOR,
        "label": column(
            STR,
            "what is known of the window",
            isin=("normal", "pre_failure", "anomaly_confirmed", "false_positive"),
            nullable=True,
        ),
        "label_source": column(STR, "who said so", nullable=True),
        "snapshot_id": column(_I64, "version of the features table read", ge=0),
        **_COMPLETENESS,
        "assembled_at": column(TS, "end of the data, as of which everything is known"),
        "split": column(STR, "what the row is for", isin=SPLITS, extension=True),
        "cohort_id": column(STR, "cohort of the device", nullable=True, extension=True),
        "device_age_days": column(F64, "age of the device at window_start", "d", nullable=True, extension=True),
    },
)

SUGGESTED_THRESHOLDS = Contract(
    code="-",
    name="suggested_thresholds",
    title="Suggested streaming thresholds",
    description="Limits for the streaming rules as healthy windows suggest them, one row a device; never applied by "
    "themselves: a person merges them into the registry.",
    key=("device_id",),
    group="training",
    columns={
        "device_id": column(STR, "device"),
        "site_id": column(STR, "site", nullable=True),
        "cohort_id": column(STR, "cohort", nullable=True),
        "current_threshold_a": column(F64, "suggested compressor overload limit", "A", gt=0, le=50, nullable=True),
        "current_threshold_a_now": column(F64, "the registry's", "A", gt=0, nullable=True),
        "vibration_baseline_mm_s": column(F64, "suggested vibration baseline", "mm/s RMS", ge=0, nullable=True),
        "vibration_baseline_mm_s_now": column(F64, "the registry's", "mm/s RMS", ge=0, nullable=True),
        "basis": column(STR, "whose windows it rests on", isin=("device", "cohort")),
        "windows": column(_I64, "healthy windows of the device", ge=0),
        "snapshot_id": column(_I64, "version of the features table behind it", ge=0),
        "computed_at": column(TS, "when it was computed"),
    },
)

MODEL_INPUT = Contract(
    code="C4",
    name="model_input",
    title="Model input",
    description="The complete vectors one model scores: no nulls, in the order of the model's own metadata.",
    key=("device_id", "window_end", "model_id"),
    group="scoring",
    columns={
        **_WINDOW,
        "model_id": column(STR, "model", isin=MODELS),
        "granularity": column(STR, "scope of the model", isin=GRANULARITIES),
        **_VECTOR,
        **_COMPLETENESS,
    },
)

MODEL_SCORES = Contract(
    code="C5",
    name="model_scores",
    title="Model scores",
    description="How unusual a window is to one model version, calibrated alike for all models, with reasons.",
    key=("device_id", "window_end", "model_id", "model_version", "deployment_role"),
    hour_of="window_start",
    group="scoring",
    freshness=Freshness(timedelta(hours=1), timedelta(hours=2), timedelta(hours=4)),
    service_levels=(
        "within 1 hour of features",
        "at least 99 % of active devices a run",
        "at least 2,000 devices a minute",
    ),
    rules=("anomaly_flag is exactly anomaly_score > threshold_used",),
    columns={
        "score_id": column(STR, "identity of the score"),
        **_WINDOW,
        "model_id": column(STR, "model", isin=MODELS),
        "model_version": column(STR, "version of the model"),
        "granularity": column(STR, "scope of the model", isin=GRANULARITIES),
        "deployment_role": column(STR, "role of the version", isin=("champion", "challenger", "shadow")),
        "anomaly_score": column(F64, "calibrated score", "0-1", ge=0, le=1),
        "anomaly_flag": column(BOOL, "score above threshold_used"),
        "threshold_used": column(F64, "threshold of this run", "0-1", ge=0, le=1),
        "top_contributors": column(STRS, "the five features that weigh most", nullable=True),
        "contributor_scores": column(F64S, "their weights", nullable=True),
        "scored_at": column(TS, "when it was scored"),
        **_COMPLETENESS,
    },
)

LABEL_EVENTS = Contract(
    code="C7",
    name="label_events",
    title="Label events",
    description="What people and systems say happened to a device; operators' actions on alerts write them.",
    group="training",
    columns={
        "device_id": column(STR, "device"),
        "event_timestamp": column(TS, "when it happened"),
        "label_type": column(
            STR,
            "what it was",
            isin=(
                "failure_confirmed",
                "anomaly_confirmed",
                "false_positive",
                "planned_maintenance",
                "normal_operation",
            ),
        ),
        "label_source": column(
            STR,
            "who says so",
            isin=("field_engineer", "maintenance_system", "operator_feedback", "automated_heuristic"),
        ),
        "label_confidence": column(F64, "how far to trust it", "0-1", ge=0, le=1),
        "labeled_at": column(TS, "when it was said"),
        "alert_id": column(STR, "alert it answers", nullable=True),
        "failure_mode": column(STR, "what failed", nullable=True),
        "notes": column(STR, "free text", nullable=True),
    },
)

MAINTENANCE_EVENTS = Contract(
    code="C7",
    name="maintenance_events",
    title="Maintenance events",
    description="Work planned and done on devices.",
    key=("event_id",),
    group="training",
    columns={
        "event_id": column(STR, "identity of the work"),
        "device_id": column(STR, "device"),
        "event_type": column(STR, "kind of work", isin=("preventive", "corrective", "emergency")),
        "scheduled_date": column(TS, "when it was planned for"),
        "completed_date": column(TS, "when it was done", nullable=True),
        "work_description": column(STR, "what was done"),
        "parts_replaced": column(STRS, "parts replaced"),
        "triggered_by_alert_id": column(STR, "alert that led to it", nullable=True),
        "pre_maintenance_score": column(F64, "score before", "0-1", ge=0, le=1, nullable=True),
        "post_maintenance_score": column(F64, "score after", "0-1", ge=0, le=1, nullable=True),
    },
)
