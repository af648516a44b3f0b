"""Runs whose process is gone: found by the process' number, and ended as failed, so that their pools are free again.

Dagster's own launcher cannot tell that a run's process was killed together with the code server, nor that one started
from a command line was killed. Such a run would stay STARTED, and hold its pool, until its time limit.
"""

import socket
from dataclasses import dataclass

import dagster as dg
import psutil

# Of a run that a command line started in its own process: on which machine. Elsewhere its process' number says nothing.
HOST = "refrig/host"
# Which code server was asked to start the run: Dagster's own launcher writes it; others look after their runs.
_LAUNCHED = ".dagster/grpc_info"
# A process younger than the run's first word has only got the number. Clocks are corrected by less than this.
_CLOCK_SLACK_S = 60.0
_GONE_STATUS = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)


@dataclass(frozen=True)
class Worker:
    """The process that a run said it was in, and when it said so (seconds since 1970)."""

    pid: int
    said_at: float


def this_host() -> str:
    return socket.gethostname()


def worker_of(instance: dg.DagsterInstance, run_id: str) -> Worker | None:
    """What the run told first: later ones are processes of its steps."""
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        event = entry.dagster_event
        told = event.engine_event_data.metadata.get("pid") if event is not None else None
        if told is not None and str(told.value).isdigit():
            return Worker(int(str(told.value)), entry.timestamp)
    return None


def is_gone(worker: Worker) -> bool:
    """Whether the process has ended. A younger one of the same number is another."""
    try:
        process = psutil.Process(worker.pid)
        return process.status() in _GONE_STATUS or process.create_time() > worker.said_at + _CLOCK_SLACK_S
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied:
        return False


def is_ours(run: dg.DagsterRun, location: str | None, host: str) -> bool:
    """Whether the run's process is, or was, where this is asked: a child of this code server, or on this machine."""
    if _LAUNCHED not in run.tags:
        return run.tags.get(HOST) == host
    origin = run.remote_job_origin
    return origin is not None and origin.repository_origin.code_location_origin.location_name == location


def lost(instance: dg.DagsterInstance, location: str | None, host: str) -> list[tuple[dg.DagsterRun, Worker]]:
    """Runs of this place that count as started and have no process any more."""
    started = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
    found = []
    for run in started:
        worker = worker_of(instance, run.run_id) if is_ours(run, location, host) else None
        if worker is not None and is_gone(worker):
            found.append((run, worker))
    return found


def end_lost(instance: dg.DagsterInstance, location: str | None, host: str) -> list[str]:
    """Mark the lost runs as failed; the daemon frees their pools and makes them again. Says which those were."""
    ended = []
    for run, worker in lost(instance, location, host):
        # It may have ended properly between the two looks: its last word comes before its process goes.
        now = instance.get_run_by_id(run.run_id)
        if now is not None and now.status == dg.DagsterRunStatus.STARTED:
            instance.report_run_failed(
                now, f"The run's process (pid {worker.pid}) is gone without a word: killed, or out of memory."
            )
            ended.append(f"{run.job_name} {run.run_id}")
    return ended


# On from the start, unlike the others: it starts nothing, and runs that are launched by hand are lost as well.
# It is evaluated by the code server, which is where the processes of runs are.
@dg.sensor(name="lost_runs", minimum_interval_seconds=30, default_status=dg.DefaultSensorStatus.RUNNING)
def lost_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """End runs as failed whose process is gone. Without it they would hold their pools until their time limit."""
    origin = context.code_location_origin
    ended = end_lost(context.instance, origin.location_name if origin else None, this_host())
    return dg.SkipReason(f"ended as failed: {', '.join(ended)}" if ended else "every run has its process")
