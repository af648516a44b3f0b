"""Which scores the alerts have judged: a trace of every judgement, whether it changed anything or not. `now` is given.

Alerts tell only of what stands out. That nobody looks any more is seen by scores that wait.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from refrig_assets.contracts import DEVICE_ALERTS, MODEL_SCORES
from refrig_assets.contracts.base import F64, I64, TS
from refrig_assets.contracts.scoring import DETECTORS, EXPIRED_AFTER, RULES_FALLBACK, USE_BY
from refrig_assets.lake import HOUR, Lake, commits_since
from refrig_assets.pipeline.hours import floor_hour, read_accounts, write_accounts
from refrig_assets.pipeline.score_rows import SCORED

# Of older hours nobody waits for alerts: their scores have expired.
LIVE_FOR = EXPIRED_AFTER + 2 * HOUR
# Accounts of an hour under device_alerts. Neither counts rows: one is a moment (µs since 1970), the other a version.
SCORED_UP_TO, VERSION = "judged_scored_at", "judged_version"
# Of model_scores, where no judgement has left a trace: more than are made in a day.
_VERSIONS_BACK = 400
_MODELS = (*DETECTORS, RULES_FALLBACK)
WAITING = {"hour": TS, "since": TS, "windows": I64, "highest": F64}


@dataclass(frozen=True)
class Seen:
    """What model_scores held of an hour when it was judged: its version and the moment of its newest scores."""

    version: int
    newest: datetime | None = None


def scores_seen(lake: Lake, hour: datetime) -> Seen:
    """To be asked before the hour is judged: what is scored meanwhile has not been judged."""
    version = lake.table(MODEL_SCORES).version
    return Seen(version, _scores(lake, hour, hour + HOUR).select(pl.col("scored_at").max()).collect().item())


def note_judged(lake: Lake, hour: datetime, seen: Seen, now: datetime) -> None:
    """Leave a trace of the judgement of a live hour; of others nobody asks."""
    if seen.newest is not None and now - hour < LIVE_FOR:
        micros = round(seen.newest.timestamp() * 1_000_000)
        write_accounts(lake, DEVICE_ALERTS.name, hour, {SCORED_UP_TO: micros, VERSION: seen.version})


def waiting_scores(lake: Lake, now: datetime) -> pl.DataFrame:
    """The live hours with scores that no judgement has seen: since when, how many windows, the highest score."""
    start = floor_hour(now) - EXPIRED_AFTER
    judged = _judged(lake, start, now)
    live = _scores(lake, start, now).filter(
        (pl.col("scored_at") - pl.col("window_end") <= USE_BY) & (pl.col("scored_at") <= now)
    )
    hourly = live.with_columns(hour=pl.col("window_start").dt.truncate("1h")).join(judged.lazy(), on="hour", how="left")
    unseen = hourly.filter(pl.col("scored_at") > pl.col("seen").fill_null(datetime(1970, 1, 1, tzinfo=UTC)))
    found = unseen.group_by("hour").agg(
        since=pl.col("scored_at").min(),
        windows=pl.struct("device_id", "window_end").n_unique().cast(pl.Int64),
        highest=pl.col("anomaly_score").max(),
    )
    waiting = found.collect()
    if waiting.is_empty():
        return pl.DataFrame(schema=WAITING)
    # An hour that runs is scored again and again, and its scores are always young: the first time counts.
    both = waiting.join(_first_scored(lake, judged), on="hour", how="left")
    return both.with_columns(since=pl.min_horizontal("since", "first")).select(*WAITING).sort("hour")


def _scores(lake: Lake, start: datetime, end: datetime) -> pl.LazyFrame:
    """The scores that alerts may rest on."""
    needed = ("device_id", "window_start", "window_end", "scored_at", "anomaly_score")
    counts = (pl.col("deployment_role") == "champion") & pl.col("model_id").is_in(_MODELS)
    return lake.table(MODEL_SCORES).scan(start, end).filter(counts).select(needed)


def _judged(lake: Lake, start: datetime, end: datetime) -> pl.DataFrame:
    """Up to which moment and version the scores of each hour were judged (hour, seen, version)."""
    told = read_accounts(lake, start, end).filter(pl.col("table") == DEVICE_ALERTS.name)

    def account(name: str) -> pl.DataFrame:
        return told.filter(pl.col("account") == name).group_by("hour").agg(pl.col("rows").max())

    seen = account(SCORED_UP_TO).select("hour", seen=pl.from_epoch("rows", "us").dt.replace_time_zone("UTC"))
    return seen.join(account(VERSION).select("hour", version="rows"), on="hour", how="left")


def _first_scored(lake: Lake, judged: pl.DataFrame) -> pl.DataFrame:
    """When each hour was first scored after it was judged, as the commits of model_scores tell (hour, first)."""
    table = lake.table(MODEL_SCORES)
    traced = dict(judged.drop_nulls("version").select("hour", "version").iter_rows())
    since = max(min(traced.values(), default=-1), table.version - _VERSIONS_BACK)
    first: dict[datetime, datetime] = {}
    for note in commits_since(table, min(since, table.version), [SCORED]).commits:
        model, _, told = note.metadata[SCORED].partition(" ")
        hour = datetime.fromisoformat(told)
        if model in _MODELS and note.version > traced.get(hour, -1):
            first.setdefault(hour, note.at)
    rows = {"hour": list(first), "first": list(first.values())}
    return pl.DataFrame(rows, schema={"hour": TS, "first": TS})
