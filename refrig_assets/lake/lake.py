"""The lake: where the tables live and how they come to be. The only package that opens Delta tables."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from refrig_assets.contracts import BY_NAME, CONTRACTS
from refrig_assets.contracts.base import PARTITION_DATE, Contract
from refrig_assets.lake import growth
from refrig_assets.lake.files import is_local
from refrig_assets.lake.schema import delta_schema
from refrig_assets.lake.table import Table

DEFAULT_LAKE = "data/lake"


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
        """Create every table that is not there yet, and give older ones what their contracts gained.

        Rows stay as they are. Safe to repeat, to be killed, and beside writers.
        """
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
        if not there or growth.must_be_made_anew(table.open(), contract):
            try:
                DeltaTable.create(
                    table.uri,
                    delta_schema(contract),
                    mode="overwrite" if there else "error",
                    partition_by=[PARTITION_DATE] if contract.partitioned else None,
                    name=contract.name,
                    description=contract.description,
                    configuration={
                        "delta.checkpointInterval": "10",
                        "delta.deletedFileRetentionDuration": "interval 7 days",
                        "delta.logRetentionDuration": "interval 30 days",
                    },
                    storage_options=dict(self.storage_options) or None,
                )
            except DeltaError:
                if not self.has(contract):  # another process was not first either: a real failure
                    raise
        growth.add_columns(table.open(), table.open, contract)
        growth.renew_constraints(table.open, contract)

    def outgrown_tables(self) -> dict[str, list[str]]:
        """Tables made by an earlier version, with what they lack of their contract: `create` adds it."""
        lacking = {c.name: growth.lacks(self.table(c).open(), c) for c in CONTRACTS if self.has(c)}
        return {name: parts for name, parts in lacking.items() if parts}

    @cached_property
    def versions(self) -> dict[str, int]:
        return {c.name: self.table(c).version for c in CONTRACTS}
