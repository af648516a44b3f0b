"""C6 device_alerts: one row an alert, as the fold of the alert log yields it."""

from datetime import timedelta

from refrig_assets.contracts.base import BOOL, F64, I32, STR, STRS, TS, Contract, Freshness, column

ALERT_TYPES = ("ANOMALY_DETECTED", "ANOMALY_SUSTAINED", "ANOMALY_ESCALATED", "ANOMALY_RESOLVED")
SEVERITIES = ("LOW", "MEDIUM", "HIGH", "CRITICAL")
STATUSES = ("OPEN", "ACKNOWLEDGED", "IN_PROGRESS", "RESOLVED", "FALSE_POSITIVE")
STREAM_RULES = ("compressor_overload", "vibration_spike", "acute_pressure_loss", "total_cooling_loss")
SLA_BY_SEVERITY = {
    "CRITICAL": timedelta(minutes=30),
    "HIGH": timedelta(hours=2),
    "MEDIUM": timedelta(hours=4),
    "LOW": timedelta(hours=24),
}
SUPPRESSION_WINDOW = timedelta(hours=4)

DEVICE_ALERTS = Contract(
    code="C6",
    name="device_alerts",
    title="Device alerts",
    description="What a person should look at, why, since when and by when.",
    key=("alert_id",),
    hour_of="alert_created_at",
    group="alerting",
    freshness=Freshness(timedelta(minutes=5), timedelta(minutes=15), timedelta(minutes=30)),
    service_levels=(
        "batch within 5 minutes of scoring",
        "streaming within 1 minute of the event",
        "under 1 % of new failure modes suppressed",
    ),
    columns={
        "alert_id": column(STR, "identity, derived from device, model or rule, and window or event"),
        "device_id": column(STR, "device"),
        "site_id": column(STR, "site of the device"),
        "alert_type": column(STR, "what the alert says now", isin=ALERT_TYPES),
        "severity": column(STR, "how urgent", isin=SEVERITIES),
        "title": column(STR, "one line"),
        "description": column(STR, "which sensors, which direction, how long, what to do"),
        "source": column(STR, "path that raised it", isin=("batch", "streaming", "fallback")),
        "rule": column(STR, "streaming rule", isin=STREAM_RULES, nullable=True),
        "model_id": column(STR, "model with the highest score", nullable=True),
        "anomaly_score": column(F64, "highest champion score", "0-1", ge=0, le=1, nullable=True),
        "top_contributors": column(STRS, "features that weigh most", nullable=True),
        "models_flagging": column(I32, "models that flag the device", ge=0),
        "first_detected_at": column(TS, "earliest detection on either path"),
        "alert_created_at": column(TS, "when the alert was written"),
        "suppressed": column(BOOL, "written for audit only, never notified"),
        "suppressed_by": column(STR, "alert or mute that suppresses it", nullable=True),
        "action_id": column(STR, "last action on it", nullable=True),
        "status": column(STR, "where it stands", isin=STATUSES),
        "resolved_at": column(TS, "when it was closed", nullable=True),
        "escalation_level": column(STR, "who has it", isin=("L1", "L2", "L3")),
        "escalated_at": column(TS, "when it was last escalated", nullable=True),
        "sla_deadline": column(TS, "by when somebody must have taken it"),
        "sla_breached": column(BOOL, "still OPEN past its deadline"),
        "note": column(STR, "last note", nullable=True),
    },
)
