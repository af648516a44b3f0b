"""Where a notifier keeps what it must not forget, and the lease that lets one at a time send. Local to a machine."""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from refrig_assets.lake import Lake
from refrig_assets.lake.files import is_local


def notify_home(lake: Lake) -> Path:
    """In the lake if that is local, unless REFRIG_NOTIFY_STATE names another place."""
    told = os.environ.get("REFRIG_NOTIFY_STATE")
    if told:
        return Path(told)
    if is_local(lake.uri):
        return Path(lake.uri) / "_notify"
    return Path("data/notify") / hashlib.sha256(lake.uri.encode()).hexdigest()[:12]


@contextmanager
def lease(home: Path) -> Iterator[bool]:
    """Whether we are the one who sends. The kernel lets go of it when the process ends, however it ends.

    No clock is asked: a lease that runs out could run out while a message is being sent.
    """
    home.mkdir(parents=True, exist_ok=True)
    handle = os.open(home / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        os.truncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        yield True
    finally:
        os.close(handle)


def holder(home: Path) -> int | None:
    """The process that sends now, if one does."""
    try:
        handle = os.open(home / "lock", os.O_RDWR)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        said = os.read(handle, 32).decode(errors="replace").strip()
        return int(said) if said.isdigit() else -1
    else:
        return None
    finally:
        os.close(handle)
