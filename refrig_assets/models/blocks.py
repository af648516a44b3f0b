"""Splits in time: neighbouring rows are alike, so what is held out is held out in whole blocks."""

import numpy as np

from refrig_assets.models.base import I64, Bools

BLOCKS = 4


def blocks_of(time_us: I64 | None, rows: int, blocks: int = BLOCKS) -> I64:
    """The block of each row: equal stretches of time, or of rows where there is no time, all of them filled."""
    if rows == 0:
        return np.zeros(0, dtype=np.int64)
    if time_us is None:
        return np.arange(rows, dtype=np.int64) * min(blocks, rows) // rows
    edges = np.quantile(time_us, np.linspace(0, 1, blocks + 1)[1:-1])
    found = np.searchsorted(edges, time_us, side="right").astype(np.int64)
    return np.unique(found, return_inverse=True)[1].astype(np.int64)


def last_part(time_us: I64 | None, rows: int, share: float) -> tuple[Bools, Bools]:
    """Rows before and in the last share of the time, with a stretch of a tenth of it left out between."""
    order = np.arange(rows, dtype=np.float64) if time_us is None else time_us.astype(np.float64)
    start, end = (float(order.min()), float(order.max())) if rows else (0.0, 0.0)
    cut = end - share * (end - start)
    gap = 0.1 * share * (end - start)
    return order < cut - gap, order >= cut
