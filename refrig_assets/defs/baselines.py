"""What the training data says beside models: percentiles of features, and limits for the streaming rules."""

import dagster as dg
import polars as pl

from refrig_assets.contracts.features import FEATURE_BASELINES
from refrig_assets.contracts.modelling import SUGGESTED_THRESHOLDS, TRAINING_DATA
from refrig_assets.defs.metadata import check_result, counts_table, records_table, table_metadata
from refrig_assets.defs.resources import ClockResource, FilesResource, LakeResource
from refrig_assets.defs.retry import retried_if_transient
from refrig_assets.defs.specs import asset_spec, check_spec
from refrig_assets.monitoring.findings import key_finding, range_finding, schema_finding
from refrig_assets.pipeline.baselines import write_baselines
from refrig_assets.pipeline.thresholds import CSV_NAME, write_thresholds
from refrig_assets.pipeline.training_rows import read_training_rows

DATA, BASELINES, THRESHOLDS = TRAINING_DATA.name, FEATURE_BASELINES.name, SUGGESTED_THRESHOLDS.name
_SHOWN = 20


class BaselineConfig(dg.Config):
    training_version: int | None = None
    """a version of training_data to go by; by default the newest"""


@dg.multi_asset(
    name=BASELINES,
    specs=[
        asset_spec(FEATURE_BASELINES, deps=[dg.AssetDep(DATA, partition_mapping=dg.LastPartitionMapping())]),
    ],
    check_specs=[
        check_spec(BASELINES, "schema", "The table has the columns and types of its contract.", blocking=True),
        check_spec(BASELINES, "key", "One row a feature and scope.", blocking=True),
    ],
    pool=BASELINES,
)
def feature_baselines(
    context: dg.AssetExecutionContext, config: BaselineConfig, lake: LakeResource, clock: ClockResource
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """What is normal for each feature in the fleet, and for means and trends in each cohort and device."""
    data = read_training_rows(lake.lake, config.training_version)
    with retried_if_transient(context):
        report = write_baselines(lake.lake, data, clock.now)
    table = lake.lake.table(FEATURE_BASELINES)
    return dg.MaterializeResult(
        asset_key=BASELINES,
        metadata={
            "dagster/row_count": report.rows,
            "model_version": report.model_version,
            "by_scope": counts_table(report.by_scope, "scope"),
            "bytes_written": report.bytes,
            **table_metadata(table, report.version),
        },
        check_results=[
            check_result(schema_finding(FEATURE_BASELINES, table.columns()), BASELINES),
            check_result(key_finding(FEATURE_BASELINES, table.scan()), BASELINES),
        ],
    )


@dg.multi_asset(
    name=THRESHOLDS,
    specs=[
        asset_spec(
            SUGGESTED_THRESHOLDS,
            deps=[dg.AssetDep(DATA, partition_mapping=dg.LastPartitionMapping()), "device_registry"],
            kinds={"polars", "deltalake", "csv"},
        )
    ],
    check_specs=[check_spec(THRESHOLDS, "ranges", "Suggestions make sense.", blocking=True)],
    pool=THRESHOLDS,
)
def suggested_thresholds(
    context: dg.AssetExecutionContext,
    config: BaselineConfig,
    lake: LakeResource,
    files: FilesResource,
    clock: ClockResource,
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Limits for the streaming rules, as a table and as a CSV beside the registry file. A person merges them."""
    data = read_training_rows(lake.lake, config.training_version)
    csv = files.registry.parent / CSV_NAME
    with retried_if_transient(context):
        report = write_thresholds(lake.lake, data, clock.now, csv)
    table = lake.lake.table(SUGGESTED_THRESHOLDS)
    rows = table.read()
    shown = rows.filter(pl.col("current_threshold_a").is_not_null()).head(_SHOWN)
    return dg.MaterializeResult(
        asset_key=THRESHOLDS,
        metadata={
            "dagster/row_count": report.rows,
            "from_own_windows": report.from_device,
            "differ_from_the_registry": report.would_change,
            "csv": dg.MetadataValue.path(str(csv)),
            "first_rows": records_table(shown.drop("snapshot_id", "computed_at").to_dicts()),
            **table_metadata(table, report.version),
        },
        check_results=[check_result(range_finding(SUGGESTED_THRESHOLDS, table.scan()), THRESHOLDS)],
    )
