"""Schedules: the running hour, the closed hour and day, scores, freshness and upkeep. All off until switched on."""

import os
from datetime import timedelta

import dagster as dg

from refrig_assets.contracts.scoring import DAILY_HOUR, RULES_FALLBACK, SCORED_WINDOW_MIN
from refrig_assets.defs.jobs import (
    all_scores_job,
    canary_job,
    daily_job,
    digest_job,
    fallback_job,
    freshness_job,
    hourly_job,
    report_job,
    scores_job,
    train_monthly_job,
    train_weekly_job,
    upkeep,
)
from refrig_assets.defs.partitions import day_key, hour_key

# The demo switches everything on; elsewhere people do, in the UI.
SWITCHED_ON = os.environ.get("REFRIG_AUTOMATION", "") == "on"
STATUS = dg.DefaultScheduleStatus.RUNNING if SWITCHED_ON else dg.DefaultScheduleStatus.STOPPED


@dg.schedule(job=hourly_job, cron_schedule="*/5 * * * *", execution_timezone="UTC", default_status=STATUS)
def running_hour(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Refresh the running hour every five minutes."""
    tick = context.scheduled_execution_time
    return dg.RunRequest(run_key=f"running-{tick:%Y%m%dT%H%M}", partition_key=hour_key(tick))


@dg.schedule(job=hourly_job, cron_schedule="3 * * * *", execution_timezone="UTC", default_status=STATUS)
def closed_hour(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Make the hour that has just closed, once its last messages have arrived."""
    tick = context.scheduled_execution_time
    return dg.RunRequest(run_key=f"closed-{tick:%Y%m%dT%H}", partition_key=hour_key(tick - timedelta(hours=1)))


@dg.schedule(job=daily_job, cron_schedule="30 0 * * *", execution_timezone="UTC", default_status=STATUS)
def closed_day(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Make the windows and the quality row of the day that has just closed."""
    yesterday = context.scheduled_execution_time - timedelta(days=1)
    return dg.RunRequest(run_key=f"day-{yesterday:%Y%m%d}", partition_key=day_key(yesterday))


# After the running hour's refresh that follows the end of a window.
@dg.schedule(job=scores_job, cron_schedule="23,38,53 * * * *", execution_timezone="UTC", default_status=STATUS)
def running_hour_scores(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Score the windows of the running hour that have closed, so that scores are never an hour old."""
    tick = context.scheduled_execution_time
    return dg.RunRequest(run_key=f"running-scores-{tick:%Y%m%dT%H%M}", partition_key=hour_key(tick))


_OTHER_HOURS = ",".join(str(hour) for hour in range(24) if hour != DAILY_HOUR)


@dg.schedule(job=scores_job, cron_schedule=f"10 {_OTHER_HOURS} * * *", execution_timezone="UTC", default_status=STATUS)
def closed_hour_scores(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Score every window of the hour that has just closed and been made."""
    tick = context.scheduled_execution_time
    return dg.RunRequest(run_key=f"scores-{tick:%Y%m%dT%H}", partition_key=hour_key(tick - timedelta(hours=1)))


@dg.schedule(
    job=all_scores_job, cron_schedule=f"10 {DAILY_HOUR} * * *", execution_timezone="UTC", default_status=STATUS
)
def daily_scores(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """All four detectors over the hour before 03:00 UTC, when it has been made."""
    tick = context.scheduled_execution_time
    return dg.RunRequest(run_key=f"all-scores-{tick:%Y%m%d}", partition_key=hour_key(tick - timedelta(hours=1)))


@dg.schedule(job=canary_job, cron_schedule="40 3 * * *", execution_timezone="UTC", default_status=STATUS)
def daily_canary(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Compare versions that wait with their champions, over the hour that all models have just scored."""
    tick = context.scheduled_execution_time
    hour = tick.replace(hour=DAILY_HOUR, minute=0) - timedelta(hours=1)
    return dg.RunRequest(run_key=f"canary-{tick:%Y%m%d}", partition_key=hour_key(hour))


@dg.schedule(job=fallback_job, cron_schedule="12,27,42,57 * * * *", execution_timezone="UTC", default_status=STATUS)
def silent_models(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Judge the hour of the newest closed window by rules, should the models' scores be very stale."""
    tick = context.scheduled_execution_time
    hour = tick - timedelta(minutes=SCORED_WINDOW_MIN)
    return dg.RunRequest(
        run_key=f"fallback-{tick:%Y%m%dT%H%M}",
        partition_key=hour_key(hour),
        run_config={"ops": {RULES_FALLBACK: {"config": {"only_when_silent": True}}}},
    )


@dg.schedule(job=train_weekly_job, cron_schedule="0 4 * * 1", execution_timezone="UTC", default_status=STATUS)
def weekly_training(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Mondays: new versions of the detectors that score each hour, on all that is known of the days before."""
    yesterday = context.scheduled_execution_time - timedelta(days=1)
    return dg.RunRequest(run_key=f"train-weekly-{yesterday:%Y%m%d}", partition_key=day_key(yesterday))


@dg.schedule(job=train_monthly_job, cron_schedule="0 5 1 * *", execution_timezone="UTC", default_status=STATUS)
def monthly_training(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """On the first of the month: new versions of the detectors that score each day."""
    yesterday = context.scheduled_execution_time - timedelta(days=1)
    return dg.RunRequest(run_key=f"train-monthly-{yesterday:%Y%m%d}", partition_key=day_key(yesterday))


# After the closed hour's alerts have been judged.
@dg.schedule(job=report_job, cron_schedule="20 * * * *", execution_timezone="UTC", default_status=STATUS)
def hourly_report(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """The fleet's health in the hour that has just closed."""
    tick = context.scheduled_execution_time
    return dg.RunRequest(run_key=f"report-{tick:%Y%m%dT%H}", partition_key=hour_key(tick - timedelta(hours=1)))


@dg.schedule(job=digest_job, cron_schedule="45 0 * * *", execution_timezone="UTC", default_status=STATUS)
def closed_day_digest(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """The digest of the day that has just closed."""
    yesterday = context.scheduled_execution_time - timedelta(days=1)
    return dg.RunRequest(run_key=f"digest-{yesterday:%Y%m%d}", partition_key=day_key(yesterday))


freshness_schedule = dg.ScheduleDefinition(
    name="freshness_every_5_minutes",
    job=freshness_job,
    cron_schedule="*/5 * * * *",
    execution_timezone="UTC",
    default_status=STATUS,
    description="Judge how old the newest data of each table is.",
)
upkeep_schedule = dg.ScheduleDefinition(
    name="nightly_upkeep",
    job=upkeep,
    cron_schedule="15 2 * * *",
    execution_timezone="UTC",
    default_status=STATUS,
    description="Compact small files, drop raw past its retention, remove files no reader of the last week needs.",
)

schedules = [
    running_hour,
    closed_hour,
    closed_day,
    running_hour_scores,
    closed_hour_scores,
    daily_scores,
    daily_canary,
    silent_models,
    hourly_report,
    closed_day_digest,
    weekly_training,
    monthly_training,
    freshness_schedule,
    upkeep_schedule,
]
