"""What a contract is: one declaration from which dtypes, validation, metadata and docs are derived. No I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Any

import pandera.polars as pa
import polars as pl

TS = pl.Datetime("us", "UTC")
STR, F64, I32, I64, BOOL, DATE = pl.String(), pl.Float64(), pl.Int32(), pl.Int64(), pl.Boolean(), pl.Date()
STRS, F64S = pl.List(pl.String()), pl.List(pl.Float64())

# The physical partition of every lake table that has an hour: the UTC day of that hour's column.
PARTITION_DATE = "partition_date"
SAMPLE_ROWS = 20


def column(
    dtype: pl.DataType,
    description: str,
    unit: str = "",
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    isin: Sequence[str] | None = None,
    nullable: bool = False,
    extension: bool = False,
) -> pa.Column:
    """A contract's column. `extension` marks what we carry beyond the agreed columns."""
    checks = []
    if ge is not None:
        checks.append(pa.Check.ge(ge))
    if gt is not None:
        checks.append(pa.Check.gt(gt))
    if le is not None:
        checks.append(pa.Check.le(le))
    if isin is not None:
        checks.append(pa.Check.isin(list(isin)))
    metadata = {"unit": unit, "ge": ge, "gt": gt, "le": le, "isin": isin, "extension": extension}
    return pa.Column(dtype, checks=checks, nullable=nullable, description=description, metadata=metadata)


@dataclass(frozen=True)
class Freshness:
    """How old the newest data may be: what is promised, when to warn, when to fail."""

    service_level: timedelta
    warn: timedelta
    error: timedelta


@dataclass(frozen=True)
class Violation:
    column: str
    check: str
    rows: int
    sample: list[dict[str, Any]]


@dataclass(frozen=True)
class Contract:
    """One table's agreement: columns, key, the column whose hour is its partition, service levels."""

    code: str
    name: str
    title: str
    description: str
    columns: Mapping[str, pa.Column]
    key: tuple[str, ...] = ()
    hour_of: str | None = None
    group: str = "reference"
    freshness: Freshness | None = None
    service_levels: tuple[str, ...] = ()
    rules: tuple[str, ...] = field(default=())

    @cached_property
    def schema(self) -> pa.DataFrameSchema:
        return pa.DataFrameSchema(dict(self.columns), name=self.name, strict=True, title=self.title)

    @cached_property
    def dtypes(self) -> dict[str, pl.DataType]:
        return {name: column.dtype.type for name, column in self.columns.items()}

    @property
    def partitioned(self) -> bool:
        return self.hour_of is not None

    def unit(self, name: str) -> str:
        return str((self.columns[name].metadata or {}).get("unit", ""))

    def empty(self) -> pl.DataFrame:
        return pl.DataFrame(schema=self.dtypes)

    def conform(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Columns in the contract's order and exact dtypes; a missing nullable column becomes nulls."""
        have = frame.columns
        missing = [n for n, c in self.columns.items() if n not in have and not c.nullable]
        if missing:
            raise ContractError(self.name, [Violation(n, "column is missing", frame.height, []) for n in missing])
        return frame.select(
            pl.col(n).cast(t) if n in have else pl.lit(None, dtype=t).alias(n) for n, t in self.dtypes.items()
        )

    def violations(self, frame: pl.DataFrame) -> list[Violation]:
        """Everything in the frame that breaks the contract: schema, nulls, ranges and the key."""
        found = self._schema_violations(frame)
        if found:
            return found
        found = [v for name in self.columns for v in self._value_violations(frame, name)]
        return found + self._key_violations(frame)

    def validate(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame itself, or a ContractError that names columns, counts and a sample."""
        found = self.violations(frame)
        if found:
            raise ContractError(self.name, found)
        return frame

    def _schema_violations(self, frame: pl.DataFrame) -> list[Violation]:
        found = [Violation(n, "column is missing", frame.height, []) for n in self.columns if n not in frame.columns]
        found += [Violation(n, "column is unknown", frame.height, []) for n in frame.columns if n not in self.columns]
        return found + [
            Violation(n, f"dtype is {frame.schema[n]}, not {t}", frame.height, [])
            for n, t in self.dtypes.items()
            if n in frame.columns and frame.schema[n] != t
        ]

    def _value_violations(self, frame: pl.DataFrame, name: str) -> list[Violation]:
        """Pandera judges the column; on failure the true count and a bounded sample are taken from the frame."""
        try:
            pa.DataFrameSchema({name: self.columns[name]}, strict="filter").validate(frame.select(name), lazy=True)
        except pa.errors.SchemaErrors:
            return self._count_bad_values(frame, name)
        return []

    def _count_bad_values(self, frame: pl.DataFrame, name: str) -> list[Violation]:
        limits = self.columns[name].metadata or {}
        value = pl.col(name)
        tests: dict[str, pl.Expr] = {}
        if not self.columns[name].nullable:
            tests["null"] = value.is_null()
        if limits.get("ge") is not None:
            tests[f"below {limits['ge']}"] = value < limits["ge"]
        if limits.get("gt") is not None:
            tests[f"not above {limits['gt']}"] = value <= limits["gt"]
        if limits.get("le") is not None:
            tests[f"above {limits['le']}"] = (value > limits["le"]) | (
                value.is_nan() if self.dtypes[name] == F64 else pl.lit(False)
            )
        if limits.get("isin") is not None:
            tests["not an allowed value"] = ~value.is_in(list(limits["isin"]))
        show = list(dict.fromkeys([k for k in self.key if k in frame.columns] + [name]))
        found = []
        for check, test in tests.items():
            bad = frame.filter(test)
            if bad.height:
                found.append(Violation(name, check, bad.height, bad.select(show).head(SAMPLE_ROWS).to_dicts()))
        return found

    def _key_violations(self, frame: pl.DataFrame) -> list[Violation]:
        if not self.key:
            return []
        identity = pl.col(self.key[0]) if len(self.key) == 1 else pl.struct(self.key)
        if frame.select(identity.hash().n_unique()).item() == frame.height:  # unequal hashes: surely unique
            return []
        if frame.select(identity.n_unique()).item() == frame.height:
            return []
        again = frame.select(self.key).filter(pl.struct(self.key).is_duplicated())
        return [Violation(", ".join(self.key), "key is not unique", again.height, again.head(SAMPLE_ROWS).to_dicts())]


class ContractError(ValueError):
    """Data that breaks a contract; the message names the table, the columns, the checks and the counts."""

    def __init__(self, name: str, violations: list[Violation]) -> None:
        self.violations = violations
        told = "; ".join(f"{v.column}: {v.check} ({v.rows:,} rows)" for v in violations[:10])
        super().__init__(f"{name} breaks its contract: {told}")
