"""The living part of the alert log: what may still change, whatever the age of the log. Reads, and folds nothing."""

from datetime import datetime

import polars as pl

from refrig_assets.alerting.known import MUTE
from refrig_assets.alerting.standing import is_closed
from refrig_assets.contracts import DEVICE_ALERTS
from refrig_assets.lake import Lake
from refrig_assets.pipeline.alert_reading import Overlay, board_now

# How many times an alert may have been covered by one that was covered itself.
_DEEP = 8


def living_log(lake: Lake, since: datetime, version: int | None = None) -> pl.DataFrame:
    """Every row of the log of the alerts that matter from a moment on.

    Those that somebody has or will have to do with: neither closed nor put under another. Those of which the log has
    said anything since that moment. What these repeat, and their repetitions: folded, they are as in the whole log.
    """
    log = lake.table(DEVICE_ALERTS)
    now = log.version if version is None else version
    board = board_now(lake, now)
    files = log.files(now)
    if board.upto is None:
        return log.scan_files(files).collect(engine="in-memory")
    near = [f for f in files if f.last is None or f.last >= since]
    rows = log.scan_files(near).collect(engine="in-memory")
    ids = _with_relatives(board, pl.concat([rows["alert_id"], board.fresh["alert_id"], _alive(board)]).unique())
    paths = {f.path for f in near}
    far = log.scan_files([f for f in files if f.path not in paths])
    return pl.concat([far.filter(pl.col("alert_id").is_in(ids.implode())).collect(engine="in-memory"), rows])


def _alive(board: Overlay) -> pl.Series:
    """Published alerts that are not over: what is under a mute comes back."""
    under_another = pl.col("suppressed") & ~pl.col("suppressed_by").str.starts_with(MUTE)
    alive = board.published.filter(~is_closed() & ~under_another)
    return alive.select("alert_id").collect(engine="in-memory")["alert_id"]


def _with_relatives(board: Overlay, ids: pl.Series) -> pl.Series:
    """With all that these go under, and what goes directly under any of them."""
    links = board.published.select("alert_id", "suppressed_by")
    new = ids
    for _ in range(_DEEP):
        found = links.filter(pl.col("alert_id").is_in(new.implode())).collect(engine="in-memory")
        over = pl.concat([found["suppressed_by"], board.fresh["suppressed_by"]]).drop_nulls().unique()
        new = over.filter(~over.is_in(ids.implode()) & ~over.str.starts_with(MUTE))
        if new.is_empty():
            break
        ids = pl.concat([ids, new])
    beside = links.filter(pl.col("suppressed_by").is_in(ids.implode())).collect(engine="in-memory")["alert_id"]
    return pl.concat([ids, beside]).unique()
