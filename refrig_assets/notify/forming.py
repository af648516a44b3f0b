"""Which matters go into one message: incidents, storms, digests. Pure; `now` and what went out lately are given."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from refrig_assets.notify.matters import Matter
from refrig_assets.notify.pacing import is_due, within

STORM_WITHIN = timedelta(minutes=1)
# Who was told of an incident is told of more of it this often, unless it becomes more severe.
INCIDENT_AGAIN = timedelta(minutes=10)

Shape = Literal["single", "incident", "storm", "digest"]


@dataclass(frozen=True)
class Waiting:
    """A matter on its way to a channel. The recipient is what a channel's address takes from the registry."""

    matter: Matter
    channel: str
    recipient: str
    due: datetime
    planned_at: datetime
    collected: bool


@dataclass(frozen=True)
class Recent:
    """A message that was made lately."""

    channel: str
    recipient: str
    shape: str
    incident: str | None
    rank: int
    formed_at: datetime


@dataclass(frozen=True)
class Draft:
    """Matters that become one message."""

    shape: Shape
    channel: str
    recipient: str
    matters: tuple[Matter, ...]
    incident: str | None = None


def form(waiting: Iterable[Waiting], recent: Sequence[Recent], now: datetime, storm_above: int) -> list[Draft]:
    """The messages to make now. What is not among them waits for another time."""
    by_address: dict[tuple[str, str], list[Waiting]] = {}
    for one in waiting:
        by_address.setdefault((one.channel, one.recipient), []).append(one)
    drafts: list[Draft] = []
    for (channel, recipient), ones in by_address.items():
        before = [r for r in recent if (r.channel, r.recipient) == (channel, recipient)]
        drafts += _digest(channel, recipient, [w for w in ones if w.collected], now)
        at_once = [w.matter for w in ones if not w.collected]
        drafts += _at_once(channel, recipient, at_once, before, now, storm_above)
    return drafts


def _digest(channel: str, recipient: str, ones: list[Waiting], now: datetime) -> list[Draft]:
    due = [w.matter for w in ones if is_due(w.due, w.planned_at, now)]
    return [Draft("digest", channel, recipient, in_order(due))] if due else []


def _at_once(
    channel: str, recipient: str, matters: list[Matter], before: list[Recent], now: datetime, storm_above: int
) -> list[Draft]:
    units = [u for u in _units(channel, recipient, matters) if not _told_lately(u, before, now)]
    lately = [r for r in before if within(r.formed_at, now, STORM_WITHIN)]
    if any(r.shape == "storm" for r in lately):
        return []  # they know; more of it in a minute
    # Also of a single one: a storm may come one by one, and what follows must wait for the minute's end.
    if units and len(units) + sum(r.shape != "digest" for r in lately) > storm_above:
        return [Draft("storm", channel, recipient, in_order(m for u in units for m in u.matters))]
    return units


def _units(channel: str, recipient: str, matters: list[Matter]) -> list[Draft]:
    """One message each: the matters of an incident together, all others by themselves."""
    incidents: dict[tuple[str, bool], list[Matter]] = {}
    units: list[Draft] = []
    for matter in matters:
        if matter.incident is None:
            units.append(Draft("single", channel, recipient, (matter,)))
        else:
            incidents.setdefault((matter.incident, matter.about.closing), []).append(matter)
    units += [Draft("incident", channel, recipient, in_order(ms), name) for (name, _), ms in incidents.items()]
    return sorted(units, key=lambda u: (-u.matters[0].rank, u.matters[0].occurred_at))


def _told_lately(unit: Draft, before: list[Recent], now: datetime) -> bool:
    if unit.incident is None:
        return False
    mine = [r for r in before if r.incident == unit.incident and within(r.formed_at, now, INCIDENT_AGAIN)]
    return any(r.rank >= unit.matters[0].rank for r in mine)


def in_order(matters: Iterable[Matter]) -> tuple[Matter, ...]:
    return tuple(sorted(matters, key=lambda m: (-m.rank, m.occurred_at, m.matter_id)))
