"""Spool files for tests: appended to, and read to where nothing more is."""

from pathlib import Path

from streaming.transports.base import Block
from streaming.transports.spool import SpoolReader, SpoolTransport

BIG = 1 << 26


def opened(partition: Path, position: int = 0) -> SpoolReader:
    return SpoolTransport(partition.parent).open(partition.name, position)


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def drain(reader: SpoolReader, max_bytes: int = BIG) -> list[Block]:
    blocks = []
    while (block := reader.poll(max_bytes)) is not None:
        blocks.append(block)
    return blocks


def text(blocks: list[Block]) -> bytes:
    return b"".join(b.lines for b in blocks)
