"""Running a piece of work in a fresh process, so that its memory is its own, and what it reports back."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

PROJECT = Path(__file__).resolve().parent.parent


class ChildError(RuntimeError):
    """A measured process did not end well; the message holds the end of what it said."""


def run_child(command: Sequence[str | Path], *, environment: dict[str, str] | None = None) -> tuple[str, float]:
    """Standard output, and the highest memory in bytes of the process and its children together, polled."""
    process = subprocess.Popen(
        [str(part) for part in command],
        cwd=PROJECT,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    peak = [0.0]
    watcher = threading.Thread(target=_watch, args=(process, peak), daemon=True)
    watcher.start()
    out, err = process.communicate()
    watcher.join()
    if process.returncode:
        raise ChildError(f"{Path(command[0]).name} ended with {process.returncode}:\n{err[-3000:]}")
    return out, peak[0]


def run_module(module: str, *arguments: str | Path) -> dict[str, Any]:
    """What `python -m module …` reports as JSON on its last line."""
    out, _ = run_child([sys.executable, "-m", module, *arguments])
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


def own_peak_bytes() -> int:
    """Highest memory of this process since it began.

    Not ru_maxrss where it can be helped: on Linux that starts from the parent's memory at the fork.
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) * 1024


def _watch(process: "subprocess.Popen[str]", peak: list[float]) -> None:
    while process.poll() is None:
        peak[0] = max(peak[0], _tree_bytes(process.pid))
        time.sleep(0.1)


def _tree_bytes(pid: int) -> float:
    total = 0.0
    try:
        for member in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
            total += member.memory_info().rss
    except psutil.NoSuchProcess:
        pass
    return total
