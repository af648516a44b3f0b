"""Running jobs over ranges of partitions from Python: what the demo, the import and tests use instead of the UI."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import dagster as dg

from refrig_assets.defs.asked import RANGE_END, RANGE_START
from refrig_assets.defs.lost_runs import HOST, this_host
from refrig_assets.defs.partitions import day_key, hour_key

# A long backfill is no hanging run: the instance's limit is for what the daemon starts.
_LIMIT = {"dagster/max_runtime_seconds": str(24 * 3600)}
_ONLY_ERRORS = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def run_job(
    definitions: dg.Definitions,
    job_name: str,
    instance: dg.DagsterInstance,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    resources: Mapping[str, Any] | None = None,
    run_config: Mapping[str, Any] | None = None,
    raise_on_error: bool = True,
    quiet: bool = False,
    assets: Sequence[str] | None = None,
    run_id: str | None = None,
) -> dg.ExecuteInProcessResult:
    """Run a job (of it only `assets`) in this process, over the partitions of [start, end) if it has any, as one run.

    Who wants to listen to the run gives it an identity beforehand.
    """
    job = definitions.resolve_job_def(job_name)
    if assets is not None:
        wanted = {dg.AssetKey(a) for a in assets}
        # Named, as a selection of assets alone would take checks that the job leaves out.
        checks = {c for c in job.asset_layer.asset_graph.asset_check_keys if c.asset_key in wanted}
        job = job.get_subset(asset_selection=wanted, asset_check_selection=checks)
    tags = {HOST: this_host(), **_LIMIT}
    if start is not None and end is not None and job.partitions_def is not None:
        daily = isinstance(job.partitions_def, dg.DailyPartitionsDefinition)
        key, step = (day_key, timedelta(days=1)) if daily else (hour_key, timedelta(hours=1))
        tags |= {RANGE_START: key(start), RANGE_END: key(max(start, end - step))}
    return job.execute_in_process(
        instance=instance,
        tags=tags,
        resources=resources,
        run_config={**(_ONLY_ERRORS if quiet else {}), **(run_config or {})},
        raise_on_error=raise_on_error,
        run_id=run_id,
    )
