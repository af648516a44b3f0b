"""Randomness as a pure function of (seed, purpose, device, time): no state, no order. Nothing of refrigeration here.

Every random value of the simulator is a hash of what it is for. So an hour, a range of hours, or a single reading of
one device come out the same however and in whatever order they are asked for, and a bigger fleet does not change the
smaller one's values. A walk over days is a sum of lattice noises, which can be read at any time without its past.
"""

from functools import lru_cache
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]
Bools = npt.NDArray[np.bool_]

_STEP = np.uint64(0x9E3779B97F4A7C15)
_STEP_TIME = np.uint64(0xD1B54A32D192ED03)
_LOW_16_OF_32 = np.uint64(0x0000FFFF0000FFFF)
_LOW_32 = np.uint64(0xFFFFFFFF)
# Lattice spacings (days) and weights of the day-to-day walk; the squares of the weights sum to 1.
_OCTAVES = ((1, 0.55), (4, 0.60), (15, 0.58))


@lru_cache(maxsize=4096)
def _key(seed: int, purpose: str) -> np.uint64:
    return np.uint64(int.from_bytes(blake2b(f"{seed}:{purpose}".encode(), digest_size=8).digest(), "little"))


def _mix(h: U64) -> U64:
    """The finaliser of splitmix64, in place."""
    h ^= h >> np.uint64(30)
    h *= np.uint64(0xBF58476D1CE4E5B9)
    h ^= h >> np.uint64(27)
    h *= np.uint64(0x94D049BB133111EB)
    h ^= h >> np.uint64(31)
    return h


def bits(seed: int, purpose: str, device: npt.NDArray[Any], index: npt.NDArray[Any] | int = 0) -> U64:
    """64 random bits for each (device, index), broadcast against each other."""
    device_bits = _mix(device.astype(np.uint64) * _STEP + _key(seed, purpose))
    at = np.asarray(index, dtype=np.int64).astype(np.uint64) * _STEP_TIME
    return _mix(np.atleast_1d(device_bits + at))


def uniform(seed: int, purpose: str, device: npt.NDArray[Any], index: npt.NDArray[Any] | int = 0) -> F64:
    """Uniform in [0, 1)."""
    return (bits(seed, purpose, device, index) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def normal(seed: int, purpose: str, device: npt.NDArray[Any], index: npt.NDArray[Any] | int = 0) -> F32:
    """Nearly normal with mean 0 and variance 1, never beyond 3.5: the sum of the four 16-bit parts of the hash."""
    h = bits(seed, purpose, device, index)
    h = (h & _LOW_16_OF_32) + ((h >> np.uint64(16)) & _LOW_16_OF_32)
    h = (h & _LOW_32) + (h >> np.uint64(32))
    return (h.astype(np.float32) - np.float32(131070.0)) * np.float32(3**0.5 / 65536.0)


def walk(seed: int, purpose: str, device: npt.NDArray[Any], hour: npt.NDArray[Any]) -> F32:
    """A slow random process with unit variance: lattice noise at 1, 4 and 15 days, each interpolated."""
    total = np.zeros(np.broadcast_shapes(device.shape, hour.shape), dtype=np.float32)
    for days, weight in _OCTAVES:
        # Each device has its lattice shifted, or the whole fleet would turn at midnight.
        shifted = hour + (bits(seed, f"{purpose}/{days}/shift", device) % np.uint64(24 * days)).astype(np.int64)
        cell, rest = np.divmod(shifted, 24 * days)
        x = (rest / (24.0 * days)).astype(np.float32)
        name = f"{purpose}/{days}"
        # sin and cos keep the variance the same between the lattice points.
        total += np.float32(weight) * (
            normal(seed, name, device, cell) * np.cos(x * np.float32(np.pi / 2))
            + normal(seed, name, device, cell + 1) * np.sin(x * np.float32(np.pi / 2))
        )
    return total
