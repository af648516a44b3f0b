"""Alerts and their changes for tests. What is not said is that of an open compressor overload at the hour."""

from datetime import datetime
from typing import Any

import polars as pl

from refrig_assets.alerting.changes import alert_id, created
from refrig_assets_tests.builders import HOUR

RULE = "compressor_overload"


def alert(device: str = "dev-1", moment: datetime = HOUR, **changes: Any) -> dict[str, Any]:
    """What a writer knows of a new alert."""
    return {
        "alert_id": alert_id(device, RULE, moment),
        "device_id": device,
        "site_id": "site-1",
        "severity": "CRITICAL",
        "title": f"{device}: compressor draws 55 A",
        "description": "limit 40 A",
        "source": "streaming",
        "rule": RULE,
        "first_detected_at": moment,
        "alert_created_at": moment,
    } | changes


def created_alerts(*alerts: dict[str, Any], actor: str = "stream") -> pl.DataFrame:
    return created(pl.DataFrame(list(alerts)), actor)
