"""Landing files: finding an hour's files and reading them in chunks that are cut the same way every time."""

import gzip
import hashlib
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import polars as pl

from refrig_assets.transforms.landing import Arrival, Landed, dead_letters, land_messages, land_table
from refrig_assets.transforms.wire import Dead, read_lines

CHUNK_BYTES = 64 * 1024 * 1024
CHUNK_ROWS = 500_000
_NDJSON = (".ndjson", ".jsonl", ".json")
_UNFINISHED = (".tmp", ".part", ".partial", ".crdownload", ".swp")
_PAYLOAD_BYTES = 4096


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


class UnreadableFileError(ValueError):
    """A landing file of which nothing can be read; it is dead-lettered whole."""


def read_chunks(path: Path, arrival: Arrival, start: int = 0) -> Iterator[Landed]:
    """The file's messages, chunk by chunk; for NDJSON from a byte on (what lies before has landed already)."""
    name = path.name.lower()
    compressed = name.endswith(".gz")
    kind = Path(name.removesuffix(".gz")).suffix
    if kind in _NDJSON:
        yield from _ndjson_chunks(path, arrival, start, compressed)
    elif kind == ".csv":
        yield from _frame_chunks(path, arrival, _csv_slices)
    elif kind in (".parquet", ".pq") and not compressed:
        yield from _frame_chunks(path, arrival, _parquet_slices)
    else:
        raise UnreadableFileError(f"unknown kind of file: {path.name} (NDJSON, also gzip; CSV, also gzip; Parquet)")


def unreadable(path: Path, arrival: Arrival, reason: str) -> Landed:
    """A file that cannot be read, as one dead letter with its first bytes; the file stays where it is."""
    with path.open("rb") as stream:
        first = stream.read(_PAYLOAD_BYTES)
    dead = dead_letters([Dead(0, reason[:300], first)], arrival)
    return Landed(_no_rows(), dead, 1, 0, 0)


def _no_rows() -> pl.DataFrame:
    from refrig_assets.contracts import RAW_READINGS

    return RAW_READINGS.empty()


def _ndjson_chunks(path: Path, arrival: Arrival, start: int, compressed: bool) -> Iterator[Landed]:
    with path.open("rb") as file:
        stream: BinaryIO | gzip.GzipFile = gzip.GzipFile(fileobj=file) if compressed else file
        stream.seek(start)
        offset, rest = start, b""
        while True:
            try:
                block = stream.read(CHUNK_BYTES)
            except (EOFError, OSError, zlib.error) as error:
                yield from _broken_gzip(path, arrival, offset, rest, error)
                return
            text = rest + block
            cut = len(text) if not block else text.rfind(b"\n") + 1
            if cut:
                yield land_messages(read_lines(text[:cut], offset), arrival)
            offset, rest = offset + cut, text[cut:]
            if not block:
                return


def _broken_gzip(path: Path, arrival: Arrival, offset: int, rest: bytes, error: Exception) -> Iterator[Landed]:
    """What a damaged gzip file still yields, line by line, and one dead letter for the damage."""
    recovered = rest + _salvage(path)[offset + len(rest) :]
    cut = recovered.rfind(b"\n") + 1
    if cut:
        yield land_messages(read_lines(recovered[:cut], offset), arrival)
    reason = f"gzip stream is damaged or ends early: {error}"
    yield Landed(
        _no_rows(), dead_letters([Dead(offset + cut, reason, recovered[cut:][:_PAYLOAD_BYTES])], arrival), 1, 0, 0
    )


def _salvage(path: Path) -> bytes:
    """Every byte that can be decompressed before the damage."""
    inflate = zlib.decompressobj(wbits=31)
    pieces = []
    with path.open("rb") as stream:
        while block := stream.read(1 << 16):
            try:
                pieces.append(inflate.decompress(block))
            except zlib.error:
                break
    return b"".join(pieces)


def _frame_chunks(path: Path, arrival: Arrival, slices: Callable[[Path], Iterator[pl.DataFrame]]) -> Iterator[Landed]:
    offset = 0
    try:
        for frame in slices(path):
            moved = Arrival(arrival.source, arrival.hour, arrival.first_sequence + offset, arrival.stage)
            yield land_table(frame, moved)
            offset += frame.height
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        raise UnreadableFileError(f"not readable as {path.suffix.lstrip('.')}: {str(error).splitlines()[0]}") from error


def _parquet_slices(path: Path) -> Iterator[pl.DataFrame]:
    rows = pl.scan_parquet(path, glob=False).select(pl.len()).collect().item()
    for start in range(0, rows, CHUNK_ROWS):
        yield (
            pl.read_parquet(path, n_rows=CHUNK_ROWS, row_index_offset=0, glob=False)
            if start == 0
            else pl.scan_parquet(path, glob=False).slice(start, CHUNK_ROWS).collect(engine="in-memory")
        )


def _csv_slices(path: Path) -> Iterator[pl.DataFrame]:
    if not os.path.getsize(path):
        return
    batches = pl.scan_csv(path, infer_schema=False, glob=False).collect_batches(
        chunk_size=CHUNK_ROWS, maintain_order=True
    )
    yield from batches
