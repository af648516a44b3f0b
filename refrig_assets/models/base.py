"""What every detector is: fitted on rows, it scores rows and gives reasons. What differs between them is a core.

No lake, no Dagster: any Polars frame with numeric columns will do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

DEFAULT_THRESHOLD = 0.6


@dataclass(frozen=True)
class Roles:
    """Which columns mean what. Columns that are not named are ignored."""

    features: tuple[str, ...]
    context: tuple[str, ...] = ()
    """operating conditions: conditioned on, never scored"""
    device: str | None = None
    """the machine whose own normal is learnt; null in a row is a machine not known yet"""
    cohort: str | None = None
    """groups of machines alike"""
    time: str | None = None
    """when: for splits in time and the rhythm of the day"""

    def __post_init__(self) -> None:
        if not self.features:
            raise ValueError("a model needs at least one feature column")
        again = sorted({c for c in self.features if self.features.count(c) > 1})
        if again:
            raise ValueError(f"feature columns are named more than once: {', '.join(again)}")
        twice = sorted(set(self.features) & set(self.context))
        if twice:
            raise ValueError(f"columns cannot be features and context at once: {', '.join(twice)}")

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.features, *self.context, *(c for c in (self.device, self.cohort, self.time) if c is not None))

    def check(self, columns: Sequence[str]) -> None:
        missing = [c for c in self.columns if c not in columns]
        if missing:
            raise FeatureMismatchError(missing)


class FeatureMismatchError(ValueError):
    """The rows lack columns that the model was fitted on."""

    def __init__(self, missing: Sequence[str]) -> None:
        self.missing = list(missing)
        shown = ", ".join(self.missing[:20]) + (f" and {len(missing) - 20} more" if len(missing) > 20 else "")
        super().__init__(
            f"{len(self.missing)} columns that the model needs are not in the rows: {shown}. "
            "Give it rows made with the same features, or train a version on the features there are."
        )


@dataclass(frozen=True)
class ModelInfo:
    """A model's own metadata: all that is not arrays."""

    model_id: str
    granularity: str
    roles: Roles
    threshold: float = DEFAULT_THRESHOLD
    settings: Mapping[str, Any] = field(default_factory=dict)
    trained: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "settings": dict(self.settings), "trained": dict(self.trained)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "ModelInfo":
        told = data["roles"]
        roles = Roles(tuple(told["features"]), tuple(told["context"]), told["device"], told["cohort"], told["time"])
        return cls(
            model_id=str(data["model_id"]),
            granularity=str(data["granularity"]),
            roles=roles,
            threshold=float(data["threshold"]),
            settings=dict(data["settings"]),
            trained=dict(data["trained"]),
        )


@dataclass(frozen=True)
class Residuals:
    """What is left of rows once conditions, cohort and the machine's own normal are taken out. Features are columns."""

    deviation: pl.DataFrame
    """value less what was expected, in the feature's unit; null where there is no value"""
    z: pl.DataFrame
    """the same in units of what healthy machines stray, at most 25 either way"""


def numbers(rows: pl.DataFrame, columns: Sequence[str]) -> F64:
    """The columns as a matrix; nulls and infinities become NaN."""
    if not columns:
        return np.zeros((rows.height, 0))
    found = rows.select(pl.col(c).cast(pl.Float64) for c in columns).to_numpy()
    return np.where(np.isfinite(found), found, np.nan)


@dataclass(frozen=True)
class Names:
    """Names and their codes; what is not among them has code -1."""

    names: npt.NDArray[np.str_]

    @classmethod
    def of(cls, values: pl.Series | None) -> "Names":
        if values is None:
            return cls(np.array([], dtype=np.str_))
        return cls(np.array(values.drop_nulls().cast(pl.String).unique().sort().to_list(), dtype=np.str_))

    def and_of(self, values: pl.Series | None) -> "Names":
        """These names and those of the values."""
        return Names(np.union1d(self.names, Names.of(values).names).astype(np.str_))

    def codes(self, rows: pl.DataFrame, column: str | None) -> I64:
        if column is None or not len(self.names):
            return np.full(rows.height, -1, dtype=np.int64)
        known = pl.DataFrame({"name": self.names.tolist(), "code": np.arange(len(self.names), dtype=np.int64)})
        named = rows.select(name=pl.col(column).cast(pl.String))
        return named.join(known, on="name", how="left", maintain_order="left")["code"].fill_null(-1).to_numpy().copy()
