"""Jobs with which operators work from the launchpad: act on alerts, mute, score again. What they do is in pipeline/."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

import dagster as dg
from pydantic import Field

from refrig_assets.alerting.operating import Action
from refrig_assets.alerting.selecting import Filters, by_urgency, meet
from refrig_assets.contracts.alerts import FAILURE_MODES, SEVERITIES
from refrig_assets.contracts.operations import REPEATS
from refrig_assets.contracts.scoring import DETECTORS, HOURLY_DETECTORS
from refrig_assets.defs.metadata import counts_table, records_table
from refrig_assets.defs.partitions import hour_key
from refrig_assets.defs.resources import ClockResource, LakeResource, ModelsResource
from refrig_assets.defs.scoring import asset_of
from refrig_assets.lake import HOUR
from refrig_assets.pipeline.alert_families import members_of
from refrig_assets.pipeline.alert_reading import read_board
from refrig_assets.pipeline.alerting import Alerting
from refrig_assets.pipeline.hours import floor_hour
from refrig_assets.pipeline.operators import Acted, act, find_alerts, machines, mute_alerts
from refrig_assets.pipeline.published import publish_board
from refrig_assets.pipeline.scoring import score_hour

_SHOWN = ("alert_id", "severity", "status", "device_id", "site_id", "title", "escalation_level", "failure_mode", "note")
_MOST = 200


def _choices(name: str, values: tuple[str, ...]) -> Any:
    """An enumeration that the launchpad offers as choices."""
    return Enum(name, [(value, value) for value in values])


Severity = _choices("Severity", SEVERITIES)
FailureMode = _choices("FailureMode", FAILURE_MODES)
Role = _choices("Role", ("operator", "field_engineer"))
Repeats = _choices("Repeats", REPEATS)
_SETS = {"hourly": HOURLY_DETECTORS, "all": DETECTORS, **{model: (model,) for model in DETECTORS}}
Models = _choices("Models", tuple(_SETS))


class AlertsConfig(dg.Config):
    """Which alerts, who acts, and what to remember. Name alerts by id, or choose them by what they have in common."""

    operator: str = Field(description="Who does it, for the record.")
    role: Role = Field(default=Role.operator, description="field_engineer: somebody who has seen the machine.")  # type: ignore[valid-type]
    alerts: list[str] = Field(default=[], description="Ids, or their beginnings (six characters are enough).")
    sites: list[str] = Field(default=[], description="Instead of ids: standing alerts of these sites.")
    devices: list[str] = Field(default=[], description="Instead of ids: standing alerts of these devices.")
    at_least: Severity | None = Field(default=None, description="Of those, this severity or worse.")  # type: ignore[valid-type]
    older_than_hours: float | None = Field(default=None, ge=0, description="Of those, raised longer ago than that.")
    members: bool = Field(default=False, description="Also the alerts that these stand for: a storm's, an incident's.")
    note: str = Field(default="", description="What to remember; it is shown with the alert.")
    dry_run: bool = Field(default=False, description="Say which alerts it would be; change nothing.")


class ResolveConfig(AlertsConfig):
    """As for all actions, and what was found."""

    failed: bool = Field(default=False, description="The machine had failed; else it was cared for in time.")
    found: FailureMode | None = Field(default=None, description="What was wrong, as found at the machine.")  # type: ignore[valid-type]


class MuteConfig(dg.Config):
    """A device or a site under maintenance: its alerts are written suppressed, and nobody is told."""

    operator: str = Field(description="Who says so, for the record.")
    device: str | None = Field(default=None, description="The device; or name a site.")
    site: str | None = Field(default=None, description="The site; or name a device.")
    reason: str = Field(description="Why; it is shown with every alert that is suppressed.")
    hours: float = Field(default=4.0, gt=0, description="How long it lasts.")
    starts_at: str = Field(default="", description="From when, ISO 8601 in UTC. Empty: now.")
    repeats: Repeats = Field(default=Repeats.once, description="Once, or again each day or week at that time, UTC.")  # type: ignore[valid-type]
    until: str = Field(default="", description="When a recurring mute ends for good, ISO 8601 in UTC. Empty: never.")


class ReScoreConfig(dg.Config):
    """Hours to score and judge again: new scores take the place of the old, worse ones raise an alert that is known."""

    operator: str = Field(description="Who wants it, for the record.")
    first_hour: str = Field(description="The first hour, ISO 8601 in UTC, like 2026-03-01T14:00.")
    hours: int = Field(default=1, ge=1, le=168, description="So many hours from there on.")
    models: Models = Field(  # type: ignore[valid-type]
        default=Models.hourly, description="Which detectors score: those of each hour, all four, or one."
    )
    devices: list[str] = Field(default=[], description="Only these devices are scored again. Empty: the whole fleet.")
    even_stale: bool = Field(default=False, description="Also the newest hour, though its features are too old.")
    alerts: bool = Field(default=True, description="Judge the hours again afterwards, and publish the board.")


def _value(choice: Any) -> str | None:
    return None if choice is None else str(choice.value)


def _work(
    context: dg.OpExecutionContext,
    lake: LakeResource,
    clock: ClockResource,
    config: AlertsConfig,
    change: str,
    **more: Any,
) -> None:
    """Do it to the alerts the configuration means, and show them."""
    the_lake, now = lake.lake, clock.now
    action = Action(change, config.operator, _value(config.role) or "operator", config.note or None, **more)
    filters = Filters(
        sites=tuple(config.sites),
        devices=tuple(config.devices),
        at_least=_value(config.at_least),
        older_than=None if config.older_than_hours is None else timedelta(hours=config.older_than_hours),
    )
    chosen = filters != Filters()
    if chosen == bool(config.alerts):
        raise dg.Failure("name alerts by their ids, or choose them by sites, devices, severity or age: one of the two")
    if chosen:
        board = by_urgency(read_board(the_lake, where=meet(filters, now, machines(the_lake)), ordered=False))
        ids = board["alert_id"].to_list()
    else:
        ids = find_alerts(the_lake, config.alerts)
    ids += members_of(the_lake, ids) if config.members else []
    one_by_one = not chosen and not config.members
    if config.dry_run:
        done = Acted(read_board(the_lake, alerts=ids))
    else:
        done = act(the_lake, action, ids, now, strict=one_by_one)
    said = "would be changed" if config.dry_run else "changed"
    context.log.info(
        f"{done.changed.height:,} alerts {said}, {len(done.refused):,} left as they are, {done.labels} labels"
    )
    context.add_output_metadata(
        {
            "operator": config.operator,
            "dry_run": config.dry_run,
            "alerts": records_table(done.changed.head(_MOST).select(_SHOWN).to_dicts()),
            "left_as_they_are": records_table([vars(r) for r in done.refused[:_MOST]]),
            "labels_written": done.labels,
        }
    )
    if not config.dry_run:
        publish_board(the_lake)


@dg.op(description="You have seen the alerts and care for them; their deadline is kept by that.")
def acknowledge(context: dg.OpExecutionContext, config: AlertsConfig, lake: LakeResource, clock: ClockResource) -> None:
    _work(context, lake, clock, config, "acknowledged")


@dg.op(description="The alerts were true and are dealt with. Writes a label: the models learn from it.")
def resolve(context: dg.OpExecutionContext, config: ResolveConfig, lake: LakeResource, clock: ClockResource) -> None:
    found = _value(config.found)
    _work(context, lake, clock, config, "resolved", failed=config.failed, found=found)


@dg.op(description="Nothing was wrong with the machines. Writes a label: the models learn from it.")
def call_false(context: dg.OpExecutionContext, config: AlertsConfig, lake: LakeResource, clock: ClockResource) -> None:
    _work(context, lake, clock, config, "false_positive")


@dg.op(name="mute_one", description="Tell nobody of a device or site while it is worked on.")
def mute_one(context: dg.OpExecutionContext, config: MuteConfig, lake: LakeResource, clock: ClockResource) -> None:
    now = clock.now
    starts_at = _moment(config.starts_at) if config.starts_at else now
    made, silenced = mute_alerts(
        lake.lake, made_by=config.operator, now=now, device_id=config.device, site_id=config.site, reason=config.reason,
        starts_at=starts_at, ends_at=starts_at + timedelta(hours=config.hours),
        repeats=_value(config.repeats) or "once",
        until=_moment(config.until) if config.until else None,
    )  # fmt: skip
    context.add_output_metadata(
        {
            "mute": records_table([made.mute]),
            "new": made.written,
            "alerts_silenced": silenced,
            "operator": config.operator,
        }
    )
    publish_board(lake.lake)


@dg.op(description="Score hours again and judge them again.", pool="model_scores")
def score_again(
    context: dg.OpExecutionContext,
    config: ReScoreConfig,
    lake: LakeResource,
    models: ModelsResource,
    clock: ClockResource,
) -> None:
    the_lake, registry, now = lake.lake, models.registry, clock.now
    rows: list[dict[str, Any]] = []
    hours = [floor_hour(_moment(config.first_hour)) + n * HOUR for n in range(config.hours)]
    for hour in hours:
        for model in _SETS[_value(config.models) or "hourly"]:
            report = score_hour(
                the_lake, registry, model, hour, now, config.devices or None, even_stale=config.even_stale
            )
            rows.append({"hour": hour_key(hour), "model": model, "rows": report.rows, "flagged": report.flagged})
            if not config.devices:
                context.log_event(_told(model, hour, rows[-1] | {"operator": config.operator}))
    changes: dict[str, int] = {}
    if config.alerts:
        alerting = Alerting(the_lake, registry)
        for hour in hours:
            for change, count in alerting.hour(hour, now).by_change.items():
                changes[change] = changes.get(change, 0) + count
        publish_board(the_lake)
    context.log.info(f"{sum(r['rows'] for r in rows):,} scores over {len(hours)} hours; changes of alerts: {changes}")
    context.add_output_metadata(
        {"operator": config.operator, "scores": records_table(rows), "alert_changes": counts_table(changes, "change")}
    )


def _told(model: str, hour: datetime, metadata: dict[str, Any]) -> dg.AssetMaterialization:
    """The asset's page shows that its hour was made again, by whom and how."""
    return dg.AssetMaterialization(asset_of(model), partition=hour_key(hour), metadata=metadata)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise dg.Failure(f"{text!r} is not a time in ISO 8601, like 2026-03-01T14:00") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _jobs() -> Iterator[dg.JobDefinition]:
    for name, op in (
        ("acknowledge_alerts", acknowledge),
        ("resolve_alerts", resolve),
        ("false_positive_alerts", call_false),
        ("mute", mute_one),
        ("re_score", score_again),
    ):
        graph = dg.GraphDefinition(name=name, node_defs=[op], description=op.description)
        yield graph.to_job(executor_def=dg.in_process_executor)


operator_jobs = list(_jobs())
