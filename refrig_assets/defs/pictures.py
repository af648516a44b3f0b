"""Pictures of scores for the UI: values in, Markdown images out."""

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import dagster as dg
import numpy as np
import polars as pl

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_POINTS = 4000
_BLUE, _RED = "#3b6ea5", "#b5493b"


def scores_picture(shares: Sequence[float], title: str, threshold: float | None = None) -> dg.MetadataValue:
    """Shares of windows by score. On a scale of powers of ten: what matters is rare."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.4), dpi=72)
    axes = figure.add_axes((0.1, 0.2, 0.87, 0.68))
    width = 1 / len(shares)
    axes.bar([n * width for n in range(len(shares))], [100 * s for s in shares], width=width, align="edge",
             color=_BLUE, edgecolor="white", linewidth=0.5)  # fmt: skip
    if threshold is not None:
        axes.axvline(threshold, color=_RED, linewidth=1.4)
    axes.set_yscale("log")
    axes.set_ylim(top=100)
    axes.yaxis.set_major_formatter("{x:g} %")
    axes.yaxis.set_minor_formatter("")
    axes.set_xlim(0, 1)
    axes.set_xlabel("score" if threshold is None else f"score (red: flagged above {threshold:g})", fontsize=7)
    axes.set_ylabel("of windows", fontsize=7)
    axes.set_title(title, fontsize=9)
    axes.tick_params(labelsize=7)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return _shown(figure, title)


def scatter_picture(across: pl.Series, up: pl.Series, title: str, names: tuple[str, str]) -> dg.MetadataValue:
    """Two scores of the same windows against each other, with the line of equals. Of many points every n-th."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2, 4.2), dpi=72)
    axes = figure.add_axes((0.13, 0.11, 0.84, 0.8))
    step = max(1, -(-len(across) // _MOST_POINTS))
    # Those that either finds odd are drawn all: they are few, and what the comparison is about.
    shown = (np.arange(len(across)) % step == 0) | (np.maximum(across.to_numpy(), up.to_numpy()) > 0.6)
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.8)
    axes.plot(across.to_numpy()[shown], up.to_numpy()[shown], ".", markersize=2, color=_BLUE)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel(names[0], fontsize=8)
    axes.set_ylabel(names[1], fontsize=8)
    axes.set_title(title, fontsize=9)
    axes.tick_params(labelsize=7)
    return _shown(figure, title)


def _shown(figure: "Figure", title: str) -> dg.MetadataValue:
    image = io.BytesIO()
    figure.savefig(image, format="png")
    return dg.MetadataValue.md(f"![{title}](data:image/png;base64,{base64.b64encode(image.getvalue()).decode()})")
