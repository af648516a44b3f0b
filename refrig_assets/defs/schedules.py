"""Schedules: the running hour, the closed hour, the closed day, freshness and upkeep. All off until switched on."""

import os
from datetime import timedelta

import dagster as dg

from refrig_assets.defs.jobs import daily_job, freshness_job, hourly_job, upkeep
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

schedules = [running_hour, closed_hour, closed_day, freshness_schedule, upkeep_schedule]
