"""The stream's peer: Flink's own Python environment, made on demand, and running the rules in it."""

import fcntl
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import run_child
from benchmarks.pyspark_env import JavaMissingError, require_java

HERE = Path(__file__).resolve().parent
ENVIRONMENT = HERE / ".venv-flink"
REQUIREMENTS = HERE / "requirements-flink.txt"
JOB = HERE / "flink_job.py"
MEMORY = "6g"


class FlinkUnavailableError(RuntimeError):
    """Flink cannot be run here; the message says what is missing."""


@dataclass(frozen=True)
class FlinkRun:
    """What the job told, where its results are, and the memory of Python and the JVM together."""

    told: dict[str, Any]
    alerts: Path
    peak_bytes: float


def installed() -> bool:
    """Whether the environment is there as wanted; nothing is downloaded to find out."""
    marker = ENVIRONMENT / ".requirements"
    return marker.exists() and marker.read_text() == REQUIREMENTS.read_text()


def flink_python() -> Path:
    """The interpreter of the peer's environment; made on the first call and whenever its requirements change."""
    try:
        require_java()
    except JavaMissingError as problem:
        raise FlinkUnavailableError(f"Flink needs the same Java: {problem}") from problem
    with REQUIREMENTS.open() as lock:  # test workers and benchmarks may ask at the same time
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not installed():
            shutil.rmtree(ENVIRONMENT, ignore_errors=True)
            _make()
            (ENVIRONMENT / ".requirements").write_text(REQUIREMENTS.read_text())
    return ENVIRONMENT / "bin" / "python"


def _make() -> None:
    python = str(ENVIRONMENT / "bin" / "python")
    steps = (
        [sys.executable, "-m", "venv", str(ENVIRONMENT)],
        [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", str(REQUIREMENTS)],
    )
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, check=False)
        if done.returncode:
            raise FlinkUnavailableError(f"the Flink environment could not be made: {done.stderr.strip()[-500:]}")


def run_flink(lines: Path, registry: Path, out: Path) -> FlinkRun:
    """The four rules over the NDJSON files of a folder, with the limits of a registry (a Parquet file)."""
    import polars as pl

    python = flink_python()
    out.mkdir(parents=True)
    limits = out / "registry.csv"  # Flink reads Parquet only with a JAR that PyPI does not have
    wanted = ("device_id", "current_threshold_a", "vibration_baseline_mm_s", "pressure_drop_fraction")
    rows = pl.read_parquet(registry).filter(pl.col("status") == "active")
    rows.select(*wanted, "temperature_rise_c_per_min").write_csv(limits, include_header=False, null_value="null")
    command: list[str | Path] = [python, JOB, "--lines", lines, "--registry", limits, "--out", out]
    memory = {"JVM_ARGS": f"-Xmx{MEMORY} -XX:+UseParallelGC", "PYTHONPATH": ""}  # throughput, not short pauses
    text, peak = run_child(command, environment=memory)
    return FlinkRun(json.loads(text.splitlines()[-1]), out / "alerts", peak)
