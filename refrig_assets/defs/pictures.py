"""Pictures of scores for the UI: values in, Markdown images out."""

import base64
import io

import dagster as dg
import numpy as np
import polars as pl

_MOST_POINTS = 4000


def scatter_picture(across: pl.Series, up: pl.Series, title: str, names: tuple[str, str]) -> dg.MetadataValue:
    """Two scores of the same windows against each other, with the line of equals. Of many points every n-th."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2, 4.2), dpi=72)
    axes = figure.add_axes((0.13, 0.11, 0.84, 0.8))
    step = max(1, -(-len(across) // _MOST_POINTS))
    # Those that either finds odd are drawn all: they are few, and what the comparison is about.
    shown = (np.arange(len(across)) % step == 0) | (np.maximum(across.to_numpy(), up.to_numpy()) > 0.6)
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.8)
    axes.plot(across.to_numpy()[shown], up.to_numpy()[shown], ".", markersize=2, color="#3b6ea5")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel(names[0], fontsize=8)
    axes.set_ylabel(names[1], fontsize=8)
    axes.set_title(title, fontsize=9)
    axes.tick_params(labelsize=7)
    image = io.BytesIO()
    figure.savefig(image, format="png")
    return dg.MetadataValue.md(f"![{title}](data:image/png;base64,{base64.b64encode(image.getvalue()).decode()})")
