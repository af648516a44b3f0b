"""`refrig evaluate`: options to the evaluation's, and what it says. What is measured is `evaluation/`."""

import json
import tempfile
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from refrig_assets.cli.common import console, debug_option, json_option, print_table, progress_bar

if TYPE_CHECKING:
    from refrig_assets.evaluation.figures import Evaluation
    from refrig_assets.evaluation.plan import EvaluationSpec
    from refrig_assets.evaluation.run import Run

_TITLES = {
    "by_kind": "Faults, by kind",
    "false_alerts": "False alerts per 1,000 device-days",
    "diagnosed": "Diagnoses, by kind of fault",
    "models_alone": "Models alone and together, at MEDIUM",
    "agreement": "Agreement of flags",
}


@click.command()
@click.option("--devices", type=click.IntRange(20), default=None, help="Devices in the fleet. [2000; --quick 200]")
@click.option(
    "--days", type=click.IntRange(3), default=None, help="Days of history; the last third is scored. [21; --quick 4]"
)
@click.option("--seed", type=int, default=None, help="Another fleet with other faults. [4242]")
@click.option("--severity", type=click.FloatRange(0.05, 1.0), default=1.0, show_default=True,
              help="A factor on the size of all faults.")  # fmt: skip
@click.option("--quick", is_flag=True, help="A first look: a small fleet that reports every 5 minutes.")
@click.option("--keep", type=click.Path(path_type=Path, file_okay=False),
              help="Keep lake, models, truth and report.md here. [default: a folder that is removed]")  # fmt: skip
@json_option
@debug_option
def evaluate(
    devices: int | None, days: int | None, seed: int | None, severity: float, quick: bool, keep: Path | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Simulate a fleet, train on its first two thirds, score the rest hour by hour, and compare with the truth.

    Everything runs through the real pipeline on a real lake: raw, clean, features, trends, training data, training,
    registry, scores, alerts with their diagnoses. An hour's alerts are known five minutes after it.

    \b
    Examples:
      refrig evaluate --quick
      refrig evaluate --json > evaluation.json
      refrig evaluate --devices 500 --seed 7 --severity 0.6 --keep data/evaluation
    """
    from refrig_assets.evaluation.plan import EvaluationSpec, quick_spec

    spec = quick_spec() if quick else EvaluationSpec()
    spec = replace(
        spec,
        devices=spec.devices if devices is None else devices,
        seed=spec.seed if seed is None else seed,
        severity=severity,
    )
    if days is not None:
        spec = replace(spec, days=days, train_days=max(2, days * 2 // 3))
    if keep is not None:
        if keep.exists() and any(keep.iterdir()):
            raise click.UsageError(f"{keep} is not empty: choose another folder for --keep, or remove it")
        keep.mkdir(parents=True, exist_ok=True)
    with nullcontext(keep) if keep else tempfile.TemporaryDirectory(prefix="refrig-evaluate-") as home:
        run, evaluation = _measure(spec, Path(home))
        if keep:
            _keep(evaluation, run, keep)
    _say(evaluation, run, as_json)


def _measure(spec: "EvaluationSpec", home: Path) -> tuple["Run", "Evaluation"]:
    from refrig_assets.evaluation.figures import evaluate as judge
    from refrig_assets.evaluation.run import run

    with progress_bar(f"{spec.devices:,} devices, {spec.days} days: hours") as progress:
        done = run(spec, home, progress)
    return done, judge(done.lake, done.truth, spec.scored_from, spec.end)


def _keep(evaluation: "Evaluation", run: "Run", keep: Path) -> None:
    from refrig_assets.evaluation.report import page, plots, tables

    run.truth.write_parquet(keep / "truth.parquet")
    evaluation.faults.write_parquet(keep / "faults.parquet")
    for name, table in {**tables(evaluation), **evaluation.curves}.items():
        table.write_csv(keep / f"{name.replace(' ', '_')}.csv")
    plots(evaluation, keep)
    (keep / "report.md").write_text(page(evaluation, run.says))


def _say(evaluation: "Evaluation", run: "Run", as_json: bool) -> None:
    from refrig_assets.evaluation.machine import machine
    from refrig_assets.evaluation.report import bar_lines, cells, document, tables

    if as_json:
        click.echo(json.dumps(document(evaluation, machine(), run.seconds), ensure_ascii=False))
        return
    for name, table in tables(evaluation).items():
        if name in _TITLES and table.height:
            print_table(_TITLES[name], [c.replace("_", " ") for c in table.columns], cells(table))
    shown = [(name, "–" if value is None else f"{value:,.4g}") for name, value in evaluation.figures.items()]
    print_table("Figures", ("figure", "value"), shown, right=(1,))
    marks = {True: "[green]✓[/]", False: "[red]✗[/]"}
    lines = [(marks[holds], name, value, asked) for name, value, asked, holds in bar_lines(evaluation)]
    print_table("Bars", ("", "bar", "value", "promised"), lines, right=(2,))
    for note in evaluation.notes:
        console().print(f"[yellow]{note}[/]")
    spent = ", ".join(f"{stage} {seconds:.0f} s" for stage, seconds in run.seconds.items())
    console().print(f"{run.readings:,} readings. Time: {spent}")
