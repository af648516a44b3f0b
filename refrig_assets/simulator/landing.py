"""A simulated fleet's landing files with registry, truth and account beside them. What is in a line is `wire.py`."""

import gzip
import json
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from refrig_assets.contracts.sensors import NUMERIC_SENSORS
from refrig_assets.simulator import arrivals, wire
from refrig_assets.simulator.fleet import Fleet, make_fleet
from refrig_assets.simulator.mess import Kind, Mess
from refrig_assets.simulator.noise import I64
from refrig_assets.simulator.plan import FaultPlan, no_faults

_GATEWAY_DEVICES = 12_500
_NAMES: dict[Kind, str] = {
    Kind.NEAR_DUPLICATE: "near_duplicates",
    Kind.FAR_DUPLICATE: "far_duplicates",
    Kind.NARROW: "narrow_rows",
}


@dataclass(frozen=True)
class FleetSpec:
    """What to simulate. `faults` must have been planned for `make_fleet(devices, seed, start, interval_s)`."""

    devices: int
    seed: int
    start: datetime
    hours: int
    faults: FaultPlan | None = None
    mess: Mess = field(default_factory=Mess.usual)
    interval_s: int = 60
    gateways: int | None = None

    def fleet(self) -> Fleet:
        return make_fleet(self.devices, self.seed, self.start, self.interval_s)


@dataclass(frozen=True)
class LandingSummary:
    out: Path
    files: int
    bytes: int
    account: dict[str, int]


def write_landing(
    spec: FleetSpec, out: Path, progress: Callable[[int, int], None] | None = None, compress: bool = False
) -> LandingSummary:  # fmt: skip
    """Write the landing files of `spec.hours` hours of arrival, with registry.parquet, truth.parquet and mess.json.

    Messages that would arrive after the last hour are not sent. `progress(done, all)` is called after each hour.
    """
    fleet = spec.fleet()
    source = arrivals.Source.of(fleet, spec.faults or no_faults(fleet), spec.mess)
    if len(source.plan.of_device) != fleet.size:
        raise ValueError(f"the faults are planned for {len(source.plan.of_device)} devices, not {fleet.size}")
    out.mkdir(parents=True, exist_ok=True)
    fleet.registry.write_parquet(out / "registry.parquet")
    source.plan.truth.write_parquet(out / "truth.parquet")
    account: Counter[str] = Counter()
    files = size = 0
    for number in range(spec.hours):
        hour = fleet.start + timedelta(hours=number)
        for gateway, device in enumerate(_gateways(fleet, spec.gateways)):
            frame = arrivals.in_order(arrivals.arriving(source, hour, device))
            _count(account, frame, fleet.seed)
            if frame.height:
                path = out / "landing" / f"{hour:%Y-%m-%d}" / f"{hour:%H}" / f"gateway-{gateway:02d}.ndjson"
                size += _write(path, wire.encode(frame, fleet.seed, spec.mess.nan_token), compress)
                files += 1
        if progress is not None:
            progress(number + 1, spec.hours)
    told = _account(account)
    _replace(out / "mess.json", json.dumps(told, indent=2).encode())
    return LandingSummary(out, files, size, told)


def _gateways(fleet: Fleet, wanted: int | None) -> list[I64]:
    """Devices by gateway; a site's devices share one."""
    sites = int(fleet.devices.site[-1]) + 1
    count = min(sites, wanted or max(2, -(-fleet.size // _GATEWAY_DEVICES)))
    of_device = fleet.devices.site * count // sites
    return [np.flatnonzero(of_device == g).astype(np.int64) for g in range(count)]


def _write(path: Path, lines: bytes, compress: bool) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    if compress:
        # Without a time in the header, the same lines give the same file.
        lines = gzip.compress(lines, compresslevel=1, mtime=0)
        path = path.with_name(path.name + ".gz")
    _replace(path, lines)
    return len(lines)


def _replace(path: Path, content: bytes) -> None:
    half = path.with_name(path.name + ".tmp")
    half.write_bytes(content)
    os.replace(half, path)


def _count(account: Counter[str], frame: pl.DataFrame, seed: int) -> None:
    for number, lines in frame.group_by("_kind").len().iter_rows():
        kind = Kind(number)
        account[_NAMES.get(kind, kind.name.lower())] += lines
    narrow = frame.filter(pl.col("_sensor") >= 0)
    account["narrow_messages"] += narrow.select("_device", "_minute").n_unique() if narrow.height else 0
    account["narrow_rows_without_identity"] += int(wire.is_bare(frame, seed).sum())
    outside = [(pl.col(s.name) < s.low) | (pl.col(s.name) > s.high) | pl.col(s.name).is_nan() for s in NUMERIC_SENSORS]
    readable = ~pl.col("_kind").is_in([int(Kind.BROKEN_JSON), int(Kind.NON_UTF8), int(Kind.NO_IDENTITY)])
    account["rows_outside_range"] += frame.filter(readable & pl.any_horizontal(outside)).height
    shift = (pl.col("timestamp_device") - pl.col("timestamp_ingested")).abs() > timedelta(hours=24)
    account["rows_with_clock_drift"] += frame.filter(readable & shift).height
    account["lines"] += frame.height


_KINDS = tuple(_NAMES.get(k, k.name.lower()) for k in Kind)


def _account(counted: Counter[str]) -> dict[str, int]:
    """Lines by kind, which sum to `lines`; then what a pipeline should make of them."""
    told = {name: counted[name] for name in _KINDS}
    told["lines"] = counted["lines"]
    told["messages"] = told["lines"] - told["narrow_rows"] + counted["narrow_messages"]
    for name in ("narrow_messages", "narrow_rows_without_identity", "rows_outside_range", "rows_with_clock_drift"):
        told[name] = counted[name]
    unreadable = told["broken_json"] + told["non_utf8"] + told["no_identity"]
    told["expected_dead_letters_at_landing"] = unreadable
    told["expected_dead_letters_all_null"] = told["all_null"]
    told["expected_duplicates"] = told["near_duplicates"] + told["far_duplicates"]
    told["expected_quarantined"] = told["unknown_device"]
    told["expected_clean"] = (
        told["lines"] - unreadable - told["all_null"] - told["expected_duplicates"] - told["unknown_device"]
    )
    return told
