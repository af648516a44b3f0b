"""How old the newest data of a table is, against what its contract promises. `now` is given."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from refrig_assets.contracts.base import Contract

LEVELS = ("ok", "late", "warn", "error", "empty")


@dataclass(frozen=True)
class Age:
    """`late` is past the service level, not yet worth a warning."""

    table: str
    newest: datetime | None
    age: timedelta | None
    level: str

    @property
    def says(self) -> str:
        if self.newest is None or self.age is None:
            return f"{self.table} is empty"
        return f"{self.table} is {describe(self.age)} old (newest {self.newest:%Y-%m-%d %H:%M:%S} UTC)"


def judge_age(contract: Contract, newest: datetime | None, now: datetime) -> Age:
    """The age of a table whose newest data is as given."""
    if newest is None:
        return Age(contract.name, None, None, "empty")
    age = max(now - newest, timedelta(0))
    promise = contract.freshness
    if promise is None or age <= promise.service_level:
        return Age(contract.name, newest, age, "ok")
    level = "error" if age > promise.error else "warn" if age > promise.warn else "late"
    return Age(contract.name, newest, age, level)


def describe(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    if seconds < 120:
        return f"{seconds} s"
    if seconds < 7200:
        return f"{seconds // 60} min"
    if seconds < 172_800:
        return f"{seconds // 3600} h {seconds % 3600 // 60} min"
    return f"{seconds // 86_400} days"
