"""The heartbeat file: how the stream is doing, for whoever cannot ask it."""

import json
from pathlib import Path
from typing import Any


def write_heartbeat(home: Path, told: dict[str, Any]) -> None:
    home.mkdir(parents=True, exist_ok=True)
    target = home / "heartbeat.json"
    draft = target.with_suffix(".tmp")
    draft.write_text(json.dumps(told))
    draft.replace(target)
