"""Event identity: hashes of event ids, and which of an hour's events other hours hold. No I/O."""

from functools import cache

import numpy as np
import numpy.typing as npt
import polars as pl

Hashes = npt.NDArray[np.int64]

# Prefilter size: about ten places an id, and no more than stays in cache where there are six million of them.
_PLACES = 10
_FILTER_BITS = range(10, 27)


def event_hashes(event_ids: pl.Series) -> pl.Series:
    """64-bit hashes as Int64. Stable for one Polars version; see `scheme`."""
    return event_ids.hash(seed=0).reinterpret(signed=True).rename("event_hash")


@cache
def scheme() -> int:
    """Changes when hashes change, for example with another Polars: an index of another scheme is built anew."""
    return int(event_hashes(pl.Series(["refrig"])).item())


class HashSet:
    """A fixed set of event hashes that answers quickly which of many others it holds."""

    def __init__(self, sorted_hashes: Hashes) -> None:
        self._sorted = sorted_hashes
        wanted = (_PLACES * len(sorted_hashes)).bit_length()
        self._shift = np.uint64(64 - min(max(wanted, _FILTER_BITS[0]), _FILTER_BITS[-1]))
        self._seen = np.zeros(1 << int(64 - self._shift), dtype=np.bool_)
        self._seen[self._slot(sorted_hashes)] = True

    def _slot(self, hashes: Hashes) -> npt.NDArray[np.uint64]:
        return hashes.view(np.uint64) >> self._shift

    def holds(self, others: Hashes) -> npt.NDArray[np.intp]:
        """Positions of the others that are members."""
        likely = np.flatnonzero(self._seen[self._slot(others)])
        if not len(likely) or not len(self._sorted):
            return likely[:0]
        candidates = others[likely]
        at = np.searchsorted(self._sorted, candidates)
        at[at == len(self._sorted)] = 0
        found: npt.NDArray[np.intp] = likely[self._sorted[at] == candidates]
        return found
