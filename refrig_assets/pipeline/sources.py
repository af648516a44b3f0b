"""Landing files: finding an hour's files and reading them in chunks that are cut the same way every time."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl

from refrig_assets.contracts.readings import RAW_READINGS
from refrig_assets.pipeline.texts import Text, end_of_lines
from refrig_assets.transforms.landing import Arrival, Landed, dead_letters, land_messages, land_table
from refrig_assets.transforms.lines import Lines
from refrig_assets.transforms.wire import Dead, is_text, read_lines

CHUNK_BYTES = 64 * 1024 * 1024
CHUNK_ROWS = 500_000
# What is longer is no message; it must not fill the memory.
LINE_BYTES = 8 * 1024 * 1024
_KINDS = {
    **dict.fromkeys((".ndjson", ".jsonl", ".json"), "ndjson"),
    ".csv": "csv",
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
}
_UNFINISHED = (".tmp", ".part", ".partial", ".crdownload", ".swp")
_PAYLOAD_BYTES = 4096
_COMMA, _CR = b",\r"


def hour_folder(landing: Path, hour: datetime) -> Path:
    return landing / f"{hour:%Y-%m-%d}" / f"{hour:%H}"


def landing_files(landing: Path, hour: datetime) -> list[Path]:
    """The hour's finished files. Hidden files and the usual names of half-written ones are left until renamed."""
    folder = hour_folder(landing, hour)
    if not folder.is_dir():
        return []
    return sorted(
        p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".") and p.suffix not in _UNFINISHED
    )


def landing_hours(landing: Path) -> list[datetime]:
    """Every hour that has a landing folder."""
    found = []
    for folder in sorted(landing.glob("????-??-??/??")):
        try:
            found.append(datetime.fromisoformat(f"{folder.parent.name}T{folder.name}:00:00+00:00"))
        except ValueError:
            continue
    return found


@dataclass(frozen=True)
class Content:
    """What a file held when it was looked at."""

    sha256: str
    size: int


def content_of(path: Path, limit: int | None = None) -> Content:
    """Hash and size of a file, or of its first bytes."""
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as stream:
        while block := stream.read(min(1 << 20, limit - size) if limit is not None else 1 << 20):
            digest.update(block)
            size += len(block)
    return Content(digest.hexdigest(), size)


def kind_of(name: str) -> str | None:
    """How a file of this name is read, or None where we do not know."""
    name = name.lower()
    kind = _KINDS.get(Path(name.removesuffix(".gz")).suffix)
    return None if kind == "parquet" and name.endswith(".gz") else kind


class UnreadableFileError(ValueError):
    """A landing file of which nothing can be read; it is dead-lettered whole."""


def start_behind(path: Path, size: int) -> int:
    """Where to start reading a file that has grown beyond the bytes read before; 0 where there is no telling."""
    return end_of_lines(path, size) if kind_of(path.name) in ("ndjson", "csv") else 0


def read_chunks(path: Path, arrival: Arrival, start: int = 0, size: int | None = None) -> Iterator[Landed]:
    """The file's messages, chunk by chunk, from a byte of its text on (what lies before has landed already).

    Of a file that is being written only the first `size` bytes are read.
    """
    kind = kind_of(path.name)
    try:
        if kind == "ndjson":
            yield from _ndjson_chunks(path, arrival, start, size)
        elif kind == "csv":
            yield from _csv_chunks(path, arrival, start, size)
        elif kind == "parquet":
            yield from _parquet_chunks(path, arrival)
        else:
            raise UnreadableFileError(f"unknown kind of file: {path.name} (NDJSON, also gzip; CSV, also gzip; Parquet)")
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, ValueError) as error:
        if isinstance(error, UnreadableFileError):
            raise
        raise UnreadableFileError(f"not readable as {kind}: {(str(error).splitlines() or [''])[0]}") from error


def unreadable(path: Path, arrival: Arrival, reason: str) -> Landed:
    """A file that cannot be read, as one dead letter with its first bytes; the file stays where it is."""
    with path.open("rb") as stream:
        first = stream.read(_PAYLOAD_BYTES)
    return _dead_only(Dead(0, reason[:300], first), arrival)


def _dead_only(dead: Dead, arrival: Arrival) -> Landed:
    return Landed(RAW_READINGS.empty(), dead_letters([dead], arrival), 1, 0, 0)


@dataclass(frozen=True)
class _Block:
    """Whole lines of a text, or one thing that is wrong with it."""

    offset: int
    lines: bytes
    last: bool = False
    wrong: Dead | None = None


def _blocks(path: Path, start: int, size: int | None) -> Iterator[_Block]:
    """The text's lines by the chunk; the last block may be empty."""
    with Text(path, start, size) as text:
        offset, rest, too_long = start, b"", False
        while block := text.read(CHUNK_BYTES):
            whole = rest + block
            cut = whole.rfind(b"\n") + 1
            if too_long:  # its end is still to come
                begin = whole.find(b"\n") + 1 or len(whole)
                offset, whole, cut, too_long = offset + begin, whole[begin:], max(cut - begin, 0), not cut
            if not cut and len(whole) > LINE_BYTES:
                reason = f"a line of more than {LINE_BYTES:,} bytes; only the first are kept"
                yield _Block(offset, b"", wrong=Dead(offset, reason, whole[:_PAYLOAD_BYTES]))
                offset, whole, too_long = offset + len(whole), b"", True
            if cut:
                yield _Block(offset, whole[:cut])
            offset, rest = offset + cut, whole[cut:]
        if text.damage:  # a line that ends at the damage is not whole
            yield _Block(offset, b"", wrong=Dead(offset, text.damage, rest[:_PAYLOAD_BYTES]))
            rest = b""
        yield _Block(offset, b"" if too_long else rest, last=True)


def _ndjson_chunks(path: Path, arrival: Arrival, start: int, size: int | None) -> Iterator[Landed]:
    held: pl.DataFrame | None = None
    for block in _blocks(path, start, size):
        if block.wrong:
            yield _dead_only(block.wrong, arrival)
        elif block.lines or (held is not None and held.height):
            messages = read_lines(block.lines, block.offset)
            landed = land_messages(messages, arrival, held, hold_from=None if block.last else block.offset)
            held = landed.held
            yield landed


def _csv_chunks(path: Path, arrival: Arrival, start: int, size: int | None) -> Iterator[Landed]:
    header = _header(path)
    for block in _blocks(path, start, size):
        if block.wrong:
            yield _dead_only(block.wrong, arrival)
            continue
        lines, offset = block.lines, block.offset
        if not offset:
            offset = len(lines.partition(b"\n")[0]) + 1
            lines = lines[offset:]
        if lines:
            yield _csv_lines(lines, offset, header, arrival)


def _header(path: Path) -> bytes:
    with Text(path) as text:
        return text.read(LINE_BYTES).partition(b"\n")[0].removeprefix(b"\xef\xbb\xbf").rstrip(b"\r") + b"\n"


def _csv_lines(text: bytes, offset: int, header: bytes, arrival: Arrival) -> Landed:
    """Rows of a chunk. Lines with more or fewer fields than the header, or that are no text, are dead letters."""
    if b'"' in text:  # a field may hold commas and line ends: counting does not help
        frame = _csv(header + text)
        return land_table(frame, arrival, pl.int_range(offset, offset + frame.height, eager=True))
    lines = Lines.of(text)
    data = np.frombuffer(text, np.uint8)
    commas = np.diff(np.searchsorted(np.flatnonzero(data == _COMMA), np.append(lines.starts, len(text))))
    filled = np.flatnonzero(lines.ends - lines.starts > (data[lines.ends - 1] == _CR))
    whole = commas[filled] == header.count(b",")
    if not text.isascii():
        whole &= [is_text(lines.line(n)) for n in filled.tolist()]
    bad = [
        Dead(int(lines.starts[n]) + offset, _csv_reason(lines.line(n), header), lines.line(n))
        for n in filled[~whole].tolist()
    ]
    good = filled[whole]
    landed = land_table(_csv(header + lines.text(good)), arrival, pl.Series(lines.starts[good] + offset))
    letters = pl.concat([landed.dead, dead_letters(bad, arrival)]).sort("source_offset")
    return replace(landed, dead=letters, messages=len(filled))


def _csv_reason(line: bytes, header: bytes) -> str:
    fields, wanted = line.count(b",") + 1, header.count(b",") + 1
    return f"{fields} fields where the header has {wanted}" if fields != wanted else "not UTF-8"


def _csv(text: bytes) -> pl.DataFrame:
    return pl.read_csv(text, infer_schema=False)


def _parquet_chunks(path: Path, arrival: Arrival) -> Iterator[Landed]:
    rows = pl.scan_parquet(path, glob=False).select(pl.len()).collect().item()
    for start in range(0, rows, CHUNK_ROWS):
        frame = pl.scan_parquet(path, glob=False).slice(start, CHUNK_ROWS).collect(engine="in-memory")
        yield land_table(frame, arrival, pl.int_range(start, start + frame.height, eager=True).alias("offset"))
