"""A contract as Delta knows it: schema, comments, CHECK constraints. No I/O."""

import polars as pl
from deltalake.schema import ArrayType, Field, PrimitiveType, Schema

from refrig_assets.contracts.base import PARTITION_DATE, Contract

_PRIMITIVES: dict[object, str] = {
    pl.String: "string",
    pl.Float64: "double",
    pl.Int32: "integer",
    pl.Int64: "long",
    pl.Boolean: "boolean",
    pl.Date: "date",
}


def delta_schema(contract: Contract) -> Schema:
    fields = [delta_field(contract, name) for name in contract.columns]
    if contract.partitioned:
        comment = {"comment": f"UTC day of {contract.hour_of}; physical partition"}
        fields.append(Field(PARTITION_DATE, PrimitiveType("date"), nullable=False, metadata=comment))
    return Schema(fields)


def delta_field(contract: Contract, name: str) -> Field:
    nullable = contract.columns[name].nullable
    return Field(name, _delta_type(contract.dtypes[name]), nullable=nullable, metadata=_comment(contract, name))


def _comment(contract: Contract, name: str) -> dict[str, str]:
    unit = contract.unit(name)
    return {"comment": f"{contract.columns[name].description}{f' [{unit}]' if unit else ''}"}


def _delta_type(dtype: pl.DataType) -> PrimitiveType | ArrayType:
    if isinstance(dtype, pl.Datetime):
        return PrimitiveType("timestamp")
    if isinstance(dtype, pl.List):
        return ArrayType(_delta_type(dtype.inner), contains_null=True)  # type: ignore[arg-type]
    return PrimitiveType(next(name for kind, name in _PRIMITIVES.items() if dtype == kind))


def constraints(contract: Contract) -> dict[str, str]:
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
