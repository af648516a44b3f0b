"""What the Dagster instance says failed: checks by their latest evaluation, runs nobody has repeated. Reads only."""

import json
import os
import warnings
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import dagster as dg

LOOK_BACK = timedelta(days=7)
_RECORDS = 1000


@dataclass(frozen=True)
class FailedCheck:
    asset: str
    check: str
    partition: str | None
    severe: bool
    at: datetime
    description: str

    @property
    def says(self) -> str:
        where = f" [{self.partition}]" if self.partition else ""
        return f"{self.asset}/{self.check}{where} at {self.at:%Y-%m-%d %H:%M}: {self.description or 'failed'}"


@dataclass(frozen=True)
class FailedRun:
    run_id: str
    job: str
    partition: str | None
    at: datetime

    @property
    def says(self) -> str:
        where = f" [{self.partition}]" if self.partition else ""
        return f"{self.job}{where} at {self.at:%Y-%m-%d %H:%M} (run {self.run_id[:8]})"


@dataclass
class InstanceStatus:
    unreadable: str | None = None
    failed_checks: list[FailedCheck] = field(default_factory=list)
    failed_runs: list[FailedRun] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def read_instance(now: datetime) -> InstanceStatus:
    """Ask the instance of DAGSTER_HOME. One that was never used is left alone: opening it would create it."""
    home = os.environ.get("DAGSTER_HOME")
    if not home:
        return InstanceStatus("DAGSTER_HOME is not set")
    if not Path(home).is_dir():
        return InstanceStatus(f"DAGSTER_HOME {home!r} is not there; `make dev` creates it")
    if not any(Path(home).iterdir()):
        return InstanceStatus(f"DAGSTER_HOME {home!r} is empty: nothing has run yet")
    try:
        import dagster as dg

        with dg.DagsterInstance.from_config(home) as instance:
            return InstanceStatus(None, _failed_checks(instance), _failed_runs(instance, now))
    except Exception as error:  # whatever storage it is configured with may raise its own
        first = (str(error).splitlines() or [""])[0]
        return InstanceStatus(f"the instance in {home!r} cannot be read ({type(error).__name__}: {first})")


def _failed_checks(instance: "dg.DagsterInstance") -> list[FailedCheck]:
    import dagster as dg

    wanted = dg.EventRecordsFilter(dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    with warnings.catch_warnings():
        # Deprecated, but its successors ask for the keys of the checks, which only the definitions know.
        warnings.simplefilter("ignore", DeprecationWarning)
        records = instance.get_event_records(wanted, limit=_RECORDS, ascending=False)
    seen: set[tuple[str, str, str | None]] = set()
    failed = []
    for record in records:
        event = record.event_log_entry.dagster_event
        if event is None:
            continue
        found: Any = event.asset_check_evaluation_data
        key = (found.asset_key.to_user_string(), found.check_name, getattr(found, "partition", None))
        if key in seen:
            continue
        seen.add(key)
        if not found.passed:
            at = datetime.fromtimestamp(record.event_log_entry.timestamp, UTC)
            failed.append(FailedCheck(*key, found.severity.value == "ERROR", at, (found.description or "")[:300]))
    return failed


def _failed_runs(instance: "dg.DagsterInstance", now: datetime) -> list[FailedRun]:
    """Of each job and partition the latest finished run, where it failed."""
    import dagster as dg

    ended = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
    records = instance.get_run_records(
        dg.RunsFilter(statuses=ended, created_after=now - LOOK_BACK), limit=_RECORDS, ascending=False
    )
    seen: set[str] = set()
    failed = []
    for record in records:
        run = record.dagster_run
        tags = run.tags
        partition = tags.get("dagster/partition")
        if partition is None and "dagster/asset_partition_range_start" in tags:
            first, last = (tags.get(f"dagster/asset_partition_range_{end}") for end in ("start", "end"))
            partition = f"{first}...{last}"
        assets = sorted(k.to_user_string() for k in run.asset_selection or ())
        key = json.dumps([run.job_name, partition, assets])
        if key in seen:
            continue
        seen.add(key)
        if run.status == dg.DagsterRunStatus.FAILURE:
            job = ", ".join(assets) if run.job_name.startswith("__") else run.job_name
            failed.append(
                FailedRun(run.run_id, job or run.job_name, partition, record.create_timestamp.astimezone(UTC))
            )
    return failed
