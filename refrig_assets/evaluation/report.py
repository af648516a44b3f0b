"""An evaluation as one JSON document, as Markdown tables, and as plots. Computes nothing."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from refrig_assets.contracts.alerts import FAILURE_MODES
from refrig_assets.evaluation.figures import BARS, Evaluation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PERCENT = ("found", "found_12h", "agree", "both_of_either", "found_gradual", "found_before_failure", "found_acute")
Rows = list[dict[str, Any]]


def document(evaluation: Evaluation, machine: dict[str, Any], seconds: dict[str, float]) -> dict[str, Any]:
    """What `--json` prints: figures and bars under their stable names, and the tables beside them."""
    return {
        "machine": machine,
        "runs": 1,
        "figures": {name: _rounded(value) for name, value in evaluation.figures.items()},
        "bars": evaluation.bars,
        "seconds": {stage: round(s, 1) for stage, s in seconds.items()},
        "tables": {name: _plain(frame) for name, frame in tables(evaluation).items()},
        "notes": evaluation.notes,
    }


def tables(evaluation: Evaluation) -> dict[str, pl.DataFrame]:
    return {
        "by_kind": evaluation.by_kind,
        "by_kind_and_size": evaluation.by_kind_and_size,
        "false_alerts": evaluation.false,
        "models_alone": evaluation.alone,
        "agreement": evaluation.agreement,
        "false_by_cause": evaluation.false_by_cause.head(15),
        "diagnosed": evaluation.diagnosed,
        "confusion": evaluation.confusion,
    }


def bar_lines(evaluation: Evaluation) -> list[tuple[str, str, str, bool]]:
    """Name, value, what is asked, whether it holds."""
    lines = []
    for name, told in evaluation.bars.items():
        bar, at_most = BARS[name]
        value = told["value"]
        shown = "not measured" if value is None else f"{float(value):.3g}"
        lines.append((name, shown, f"{'≤' if at_most else '≥'} {bar:g}", bool(told["holds"])))
    return lines


def cells(frame: pl.DataFrame) -> list[list[str]]:
    """The rows as text: shares as percentages, hours and rates with one or two digits."""
    return [[_cell(name, value) for name, value in zip(frame.columns, row, strict=True)] for row in frame.rows()]


def markdown(frame: pl.DataFrame) -> str:
    names = [c.replace("_", " ") for c in frame.columns]
    head = f"| {' | '.join(names)} |\n|{'|'.join('---' for _ in names)}|"
    return "\n".join([head, *(f"| {' | '.join(row)} |" for row in cells(frame))])


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.0%}" if name in PERCENT else f"{value:.1f}" if name.endswith("_h") else f"{value:.3g}"
    return str(value)


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")


def _plain(frame: pl.DataFrame) -> Rows:
    rows: Rows = frame.to_dicts()
    return [{k: _rounded(v) if isinstance(v, float) else v for k, v in row.items()} for row in rows]


_PICTURES = {
    "detection-found.png": "Found, by kind and size of fault",
    "detection-lead.png": "Lead time of the failures found",
    "detection-false.png": "False alerts by severity",
    "detection-curves.png": "What each finds at what price",
}


_CONFUSION = "detection-diagnosed.png"


def page(evaluation: Evaluation, of: str) -> str:
    """Bars, tables and pictures as one Markdown page, to be kept beside the pictures; `of` says what was run."""
    bars = [
        f"| {n} | {value} | {asked} | {'yes' if holds else 'no'} |" for n, value, asked, holds in bar_lines(evaluation)
    ]
    parts = ["# Evaluation", of, "\n".join(["| bar | value | promised | holds |", "|---|---|---|---|", *bars])]
    parts += [f"![{says}]({name})" for name, says in [*_PICTURES.items(), (_CONFUSION, "What was said of which fault")]]
    for name, frame in tables(evaluation).items():
        parts += [f"## {name.replace('_', ' ').capitalize()}", markdown(frame)]
    figures = [f"| {n} | {'–' if v is None else f'{v:.4g}'} |" for n, v in evaluation.figures.items()]
    parts += ["## Figures", "\n".join(["| figure | value |", "|---|---|", *figures]), *evaluation.notes]
    return "\n\n".join(parts) + "\n"


def plots(evaluation: Evaluation, out: Path) -> list[Path]:
    """PNG files of what was found, how early, at what price, and of the models alone against together."""
    out.mkdir(parents=True, exist_ok=True)
    from matplotlib.figure import Figure

    paths = []
    for name, draw in zip(_PICTURES, (_draw_found, _draw_leads, _draw_false, _draw_curves), strict=True):
        figure = Figure(figsize=(8, 4.2), layout="constrained")
        draw(figure.subplots(), evaluation)
        figure.savefig(out / name, dpi=110)
        paths.append(out / name)
    return [*paths, draw_confusion(evaluation.confusion, out / _CONFUSION)]


def _draw_found(axes: "Axes", evaluation: Evaluation) -> None:
    table = evaluation.by_kind_and_size.filter(pl.col("faults") > 0)
    kinds, sizes = table["fault"].unique().sort().to_list(), table["size"].unique().sort().to_list()
    width = 0.8 / max(len(sizes), 1)
    for nth, size in enumerate(sizes):
        shares = dict(table.filter(pl.col("size") == size).select("fault", "found").rows())
        at = [k + (nth - (len(sizes) - 1) / 2) * width for k, kind in enumerate(kinds) if kind in shares]
        axes.bar(at, [100 * shares[kind] for kind in kinds if kind in shares], width=width, label=f"size {size}")
    axes.set_xticks(range(len(kinds)), [k.replace("_", "\n", 1) for k in kinds], fontsize=7)
    axes.set(ylabel="found, % of faults", ylim=(0, 104), title="Found at MEDIUM or above, by kind and size of fault")
    axes.legend(fontsize=8)


def _draw_leads(axes: "Axes", evaluation: Evaluation) -> None:
    failing = evaluation.faults.filter("could_be_early")
    kinds = failing["fault"].unique().sort().to_list()
    leads: Sequence[list[float]] = [
        failing.filter((pl.col("fault") == kind) & pl.col("lead_h").is_not_null())["lead_h"].to_list() for kind in kinds
    ]
    if kinds:
        axes.boxplot([x or [0.0] for x in leads], orientation="horizontal", whis=(5, 95))
        axes.set_yticks(range(1, len(kinds) + 1), [k.replace("_", " ") for k in kinds], fontsize=8)
    axes.axvline(12, color="tab:red", linewidth=1, label="12 h")
    axes.set(xlabel="hours from the first alert to the failure", title="Lead time of the failures found")
    axes.legend(fontsize=8)


def _draw_false(axes: "Axes", evaluation: Evaluation) -> None:
    classes = [c for c in evaluation.false.columns if c.endswith("_per_1000")]
    levels = evaluation.false["at_least"].to_list()
    width = 0.8 / len(classes)
    for nth, name in enumerate(classes):
        at = [i + (nth - (len(classes) - 1) / 2) * width for i in range(len(levels))]
        label = {"healthy": "healthy", "telemetry": "broken telemetry", "machine": "before or after a machine fault"}
        axes.bar(at, evaluation.false[name].to_list(), width=width, label=label[name.removesuffix("_per_1000")])
    axes.axhline(1, color="tab:red", linewidth=1, label="bar for HIGH")
    axes.set_yscale("symlog", linthresh=0.1)
    axes.set_xticks(range(len(levels)), [f"{level} or above" for level in levels])
    axes.set(ylabel="per 1,000 device-days", title="False alerts by severity and by what is wrong with the device")
    axes.legend(fontsize=8)


def _draw_curves(axes: "Axes", evaluation: Evaluation) -> None:
    for name, curve in evaluation.curves.items():
        known = curve.drop_nulls("found_12h").sort("limit")
        style = "--" if "rules" in name or "limits" in name else "-"
        axes.plot(known["false_per_1000"], 100 * known["found_12h"], style, marker=".", label=name.replace("_", " "))
    axes.set_xscale("symlog", linthresh=0.1)
    axes.set(
        xlabel="false alerts per 1,000 device-days",
        ylabel="failures found 12 h ahead, %",
        ylim=(0, 104),
        title="What each finds at what price, as its limit moves",
    )
    axes.legend(fontsize=7)


def draw_confusion(confusion: pl.DataFrame, path: Path) -> Path:
    """A picture of which failure mode was said of which kind of fault; from `diagnosed.confusion`."""
    from matplotlib.figure import Figure

    faults = confusion["fault"].unique().sort().to_list()
    modes = [m for m in FAILURE_MODES if m in confusion["failure_mode"].unique()]
    counts = {(fault, mode): n for fault, mode, n in confusion.select("fault", "failure_mode", "alerts").iter_rows()}
    of = {f: sum(counts.get((f, m), 0) for m in modes) for f in faults}
    shares = [[counts.get((f, m), 0) / of[f] for m in modes] for f in faults]
    figure = Figure(figsize=(8, 0.8 + 0.32 * max(len(faults), 4)), layout="constrained")
    axes = figure.subplots()
    axes.set(title="Diagnosed (across) of what was wrong (down), alerts", xticks=[], yticks=[])
    if shares:
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for y, fault in enumerate(faults):
        for x, mode in enumerate(modes):
            if n := counts.get((fault, mode), 0):
                axes.text(x, y, str(n), ha="center", va="center", color="white" if shares[y][x] > 0.5 else "black")
    axes.set_xticks(range(len(modes)), [m.replace("_", "\n", 1) for m in modes], fontsize=7)
    axes.set_yticks(range(len(faults)), [f"{f.replace('_', ' ')} ({of[f]})" for f in faults], fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return path
