"""Making the hours an import touched, by the same jobs a plant would run. Which hours is the caller's."""

import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from refrig_assets.cli.common import progress_bar

# As the Makefile has it.
DEFAULT_HOME = "data/dagster"
_HOURS_A_RUN = 24


def materialize(
    lake_uri: str, landing: Path, registry: Path, ranges: Sequence[tuple[datetime, datetime]]
) -> list[str]:  # fmt: skip
    """Run registry and hourly jobs over ranges of hours (first and last); returns the failed checks."""
    import dagster as dg

    from refrig_assets.definitions import defs
    from refrig_assets.defs.home import prepare_home
    from refrig_assets.defs.launch import run_job
    from refrig_assets.defs.resources import ClockResource, FilesResource, LakeResource

    files = FilesResource(landing_dir=str(landing), registry_file=str(registry), settle_seconds=0.0)
    resources = {"lake": LakeResource(uri=lake_uri), "files": files, "clock": ClockResource()}
    home = prepare_home(Path(os.environ.get("DAGSTER_HOME", DEFAULT_HOME)).absolute())
    failed: dict[str, None] = {}
    runs = list(_runs(ranges))
    with dg.DagsterInstance.from_config(str(home)) as instance, progress_bar("Raw, clean, features") as progress:
        if registry.exists():
            run_job(defs, "registry", instance, resources=resources, quiet=True)
        for number, (start, end) in enumerate(runs):
            progress(number, len(runs))
            result = run_job(defs, "hourly", instance, start=start, end=end, resources=resources, quiet=True)
            for check in result.get_asset_check_evaluations():
                if not check.passed:
                    failed[f"{check.asset_key.to_user_string()}/{check.check_name}: {check.description}"] = None
    return list(failed)


def _runs(ranges: Sequence[tuple[datetime, datetime]]) -> list[tuple[datetime, datetime]]:
    """[start, end) of runs of at most a day's hours."""
    runs = []
    for first, last in ranges:
        start, end = first, last + timedelta(hours=1)
        while start < end:
            stop = min(end, start + timedelta(hours=_HOURS_A_RUN))
            runs.append((start, stop))
            start = stop
    return runs
