"""Columns that trend in health, as machines warm up and probes age: how far they may go beyond what was learnt.

Spreads tell detectors nothing of it, since they rescale columns to what they see. So they are shown rows that have
wandered: a column that trends gets noise as wide as its trend, and they learn to look past it.
"""

import numpy as np

from refrig_assets.models.base import F32, F64, I64
from refrig_assets.models.blocks import blocks_of
from refrig_assets.models.normals import group_medians

_BLOCKS = 10
_MOST_DEVICES = 2000
# A slope counts where its square is so many times that of its uncertainty: |t| > 4 for one machine, 2 over many.
_SURE, _SURE_OF_ONE = 4.0, 12.0
# So many machines tell a trend from moods: it goes on in the second half of the time as it began in the first.
_FLEET = 20
_GOES_ON = 0.5
_TINY = 1e-12


def trend(left: F64, device: I64, time_us: I64 | None) -> F64:
    """By column, how far it goes in the time of the rows, root mean square over devices; 0 without a clear trend."""
    block = blocks_of(time_us, device, _BLOCKS)
    device = device if (device >= 0).any() else np.zeros_like(device)
    codes = np.unique(device[device >= 0])
    codes = codes[:: -(-len(codes) // _MOST_DEVICES)]
    place = np.searchsorted(codes, device)
    kept = np.isin(device, codes)
    groups = len(codes) * _BLOCKS
    medians, _ = group_medians(left, np.where(kept, place * _BLOCKS + block, -1), groups)
    level = medians.reshape(len(codes), _BLOCKS, -1)
    count = np.isfinite(level).sum(axis=1)
    slope, unsure = _slopes(level)
    enough = count >= _BLOCKS // 2
    n = np.maximum(enough.sum(axis=0), 1)
    size, doubt = (np.where(enough, v, 0.0).sum(axis=0) / n for v in (slope**2, unsure))
    clear = (size > (_SURE + _SURE_OF_ONE / n) * doubt) & ((n < _FLEET) | (_goes_on(level) >= _GOES_ON))
    return np.sqrt(np.where(clear, np.maximum(size - doubt, 0.0), 0.0))


def _slopes(level: F64) -> tuple[F64, F64]:
    """Device × column, from device × block × column: the slope over the blocks' time, and its variance."""
    blocks = level.shape[1]
    whole = np.isfinite(level)
    count = whole.sum(axis=1)
    when = np.where(whole, np.arange(blocks)[None, :, None] / _BLOCKS, 0.0)
    when = np.where(whole, when - when.sum(axis=1, keepdims=True) / np.maximum(count, 1)[:, None], 0.0)
    level = np.where(whole, level, 0.0)
    level = np.where(whole, level - level.sum(axis=1, keepdims=True) / np.maximum(count, 1)[:, None], 0.0)
    run = np.maximum((when**2).sum(axis=1), _TINY)
    slope = (when * level).sum(axis=1) / run
    unsure = ((level - when * slope[:, None]) ** 2).sum(axis=1) / np.maximum(count - 2, 1) / run
    return slope, unsure


def _goes_on(level: F64) -> F64:
    """By column, how alike the machines' slopes in both halves of the time are: 1 for trends, about 0 for moods that
    come and go over days, however slow."""
    half = _BLOCKS // 2
    first, second = _slopes(level[:, :half])[0], _slopes(level[:, half:])[0]
    both = (np.isfinite(level[:, :half]).sum(axis=1) > 1) & (np.isfinite(level[:, half:]).sum(axis=1) > 1)
    first, second = np.where(both, first, 0.0), np.where(both, second, 0.0)
    size = np.sqrt((first**2).sum(axis=0) * (second**2).sum(axis=0))
    return np.asarray((first * second).sum(axis=0) / np.maximum(size, _TINY), dtype=np.float64)


def wandered(z: F32, wander: F64, seed: int) -> F32:
    """The rows with noise in the columns that trend; the others are as they were."""
    if not wander.any():
        return z
    noise = np.random.default_rng(seed).standard_normal((len(z), int((wander > 0).sum())))
    found = z.copy()
    found[:, wander > 0] += (noise * wander[wander > 0]).astype(np.float32)
    return found
