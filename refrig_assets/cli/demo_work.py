"""What the demo's helping processes do: the jobs that a plant would run, each in the process that it was sent to.

A helper keeps its Dagster instance from call to call, tells of each hour it is done with, and ends with its parent.
"""

import os
import re
import signal
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import dagster as dg

# What the assets log when they are done with a partition: "… (3/84)".
_DONE = re.compile(r"\((\d+)/\d+\)$")
_LANDED = ("raw_sensor_readings", "dead_letter", "clean_sensor_readings", "quarantine_sensor_readings")
_WINDOWS = ("device_features", "device_trends")
_RELEASED_BY = "demo"
# A third of the windows that two weeks of the usual demo hold: more make its models no better and take twice as long.
_TRAINING_ROWS = 150_000
_HOUR = timedelta(hours=1)
# What libraries that bring threads of their own ask, as they are loaded, how many they may have.
_THREADS = ("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
News = tuple[str, int]
"""a stage, and how many more of its hours are done"""
_told: dict[str, "SimpleQueue[News]"] = {}


@dataclass
class Done:
    """What became of a call: seconds it took by the clock and of the processors, and each check's last word."""

    seconds: float = 0.0
    busy: float = 0.0
    checks: list[dict[str, Any]] = field(default_factory=list)


def begin(environment: Mapping[str, str], news: "SimpleQueue[News]", parent: Connection) -> None:
    """A helper's first act. Ctrl-C is its parent's to answer; when the parent goes, however, it goes too."""
    os.environ.update(environment)
    for name in _THREADS:
        os.environ.setdefault(name, str(_threads()))
    from refrig_assets.cli.demo_books import BATCH_SIZE, quick_books

    os.environ.update(BATCH_SIZE)
    quick_books()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _told["news"] = news
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _threads() -> int:
    """A helper's share of the processors: pools that think all are theirs spend a third of these waiting for turns."""
    return max(1, (os.cpu_count() or 1) // 3)


def _end_with(parent: Connection) -> None:
    process = parent_process()
    wait([parent, *([process.sentinel] if process else [])])
    os._exit(1)


# -- calls -------------------------------------------------------------------------------------------------------------


def prepare() -> None:
    """The Dagster home, before anybody opens it."""
    from refrig_assets.defs.home import prepare_home

    prepare_home(_home(), renew=True)


def warm_up() -> None:
    """All that takes time to import, while there is nothing to do yet."""
    from refrig_assets.definitions import defs

    defs.resolve_job_def("hourly")


def register() -> Done:
    """The device registry, from its file."""
    return _run("land and clean", "registry")


def land(start: datetime, end: datetime) -> Done:
    return _run("land and clean", "hourly", start, end, _LANDED)


def windows(start: datetime, end: datetime) -> Done:
    return _run("windows and trends", "hourly", start, end, _WINDOWS)


def train(end: datetime) -> Done:
    """All four models on what there is before `end`, each released: the first has no other to be compared with."""
    from refrig_assets.contracts.modelling import TRAINING_DATA
    from refrig_assets.contracts.scoring import DETECTORS

    sample = {"ops": {TRAINING_DATA.name: {"config": {"max_rows": _TRAINING_ROWS}}}}
    done = _run("train", "train_all", end - timedelta(days=1), end, config=sample)
    registry = _models()
    for model_id in DETECTORS:
        version = registry.aliases(model_id)["staging"]
        registry.promote(model_id, version, "released", by=_RELEASED_BY, now=_now())
    return done


def score(start: datetime, end: datetime) -> Done:
    """The hourly models every hour, the daily ones at theirs."""
    from refrig_assets.contracts.scoring import DAILY_DETECTORS, DAILY_HOUR
    from refrig_assets.defs.scoring import asset_of

    done = _run("score", "scores", start, end, config=_even_stale(_hourly_scores()))
    daily = [asset_of(m) for m in DAILY_DETECTORS]
    hour = start
    while hour < end:
        if (hour.hour + 1) % 24 == DAILY_HOUR:
            _add(done, _run("score", "scores_all", hour, hour + _HOUR, daily, _even_stale(daily)))
        hour += _HOUR
    return done


def alert(start: datetime, end: datetime) -> Done:
    return _run("alert", "alerts", start, end)


def days(start: datetime, end: datetime) -> Done:
    """Day windows and the days' data quality; they need no more than clean rows."""
    return _run("days", "daily", start.replace(hour=0), end)


def close(end: datetime) -> Done:
    """What is made once, at the end: the board, yesterday's digest, and of the last day quality, limits, reports."""
    last_day = end - timedelta(days=1)
    done = _run("close", "publish_alerts")
    for job in ("limits", "judge_scores"):
        _add(done, _run("close", job, last_day, end))
    _add(done, _run("close", "digest", last_day.replace(hour=0), end))
    return _add(done, _run("close", "report", end - 3 * _HOUR, end))


def live_hour(hour: datetime) -> Done:
    """The hour that is running: from what the stream landed to the board, which reconciles what both paths say."""
    end = hour + _HOUR
    done = _run("live", "hourly", hour, end)
    _add(done, _run("live", "scores", hour, end, config=_even_stale(_hourly_scores())))
    _add(done, _run("live", "alerts", hour, end))
    _add(done, _run("live", "publish_alerts"))
    return _add(done, _run("live", "report", hour, end))


# -- how ---------------------------------------------------------------------------------------------------------------


def _home() -> Path:
    return Path(os.environ["DAGSTER_HOME"])


@cache
def _instance() -> "dg.DagsterInstance":
    from refrig_assets.cli.demo_books import quick_instance

    return quick_instance(_home())


def _models() -> Any:
    from refrig_assets.models.registry import Registry

    return Registry.from_environment()


def _now() -> datetime:
    from refrig_assets.cli.common import now

    return now()


def _hourly_scores() -> list[str]:
    from refrig_assets.contracts.scoring import HOURLY_DETECTORS
    from refrig_assets.defs.scoring import asset_of

    return [asset_of(m) for m in HOURLY_DETECTORS]


def _even_stale(assets: Sequence[str]) -> dict[str, Any]:
    return {"ops": {asset: {"config": {"even_stale": True}} for asset in assets}}


def _run(
    stage: str, job: str, start: datetime | None = None, end: datetime | None = None,
    assets: Sequence[str] | None = None, config: Mapping[str, Any] | None = None,
) -> Done:  # fmt: skip
    """One run of a job, over the hours (days) from start to end; a failed step is an error here."""
    from refrig_assets.definitions import defs
    from refrig_assets.defs.launch import run_job

    begun, busy, run_id = time.perf_counter(), time.process_time(), str(uuid.uuid4())
    _instance().add_event_listener(run_id, lambda entry: _tell(stage, entry))
    result = run_job(
        defs, job, _instance(), start=start, end=end, assets=assets, run_config=config, run_id=run_id, quiet=True
    )
    checks = [_check(c) for c in result.get_asset_check_evaluations()]
    return Done(time.perf_counter() - begun, time.process_time() - busy, checks)


def _tell(stage: str, entry: "dg.EventLogEntry") -> None:
    step_done = entry.dagster_event is not None and entry.dagster_event.is_step_success
    if (stage == "train" and step_done) or _DONE.search(entry.user_message or ""):
        _told["news"].put((stage, 1))


def _check(found: "dg.AssetCheckEvaluation") -> dict[str, Any]:
    name = f"{found.asset_key.to_user_string()}/{found.check_name}"
    return {"check": name, "passed": found.passed, "severity": found.severity.value, "says": found.description}


def _add(done: Done, more: Done) -> Done:
    done.seconds += more.seconds
    done.busy += more.busy
    done.checks += more.checks
    return done
