"""Real servers on loopback that receive notifications: SMTP and HTTP. They may be told to be slow, or to refuse."""

import email.message
import email.policy
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller


@dataclass(frozen=True)
class Mail:
    message_id: str
    subject: str
    to: tuple[str, ...]
    text: str
    html: str
    headers: dict[str, str]
    at: float


@dataclass
class MailServer:
    """An SMTP server that keeps what it accepts; with `refuse` it answers with that code instead."""

    refuse: str | None = None
    delay_s: float = 0.0
    mails: list[Mail] = field(default_factory=list)
    port: int = 0

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 (aiosmtpd's name)
        if self.delay_s:
            time.sleep(self.delay_s)
        if self.refuse:
            return self.refuse
        parsed = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(parsed, email.message.EmailMessage)
        text, html = parsed.get_body(("plain",)), parsed.get_body(("html",))
        self.mails.append(
            Mail(
                parsed["Message-ID"], parsed["Subject"], tuple(envelope.rcpt_tos),
                text.get_content() if text else "", html.get_content() if html else "",
                {k: str(v) for k, v in parsed.items()}, time.time(),
            )
        )  # fmt: skip
        return "250 kept"

    @property
    def ids(self) -> list[str]:
        return [m.message_id for m in self.mails]

    def url(self, to: str = "ops@example.org") -> str:
        return f"mailto://127.0.0.1:{self.port}?mode=insecure&from=refrig@example.org&to={to}"


class _AnyPort(Controller):
    """aiosmtpd asks itself whether it answers, on the port that it was given: of port 0 it must learn the real one."""

    def _trigger_server(self) -> None:
        assert self.server is not None
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@contextmanager
def mail_server(**settings: Any) -> Iterator[MailServer]:
    server = MailServer(**settings)
    controller = _AnyPort(server, hostname="127.0.0.1", port=0)
    controller.start()
    server.port = controller.port
    try:
        yield server
    finally:
        controller.stop()


@dataclass(frozen=True)
class Call:
    key: str
    body: dict[str, Any]
    headers: dict[str, str]
    at: float


@dataclass
class Hook:
    """A webhook that keeps what it is told; `status` is what it answers, after `delay_s`."""

    status: int = 200
    delay_s: float = 0.0
    calls: list[Call] = field(default_factory=list)
    port: int = 0

    @property
    def keys(self) -> list[str]:
        return [c.key for c in self.calls]

    def url(self, path: str = "hook") -> str:
        return f"json://127.0.0.1:{self.port}/{path}"


@contextmanager
def web_hook(**settings: Any) -> Iterator[Hook]:
    hook = Hook(**settings)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if hook.delay_s:
                time.sleep(hook.delay_s)
            if hook.status < 300:
                headers = dict(self.headers.items())
                hook.calls.append(Call(headers["Idempotency-Key"], body, headers, time.time()))
            try:
                self.send_response(hook.status)
                self.end_headers()
            except OSError:  # whoever called has gone
                return

        def log_message(self, *_args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hook.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hook
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
