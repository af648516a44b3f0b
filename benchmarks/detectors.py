"""The four detectors on any labelled time series given as CSV: no Dagster, no lake, no refrigerators needed."""

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table

from benchmarks.detectors_data import (
    GROUP,
    LABEL,
    TEST,
    TIME,
    TRAIN,
    DataError,
    LabelledSet,
    read_labelled,
    rolling,
)
from benchmarks.detectors_metrics import Verdict, figures
from benchmarks.report import machine, print_report
from refrig_assets.models import MODELS, Roles

ALWAYS, NEVER = "always_alarm", "never_alarm"
SEED = 0
_MIN_WIDTH = 110
_COLUMNS = {
    "f1": "F1",
    "f1_macro": "F1, mean\nof groups",
    "false_alarm_rate": "false\nalarms",
    "missed_alarm_rate": "missed\nrows",
    "roc_auc": "ROC AUC",
    "event_recall": "events\nfound",
    "delay_rows": "delay,\nrows",
    "delay_s": "delay,\nseconds",
}
_PERCENT = ("false_alarm_rate", "missed_alarm_rate", "event_recall")
_HELP = """\
Fits each detector on the train rows, scores the test rows one by one, and compares with the labels.

What a file holds: one row a moment, and the columns
  label   0 healthy, 1 anomalous. Never shown to a detector: train rows may hold anomalies too.
  group   the machine, run or experiment that a row belongs to
  split   train or test
  time    optional: date and time, or seconds. Gives the order of the rows, else it's theirs in the file.
  Every other numeric column is a channel. Text columns are left out. Missing values are fine (also NaN, NA, null, None,
  and what --missing names).

  label,group,split,time,pressure,temperature,load
  0,pump-1,train,2026-03-01T08:00:00,2.31,41.2,70
  1,pump-1,test,2026-03-01T09:10:00,1.87,41.9,71
"""
_EPILOG = """\
what the figures mean, all on test rows as they are (no point adjustment, no look-ahead):
  F1             of single rows. Look at always_alarm beside it: where anomalies are many, alarming always does well.
  false alarms   share of the healthy rows that were alarmed. The detectors aim at 1 %.
  missed rows    share of the anomalous rows that were not
  ROC AUC        how well the scores separate, whatever the threshold: 0.5 is chance
  events found   share of the runs of consecutive anomalous rows of a group with at least one alarm inside
  delay          from an event's start to the first alarm inside it, median over the events found

examples:
  python -m benchmarks.detectors pump.csv --window 15                    each machine against its own past
  python -m benchmarks.detectors chiller.csv --pooled --context load,set_temperature
  python -m benchmarks.detectors pump.csv --detectors statistical_baseline --json
"""


@dataclass(frozen=True)
class Outcome:
    """What one detector said on one file's test rows, a verdict a group."""

    verdicts: tuple[Verdict, ...]
    fit_s: float = 0.0
    score_s: float = 0.0
    notes: tuple[str, ...] = ()


def run_detector(name: str, data: LabelledSet, pooled: bool) -> Outcome:
    """Fits one model a group, or one in all, on train rows without their labels; scores the test rows."""
    verdicts: list[Verdict] = []
    notes: list[str] = []
    fit_s = score_s = 0.0
    for groups in [data.groups(TEST)] if pooled else [[group] for group in data.groups(TEST)]:
        train = data.part(TRAIN) if pooled else data.part(TRAIN, groups[0])
        test = data.part(TEST).filter(pl.col(GROUP).is_in(groups))
        roles, left_out = _roles(data, train, pooled)
        where = "all groups" if pooled else f"group '{groups[0]}'"
        notes += [f"{where}: column '{column}' has no value in train, and is left out" for column in left_out]
        began = time.perf_counter()
        try:
            model = MODELS[name].fit(train.drop(LABEL), roles, seed=SEED)
            fitted = time.perf_counter()
            scores = model.score(test.drop(LABEL), reasons="none")
        except ValueError as problem:
            raise DataError(f"{name}, {where}: {problem}") from problem
        fit_s, score_s = fit_s + fitted - began, score_s + time.perf_counter() - fitted
        verdicts += _verdicts(test, scores["anomaly_flag"], scores["anomaly_score"])
    return Outcome(tuple(verdicts), fit_s, score_s, tuple(dict.fromkeys(notes)))


def run_constant(data: LabelledSet, alarm: bool) -> Outcome:
    """The detector that always alarms, or never: what any other has to beat."""
    test = data.part(TEST)
    flags = pl.Series([alarm]).new_from_index(0, test.height)
    return Outcome(tuple(_verdicts(test, flags, flags.cast(pl.Float64))))


def _roles(data: LabelledSet, train: pl.DataFrame, pooled: bool) -> tuple[Roles, list[str]]:
    """Which columns mean what, and those left out since the train rows have no value there.

    Pooled rows are told by their order, group after group, not by time: what a detector holds out to calibrate on are
    then whole groups, as those it will be asked about; runs recorded one by one often all start at time 0 anyway.
    """
    empty = {name for name in (*data.channels, *data.context) if train[name].null_count() == train.height}
    roles = Roles(
        features=tuple(name for name in data.channels if name not in empty),
        context=tuple(name for name in data.context if name not in empty),
        time=TIME if data.has_time and not pooled else None,
    )
    return roles, [name for name in (*data.channels, *data.context) if name in empty]


def _verdicts(test: pl.DataFrame, flags: pl.Series, scores: pl.Series) -> Iterable[Verdict]:
    """Rows without a score are no alarm."""
    told = test.with_columns(flags.fill_null(False).alias("_alarm"), scores.fill_null(0.0).alias("_score"))
    for part in told.partition_by(GROUP, maintain_order=True):
        yield Verdict(
            str(part[GROUP][0]),
            part[LABEL].to_numpy() == 1,
            part["_alarm"].to_numpy(),
            part["_score"].to_numpy().astype(np.float64),
            part[TIME].to_list() if TIME in part.columns else None,
        )


def measure(sets: Sequence[LabelledSet], detectors: Sequence[str], pooled: bool) -> dict[str, list[Outcome]]:
    """Outcomes by detector, one a file; progress goes to standard error."""
    found: dict[str, list[Outcome]] = {}
    for name in detectors:
        print(f"{name} …", file=sys.stderr, flush=True)
        found[name] = []
        for data in sets:
            try:
                found[name].append(run_detector(name, data, pooled))
            except DataError as problem:
                raise DataError(f"{data.name}: {problem}") from problem
    for name, alarm in ((ALWAYS, True), (NEVER, False)):
        found[name] = [run_constant(data, alarm) for data in sets]
    return found


def by_detector(found: dict[str, list[Outcome]], file: int | None = None) -> dict[str, dict[str, float | None]]:
    """Figures of each detector, over one file or all."""
    return {
        name: figures([v for o in (outcomes if file is None else outcomes[file : file + 1]) for v in o.verdicts])
        for name, outcomes in found.items()
    }


def figures_of(sets: Sequence[LabelledSet], found: dict[str, list[Outcome]]) -> dict[str, float | None]:
    """`<detector>_<figure>` over all files; with several files also `<file>_<detector>_<figure>`."""
    flat = _flat(by_detector(found))
    flat |= {f"{name}_fit_s": sum(o.fit_s for o in outs) for name, outs in found.items() if name in MODELS}
    flat |= {f"{name}_score_s": sum(o.score_s for o in outs) for name, outs in found.items() if name in MODELS}
    flat |= described(sets)
    if len(sets) > 1:
        for number, data in enumerate(sets):
            flat |= {f"{data.name}_{name}": value for name, value in _flat(by_detector(found, number)).items()}
    return flat


def _flat(figures: dict[str, dict[str, float | None]]) -> dict[str, float | None]:
    return {f"{detector}_{name}": value for detector, each in figures.items() for name, value in each.items()}


def described(sets: Sequence[LabelledSet]) -> dict[str, float | None]:
    tests = [data.part(TEST) for data in sets]
    rows = sum(test.height for test in tests)
    return {
        "groups": float(sum(len(data.groups(TEST)) for data in sets)),
        "train_rows": float(sum(data.part(TRAIN).height for data in sets)),
        "test_rows": float(rows),
        "anomalous_share": sum(int(test[LABEL].sum()) for test in tests) / rows,
    }


def print_tables(sets: Sequence[LabelledSet], found: dict[str, list[Outcome]], notes: Sequence[str]) -> None:
    console = Console()
    console.width = max(console.width, _MIN_WIDTH)
    console.print(", ".join(f"{name} {value}" for name, value in machine().items()), highlight=False)
    for number, data in enumerate(sets):
        console.print(_table(data.name, [data], by_detector(found, number)))
    if len(sets) > 1:
        console.print(_table("all files", sets, by_detector(found)))
    console.print("All groups' rows together but for the second column. --help says what each figure means.")
    for note in notes:
        console.print(f"[yellow]{note}[/yellow]", highlight=False)


def _table(title: str, sets: Sequence[LabelledSet], figures: dict[str, dict[str, float | None]]) -> Table:
    about = described(sets)
    told = (
        f"{title}: {about['groups']:.0f} groups, {about['train_rows']:,.0f} train rows,"
        f" {about['test_rows']:,.0f} test rows, {about['anomalous_share']:.1%} of them anomalous"
    )
    table = Table("detector", *_COLUMNS.values(), title=told, title_justify="left", title_style="bold")
    table.columns[0].no_wrap = True
    for column in table.columns[1:]:
        column.justify = "right"
    for detector, each in figures.items():
        table.add_row(detector, *(_shown(name, each[name]) for name in _COLUMNS))
    return table


def _shown(name: str, value: float | None) -> str:
    if value is None:
        return "–"
    if name.startswith("delay"):
        return f"{value:,.0f}"
    return f"{value:.1%}" if name in _PERCENT else f"{value:.3f}"


def _detectors(told: str) -> list[str]:
    names = _names(told)
    unknown = [name for name in names if name not in MODELS]
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"'{unknown[0] if unknown else told}' is none of {', '.join(MODELS)}")
    return names


def _names(told: str) -> list[str]:
    return [name.strip() for name in told.split(",") if name.strip()]


def _window(told: str) -> int:
    rows = int(told) if told.isdigit() else 0
    if rows < 2:
        raise argparse.ArgumentTypeError(f"'{told}' is no number of rows from 2 on")
    return rows


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.detectors",
        description=_HELP,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.csv", help="each file is a set of its own")
    parser.add_argument("--pooled", action="store_true", help="one model on all groups' train rows, not one a group")
    parser.add_argument("--window", type=_window, metavar="N", help="score trailing mean, deviation, slope over N rows")
    parser.add_argument("--context", type=_names, default=[], metavar="A,B", help="operating conditions, never scored")
    parser.add_argument("--ignore", type=_names, default=[], metavar="A,B", help="columns to leave out")
    parser.add_argument(
        "--missing", type=_names, default=[], metavar="A,B", help="words that stand for a missing value"
    )
    parser.add_argument("--detectors", type=_detectors, default=list(MODELS), metavar="A,B", help=", ".join(MODELS))
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    told = _parser().parse_args(arguments)
    sets: list[LabelledSet] = []
    try:
        for path in told.files:
            try:
                data = read_labelled(
                    path, context=told.context, ignore=told.ignore, missing=told.missing, pooled=told.pooled
                )
                sets.append(rolling(data, told.window) if told.window else data)
            except DataError as problem:
                raise DataError(f"{path}: {problem}") from problem
        found = measure(sets, told.detectors, told.pooled)
    except DataError as problem:
        print(f"error: {problem}", file=sys.stderr)
        raise SystemExit(2) from None
    outcomes = [(data, outcome) for outs in found.values() for data, outcome in zip(sets, outs, strict=True)]
    notes = [f"{data.name}: {note}" for data in sets for note in data.notes]
    notes = list(dict.fromkeys([*notes, *(f"{data.name}: {note}" for data, o in outcomes for note in o.notes)]))
    if told.json:
        print_report(figures_of(sets, found), {}, 1, True, notes=tuple(notes))
    else:
        print_tables(sets, found, notes)


if __name__ == "__main__":
    main()
