"""Reading a plant's file in bounded pieces: CSV, NDJSON (both also gzip), Parquet. What columns mean is not known here.

Every line is a row: a line that cannot be read becomes a row of nulls, which landing sets aside with its number.
"""

import codecs
import csv
import gzip
import io
import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import polars as pl

from refrig_assets.transforms.mapping import SourceFormat

BLOCK_BYTES = 32 * 1024 * 1024
CHUNK_ROWS = 250_000
_KINDS = {
    ".csv": "csv", ".txt": "csv", ".tsv": "csv",
    ".parquet": "parquet", ".pq": "parquet",
    ".ndjson": "ndjson", ".jsonl": "ndjson", ".json": "ndjson",
}  # fmt: skip
_FEW_LINES = 64
_DELIMITERS = ",;\t|"
Progress = Callable[[int, int], None]


class ImportFailedError(RuntimeError):
    """A file that cannot be imported; the message says why, and what to do."""


@dataclass
class Source:
    """A plant's file, opened anew for each pass."""

    path: Path
    format: SourceFormat
    kind: str
    compressed: bool
    block_bytes: int = BLOCK_BYTES
    chunk_rows: int = CHUNK_ROWS
    unreadable_lines: int = 0
    columns: list[str] = field(default_factory=list)
    delimiter: str = ","

    def chunks(self, progress: Progress | None = None) -> Iterator[pl.DataFrame]:
        self.unreadable_lines = 0
        if self.kind == "parquet":
            yield from self._parquet_chunks(progress)
        elif self.kind == "csv":
            yield from self._line_chunks(self._read_csv, progress, header=True)
        else:
            yield from self._line_chunks(self._read_ndjson, progress, header=False)

    # -- parquet -------------------------------------------------------------------------------------------------

    def _parquet_chunks(self, progress: Progress | None) -> Iterator[pl.DataFrame]:
        scan = pl.scan_parquet(self.path, glob=False)
        rows = int(scan.select(pl.len()).collect().item())
        for start in range(0, rows, self.chunk_rows):
            yield _flat(scan.slice(start, self.chunk_rows).collect(engine="in-memory"))
            if progress:
                progress(min(start + self.chunk_rows, rows), rows)

    # -- lines ---------------------------------------------------------------------------------------------------

    def _line_chunks(
        self, read: Callable[[list[bytes]], pl.DataFrame], progress: Progress | None, *, header: bool
    ) -> Iterator[pl.DataFrame]:
        skip = self.format.skip_rows + (1 + self.format.skip_rows_after_header if header else 0)
        total = self.path.stat().st_size
        for lines, done in self._blocks():
            skipped = min(skip, len(lines))
            skip -= skipped
            kept = [line for line in lines[skipped:] if line.strip()]
            if kept:
                yield read(kept)
            if progress:
                progress(done, total)

    def _blocks(self) -> Iterator[tuple[list[bytes], int]]:
        """Whole lines as UTF-8, and how far in the file they end."""
        decode = (
            None if _is_utf8(self.format.encoding) else codecs.getincrementaldecoder(self.format.encoding)("replace")
        )
        rest = b""
        with self.path.open("rb") as file:
            stream = cast(BinaryIO, gzip.GzipFile(fileobj=file)) if self.compressed else file
            while True:
                try:
                    block = stream.read(self.block_bytes)
                except (EOFError, OSError, zlib.error) as error:
                    raise ImportFailedError(
                        f"{self.path.name} is damaged or cut off ({error}); get it again. Nothing was imported."
                    ) from error
                ended = not block
                if decode is not None:
                    block = decode.decode(block, ended).encode()
                text = rest + block
                cut = len(text) if ended else text.rfind(b"\n") + 1
                rest = text[cut:]
                if cut:
                    yield text[:cut].removesuffix(b"\n").split(b"\n"), file.tell()
                if ended:
                    return

    def _read_csv(self, lines: list[bytes]) -> pl.DataFrame:
        """Lines as columns of text. Where Polars refuses or joins lines, halves are tried down to a few, then each."""
        schema = dict.fromkeys(self.columns, pl.String)
        try:
            found = pl.read_csv(
                io.BytesIO(b"\n".join(lines) + b"\n"),
                has_header=False,
                schema=schema,
                separator=self.delimiter,
                encoding="utf8-lossy",
                truncate_ragged_lines=True,
            )
        except pl.exceptions.PolarsError:
            found = None
        if found is not None and found.height == len(lines):
            return found
        if len(lines) <= _FEW_LINES:
            return pl.DataFrame([self._read_line(line) for line in lines], schema=schema, orient="row")
        middle = len(lines) // 2
        return pl.concat([self._read_csv(lines[:middle]), self._read_csv(lines[middle:])])

    def _read_line(self, line: bytes) -> list[str | None]:
        """A line alone; nulls where its quotes do not match, as they would swallow what follows."""
        try:
            text = line.decode("utf-8", "replace").rstrip("\r\n")
            cells: list[str | None] = [
                c or None for c in next(csv.reader([text], delimiter=self.delimiter, strict=True))
            ]
        except (csv.Error, StopIteration):
            self.unreadable_lines += 1
            cells = []
        return [*cells, *[None] * len(self.columns)][: len(self.columns)]

    def _read_ndjson(self, lines: list[bytes]) -> pl.DataFrame:
        """Objects as columns, nested ones by path. Everything as text, so that chunks look alike."""
        records = []
        for line in lines:
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                record = None
            if not isinstance(record, dict):
                self.unreadable_lines += 1
                record = {}
            records.append(_flat_record(record))
        columns = list(dict.fromkeys([*self.columns, *(k for r in records for k in r)]))
        return pl.DataFrame(
            {c: pl.Series([r.get(c) for r in records], dtype=pl.String) for c in columns},
        )


def open_source(
    path: Path, source: SourceFormat, block_bytes: int = BLOCK_BYTES, chunk_rows: int = CHUNK_ROWS
) -> Source:
    """Look at a file: which kind, which columns."""
    if not path.is_file():
        raise ImportFailedError(f"{path}: there is no such file" if not path.exists() else f"{path} is not a file")
    if not path.stat().st_size:
        raise ImportFailedError(f"{path.name} is empty: there is nothing to import")
    name = path.name.lower()
    kind = source.kind or _KINDS.get(Path(name.removesuffix(".gz")).suffix)
    if kind is None:
        raise ImportFailedError(
            f'{path.name}: unknown kind of file; say kind = "csv", "parquet" or "ndjson" under [source]'
        )
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    found = Source(path, source, kind, compressed, block_bytes, chunk_rows)
    _read_columns(found)
    return found


def _read_columns(source: Source) -> None:
    if source.kind == "parquet":
        try:
            frame = _flat(pl.scan_parquet(source.path, glob=False).head(0).collect())
        except (pl.exceptions.PolarsError, OSError) as error:
            raise ImportFailedError(
                f"{source.path.name} is not readable as Parquet: {str(error).splitlines()[0]}"
            ) from error
        source.columns = frame.columns
        return
    first = next((lines for lines, _ in Source(**{**vars(source), "block_bytes": 1 << 20})._blocks()), [])
    lines = first[source.format.skip_rows :]
    if source.kind == "csv":
        if not lines:
            raise ImportFailedError(f"{source.path.name} has no header: skip_rows leaves nothing")
        _read_header(source, lines[0])
    else:
        source.columns = source._read_ndjson([line for line in lines if line.strip()][:1000] or [b"{}"]).columns
        source.unreadable_lines = 0


def _read_header(source: Source, line: bytes) -> None:
    text = line.decode("utf-8", "replace").removeprefix("\ufeff").strip("\r\n")
    if "\x00" in text:
        raise ImportFailedError(
            f"{source.path.name} is not text; if it is, declare its encoding (utf-16?) under [source]"
        )
    source.delimiter = source.format.delimiter or max(_DELIMITERS, key=text.count)
    names = [n.strip() for n in next(csv.reader([text], delimiter=source.delimiter), [])]
    seen: Counter[str] = Counter()
    for number, name in enumerate(names):
        seen[name] += 1
        unique = name if seen[name] == 1 else f"{name} ({seen[name]})"
        source.columns.append(unique or f"column {number + 1}")


def _is_utf8(encoding: str) -> bool:
    return codecs.lookup(encoding).name in ("utf-8", "ascii")


def _flat(frame: pl.DataFrame) -> pl.DataFrame:
    """Struct columns as columns of their own, named by path."""
    while nested := [n for n, t in frame.schema.items() if isinstance(t, pl.Struct)]:
        for name in nested:
            frame = frame.with_columns(pl.col(name).name.prefix_fields(f"{name}.")).unnest(name)
    return frame


def _flat_record(record: dict[str, Any], prefix: str = "") -> dict[str, str | None]:
    flat: dict[str, str | None] = {}
    for key, value in record.items():
        if isinstance(value, dict):
            flat |= _flat_record(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = None if value is None else value if isinstance(value, str) else json.dumps(value)
    return flat
