"""Splits in time: neighbouring rows are alike, so what is held out is held out in whole blocks."""

import numpy as np

from refrig_assets.models.base import F64, I64, Bools

BLOCKS = 4


def blocks_of(time_us: I64 | None, device: I64, blocks: int = BLOCKS) -> I64:
    """The block of each row: equal stretches of time, or of a device's rows where there is no time, all of them filled.

    Of a device's rows, not of all of them: a table sorted by device would have each device in one block only.
    """
    if not len(device):
        return np.zeros(0, dtype=np.int64)
    if time_us is None:
        found = (turns(device) * blocks).astype(np.int64)
    else:
        edges = np.quantile(time_us, np.linspace(0, 1, blocks + 1)[1:-1])
        found = np.searchsorted(edges, time_us, side="right").astype(np.int64)
    return np.unique(found, return_inverse=True)[1].astype(np.int64)


def turns(device: I64) -> F64:
    """How far along its device's rows each row is, from 0 up to below 1."""
    _, code, size = np.unique(device, return_inverse=True, return_counts=True)
    order = np.argsort(code, kind="stable")
    found = np.empty(len(device))
    found[order] = np.arange(len(device)) - np.repeat(np.cumsum(size) - size, size)
    return np.asarray(found / size[code], dtype=np.float64)


def last_part(order: F64, share: float) -> tuple[Bools, Bools]:
    """Rows before and in the last share of them, with a tenth as many left out between.

    By rows rather than by the clock: one time far out must not leave a single row on one side. Either part is empty
    where there are not times enough to part.
    """
    gap, cut = np.quantile(order, [1 - 1.1 * share, 1 - share])
    return order < gap, order >= cut
