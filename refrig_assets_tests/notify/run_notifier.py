"""A notifier in a process of its own, which watches until it is killed."""

import multiprocessing
import threading
from multiprocessing.process import BaseProcess
from pathlib import Path

import apprise  # noqa: F401 (loaded once for all: what is killed is the work, not the start)

from refrig_assets.lake import Lake
from refrig_assets.notify.notifier import Notifier
from refrig_assets_tests.notify.makers import Plant


def watch(lake: str, routes: str, poll_s: float) -> None:
    Notifier(Lake(lake), Path(routes), environment={}).watch(threading.Event(), poll_s)


def start(plant: Plant, poll_s: float = 0.02) -> BaseProcess:
    """Forked from a server that has loaded what it takes, and nothing else."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    process = context.Process(target=watch, args=(plant.lake.uri, str(plant.routes), poll_s), daemon=True)
    process.start()
    return process
