"""Reading alerts quickly and as they are now: the published board, and what the log holds since. Writes nothing."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import polars as pl

from refrig_assets.alerting.fold import fold
from refrig_assets.alerting.labelling import is_verdict
from refrig_assets.contracts import ALERT_BOARD, DEVICE_ALERTS
from refrig_assets.contracts.alerts import OPERATOR
from refrig_assets.lake import OUTSIDE_ERRORS, Lake

FOLDED = "device_alerts"
"""mark of a published table: the version of the log that it tells"""
_TAKING = ("acknowledged", "started", "resolved", "false_positive", "reopened")


@dataclass(frozen=True)
class Overlay:
    """The board as the log tells of it: what was published, but for the alerts of which the log has said more since."""

    published: pl.LazyFrame
    fresh: pl.DataFrame
    """the alerts that changed since, folded; all, where nothing is published that could be gone on from"""
    upto: int | None
    """the version of the log that was published, if it can be gone on from"""

    def read(self, where: pl.Expr | None = None) -> pl.DataFrame:
        """Every alert, or those for which `where` is true; in no order. What is not asked for is not kept in memory."""
        untouched = self.published.filter(~self.changed())
        if where is not None:
            untouched = untouched.filter(where)
        fresh = self.fresh if where is None else self.fresh.filter(where)
        return pl.concat([untouched.collect(engine="in-memory"), fresh])

    def changed(self) -> pl.Expr:
        return pl.col("alert_id").is_in(self.fresh["alert_id"].implode())


def board_now(lake: Lake, version: int | None = None) -> Overlay:
    """The board as of a version of the log, by default the newest; no more of the log is folded than has changed."""
    board, log = lake.table(ALERT_BOARD), lake.table(DEVICE_ALERTS)
    with board.newest() as opened:
        upto, at = opened.transaction_version(FOLDED), opened.version()
    now = log.version if version is None else version
    if upto is not None and upto <= now:
        published = board.scan(version=at)
        try:
            fresh = _since(lake, upto, now, published) if upto < now else ALERT_BOARD.empty()
            return Overlay(published, fresh, upto)
        except OUTSIDE_ERRORS:  # that version's files are known no more
            pass
    return Overlay(ALERT_BOARD.empty().lazy(), fold(log.read(version=now)), None)


def read_board(
    lake: Lake, *, alerts: Collection[str] | None = None, where: pl.Expr | None = None, ordered: bool = True
) -> pl.DataFrame:
    """Every alert (or those named, or those for which `where` is true) as the log tells of it now.

    In the order of their creation, if that matters. What was published is not folded again; only what changed since is.
    """
    wanted = pl.lit(value=True) if where is None else where
    if alerts is not None:
        wanted = wanted & pl.col("alert_id").is_in(list(alerts))
    everything = alerts is None and where is None
    found = board_now(lake).read(None if everything else wanted)
    return found.sort("alert_created_at", "alert_id") if ordered else found


def _since(lake: Lake, upto: int, now: int, published: pl.LazyFrame) -> pl.DataFrame:
    """The alerts that the log speaks of since a version of it, as the whole log tells of them.

    An alert was last seen when its repetitions were: with an alert that changed, the one is told again which it repeats
    or repeated, and for that all its repetitions are looked at.
    """
    log = lake.table(DEVICE_ALERTS)
    old, files = {f.path for f in log.files(upto)}, log.files(now)
    added = log.scan_files([f for f in files if f.path not in old]).select("alert_id", "suppressed_by")
    rows = added.collect(engine="in-memory")
    links = published.select("alert_id", "suppressed_by")
    repeated = links.filter(pl.col("alert_id").is_in(rows["alert_id"].implode())).collect(engine="in-memory")
    parts = [rows["alert_id"], rows["suppressed_by"], repeated["suppressed_by"]]
    touched = pl.concat(parts).drop_nulls().unique()
    beside = links.filter(pl.col("suppressed_by").is_in(touched.implode())).collect(engine="in-memory")["alert_id"]
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


def alert_ids(lake: Lake, where: pl.Expr | None = None) -> list[str]:
    """Every alert there is, or those whose identity is so."""
    rows = lake.table(DEVICE_ALERTS).scan()
    created = rows.filter((pl.col("change") == "created") & (True if where is None else where)).select("alert_id")
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
