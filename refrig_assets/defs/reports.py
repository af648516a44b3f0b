"""The fleet's health each hour and the digest of each day: Markdown with pictures on the page and in a file."""

from typing import Any

import dagster as dg

from refrig_assets.defs.metadata import PICTURES_PER_RUN
from refrig_assets.defs.partitions import daily, day_key, hour_key, hourly, partition_starts
from refrig_assets.defs.resources import ClockResource, FilesResource, LakeResource, ModelsResource
from refrig_assets.defs.retry import retried_if_transient
from refrig_assets.defs.specs import OWNERS
from refrig_assets.pipeline.fleet_report import FleetReport, fleet_report
from refrig_assets.pipeline.fleet_report_digest import Digest, daily_digest
from refrig_assets.pipeline.fleet_report_digest import compose as compose_digest
from refrig_assets.pipeline.fleet_report_files import day_file, hour_file, write_report
from refrig_assets.pipeline.fleet_report_text import compose

REPORT, DIGEST = "fleet_report", "daily_digest"


def _spec(name: str, deps: list[str], partitions: dg.PartitionsDefinition, description: str) -> dg.AssetSpec:
    """Of no table: what is read here is Markdown. Inputs of other partitions are looked up, not waited for."""
    return dg.AssetSpec(
        name,
        deps=[dg.AssetDep(d) for d in deps],
        description=description,
        group_name="reports",
        owners=OWNERS,
        kinds={"markdown", "polars"},
        tags={"contract": "none", "layer": "reports"},
        partitions_def=partitions,
    )


@dg.multi_asset(
    name=REPORT,
    specs=[
        _spec(
            REPORT,
            ["device_registry", "clean_sensor_readings", "device_alerts", "score_quality"],
            hourly,
            "How the fleet did in an hour: who reported, what stands, which failures are expected next, the highest "
            "scores, data, models and stream. Also written as `REFRIG_REPORTS/YYYY-MM-DD-HH.md`.",
        )
    ],
    partitions_def=hourly,
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool=REPORT,
)
def fleet_health(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    files: FilesResource,
    models: ModelsResource,
    clock: ClockResource,
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Gather, compose, write; of a range only the last hours' reports are shown as well."""
    hours = partition_starts(context)
    for number, hour in enumerate(hours, start=1):
        with retried_if_transient(context):
            report = fleet_report(lake.lake, models.registry, hour, clock.now, lake.stream_home)
            text = compose(report)
            path = write_report(hour_file(files.reports, hour), text)
        told: dict[str, Any] = {**_report_numbers(report), "file": dg.MetadataValue.path(str(path))}
        if number > len(hours) - PICTURES_PER_RUN:
            told = {"report": dg.MetadataValue.md(text), **told}
        context.add_asset_metadata(told, asset_key=REPORT, partition_key=hour_key(hour))
        context.log.info(f"{hour_key(hour)}  {report.stands.height:,} alerts stand ({number}/{len(hours)})")
    return dg.MaterializeResult(asset_key=REPORT)


def _report_numbers(report: FleetReport) -> dict[str, Any]:
    """As numbers, so that the UI draws them from hour to hour (Plots)."""
    return {
        "devices_active": report.fleet.active,
        "devices_reporting": report.fleet.reporting,
        "alerts_new": report.created.height - int(report.created["suppressed"].sum()),
        "alerts_closed": report.closed.height,
        "alerts_standing": report.stands.height,
        "failures_expected": report.expected.height,
        "dead_letters": sum(report.quality.dead.values()),
    }


@dg.multi_asset(
    name=DIGEST,
    specs=[
        _spec(
            DIGEST,
            ["device_alerts", "device_registry"],
            daily,
            "How a day ended: failures and who was warned, predictions, how fast alerts were taken and closed, false "
            "ones, deadlines kept, who is noisy, labels given. Also written as `REFRIG_REPORTS/YYYY-MM-DD.md`.",
        )
    ],
    partitions_def=daily,
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool=DIGEST,
)
def day_digest(
    context: dg.AssetExecutionContext, lake: LakeResource, files: FilesResource, clock: ClockResource
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Gather, compose, write; of a range only the last days' digests are shown as well."""
    days = partition_starts(context)
    for number, day in enumerate(days, start=1):
        with retried_if_transient(context):
            digest = daily_digest(lake.lake, day, clock.now)
            text = compose_digest(digest)
            path = write_report(day_file(files.reports, day), text)
        told: dict[str, Any] = {**_digest_numbers(digest), "file": dg.MetadataValue.path(str(path))}
        if number > len(days) - PICTURES_PER_RUN:
            told = {"digest": dg.MetadataValue.md(text), **told}
        context.add_asset_metadata(told, asset_key=DIGEST, partition_key=day_key(day))
    return dg.MaterializeResult(asset_key=DIGEST)


def _digest_numbers(digest: Digest) -> dict[str, Any]:
    """As numbers, so that the UI draws them from day to day; what nobody did has none."""
    missed, due = int(digest.deadlines["missed"].sum()), int(digest.deadlines["deadlines"].sum())
    told = {
        "failures": digest.failures.height,
        "failures_warned": digest.failures["warned_at"].count(),
        "alerts_standing": digest.stands.height,
        "deadlines_kept": round(1 - missed / due, 4) if due else None,
        "hours_to_take": digest.handling["hours_to_take"],
        "hours_to_close": digest.handling["hours_to_close"],
        "false_share": digest.handling["false_share"],
        "labels": int(digest.labels["labels"].sum()),
    }
    return {name: value for name, value in told.items() if value is not None}
