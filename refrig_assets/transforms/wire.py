"""The wire message: NDJSON bytes in, fields and dead letters out. Used by landing and by the stream. No I/O.

Polars parses whole blocks and refuses a block with one bad line. Lines that look odd are taken out beforehand; a block
that is refused all the same is cut into ever smaller ones until the bad lines stand alone, and only these are looked at
in Python.
"""

import base64
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from refrig_assets.contracts.sensors import SENSOR_NAMES, SENSORS
from refrig_assets.transforms.lines import Integers, Lines

_READINGS = {s.name: pl.Boolean() if s.is_bool else pl.Float64() for s in SENSORS}
_TEXT_FIELDS = (
    "event_id",
    "device_id",
    "timestamp",
    "timestamp_ingested",
    "sensor_type",
    "value",
    "unit",
    "quality",
)
_TEXTS = dict.fromkeys(_TEXT_FIELDS, pl.String())
_WIRE: dict[str, pl.DataType] = {**_TEXTS, "readings": pl.Struct(_READINGS)}
_LENIENT: dict[str, pl.DataType] = {**_TEXTS, "readings": pl.Struct(dict.fromkeys(SENSOR_NAMES, pl.String()))}
_MESSAGE: dict[str, pl.DataType] = {**_WIRE, "offset": pl.Int64()}
_REFUSED = (pl.exceptions.ComputeError, pl.exceptions.SchemaError, pl.exceptions.InvalidOperationError)
_ALONE = 256  # lines left in a refused block when looking at each is cheaper than cutting again, be one bad or all
_PIECES = 16
# Half a surrogate pair is no text; Polars would read it as NUL.
_SURROGATES = (b"\\ud", b"\\uD")
_QUOTE, _SPACE, _NULL, _NAN, _INFINITY, _MINUS, _CR, _BRACE = b'" nNI-\r}'


@dataclass(frozen=True)
class Dead:
    """One message that cannot land."""

    offset: int
    reason: str
    payload: bytes
    event_id: str | None = None
    device_id: str | None = None


@dataclass(frozen=True)
class Messages:
    """Messages read from a block of bytes: a row each, still with text for times, and those that could not be read."""

    rows: pl.DataFrame
    """the wire fields and `offset`, bytes from the start of the source"""
    dead: list[Dead]
    lines: int
    """lines that are not blank = rows + dead"""
    unknown_fields: int
    """messages with a value in a field nobody knows"""
    block: bytes
    offset: int
    places: tuple[Integers, Integers] | None = None
    """the offsets of the lines and where these start, where offsets are not those of bytes"""

    def payload(self, offset: int) -> bytes:
        """The line at the offset, as it came."""
        if self.places is None:
            start = offset - self.offset
        else:
            start = int(self.places[1][np.searchsorted(self.places[0], offset)])
        end = self.block.find(b"\n", start)
        return self.block[start : None if end < 0 else end].rstrip(b"\r")


def read_lines(block: bytes, offset: int = 0, numbers: Integers | None = None) -> Messages:
    """Read a block of whole lines. Their offsets are those of their bytes, or the given ones, rising, one a line."""
    lines = Lines.of(block)
    odd = _odd(lines)
    alone = np.flatnonzero(odd).tolist()
    frames = list(_parsed(lines, np.flatnonzero(~odd), alone)) if not odd.all() else []
    dead: list[Dead] = []
    singles = []
    for number in sorted(alone):
        line, at = lines.line(number), int(lines.starts[number])
        found = _read_one(line)
        if isinstance(found, str):
            dead.append(Dead(at + offset, found, line))
        elif found is not None:
            singles.append({**found, "offset": at})
    if singles or not frames:
        frames.append(pl.DataFrame(singles, schema=_MESSAGE))
    rows = frames[0] if len(frames) == 1 else pl.concat(frames).sort("offset")
    unknown = _count_unknown(lines, rows)
    count = rows.height + len(dead)
    if numbers is None:
        rows = rows.with_columns(pl.col("offset") + offset) if offset else rows
        return Messages(rows, dead, count, unknown, block, offset)
    if len(numbers) != len(lines.starts):
        raise ValueError(f"{len(numbers)} offsets for {len(lines.starts)} lines")
    rows = rows.with_columns(pl.Series("offset", numbers[np.searchsorted(lines.starts, rows["offset"].to_numpy())]))
    dead = [replace(d, offset=int(numbers[np.searchsorted(lines.starts, d.offset - offset)])) for d in dead]
    return Messages(rows, dead, count, unknown, block, offset, (numbers, lines.starts))


def _odd(lines: Lines) -> npt.NDArray[np.bool_]:
    """Lines that are surely not, or perhaps not, to be read as JSON objects by Polars; blank ones, too."""
    data = np.frombuffer(lines.block, np.uint8)
    if not len(data):
        return np.zeros(0, np.bool_)
    last = data[lines.ends - 1]  # of an empty line some other byte, which is a newline
    before = data[np.maximum(lines.ends - 2, 0)]
    odd = np.where(last == _CR, before, last) != _BRACE
    odd[lines.ends == lines.starts] = True
    at, _, value, then = lines.colons  # NaN and infinities are not JSON
    odd[lines.at_bytes(at[(value == _NAN) | (value == _INFINITY) | ((value == _MINUS) & (then == _INFINITY))])] = True
    if b"\\" in lines.block:
        for word in _SURROGATES:
            found = [m.start() for m in re.finditer(re.escape(word), lines.block)]
            odd[lines.at_bytes(np.array(found, dtype=np.int64))] = True
    if not lines.block.isascii():
        for number in np.flatnonzero(np.logical_or.reduceat(data >= 0x80, lines.starts)).tolist():
            odd[number] |= not is_text(lines.line(number))
    return np.asarray(odd, np.bool_)


def is_text(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _parsed(lines: Lines, numbers: Integers, alone: list[int]) -> Iterator[pl.DataFrame]:
    """Frames of messages; lines that must be looked at one by one are added to `alone`."""
    parsed = _parse(lines.text(numbers), len(numbers))
    if parsed is not None:
        frame, doubtful = parsed
        frame = frame.with_columns(pl.Series("offset", lines.starts[numbers]))
        if doubtful.any():
            alone += numbers[doubtful.to_numpy()].tolist()
            frame = frame.filter(~doubtful)
        yield frame
    elif len(numbers) <= _ALONE:
        alone += numbers.tolist()
    else:
        for piece in np.array_split(numbers, min(_PIECES, len(numbers) // _ALONE + 1)):
            yield from _parsed(lines, piece, alone)


def _parse(text: bytes, count: int) -> tuple[pl.DataFrame, pl.Series] | None:
    """Lines as rows and which of them are doubtful, or None where one is no JSON object."""
    try:
        frame = pl.read_ndjson(text, schema=_WIRE)
        bad = pl.lit(False)
    except _REFUSED:
        try:
            frame = pl.read_ndjson(text, schema=_LENIENT)
        except _REFUSED:
            return None
        values = [_lenient(s.name, s.is_bool) for s in SENSORS]
        given = [pl.col("readings").struct.field(s) for s in SENSOR_NAMES]
        bad = pl.any_horizontal(g.is_not_null() & v.is_null() for g, v in zip(given, values, strict=True))
        whole = pl.when(pl.col("readings").is_not_null()).then(pl.struct(values)).alias("readings")
        doubtful = frame.select(bad | _nested()).to_series()
        return (frame.with_columns(whole), doubtful) if frame.height == count else None
    return (frame, frame.select(bad | _nested()).to_series()) if frame.height == count else None


def _lenient(name: str, is_bool: bool) -> pl.Expr:
    """What stands for a value beyond doubt, whichever JSON type says it."""
    text = pl.col("readings").struct.field(name)
    if not is_bool:
        return text.cast(pl.Float64, strict=False)
    words = {"true": True, "false": False, "1": True, "0": False}
    return text.replace_strict(words, default=None, return_dtype=pl.Boolean)


def _nested() -> pl.Expr:
    """Objects and arrays where text belongs, which Polars hands over as text."""
    texts = [pl.col(n) for n in _TEXT_FIELDS if n != "quality"]
    return pl.any_horizontal(
        (t.str.starts_with("[") | t.str.starts_with('{"') | (t == "{}")).fill_null(False) for t in texts
    )


def _load(text: str) -> Any:
    """JSON as Polars reads it: of a key given twice the first counts, a number beyond all bounds is infinite."""
    return json.loads(text, object_pairs_hook=lambda pairs: dict(reversed(pairs)), parse_int=_whole)


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) < 400 else float(digits)


def _read_one(line: bytes) -> dict[str, Any] | str | None:
    """A line on its own: its wire fields, or the reason it cannot be read, or None where it is blank."""
    try:
        text = line.decode().strip().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        return f"not UTF-8: {error.reason} at byte {error.start}"
    if not text:
        return None
    try:
        found = _load(text)
    except (ValueError, RecursionError) as error:
        return f"not JSON: {error}"[:200]
    if not isinstance(found, dict):
        return f"not a JSON object but {type(found).__name__}"
    try:
        fields: dict[str, Any] = {k: _text(found[k], k) for k in _TEXT_FIELDS if found.get(k) is not None}
        readings = found.get("readings")
        if readings is not None:
            if not isinstance(readings, dict):
                return f"readings is {type(readings).__name__}, not an object"
            fields["readings"] = {s.name: _number(readings.get(s.name), s.name, s.is_bool) for s in SENSORS}
    except ValueError as error:
        return str(error)
    return fields


def _text(value: object, name: str) -> str:
    if isinstance(value, dict | list):
        if name != "quality":  # which we do not use
            raise ValueError(f"{name} is {type(value).__name__}, not text")
        return json.dumps(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and math.isfinite(value):
        return format(Decimal(repr(value)), "f").removesuffix(".0")
    text = str(value)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} holds half a surrogate pair") from error
    return text


def _number(value: object, name: str, is_bool: bool) -> float | bool | None:
    """A sensor's value, whatever JSON type says it; a ValueError where it says no number."""
    if value is None:
        return None
    words = {"true": 1.0, "false": 0.0}
    try:
        if isinstance(value, str):
            number = words[value.lower()] if value.lower() in words else float(value.replace("_", "?"))
        else:
            number = float(value)  # type: ignore[arg-type]
    except OverflowError:
        number = math.inf
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} is not a number: {ascii(value)[:40]}") from error
    if not is_bool:
        return number
    if number not in (0.0, 1.0):
        raise ValueError(f"{name} is neither true nor false: {ascii(value)[:40]}")
    return number == 1.0


def _count_unknown(lines: Lines, rows: pl.DataFrame) -> int:
    """Messages with a value in a field nobody knows. Counting keys finds suspects; only these are parsed again."""
    if rows.is_empty():
        return 0
    known = rows.select(
        pl.sum_horizontal(pl.col(name).is_not_null() for name in _WIRE)
        + pl.sum_horizontal(pl.col("readings").struct.field(s).is_not_null() for s in SENSOR_NAMES)
    ).to_series()
    numbers = np.searchsorted(lines.starts, rows["offset"].to_numpy())
    at, before, value, _ = lines.colons
    # A key with a value: a quote, a colon, and anything but null. In a text the same may stand, so never too few.
    keys = at[(before == _QUOTE) & (value != _NULL)]
    counted = np.diff(np.searchsorted(keys, np.append(lines.starts, len(lines.block))))
    suspect = counted[numbers] != known.to_numpy()
    suspect |= np.isin(numbers, lines.at_bytes(at[before <= _SPACE]))  # what stands before the blank?
    return sum(_has_unknown(lines.line(n)) for n in numbers[suspect].tolist())


def _has_unknown(line: bytes) -> bool:
    try:
        message = _load(line.decode().strip().removeprefix("\ufeff"))
    except RecursionError:  # Polars goes deeper; no field we know is nested
        return True
    readings = message.get("readings") or {}
    return any(v is not None and k not in _WIRE for k, v in message.items()) or any(
        v is not None and k not in SENSOR_NAMES for k, v in readings.items()
    )


def dead_payload(payload: bytes) -> tuple[str, str]:
    """Bytes as text, and how: base64 where they are not UTF-8."""
    try:
        return payload.decode(), "utf-8"
    except UnicodeDecodeError:
        return base64.b64encode(payload).decode(), "base64"
