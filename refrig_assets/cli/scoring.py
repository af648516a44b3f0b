"""`refrig score`: any model, any hour, any devices, by the assets that a plant's schedule would run."""

import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click

from refrig_assets.cli.common import Moment, debug_option, json_option, lake_option, now, print_json, print_table

DEFAULT_HOME = "data/dagster"
MODELS = ("statistical_baseline", "isolation_forest", "autoencoder", "dbscan_cohort")
# Producers that need no model, and their jobs.
WITHOUT_MODEL = {"rules_fallback": "fallback", "threshold_baseline": "limits"}
_ONE_HOUR = timedelta(hours=1)


def _hour(_ctx: click.Context, _param: click.Parameter, value: datetime | None) -> datetime:
    """The hour that holds the moment; by default the last that has closed."""
    moment = value if value is not None else now() - _ONE_HOUR
    return moment.replace(minute=0, second=0, microsecond=0)


def _devices(_ctx: click.Context, _param: click.Parameter, value: tuple[str, ...]) -> list[str]:
    """Ids one by one, several with commas between, or a file of them as @FILE, one a line."""
    found: list[str] = []
    for one in value:
        if one.startswith("@"):
            try:
                found += Path(one[1:]).read_text(encoding="utf-8").split()
            except OSError as error:
                raise click.BadParameter(f"{one[1:]}: {error.strerror}") from error
        else:
            found += [part.strip() for part in one.split(",") if part.strip()]
    return list(dict.fromkeys(found))


@click.command()
@click.option("--model", "models", multiple=True, type=click.Choice([*MODELS, *WITHOUT_MODEL, "all"]),
              default=("statistical_baseline", "isolation_forest"), show_default=True,
              help="Which model; may be repeated. `all` is the four detectors.")  # fmt: skip
@click.option("--hour", type=Moment(), callback=_hour, help="An hour in UTC, like 2026-03-01T14:00  [default: the last "
              "that has closed]")  # fmt: skip
@click.option("--hours", type=click.IntRange(1, 24 * 31), default=1, show_default=True,
              help="So many hours from there on, in one run.")  # fmt: skip
@click.option("--devices", multiple=True, callback=_devices, metavar="ID,ID…|@FILE",
              help="Only these devices; the scores of others stay as they are. May be repeated.")  # fmt: skip
@click.option("--even-stale", is_flag=True, help="Score the newest hour although its features are over two hours old: "
              "you want history, not what is going on now.")  # fmt: skip
@click.option("--top", type=click.IntRange(0, 1000), default=10, show_default=True,
              help="Show so many devices, those with the highest scores.")  # fmt: skip
@lake_option
@json_option
@debug_option
@click.pass_context
def score(
    ctx: click.Context, models: tuple[str, ...], hour: datetime, hours: int, devices: list[str], even_stale: bool,
    top: int, lake_uri: str, as_json: bool,
) -> None:  # fmt: skip
    """Score the 15-minute windows of an hour, and show which devices stand out and why.

    Runs the score assets of the named models, as their schedule does, and so writes model_scores and shows up in the
    UI. Scoring again puts new rows in the place of the old ones: the same version gives the same scores. The version
    that is released or pinned is used, with the challenger and shadow beside it; see `refrig models list`.

    Ends with 1 where a run or one of its checks failed. One model failing does not stop the others.

    \b
    Examples:
      refrig score                                               # the last closed hour, as every hour
      refrig score --model all --hour 2026-03-10T02:00
      refrig score --model autoencoder --hour 2026-03-10T14:00 --devices dev-0017,dev-0018
      refrig score --model all --devices @watched.txt --json | jq '.highest[] | select(.anomaly_flag)'
      refrig score --model rules_fallback                        # by rules alone, without any model
    """
    _look(lake_uri)
    chosen = list(dict.fromkeys(m for one in models for m in (MODELS if one == "all" else (one,))))
    failed = _run(chosen, hour, hours, devices, even_stale, lake_uri)
    rows = _highest(lake_uri, chosen, hour, hours, devices, top)
    if as_json:
        print_json({"hour": hour, "hours": hours, "models": chosen, "failed": failed, "highest": rows})
    else:
        for one in failed:
            click.echo(f"{click.style('Failed:', fg='red')} {one}", err=True)
        if top:
            _show(rows)
    ctx.exit(1 if failed else 0)


def _look(lake_uri: str) -> None:
    """A lake that is not there is an error; running an asset would make an empty one."""
    from refrig_assets.cli.common import open_lake
    from refrig_assets.contracts import DEVICE_FEATURES
    from refrig_assets.lake import LakeUnavailableError

    if not open_lake(lake_uri).has(DEVICE_FEATURES):
        raise LakeUnavailableError(
            f"there is no lake at {lake_uri!r}. Create it with `refrig doctor --create`, "
            "or name the right place by --lake or REFRIG_LAKE"
        )


def _run(
    models: list[str], hour: datetime, hours: int, devices: list[str], even_stale: bool, lake_uri: str
) -> list[str]:  # fmt: skip
    """Run the assets; returns what failed, steps first."""
    import dagster as dg

    from refrig_assets.definitions import defs
    from refrig_assets.defs.home import prepare_home
    from refrig_assets.defs.launch import run_job
    from refrig_assets.defs.resources import from_environment
    from refrig_assets.defs.scoring import asset_of

    resources: dict[str, Any] = from_environment()
    resources["lake"] = type(resources["lake"])(uri=lake_uri, stream_state=resources["lake"].stream_state)
    home = prepare_home(Path(os.environ.get("DAGSTER_HOME", DEFAULT_HOME)).absolute())
    jobs = [(f"score_{m}", asset_of(m)) if m in MODELS else (WITHOUT_MODEL[m], m) for m in models]
    failed: dict[str, None] = {}
    with dg.DagsterInstance.from_config(str(home)) as instance:
        for job, asset in jobs:
            config: dict[str, Any] = {"devices": devices}
            if asset not in WITHOUT_MODEL:
                config["even_stale"] = even_stale
            result = run_job(
                defs, job, instance, start=hour, end=hour + hours * _ONE_HOUR, resources=resources,
                run_config={"ops": {asset: {"config": config}}}, raise_on_error=False, quiet=True,
            )  # fmt: skip
            for event in result.all_events:
                if event.is_step_failure and event.step_failure_data.error is not None:
                    failed[_told(event.step_key or job, event.step_failure_data.error)] = None
            for check in result.get_asset_check_evaluations():
                if not check.passed:
                    failed[f"{check.asset_key.to_user_string()}/{check.check_name}: {check.description}"] = None
    return list(failed)


def _told(step: str, error: Any) -> str:
    """A step's failure as its cause says it."""
    while error.cause is not None:
        error = error.cause
    return f"{step}: {str(error.message).strip()}"


def _highest(
    lake_uri: str, models: list[str], hour: datetime, hours: int, devices: list[str], top: int
) -> list[dict[str, Any]]:  # fmt: skip
    """The devices that stand out most in these hours, each by its highest window; of champions and rules."""
    import polars as pl

    from refrig_assets.cli.common import open_lake
    from refrig_assets.contracts import MODEL_SCORES

    rows: pl.LazyFrame = open_lake(lake_uri).table(MODEL_SCORES).scan(hour, hour + hours * _ONE_HOUR)
    rows = rows.filter(pl.col("model_id").is_in(models) & pl.col("deployment_role").is_in(["champion", "shadow"]))
    rows = rows.filter((pl.col("deployment_role") == "champion") | pl.col("model_id").is_in(list(WITHOUT_MODEL)))
    if devices:
        rows = rows.filter(pl.col("device_id").is_in(devices))
    shown = ["window_start", "window_end", "model_id", "model_version", "anomaly_score", "anomaly_flag",
             "top_contributors", "contributor_scores"]  # fmt: skip
    order = ["anomaly_score", "anomaly_flag", "window_start", "model_id"]
    of_device = rows.sort(order, descending=[True, True, False, False]).group_by("device_id")
    highest = of_device.agg(
        pl.col(shown).first(),
        windows=pl.col("window_start").n_unique(),
        windows_flagged=pl.col("window_start").filter("anomaly_flag").n_unique(),
    )
    order = ["anomaly_score", "anomaly_flag", "windows_flagged", "device_id"]
    return highest.sort(order, descending=[True, True, True, False]).head(top).collect().to_dicts()


def _show(rows: list[dict[str, Any]]) -> None:
    if not rows:
        click.echo("There are no scores to show")
        return
    cells = [
        (
            r["device_id"], f"{r['anomaly_score']:.3f}", f"{r['window_start']:%Y-%m-%d %H:%M}",
            f"{r['model_id']} {r['model_version']}", f"{r['windows_flagged']} of {r['windows']}", _because(r),
        )
        for r in rows
    ]  # fmt: skip
    headers = ("device", "highest", "in the window of", "by", "windows flagged", "because of")
    print_table("Devices that stand out most", headers, cells, right=(1, 4))


def _because(row: dict[str, Any]) -> str:
    names, sizes = row["top_contributors"] or [], row["contributor_scores"] or []
    return ", ".join(f"{name} {'high' if size > 0 else 'low'}" for name, size in zip(names, sizes, strict=False))
