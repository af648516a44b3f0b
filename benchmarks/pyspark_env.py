"""The peer's own Python environment, made on demand, and running hours in it."""

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import run_child

HERE = Path(__file__).resolve().parent
ENVIRONMENT = HERE / ".venv-pyspark"
REQUIREMENTS = HERE / "requirements-pyspark.txt"
JOB = HERE / "pyspark_job.py"
JAVA_NEEDED = 17


class SparkUnavailableError(RuntimeError):
    """PySpark cannot be run here; the message says what is missing."""


class JavaMissingError(SparkUnavailableError):
    """No Java that Spark accepts."""


@dataclass(frozen=True)
class SparkRun:
    """Seconds by stage of each hour, in the order given, and the memory of Python and the JVM together."""

    seconds: list[dict[str, float]]
    peak_bytes: float


def require_java() -> None:
    home = os.environ.get("JAVA_HOME")
    java = f"{home}/bin/java" if home else shutil.which("java")
    if not java or not Path(java).exists():
        raise JavaMissingError(
            f"Spark needs Java {JAVA_NEEDED} or newer; there is no `java` on the PATH or in JAVA_HOME"
        )
    told = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "(\d+)', told)
    if not found or int(found.group(1)) < JAVA_NEEDED:
        raise JavaMissingError(f"Spark needs Java {JAVA_NEEDED} or newer; {java} says {told.splitlines()[:1]}")


def spark_python() -> Path:
    """The interpreter of the peer's environment; made on the first call and whenever its requirements change."""
    require_java()
    python = ENVIRONMENT / "bin" / "python"
    marker = ENVIRONMENT / ".requirements"
    wanted = REQUIREMENTS.read_text()
    with REQUIREMENTS.open() as lock:  # test workers and benchmarks may ask at the same time
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (python.exists() and marker.exists() and marker.read_text() == wanted):
            shutil.rmtree(ENVIRONMENT, ignore_errors=True)
            _make(python)
            marker.write_text(wanted)
    return python


def _make(python: Path) -> None:
    steps = (
        [sys.executable, "-m", "venv", str(ENVIRONMENT)],
        [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", str(REQUIREMENTS)],
    )
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SparkUnavailableError(f"the PySpark environment could not be made: {done.stderr.strip()[-500:]}")


def run_hours(hours: Sequence[Mapping[str, object]], work: Path, memory: str = "6g", jvm_options: str = "") -> SparkRun:
    """Run the job over the hours, one after the other in one Spark session."""
    python = spark_python()
    listing = work / "hours.json"
    listing.write_text(json.dumps(list(hours)))
    scratch = {"SPARK_LOCAL_DIRS": str(work / "spark"), "SPARK_LOCAL_IP": "127.0.0.1", "PYTHONPATH": ""}
    command = [python, JOB, "--hours", listing, "--memory", memory, f"--jvm-options={jvm_options}", "--json"]
    out, peak = run_child(command, environment=scratch)
    results = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    return SparkRun([result["seconds"] for result in results], peak)
