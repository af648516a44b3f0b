"""Wire messages as damaged gateways, firmware and wires make them: one mutated line of a good one. Decides nothing."""

import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np

Mutation = Callable[[bytes, int, int], bytes]
"""a line and two random numbers to a line without a newline"""

_NUMBER = re.compile(rb"-?\d+\.\d+")
_MOMENT = re.compile(rb'"20\d\d-[^"]*"')
_KEY = re.compile(rb'"[a-z_]+":')
_TEXT = re.compile(rb'"[a-z]+-[^"]*"')
_NEWLINE = ord("\n")
_STRUCTURE = b'{}[]",:\\ \r\t0'
_OTHER_TYPES = (
    b'"abc"', b'"12.5"', b'""', b"true", b"false", b"null", b"[1]", b"[]", b"{}", b'{"value":1}', b"12", b'"0x1F"',
    b'"1_0"', b"[[[]]]", b'"true"', b'"NaN"', b'" 7 "',
)  # fmt: skip
_NUMBERS = (
    b"1e400", b"-1e400", b"9" * 400, b"-" + b"9" * 5000, b"1e-400", b"-0.0", b"1E+3", b"0" * 50, b"1e", b".5", b"+1",
    b"1.", b"18446744073709551616", b"1e308", b"0." + b"0" * 400 + b"1", b"--1", b"1e1e1",
)  # fmt: skip
_WORDS = (b"NaN", b"Infinity", b"-Infinity", b"nan", b"-NaN", b"inf", b"undefined", b"None", b"'x'")
_MOMENTS = (
    b'"2026-13-45T99:99:99Z"', b'"2026-02-30T00:00:00Z"', b'""', b'"now"', b"1772438400", b"null", b'"0000-00-00"',
    b'"9999-12-31T23:59:59.999999Z"', b'"-2026-03-02T08:00:00Z"', b'"2026-03-02"', b'"2026-03-02 08:00"',
    b'"1970-01-01T00:00:00Z"', b'"2026-03-02T08:00:00+99:99"', b'"2026-03-02T08:00:00.' + b"9" * 300 + b'Z"',
    b'"262143-12-31T23:59:59Z"', b'{"at":1}', b"[2026,3,2]", '"２０２６-03-02T08:00:00Z"'.encode(), b"true", b"-1",
)  # fmt: skip
_KEYS = (
    '"ключ":'.encode(), '"humidity\u200b":'.encode(), b'"\\u0068umidity":', b'"\\ud800":', b'"\\uD83D\\uDE00":',
    b'"":', b'"readings":', b'"device_id":', b'"timestamp":', b'"value":', '"🧊":'.encode(), b'"a\\nb":', b'"a\tb":',
    b'"HUMIDITY":', b'"sensor_type":',
)  # fmt: skip
_NOT_UTF8 = (b"\xff\xfe", b"\xc3", b"\xc0\x80", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"\x80", b"\xf4\x90\x80\x80")
_TEXTS = (
    b'"\\ud800"', b'"\\u0000"', b'"{\\"a\\":1}"', '"\ufeff"'.encode(), b'"[1,2]"', b'"null"', b'"a:\\":b"', b"7", b"{}",
    '"ß\u2028\u0085"'.encode(), b'"\\"', b'"\\x41"', b'"' + b"x" * 3000 + b'"', b'"it\'s {\\\\"', b'"\x7f"', b"null",
)  # fmt: skip
_BLANKS = (b"", b" ", b"\t", b"\r", b"  \r", "\ufeff".encode(), "\u00a0\u2003".encode(), b"\x0b\x0c")
_STRANGERS = (
    b"null", b"5", b'"text"', b"[]", b"[{}]", b"{}", b"{", b"}", b"{}{}", b"{},", b"nul", b'{"a":1}', b"\x00", b"<x>",
    b'{"readings":{}}', b'{"device_id":"dev-001"}', b'{"":{"":{"":""}}}', b"a,b,c", b'{"a" : 1 , "a" : 2}', b"\\",
)  # fmt: skip


def _flipped(line: bytes, a: int, b: int) -> bytes:
    changed = bytearray(line)
    for _ in range(1 + a % 3):
        a, b = a * 48271 % 0x7FFFFFFF, b * 69621 % 0x7FFFFFFF
        changed[a % len(changed)] ^= 1 << b % 8
    return bytes(changed)


def _overwritten(line: bytes, a: int, b: int) -> bytes:
    at = a % len(line)
    return line[:at] + bytes((b % 256,)) + line[at + 1 :]


def _structured(line: bytes, a: int, b: int) -> bytes:
    at = a % len(line)
    return line[:at] + _STRUCTURE[b % 12 : b % 12 + 1] + line[at + (b >> 8) % 2 :]


def _cut(line: bytes, a: int, b: int) -> bytes:
    return line[: a % len(line)] if b % 2 else line[a % len(line) :]


def _doubled(line: bytes, a: int, b: int) -> bytes:
    first, last = sorted((a % len(line), b % len(line)))
    return line[:last] + line[first:]


def _without(line: bytes, a: int, b: int) -> bytes:
    at = a % len(line)
    return line[:at] + line[at + 1 + b % 9 :]


def _inserted(pieces: Sequence[bytes]) -> Mutation:
    def insert(line: bytes, a: int, b: int) -> bytes:
        at = a % (len(line) + 1)
        return line[:at] + pieces[b % len(pieces)] + line[at:]

    return insert


def _replaced(pattern: "re.Pattern[bytes]", by: Sequence[bytes]) -> Mutation:
    def replace(line: bytes, a: int, b: int) -> bytes:
        found = [m.span() for m in pattern.finditer(line)]
        if not found:
            return line
        start, end = found[a % len(found)]
        return line[:start] + by[b % len(by)] + line[end:]

    return replace


def _other(lines: Sequence[bytes]) -> Mutation:
    return lambda line, a, b: lines[a % len(lines)]


def _before(pieces: Sequence[bytes]) -> Mutation:
    return lambda line, a, b: pieces[a % len(pieces)] + line


def _after(pieces: Sequence[bytes]) -> Mutation:
    return lambda line, a, b: line + pieces[a % len(pieces)]


def _nested(line: bytes, a: int, b: int) -> bytes:
    depth = 2 + a % 60
    opened, closed = ((b"[", b"]"), (b'{"a":', b"}"))[b % 2]
    return line[:-1] + b',"nested":' + opened * depth + b"1" + closed * (depth - (b >> 4) % 2) + b"}"


def _same(line: bytes, a: int, b: int) -> bytes:
    return line


def _very_deep(line: bytes, a: int, b: int) -> bytes:
    return _nested(line, 200 + a % 40_000 // 60 * 60, b)[: None if a % 3 else -500] if b % 3 else b"[" * (a % 40_000)


def _giant(line: bytes, a: int, b: int) -> bytes:
    size = 1000 + a % 200_000
    return (b'{"device_id":"' + b"x" * size + b'"}', line[:-1] + b',"note":"' + b"y" * size + b'"}', b"z" * size)[b % 3]


_USUAL: tuple[Mutation, ...] = (
    _same, _same, _flipped, _flipped, _overwritten, _structured, _structured, _cut, _doubled, _without,
    _replaced(_NUMBER, _OTHER_TYPES), _replaced(_NUMBER, _NUMBERS), _replaced(_NUMBER, _WORDS),
    _replaced(_MOMENT, _MOMENTS), _replaced(_MOMENT, _MOMENTS), _replaced(_KEY, _KEYS), _replaced(_TEXT, _TEXTS),
    _inserted(_NOT_UTF8), _inserted((b"\x00", b"\x00\x00", b"\\u0000")), _before(("\ufeff".encode(), b" ", b"\t")),
    _after((b"\r", b" ", b"\r\r", b"\x1a", b",", b"}", b" {}")), _other(_BLANKS), _other(_STRANGERS), _nested,
)  # fmt: skip
_RARE: tuple[Mutation, ...] = (_very_deep, _giant)
_RARE_EACH = 4000


def mutated(good: Sequence[bytes], count: int, seed: int) -> Iterator[bytes]:
    """So many lines, none of which holds a newline; about a tenth of them are as good as they were."""
    rng = np.random.default_rng(seed)
    numbers = rng.integers(0, 1 << 31, (4, count)).tolist()
    usual, rare, lines = len(_USUAL), len(_RARE), len(good)
    for which, line, a, b in zip(*numbers, strict=True):
        mutation = _USUAL[which % usual] if which % _RARE_EACH else _RARE[line % rare]
        made = mutation(good[line % lines], a, b)
        yield made if _NEWLINE not in made else made.replace(b"\n", b"?")
