"""The score assets: one a detector, all writing model_scores."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import dagster as dg
import polars as pl

from refrig_assets.contracts.modelling import MODEL_SCORES
from refrig_assets.contracts.scoring import (
    COVERAGE_LEVEL,
    DETECTORS,
    HOURLY_DETECTORS,
)
from refrig_assets.defs.automation import when_inputs_change
from refrig_assets.defs.metadata import (
    PICTURES_PER_RUN,
    check_result,
    counts_table,
    records_table,
    table_metadata,
)
from refrig_assets.defs.partitions import hour_key, hourly, partition_starts
from refrig_assets.defs.pictures import scores_picture
from refrig_assets.defs.resources import ClockResource, LakeResource, ModelsResource
from refrig_assets.defs.retry import retried_if_transient
from refrig_assets.defs.specs import asset_spec, check_spec, describe
from refrig_assets.defs.training import trained_asset_of
from refrig_assets.lake import HOUR, Lake
from refrig_assets.monitoring.findings import (
    Finding,
    completeness_finding,
    flag_rule_finding,
    key_finding,
    presence_finding,
    range_finding,
    schema_finding,
)
from refrig_assets.monitoring.proxies import histogram
from refrig_assets.pipeline.scoring import OneLook, ScoringReport, score_hour, totals

SCORES = MODEL_SCORES.name
_SHOWN, _REASONS = 10, 3


def asset_of(model_id: str) -> str:
    """The asset that a detector's scores are."""
    return f"scores_{model_id}"


class ScoringConfig(dg.Config):
    devices: list[str] = []  # noqa: RUF012 - pydantic copies it
    """only these devices; their rows alone are replaced. Empty: the whole fleet"""
    even_stale: bool = False
    """score the newest hour although its features are older than they may be: history, not what is going on now"""


def _checks(asset: str) -> list[dg.AssetCheckSpec]:
    return [
        check_spec(asset, "schema", "The table has the columns and types of its contract.", blocking=True),
        check_spec(asset, "key", "One score a device, window, version and role.", blocking=True),
        check_spec(asset, "ranges", "Scores lie within 0-1; nothing is null that must not be.", blocking=True),
        check_spec(
            asset, "flag_rule", "A window is flagged exactly if its score is above the threshold.", blocking=True
        ),
        check_spec(asset, "coverage", "At least 99 % of active devices have a score."),
        check_spec(asset, "zero_rows", "An hour that has features has scores."),
        check_spec(asset, "versions_beside", "Challengers and shadows could score, too."),
    ]


def _without(asset: str) -> dg.AutomationCondition:  # type: ignore[type-arg]
    """When inputs change, other than this one."""
    condition: Any = when_inputs_change()
    ignoring: dg.AutomationCondition[Any] = condition.ignore(dg.AssetSelection.assets(asset))
    return ignoring


def _scores(model_id: str) -> dg.AssetsDefinition:
    asset = asset_of(model_id)
    hourly_model, trained = model_id in HOURLY_DETECTORS, trained_asset_of(model_id)
    runs = "each hour" if hourly_model else "at 03:00 UTC"
    what = f"What {model_id} says of the hour's closed 15-minute windows, {runs} and on demand."

    @dg.multi_asset(
        name=asset,
        specs=[
            asset_spec(
                MODEL_SCORES,
                key=asset,
                deps=["device_features", "device_trends", trained],
                # A version newly trained is a draft: it scores nobody until it is promoted.
                condition=_without(trained) if hourly_model else None,
                partitions=hourly,
                kinds={"polars", "deltalake", "mlflow"},
                description=f"{what}\n\n{describe(MODEL_SCORES)}",
            )
        ],
        check_specs=_checks(asset),
        partitions_def=hourly,
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=SCORES,
    )
    def scores(
        context: dg.AssetExecutionContext,
        config: ScoringConfig,
        lake: LakeResource,
        models: ModelsResource,
        clock: ClockResource,
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]
        now, the_lake, registry = clock.now, lake.lake, OneLook(models.registry)
        hours = partition_starts(context)
        reports: list[ScoringReport] = []
        for number, hour in enumerate(hours, start=1):
            with retried_if_transient(context):
                report = score_hour(
                    the_lake, registry, model_id, hour, now, config.devices or None, even_stale=config.even_stale
                )
            reports.append(report)
            pictures = number > len(hours) - PICTURES_PER_RUN
            context.add_asset_metadata(
                _metadata(the_lake, report, pictures), asset_key=asset, partition_key=hour_key(hour)
            )
            context.log.info(
                f"{hour_key(hour)}  {report.rows:,} scores of {report.devices_scored:,} devices, "
                f"{report.flagged:,} flagged ({number}/{len(hours)})"
            )
        return dg.MaterializeResult(asset_key=asset, check_results=_check_results(the_lake, asset, reports, now))

    return scores


def _check_results(lake: Lake, asset: str, reports: list[ScoringReport], now: datetime) -> list[dg.AssetCheckResult]:
    table = lake.table(MODEL_SCORES)
    rows = table.scan(reports[0].hour, reports[-1].hour + HOUR).filter(pl.col("model_id") == reports[0].model_id)
    expected = reports[-1].devices_expected
    by_hour = {hour_key(r.hour): r.devices_scored for r in reports}
    closed = reports[-1].hour + HOUR <= now
    findings = [
        schema_finding(MODEL_SCORES, table.columns()),
        key_finding(MODEL_SCORES, rows),
        range_finding(MODEL_SCORES, rows),
        flag_rule_finding(rows),
        completeness_finding("coverage", by_hour, expected, COVERAGE_LEVEL, "active devices scored", severe=True),
        presence_finding({hour_key(r.hour): r.rows for r in reports}, bool(expected) and closed),
        _versions_beside(reports),
    ]
    return [check_result(f, asset) for f in findings]


def _versions_beside(reports: Sequence[ScoringReport]) -> Finding:
    broken = [{"hour": hour_key(r.hour), "version": v, "error": why} for r in reports for v, why in r.broken.items()]
    beside = {v for r in reports for v in r.by_version if not v.endswith("champion")}
    told = f"{broken[0]['version']}: {broken[0]['error']}" if broken else f"{len(beside)} versions scored beside"
    return Finding("versions_beside", not broken, told, {"broken": len(broken)}, broken[:20], severe=False)


def _metadata(lake: Lake, report: ScoringReport, pictures: bool) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "dagster/partition_row_count": report.rows,
        "flagged": report.flagged,
        "devices_scored": f"{report.devices_scored:,} of {report.devices_expected:,} ({report.coverage:.2%})",
        "restricted_to": f"{len(report.devices):,} devices" if report.devices is not None else "the whole fleet",
    }
    if report.broken:
        metadata["versions_that_failed"] = records_table(
            [{"version": v, "error": why} for v, why in report.broken.items()]
        )
    if pictures and report.rows:
        mine = (pl.col("model_id") == report.model_id) & (pl.col("deployment_role") == "champion")
        rows = lake.table(MODEL_SCORES).scan(report.hour, report.hour + HOUR, version=report.version).filter(mine)
        metadata |= _who_stands_out(rows, f"{report.model_id}: scores, {hour_key(report.hour)}")
    return metadata | {
        "windows": counts_table(totals(report), "what became of them", "count"),
        "rows_by_version": counts_table(report.by_version, "version"),
        "windows_scored": counts_table(report.by_window, "window end", "devices"),
        "bytes_written": report.bytes,
        "seconds": round(sum(report.seconds.values()), 2),
        **table_metadata(lake.table(MODEL_SCORES), report.version),
    }


def _who_stands_out(rows: pl.LazyFrame, title: str) -> dict[str, Any]:
    """How the scores are spread, and the devices with the highest, each by its highest window with its reasons."""
    scores = rows.select("anomaly_score", "threshold_used").collect()
    if scores.is_empty():
        return {}
    top = (
        rows.sort("anomaly_score", "window_end", descending=[True, False])
        .group_by("device_id")
        .agg(pl.all().first(), windows_flagged=pl.col("anomaly_flag").sum())
        .sort("anomaly_score", "windows_flagged", "device_id", descending=[True, True, False])
        .head(_SHOWN)
        .select("device_id", "window_end", "anomaly_score", "windows_flagged", "top_contributors", "contributor_scores")
        .collect()
    )
    shown = [
        {
            "device": r["device_id"], "score": round(r["anomaly_score"], 3), "window end": f"{r['window_end']:%H:%M}",
            "flagged": r["windows_flagged"], "because of": _because(r),
        }
        for r in top.iter_rows(named=True)
    ]  # fmt: skip
    return {
        "score_distribution": scores_picture(histogram(scores["anomaly_score"]), title, scores["threshold_used"][0]),
        "highest": records_table(shown),
    }


def _because(row: dict[str, Any]) -> str:
    """The weightiest reasons, + where above what was expected of the machine."""
    reasons = zip(row["top_contributors"] or [], row["contributor_scores"] or [], strict=False)
    return ", ".join(f"{'+' if size > 0 else '−'}{name}" for name, size in list(reasons)[:_REASONS])


score_assets = [_scores(model_id) for model_id in DETECTORS]
