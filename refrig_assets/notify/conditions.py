"""What must be told of checks, runs and the stream: on a change, and again each day while it lasts. Pure.

What has partitions is well when all are that failed: another one that passes says nothing of those.
"""

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
# A partition that nobody evaluated again for so long is nobody's any more.
FORGOTTEN_AFTER = timedelta(days=7)
_SEEN_EACH = timedelta(days=1)
_SAMPLE = 5
_WORST: Sequence[Level] = ("ok", "warn", "error")
Line = tuple[str, str | Sequence[str]]


@dataclass(frozen=True)
class Condition:
    """How something is, as it was seen last."""

    kind: str
    subject: str
    level: Level
    title: str
    """one line, without how it is"""
    lines: Sequence[Line]
    """what was found"""
    occurred_at: datetime
    key: str = ""
    """tells occasions apart, e.g. a run"""
    where: Sequence[Line] = ()
    links: Sequence[Line] = ()
    partitions: Mapping[str, Level] = field(default_factory=dict)
    """how each partition is that was looked at, where there are partitions"""

    @property
    def seen(self) -> Mapping[str, Level]:
        return self.partitions or {"": self.level}

    def scrubbed(self, scrub: Callable[[str], str]) -> "Condition":
        """Without secrets: what a run's error says comes from anywhere."""

        def clean(lines: Sequence[Line]) -> list[Line]:
            return [
                (what, scrub(said) if isinstance(said, str) else [scrub(one) for one in said]) for what, said in lines
            ]

        return replace(
            self, title=scrub(self.title), lines=clean(self.lines), where=clean(self.where), links=clean(self.links)
        )


@dataclass(frozen=True)
class Bad:
    """A partition that is not well."""

    level: Level
    at: str
    """when it was seen so last, to the day"""
    told: bool = False


@dataclass(frozen=True)
class Said:
    """What was said of it last, when each level was, since when it is not well, and which partitions are not."""

    level: Level = "ok"
    at: Mapping[str, str] = field(default_factory=dict)
    began: str | None = None
    failing: Mapping[str, Bad] = field(default_factory=dict)

    @classmethod
    def of(cls, text: str | None) -> "Said":
        if not text:
            return cls()
        kept = json.loads(text)
        failing = {partition: Bad(*bad) for partition, bad in kept.pop("failing", {}).items()}
        return cls(**kept, failing=failing)

    def to_json(self) -> str:
        failing = {partition: [bad.level, bad.at, bad.told] for partition, bad in self.failing.items()}
        return json.dumps({"level": self.level, "at": dict(self.at), "began": self.began, "failing": failing})

    def lately(self, level: str, now: datetime, span: timedelta) -> bool:
        return level in self.at and within(moment(self.at[level]), now, span)

    def may_say_more(self, now: datetime) -> bool:
        """Of what goes on failing more is told after 1, 2, 4, 8 hours and so on: no check speaks up each hour."""
        if self.began is None or self.level not in self.at:
            return True
        told = moment(self.at[self.level])
        return not within(told, now, min(told - moment(self.began), REMIND_AFTER))

    def saying(self, level: Level, now: datetime, failing: Mapping[str, Bad]) -> "Said":
        """After it was told."""
        began = None if level == "ok" else self.began if self.level != "ok" and self.began else stamp(now)
        told = {partition: replace(bad, told=True) for partition, bad in failing.items()}
        return Said(level, {**self.at, level: stamp(now)}, began, told)


def tell(said: Said, condition: Condition, now: datetime) -> tuple[Matter | None, Said]:
    """What to tell, if there is anything new, and what is then known."""
    failing, forgotten = _failing(said, condition, now)
    levels: list[Level] = ["ok", *(bad.level for bad in failing.values())]
    level = max(levels, key=_WORST.index)
    if level == "ok":
        if said.level == "ok" or forgotten:
            return None, Said("ok", said.at)
        told = replace(condition, title=f"Well again: {condition.title}", lines=_lines(condition, []))
        return _matter(told, "ok", SEVERITY_OF[said.level], now), said.saying("ok", now, {})
    fresh = [partition for partition, bad in failing.items() if not bad.told]
    same, again = level == said.level, not said.lately(level, now, REMIND_AFTER)
    known = same and not again and not (fresh and said.may_say_more(now))
    flaps = said.level == "ok" and said.lately(level, now, FLAPS_WITHIN)
    if known or flaps:
        return None, replace(said, failing=failing)
    what = "fails" if level == "error" else "warns"
    if same:
        more = f"for {len(fresh):,} more partition{'s' if len(fresh) > 1 else ''}"
        what = f"still {what}" if again else f"{what} {more}"
    others = [partition for partition in failing if partition not in fresh]
    listed = [("Partitions", fresh), ("Not well since before", others)]
    told = replace(condition, title=f"{condition.title} {what}", lines=_lines(condition, listed))
    return _matter(told, level, SEVERITY_OF[level], now), said.saying(level, now, failing)


def _failing(said: Said, condition: Condition, now: datetime) -> tuple[dict[str, Bad], bool]:
    """Which partitions are not well, and whether some were let go that nobody has looked at since."""
    seen = condition.seen
    before = {partition: bad for partition, bad in said.failing.items() if partition not in seen}
    failing = {p: bad for p, bad in before.items() if within(moment(bad.at), now, FORGOTTEN_AFTER) or _ahead(bad, now)}
    unnamed = said.level != "ok" and not said.failing  # told by a version that did not know partitions
    for partition, level in seen.items():
        if level == "ok":
            continue
        known = said.failing.get(partition)
        if known is None or known.level != level:
            eased = known is not None and known.told and _WORST.index(level) < _WORST.index(known.level)
            failing[partition] = Bad(level, stamp(now), eased or unnamed)
        else:
            fresh = within(moment(known.at), now, _SEEN_EACH)
            failing[partition] = known if fresh else replace(known, at=stamp(now))
    return dict(sorted(failing.items())), len(before) > 0 and not failing


def _ahead(bad: Bad, now: datetime) -> bool:
    return moment(bad.at) > now


def _lines(condition: Condition, listed: Sequence[tuple[str, Sequence[str]]]) -> list[Line]:
    """What was found, unless that was well and others are told of."""
    named = [(what, [p for p in partitions if p]) for what, partitions in listed]
    found = condition.lines if condition.level != "ok" or not listed else ()
    return [*condition.where, *((what, sample(some)) for what, some in named if some), *found, *condition.links]


def sample(partitions: Sequence[str]) -> str:
    more = f" and {len(partitions) - _SAMPLE:,} more" if len(partitions) > _SAMPLE else ""
    return f"{', '.join(partitions[:_SAMPLE])}{more}"


def _matter(condition: Condition, level: Level, severity: str, now: datetime) -> Matter:
    return Matter(
        identity(condition.subject, level, condition.key or stamp(condition.occurred_at), stamp(now)),
        condition.subject,
        (f"condition:{level} {stamp(now)}",),
        About(condition.kind, severity),
        condition.occurred_at,
        {"title": condition.title, "lines": [list(line) for line in condition.lines]},
    )
