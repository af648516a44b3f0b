"""The alert assets: the log, which the stream and operators write outside of Dagster, and the board folded from it."""

from dataclasses import replace
from typing import Any

import dagster as dg
import polars as pl

from refrig_assets.contracts import ALERT_BOARD, DEVICE_ALERTS
from refrig_assets.defs.automation import when_inputs_change
from refrig_assets.defs.metadata import bar_picture, check_result, counts_table, records_table, table_metadata
from refrig_assets.defs.resources import ClockResource, LakeResource
from refrig_assets.defs.retry import retried_if_transient
from refrig_assets.defs.specs import asset_spec, check_spec
from refrig_assets.monitoring.findings import key_finding, range_finding, schema_finding
from refrig_assets.pipeline.alert_log import escalate_overdue, publish_board

BOARD = ALERT_BOARD.name
_SHOWN = ("alert_created_at", "severity", "status", "site_id", "device_id", "title", "escalation_level", "sla_deadline")

# Written by the stream and by operators; `stream_reports` tells Dagster what they wrote.
device_alerts = asset_spec(
    DEVICE_ALERTS, deps=["raw_sensor_readings", "device_registry"], kinds={"bytewax", "deltalake"}
)


@dg.multi_asset(
    name=BOARD,
    specs=[asset_spec(ALERT_BOARD, deps=[DEVICE_ALERTS.name], condition=when_inputs_change())],
    check_specs=[
        check_spec(BOARD, "schema", "The table has the columns and types of its contract.", blocking=True),
        check_spec(BOARD, "key", "One row an alert.", blocking=True),
        check_spec(BOARD, "ranges", "No value outside its range, no null where none may be.", blocking=True),
        check_spec(BOARD, "log_key", "The log holds each change once."),
    ],
    pool=BOARD,
)
def alert_board(context: dg.AssetExecutionContext, lake: LakeResource, clock: ClockResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Escalate what nobody took in time, then fold the log and write the days on which an alert changed."""
    the_lake = lake.lake
    with retried_if_transient(context):
        escalated = escalate_overdue(the_lake, clock.now)
        published = publish_board(the_lake)
    table = the_lake.table(ALERT_BOARD)
    board = table.read()
    standing = board.filter(~pl.col("suppressed") & pl.col("status").is_in(["OPEN", "ACKNOWLEDGED", "IN_PROGRESS"]))
    by_severity = dict(standing["severity"].value_counts().sort("severity").iter_rows())
    context.log.info(
        f"{published.alerts:,} alerts, {standing.height:,} of them standing; {published.days_written} days written"
    )
    metadata: dict[str, Any] = {
        "dagster/row_count": published.alerts,
        "standing": standing.height,
        "suppressed": int(board["suppressed"].sum()),
        "escalated_by_this_run": escalated.written,
        "days_written": published.days_written,
        "log_version": published.log_version,
        "by_status": counts_table(dict(board["status"].value_counts().sort("status").iter_rows()), "status", "alerts"),
        "newest_standing": records_table(
            standing.sort("alert_created_at", descending=True).head(20).select(_SHOWN).to_dicts()
        ),
        **table_metadata(table, published.board_version),
    }
    if by_severity:
        metadata["standing_picture"] = bar_picture(by_severity, "standing alerts by severity", "alerts")
    return dg.MaterializeResult(
        asset_key=BOARD,
        metadata=metadata,
        check_results=[
            check_result(schema_finding(ALERT_BOARD, table.columns()), BOARD),
            check_result(key_finding(ALERT_BOARD, board.lazy()), BOARD),
            check_result(range_finding(ALERT_BOARD, board.lazy()), BOARD),
            check_result(
                replace(key_finding(DEVICE_ALERTS, the_lake.table(DEVICE_ALERTS).scan()), check="log_key"), BOARD
            ),
        ],
    )
