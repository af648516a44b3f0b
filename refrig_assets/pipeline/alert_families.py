"""Which alerts belong together: what covers what, what is part of the same incident, who asks for the same order."""

from collections.abc import Sequence

import polars as pl

from refrig_assets.alerting.known import MUTE
from refrig_assets.alerting.selecting import covered
from refrig_assets.lake import Lake
from refrig_assets.pipeline.alert_reading import Overlay, board_now

# Of more steps than this no incident is made.
_STEPS = 20


def concerned(board: Overlay) -> pl.DataFrame:
    """The alerts without which incidents and work orders of those that changed cannot be told."""
    links = _links(board)
    ordered = board.read(pl.col("suppressed") & pl.col("work_order_at").is_not_null())["suppressed_by"]
    asks = pl.col("work_order_at").is_not_null() | (pl.col("severity") == "CRITICAL")
    asks = asks | pl.col("alert_id").is_in(ordered.unique().implode())  # an order goes on with the alert that took over
    related = family(links, board.fresh["alert_id"].hash())
    for _ in range(_STEPS):
        part = board.read(_is_among(related))
        # An order waits for the one before it: what a machine ever asked for goes together.
        theirs = board.read(pl.col("device_id").is_in(part["device_id"].unique().implode()) & asks)
        more = family(links, pl.concat([related, theirs["alert_id"].hash()]))
        if len(more) == len(related):
            break
        related = more
    return part.sort("alert_created_at", "alert_id")


def members_of(lake: Lake, alerts: Sequence[str]) -> list[str]:
    """Alerts that are not closed and that these stand for."""
    board = board_now(lake)
    related = family(_links(board), pl.Series("alert_id", list(alerts), dtype=pl.String).hash())
    return covered(board.read(_is_among(related)), alerts)


def family(links: pl.DataFrame, of: pl.Series) -> pl.Series:
    """All that hangs together with these, over any number of links (one, other: numbers that stand for identities)."""
    known = new = of.unique()
    for _ in range(_STEPS):
        there = pl.col("one").is_in(new.implode()) | pl.col("other").is_in(new.implode())
        met = links.filter(there)
        new = pl.concat([met["one"], met["other"]]).unique()
        new = new.filter(~new.is_in(known.implode()))
        if new.is_empty():
            break
        known = pl.concat([known, new])
    return known


def _is_among(numbers: pl.Series) -> pl.Expr:
    return pl.col("alert_id").hash().is_in(numbers.implode())


def _links(board: Overlay) -> pl.DataFrame:
    """What covers an alert, and the incident that it is part of: as published, and as it is now.

    As numbers: eight bytes instead of forty, for each of the millions of repetitions that an old log holds.
    """
    found = []
    for frame in (board.published, board.fresh.lazy()):
        for column in ("suppressed_by", "incident_id"):
            linked = frame.filter(pl.col(column).is_not_null() & ~pl.col(column).str.starts_with(MUTE))
            found.append(linked.select(one=pl.col("alert_id").hash(), other=pl.col(column).hash()))
    return pl.concat(found).collect(engine="in-memory")
