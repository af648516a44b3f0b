"""Tables made by an earlier version of their contracts: what they lack, and how they get it without a row rewritten."""

import re
from collections.abc import Callable

from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError

from refrig_assets.contracts.base import Contract
from refrig_assets.lake.schema import constraints, delta_field

_ATTEMPTS = 20
_PREFIX = "delta.constraints."
# What a constraint compares with; Delta words the rest of an expression in its own way.
_LITERALS = re.compile(r"'([^']*)'|(?<![\w.'])(-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)(?!\w)")
_REFUSED = "failed validation check"


class OutgrownError(RuntimeError):
    """A table cannot be given what its contract gained; the message says why and what to do."""


def lacks(table: DeltaTable, contract: Contract) -> list[str]:
    """Names of the columns, then of the constraints, that the table does not have as the contract has them."""
    missing, stale = _differing_constraints(table, contract)
    return [*_missing_columns(table, contract), *sorted({*missing, *stale})]


def must_be_made_anew(table: DeltaTable, contract: Contract) -> bool:
    """Lacks a column that needs a value, which no row is there to contradict."""
    required = [n for n in _missing_columns(table, contract) if not contract.columns[n].nullable]
    return bool(required) and not table.file_uris()


def add_columns(table: DeltaTable, opened: Callable[[], DeltaTable], contract: Contract) -> DeltaTable:
    """The table with every column of the contract, opened anew if it lacked one: older rows have nulls in it."""
    for attempt in range(_ATTEMPTS):
        missing = _missing_columns(table, contract)
        if not missing:
            return table
        required = [name for name in missing if not contract.columns[name].nullable]
        if required:
            raise OutgrownError(
                f"table {contract.name} was made before its column {required[0]}, which needs a value in every row. "
                "Move its folder away, run `refrig doctor --create`, and make its rows again."
            )
        try:
            table.alter.add_columns([delta_field(contract, name) for name in missing])
        except CommitFailedError:  # a writer, or another process that adds them, was first
            if attempt == _ATTEMPTS - 1:
                raise
        table = opened()
    raise AssertionError("unreachable")


def renew_constraints(opened: Callable[[], DeltaTable], contract: Contract) -> None:
    """Add constraints that are not there, and put the contract's in the place of those that say something else."""
    for attempt in range(_ATTEMPTS):
        table = opened()
        missing, stale = _differing_constraints(table, contract)
        if not missing and not stale:
            return
        try:
            for name in stale:
                table.alter.drop_constraint(name)
                table = opened()
            table.alter.add_constraint(missing | stale)
        except CommitFailedError:
            if attempt == _ATTEMPTS - 1:
                raise
        except DeltaError as error:
            if _REFUSED not in str(error):
                raise
            told = f"table {contract.name} holds rows that its contract refuses (one of {', '.join(missing | stale)})"
            raise OutgrownError(f"{told}: correct or delete them.\n{error}") from error


def _missing_columns(table: DeltaTable, contract: Contract) -> list[str]:
    have = {field.name for field in table.schema().fields}
    return [name for name in contract.columns if name not in have]


def _differing_constraints(table: DeltaTable, contract: Contract) -> tuple[dict[str, str], dict[str, str]]:
    have = table.metadata().configuration
    wanted = constraints(contract)
    missing = {n: e for n, e in wanted.items() if f"{_PREFIX}{n}" not in have}
    stale = {n: e for n, e in wanted.items() if n not in missing and _literals(have[_PREFIX + n]) != _literals(e)}
    return missing, stale


def _literals(expression: str) -> set[str | float]:
    return {float(number) if number else text for text, number in _LITERALS.findall(expression)}
