"""What must be told of checks, runs and the stream: on a change, and again each day while it lasts. Pure."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal

from refrig_assets.notify.journal import moment, stamp
from refrig_assets.notify.matters import Matter, identity
from refrig_assets.notify.pacing import within
from refrig_assets.notify.routing import About

Level = Literal["ok", "warn", "error"]
SEVERITY_OF: Mapping[Level, str] = {"error": "HIGH", "warn": "MEDIUM"}
REMIND_AFTER = timedelta(hours=24)
# Who was told that something failed is not told each time that it comes and goes.
FLAPS_WITHIN = timedelta(hours=1)


@dataclass(frozen=True)
class Condition:
    """How something is, as it was seen last."""

    kind: str
    subject: str
    level: Level
    title: str
    """one line, without how it is"""
    lines: Sequence[tuple[str, str | Sequence[str]]]
    occurred_at: datetime
    key: str = ""
    """tells occasions apart, e.g. a run"""

    def scrubbed(self, scrub: Callable[[str], str]) -> "Condition":
        """Without secrets: what a run's error says comes from anywhere."""
        lines = [
            (what, scrub(said) if isinstance(said, str) else [scrub(s) for s in said]) for what, said in self.lines
        ]
        return replace(self, title=scrub(self.title), lines=lines)


@dataclass(frozen=True)
class Said:
    """What was said of it last, and when each level was."""

    level: Level = "ok"
    at: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, text: str | None) -> "Said":
        return cls(**json.loads(text)) if text else cls()

    def to_json(self) -> str:
        return json.dumps({"level": self.level, "at": dict(self.at)})

    def lately(self, level: str, now: datetime, span: timedelta) -> bool:
        return level in self.at and within(moment(self.at[level]), now, span)


def tell(said: Said, condition: Condition, now: datetime) -> tuple[Matter, Said] | None:
    """What to tell, and what is then said; None where there is nothing new."""
    level = condition.level
    if level == "ok":
        if said.level == "ok":
            return None
        told = replace(condition, title=f"Well again: {condition.title}")
        return _matter(told, SEVERITY_OF[said.level], now), Said("ok", {**said.at, "ok": stamp(now)})
    if level == said.level and said.lately(level, now, REMIND_AFTER):
        return None
    if level != said.level and said.lately(level, now, FLAPS_WITHIN) and said.level == "ok":
        return None
    again = "still " if level == said.level else ""
    what = "fails" if level == "error" else "warns"
    told = replace(condition, title=f"{condition.title} {again}{what}")
    return _matter(told, SEVERITY_OF[level], now), Said(level, {**said.at, level: stamp(now)})


def _matter(condition: Condition, severity: str, now: datetime) -> Matter:
    return Matter(
        identity(condition.subject, condition.level, condition.key or stamp(condition.occurred_at), stamp(now)),
        condition.subject,
        (f"condition:{condition.level} {stamp(now)}",),
        About(condition.kind, severity),
        condition.occurred_at,
        {"title": condition.title, "lines": [list(line) for line in condition.lines]},
    )
