"""Notifications from Dagster: failed runs, checks, the stream's life; and the notifier's pass, where no daemon runs."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from refrig_assets.contracts import BY_NAME, DEVICE_ALERTS, NOTIFICATIONS
from refrig_assets.contracts.scoring import RULES_FALLBACK, THRESHOLD_BASELINE
from refrig_assets.defs.metadata import counts_table
from refrig_assets.defs.partitions import daily, hourly
from refrig_assets.defs.resources import ClockResource, LakeResource
from refrig_assets.defs.schedules import SWITCHED_ON
from refrig_assets.defs.specs import asset_spec
from refrig_assets.monitoring.stream import CHECK as STREAM_CHECK
from refrig_assets.monitoring.stream import LIMITS
from refrig_assets.notify.conditions import Condition, Level, Line
from refrig_assets.notify.notifier import Notifier, Report
from refrig_assets.notify.routes_toml import routes_file

STATUS = dg.DefaultSensorStatus.RUNNING if SWITCHED_ON else dg.DefaultSensorStatus.STOPPED
_EVALUATED = dg.DagsterEventType.ASSET_CHECK_EVALUATION
_WORST: tuple[Level, ...] = ("ok", "warn", "error")
_MODEL_GROUPS = ("scoring", "training")
_PATIENCE_S = 20.0
_LONGEST, _SAMPLE = 500, 5
_SHOWN = ("finding", "sample")
"""metadata of an evaluation that are no counts"""

# Written by whoever sends: the daemon, or the sensor below.
notifications = asset_spec(NOTIFICATIONS, deps=[DEVICE_ALERTS.name], kinds={"apprise", "deltalake"})


class Evaluated:
    """One evaluation of a check, in a run or outside of runs."""

    def __init__(self, found: Any, at: float, run_id: str | None) -> None:
        self.asset, self.check = found.asset_key.to_user_string(), found.check_name
        self.level: Level = "ok" if found.passed else "error" if found.severity.value == "ERROR" else "warn"
        self.partition: str | None = getattr(found, "partition", None)
        self.blocking = bool(getattr(found, "blocking", False))
        self.says = (found.description or "failed")[:_LONGEST]
        self.counts = {k: v.value for k, v in found.metadata.items() if k not in _SHOWN and _is_count(v.value)}
        self.at = datetime.fromtimestamp(at, UTC)
        self.run_id = run_id or None

    @property
    def kind(self) -> str:
        if self.check == STREAM_CHECK:
            return "stream"
        return "model" if is_about_models(self.asset) else "data_quality"


def _is_count(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_about_models(asset: str) -> bool:
    """Whether an asset is a model, or what models say."""
    if asset.startswith(("scores_", "model_")) or asset in (RULES_FALLBACK, THRESHOLD_BASELINE):
        return True
    return asset in BY_NAME and BY_NAME[asset].group in _MODEL_GROUPS


def check_conditions(
    evaluations: Iterable[Evaluated], ui: str | None, partitions: Sequence[str] = ()
) -> list[Condition]:
    """Of each check the worst of what was found: a run over many hours is told once. `partitions` are the run's."""
    by_check: dict[tuple[str, str], list[Evaluated]] = {}
    for one in evaluations:
        by_check.setdefault((one.asset, one.check), []).append(one)
    return [_check_condition(ones, ui, partitions) for ones in by_check.values()]


def _check_condition(ones: Sequence[Evaluated], ui: str | None, partitions: Sequence[str]) -> Condition:
    worst = max(ones, key=lambda e: (_WORST.index(e.level), e.at))
    by_partition: dict[str, Level] = {}
    for one in sorted(ones, key=lambda e: e.at):  # the last word on each
        by_partition |= dict.fromkeys([one.partition] if one.partition else partitions, one.level)
    level = max(by_partition.values(), key=_WORST.index, default=worst.level)
    where: list[Line] = [("Asset", worst.asset), ("Check", worst.check)]
    links: list[Line] = []
    if ui:
        links.append(("In the UI", f"{ui.rstrip('/')}/assets/{worst.asset}?view=checks&checkDetail={worst.check}"))
        links += [("Run", f"{ui.rstrip('/')}/runs/{worst.run_id}")] if worst.run_id else []
    return Condition(
        worst.kind, f"check:{worst.asset}/{worst.check}", level, f"Check {worst.check} of {worst.asset}",
        _found_lines(worst), worst.at, worst.run_id or "", where, links, by_partition,
    )  # fmt: skip


def _found_lines(worst: Evaluated) -> list[Line]:
    how = {"ok": "", "warn": " (warning)", "error": " (error)"}[worst.level]
    lines: list[Line] = [("Finding", f"{worst.says}{how}")]
    if worst.counts:
        lines.append(("Counts", ", ".join(f"{k} {v:g}" for k, v in list(worst.counts.items())[:10])))
    return [*lines, ("At", f"{worst.at:%Y-%m-%d %H:%M} UTC")]


def run_condition(run: dg.DagsterRun, level: Level, errors: Sequence[str], ui: str | None, at: datetime) -> Condition:
    """How the job does, by its last finished run."""
    assets = sorted(k.to_user_string() for k in run.asset_selection or ())
    named = run.job_name if not run.job_name.startswith("__") else ", ".join(assets[:_SAMPLE]) or run.job_name
    models = (bool(assets) and all(is_about_models(a) for a in assets)) or run.job_name.startswith(("score", "train"))
    lines: list[Line] = [("Partition", p)] if (p := _partition(run)) else []
    lines += [("Errors", [" ".join(e.split())[:_LONGEST] for e in errors[:_SAMPLE]])] if errors else []
    lines += [("Run", run.run_id), ("At", f"{at:%Y-%m-%d %H:%M} UTC")]
    links: list[Line] = [("In the UI", f"{ui.rstrip('/')}/runs/{run.run_id}")] if ui else []
    kind = "model" if models else "pipeline_failure"
    return Condition(
        kind, f"run:{named}", level, f"Job {named}", lines, at, run.run_id, [("Job", named)], links,
        dict.fromkeys(run_partitions(run), level),
    )  # fmt: skip


def _partition(run: dg.DagsterRun) -> str | None:
    first, last = _range(run)
    return run.tags.get("dagster/partition") or (f"{first} to {last}" if first else None)


def _range(run: dg.DagsterRun) -> tuple[str | None, str | None]:
    start, end = (run.tags.get(f"dagster/asset_partition_range_{name}") for name in ("start", "end"))
    return start, end


def run_partitions(run: dg.DagsterRun) -> list[str]:
    """The run's partitions, one by one: another run may make each of them well."""
    first, last = _range(run)
    if first and last:
        for definition in (hourly, daily):
            with suppress(ValueError, dg.DagsterInvariantViolationError):
                return list(definition.get_partition_keys_in_range(dg.PartitionKeyRange(first, last)))
    only = _partition(run)
    return [only] if only else []


def evaluations_of(instance: dg.DagsterInstance, run_id: str) -> list[Evaluated]:
    """What the run's checks found. That a check was planned is another kind of event, and is not asked for."""
    found = []
    for record in instance.get_records_for_run(run_id, of_type=_EVALUATED).records:
        event = record.event_log_entry.dagster_event
        if event is not None:
            found.append(Evaluated(event.event_specific_data, record.event_log_entry.timestamp, run_id))
    return found


def evaluations_outside_of_runs(instance: dg.DagsterInstance) -> list[Evaluated]:
    """What the sensor `stream_reports` said last of the stream's life. What a run found, that run's sensors tell."""
    keys = [dg.AssetCheckKey(dg.AssetKey(table), STREAM_CHECK) for table in LIMITS]
    found = []
    for record in instance.event_log_storage.get_latest_asset_check_execution_by_key(keys).values():
        event = record.event.dagster_event if record.event is not None else None
        if event is not None and event.event_type == _EVALUATED and not record.run_id:
            assert record.event is not None
            found.append(Evaluated(event.event_specific_data, record.event.timestamp, None))
    return found


def _notifier(lake: LakeResource, clock: ClockResource) -> Notifier:
    return Notifier(lake.located, routes_file(), clock=lambda: clock.now)


@dg.run_failure_sensor(
    name="notify_run_failures",
    minimum_interval_seconds=30,
    default_status=STATUS,
    description="Puts failed runs, and what their checks found, into the outbox of notifications.",
)
def notify_run_failures(
    context: dg.RunFailureSensorContext, lake: LakeResource, clock: ClockResource
) -> dg.SkipReason | None:
    run, notifier = context.dagster_run, _notifier(lake, clock)
    errors = [_error(e) for e in context.get_step_failure_events()]
    if not errors and context.failure_event.message:
        errors = [context.failure_event.message]
    conditions = check_conditions(evaluations_of(context.instance, run.run_id), notifier.ui, run_partitions(run))
    conditions.append(run_condition(run, "error", errors, notifier.ui, clock.now))
    notifier.report(conditions)
    return None


def _error(event: dg.DagsterEvent) -> str:
    error = event.step_failure_data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return f"{event.step_key}: {error.message if error is not None else event.message}"


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.SUCCESS,
    name="notify_run_successes",
    minimum_interval_seconds=30,
    default_status=STATUS,
    description="Tells of checks that failed without stopping their run, and of jobs and checks that are well again.",
)
def notify_run_successes(
    context: dg.RunStatusSensorContext, lake: LakeResource, clock: ClockResource
) -> dg.SkipReason | None:
    run, notifier = context.dagster_run, _notifier(lake, clock)
    conditions = check_conditions(evaluations_of(context.instance, run.run_id), notifier.ui, run_partitions(run))
    notifier.report([*conditions, run_condition(run, "ok", (), notifier.ui, clock.now)])
    return None


@dg.sensor(
    name="notify",
    minimum_interval_seconds=30,
    default_status=STATUS,
    description="One pass of the notifier, and what was found of the stream outside of runs. Where `refrig notify "
    "watch` runs, that one sends.",
)
def notify_pass(
    context: dg.SensorEvaluationContext, lake: LakeResource, clock: ClockResource
) -> dg.SensorResult | dg.SkipReason:
    notifier = _notifier(lake, clock)
    if notifier.routing() is None:
        return dg.SkipReason(f"there is no routing file {notifier.routes}: nothing is sent")
    told = notifier.report(check_conditions(evaluations_outside_of_runs(context.instance), notifier.ui))
    report = notifier.once(_PATIENCE_S)
    said = report.skipped or f"{report.messages} messages; {report.says}"
    said = f"{told} news of the stream, {report.planned} of alerts; {said}"
    return dg.SensorResult(skip_reason=said, asset_events=[_recorded(report)] if report.recorded else [])


def _recorded(report: Report) -> dg.AssetMaterialization:
    told: dict[str, Any] = {
        "attempts_recorded": report.recorded,
        "outbox": counts_table(report.waiting, "state", "messages"),
    }
    return dg.AssetMaterialization(NOTIFICATIONS.name, description=report.says, metadata=told)


notify_sensors = [notify_pass, notify_run_failures, notify_run_successes]
