"""Reading ahead: the next piece is fetched while the one before is worked on. Knows nothing of what is read."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Piece = TypeVar("Piece")


def ahead(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """The same pieces in the same order, each asked for one early. What fails, fails where it is taken."""
    end = object()
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, pieces, end)
        while (piece := coming.result()) is not end:
            coming = pool.submit(next, pieces, end)
            yield piece  # type: ignore[misc]
