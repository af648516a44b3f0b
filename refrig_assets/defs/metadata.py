"""What a materialisation shows: counts, versions, tables and pictures. Values in, Dagster metadata out."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from refrig_assets.lake import Table
from refrig_assets.monitoring.findings import Finding

# Pictures live in the event log: a long range draws only its last partitions.
PICTURES_PER_RUN = 2


def table_metadata(table: Table, version: int | None = None) -> dict[str, Any]:
    """Where the table is, and the version that can be read again."""
    version = table.version if version is None else version
    return {
        "delta_table": dg.MetadataValue.path(table.uri),
        "delta_version": version,
        "read_it": dg.MetadataValue.md(
            f"```python\nimport polars as pl\npl.scan_delta({table.uri!r}, version={version})\n```"
        ),
    }


def counts_table(rows: Mapping[str, int | float], name: str = "what", value: str = "rows") -> dg.MetadataValue:
    return (
        dg.MetadataValue.table([dg.TableRecord({name: str(k), value: v}) for k, v in rows.items()])
        if rows
        else dg.MetadataValue.text("none")
    )


def records_table(rows: Sequence[Mapping[str, Any]]) -> dg.MetadataValue:
    if not rows:
        return dg.MetadataValue.text("none")

    def plain(value: Any) -> str | int | float | bool | None:
        if isinstance(value, float):
            return float(f"{value:.5g}")  # whoever wants more digits reads the table
        return value if isinstance(value, str | int | float | bool) or value is None else str(value)

    columns = list(dict.fromkeys(k for row in rows for k in row))
    return dg.MetadataValue.table([dg.TableRecord({c: plain(row.get(c)) for c in columns}) for row in rows])


def check_result(finding: Finding, asset: str) -> dg.AssetCheckResult:
    """A finding as Dagster shows it: what it says, counts and a bounded sample."""
    metadata: dict[str, Any] = {"finding": finding.says, **finding.counts}
    if finding.sample:
        metadata["sample"] = records_table(finding.sample)
    return dg.AssetCheckResult(
        passed=finding.passed,
        asset_key=asset,
        check_name=finding.check,
        severity=dg.AssetCheckSeverity.ERROR if finding.severe else dg.AssetCheckSeverity.WARN,
        description=finding.says,
        metadata=metadata,
    )


def bar_picture(values: Mapping[str, float], title: str, unit: str, *, horizontal: bool = False) -> dg.MetadataValue:
    """A small bar chart as a Markdown image."""
    from matplotlib.figure import Figure

    height = max(2.2, 0.22 * len(values)) if horizontal else 2.2
    figure = Figure(figsize=(7, height), dpi=72)
    # Margins by hand: the automatic layouts draw everything twice.
    left = 0.02 + 0.0105 * max(map(len, values), default=0) if horizontal else 0.1
    axes = figure.add_axes((left, 0.36 / height + 0.02, 0.97 - left, 1 - 0.72 / height - 0.04))
    names, heights = list(values), list(values.values())
    if horizontal:
        axes.barh(names[::-1], heights[::-1], color="#3b6ea5")
        axes.set_xlabel(unit)
    else:
        axes.bar(range(len(names)), heights, width=1.0, color="#3b6ea5")
        step = max(1, len(names) // 12)
        axes.set_xticks(range(0, len(names), step), names[::step], fontsize=7)
        axes.set_ylabel(unit)
    axes.set_title(title, fontsize=9)
    axes.tick_params(labelsize=7)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    image = io.BytesIO()
    figure.savefig(image, format="png")
    return dg.MetadataValue.md(f"![{title}](data:image/png;base64,{base64.b64encode(image.getvalue()).decode()})")
