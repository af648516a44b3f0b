"""A small HTTP server in a thread: /metrics for Prometheus, /health for whoever restarts or warns, /status for people.
Whether the stream is well is decided here, from its own report; service levels of the tables are checked elsewhere.
"""

import errno
import json
import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from streaming.metrics import CONTENT_TYPE, metrics_page
from streaming.settings import StreamSettings
from streaming.status import Status

_LOG = logging.getLogger(__name__)
_STUCK_S = 120.0  # raw rows are to be visible within two minutes where the stream runs
_CLIENT_S = 10.0

Report = Callable[[datetime], dict[str, Any]]
Page = tuple[int, str, bytes]


class HealthPortError(RuntimeError):
    """The port cannot be listened on; the message says what to do."""


class Wellness:
    """Why the stream is not well, seen over time: nothing, or sentences."""

    def __init__(self, stuck_s: float = _STUCK_S) -> None:
        self._stuck_s = stuck_s
        self._commit: str | None = None
        self._waits_since: datetime | None = None
        self._lock = threading.Lock()

    def troubles(self, report: dict[str, Any], now: datetime) -> list[str]:
        found = []
        state, why = report["state"], report["why"]
        if state != "running":
            found.append(f"the stream is {state.replace('_', ' ')}{f': {why}' if why else ''}")
        waits = {name: part["lag"] for name, part in report["partitions"].items() if part["lag"] > 0}
        waited = self._waited(bool(waits), report["last_commit_at"], now)
        if waited > self._stuck_s:
            most = max(waits, key=waits.__getitem__)
            found.append(f"{len(waits)} partitions wait, {most} the longest queue, and no commit for {waited:.0f} s")
        return found

    def _waited(self, waits: bool, commit: str | None, now: datetime) -> float:
        """Seconds since something waits without a commit."""
        with self._lock:
            if not waits:
                self._waits_since = None
            elif self._waits_since is None or commit != self._commit:
                self._waits_since = now
            self._commit = commit
            return (now - self._waits_since).total_seconds() if self._waits_since else 0.0


class HealthServer:
    """Listens from construction on, serves while entered as a context. Port 0 is any free one."""

    def __init__(self, status: Status, settings: StreamSettings, port: int, host: str = "127.0.0.1") -> None:
        pages = _Pages(status, lambda now: status.report(settings, now))
        try:
            self._server = _Server((host, port), pages.handler())
        except (OSError, OverflowError) as error:
            raise HealthPortError(_refused(host, port, error)) from error
        self.host = host
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)

    def __enter__(self) -> "HealthServer":
        self._thread.start()
        _LOG.info("health and metrics at http://%s:%s/health, /metrics, /status", self.host, self.port)
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


def serve(
    status: Status, settings: StreamSettings, host: str, port: int | None
) -> AbstractContextManager[HealthServer | None]:
    """Serves while entered; without a port nothing is served."""
    return nullcontext() if port is None else HealthServer(status, settings, port, host)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a client that keeps its connection must not hold up the end

    def handle_error(self, request: Any, client_address: Any) -> None:
        _LOG.debug("a health client went away: %s", client_address, exc_info=True)


class _Pages:
    def __init__(self, status: Status, report: Report) -> None:
        self._status = status
        self._report = report
        self._wellness = Wellness()

    def page(self, path: str) -> Page:
        now = datetime.now(UTC)
        if path == "/metrics":
            return 200, CONTENT_TYPE, metrics_page(self._status)
        if path == "/status":
            return _json(200, self._report(now))
        if path == "/health":
            report = self._report(now)
            troubles = self._wellness.troubles(report, now)
            return _json(503 if troubles else 200, {"well": not troubles, "why": troubles, "state": report["state"]})
        return _json(404, {"why": f"there is no {path}", "pages": ["/health", "/metrics", "/status"]})

    def handler(self) -> type[BaseHTTPRequestHandler]:
        pages = self

        class Handler(BaseHTTPRequestHandler):
            timeout = _CLIENT_S

            def do_GET(self) -> None:
                self._send(with_body=True)

            def do_HEAD(self) -> None:
                self._send(with_body=False)

            def _send(self, *, with_body: bool) -> None:
                try:
                    code, kind, body = pages.page(self.path.partition("?")[0])
                except Exception as error:  # whatever is wrong with a page, the one who asks is to know
                    _LOG.exception("the page %s could not be made", self.path)
                    code, kind, body = _json(500, {"well": False, "why": [f"{type(error).__name__}: {error}"]})
                self.send_response(code)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if with_body:
                    self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                _LOG.debug(format, *args)

        return Handler


def _json(code: int, body: dict[str, Any]) -> Page:
    return code, "application/json", json.dumps(body, indent=1).encode() + b"\n"


def _refused(host: str, port: int, error: OSError | OverflowError) -> str:
    what = f"health and metrics cannot be served at {host}:{port}"
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return f"{what}: the port is in use. Give another one, or 0 for any that is free"
    if isinstance(error, OSError) and error.errno == errno.EACCES:
        return f"{what}: ports below 1024 are not for ordinary users. Give a higher one"
    return f"{what}: {error}"
