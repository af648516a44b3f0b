"""The heartbeat file: how the stream is doing, for whoever cannot ask it. What is in it is put together elsewhere."""

import json
from pathlib import Path
from typing import Any

_NAME = "heartbeat.json"


def write_heartbeat(home: Path, told: dict[str, Any]) -> None:
    """In one step, so that a reader finds the one before or this one. The stream's lock makes its writer one."""
    home.mkdir(parents=True, exist_ok=True)
    target = home / _NAME
    draft = target.with_suffix(".tmp")
    draft.write_text(json.dumps(told))
    draft.replace(target)


def read_heartbeat(home: Path) -> dict[str, Any] | None:
    """What was told last; None where nothing was, or where a crash of the machine left no whole file."""
    try:
        told = json.loads((home / _NAME).read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return told if isinstance(told, dict) else None
