"""Incidents and work orders: published with the board from the same fold; these assets show and check them."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import dagster as dg
import polars as pl

from refrig_assets.contracts import ALERT_BOARD, DEVICE_REGISTRY, INCIDENTS, WORK_ORDERS, Contract
from refrig_assets.defs.automation import when_inputs_change
from refrig_assets.defs.board_view import incidents_metadata, orders_metadata
from refrig_assets.defs.metadata import check_result, table_metadata
from refrig_assets.defs.resources import ClockResource, LakeResource
from refrig_assets.defs.retry import retried_if_transient
from refrig_assets.defs.specs import asset_spec, check_spec
from refrig_assets.monitoring.findings import key_finding, range_finding, schema_finding
from refrig_assets.pipeline.published import publish_board


def _published(
    contract: Contract, of: str, shown: Callable[[pl.DataFrame, datetime], dict[str, Any]]
) -> dg.AssetsDefinition:
    @dg.multi_asset(
        name=contract.name,
        specs=[asset_spec(contract, deps=[ALERT_BOARD.name, DEVICE_REGISTRY.name], condition=when_inputs_change())],
        check_specs=[
            check_spec(contract.name, "schema", "The table has the columns and types of its contract.", blocking=True),
            check_spec(contract.name, "key", f"One row {of}.", blocking=True),
            check_spec(contract.name, "ranges", "No value outside its range, no null where none may be."),
        ],
        pool=ALERT_BOARD.name,
    )
    def made(context: dg.AssetExecutionContext, lake: LakeResource, clock: ClockResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
        """Published already, unless this runs without the board."""
        the_lake = lake.lake
        with retried_if_transient(context):
            published = publish_board(the_lake)
        table = the_lake.table(contract)
        rows = table.read()
        return dg.MaterializeResult(
            asset_key=contract.name,
            metadata={
                "dagster/row_count": rows.height,
                "log_version": published.log_version,
                **shown(rows, clock.now),
                **table_metadata(table),
            },
            check_results=[
                check_result(schema_finding(contract, table.columns()), contract.name),
                check_result(key_finding(contract, rows.lazy()), contract.name),
                check_result(range_finding(contract, rows.lazy()), contract.name),
            ],
        )

    return made


incidents = _published(INCIDENTS, "an incident", lambda rows, _: incidents_metadata(rows))
work_orders = _published(WORK_ORDERS, "a work order", orders_metadata)
