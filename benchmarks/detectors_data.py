"""Labelled time series from CSV files, checked (errors name column and line), and rolling windows over them."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

LABEL, GROUP, SPLIT, TIME = "label", "group", "split", "time"
TRAIN, TEST = "train", "test"
REQUIRED = (LABEL, GROUP, SPLIT)
_SEPARATORS = ",;\t"
_MISSING = ["", "NA", "N/A", "NaN", "nan", "NULL", "null", "None"]
_LABELS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}
# Where at least this share of a text column's values are numbers, the others are taken for mistakes in a channel.
_NUMERIC_SHARE = 0.5
_CHUNK_VALUES = 4_000_000


class DataError(ValueError):
    """The file isn't what the benchmark reads; the message names the column, line or group at fault and the remedy."""


@dataclass(frozen=True)
class LabelledSet:
    """One file's rows, by group, train before test, and in time order within those.

    `rows` holds group, split, label, channels and context as Float64 (missing is null), and time as Datetime if given.
    """

    name: str
    rows: pl.DataFrame
    channels: tuple[str, ...]
    context: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def has_time(self) -> bool:
        return TIME in self.rows.columns

    def part(self, split: str, group: str | None = None) -> pl.DataFrame:
        """The rows of a split, of one group or of all."""
        kept = self.rows.filter(pl.col(SPLIT) == split)
        return kept if group is None else kept.filter(pl.col(GROUP) == group)

    def groups(self, split: str) -> list[str]:
        found: list[str] = self.part(split)[GROUP].unique(maintain_order=True).to_list()
        return found


def read_labelled(
    path: Path,
    *,
    context: Sequence[str] = (),
    ignore: Sequence[str] = (),
    missing: Sequence[str] = (),
    pooled: bool = False,
) -> LabelledSet:
    """The file as a set; DataError where it can't be one. `missing` are words that stand for a missing value."""
    text = _read_text(path, missing)
    _require(text.columns, REQUIRED, ())
    _require(text.columns, ignore, REQUIRED, told="--ignore names")
    others = [name for name in text.columns if name not in {*REQUIRED, TIME, *ignore}]
    _require(others, context, (), told="--context names")
    channels, columns, notes = [], [_labels(text), _groups(text), _splits(text)], []
    if TIME in text.columns and TIME not in ignore:
        columns.append(_times(text[TIME]))
    for name in others:
        values = _numbers(text[name])
        if values is None:
            if name in context:
                raise DataError(f"column '{name}': --context names it, but it holds text, not numbers")
            notes.append(f"column '{name}' holds text and is no channel")
            continue
        columns.append(values)
        if name not in context:
            channels.append(name)
    if not channels:
        raise DataError("there is no numeric column to score beside label, group, split, time and the context")
    rows = _ordered(pl.DataFrame(columns))
    _check_splits(rows, pooled)
    empty = rows.filter(pl.all_horizontal(pl.col(channels).is_null())).height
    if empty:
        notes.append(f"{empty:,} rows have no value in any channel: they get no score and count as no alarm")
    return LabelledSet(path.stem, rows, tuple(channels), tuple(context), tuple(notes))


def rolling(data: LabelledSet, window: int) -> LabelledSet:
    """Each channel's mean, standard deviation and slope over the last `window` rows, the row itself included.

    Trailing, within a group and split. The first rows use what there is; deviation and slope are missing until half a
    window is there. Context becomes its trailing mean.
    """
    enough = max(3, (window + 1) // 2)
    parts = []
    for part in data.rows.partition_by(GROUP, SPLIT, maintain_order=True):
        made: dict[str, pl.Series] = {}
        for name in data.channels:
            mean, deviation, slope = trailing(part[name].to_numpy(), window, enough)
            for suffix, values in (("mean", mean), ("std", deviation), ("slope", slope)):
                made[f"{name}_{suffix}"] = pl.Series(values).fill_nan(None)
        for name in data.context:
            made[name] = pl.Series(trailing(part[name].to_numpy(), window, enough)[0]).fill_nan(None)
        kept = part.select(c for c in (LABEL, GROUP, SPLIT, TIME) if c in part.columns)
        parts.append(kept.with_columns(values.alias(name) for name, values in made.items()))
    channels = tuple(f"{name}_{suffix}" for name in data.channels for suffix in ("mean", "std", "slope"))
    clash = set(channels) & {*data.context, LABEL, GROUP, SPLIT, TIME}
    if clash:
        raise DataError(f"--window would make the column '{min(clash)}', which is there already: rename it in the file")
    return replace(data, rows=pl.concat(parts), channels=channels)


def trailing(
    values: npt.NDArray[np.float64], window: int, enough: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean, standard deviation and slope a row over the last `window` values, NaN where fewer than `enough` are there.

    The mean needs one value. Windows are summed one by one: running sums would lose what's small beside a large level.
    """
    out = np.full((3, len(values)), np.nan)
    padded = np.concatenate([np.full(window - 1, np.nan), values])
    steps = np.arange(window, dtype=np.float64)
    chunk = max(_CHUNK_VALUES // window, 1)
    for start in range(0, len(values), chunk):
        stop = min(start + chunk, len(values))
        view = np.lib.stride_tricks.sliding_window_view(padded[start : stop + window - 1], window)
        known = ~np.isnan(view)
        count = known.sum(1)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(known, view, 0.0).sum(1) / count
            apart = np.where(known, view - mean[:, None], 0.0)
            when = np.where(known, steps - ((known * steps).sum(1) / count)[:, None], 0.0)
            out[0, start:stop] = mean
            out[1, start:stop] = np.where(count >= enough, np.sqrt((apart**2).sum(1) / (count - 1)), np.nan)
            out[2, start:stop] = np.where(count >= enough, (when * apart).sum(1) / (when**2).sum(1), np.nan)
    return out[0], out[1], out[2]


def _read_text(path: Path, missing: Sequence[str]) -> pl.DataFrame:
    """Every column as text, so that a wrong value can be shown as it stands in the file."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header = file.readline()
        separator = max(_SEPARATORS, key=header.count)
        names = next(csv.reader([header], delimiter=separator), [])
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise DataError(f"column '{twice[0]}' is there twice")
        text = pl.read_csv(
            path, separator=separator, infer_schema=False, null_values=[*_MISSING, *missing], encoding="utf8-lossy"
        )
        text = text.rename(str.strip)
    except OSError as problem:
        raise DataError(f"can't be read: {problem.strerror or problem}") from problem
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as problem:
        raise DataError(f"is no CSV file that can be read: {str(problem).splitlines()[0]}") from problem
    if text.is_empty():
        raise DataError("holds no rows")
    return text.with_columns(pl.all().str.strip_chars())


def _require(there: Sequence[str], wanted: Sequence[str], refused: Sequence[str], told: str = "there is no") -> None:
    for name in wanted:
        if name in refused:
            raise DataError(f"column '{name}' can't be left out")
        if name not in there:
            what = f"there is no column '{name}'" if told == "there is no" else f"{told} '{name}', which is no column"
            raise DataError(f"{what}; columns: {', '.join(there)}")


def _line(row: int) -> int:
    """The line of a row in the file, whose first line is the header."""
    return row + 2


def _first(wrong: pl.Series) -> int | None:
    return int(wrong.arg_true()[0]) if wrong.any() else None


def _checked(text: pl.DataFrame, name: str, allowed: str, convert: Callable[[pl.Expr], pl.Expr]) -> pl.Series:
    """A column that has to have a right value in every row."""
    values = text.select(convert(pl.col(name)).alias(name))[name]
    row = _first(values.is_null())
    if row is not None:
        held = text[name][row]
        raise DataError(
            f"column '{name}', line {_line(row)}: {'no value' if held is None else repr(held)}, must be {allowed}"
        )
    return values


def _labels(text: pl.DataFrame) -> pl.Series:
    def convert(column: pl.Expr) -> pl.Expr:
        return column.str.to_lowercase().replace_strict(_LABELS, default=None, return_dtype=pl.Int8)

    return _checked(text, LABEL, "0 or 1", convert)


def _groups(text: pl.DataFrame) -> pl.Series:
    return _checked(text, GROUP, "a name or number", lambda column: column)


def _splits(text: pl.DataFrame) -> pl.Series:
    lower = {TRAIN: TRAIN, TEST: TEST}
    return _checked(text, SPLIT, "train or test", lambda c: c.str.to_lowercase().replace_strict(lower, default=None))


def _times(column: pl.Series) -> pl.Series:
    """Dates and times as they are written, or numbers as seconds."""
    seconds = column.cast(pl.Float64, strict=False)
    if seconds.null_count() == column.null_count():
        times = (seconds * 1e6).round().cast(pl.Int64).cast(pl.Datetime("us", "UTC"))
    else:
        parsed = _dates(column)
        if parsed is None:
            raise DataError(f"column '{TIME}': {column.drop_nulls()[0]!r} is neither a date and time nor seconds")
        times = parsed
    row = _first(times.is_null())
    if row is not None:
        raise DataError(f"column '{TIME}', line {_line(row)}: {column[row]!r} is no time, as other lines have")
    return times.alias(TIME)


def _dates(column: pl.Series) -> pl.Series | None:
    """With a zone or without (taken as UTC); None if the first value isn't understood."""
    first = column.drop_nulls().head(1)
    for formatting in (None, "%Y-%m-%d %H:%M:%S%.f", "%d.%m.%Y %H:%M:%S", "%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M"):
        try:
            if first.str.to_datetime(formatting, strict=True, time_unit="us").null_count():
                continue
        except pl.exceptions.PolarsError:
            continue
        times = column.str.to_datetime(formatting, strict=False, time_unit="us")
        zone = times.dtype.time_zone if isinstance(times.dtype, pl.Datetime) else None
        return times.dt.convert_time_zone("UTC") if zone else times.dt.replace_time_zone("UTC")
    return None


def _numbers(column: pl.Series) -> pl.Series | None:
    """Numbers and truth values; None for a column of text. Infinite is missing, as NaN is."""
    lower = column.str.to_lowercase().replace({"true": "1", "false": "0"})
    values = lower.cast(pl.Float64, strict=False)
    wrong = values.is_null() & column.is_not_null()
    if wrong.any():
        there = column.len() - column.null_count()
        if wrong.sum() > (1 - _NUMERIC_SHARE) * there:
            return None
        row = int(wrong.arg_true()[0])
        raise DataError(
            f"column '{column.name}', line {_line(row)}: {column[row]!r} is no number, as other lines have;"
            " --missing names words that stand for a missing value, --ignore columns to leave out"
        )
    return values.set(~values.is_finite().fill_null(False), None).alias(column.name)


def _ordered(rows: pl.DataFrame) -> pl.DataFrame:
    """By group as they first come, train before test, then by time if there is one, else as in the file."""
    first = {name: number for number, name in enumerate(rows[GROUP].unique(maintain_order=True))}
    place = pl.col(GROUP).replace_strict(first, return_dtype=pl.Int64)
    keys = [place, pl.col(SPLIT) == TEST, *([pl.col(TIME)] if TIME in rows.columns else [])]
    return rows.sort(keys, maintain_order=True)


def _check_splits(rows: pl.DataFrame, pooled: bool) -> None:
    splits = {split: set(rows.filter(pl.col(SPLIT) == split)[GROUP]) for split in (TRAIN, TEST)}
    for split, groups in splits.items():
        if not groups:
            raise DataError(f"column '{SPLIT}': no row says {split}")
    lacking = sorted(splits[TEST] - splits[TRAIN])
    if lacking and not pooled:
        raise DataError(
            f"group '{lacking[0]}' has test rows but no train rows"
            f"{f' (and {len(lacking) - 1} more groups)' if len(lacking) > 1 else ''}:"
            " --pooled fits one model on the train rows of all groups"
        )
