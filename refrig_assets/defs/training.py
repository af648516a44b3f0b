"""The training assets: training data, and one asset a detector."""

from datetime import datetime, timedelta
from typing import Any

import dagster as dg
import polars as pl

from refrig_assets.contracts.features import DEVICE_FEATURES
from refrig_assets.contracts.modelling import TRAINING_DATA
from refrig_assets.contracts.scoring import DETECTORS
from refrig_assets.contracts.trends import DEVICE_TRENDS
from refrig_assets.defs.metadata import check_result, counts_table, records_table, table_metadata
from refrig_assets.defs.partitions import daily, partition_starts
from refrig_assets.defs.resources import ClockResource, LakeResource, ModelsResource
from refrig_assets.defs.retry import retried_if_transient
from refrig_assets.defs.specs import OWNERS, asset_spec, check_spec
from refrig_assets.lake import Lake
from refrig_assets.models.card import WHAT_IT_DOES
from refrig_assets.monitoring.findings import Finding, key_finding, range_finding, schema_finding
from refrig_assets.pipeline.training import Trained, train
from refrig_assets.pipeline.training_data import TrainingDataReport, assemble_training_data
from refrig_assets.pipeline.training_sample import Outage, SampleSettings

DATA = TRAINING_DATA.name
_SHOWN_OUTAGES = 20
# Beside the table also as numbers of their own: the UI draws them from version to version (Plots).
_PLOTTED = ("held_out_flag_rate", "held_out_median")
_DEFAULTS = SampleSettings()
_WHY_LEFT_OUT = {
    "completeness": "too few sensor values",
    "readings": "too few readings",
    "quality_flags": "too many quality flags",
    "outage": "site or fleet was silent",
    "maintenance": "shortly after maintenance",
}


def trained_asset_of(model_id: str) -> str:
    """The asset that makes new versions of a detector."""
    return f"model_{model_id}"


class TrainingDataConfig(dg.Config):
    snapshot_id: int | None = None
    """a version of device_features to read; by default the newest"""
    history_days: int = _DEFAULTS.history_days
    max_rows: int = _DEFAULTS.max_rows
    max_windows_read: int = _DEFAULTS.max_windows_read
    outages: list[dict[str, str]] = []  # noqa: RUF012 - pydantic copies it
    """stretches known to be no good: start and end (ISO 8601, UTC), and site_id where it is one site's"""


class TrainingConfig(dg.Config):
    training_version: int | None = None
    """a version of training_data to train on; by default the newest"""
    seed: int = 0
    settings: dict[str, Any] = {}  # noqa: RUF012 - pydantic copies it
    """hyperparameters in the place of the usual ones"""


@dg.multi_asset(
    name=DATA,
    specs=[
        asset_spec(
            TRAINING_DATA,
            deps=[
                dg.AssetDep(name, partition_mapping=dg.TimeWindowPartitionMapping())
                for name in (DEVICE_FEATURES.name, DEVICE_TRENDS.name)
            ],
            partitions=daily,
        )
    ],
    check_specs=[
        check_spec(DATA, "schema", "The table has the columns and types of its contract.", blocking=True),
        check_spec(DATA, "key", "One row a device and window.", blocking=True),
        check_spec(DATA, "ranges", "Nothing is null or out of range that must not be.", blocking=True),
        check_spec(DATA, "splits", "A gap lies between train and validation; held-out devices are in neither."),
    ],
    partitions_def=daily,
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool=DATA,
)
def training_data(
    context: dg.AssetExecutionContext, config: TrainingDataConfig, lake: LakeResource
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """What there is to learn from up to the end of the day. The table holds the rows of the last snapshot taken."""
    settings = SampleSettings(
        history_days=config.history_days,
        max_rows=config.max_rows,
        max_windows_read=config.max_windows_read,
        outages=tuple(Outage.of(told) for told in config.outages),
    )
    end = partition_starts(context)[-1] + timedelta(days=1)
    with retried_if_transient(context):
        report = assemble_training_data(lake.lake, end, settings, snapshot_id=config.snapshot_id)
    context.log.info(f"{report.rows:,} of {report.windows_looked_at:,} windows: {report.by_split}")
    return dg.MaterializeResult(
        asset_key=DATA, metadata=_data_metadata(lake.lake, report), check_results=_data_checks(lake.lake, report)
    )


def _data_checks(lake: Lake, report: TrainingDataReport) -> list[dg.AssetCheckResult]:
    table = lake.table(TRAINING_DATA)
    # The vectors' names are the same on every row and most of the table; nothing can be wrong with them alone.
    rows = table.scan(version=report.version)
    findings = [
        schema_finding(TRAINING_DATA, table.columns()),
        key_finding(TRAINING_DATA, rows),
        range_finding(TRAINING_DATA, rows),
        splits_finding(rows.select("split", "device_id", "window_start", "window_end").collect()),
    ]
    return [check_result(f, DATA) for f in findings]


def splits_finding(rows: pl.DataFrame) -> Finding:
    """Train ends at least a day before validation begins, and no device is both held out and not."""
    train, held_out = (rows.filter(pl.col("split") == s) for s in ("train", "held_out"))
    later = rows.filter(pl.col("split") != "train")
    both = held_out.select("device_id").unique().join(rows.filter(pl.col("split") != "held_out"), on="device_id")
    last, first = train["window_end"].max(), later["window_start"].min()
    gap = first - last if isinstance(first, datetime) and isinstance(last, datetime) else timedelta(0)
    passed = gap >= timedelta(days=1) and both.is_empty()
    hours = gap / timedelta(hours=1)
    says = f"{hours:g} h between train and what comes later; {both['device_id'].n_unique()} devices on both sides"
    return Finding("splits", passed, says, {"gap_hours": hours, "devices_on_both_sides": both["device_id"].n_unique()})


def _data_metadata(lake: Lake, report: TrainingDataReport) -> dict[str, Any]:
    spans, snapshot = report.spans, report.snapshot
    return {
        "dagster/row_count": report.rows,
        "train": f"{spans.start:%Y-%m-%d %H:%M} to {spans.train_end:%Y-%m-%d %H:%M}",
        "validation": f"{spans.validation_start:%Y-%m-%d %H:%M} to {spans.end:%Y-%m-%d %H:%M}",
        "by_split": counts_table(report.by_split, "split"),
        "by_label": counts_table(report.by_label, "label"),
        "left_out": counts_table({_WHY_LEFT_OUT.get(k, k): n for k, n in report.left_out.items()}, "why", "windows"),
        "known_outages": records_table(report.outages[:_SHOWN_OUTAGES]),
        "outages": len(report.outages),
        "windows_looked_at": report.windows_looked_at,
        "hours_looked_at": len(report.sample.hours),
        "every_nth_window_is_taken": report.sample.stride,
        "devices": report.devices,
        "devices_held_out": report.held_out_devices,
        "snapshot_id": snapshot.snapshot_id,
        "versions_read": counts_table(snapshot.versions, "table", "version"),
        "bytes_written": report.bytes,
        "seconds": round(sum(report.seconds.values()), 2),
        **table_metadata(lake.table(TRAINING_DATA), report.version),
    }


def _model(model_id: str) -> dg.AssetsDefinition:
    asset = trained_asset_of(model_id)

    @dg.multi_asset(
        name=asset,
        specs=[
            dg.AssetSpec(
                asset,
                deps=[dg.AssetDep(DATA, partition_mapping=dg.LastPartitionMapping())],
                description=f"A new version of {model_id} in the model registry, for staging. {WHAT_IT_DOES[model_id]}",
                group_name=TRAINING_DATA.group,
                owners=OWNERS,
                kinds={"python", "mlflow"},
                tags={"layer": TRAINING_DATA.group},
            )
        ],
        check_specs=[
            check_spec(asset, "promises", "On rows not fitted, no more score above a limit than its score promises.")
        ],
        pool="training",
    )
    def model(
        context: dg.AssetExecutionContext,
        config: TrainingConfig,
        lake: LakeResource,
        models: ModelsResource,
        clock: ClockResource,
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]
        with retried_if_transient(context):
            done = train(
                lake.lake,
                models.registry,
                model_id,
                clock.now,
                version=config.training_version,
                settings=config.settings,
                seed=config.seed,
            )
        context.log.info(f"{model_id} {done.version} is in staging")
        return dg.MaterializeResult(
            asset_key=asset,
            metadata=_model_metadata(done, models.registry.plan(model_id, routed=False).champion),
            check_results=[check_result(_promises(done), asset)],
        )

    return model


def _promises(done: Trained) -> Finding:
    broken = [p for p in done.promises if p.verdict == "broken"]
    says = "; ".join(f"{p.share:.3%} of {p.rows:,} rows above {p.limit:g} (promised {p.promised:g})" for p in broken)
    return Finding(
        "promises", not broken, says or "every promise kept", {"broken": len(broken)}, _promise_rows(done), severe=False
    )


def _promise_rows(done: Trained) -> list[dict[str, Any]]:
    return [
        {"score above": p.limit, "promised at most": p.promised, "found": p.share, "of rows": p.rows,
         "verdict": p.verdict.partition(" (")[0]}
        for p in done.promises
    ]  # fmt: skip


def _model_metadata(done: Trained, champion: str | None) -> dict[str, Any]:
    compared = f"refrig models compare {done.model_id} {champion} {done.version} --record, then " if champion else ""
    return {
        "version": done.version,
        "model_card": dg.MetadataValue.md(done.card.embedded),
        "next": f"{compared}refrig models promote {done.model_id} {done.version} --to released",
        "promises": records_table(_promise_rows(done)),
        "proxy_metrics": counts_table({k: round(v, 6) for k, v in done.metrics.items()}, "metric", "value"),
        **{k: round(done.metrics[k], 6) for k in _PLOTTED if k in done.metrics},
        "rows": counts_table(done.rows, "split"),
        "snapshot_id": done.snapshot_id,
        "training_data_version": done.training_version,
        "seconds": round(sum(done.seconds.values()), 2),
    }


model_assets = [_model(m) for m in DETECTORS]
training_assets = [training_data, *model_assets]
