"""What is normal for a device: its own level where it is known long enough, its cohort's or the fleet's where not.

The level is the median of what conditions leave, drawn towards the cohort's by as much as the device is unknown; the
spread is what devices strayed from levels learnt in other blocks of time.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from refrig_assets.models.base import F32, F64, I64

_MAD = 1.4826
CLIP = 25.0
# In robust deviations: what lies farther counts as if it lay here.
_FAR = 4.0
# In how far devices of a cohort lie apart: a level beyond is an ill machine's, and only so much of it is normal.
_FARTHEST = 4.0


@dataclass(frozen=True)
class DeviceNormals:
    """Levels and spreads. The last row of the cohort arrays is the fleet's; NaN in a device's level: not known."""

    level: F64
    """device × column"""
    weight: F64
    """device × column: how far the device's own level is trusted, 0 to 1"""
    cohort_level: F64
    within: F64
    """cohort × column: how far a device strays from its own level"""
    between: F64
    """cohort × column: how far devices lie apart"""

    @classmethod
    def none(cls) -> "DeviceNormals":
        nothing = np.zeros((0, 0))
        return cls(nothing, nothing, nothing, nothing, nothing)

    @classmethod
    def learn(cls, left: F64, device: I64, cohort: I64, devices: int, cohorts: int, alike: float) -> "DeviceNormals":
        """`alike` rows of a device, being neighbours, tell as much of its level as one."""
        columns = left.shape[1]
        level, count = group_medians(left, device, devices)
        cohort_level = np.empty((cohorts + 1, columns))
        # The level of a cohort is that of its middle device, or of its rows where devices are not told apart.
        fleet_rows = level if np.isfinite(level).any() else left
        cohort_level[-1] = _median(fleet_rows) if np.isfinite(fleet_rows).any() else _median(left)
        home = _home(device, cohort, devices)
        for c in range(cohorts):
            mine = level[home == c] if np.isfinite(level[home == c]).any() else left[cohort == c]
            own = _median(mine)
            cohort_level[c] = np.where(np.isfinite(own), own, cohort_level[-1])
        within = _by_cohort(left - _of(level, device, cohort_level[cohort]), cohort, cohorts)
        between = _by_cohort(level - cohort_level[home], home, cohorts)
        return cls(level, np.zeros_like(level), cohort_level, within, between)._weighed(count / alike, home)

    def _weighed(self, count: F64, home: I64) -> "DeviceNormals":
        """Trust a device's level by how far devices differ against how far one strays."""
        noise = self.within[home] ** 2 / np.maximum(count, 1e-9)
        spread = self.between[home] ** 2
        with np.errstate(all="ignore"):
            weight = np.where(spread + noise > 0, spread / (spread + noise), 0.0)
        return replace(self, weight=np.where(np.isfinite(self.level), np.nan_to_num(weight), 0.0))

    def with_spread(
        self, away: F64, outside: F64, device: I64, cohort: I64, block: I64, cohorts: int
    ) -> "DeviceNormals":
        """The spreads as seen from other blocks of time, in place of those of the rows learnt from."""
        known = _of(self.weight, device, np.zeros((len(away), self.cohort_level.shape[1]))) > 0
        within = _by_cohort(np.where(known, away, np.nan), cohort, cohorts)
        unknown = _by_cohort(outside - self.cohort_level[cohort], cohort, cohorts)
        within = np.where(np.isfinite(within), within, unknown)
        total = np.where(np.isfinite(unknown), unknown, within)
        between = np.sqrt(np.maximum(total**2 - within**2, 0.0))
        return replace(self, within=within, between=np.where(np.isfinite(self.between), self.between, between))

    def with_levels(self, other: "DeviceNormals") -> "DeviceNormals":
        """The other's levels and trust in them, with these spreads."""
        return replace(self, level=other.level, weight=other.weight, cohort_level=other.cohort_level)

    def with_drift(self, drift: F64) -> tuple["DeviceNormals", F64]:
        """Spreads with what columns go by their trend, and what part of them that is."""
        within = np.sqrt(self.within**2 + drift**2)
        usual = within[-1]
        part = np.divide(drift, usual, out=np.zeros_like(drift), where=np.isfinite(usual) & (usual > 0))
        return replace(self, within=within), part

    def expected(self, device: I64, cohort: I64) -> F64:
        home = self.cohort_level[cohort]
        if not len(self.level):
            return home
        apart = np.nan_to_num(self.between[cohort])
        farthest = np.where(apart > 0, _FARTHEST * apart, np.inf)
        own = np.clip(np.nan_to_num(self.level[device] - home), -farthest, farthest) * self.weight[device]
        return home + np.where((device >= 0)[:, None], own, 0.0)

    def standardise(self, away: F64, device: I64, cohort: I64) -> F32:
        trust = self.weight[device] * (device >= 0)[:, None] if len(self.weight) else np.zeros_like(away)
        within, between = self.within[cohort], np.nan_to_num(self.between[cohort])
        spread = np.sqrt(within**2 + (1 - trust) * between**2)
        usable = np.isfinite(spread) & (spread > 0)
        z = np.where(usable, away / np.where(usable, spread, 1.0), 0.0)
        return np.asarray(np.clip(np.nan_to_num(z), -CLIP, CLIP), dtype=np.float32)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def restore(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> "DeviceNormals":
        return cls(**{f.name: arrays[f.name] for f in fields(cls)})


def group_medians(values: F64, group: I64, groups: int) -> tuple[F64, I64]:
    """Median (NaN where there is none) and count of every group (row) and column; group -1 is left out."""
    names = [f"{j}" for j in range(values.shape[1])]
    known = group >= 0
    frame = pl.DataFrame(values[known], schema=names, nan_to_null=True) if names else pl.DataFrame()
    found = (
        frame.with_columns(group=pl.Series(group[known]))
        .group_by("group")
        .agg(pl.col(names).median(), pl.col(names).count().name.suffix("_count"))
    )
    medians = np.full((groups, len(names)), np.nan)
    counts = np.zeros((groups, len(names)), dtype=np.int64)
    at = found["group"].to_numpy()
    medians[at] = found.select(pl.col(names).fill_null(np.nan)).to_numpy()
    counts[at] = found.select(f"{n}_count" for n in names).to_numpy()
    return medians, counts


def _of(level: F64, device: I64, otherwise: F64) -> F64:
    if not len(level):
        return otherwise
    own = level[device]
    return np.where((device >= 0)[:, None] & np.isfinite(own), own, otherwise)


def _home(device: I64, cohort: I64, devices: int) -> I64:
    """The cohort of each device; -1, the fleet's row, where it has none."""
    home = np.full(devices, -1, dtype=np.int64)
    known = device >= 0
    home[device[known]] = cohort[known]
    return home


def _median(values: F64) -> F64:
    """Median of each column's numbers; NaN where it has none."""
    return np.array([np.median(c[np.isfinite(c)]) if np.isfinite(c).any() else np.nan for c in values.T])


def _spread(values: F64) -> F64:
    """Root mean square about the median, outliers counted as far as a limit: neither one ill machine in ten nor a
    regime in which all is still decides it alone."""
    if len(values) < 2:
        return np.full(values.shape[1], np.nan)
    return np.array([_spread_of(column[np.isfinite(column)]) for column in values.T])


def _spread_of(values: F64) -> float:
    if not len(values):
        return float("nan")
    away = values - np.median(values)
    robust = _MAD * float(np.median(np.abs(away)))
    limit = _FAR * robust if robust > 1e-9 * float(np.abs(away).max()) else np.inf
    return float(np.sqrt(np.mean(np.clip(away, -limit, limit) ** 2)))


def _by_cohort(values: F64, cohort: I64, cohorts: int) -> F64:
    """Spread by cohort, the fleet's last; a cohort of few rows takes the fleet's where it has none."""
    found = np.full((cohorts + 1, values.shape[1]), np.nan)
    found[-1] = _spread(values)
    for c in range(cohorts):
        mine = values[cohort == c]
        own = _spread(mine)
        few = np.isfinite(mine).sum(axis=0) < 20
        found[c] = np.where(np.isfinite(own) & ~few, own, found[-1])
    return found
