"""The registry as the rules need it: which shard a device belongs to, its limits, its site. Judges nothing."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]

RULE_COLUMNS = (
    "device_id",
    "timestamp_device",
    "timestamp_ingested",
    "current_compressor",
    "vibration_compressor",
    "pressure_low_side",
    "temperature_evaporator",
    "defrost_cycle",
    "arrived_at",
)
UNKNOWN_SITE = "unknown"


def shard_of(device_id: str, shards: int) -> int:
    """The same in every process and version, so that saved state finds its shard again."""
    return zlib.crc32(device_id.encode()) % shards


class Positions:
    """Where each of a set of identities stands. Looking up a column costs a tenth of a microsecond a row."""

    def __init__(self, ids: Sequence[str]) -> None:
        names = pl.Series(ids, dtype=pl.String)
        self._seed = 0
        while True:  # two identities of one hash would be taken for each other: another seed tells them apart
            hashes = names.hash(self._seed).to_numpy()
            self._order = np.argsort(hashes, kind="stable").astype(np.int64)
            self._sorted = hashes[self._order]
            if len(self._sorted) < 2 or (self._sorted[1:] != self._sorted[:-1]).all():
                return
            if names.n_unique() < len(names):
                raise ValueError("identities must be unique")
            self._seed += 1

    def find(self, ids: pl.Series) -> I64:
        """The position of each; -1 where it is not one of them."""
        if not len(self._sorted):
            return np.full(len(ids), -1, dtype=np.int64)
        hashes = ids.hash(self._seed).to_numpy()
        at = np.searchsorted(self._sorted, hashes)
        at[at == len(self._sorted)] = 0
        found: I64 = np.where(self._sorted[at] == hashes, self._order[at], -1)
        return found


@dataclass(frozen=True)
class Thresholds:
    """The limits of one shard's devices, by position among its sorted identities."""

    device_ids: tuple[str, ...]
    current_a: F64
    vibration_baseline: F64
    """NaN where the registry has none"""
    pressure_drop: F64
    temperature_rise: F64
    interval_us: I64
    reports_defrost: npt.NDArray[np.bool_]
    """false where the registry's list of expected sensors has no defrost"""

    @classmethod
    def of(cls, registry: pl.DataFrame) -> "Thresholds":
        rows = registry.sort("device_id")

        def numbers(name: str) -> F64:
            return rows[name].cast(pl.Float64).to_numpy().astype(np.float64)

        return cls(
            device_ids=tuple(rows["device_id"].to_list()),
            current_a=numbers("current_threshold_a"),
            vibration_baseline=numbers("vibration_baseline_mm_s"),
            pressure_drop=numbers("pressure_drop_fraction"),
            temperature_rise=numbers("temperature_rise_c_per_min"),
            interval_us=rows["expected_interval_s"].cast(pl.Int64).to_numpy() * 1_000_000,
            reports_defrost=_reports(rows["expected_sensors"], "defrost_cycle"),
        )


def _reports(expected: pl.Series, sensor: str) -> npt.NDArray[np.bool_]:
    """A list that is empty or missing says nothing: taken for all sensors."""
    told = (
        expected.alias("expected")
        .to_frame()
        .select((pl.col("expected").list.contains(sensor) | (pl.col("expected").list.len() == 0)).fill_null(value=True))
    )
    return told.to_series().to_numpy().astype(np.bool_)


class Fleet:
    """The active devices of a registry, spread over shards."""

    def __init__(self, active: pl.DataFrame, shards: int) -> None:
        self.active = active
        self.shards = shards
        self._shard = np.array([shard_of(d, shards) for d in active["device_id"]], dtype=np.int64)
        self._positions = Positions(active["device_id"].to_list())

    @classmethod
    def of(cls, registry: pl.DataFrame, shards: int) -> "Fleet":
        """From the contract's device_registry. Retired devices are not judged."""
        return cls(registry.filter(pl.col("status") == "active").sort("device_id"), shards)

    def split(self, rows: pl.DataFrame) -> dict[int, pl.DataFrame]:
        """The rows of active devices by shard, in their order, with the columns of the rules alone.

        What is left out belongs to unknown or retired devices: as many rows as these frames lack.
        """
        at = self._positions.find(rows["device_id"])
        known = np.flatnonzero(at >= 0)
        shard = self._shard[at[known]]
        by_shard = np.argsort(shard, kind="stable")
        sorted_rows = rows.select(RULE_COLUMNS)[known[by_shard]]
        ends = np.cumsum(np.bincount(shard, minlength=self.shards)).tolist()
        begins = [0, *ends[:-1]]
        return {s: sorted_rows[b:e] for s, (b, e) in enumerate(zip(begins, ends, strict=True)) if e > b}

    def thresholds(self, shard: int) -> Thresholds:
        return Thresholds.of(self.active.filter(pl.Series(self._shard == shard, dtype=pl.Boolean)))

    def facts(self, device_ids: pl.Series) -> pl.DataFrame:
        """What an alert says of the devices asked for, in order; unknown where the registry no longer has one."""
        names = ("site_id", "site_name", "firmware_version", "model", "maintenance_contact")
        at = self._positions.find(device_ids)
        rows = pl.Series(at).set(pl.Series(at < 0), None)
        return self.active.select(pl.col(names).gather(rows)).with_columns(pl.col("site_id").fill_null(UNKNOWN_SITE))

    @cached_property
    def devices_by_site(self) -> dict[str, int]:
        return self._count("site_id")

    @cached_property
    def devices_by_firmware(self) -> dict[str, int]:
        return self._count("firmware_version")

    @cached_property
    def site_names(self) -> dict[str, str]:
        named = self.active.drop_nulls("site_name").unique("site_id", keep="first", maintain_order=True)
        return dict(named.select("site_id", "site_name").iter_rows())

    def _count(self, column: str) -> dict[str, int]:
        return dict(self.active.drop_nulls(column).group_by(column).len().sort(column).iter_rows())
