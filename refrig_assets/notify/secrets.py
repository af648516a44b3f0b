"""Secrets in channel addresses: only as ${NAME} of the environment, never in what we write. Knows no channel."""

import logging
import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote, quote_plus

_REFERENCE = re.compile(r"\$\{([^}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Shorter values (a port, a mode) are no secrets, and striking them out would make messages unreadable.
_SHORTEST = 4
_STRUCK = "***"
# Apprise's warnings go into the log of notifications; urllib3 tells whole addresses on its debug level.
_TALKATIVE = ("apprise", "urllib3.connectionpool")


class SecretError(ValueError):
    """An address that refers to the environment wrongly; the message says how to put it right."""


def references(url: str) -> tuple[str, ...]:
    """The environment variables that an address refers to."""
    names = tuple(dict.fromkeys(_REFERENCE.findall(url)))
    for name in names:
        if not _NAME.fullmatch(name):
            raise SecretError(f"${{{name}}} is no reference; write ${{NAME}} with letters, digits and underscores")
    return names


def filled(url: str, environment: Mapping[str, str]) -> str:
    """The address with its references replaced.

    A variable that is the whole address stands as it is; one that is a part of it is quoted, so that a password may
    hold any character.
    """
    missing = [name for name in references(url) if not environment.get(name)]
    if missing:
        raise SecretError(f"the environment has no {', '.join(missing)}; export it before starting")
    whole = _REFERENCE.fullmatch(url.strip())
    if whole:
        return environment[whole[1]]
    return _REFERENCE.sub(lambda found: quote(environment[found[1]], safe=""), url)


class Scrubber(logging.Filter):
    """Strikes known secrets out of texts, in whatever way an address may have quoted them."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        super().__init__()
        forms: set[str] = set()
        for secret in secrets:
            # Where a whole address is the secret, so are its parts: tokens are in the path.
            parts = [secret, *(p for p in re.split(r"[:/@?&=]+", secret) if len(p) >= 2 * _SHORTEST)]
            forms |= {form for part in parts for form in (part, quote(part, safe=""), quote_plus(part), quote(part))}
        self._forms = sorted((f for f in forms if len(f) >= _SHORTEST), key=len, reverse=True)

    @classmethod
    def of(cls, urls: Iterable[str], environment: Mapping[str, str]) -> "Scrubber":
        return cls(environment[name] for url in urls for name in references(url) if environment.get(name))

    def __call__(self, text: str) -> str:
        for form in self._forms:
            text = text.replace(form, _STRUCK)
        return text

    def filter(self, record: logging.LogRecord) -> bool:
        """As a filter of a logger: below warnings nothing passes, and what passes is scrubbed."""
        if record.levelno < logging.WARNING:
            return False
        record.msg, record.args = self(record.getMessage()), ()
        return True

    def guard_logs(self) -> None:
        """Let nothing that Apprise or urllib3 log carry a secret."""
        for name in _TALKATIVE:
            logger = logging.getLogger(name)
            for old in [f for f in logger.filters if isinstance(f, Scrubber)]:
                logger.removeFilter(old)
            logger.addFilter(self)
