"""One stream a lake: a lock that the kernel lets go of when the last process of a stream has ended. Local only."""

import fcntl
import os
from pathlib import Path


class AlreadyRunningError(RuntimeError):
    """Another stream runs on this lake."""


class StreamLock:
    """Held by the supervisor and, through the inherited handle, by its workers: none of an earlier start is left."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.handle = -1

    def take(self) -> "StreamLock":
        self._path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(handle, 64).decode(errors="replace").strip() or "unknown"
            os.close(handle)
            raise AlreadyRunningError(
                f"another stream runs on this lake (process {holder}, lock {self._path}). One lake has one stream: "
                "stop the other (SIGTERM), or give this one its own --lake."
            ) from error
        os.set_inheritable(handle, True)
        os.truncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        self.handle = handle
        return self

    def let_go(self) -> None:
        if self.handle >= 0:
            os.close(self.handle)
            self.handle = -1
