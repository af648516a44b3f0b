"""The Dagster home: its folder, its dagster.yaml, and an instance initialised once, before any server opens it."""

import shutil
from pathlib import Path

import dagster as dg

INSTANCE_FILE = Path("dagster.yaml")
_OURS = Path(__file__).resolve().parents[2] / INSTANCE_FILE
# Where the package was installed without the project's folder: what must hold of any instance.
_LEAST = """telemetry: {enabled: false}
concurrency: {pools: {default_limit: 1}, runs: {max_concurrent_runs: 4}}
run_monitoring:
  enabled: true
  start_timeout_seconds: 180
  max_runtime_seconds: 7200
  poll_interval_seconds: 30
  free_slots_after_run_end_seconds: 60
run_retries: {enabled: true, max_retries: 1}
"""


def prepare_home(home: Path, *, renew: bool = False) -> Path:
    """Make a Dagster home ready. Two processes that open a fresh one at once crash in its migrations: this is first.

    A dagster.yaml that is there may be the plant's own and stays, unless it is to be renewed from the project's.
    """
    home.mkdir(parents=True, exist_ok=True)
    settings = home / INSTANCE_FILE.name
    if renew or not settings.exists():
        source = next((f for f in (INSTANCE_FILE, _OURS) if f.is_file()), None)
        if source is not None and not (settings.exists() and source.samefile(settings)):
            shutil.copyfile(source, settings)
        elif not settings.exists():
            settings.write_text(_LEAST)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.get_runs(limit=1)
    return home.resolve()


if __name__ == "__main__":
    import sys

    print(f"DAGSTER_HOME is {prepare_home(Path(sys.argv[1]), renew=True)}")
