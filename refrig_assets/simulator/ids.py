"""Event identities: UUID-shaped, unique, the same for the same (seed, purpose, device, time). Nothing else."""

import io

import numpy as np
import polars as pl

from refrig_assets.simulator import noise
from refrig_assets.simulator.noise import I64

HEX = np.frombuffer(b"".join(f"{i:02x}".encode() for i in range(256)), dtype=np.uint16)
_DASHES = (8, 13, 18, 23)
_WHERE = np.array([i for i in range(36) if i not in _DASHES])


def event_ids(seed: int, purpose: str, device: I64, index: I64) -> pl.Series:
    """Random (version 4) UUIDs of 122 hashed bits."""
    n = len(device)
    if not n:
        return pl.Series("event_id", [], dtype=pl.String)
    raw = np.empty((n, 2), dtype=np.uint64)
    raw[:, 0] = noise.bits(seed, f"{purpose}/a", device, index)
    raw[:, 1] = noise.bits(seed, f"{purpose}/b", device, index)
    octets = raw.view(np.uint8).reshape(n, 16)
    octets[:, 6] = octets[:, 6] & 0x0F | 0x40
    octets[:, 8] = octets[:, 8] & 0x3F | 0x80
    text = np.full((n, 37), ord("-"), dtype=np.uint8)
    text[:, _WHERE] = HEX[octets].view(np.uint8).reshape(n, 32)
    text[:, 36] = ord("\n")
    # Polars' CSV reader is the fastest public way from fixed-width bytes to strings.
    return pl.read_csv(io.BytesIO(text.tobytes()), has_header=False, schema={"event_id": pl.String}).to_series()
