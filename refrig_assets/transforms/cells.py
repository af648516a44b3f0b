"""What stands in a source's cells: markers for nothing, numbers, words for true and false. No units, no sensors."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import polars as pl

from refrig_assets.transforms.mapping import SourceFormat
from refrig_assets.transforms.units import number, truth

_SAMPLE = 9


@dataclass(frozen=True)
class Cells:
    """A column as read, in the file's own unit; how many cells hold something that could not be read, and a few."""

    values: pl.Series
    bad: int = 0
    sample: list[str] = field(default_factory=list)

    def spread(self, where: pl.Series, length: int) -> "Cells":
        """The cells at these positions of a longer column that is otherwise null."""
        whole = pl.repeat(None, length, dtype=self.values.dtype, eager=True)
        return Cells(whole.scatter(where, self.values), self.bad, self.sample)


def text_cells(column: pl.Series, source: SourceFormat) -> pl.Series:
    """Text without blanks around it and without markers for nothing; other types lose only their NaN."""
    if column.dtype == pl.String:
        text = column.str.strip_chars()
        return text.set(text.str.to_lowercase().is_in(list(source.null_values)).fill_null(False), None)
    return column.fill_nan(None) if column.dtype.is_float() else column


def number_cells(column: pl.Series, source: SourceFormat) -> Cells:
    """Numbers. Most cells are plain ones, so only those that are not are looked at more closely."""
    values = _plain(column, source)
    bad = 0
    sample: list[str] = []
    odd = values.is_null() & column.is_not_null()
    if odd.any():
        where = odd.arg_true()
        text = text_cells(column.gather(where), source)
        again = _read(number(pl.col("cell"), text.dtype, source.decimal), text)
        values = values.scatter(where, again)
        bad, sample = _bad(text, again)
    nothing = [float(m) for m in source.null_values if m.lstrip("+-").replace(".", "", 1).isdigit()]
    values = values.fill_nan(None)
    if nothing:
        values = values.set(values.is_in(nothing).fill_null(False), None)
    return Cells(values, bad, sample)


def truth_cells(
    column: pl.Series, source: SourceFormat, true_values: Sequence[str] | None, false_values: Sequence[str] | None
) -> Cells:
    text = text_cells(column, source)
    values = _read(truth(pl.col("cell"), text.dtype, true_values, false_values), text)
    return Cells(values, *_bad(text, values))


def _plain(column: pl.Series, source: SourceFormat) -> pl.Series:
    if column.dtype == pl.String and source.decimal != ".":
        column = column.str.replace(source.decimal, ".", literal=True)
    if column.dtype == pl.String or column.dtype.is_numeric() or column.dtype == pl.Boolean:
        return column.cast(pl.Float64, strict=False)
    return pl.repeat(None, len(column), dtype=pl.Float64, eager=True)


def _read(expression: pl.Expr, cells: pl.Series) -> pl.Series:
    return pl.DataFrame({"cell": cells}).select(expression.alias("read"))["read"]


def _bad(text: pl.Series, values: pl.Series) -> tuple[int, list[str]]:
    bad = text.filter(text.is_not_null() & values.is_null())
    return len(bad), [str(v) for v in bad.unique(maintain_order=True).head(_SAMPLE)]
