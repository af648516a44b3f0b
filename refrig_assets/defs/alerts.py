"""The alert board: what nobody took in time is escalated, then the log is folded and published, judged and shown."""

from dataclasses import replace
from datetime import datetime

import dagster as dg
import polars as pl

from refrig_assets.alerting.standing import is_standing
from refrig_assets.contracts import ALERT_BOARD, DEVICE_ALERTS, DEVICE_REGISTRY
from refrig_assets.defs.automation import when_inputs_change
from refrig_assets.defs.board_view import board_metadata
from refrig_assets.defs.metadata import check_result, counts_table, table_metadata
from refrig_assets.defs.resources import ClockResource, LakeResource
from refrig_assets.defs.retry import retried_if_transient
from refrig_assets.defs.specs import asset_spec, check_spec
from refrig_assets.lake import Lake, Table
from refrig_assets.monitoring.findings import Finding, key_finding, range_finding, schema_finding
from refrig_assets.pipeline.alert_checks import (
    JUDGED,
    batch_lags,
    deadlines_finding,
    duplicates_finding,
    last_level_finding,
    promptness_finding,
    silenced_finding,
)
from refrig_assets.pipeline.alert_living import living_log
from refrig_assets.pipeline.alert_log import escalate_overdue, release_relapses
from refrig_assets.pipeline.alert_reading import read_board
from refrig_assets.pipeline.fleet_report import sites_of
from refrig_assets.pipeline.labelling import settle_labels
from refrig_assets.pipeline.published import publish_board

BOARD = ALERT_BOARD.name


@dg.multi_asset(
    name=BOARD,
    specs=[asset_spec(ALERT_BOARD, deps=[DEVICE_ALERTS.name], condition=when_inputs_change())],
    check_specs=[
        check_spec(BOARD, "schema", "The table has the columns and types of its contract.", blocking=True),
        check_spec(BOARD, "key", "One row an alert.", blocking=True),
        check_spec(BOARD, "ranges", "No value outside its range, no null where none may be.", blocking=True),
        check_spec(BOARD, "log_key", "The log holds each change once."),
        check_spec(BOARD, "duplicates", "One alert of the batch stands for a device and failure mode.", blocking=True),
        check_spec(BOARD, "deadlines", "At most 5 % of the week's alerts were not taken by their deadline."),
        check_spec(BOARD, "silenced", "Under 1 % of new failure modes are written suppressed."),
        check_spec(BOARD, "promptness", "Batch alerts come within 5 minutes of scoring; 15 warn, 30 fail."),
        check_spec(BOARD, "last_level", "No CRITICAL alert stands at L3, the last level."),
    ],
    pool=BOARD,
)
def alert_board(context: dg.AssetExecutionContext, lake: LakeResource, clock: ClockResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Escalate what nobody took in time, then fold the log and write the days on which an alert changed."""
    the_lake, now = lake.lake, clock.now
    with retried_if_transient(context):
        released = release_relapses(the_lake, now)
        escalated = escalate_overdue(the_lake, now)
        settle_labels(the_lake)
        published = publish_board(the_lake)
    table = the_lake.table(ALERT_BOARD)
    board = read_board(the_lake, where=is_standing() | (pl.col("alert_created_at") >= now - JUDGED))
    shown = board_metadata(board, sites_of(the_lake.table(DEVICE_REGISTRY).read()), now)
    context.log.info(
        f"{published.alerts:,} alerts, {shown['standing']:,} of them standing; {published.days_written} days written"
    )
    return dg.MaterializeResult(
        asset_key=BOARD,
        metadata={
            **shown,
            "dagster/row_count": published.alerts,
            "escalated_by_this_run": escalated.written,
            "told_again_by_this_run": released.written,
            "by_status": counts_table(_by_status(table), "status", "alerts"),
            "days_written": published.days_written,
            "log_version": published.log_version,
            **table_metadata(table, published.board_version),
        },
        check_results=[check_result(finding, BOARD) for finding in _findings(the_lake, board, now)],
    )


def _by_status(table: Table) -> dict[str, int]:
    """Of every alert there ever was."""
    counted = table.scan().group_by("status").agg(pl.len()).sort("status").collect()
    return dict(counted.iter_rows())


def _findings(lake: Lake, board: pl.DataFrame, now: datetime) -> list[Finding]:
    """What is judged is what stands and the last week: of what is older nobody can mend anything."""
    log = living_log(lake, now - JUDGED)
    return [
        schema_finding(ALERT_BOARD, lake.table(ALERT_BOARD).columns()),
        key_finding(ALERT_BOARD, board.lazy()),
        range_finding(ALERT_BOARD, board.lazy()),
        replace(key_finding(DEVICE_ALERTS, log.lazy()), check="log_key"),
        duplicates_finding(board),
        deadlines_finding(board, now),
        silenced_finding(log),
        promptness_finding(batch_lags(lake, log, now)),
        last_level_finding(board),
    ]
