"""The dataflow: intake, a judge a shard, storms over all, alerts into the log. Wiring and kept state, nothing else."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import bytewax.operators as op
import polars as pl
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from refrig_assets.contracts.alerts import DEVICE_ALERTS
from refrig_assets.lake import OUTSIDE_ERRORS
from refrig_assets.pipeline.alert_log import AlertLog
from streaming.intake import Intake
from streaming.judging import ShardJudge
from streaming.lander import StoppedWaitingError
from streaming.process import Process
from streaming.state import Array
from streaming.storms import Storms

_LOG = logging.getLogger(__name__)
_ALL = "fleet"
_WAITS_S = (0.2, 0.5, 1.0, 2.0, 5.0)
ShardRows = tuple[int, pl.DataFrame]
Saved = dict[str, Array | list[str]]


@dataclass
class JudgeLogic(StatefulBatchLogic[ShardRows, pl.DataFrame, Saved | None]):
    """One shard's judge between batches."""

    process: Process
    kept: Saved | None
    _judge: ShardJudge | None = None
    _shard: int = -1
    _fleet_version: int = -1

    def on_batch(self, values: list[ShardRows]) -> tuple[Iterable[pl.DataFrame], bool]:
        found = [self._begin(values[0][0])] if self._judge is None else []
        fleet = self.process.fleet.now()
        judge = self._judge
        assert judge is not None
        if self.process.fleet.version != self._fleet_version:
            judge.reload(fleet.thresholds(self._shard))
            self._fleet_version = self.process.fleet.version
        rows = pl.concat([rows for _, rows in values]) if len(values) > 1 else values[0][1]
        if rows.height:
            found.append(judge.judge(rows))
            self.process.counts.judged(rows.height, found[-1].height)
        return [f for f in found if f.height], StatefulBatchLogic.RETAIN

    def _begin(self, shard: int) -> pl.DataFrame:
        self._shard, self._fleet_version = shard, self.process.fleet.version
        if self.kept is None:
            self._judge, found = self.process.rebuilder.shard(shard)
            return found
        self._judge = ShardJudge(self.process.fleet.now().thresholds(shard), self.kept)
        self.kept = None
        return pl.DataFrame()

    def snapshot(self) -> Saved | None:
        """A copy: the judge goes on writing into its arrays."""
        return self.kept if self._judge is None else self._judge.saved()


@dataclass
class StormLogic(StatefulBatchLogic[pl.DataFrame, pl.DataFrame, dict[str, Any]]):
    """The one place that sees what all shards found."""

    process: Process
    storms: Storms

    def on_batch(self, values: list[pl.DataFrame]) -> tuple[Iterable[pl.DataFrame], bool]:
        findings = pl.concat(values)
        changes = self.storms.group(findings, self.process.fleet.now(), datetime.now(UTC), self.process.mutes.now())
        return [changes] if changes.height else [], StatefulBatchLogic.RETAIN

    def snapshot(self) -> dict[str, Any]:
        return self.storms.saved()


@dataclass
class AlertWriter(StatefulSinkPartition[pl.DataFrame, None]):
    """Appends to the alert log at once, and waits while the lake cannot be written."""

    process: Process
    log: AlertLog

    def write_batch(self, values: list[pl.DataFrame]) -> None:
        changes = pl.concat(values)
        tried = 0
        while True:
            try:
                appended = self.log.append(changes)
                break
            except OUTSIDE_ERRORS as error:
                if not tried:
                    _LOG.error("alerts cannot be written, waiting: %s", error)
                self.process.counts.waiting(str(error))
                if self.process.stopping.wait(_WAITS_S[min(tried, len(_WAITS_S) - 1)]):
                    raise StoppedWaitingError(str(error)) from error
                tried += 1
        if tried:
            self.process.counts.waiting(None)
        self._count(changes, appended.written)

    def _count(self, changes: pl.DataFrame, written: int) -> None:
        if not written:
            return
        new = changes.filter(pl.col("change") == "created")
        silent = int(new["suppressed"].sum() or 0)
        took = (datetime.now(UTC) - new["first_detected_at"]).dt.total_microseconds() / 1e6
        self.process.counts.alerted(new.height - silent, silent, took.to_list())
        for title in new.filter(~pl.col("suppressed"))["title"].head(20):
            _LOG.warning("CRITICAL: %s", title)

    def snapshot(self) -> None:
        return None


@dataclass
class AlertSink(FixedPartitionedSink[pl.DataFrame, None]):
    process: Process
    _parts: list[str] = field(default_factory=lambda: [DEVICE_ALERTS.name])

    def list_parts(self) -> list[str]:
        return self._parts

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> AlertWriter:
        return AlertWriter(self.process, AlertLog(self.process.lake))


def build_flow(process: Process) -> Dataflow:
    flow = Dataflow("refrig_stream")
    rows = op.input("intake", flow, Intake(process))
    found = op.stateful_batch("judge", rows, lambda kept: JudgeLogic(process, kept))
    together = op.map("together", found, lambda item: (_ALL, item[1]))
    changes = op.stateful_batch("storms", together, lambda kept: StormLogic(process, Storms(kept)))
    op.output("alerts", changes, AlertSink(process))
    return flow
