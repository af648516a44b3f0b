"""One attempt to send one message through one channel, with an identity by which a receiver knows a repeat."""

import smtplib
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formataddr, formatdate
from typing import TYPE_CHECKING, Any

from refrig_assets.notify.address import AddressError, open_address
from refrig_assets.notify.routing import Channel
from refrig_assets.notify.secrets import Scrubber

if TYPE_CHECKING:
    from apprise import NotifyBase

_DETAIL = 500
MAIL_DOMAIN = "refrig-assets"
ID_HEADER, ATTEMPT_HEADER = "X-Refrig-Notice", "X-Refrig-Attempt"
# Where Apprise lets a service merge repeats by a key of ours.
_MERGE_KEYS = ("dedup", "alias")
_KINDS = {"CRITICAL": "failure", "HIGH": "warning", "MEDIUM": "warning", "LOW": "info"}


@dataclass(frozen=True)
class Letter:
    """What is sent."""

    notice_id: str
    title: str
    text: str
    markdown: str
    severity: str
    attempt: int = 1


@dataclass(frozen=True)
class Outcome:
    """What became of an attempt. The detail holds no secret."""

    accepted: bool
    detail: str | None = None


def send(
    channel: Channel, contacts: Mapping[str, str], letter: Letter, environment: Mapping[str, str], scrub: Scrubber
) -> Outcome:
    """Try once. Whatever a service raises is an attempt that failed: no channel may stop another."""
    try:
        plugin = open_address(channel, contacts, environment)
        outcome = _mail(plugin, letter, channel) if _is_mail(plugin) else _apprise(plugin, letter)
    except Exception as error:  # plugins and servers fail in ways of their own
        said = str(error) if isinstance(error, AddressError) else f"{type(error).__name__}: {error}"
        outcome = Outcome(False, said)
    return Outcome(outcome.accepted, scrub(outcome.detail)[:_DETAIL] if outcome.detail else None)


def _is_mail(plugin: "NotifyBase") -> bool:
    from apprise.plugins.email.base import NotifyEmail, PGPMode

    # What Apprise signs or encrypts is left to it; it is then told apart by our header alone.
    return type(plugin) is NotifyEmail and plugin.pgp_mode in (None, PGPMode.NONE)


def _mail(plugin: Any, letter: Letter, channel: Channel) -> Outcome:
    """By our own hand over Apprise's address: Apprise gives every attempt another Message-ID."""
    message = EmailMessage()
    message["Message-ID"] = message_id(letter.notice_id)
    message["Date"] = formatdate()
    message["Subject"] = letter.title
    message["From"] = formataddr((plugin.from_addr[0] or "", plugin.from_addr[1]))
    message["To"] = ", ".join(formataddr((name or "", address)) for name, address in plugin.targets)
    if plugin.cc:
        message["Cc"] = ", ".join(sorted(plugin.cc))
    if plugin.reply_to:
        message["Reply-To"] = ", ".join(sorted(plugin.reply_to))
    for name, value in (_headers(letter) | plugin.headers).items():
        message[name] = value
    message.set_content(letter.text)
    message.add_alternative(_html(letter.markdown), subtype="html")
    to = [address for _, address in plugin.targets] + sorted(plugin.cc | plugin.bcc)
    server = _connected(plugin, channel.timeout_s)
    try:
        refused = server.send_message(message, plugin.from_addr[1], to)
    finally:  # what was accepted stays accepted, however the parting goes
        with suppress(OSError, smtplib.SMTPException):
            server.quit()
        server.close()
    if refused:
        codes = ", ".join(sorted({f"{code} {reply.decode(errors='replace')}" for code, reply in refused.values()}))
        return Outcome(True, f"{len(refused)} of {len(to)} recipients were refused: {codes}")
    return Outcome(True)


def message_id(notice_id: str) -> str:
    return f"<{notice_id}@{MAIL_DOMAIN}>"


def _headers(letter: Letter) -> dict[str, str]:
    return {ID_HEADER: letter.notice_id, ATTEMPT_HEADER: str(letter.attempt)}


def _html(markdown: str) -> str:
    from apprise import NotifyFormat
    from apprise.conversion import convert_between

    return str(convert_between(NotifyFormat.MARKDOWN, NotifyFormat.HTML, markdown))  # type: ignore[no-untyped-call]


def _connected(plugin: Any, timeout_s: float) -> smtplib.SMTP:
    context = ssl.create_default_context()
    if not plugin.verify_certificate:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if plugin.secure_mode == "ssl":
        server: smtplib.SMTP = smtplib.SMTP_SSL(plugin.smtp_host, plugin.port, timeout=timeout_s, context=context)
    else:
        server = smtplib.SMTP(plugin.smtp_host, plugin.port, timeout=timeout_s)
    try:
        if plugin.secure_mode == "starttls":
            server.starttls(context=context)
        if plugin.user and plugin.password:
            server.login(plugin.user, plugin.password)
    except BaseException:
        server.close()
        raise
    return server


def _apprise(plugin: "NotifyBase", letter: Letter) -> Outcome:
    from apprise import Apprise, NotifyFormat, NotifyType

    _identify(plugin, letter)
    sender = Apprise()
    sender.add(plugin)
    # Where a program listens, it gets no markup; elsewhere Apprise makes of it what the service shows.
    program = hasattr(plugin, "payload_extras")
    result = sender.notify(
        body=letter.text if program else letter.markdown,
        title=letter.title,
        body_format=NotifyFormat.TEXT if program else NotifyFormat.MARKDOWN,
        notify_type=NotifyType(_KINDS[letter.severity]),
    )
    said = "; ".join(dict.fromkeys(entry.message for entry in result.logs()))
    return Outcome(bool(result), None if result else said or f"the service did not accept it ({result.status.name})")


def _identify(plugin: Any, letter: Letter) -> None:
    """Put the notice's id wherever the service has a place for one."""
    if isinstance(getattr(plugin, "headers", None), dict):
        plugin.headers = _headers(letter) | {"Idempotency-Key": letter.notice_id} | plugin.headers
    if isinstance(getattr(plugin, "payload_extras", None), dict):
        plugin.payload_extras = {"notice_id": letter.notice_id, "severity": letter.severity} | plugin.payload_extras
    for name in _MERGE_KEYS:
        if getattr(plugin, name, "") is None:
            setattr(plugin, name, letter.notice_id)
