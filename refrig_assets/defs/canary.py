"""The canary asset: versions that want to be champion beside the one that is, over the same hour, gate by gate."""

from typing import Any

import dagster as dg

from refrig_assets.contracts.scoring import CANARY_REPORTS, DETECTORS
from refrig_assets.defs.metadata import check_result, records_table, table_metadata
from refrig_assets.defs.partitions import hour_key, hourly, partition_starts
from refrig_assets.defs.pictures import scatter_picture
from refrig_assets.defs.resources import ClockResource, LakeResource, ModelsResource
from refrig_assets.defs.retry import retried_if_transient
from refrig_assets.defs.specs import asset_spec, check_spec
from refrig_assets.defs.training import trained_asset_of
from refrig_assets.monitoring.findings import Finding
from refrig_assets.pipeline.canary import Compared, canary_hour, write_canary_hour

CANARY = CANARY_REPORTS.name
GATES = {
    "mean_difference": "Scores differ by less than 0.05 on average, else investigate.",
    "flag_rate_change": "The flag rate moves by no more than 2 points, else the version is blocked.",
    "top_devices_overlap": "At least 80 % of the 100 highest devices are the same, else review.",
    "score_divergence": "The scores' distribution moves by a KL divergence below 0.1, else the version is blocked.",
}


class CanaryConfig(dg.Config):
    models: list[str] = []  # noqa: RUF012 - pydantic copies it
    """only these models. Empty: all of them"""
    record: bool = True
    """keep each report with its candidate, where promotion looks for it"""


@dg.multi_asset(
    name=CANARY,
    specs=[
        asset_spec(
            CANARY_REPORTS,
            deps=["device_features", "device_trends", *map(trained_asset_of, DETECTORS)],
            partitions=hourly,
            kinds={"polars", "deltalake", "mlflow"},
        )
    ],
    check_specs=[check_spec(CANARY, name, says) for name, says in GATES.items()],
    partitions_def=hourly,
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool=CANARY,
)
def canary_reports(
    context: dg.AssetExecutionContext,
    config: CanaryConfig,
    lake: LakeResource,
    models: ModelsResource,
    clock: ClockResource,
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Every staging, challenger or shadow version against the champion, on windows both can score."""
    the_lake, now, registry = lake.lake, clock.now, models.registry
    compared: list[Compared] = []
    for hour in partition_starts(context):
        with retried_if_transient(context):
            found = [
                one
                for model_id in config.models or DETECTORS
                for one in canary_hour(the_lake, registry, model_id, hour, now, record=config.record)
            ]
            version = write_canary_hour(the_lake, hour, found, now)
        compared += found
        metadata = _metadata(found) | table_metadata(the_lake.table(CANARY_REPORTS), version)
        context.add_asset_metadata(metadata, asset_key=CANARY, partition_key=hour_key(hour))
        for one in found:
            context.log.info(one.report.says)
    return dg.MaterializeResult(asset_key=CANARY, check_results=[_gate(name, compared) for name in GATES])


def _version(one: Compared) -> str:
    return f"{one.report.model_id} {one.report.new_version}"


def _gate(name: str, compared: list[Compared]) -> dg.AssetCheckResult:
    """One gate over all candidates: only what blocks is an error."""
    gates = [(one, gate) for one in compared for gate in one.report.gates if gate.name == name]
    failed = [(one, gate) for one, gate in gates if not gate.passed]
    versions = dict.fromkeys(_version(one) for one, _ in failed)
    # Of the hours of a run the one farthest beyond the limit speaks for a version; all are in the table.
    worst = [max((g for o, g in failed if _version(o) == v), key=lambda g: abs(g.value - g.limit)) for v in versions]
    told = [f"{version}: {gate.outcome}, {gate.says}" for version, gate in zip(versions, worst, strict=True)]
    says = "; ".join(told) if told else f"{len(gates)} comparisons pass"
    sample = [
        {"model": o.report.model_id, "version": o.report.new_version, "value": g.value, "outcome": g.outcome}
        for o, g in failed
    ]
    severe = any(gate.outcome == "block" for _, gate in failed)
    return check_result(
        Finding(name, not failed, says, {"compared": len(gates), "failed": len(failed)}, sample[:20], severe), CANARY
    )


def _metadata(compared: list[Compared]) -> dict[str, Any]:
    gates = [
        {"candidate": f"{_version(o)} ({o.role})", "against": o.report.old_version, "gate": g.name,
         "outcome": g.outcome, "value": g.value, "limit": g.limit}
        for o in compared
        for g in o.report.gates
    ]  # fmt: skip
    metadata: dict[str, Any] = {
        "dagster/partition_row_count": len(gates),
        "gates": records_table(gates) if gates else dg.MetadataValue.text("no version waits beside a champion"),
    }
    for one in compared:
        title = f"{one.report.model_id}: version {one.report.new_version} against {one.report.old_version}"
        metadata[f"scores_of_{one.report.model_id}_{one.report.new_version}"] = scatter_picture(
            one.scores["old"], one.scores["new"], title, ("champion", "candidate")
        )
    return metadata
