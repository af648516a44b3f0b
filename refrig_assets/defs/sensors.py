"""Sensors: files that arrived, hours made stale, a registry or alerts that changed, news of the stream. Off at first.

Each but the news asks for what is out of date, with a run key made of the reason: the same need is asked for once.
"""

from datetime import datetime, timedelta

import dagster as dg

from refrig_assets.alerting.deadlines import escalations
from refrig_assets.contracts import ALERT_BOARD, DEVICE_ALERTS
from refrig_assets.contracts.scoring import SCORE_QUALITY
from refrig_assets.defs.asked import MOST_ATTEMPTS, RANGE_END, RANGE_START, Memory, asked_of, standing
from refrig_assets.defs.jobs import (
    alert_board_job,
    alerts_job,
    clean_job,
    daily_job,
    features_job,
    hourly_job,
    registry_job,
    score_quality_job,
    trends_job,
)
from refrig_assets.defs.lost_runs import lost_runs
from refrig_assets.defs.notify import notify_sensors
from refrig_assets.defs.partitions import day_key, hour_key, ranges
from refrig_assets.defs.resources import ClockResource, FilesResource, LakeResource
from refrig_assets.defs.schedules import SWITCHED_ON
from refrig_assets.defs.stream import Cursor, stream_reports
from refrig_assets.lake import Lake
from refrig_assets.pipeline.pending import Waiting, stale, stale_days, stale_trends, unlanded
from refrig_assets.pipeline.proxies import scored_since
from refrig_assets.pipeline.published import board_is_current
from refrig_assets.pipeline.registry import hours_to_release
from refrig_assets.pipeline.sources import content_of
from refrig_assets.pipeline.stream_reports import read_heartbeat
from refrig_assets.pipeline.streamed import account_streamed

# A run starts in seconds but holds the tables' pools: very long ranges are cut.
HOURS_A_RUN = 24 * 7

STATUS = dg.DefaultSensorStatus.RUNNING if SWITCHED_ON else dg.DefaultSensorStatus.STOPPED


def range_requests(job_name: str, waiting: Waiting) -> list[dg.RunRequest]:
    """One run for each stretch of neighbouring hours."""
    requests = []
    for first, last in ranges(list(waiting.hours)):
        start = first
        while start <= last:
            stop = min(last, start + timedelta(hours=HOURS_A_RUN - 1))
            hours = [h for h in waiting.hours if start <= h <= stop]
            requests.append(
                dg.RunRequest(
                    run_key=f"{job_name}-{waiting.mark(hours)}",
                    job_name=job_name,
                    tags={
                        RANGE_START: hour_key(start),
                        RANGE_END: hour_key(stop),
                        "reason": waiting.hours[hours[0]][:200].replace(",", " "),
                    },
                )
            )
            start = stop + timedelta(hours=1)
    return requests


@dg.sensor(jobs=[hourly_job], minimum_interval_seconds=30, default_status=STATUS)
def landing_files_arrived(
    context: dg.SensorEvaluationContext, lake: LakeResource, files: FilesResource, clock: ClockResource
) -> dg.SensorResult | dg.SkipReason:
    """Land the hours in which files have arrived that the landing log does not know."""
    waiting = unlanded(lake.lake, files.landing, clock.now, timedelta(seconds=files.settle_seconds))
    if not waiting.hours:
        return dg.SkipReason(f"no new files in {files.landing_dir}")
    return dg.SensorResult(run_requests=range_requests(hourly_job.name, waiting))


@dg.sensor(jobs=[clean_job, features_job, trends_job, daily_job], minimum_interval_seconds=60, default_status=STATUS)
def late_data(
    context: dg.SensorEvaluationContext, lake: LakeResource, clock: ClockResource
) -> dg.SensorResult | dg.SkipReason:
    """Make again just those hours and days that late rows, late files or duplicates have made stale."""
    account_streamed(lake.lake)
    clean, features = stale(lake.lake, clock.now)
    closed = clock.now.replace(minute=0, second=0, microsecond=0)
    clean = Waiting({h: why for h, why in clean.hours.items() if h < closed})
    # A clean run makes the hour's windows, too.
    features = Waiting({h: why for h, why in features.hours.items() if h < closed and h not in clean.hours})
    requests = [*range_requests(clean_job.name, clean), *range_requests(features_job.name, features)]
    days = stale_days(lake.lake, clock.now)
    if not requests:
        requests += range_requests(trends_job.name, stale_trends(lake.lake, clock.now))
        requests += [
            dg.RunRequest(run_key=f"daily-{days.mark([d])}", job_name=daily_job.name, partition_key=day_key(d))
            for d in days.hours
        ]
    return dg.SensorResult(run_requests=requests) if requests else dg.SkipReason("every hour is up to date")


@dg.sensor(jobs=[registry_job, clean_job], minimum_interval_seconds=60, default_status=STATUS)
def registry_changed(
    context: dg.SensorEvaluationContext, lake: LakeResource, files: FilesResource
) -> dg.SensorResult | dg.SkipReason:
    """Read a changed registry file; release quarantined rows of devices that are known now."""
    release = Waiting({h: f"{n} quarantined rows of known devices" for h, n in hours_to_release(lake.lake).items()})
    requests = range_requests(clean_job.name, release)
    if not files.registry.is_file():
        return dg.SensorResult(run_requests=requests) if requests else dg.SkipReason(f"no file {files.registry_file}")
    content = content_of(files.registry).sha256
    if content != context.cursor:
        requests.append(dg.RunRequest(run_key=f"registry-{content[:16]}", job_name=registry_job.name))
    if not requests:
        return dg.SkipReason("the registry file has not changed")
    return dg.SensorResult(run_requests=requests, cursor=content)


@dg.sensor(
    name="stream_reports",
    minimum_interval_seconds=30,
    default_status=STATUS,
)
def stream_reported(
    context: dg.SensorEvaluationContext, lake: LakeResource, clock: ClockResource
) -> dg.SensorResult | dg.SkipReason:
    """Report what the stream landed and raised since the last time, and how it is doing."""
    cursor = Cursor.of(context.cursor)
    events, reached = stream_reports(lake.lake, read_heartbeat(lake.stream_home), cursor, clock.now)
    if not events and reached == cursor:
        return dg.SkipReason("nothing new from the stream")
    return dg.SensorResult(asset_events=events, cursor=reached.to_json())


@dg.sensor(jobs=[alert_board_job], minimum_interval_seconds=60, default_status=STATUS)
def alert_log_changed(
    context: dg.SensorEvaluationContext, lake: LakeResource, clock: ClockResource
) -> dg.SensorResult | dg.SkipReason:
    """Publish the alert board when the log has changed, or when an alert's time at its level is up."""
    the_lake = lake.lake
    current = board_is_current(the_lake)
    late = escalations(the_lake.table(ALERT_BOARD).read(), clock.now).height if current else 0
    if current and not late:
        return dg.SkipReason("the board tells all that the log does")
    reason = f"{late} alerts were not taken in time" if late else "the log has changed"
    key = f"board-{the_lake.table(DEVICE_ALERTS).version}-{clock.now:%Y%m%dT%H%M}"
    return dg.SensorResult(
        run_requests=[dg.RunRequest(run_key=key, job_name=alert_board_job.name, tags={"reason": reason})]
    )


def _of_new_scores(
    context: dg.SensorEvaluationContext, lake: Lake, now: datetime, job: str, asset: str
) -> dg.SensorResult:
    """Asks for the asset's hours that were scored since the last time, and again for those whose run failed.

    The first time for those nobody has made.
    """
    memory = Memory.of(context.cursor)
    news = scored_since(lake, memory.upto)
    made = set() if context.cursor else context.instance.get_materialized_partitions(dg.AssetKey(asset))
    hours = [h for h in news.hours if hour_key(h) not in made]
    waiting = Waiting(dict.fromkeys(hours, f"scored up to version {news.upto} of model_scores"))
    found = standing(context.instance, job, memory, asked_of(range_requests(job, waiting)), now)
    for span in found.given_up:
        context.log.error(f"{job} of {span} failed {MOST_ATTEMPTS} times and is not asked for again")
    cursor = Memory(news.upto, {**found.waits, **found.due}).to_json()
    if not found.due:
        waited = f"{len(found.waits)} runs are waited for"
        return dg.SensorResult(skip_reason=dg.SkipReason(f"no new scores; {waited}"), cursor=cursor)
    return dg.SensorResult(run_requests=[a.request(job, key) for key, a in found.due.items()], cursor=cursor)


@dg.sensor(jobs=[score_quality_job], minimum_interval_seconds=60, default_status=STATUS)
def scores_changed(context: dg.SensorEvaluationContext, lake: LakeResource, clock: ClockResource) -> dg.SensorResult:
    """Judge the quality of the hours that were scored since the last time, by whomever."""
    return _of_new_scores(context, lake.lake, clock.now, score_quality_job.name, SCORE_QUALITY.name)


@dg.sensor(jobs=[alerts_job], minimum_interval_seconds=30, default_status=STATUS)
def scores_to_alert(context: dg.SensorEvaluationContext, lake: LakeResource, clock: ClockResource) -> dg.SensorResult:
    """Make the alerts of hours that were scored since the last time, late or again, by whomever."""
    return _of_new_scores(context, lake.lake, clock.now, alerts_job.name, DEVICE_ALERTS.name)


def _switch() -> dg.AutomationConditionSensorDefinition:
    return dg.AutomationConditionSensorDefinition(
        "automation",
        target=dg.AssetSelection.all(),
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Acts on the assets' automation conditions. An alternative to the schedules: use one or the other.",
    )


sensors = [
    landing_files_arrived,
    late_data,
    registry_changed,
    stream_reported,
    alert_log_changed,
    scores_changed,
    scores_to_alert,
    lost_runs,
    *notify_sensors,
    _switch(),
]
