"""What every benchmark prints: the machine, figures and bars, as a table or as one JSON object."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from refrig_assets.evaluation.machine import machine

GB = 1e9


@dataclass(frozen=True)
class Bar:
    """A promise about one figure. Without a value (not measured) it does not hold."""

    value: float | None
    bar: float
    at_most: bool = True

    @property
    def holds(self) -> bool:
        if self.value is None:
            return False
        return self.value <= self.bar if self.at_most else self.value >= self.bar

    @property
    def condition(self) -> str:
        return f"{'≤' if self.at_most else '≥'} {self.bar:g}"

    def as_json(self) -> dict[str, float | bool | None]:
        return {"value": _rounded(self.value), "bar": self.bar, "holds": self.holds}


def print_report(
    figures: Mapping[str, float | None],
    bars: Mapping[str, Bar],
    runs: int,
    as_json: bool,
    *,
    title: str = "Benchmark",
    notes: tuple[str, ...] = (),
) -> None:
    """The JSON object on one line, or tables of the same."""
    if as_json:
        print(
            json.dumps(
                {
                    "machine": machine(),
                    "runs": runs,
                    "figures": {name: _rounded(value) for name, value in figures.items()},
                    "bars": {name: bar.as_json() for name, bar in bars.items()},
                    "notes": list(notes),
                },
                ensure_ascii=False,
            ),
            flush=True,
        )
        return
    console = Console()
    told = ", ".join(f"{name} {value}" for name, value in machine().items())
    console.print(f"[bold]{title}[/bold] — {runs} run{'s' if runs != 1 else ''}\n{told}\n")
    console.print(_figures_table({n: v for n, v in figures.items() if n not in bars}))
    console.print(_bars_table(bars))
    for note in notes:
        console.print(f"[yellow]{note}[/yellow]")


def _figures_table(figures: Mapping[str, float | None]) -> Table:
    table = Table("figure", "value")
    table.columns[1].justify = "right"
    for name, value in figures.items():
        table.add_row(name, _shown(value))
    return table


def _bars_table(bars: Mapping[str, Bar]) -> Table:
    table = Table("bar", "value", "promised", "holds")
    for name, bar in bars.items():
        table.add_row(name, _shown(bar.value), bar.condition, "[green]yes[/green]" if bar.holds else "[red]no[/red]")
    return table


def _shown(value: float | None) -> str:
    return "not measured" if value is None else f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")
