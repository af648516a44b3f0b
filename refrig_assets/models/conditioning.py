"""From rows to residuals: what is left once conditions, cohort and the device's own normal are taken out.

A residual is in units of what a healthy machine strays from its own normal: the spread is measured on days that the
normal was not learnt from, so a channel that wanders from day to day counts for as little as it deserves.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from refrig_assets.models.base import F32, F64, I64, Bools, Names, Roles, numbers
from refrig_assets.models.blocks import blocks_of
from refrig_assets.models.context import Basis, demeaned, response, restlessness
from refrig_assets.models.drift import trend
from refrig_assets.models.normals import DeviceNormals

# A cohort's response to its conditions is its own where it has this many rows, and mostly the fleet's below.
_COHORT_ROWS = 200.0
_RIDGE = 1.0
_DEVICES_FOR_RESTLESSNESS = 20
_MANY_ROWS = 20_000
_ROWS_FOR_RESPONSE = 120_000
_SIZE_UP_TO = 10.0
_ROWS_ALIKE = 8.0
_DAY_US = 86_400_000_000
_CALMED_UP_TO = 9.0


@dataclass(frozen=True)
class Table:
    """Rows as arrays."""

    columns: F64
    context: F64
    device: I64
    cohort: I64
    time_us: I64 | None

    @property
    def missing(self) -> Bools:
        return np.isnan(self.columns)

    def take(self, rows: Bools | I64) -> "Table":
        time = None if self.time_us is None else self.time_us[rows]
        return Table(self.columns[rows], self.context[rows], self.device[rows], self.cohort[rows], time)

    def __len__(self) -> int:
        return len(self.columns)


@dataclass(frozen=True)
class Conditioner:
    """Learnt from rows; turns rows into residuals."""

    roles: Roles
    devices: Names
    cohorts: Names
    basis: Basis
    fleet: F64
    """basis × column"""
    by_cohort: F64
    """cohort × basis × column"""
    normals: DeviceNormals
    restless: F64
    """cohort (the fleet last) × basis × column: how much farther columns stray under which conditions"""
    wander: F64
    """by column, how far it may go by its trend, in spreads"""

    @classmethod
    def fit(cls, rows: pl.DataFrame, roles: Roles) -> tuple["Conditioner", F32, I64]:
        """The conditioner, the rows' residuals as seen from the other blocks of time, and the block of each row."""
        roles.check(rows.columns)
        devices = Names.of(rows[roles.device] if roles.device else None)
        cohorts = Names.of(rows[roles.cohort] if roles.cohort else None)
        table = _table(rows, roles, devices, cohorts)
        block = blocks_of(table.time_us, table.device)
        basis = Basis.of(table.context, table.time_us)
        nothing = _no_response(basis, table, len(cohorts.names))
        bare = cls(
            roles,
            devices,
            cohorts,
            basis,
            *nothing,
            DeviceNormals.none(),
            nothing[1][:1],
            np.zeros(table.columns.shape[1]),
        )
        whole = bare._learn(table)
        outside = np.empty((len(table), table.columns.shape[1]))
        away = np.empty_like(outside)
        for b in range(int(block.max()) + 1):
            inside = block == b
            others = table.take(~inside) if (~inside).any() else table
            # Of many rows, the response to conditions is known as well without a block as with it.
            seen = bare._learn(others) if len(table) < _MANY_ROWS else whole._with_normals(others)
            left = seen._left(table.take(inside))
            outside[inside] = left
            away[inside] = left - seen.normals.expected(table.device[inside], table.cohort[inside])
        spread = whole.normals.with_spread(away, outside, table.device, table.cohort, block, len(cohorts.names))
        spread, wander = spread.with_drift(trend(whole._left(table), table.device, table.time_us))
        z = spread.standardise(away, table.device, table.cohort)
        turns = basis.rows(table.context, table.time_us)
        fitted = replace(whole, normals=spread, wander=wander, restless=_restless(z, turns, table, len(cohorts.names)))
        return fitted, fitted._calmed(z, turns, table.cohort), block

    def refreshed(self, rows: pl.DataFrame) -> "Conditioner":
        """The same, with the devices' levels learnt anew from these rows: the newest normal there is, and the first of
        devices that were not known."""
        known = replace(self, devices=self.devices.and_of(rows[self.roles.device] if self.roles.device else None))
        return replace(known, normals=self.normals.with_levels(known._with_normals(known.table(rows)).normals))

    def residuals(self, rows: pl.DataFrame) -> F32:
        """Row × column, about 1 in size where all is well, 0 where nothing is known."""
        return self.residuals_of(self.table(rows))

    def residuals_of(self, table: Table) -> F32:
        return self._deviations_of(table)[1]

    def deviations(self, rows: pl.DataFrame) -> tuple[F64, F32]:
        """Row × column: how far from what is expected, in the column's own unit (NaN: no value), and as residuals."""
        return self._deviations_of(self.table(rows))

    def _deviations_of(self, table: Table) -> tuple[F64, F32]:
        turns = self.basis.rows(table.context, table.time_us)
        away = self._left(table, turns)
        away -= self.normals.expected(table.device, table.cohort)
        z = self.normals.standardise(away, table.device, table.cohort)
        return away, self._calmed(z, turns, table.cohort)

    def _calmed(self, z: F32, turns: F64, cohort: I64) -> F32:
        """Less is made of a deviation under conditions in which all machines stray: a defrost, an open door."""
        if not self.restless.any():
            return z
        found = np.empty_like(z)
        for c in np.unique(cohort):
            mine = cohort == c
            found[mine] = z[mine] / (1.0 + np.clip(turns[mine] @ self.restless[c], 0.0, _CALMED_UP_TO))
        return found

    def table(self, rows: pl.DataFrame) -> Table:
        self.roles.check(rows.columns)
        return _table(rows, self.roles, self.devices, self.cohorts)

    def _learn(self, table: Table) -> "Conditioner":
        table_of_levels, table = table, table.take(_some(table, _ROWS_FOR_RESPONSE))
        basis = self.basis.rows(table.context, table.time_us)
        # Slopes come from how each device moves, not from how devices differ.
        within, moves = demeaned(table.columns, table.device), basis
        if len(self.devices.names):
            moves = np.hstack([basis[:, :1], demeaned(basis[:, 1:], table.device)])
        fleet = response(moves, within, None, _RIDGE)
        cohorts = np.stack([fleet] * max(len(self.cohorts.names), 1))
        for c in range(len(self.cohorts.names)):
            mine = table.cohort == c
            if mine.sum() > 1 and len(self.cohorts.names) > 1:
                cohorts[c] = response(moves[mine], within[mine], fleet, _COHORT_ROWS)
        fleet[0], cohorts[:, 0] = 0.0, 0.0  # levels are the normals' business
        return replace(self, fleet=fleet, by_cohort=cohorts)._with_normals(table_of_levels)

    def _with_normals(self, table: Table) -> "Conditioner":
        """The same response to conditions, the levels of these rows."""
        normals = DeviceNormals.learn(
            self._left(table),
            table.device,
            table.cohort,
            len(self.devices.names),
            len(self.cohorts.names),
            _alike(table),
        )
        return replace(self, normals=normals)

    def _left(self, table: Table, turns: F64 | None = None) -> F64:
        """What the conditions do not explain."""
        if turns is None:
            turns = self.basis.rows(table.context, table.time_us)
        left = np.empty_like(table.columns)
        for c in np.unique(table.cohort):
            mine = table.cohort == c
            left[mine] = table.columns[mine] - turns[mine] @ (self.fleet if c < 0 else self.by_cohort[c])
        return left

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {
            "devices": self.devices.names,
            "cohorts": self.cohorts.names,
            "basis_centre": self.basis.centre,
            "basis_spread": self.basis.spread,
            "basis_bends": self.basis.bends,
            "basis_daily": np.array(self.basis.daily),
            "response_fleet": self.fleet,
            "response_cohort": self.by_cohort,
            "restless": self.restless,
            "wander": self.wander,
            **{f"normals_{k}": v for k, v in self.normals.arrays().items()},
        }

    @classmethod
    def restore(cls, roles: Roles, arrays: Mapping[str, npt.NDArray[Any]]) -> "Conditioner":
        basis = Basis(
            arrays["basis_centre"], arrays["basis_spread"], arrays["basis_bends"], bool(arrays["basis_daily"])
        )
        normals = DeviceNormals.restore({k[8:]: v for k, v in arrays.items() if k.startswith("normals_")})
        return cls(
            roles,
            Names(arrays["devices"]),
            Names(arrays["cohorts"]),
            basis,
            arrays["response_fleet"],
            arrays["response_cohort"],
            normals,
            arrays["restless"],
            arrays["wander"],
        )


def _restless(z: F32, turns: F64, table: Table, cohorts: int) -> F64:
    """Learnt only where there are machines enough to tell a restless condition from a restless machine."""
    found = np.zeros((cohorts + 1, turns.shape[1], z.shape[1]))
    if len(np.unique(table.device)) < _DEVICES_FOR_RESTLESSNESS:
        return found
    size = np.minimum(np.abs(z), _SIZE_UP_TO).astype(np.float64)
    found[-1] = restlessness(turns, size / np.maximum(np.mean(size, axis=0), 1e-6))
    for c in range(cohorts):
        mine = table.cohort == c
        if not mine.any():
            found[c] = found[-1]
            continue
        own = np.minimum(np.abs(z[mine]), _SIZE_UP_TO).astype(np.float64)
        own /= np.maximum(np.mean(own, axis=0), 1e-6)
        found[c] = restlessness(turns[mine], own, found[-1] if mine.sum() < _MANY_ROWS // 20 else None)
    return found


def _alike(table: Table) -> float:
    """Rows a device and day: rows of one day are alike. Without time, of which nothing is known, a good many."""
    known = table.device >= 0
    if table.time_us is None or not known.any():
        return _ROWS_ALIKE
    days = table.time_us[known] // _DAY_US
    pairs = len(np.unique(table.device[known] * (int(days.max() - days.min()) + 1) + days - days.min()))
    return float(np.clip(known.sum() / pairs, 1.0, _ROWS_ALIKE))


def _some(table: Table, most: int) -> I64:
    """At most about so many rows: all rows of every so manieth device, or every so manieth row."""
    step = -(-len(table) // most)
    if step <= 1:
        return np.arange(len(table), dtype=np.int64)
    if len(np.unique(table.device)) > 20 * step:
        return np.flatnonzero(table.device % step == 0).astype(np.int64)
    return np.arange(0, len(table), step, dtype=np.int64)


def _table(rows: pl.DataFrame, roles: Roles, devices: Names, cohorts: Names) -> Table:
    time = None
    if roles.time is not None:
        time = rows[roles.time].cast(pl.Datetime("us")).dt.epoch("us").to_numpy()
    return Table(
        numbers(rows, roles.features),
        numbers(rows, roles.context),
        devices.codes(rows, roles.device),
        cohorts.codes(rows, roles.cohort),
        time,
    )


def _no_response(basis: Basis, table: Table, cohorts: int) -> tuple[F64, F64]:
    width = basis.rows(table.context[:1], None if table.time_us is None else table.time_us[:1]).shape[1]
    fleet = np.zeros((width, table.columns.shape[1]))
    return fleet, np.stack([fleet] * max(cohorts, 1))
