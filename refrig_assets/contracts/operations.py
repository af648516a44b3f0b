"""Beside C6: incidents, work orders, mutes and notifications. No logic; who makes them is alerting/ and notify/."""

from refrig_assets.contracts.alerts import FAILURE_MODES, SEVERITIES
from refrig_assets.contracts.base import BOOL, I32, STR, STRS, TS, Contract, column

INCIDENT_STATUSES = ("OPEN", "CLOSED")
ORDER_STATUSES = ("OPEN", "DONE", "CANCELLED")
ORDER_PRIORITIES = ("urgent", "planned")
REPEATS = ("once", "daily", "weekly")
NOTICE_KINDS = ("device_alert", "digest", "data_quality", "pipeline_failure", "model", "stream")
NOTICE_RESULTS = ("sent", "failed", "gave_up", "held")

INCIDENTS = Contract(
    code="C6",
    name="incidents",
    title="Incidents",
    description="Many devices of one site, or of one firmware, with the same trouble at once: one row that lists them.",
    key=("incident_id",),
    hour_of="opened_at",
    group="alerting",
    columns={
        "incident_id": column(STR, "identity"),
        "site_id": column(STR, "site; of a firmware's incident the first device's"),
        "failure_mode": column(STR, "what is probably wrong", isin=FAILURE_MODES, nullable=True),
        "shared_sign": column(STR, "contributor or rule that they share"),
        "severity": column(STR, "the highest of its alerts'", isin=SEVERITIES),
        "status": column(STR, "OPEN while one of its alerts stands", isin=INCIDENT_STATUSES),
        "title": column(STR, "one line"),
        "description": column(STR, "who is affected, what they share, what to do"),
        "opened_at": column(TS, "first detection among its alerts"),
        "last_seen_at": column(TS, "last time one of them was seen"),
        "closed_at": column(TS, "when the last of its alerts was closed", nullable=True),
        "device_count": column(I32, "devices", ge=1),
        "standing_count": column(I32, "alerts that stand", ge=0),
        "device_ids": column(STRS, "devices"),
        "alert_ids": column(STRS, "their alerts"),
    },
)

WORK_ORDERS = Contract(
    code="C6",
    name="work_orders",
    title="Work orders",
    description="What a technician is asked to do: of CRITICAL alerts at once, of HIGH ones after two windows; "
    "one a device and failure mode.",
    key=("work_order_id",),
    hour_of="opened_at",
    group="alerting",
    columns={
        "work_order_id": column(STR, "identity, derived from the alert"),
        "alert_id": column(STR, "alert that asks for it"),
        "device_id": column(STR, "device"),
        "site_id": column(STR, "site"),
        "failure_mode": column(STR, "what is probably wrong", isin=FAILURE_MODES),
        "priority": column(STR, "how soon", isin=ORDER_PRIORITIES),
        "status": column(STR, "done and cancelled follow the alert", isin=ORDER_STATUSES),
        "opened_at": column(TS, "when it became due"),
        "due_at": column(TS, "by when to be there"),
        "closed_at": column(TS, "when its alert was closed", nullable=True),
        "title": column(STR, "one line"),
        "instructions": column(STR, "what was seen, and what to check first"),
        "maintenance_contact": column(STR, "who repairs at the site", nullable=True),
    },
)

ALERT_MUTES = Contract(
    code="C6",
    name="alert_mutes",
    title="Mutes",
    description="Devices and sites under maintenance: while one is on, alerts are written suppressed with its reason. "
    "A log: a row with `cancelled` ends the mute of that identity.",
    key=("mute_id", "cancelled"),
    group="alerting",
    columns={
        "mute_id": column(STR, "identity"),
        "device_id": column(STR, "the device; null where a whole site is meant", nullable=True),
        "site_id": column(STR, "the site; null where one device is meant", nullable=True),
        "starts_at": column(TS, "from when; of a recurring mute, its first time"),
        "ends_at": column(TS, "until when; of a recurring mute, the end of its first time"),
        "repeats": column(STR, "once, or again each day or week at the same UTC time", isin=REPEATS),
        "until": column(TS, "when a recurring mute ends for good; null is never", nullable=True),
        "reason": column(STR, "why"),
        "made_by": column(STR, "who said so"),
        "made_at": column(TS, "when"),
        "cancelled": column(BOOL, "this row ends the mute, from made_at on"),
    },
)

NOTIFICATIONS = Contract(
    code="-",
    name="notifications",
    title="Notifications",
    description="Each attempt to tell somebody something, with its result; also what was held back, and why.",
    key=("attempt_id",),
    hour_of="at",
    group="alerting",
    columns={
        "attempt_id": column(STR, "identity, derived from notice, channel and attempt"),
        "notice_id": column(STR, "what is told, derived from its subject: told once a channel"),
        "channel": column(STR, "name of the channel in the routing file; never its address"),
        "kind": column(STR, "what it is about", isin=NOTICE_KINDS),
        "subject": column(STR, "alert, incident, asset and check, or run that it is about"),
        "severity": column(STR, "severity", isin=SEVERITIES),
        "site_id": column(STR, "site", nullable=True),
        "title": column(STR, "first line of the message"),
        "alert_ids": column(STRS, "alerts that the message covers"),
        "attempt": column(I32, "which attempt", ge=0),
        "result": column(STR, "what became of it", isin=NOTICE_RESULTS),
        "detail": column(STR, "error, or why it was held", nullable=True),
        "occurred_at": column(TS, "when what it tells of happened"),
        "at": column(TS, "when it was tried"),
    },
)
