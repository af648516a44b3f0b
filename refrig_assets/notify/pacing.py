"""When something is due, tried again, or given up. Pure; survives a clock that jumps, either way."""

import random
from datetime import datetime, timedelta

FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=2), timedelta(minutes=10)
JITTER = 0.25
# Clocks are set by some seconds now and then; more than this backwards is a jump.
_SLACK = timedelta(minutes=1)


def is_due(due: datetime, planned_at: datetime, now: datetime) -> bool:
    """Whether its time has come. A clock that was set back does not keep it waiting for a time long gone."""
    return now >= due or now < planned_at - _SLACK


def wait_after(attempts: int) -> timedelta:
    """How long after so many failed attempts, without jitter: doubled each time up to a limit."""
    doubled: timedelta = FIRST_WAIT * 2 ** min(attempts - 1, 20)
    return min(doubled, LONGEST_WAIT)


def next_try(attempts: int, now: datetime, chance: random.Random) -> datetime:
    return now + wait_after(attempts) * (1 + JITTER * (2 * chance.random() - 1))


def is_given_up(attempts: int, give_up: timedelta) -> bool:
    """Whether so many attempts fill the time allowed. Counted by the waits, not by the clock, which may have jumped."""
    waited = timedelta()
    for number in range(1, attempts):
        waited += wait_after(number)
        if waited >= give_up:
            return True
    return False


def within(then: datetime, now: datetime, span: timedelta) -> bool:
    """Whether it was that recently. A moment that lies ahead of a clock set back was not."""
    return timedelta(0) <= now - then < span
