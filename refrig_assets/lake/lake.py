"""The lake: where the tables live and how they come to be. The only package that opens Delta tables."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.schema import ArrayType, Field, PrimitiveType, Schema

from refrig_assets.contracts import BY_NAME, CONTRACTS
from refrig_assets.contracts.base import PARTITION_DATE, Contract
from refrig_assets.lake.files import is_local
from refrig_assets.lake.table import Table

DEFAULT_LAKE = "data/lake"
_CREATION_ATTEMPTS = 5
_PRIMITIVES: dict[object, str] = {
    pl.String: "string",
    pl.Float64: "double",
    pl.Int32: "integer",
    pl.Int64: "long",
    pl.Boolean: "boolean",
    pl.Date: "date",
}


class LakeUnavailableError(RuntimeError):
    """The lake cannot be read or written; the message says which and what to do."""


# What goes wrong outside of the code: a store that does not answer, a full disk, a commit that lost every race.
OUTSIDE_ERRORS: tuple[type[Exception], ...] = (DeltaError, OSError)
PASSING_ERRORS: tuple[type[Exception], ...] = (CommitFailedError, OSError)


@dataclass(frozen=True)
class Lake:
    uri: str = DEFAULT_LAKE
    storage_options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_environment(cls) -> "Lake":
        """REFRIG_LAKE is the URI; REFRIG_STORAGE_OPTIONS a JSON object for the object store."""
        options = json.loads(os.environ.get("REFRIG_STORAGE_OPTIONS", "{}"))
        return cls(os.environ.get("REFRIG_LAKE", DEFAULT_LAKE), options)

    def table(self, contract: Contract | str) -> Table:
        contract = BY_NAME[contract] if isinstance(contract, str) else contract
        return Table(contract, f"{self.uri.rstrip('/')}/{contract.name}", dict(self.storage_options))

    def exists(self) -> bool:
        return all(self.has(c) for c in CONTRACTS)

    def missing_tables(self) -> list[str]:
        """Tables that are not there. A store that cannot be asked raises; it does not pass for an empty one."""
        missing = []
        for contract in CONTRACTS:
            try:
                self.table(contract).open()
            except TableNotFoundError as error:
                if "Unknown scheme" in str(error):
                    raise
                missing.append(contract.name)
        return missing

    def create(self) -> "Lake":
        """Create every table that is not there yet, with comments and constraints. Safe to repeat and to be killed."""
        if is_local(self.uri):
            self._check_local()
        for contract in CONTRACTS:
            self._create_table(contract)
        return self

    def has(self, contract: Contract) -> bool:
        return DeltaTable.is_deltatable(self.table(contract).uri, dict(self.storage_options) or None)

    def _check_local(self) -> None:
        path = Path(self.uri)
        try:
            path.mkdir(parents=True, exist_ok=True)
            probe = path / f".writable-{os.getpid()}"
            probe.write_bytes(b"ok")
            probe.unlink()
        except OSError as error:
            raise LakeUnavailableError(
                f"lake {self.uri!r} is not writable: {error.strerror or error}. "
                "Free space or correct its permissions, or point REFRIG_LAKE to another place."
            ) from error

    def _create_table(self, contract: Contract) -> None:
        table = self.table(contract)
        there = self.has(contract)
        if not there or self._outgrown(table):
            try:
                DeltaTable.create(
                    table.uri,
                    _delta_schema(contract),
                    mode="overwrite" if there else "error",
                    partition_by=[PARTITION_DATE] if contract.partitioned else None,
                    name=contract.name,
                    description=contract.description,
                    configuration={
                        "delta.checkpointInterval": "50",
                        "delta.deletedFileRetentionDuration": "interval 7 days",
                        "delta.logRetentionDuration": "interval 30 days",
                    },
                    storage_options=dict(self.storage_options) or None,
                )
            except DeltaError:
                if not self.has(contract):  # another process was not first either: a real failure
                    raise
        for attempt in range(_CREATION_ATTEMPTS):
            opened = table.open()
            have = opened.metadata().configuration
            missing = {n: e for n, e in _constraints(contract).items() if f"delta.constraints.{n}" not in have}
            if not missing:
                return
            try:
                opened.alter.add_constraint(missing)
            except CommitFailedError:  # another process adds them, too
                if attempt == _CREATION_ATTEMPTS - 1:
                    raise

    def _outgrown(self, table: Table) -> bool:
        """Made before its contract had all its columns, and never written to."""
        opened = table.open()
        names = {field.name for field in opened.schema().fields}
        return not names >= set(table.contract.columns) and not opened.file_uris()

    @cached_property
    def versions(self) -> dict[str, int]:
        return {c.name: self.table(c).version for c in CONTRACTS}


def _delta_schema(contract: Contract) -> Schema:
    fields = [
        Field(name, _delta_type(dtype), nullable=contract.columns[name].nullable, metadata=_comment(contract, name))
        for name, dtype in contract.dtypes.items()
    ]
    if contract.partitioned:
        comment = {"comment": f"UTC day of {contract.hour_of}; physical partition"}
        fields.append(Field(PARTITION_DATE, PrimitiveType("date"), nullable=False, metadata=comment))
    return Schema(fields)


def _comment(contract: Contract, name: str) -> dict[str, str]:
    unit = contract.unit(name)
    return {"comment": f"{contract.columns[name].description}{f' [{unit}]' if unit else ''}"}


def _delta_type(dtype: pl.DataType) -> PrimitiveType | ArrayType:
    if isinstance(dtype, pl.Datetime):
        return PrimitiveType("timestamp")
    if isinstance(dtype, pl.List):
        return ArrayType(_delta_type(dtype.inner), contains_null=True)  # type: ignore[arg-type]
    return PrimitiveType(next(name for kind, name in _PRIMITIVES.items() if dtype == kind))


def _constraints(contract: Contract) -> dict[str, str]:
    """CHECK constraints that keep other writers to the contract's ranges, too."""
    found = {}
    for name, column in contract.columns.items():
        limits = column.metadata or {}
        tests = [
            f"{name} {sign} {limits[k]}"
            for k, sign in (("ge", ">="), ("gt", ">"), ("le", "<="))
            if limits.get(k) is not None
        ]
        if limits.get("isin") is not None:
            tests.append(f"{name} IN ({', '.join(repr(v) for v in limits['isin'])})")
        if tests:
            test = " AND ".join(tests)
            found[f"{name}_valid"] = f"{name} IS NULL OR ({test})" if column.nullable else test
    return found
