"""C6: device_alerts, the log of every change to an alert, and alert_board, one row an alert as the log folds."""

from datetime import timedelta

import pandera.polars as pa

from refrig_assets.contracts.base import BOOL, F64, I32, STR, STRS, TS, Contract, Freshness, column

ALERT_TYPES = ("ANOMALY_DETECTED", "ANOMALY_SUSTAINED", "ANOMALY_ESCALATED", "ANOMALY_RESOLVED")
SEVERITIES = ("LOW", "MEDIUM", "HIGH", "CRITICAL")
STATUSES = ("OPEN", "ACKNOWLEDGED", "IN_PROGRESS", "RESOLVED", "FALSE_POSITIVE")
CLOSED_STATUSES = ("RESOLVED", "FALSE_POSITIVE")
STREAM_RULES = ("compressor_overload", "vibration_spike", "acute_pressure_loss", "total_cooling_loss")
CHANGES = (
    "created",
    "suppressed",
    "sustained",
    "escalated",
    "eased",
    "resolved",
    "acknowledged",
    "started",
    "false_positive",
    "reopened",
    "muted",
    "unmuted",
    "noted",
    "grouped",
    "diagnosed",
)
LEVELS = ("L1", "L2", "L3")
# What is wrong with the machine, or with what it reports. "unknown": odd, and none of the others explains it.
FAILURE_MODES = (
    "refrigerant_leak",
    "condenser_fouling",
    "evaporator_icing",
    "bearing_wear",
    "valve_hunting",
    "liquid_slugging",
    "door_seal",
    "compressor_overload",
    "power_loss",
    "sensor_fault",
    "unknown",
)
MODE_OF_RULE = {
    "compressor_overload": "compressor_overload",
    "vibration_spike": "bearing_wear",
    "acute_pressure_loss": "refrigerant_leak",
    "total_cooling_loss": "power_loss",
}
STREAM, BATCH, OPERATOR = "stream", "batch", "operator:"
SLA_BY_SEVERITY = {
    "CRITICAL": timedelta(minutes=30),
    "HIGH": timedelta(hours=2),
    "MEDIUM": timedelta(hours=4),
    "LOW": timedelta(hours=24),
}
SUPPRESSION_WINDOW = timedelta(hours=4)
# How far the stream's alerts may be behind. The age of the newest alert says nothing: a healthy fleet makes none.
STREAM_FRESHNESS = Freshness(timedelta(minutes=1), timedelta(minutes=2), timedelta(minutes=5))


def _alert_columns(*, nullable: bool) -> dict[str, pa.Column]:
    """What is known of an alert. In the log every one may be null: the change does not set it."""

    return {
        "alert_id": column(STR, "identity, derived from device, model or rule, and window or event"),
        "device_id": column(STR, "device", nullable=nullable),
        "site_id": column(STR, "site of the device", nullable=nullable),
        "alert_type": column(STR, "what the alert says now", isin=ALERT_TYPES, nullable=nullable),
        "severity": column(STR, "how urgent", isin=SEVERITIES, nullable=nullable),
        "title": column(STR, "one line", nullable=nullable),
        "description": column(STR, "which sensors, which direction, how long, what to do", nullable=nullable),
        "source": column(STR, "path that raised it", isin=("batch", "streaming", "fallback"), nullable=nullable),
        "rule": column(STR, "streaming rule", isin=STREAM_RULES, nullable=True),
        "model_id": column(STR, "model with the highest score", nullable=True),
        "anomaly_score": column(F64, "highest champion score", "0-1", ge=0, le=1, nullable=True),
        "top_contributors": column(STRS, "features that weigh most", nullable=True),
        "models_flagging": column(I32, "models that flag the device", ge=0, nullable=nullable),
        "first_detected_at": column(TS, "earliest detection on either path", nullable=nullable),
        "alert_created_at": column(TS, "when the alert was written", nullable=nullable),
        "suppressed": column(BOOL, "written for audit only, never notified", nullable=nullable),
        "suppressed_by": column(STR, "alert or mute that suppresses it", nullable=True),
        "action_id": column(STR, "last action on it", nullable=True),
        "status": column(STR, "where it stands", isin=STATUSES, nullable=nullable),
        "resolved_at": column(TS, "when it was closed", nullable=True),
        "escalation_level": column(STR, "who has it", isin=("L1", "L2", "L3"), nullable=nullable),
        "escalated_at": column(TS, "when it was last escalated", nullable=True),
        "sla_deadline": column(TS, "by when somebody must have taken it", nullable=nullable),
        "sla_breached": column(BOOL, "still OPEN past its deadline", nullable=nullable),
        "note": column(STR, "last note", nullable=True),
        "failure_mode": column(STR, "what is probably wrong", isin=FAILURE_MODES, nullable=True, extension=True),
        "diagnosis_confidence": column(
            F64, "how far the evidence speaks for it", "0-1", ge=0, le=1, nullable=True, extension=True
        ),
        "evidence": column(STRS, "what speaks for it, a sentence each", nullable=True, extension=True),
        "first_check": column(STR, "what to look at first", nullable=True, extension=True),
        "hours_left": column(F64, "hours until failure if it goes on so", "h", ge=0, nullable=True, extension=True),
        "hours_left_low": column(F64, "of which 10 % fail sooner", "h", ge=0, nullable=True, extension=True),
        "hours_left_high": column(F64, "of which 10 % fail later", "h", ge=0, nullable=True, extension=True),
        "last_seen_at": column(TS, "end of the last window in which it was seen", nullable=True, extension=True),
        "windows_sustained": column(
            I32, "windows in a row, up to the last one seen", ge=0, nullable=True, extension=True
        ),
        "work_order_at": column(TS, "when a work order became due", nullable=True, extension=True),
        "incident_id": column(STR, "incident of the site that it is part of", nullable=True, extension=True),
    }


DEVICE_ALERTS = Contract(
    code="C6",
    name="device_alerts",
    title="Device alerts",
    description="The log of alerts: one row a change, appended by stream, batch and operators, never rewritten. "
    "An empty field is one the change does not set; folded by alert it is alert_board.",
    key=("change_id",),
    hour_of="changed_at",
    group="alerting",
    service_levels=(
        "batch within 5 minutes of scoring; warns after 15, fails after 30",
        "streaming within 1 minute of the event; warns after 2, fails after 5",
        "under 1 % of new failure modes suppressed",
    ),
    columns={
        "change_id": column(STR, "identity, derived from alert, change and occasion: repeating writes nothing new"),
        "change": column(STR, "what happened to the alert", isin=CHANGES),
        "changed_at": column(TS, "when it happened"),
        "actor": column(STR, "who did it: stream, batch, or operator:<name>"),
        **_alert_columns(nullable=True),
    },
)
ALERT_BOARD = Contract(
    code="C6",
    name="alert_board",
    title="Alert board",
    description="What a person should look at, why, since when and by when: the log of alerts, one row an alert.",
    key=("alert_id",),
    hour_of="alert_created_at",
    group="alerting",
    rules=(
        "each field is the last one set; the first detection is the earliest",
        "what an operator closed stays closed, whatever stream or batch write later",
    ),
    columns=_alert_columns(nullable=False),
)
