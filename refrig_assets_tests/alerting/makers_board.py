"""Boards for tests: alerts of the batch as the log would fold them, without a lake."""

from datetime import datetime, timedelta
from typing import Any

import polars as pl

from refrig_assets.alerting.changes import alert_id, created
from refrig_assets.alerting.fold import fold
from refrig_assets_tests.builders import at

MODEL = "statistical_baseline"


def found(device: str, minute: float = 0, **changes: Any) -> dict[str, Any]:
    """What the batch knows of a new alert: a leak, MEDIUM, detected that many minutes after the hour."""
    moment = at(minute)
    return {
        "alert_id": changes.pop("id", None) or alert_id(device, MODEL, moment),
        "device_id": device,
        "site_id": "site-1",
        "severity": "MEDIUM",
        "title": f"{device}: probably a leak",
        "description": "superheat high",
        "source": "batch",
        "model_id": MODEL,
        "failure_mode": "refrigerant_leak",
        "top_contributors": ["superheat_mean_6h"],
        "first_detected_at": moment,
        "alert_created_at": moment,
        "last_seen_at": moment,
        "incident_id": None,
        "work_order_at": None,
        "hours_left": None,
    } | changes


def raised(device: str, minute: float = 0, **changes: Any) -> dict[str, Any]:
    """What the stream knows of a new alert."""
    told = {
        "source": "streaming", "severity": "CRITICAL", "rule": "total_cooling_loss", "model_id": None,
        "failure_mode": "power_loss", "top_contributors": ["temp_evaporator_slope"], "last_seen_at": None,
    }  # fmt: skip
    return found(device, minute, **{**told, **changes})


def log_of(*alerts: dict[str, Any], actor: str = "batch") -> pl.DataFrame:
    types = {"suppressed": pl.Boolean, "windows_sustained": pl.Int32}
    return created(pl.DataFrame(list(alerts), infer_schema_length=None, schema_overrides=types), actor)


def board_of(*alerts: dict[str, Any]) -> pl.DataFrame:
    return fold(log_of(*alerts))


def closed(alert: dict[str, Any], after: timedelta, status: str = "RESOLVED") -> dict[str, Any]:
    moment: datetime = alert["alert_created_at"]
    return alert | {"status": status, "resolved_at": moment + after}
