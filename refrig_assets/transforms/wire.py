"""The wire message: NDJSON bytes in, raw rows and dead letters out. Used by landing and by the stream. No I/O.

Polars parses whole blocks and refuses a block with one bad line; such a block is halved until the bad lines stand
alone, and only these are looked at in Python.
"""

import base64
import io
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

from refrig_assets.contracts.sensors import SENSOR_NAMES, SENSORS

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
_WIRE: dict[str, pl.DataType] = {**dict.fromkeys(_TEXT_FIELDS, pl.String()), "readings": pl.Struct(_READINGS)}
_MESSAGE: dict[str, pl.DataType] = {**_WIRE, "line": pl.String(), "offset": pl.Int64()}
_ALONE = 8  # lines left in a refused block when looking at each is cheaper than halving again


@dataclass(frozen=True)
class Dead:
    """One message that cannot land."""

    offset: int
    reason: str
    payload: bytes


@dataclass(frozen=True)
class Messages:
    """Messages read from a block of bytes: a row each, still with text for times, and those that could not be read."""

    rows: pl.DataFrame
    """the wire fields, `offset` (bytes from the start of the source) and `line`"""
    dead: list[Dead]
    lines: int
    unknown_fields: int


def read_lines(block: bytes, offset: int = 0) -> Messages:
    """Read a block of whole lines."""
    dead: list[Dead] = []
    lines = _lines(block, offset, dead)
    total = lines.height + len(dead)
    odd = ~lines["line"].str.ends_with("}") | lines["line"].str.contains_any(["NaN", "Infinity"])
    rows = [] if odd.all() else list(_parsed(lines.filter(~odd)))
    alone = [lines.filter(odd), *(r for r in rows if "readings" not in r.columns)]
    good = [r for r in rows if "readings" in r.columns]
    singles = []
    for line, at in pl.concat(alone).select("line", "offset").iter_rows():
        found = _read_one(line)
        if isinstance(found, str):
            dead.append(Dead(at, found, line.encode()))
        else:
            singles.append({**found, "line": line, "offset": at})
    good.append(pl.DataFrame(singles, schema=_MESSAGE))
    messages = pl.concat([m.select(list(_MESSAGE)) for m in good])
    return Messages(messages.sort("offset"), dead, total, _count_unknown(messages))


def _lines(block: bytes, offset: int, dead: list[Dead]) -> pl.DataFrame:
    """The block's lines with their offsets, blank ones left out, those that are not UTF-8 dead."""
    try:
        text = pl.Series("line", [block.decode()]).str.split("\n").explode()
        sizes = text.str.len_bytes()
    except UnicodeDecodeError:
        pieces = block.split(b"\n")
        sizes = pl.Series([len(p) for p in pieces], dtype=pl.UInt32)
        starts = [offset, *(offset + (sizes.cast(pl.Int64) + 1).cum_sum()).to_list()]
        texts = []
        for piece, at in zip(pieces, starts, strict=False):
            try:
                texts.append(piece.decode())
            except UnicodeDecodeError as error:
                dead.append(Dead(at, f"not UTF-8: {error.reason} at byte {error.start}", piece))
                texts.append("")
        text = pl.Series("line", texts, dtype=pl.String)
    ends = (sizes.cast(pl.Int64) + 1).cum_sum()
    frame = pl.DataFrame({"line": text.str.strip_chars(), "offset": ends - sizes.cast(pl.Int64) - 1 + offset})
    return frame.filter(pl.col("line").str.len_bytes() > 0)


def _parsed(lines: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Parsed frames, and unparsed remainders (without `readings`) too small to halve."""
    try:
        parsed = pl.read_ndjson(io.StringIO("\n".join(lines["line"])), schema=_WIRE)
    except (pl.exceptions.ComputeError, pl.exceptions.SchemaError, pl.exceptions.InvalidOperationError):
        parsed = None
    if parsed is not None and parsed.height == lines.height:
        yield parsed.with_columns(lines["offset"], lines["line"])
    elif lines.height <= _ALONE:
        yield lines
    else:
        middle = lines.height // 2
        yield from _parsed(lines[:middle])
        yield from _parsed(lines[middle:])


def _read_one(line: str) -> dict[str, Any] | str:
    """A line on its own: its wire fields, or the reason it cannot be read."""
    try:
        found = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        return f"not JSON: {error}"[:200]
    if not isinstance(found, dict):
        return f"not a JSON object but {type(found).__name__}"
    try:
        fields = {k: _text(found[k], k) for k in _TEXT_FIELDS if found.get(k) is not None}
        readings = found.get("readings")
        if readings is not None:
            if not isinstance(readings, dict):
                return f"readings is {type(readings).__name__}, not an object"
            fields["readings"] = {s.name: _number(readings.get(s.name), s.name, s.is_bool) for s in SENSORS}
    except ValueError as error:
        return str(error)
    return fields


def _text(value: object, name: str) -> Any:
    if isinstance(value, dict | list):
        raise ValueError(f"{name} is {type(value).__name__}, not text")
    if isinstance(value, bool):
        return "true" if value else "false"
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
        number = words[value.lower()] if isinstance(value, str) and value.lower() in words else float(value)  # type: ignore[arg-type]
    except OverflowError:
        number = math.inf
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} is not a number: {str(value)[:40]!r}") from error
    if not is_bool:
        return number
    if number not in (0.0, 1.0):
        raise ValueError(f"{name} is neither true nor false: {str(value)[:40]!r}")
    return number == 1.0


def _count_unknown(messages: pl.DataFrame) -> int:
    """Messages with a value in a field nobody knows. Counting keys finds suspects; only these are parsed again."""
    if messages.is_empty():
        return 0
    keys = pl.col("line").str.count_matches(r'"\s*:')
    empty = pl.col("line").str.count_matches(r'"\s*:\s*null')
    known = pl.sum_horizontal(pl.col(name).is_not_null() for name in _WIRE) + pl.sum_horizontal(
        pl.col("readings").struct.field(s).is_not_null() for s in SENSOR_NAMES
    )
    return sum(_has_unknown(json.loads(line)) for line in messages.filter(keys != empty + known)["line"])


def _has_unknown(message: dict[str, Any]) -> bool:
    readings = message.get("readings")
    return any(k not in _WIRE for k in message) or (
        isinstance(readings, dict) and any(k not in SENSOR_NAMES for k in readings)
    )


def dead_payload(payload: bytes) -> tuple[str, str]:
    """Bytes as text, and how: base64 where they are not UTF-8."""
    try:
        return payload.decode(), "utf-8"
    except UnicodeDecodeError:
        return base64.b64encode(payload).decode(), "base64"
