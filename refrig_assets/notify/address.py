"""Channel addresses: that none carries a literal secret, and how one becomes something Apprise can send with."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from refrig_assets.notify.routing import Channel
from refrig_assets.notify.secrets import SecretError, filled, references

if TYPE_CHECKING:
    from apprise import NotifyBase

_SHAPE = re.compile(r"(?P<schema>[A-Za-z][A-Za-z0-9+.-]*)://(?:(?P<user>[^/?#]*)@)?")
# Services whose addresses are no secrets by themselves: a host and who is there. Elsewhere the path holds the token.
_OPEN = ("mailto", "mailtos", "json", "jsons", "xml", "xmls", "form", "forms", "syslog", "rsyslog", "mqtt", "mqtts")
_SECRET_KEY = re.compile(r"pass|pwd|token|secret|key|auth|sig|cookie", re.IGNORECASE)


class AddressError(ValueError):
    """An address that nothing can be sent to; the message names the channel, not the address."""


def check_address(channel: Channel) -> str | None:
    """What is wrong with an address as it stands in the file. The environment is not looked at."""
    if re.fullmatch(r"\$\{[^}]*\}", channel.url.strip()):
        references(channel.url)
        return None
    shape = _SHAPE.match(channel.url)
    if shape is None:
        return "is no Apprise address; it begins with the service, like mailtos:// or slack://, or is one ${NAME}"
    names = references(channel.url)
    remedy = "put it into the environment and write ${NAME} instead"
    _, colon, password = (shape["user"] or "").partition(":")
    if colon and password and "${" not in password:
        return f"holds a password; {remedy}, like {shape['schema']}://user:${{SMTP_PASSWORD}}@host"
    for pair in channel.url.partition("?")[2].split("&"):
        key, _, value = pair.partition("=")
        if value and _SECRET_KEY.search(unquote(key)) and "${" not in value:
            return f"holds a secret in {unquote(key)}; {remedy}"
    if shape["schema"].lower() not in _OPEN and not names:
        return f'of {shape["schema"]}:// is itself a secret; {remedy}, like "${{{channel.name.upper()}_URL}}"'
    return None


def open_address(channel: Channel, contacts: Mapping[str, str], environment: Mapping[str, str]) -> "NotifyBase":
    """The channel as Apprise sends with it, made anew for each message: it is cheap, and carries the message's id."""
    from apprise import Apprise, NotifyBase

    try:
        url = filled(channel.url, environment)
    except SecretError as error:
        raise AddressError(f"channel {channel.name}: {error}") from error
    for name, value in contacts.items():
        url = url.replace(f"{{{name}}}", quote(value, safe=""))
    plugin: Any = Apprise.instantiate(url, suppress_exceptions=True)
    if not isinstance(plugin, NotifyBase):
        whose = f" with {', '.join(f'{k} {v!r}' for k, v in contacts.items())}" if contacts else ""
        raise AddressError(
            f"channel {channel.name}: Apprise does not understand the address{whose}. Compare it with the service's "
            "page in Apprise's documentation; a variable may hold something else than it should"
        )
    # The longest that a silent server may keep us; of what the address sets itself, the shorter counts.
    plugin.socket_connect_timeout = min(plugin.socket_connect_timeout, channel.timeout_s)
    plugin.socket_read_timeout = min(plugin.socket_read_timeout, channel.timeout_s)
    return plugin
