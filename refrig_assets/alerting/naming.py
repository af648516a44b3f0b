"""Finding what a person named: an identity whole or by its beginning, and what they may have meant. No I/O."""

from collections.abc import Collection
from difflib import get_close_matches

LEAST_PREFIX = 6
_SHOWN = 3
# Names compared letter by letter; beyond that one has misread more than a letter.
_COMPARED = 20_000


class UnknownNameError(ValueError):
    """Nothing has that name, or several do; the message says what was meant perhaps."""


def resolve(given: str, names: Collection[str], what: str) -> str:
    """The one name that is, or begins with, what was given (at least six characters of it)."""
    if given in names:
        return given
    begin = sorted(n for n in names if n.startswith(given)) if len(given) >= LEAST_PREFIX else []
    if len(begin) == 1:
        return begin[0]
    if begin:
        raise UnknownNameError(
            f"{given!r} is the beginning of {len(begin)} {what}s: {_listed(begin)}. Write more of it"
        )
    raise unknown(given, names, what)


def unknown(given: str, names: Collection[str], what: str) -> UnknownNameError:
    """The error for a name that nothing has."""
    return UnknownNameError(f"there is no {what} {given!r}{_meant(given, names)}")


def closest(given: str, names: Collection[str]) -> list[str]:
    """Names that look most like it; of long ones their beginnings are compared, since that is what people write."""
    heads: dict[str, str] = {}
    for name in sorted(names)[:_COMPARED]:
        heads.setdefault(name[: len(given) + 1], name)
    return [heads[head] for head in get_close_matches(given, heads, _SHOWN, 0.0)]


def _meant(given: str, names: Collection[str]) -> str:
    near = closest(given, names)
    if near:
        return f"; the closest are {_listed(near)}"
    short = len(given) < LEAST_PREFIX
    return f"; of an id at least {LEAST_PREFIX} characters are needed" if short and names else ""


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
