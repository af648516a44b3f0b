"""`refrig models compare`: two versions score the same windows, and the canary's gates are held against them."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import click

from refrig_assets.cli.common import (
    MARKS,
    Moment,
    debug_option,
    json_option,
    lake_option,
    open_lake,
    print_json,
    print_table,
)
from refrig_assets.cli.models import models_option, open_registry

if TYPE_CHECKING:
    import polars as pl

    from refrig_assets.lake import Lake
    from refrig_assets.models import Model
    from refrig_assets.models.canary import CanaryReport

_MARK = {"pass": MARKS["ok"], "investigate": MARKS["warn"], "review": MARKS["warn"], "block": MARKS["error"]}


class NothingToCompareError(RuntimeError):
    """There are no windows in the hours asked for; the message says which there are."""


@click.command()
@click.argument("model")
@click.argument("old")
@click.argument("new")
@click.option("--hours", type=click.IntRange(1, 31 * 24), default=24, show_default=True, help="Over so many hours.")
@click.option("--until", type=Moment(), default=None, help="Up to this hour instead of the newest with features.")
@click.option("--record", is_flag=True, help="Keep the result with NEW: `promote` goes by it.")
@lake_option
@models_option
@json_option
@debug_option
def compare(
    model: str, old: str, new: str, hours: int, until: datetime | None, record: bool, lake_uri: str, uri: str,
    as_json: bool,
) -> None:  # fmt: skip
    """Let the versions OLD and NEW of MODEL score the same windows, and show what the canary's gates say.

    Nothing is written to the scores. The gates: the scores' mean difference (investigate), the flag rate (block),
    the hundred highest devices (review) and the distribution of the scores (block). Ends with 1 where one fails.

    \b
    Examples:
      refrig models compare isolation_forest 3 4
      refrig models compare isolation_forest released staging --hours 72 --record
    """
    from refrig_assets.models.canary import compare as compare_scores

    registry = open_registry(uri)
    (old_model, before), (new_model, after) = registry.load(model, old), registry.load(model, new)
    rows, start, end = _rows(open_lake(lake_uri), hours, until)
    report = compare_scores(
        _scored(old_model, rows), _scored(new_model, rows),
        model_id=model, old_version=before.version, new_version=after.version,
    )  # fmt: skip
    if record:
        registry.record_canary(report)
    if as_json:
        print_json({**report.to_dict(), "start": start, "end": end, "recorded": record})
    else:
        _show(report, start, end)
        if record:
            click.echo(f"Kept with {model} {after.version}")
    click.get_current_context().exit(0 if report.passed else 1)


def _rows(lake: "Lake", hours: int, until: datetime | None) -> "tuple[pl.DataFrame, datetime, datetime]":
    import polars as pl

    from refrig_assets.pipeline.hours import hours_between
    from refrig_assets.pipeline.model_input import model_inputs
    from refrig_assets.pipeline.model_rows import newest_features

    newest = newest_features(lake)
    if newest is None:
        raise NothingToCompareError(f"the lake at {lake.uri} has no features yet: run the features first.")
    end = until or newest
    start = end - timedelta(hours=hours)
    # What scoring would give the models: gaps filled, thin windows left out.
    parts = [p.rows for h in hours_between(start, end) for p in model_inputs(lake, h, min(end, h + timedelta(hours=1)))]
    rows = pl.concat(parts) if parts else None
    if rows is None or rows.is_empty():
        raise NothingToCompareError(
            f"there are no windows from {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC; features reach to "
            f"{newest:%Y-%m-%d %H:%M}. Choose other hours with --until and --hours."
        )
    return rows, start, end


def _scored(model: "Model", rows: "pl.DataFrame") -> "pl.DataFrame":
    from refrig_assets.pipeline.scoring import score_with

    return rows.select("device_id", "window_end").hstack(score_with(model, rows, reasons="none"))


def _show(report: "CanaryReport", start: datetime, end: datetime) -> None:
    title = (
        f"{report.model_id} {report.new_version} against {report.old_version}: {report.rows:,} windows of "
        f"{report.devices:,} devices, {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC"
    )
    rows = [(_MARK[g.outcome], g.name, f"{g.value:.4f}", f"{g.limit:g}", g.outcome, g.says) for g in report.gates]
    print_table(title, ("", "gate", "value", "limit", "outcome", "what it says"), rows, right=(2, 3))
    for count, which in ((report.rows_only_old, report.old_version), (report.rows_only_new, report.new_version)):
        if count:
            click.echo(f"! {count:,} windows could be scored by {which} only")
    if report.passed:
        click.echo("All gates pass")
    else:
        click.echo(f"{len(report.failed)} of {len(report.gates)} gates do not pass: " + ", ".join(
            f"{g.name} ({g.outcome})" for g in report.failed))  # fmt: skip
