"""Commits and heartbeats as the stream makes them, without a stream: what Dagster finds when it looks."""

import json
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from refrig_assets.contracts import RAW_READINGS
from refrig_assets.lake import Lake
from refrig_assets_tests.builders import raw_rows


def land(lake: Lake, rows: Mapping[datetime, int], *, dead: int = 0, lag: int = 0) -> int:
    """A commit of the stream: so many rows of each hour. Returns its version."""
    table = lake.table(RAW_READINGS)
    number = table.version
    frame = raw_rows(
        [
            {"event_id": f"{number}-{hour:%d%H}-{n}", "hour": hour, "minute": n % 60}
            for hour, n_rows in rows.items()
            for n in range(n_rows)
        ]
    )
    total = frame.height
    part = {"from": 0, "to": 10, "messages": total + dead, "rows": total, "joined": 0, "dead": dead, "lag": lag}
    newest = frame["timestamp_device"].max()
    told: dict[str, Any] = {
        "partitions": {"gateway-1": part},
        "held": {},
        "rows_by_hour": {hour.isoformat(): n for hour, n in Counter(dict(rows)).items() if n},
        "newest_event": newest.isoformat() if isinstance(newest, datetime) else None,
        "newest_ingested": newest.isoformat() if isinstance(newest, datetime) else None,
    }
    return table.append(
        frame, transactions=[("stream:gateway-1", number + 1)], metadata={"stream": json.dumps(told)}
    ).version


def beat(lake: Lake, at: datetime, **changes: Any) -> dict[str, Any]:
    """Write the heartbeat of a stream that does well, but for what is said."""
    told: dict[str, Any] = {
        "at": at.isoformat(),
        "state": "running",
        "why": None,
        "processes": 1,
        "workers": 1,
        "partitions": {"gateway-1": {"position": 10, "lag": 0}},
        "messages": 100,
        "rows": 99,
        "dead": 1,
        "alerts": 0,
        "newest_event": at.isoformat(),
        "behind_s": 4.0,
        "last_commit_at": (at - timedelta(seconds=3)).isoformat(),
        "pid": 1,
        "version": "0.1.0",
    } | changes
    path = Path(lake.uri) / "_stream" / "heartbeat.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(told))
    return told
