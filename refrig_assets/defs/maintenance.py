"""Maintenance events as an asset: a plant's file is imported, and what became of its rows is shown."""

import os
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from refrig_assets.contracts import MAINTENANCE_EVENTS
from refrig_assets.defs.metadata import records_table, table_metadata
from refrig_assets.defs.resources import ClockResource, LakeResource
from refrig_assets.defs.specs import asset_spec
from refrig_assets.pipeline.maintenance import import_file

EVENTS = MAINTENANCE_EVENTS.name
_SHOWN = 50


class MaintenanceConfig(dg.Config):
    """Which file is imported, and whether finished work closes the alerts that led to it."""

    file: str = Field(default="", description="CSV, Parquet or JSON. Empty: what REFRIG_MAINTENANCE names.")
    close_alerts: bool = Field(default=False, description="Resolve alerts whose corrective or emergency work is done.")
    dry_run: bool = Field(default=False, description="Say what would become of the rows; write nothing.")


@dg.multi_asset(name=EVENTS, specs=[asset_spec(MAINTENANCE_EVENTS, deps=["device_registry"])], pool=EVENTS)
def maintenance_events(
    context: dg.AssetExecutionContext, config: MaintenanceConfig, lake: LakeResource, clock: ClockResource
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Take the file's events; imported again it writes nothing. Without a file the table stays as it is."""
    the_lake, file = lake.lake, config.file or os.environ.get("REFRIG_MAINTENANCE", "")
    table = the_lake.table(MAINTENANCE_EVENTS)
    metadata: dict[str, Any] = {}
    if file:
        found = import_file(the_lake, Path(file), clock.now, close_alerts=config.close_alerts, dry_run=config.dry_run)
        context.log.info(
            f"{found.accepted:,} events taken, {found.duplicates:,} known, {len(found.rejected):,} left out"
        )
        metadata = {
            "new": found.new,
            "completed": found.completed,
            "planned_otherwise": found.changed,
            "known_already": found.duplicates,
            "left_out": records_table([vars(r) for r in found.rejected[:_SHOWN]]),
            "alerts_closed": len(found.closed),
            "dry_run": config.dry_run,
        }
    else:
        context.log.info("No file is named, neither in the configuration nor by REFRIG_MAINTENANCE")
    rows = sum(f.rows for f in table.files())
    return dg.MaterializeResult(
        asset_key=EVENTS, metadata={"dagster/row_count": rows, **metadata, **table_metadata(table)}
    )


maintenance_job = dg.define_asset_job(
    "import_maintenance",
    dg.AssetSelection.assets(EVENTS),
    description="Import a plant's file of maintenance events.",
    executor_def=dg.in_process_executor,
)
