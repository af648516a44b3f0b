"""Reports as files: one an hour and one a day, beside each other. Writes Markdown; a name never holds half a report."""

import os
from datetime import datetime
from pathlib import Path

DEFAULT_REPORTS = "data/reports"


def hour_file(reports: Path, hour: datetime) -> Path:
    return reports / f"{hour:%Y-%m-%d-%H}.md"


def day_file(reports: Path, day: datetime) -> Path:
    return reports / f"{day:%Y-%m-%d}.md"


def write_report(path: Path, text: str) -> Path:
    """Put the report in the place of the one before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return path
