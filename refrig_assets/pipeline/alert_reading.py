"""Reading alerts quickly and as they are now: the published board, and what the log holds since. Writes nothing."""

from collections.abc import Collection, Sequence
from typing import TypeVar

import polars as pl

from refrig_assets.alerting.fold import fold
from refrig_assets.alerting.labelling import is_verdict
from refrig_assets.contracts import ALERT_BOARD, DEVICE_ALERTS
from refrig_assets.contracts.alerts import OPERATOR
from refrig_assets.lake import OUTSIDE_ERRORS, Lake
from refrig_assets.pipeline.alert_log import current_board
from refrig_assets.pipeline.published import FOLDED

_Frame = TypeVar("_Frame", pl.DataFrame, pl.LazyFrame)
_TAKING = ("acknowledged", "started", "resolved", "false_positive", "reopened")


def read_board(lake: Lake, *, alerts: Collection[str] | None = None, ordered: bool = True) -> pl.DataFrame:
    """Every alert (or those named) as the log tells of it now, in the order of their creation if that matters.

    What was published is not folded again; only what changed since is.
    """
    board, log = lake.table(ALERT_BOARD), lake.table(DEVICE_ALERTS)
    with board.newest() as opened:
        upto, version = opened.transaction_version(FOLDED), opened.version()
    now = log.version
    if upto is None:
        return _some(current_board(lake), alerts)
    published = _some(board.scan(version=version), alerts).collect(engine="in-memory")
    if upto < now:
        whole = published if alerts is None else board.scan(version=version)
        links = whole.lazy().select("alert_id", "suppressed_by").collect(engine="in-memory")
        try:
            fresh = _some(_since(lake, upto, now, links), alerts)
        except OUTSIDE_ERRORS:  # that version's files are known no more
            return _some(current_board(lake), alerts)
        kept = ~pl.col("alert_id").is_in(fresh["alert_id"].implode())
        published = pl.concat([published.filter(kept), fresh])
    return published.sort("alert_created_at", "alert_id") if ordered else published


def _some(board: _Frame, alerts: Collection[str] | None) -> _Frame:
    return board if alerts is None else board.filter(pl.col("alert_id").is_in(list(alerts)))


def _since(lake: Lake, upto: int, now: int, links: pl.DataFrame) -> pl.DataFrame:
    """The alerts that the log speaks of since a version of it, as the whole log tells of them.

    An alert was last seen when its repetitions were: with an alert that changed, the one is told again which it repeats
    or repeated (`links`: alert_id, suppressed_by as published), and for that all its repetitions are looked at.
    """
    log = lake.table(DEVICE_ALERTS)
    old, files = {f.path for f in log.files(upto)}, log.files(now)
    added = log.scan_files([f for f in files if f.path not in old]).select("alert_id", "suppressed_by")
    rows = added.collect(engine="in-memory")
    repeated = links.filter(pl.col("alert_id").is_in(rows["alert_id"].implode()))["suppressed_by"]
    touched = pl.concat([rows["alert_id"], rows["suppressed_by"], repeated]).drop_nulls().unique()
    beside = links.filter(pl.col("suppressed_by").is_in(touched.implode()))["alert_id"]
    wanted = pl.concat([touched, beside]).unique()
    found = log.scan_files(files).filter(pl.col("alert_id").is_in(wanted.implode())).collect(engine="in-memory")
    return fold(found).filter(pl.col("alert_id").is_in(touched.implode()))


def history(lake: Lake, alerts: Collection[str], version: int | None = None) -> pl.DataFrame:
    """All that happened to these alerts, as the log has it, in the order in which it happened."""
    log = lake.table(DEVICE_ALERTS)
    wanted = pl.Series("alert_id", list(alerts), dtype=pl.String)
    rows = log.scan_files(log.files(version)).filter(pl.col("alert_id").is_in(wanted.implode()))
    found = rows.collect(engine="in-memory").unique("change_id", keep="first")
    return found.sort("alert_id", pl.col("change") != "created", "changed_at", "change_id")


def alert_ids(lake: Lake) -> list[str]:
    """Every alert there is."""
    created = lake.table(DEVICE_ALERTS).scan().filter(pl.col("change") == "created").select("alert_id")
    return created.collect(engine="in-memory")["alert_id"].unique().to_list()


def holders(log: pl.DataFrame) -> dict[str, str]:
    """Of these rows' alerts, the person (as an actor) who took, closed or opened it last."""
    mine = pl.col("actor").str.starts_with(OPERATOR) & pl.col("change").is_in(list(_TAKING))
    last = log.filter(mine).sort("changed_at", "change_id").group_by("alert_id").agg(pl.col("actor").last())
    return dict(last.iter_rows())


def holders_of(lake: Lake, alerts: Sequence[str]) -> dict[str, str]:
    """The same for named alerts, reading no more of the log than that needs."""
    wanted = pl.Series("alert_id", list(alerts), dtype=pl.String)
    columns = ["alert_id", "change_id", "change", "changed_at", "actor"]
    by_person = pl.col("actor").str.starts_with(OPERATOR)
    rows = lake.table(DEVICE_ALERTS).scan().select(columns).filter(by_person)
    return holders(rows.filter(pl.col("alert_id").is_in(wanted.implode())).collect(engine="in-memory"))


def verdicts(lake: Lake) -> pl.DataFrame:
    """Log rows by which people closed alerts, or opened them again."""
    return lake.table(DEVICE_ALERTS).scan().filter(is_verdict()).collect(engine="in-memory")
