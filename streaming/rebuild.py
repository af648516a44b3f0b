"""Judges whose kept state is lost, brought back from the lake: the last day of raw rows is judged again in its order.

What was found in the last hour is told again; alerts the log holds already are written no second time.
"""

import logging
import threading
from datetime import datetime, timedelta

import polars as pl

from refrig_assets.contracts.readings import RAW_READINGS
from refrig_assets.lake import HOUR, Lake
from streaming.fleet import RULE_COLUMNS, Fleet
from streaming.judging import FINDINGS, ShardJudge

_LOG = logging.getLogger(__name__)
_DAY = timedelta(hours=24)
_TELL_AGAIN = timedelta(hours=1)
_READ = [name for name in RULE_COLUMNS if name != "arrived_at"]


class Rebuilder:
    """Rebuilds every shard in one pass over the lake, when the first is asked for."""

    def __init__(self, lake: Lake, fleet: Fleet, raw_version: int) -> None:
        self._lake = lake
        self._fleet = fleet
        self._version = raw_version
        self._lock = threading.Lock()
        self._judges: dict[int, ShardJudge] | None = None
        self._findings: dict[int, list[pl.DataFrame]] = {}

    def shard(self, shard: int) -> tuple[ShardJudge, pl.DataFrame]:
        """The shard's judge as the lake tells, and what it found of late. Each shard can be had once."""
        with self._lock:
            if self._judges is None:
                self._judges = self._rebuild()
            judge = self._judges.pop(shard)
            found = self._findings.pop(shard, [])
        return judge, pl.concat(found) if found else pl.DataFrame(schema=FINDINGS)

    def _rebuild(self) -> dict[int, ShardJudge]:
        judges = {n: ShardJudge(self._fleet.thresholds(n)) for n in range(self._fleet.shards)}
        newest = max((f.last for f in self._lake.table(RAW_READINGS).files(self._version) if f.last), default=None)
        if newest is None:
            return judges
        first = newest.replace(minute=0, second=0, microsecond=0) - _DAY
        rows = 0
        for number in range(int((newest - first) / HOUR) + 1):
            hour = self._hour(first + number * HOUR)
            rows += hour.height
            for shard, part in self._fleet.split(hour).items():
                found = judges[shard].judge(part)
                self._findings.setdefault(shard, []).append(_late(found, newest))
        _LOG.info("the rules' state was rebuilt from %s rows of the lake", f"{rows:,}")
        return judges

    def _hour(self, hour: datetime) -> pl.DataFrame:
        """Rows that arrived in the hour, in the order of their source."""
        rows = self._lake.table(RAW_READINGS).scan(hour, hour + HOUR, version=self._version)
        ordered = rows.select(*_READ, "_sequence_number").collect(engine="in-memory").sort("_sequence_number")
        arrived = pl.col("timestamp_ingested").dt.epoch("us") / 1e6
        return ordered.with_columns(arrived.alias("arrived_at")).select(RULE_COLUMNS)


def _late(found: pl.DataFrame, newest: datetime) -> pl.DataFrame:
    return found.filter(pl.col("event_time") >= newest - _TELL_AGAIN)
