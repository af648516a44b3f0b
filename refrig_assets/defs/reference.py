"""Assets of reference data: the device registry."""

import dagster as dg
from pydantic import Field

from refrig_assets.contracts.registry import DEVICE_REGISTRY
from refrig_assets.defs.metadata import check_result, counts_table, table_metadata
from refrig_assets.defs.resources import FilesResource, LakeResource
from refrig_assets.defs.retry import retried_if_transient
from refrig_assets.defs.specs import asset_spec, check_spec
from refrig_assets.monitoring.findings import key_finding, range_finding
from refrig_assets.pipeline.registry import hours_to_release, read_registry, write_registry

REGISTRY = DEVICE_REGISTRY.name


class RegistryConfig(dg.Config):
    """What the launchpad asks."""

    allow_removal: bool = Field(
        default=False, description="Take a file that lacks more than a tenth of the devices known so far."
    )


@dg.multi_asset(
    name=REGISTRY,
    specs=[asset_spec(DEVICE_REGISTRY, kinds={"polars", "deltalake", "csv", "parquet"})],
    check_specs=[
        check_spec(REGISTRY, "key", "Each device once.", blocking=True),
        check_spec(REGISTRY, "ranges", "Thresholds and intervals make sense.", blocking=True),
    ],
    pool=REGISTRY,
)
def device_registry(
    context: dg.AssetExecutionContext, config: RegistryConfig, lake: LakeResource, files: FilesResource
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Read the registry file, validate all of it, and replace the table if anything changed."""
    registry = read_registry(files.registry)
    with retried_if_transient(context):
        change = write_registry(lake.lake, registry, allow_removal=config.allow_removal)
    table = lake.lake.table(DEVICE_REGISTRY)
    waiting = hours_to_release(lake.lake)
    return dg.MaterializeResult(
        asset_key=REGISTRY,
        metadata={
            "dagster/row_count": change.devices,
            "added": change.added,
            "removed": change.removed,
            "changed": change.changed,
            "by_cohort": counts_table(
                dict(registry["cohort_id"].value_counts().sort("cohort_id").iter_rows()), "cohort", "devices"
            ),
            "by_status": counts_table(
                dict(registry["status"].value_counts().sort("status").iter_rows()), "status", "devices"
            ),
            "quarantined_hours_to_release": len(waiting),
            "source": dg.MetadataValue.path(str(files.registry)),
            **table_metadata(table, change.version),
        },
        check_results=[
            check_result(key_finding(DEVICE_REGISTRY, table.scan()), REGISTRY),
            check_result(range_finding(DEVICE_REGISTRY, table.scan()), REGISTRY),
        ],
    )
