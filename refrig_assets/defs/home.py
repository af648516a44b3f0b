"""The Dagster home: its folder, its dagster.yaml, and an instance initialised once, before any server opens it."""

import shutil
from pathlib import Path

import dagster as dg

INSTANCE_FILE = Path("dagster.yaml")


def prepare_home(home: Path) -> Path:
    """Make a Dagster home ready. Two processes that open a fresh one at once crash in its migrations: this is first."""
    home.mkdir(parents=True, exist_ok=True)
    if INSTANCE_FILE.is_file():
        shutil.copyfile(INSTANCE_FILE, home / INSTANCE_FILE.name)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.get_runs(limit=1)
    return home.resolve()


if __name__ == "__main__":
    import sys

    print(f"DAGSTER_HOME is {prepare_home(Path(sys.argv[1]))}")
