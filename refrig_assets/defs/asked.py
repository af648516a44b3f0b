"""What a sensor has asked for and not yet seen done: a run that failed is asked for again, later and not for ever.

A cursor that moves on when a run is asked for forgets the hours whose run then fails, or never comes to be.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta

import dagster as dg

RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
# Copied to runs that the daemon makes again by itself: those count as the same asking.
ASKED = "refrig/asked"
# After the daemon's own retry, which comes at once. Each wait is twice the one before: in all a bit over an hour.
MOST_ATTEMPTS, FIRST_WAIT = 5, timedelta(minutes=5)
# Ended by a person, who knows why: not asked for again.
_SETTLED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.CANCELED)


@dataclass(frozen=True)
class Asked:
    """A run over a range of partitions, why, and the how manieth time it is asked for."""

    first: str
    last: str
    reason: str
    attempt: int = 1

    def covers(self, other: "Asked") -> bool:
        return self.first <= other.first and other.last <= self.last

    def request(self, job: str, key: str) -> dg.RunRequest:
        tags = {RANGE_START: self.first, RANGE_END: self.last, "reason": self.reason, ASKED: key}
        return dg.RunRequest(run_key=key, job_name=job, tags=tags)


@dataclass(frozen=True)
class Memory:
    """A sensor's cursor: up to which version it has looked, and what it has asked for, by run key."""

    upto: int = -1
    open: Mapping[str, Asked] = field(default_factory=dict)

    @classmethod
    def of(cls, cursor: str | None) -> "Memory":
        told = json.loads(cursor) if cursor else {}
        if isinstance(told, int):  # of an earlier version, which kept nothing but this
            return cls(told)
        return cls(told.get("upto", -1), {key: Asked(**asked) for key, asked in told.get("open", {}).items()})

    def to_json(self) -> str:
        return json.dumps({"upto": self.upto, "open": {key: asdict(asked) for key, asked in self.open.items()}})


@dataclass(frozen=True)
class Standing:
    """What of the asked is still to wait for, what to ask for (again), and what has failed too often."""

    waits: Mapping[str, Asked]
    due: Mapping[str, Asked]
    given_up: tuple[str, ...] = ()


def asked_of(requests: Iterable[dg.RunRequest]) -> dict[str, Asked]:
    return {str(r.run_key): Asked(r.tags[RANGE_START], r.tags[RANGE_END], r.tags.get("reason", "")) for r in requests}


def standing(
    instance: dg.DagsterInstance, job: str, memory: Memory, new: Mapping[str, Asked], now: datetime
) -> Standing:
    """What became of what was asked for. What the new covers is the new's."""
    waits: dict[str, Asked] = {}
    due, given_up = dict(new), []
    for key, asked in memory.open.items():
        if any(one.covers(asked) for one in new.values()):
            continue
        records = instance.get_run_records(dg.RunsFilter(job_name=job, tags={ASKED: key}), limit=1)
        if not records:
            due[key] = asked  # by the same key, of which there is never a second run
        elif records[0].dagster_run.status != dg.DagsterRunStatus.FAILURE:
            waits |= {} if records[0].dagster_run.status in _SETTLED else {key: asked}
        elif asked.attempt >= MOST_ATTEMPTS:
            given_up.append(f"{asked.first} to {asked.last}")
        elif now.timestamp() - (records[0].end_time or 0.0) < _wait(asked).total_seconds():
            waits[key] = asked
        else:
            due[_again(key, asked)] = replace(asked, attempt=asked.attempt + 1)
    return Standing(waits, due, tuple(given_up))


def _wait(asked: Asked) -> timedelta:
    return FIRST_WAIT * (1 << (asked.attempt - 1))


def _again(key: str, asked: Asked) -> str:
    first = key.removesuffix(f"-again{asked.attempt - 1}")
    return f"{first}-again{asked.attempt}"
