"""What a contract is: one declaration from which dtypes, validation, metadata and docs are derived. No I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    nan: bool = False,
    extension: bool = False,
) -> pa.Column:
    """A contract's column. `nan` lets NaN stand; `extension` marks what we carry beyond the agreed columns."""
    checks = []
    if ge is not None:
        checks.append(pa.Check.ge(ge))
    if gt is not None:
        checks.append(pa.Check.gt(gt))
    if le is not None:
        checks.append(pa.Check.le(le))
    if isin is not None:
        checks.append(pa.Check.isin(list(isin)))
    if dtype == F64 and le is None and not nan:
        checks.append(pa.Check(lambda data: data.lazyframe.select(pl.col(data.key).is_not_nan()), name="not NaN"))
    metadata = {"unit": unit, "ge": ge, "gt": gt, "le": le, "isin": isin, "nan": nan, "extension": extension}
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
    rules: tuple[str, ...] = ()
    retention: timedelta | None = None
    """how long rows are kept; None is for ever"""

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
        return self.bad_values(frame.lazy()) + self._key_violations(frame)

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

    @cached_property
    def value_tests(self) -> dict[tuple[str, str], pl.Expr]:
        """What makes a value wrong, by column and check: the schema's checks as expressions that run in one query.

        Pandera takes some milliseconds a check; a partition has dozens. That both judge alike is tested.
        """
        tests: dict[tuple[str, str], pl.Expr] = {}
        for name, declared in self.columns.items():
            limits, value = declared.metadata or {}, pl.col(name)
            if not declared.nullable:
                tests[name, "null"] = value.is_null()
            if limits.get("ge") is not None:
                tests[name, f"below {limits['ge']}"] = value < limits["ge"]
            if limits.get("gt") is not None:
                tests[name, f"not above {limits['gt']}"] = value <= limits["gt"]
            if limits.get("le") is not None:
                tests[name, f"above {limits['le']}"] = value > limits["le"]  # also NaN, which Polars orders last
            elif self.dtypes[name] == F64 and not limits.get("nan"):
                tests[name, "NaN"] = value.is_nan()
            if limits.get("isin") is not None:
                tests[name, "not an allowed value"] = ~value.is_in(list(limits["isin"]))
        return tests

    def bad_values(self, rows: pl.LazyFrame) -> list[Violation]:
        """Values that break the contract: true counts, and a bounded sample with the key beside the value."""
        counts = rows.select(test.sum().alias(f"{n}|{c}") for (n, c), test in self.value_tests.items()).collect()
        found = []
        for (name, check), count in zip(self.value_tests, counts.row(0), strict=True):
            if count:
                show = list(dict.fromkeys([*self.key, name]))
                sample = rows.filter(self.value_tests[name, check]).select(show).head(SAMPLE_ROWS).collect()
                found.append(Violation(name, check, int(count), sample.to_dicts()))
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
