"""The asset device_alerts: an hour's scores become changes of the alert log, beside the stream's and the operators'."""

from typing import Any

import dagster as dg

from refrig_assets.contracts import DEVICE_ALERTS
from refrig_assets.contracts.scoring import DETECTORS, RULES_FALLBACK
from refrig_assets.defs.metadata import counts_table, records_table, table_metadata
from refrig_assets.defs.partitions import hour_key, hourly, partition_starts
from refrig_assets.defs.resources import ClockResource, LakeResource, ModelsResource
from refrig_assets.defs.retry import retried_if_transient
from refrig_assets.defs.scoring import asset_of
from refrig_assets.defs.specs import asset_spec
from refrig_assets.lake import Lake
from refrig_assets.pipeline.alerting import Alerting, AlertReport, alerts_of
from refrig_assets.pipeline.judged import note_judged, scores_seen
from refrig_assets.pipeline.scoring import OneLook

ALERTS = DEVICE_ALERTS.name


# The stream writes the same table and operators do; `stream_reports` tells of what they wrote.
@dg.multi_asset(
    name=ALERTS,
    specs=[
        asset_spec(
            DEVICE_ALERTS,
            deps=[
                "raw_sensor_readings",
                "device_registry",
                "device_features",
                "device_trends",
                *(asset_of(m) for m in DETECTORS),
                RULES_FALLBACK,
            ],
            partitions=hourly,
            kinds={"polars", "bytewax", "deltalake"},
        )
    ],
    partitions_def=hourly,
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool=ALERTS,
)
def device_alerts(
    context: dg.AssetExecutionContext, lake: LakeResource, models: ModelsResource, clock: ClockResource
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Severity, what is sustained or repeated, mutes, diagnosis, the stream's CRITICALs weighed; hours in order."""
    the_lake, now = lake.lake, clock.now
    alerting = Alerting(the_lake, OneLook(models.registry))
    hours = partition_starts(context)
    for number, hour in enumerate(hours, start=1):
        with retried_if_transient(context):
            seen = scores_seen(the_lake, hour)
            report = alerting.hour(hour, now)
            note_judged(the_lake, hour, seen, now)
        context.add_asset_metadata(_metadata(the_lake, report), asset_key=ALERTS, partition_key=hour_key(hour))
        made = ", ".join(f"{n} {what}" for what, n in report.by_change.items()) or "nothing new"
        context.log.info(f"{hour_key(hour)}  {report.hits:,} windows tell something: {made} ({number}/{len(hours)})")
    return dg.MaterializeResult(asset_key=ALERTS)


def _metadata(lake: Lake, report: AlertReport) -> dict[str, Any]:
    if report.source == "stream":
        return {"says": "scores are expired: the stream alone alerts", **table_metadata(lake.table(DEVICE_ALERTS))}
    shown = alerts_of(lake, report)
    return {
        "judged_by": "the models' scores" if report.source == "batch" else "rules on features: the models are silent",
        "judged_at": f"{report.judged_at:%Y-%m-%d %H:%M:%S} UTC",
        "windows": report.windows,
        "devices": report.devices,
        "windows_that_tell_something": report.hits,
        "diagnosed": report.diagnosed,
        "under_a_mute": report.muted,
        "changes": counts_table(report.by_change, "change", "changes"),
        "changes_written": report.written,
        "new_alerts": counts_table(report.by_severity, "severity", "alerts"),
        **({"alerts": records_table(shown.to_dicts())} if shown.height else {}),
        "seconds": round(sum(report.seconds.values()), 2),
        **table_metadata(lake.table(DEVICE_ALERTS), report.version or None),
    }
