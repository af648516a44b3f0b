"""Pictures of alerts and of the fleet for reports and event logs: frames in, PNGs of few kilobytes out."""

import base64
import io
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl

from refrig_assets.alerting.summary import WORST_FIRST, by_age, by_deadline, by_mode, by_severity
from refrig_assets.contracts.alerts import SEVERITIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {"CRITICAL": "#a63a2b", "HIGH": "#dd8136", "MEDIUM": "#e3bd4f", "LOW": "#8fb3d0"}
_STATUS_COLOURS = ("#a63a2b", "#3b6ea5", "#7aa874")
_GREY, _BLUE = "#8a8a8a", "#3b6ea5"
_DPI = 80
_PALETTE = 128


def board_picture(stands: pl.DataFrame, now: datetime) -> str:
    """The alerts that stand: by severity and status, against the deadline, by age, by probable failure."""
    figure = _figure(9.2, 4.7)
    across, up = (0.09, 0.62), (0.52, 0.02)
    panels = [figure.add_axes((x, y, 0.36, 0.35)) for y in up for x in across]
    severity = by_severity(stands)
    statuses = [c for c in severity.columns if c not in ("severity", "all")]
    _stacked(panels[0], severity, "severity", statuses, dict(zip(statuses, _STATUS_COLOURS, strict=True)))
    _stacked(panels[1], by_deadline(stands, now), "deadline", WORST_FIRST, COLOURS)
    _stacked(panels[2], by_age(stands, now), "age", WORST_FIRST, COLOURS)
    modes = by_mode(stands).head(8).with_columns(pl.col("failure_mode").str.replace_all("_", " "))
    _stacked(panels[3], modes, "failure_mode", WORST_FIRST, COLOURS)
    titles = ("by severity", "against the deadline", "by age", "by probable failure")
    for axes, title in zip(panels, titles, strict=True):
        axes.set_title(title, fontsize=9, loc="left")
    for axes in panels[:2]:
        axes.legend(fontsize=7, frameon=False, loc="best")
    figure.suptitle(
        f"{stands.height:,} alerts stand, {now:%Y-%m-%d %H:%M} UTC", fontsize=10, x=0.01, ha="left", y=0.985
    )
    return markdown_image(figure, "standing alerts")


def _stacked(axes: "Axes", table: pl.DataFrame, label: str, columns: Sequence[str], colours: dict[str, str]) -> None:
    """Horizontal bars, one a label, made of the columns; the number at its end."""
    names = table[label].to_list()
    left = [0] * len(names)
    for column in columns:
        values = table[column].to_list()
        axes.barh(names, values, left=left, color=colours[column], height=0.72, label=column)
        left = [a + b for a, b in zip(left, values, strict=True)]
    most = max(left, default=0) or 1
    for number, value in enumerate(left):
        axes.text(value + 0.015 * most, number, f"{value:,}", va="center", fontsize=7)
    axes.set_xlim(0, 1.14 * most)
    axes.invert_yaxis()
    axes.set_xticks([])
    axes.tick_params(labelsize=7, length=0)
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)


def sparklines(series: Sequence[tuple[str, str, pl.DataFrame]], start: datetime, end: datetime) -> str:
    """Scores of devices over a day, a row each: (device, severity or "", frame of window_end and score)."""
    count = max(1, len(series))
    height = 0.42 * count + 0.45
    figure = _figure(7.2, height)
    row = 0.42 / height
    hours = (end - start) / timedelta(hours=1)
    for number, (device, severity, scores) in enumerate(series):
        axes = figure.add_axes((0.24, 1 - row * (number + 1), 0.66, 0.8 * row))
        across = [(m - start) / timedelta(hours=1) for m in scores["window_end"]]
        colour = COLOURS.get(severity, _BLUE)
        axes.axhline(0.6, color="#cccccc", linewidth=0.7)
        axes.plot(across, scores["score"], color=colour, linewidth=1.2)
        axes.set_xlim(0, hours)
        axes.set_ylim(0, 1)
        axes.axis("off")
        axes.text(-0.015, 0.5, device, transform=axes.transAxes, ha="right", va="center", fontsize=8)
        last = scores["score"][-1] if scores.height else None
        axes.text(1.015, 0.5, "" if last is None else f"{last:.2f}", transform=axes.transAxes, va="center", fontsize=8,
                  color=colour)  # fmt: skip
    foot = figure.add_axes((0.24, 0.27 / height, 0.66, 0.01))
    foot.set_xlim(0, hours)
    ticks = range(0, int(hours) + 1, 6)
    foot.set_xticks(list(ticks), [f"{start + timedelta(hours=t):%H:%M}" for t in ticks], fontsize=7)
    foot.set_yticks([])
    for side in ("top", "right", "left"):
        foot.spines[side].set_visible(False)
    return markdown_image(figure, "scores of the last 24 hours")


def hours_left_picture(expected: pl.DataFrame) -> str:
    """When failures are expected: hours left with the span they may lie in, the soonest at the top."""
    height = 0.3 * max(1, expected.height) + 0.75
    figure = _figure(7.2, height)
    axes = figure.add_axes((0.24, 0.42 / height, 0.72, 1 - 0.62 / height))
    for number, row in enumerate(expected.iter_rows(named=True)):
        low, high = row["low"], row["high"]
        colour = COLOURS.get(row["severity"], _BLUE)
        if low is not None and high is not None:
            axes.plot([low, high], [number, number], color=colour, linewidth=3, alpha=0.45, solid_capstyle="butt")
        axes.plot([row["left"]], [number], "o", color=colour, markersize=5)
    axes.set_yticks(range(expected.height), expected["device_id"].to_list(), fontsize=8)
    axes.set_ylim(expected.height - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.set_xlabel("hours left (bar: one in ten fails sooner, one in ten later)", fontsize=7)
    axes.tick_params(labelsize=7)
    axes.grid(axis="x", color="#e6e6e6", linewidth=0.6)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return markdown_image(figure, "hours left")


def days_picture(counts: pl.DataFrame) -> str:
    """New alerts by hour of a day, by severity: (hour, and a column a severity)."""
    figure = _figure(7.2, 1.9)
    axes = figure.add_axes((0.07, 0.18, 0.91, 0.7))
    bottom = [0] * counts.height
    for severity in SEVERITIES[::-1]:
        values = counts[severity].to_list()
        axes.bar(counts["hour"], values, bottom=bottom, color=COLOURS[severity], width=0.85, label=severity)
        bottom = [a + b for a, b in zip(bottom, values, strict=True)]
    axes.set_xticks(range(0, 24, 3), [f"{h:02d}:00" for h in range(0, 24, 3)], fontsize=7)
    axes.set_xlim(-0.6, 23.6)
    axes.set_ylim(0, 1.15 * (max(bottom, default=0) or 1))
    axes.tick_params(labelsize=7)
    axes.legend(fontsize=7, frameon=False, ncols=4, loc="upper right")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.set_title("new alerts by hour (UTC)", fontsize=9, loc="left")
    return markdown_image(figure, "new alerts by hour")


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=_DPI)


def markdown_image(figure: "Figure", title: str) -> str:
    """The figure as a Markdown image that needs no file.

    A palette takes a third of the bytes; a smaller one loses the legends' colours.
    """
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())
    image = io.BytesIO()
    Image.fromarray(pixels).convert("RGB").quantize(_PALETTE).save(image, format="PNG", optimize=True)
    return f"![{title}](data:image/png;base64,{base64.b64encode(image.getvalue()).decode()})"
