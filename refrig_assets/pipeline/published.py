"""What is made of the alert log for readers: board, incidents and work orders, from one fold. No Dagster here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import polars as pl

from refrig_assets.alerting.incidents import incidents
from refrig_assets.alerting.work_orders import work_orders
from refrig_assets.contracts import ALERT_BOARD, DEVICE_ALERTS, DEVICE_REGISTRY, INCIDENTS, WORK_ORDERS, Contract
from refrig_assets.lake import Lake, MarkTakenError
from refrig_assets.pipeline.alert_families import concerned
from refrig_assets.pipeline.alert_reading import FOLDED, Overlay, board_now

_Made = Callable[[pl.DataFrame, pl.DataFrame], pl.DataFrame]
# What is made of board and registry. The board itself is written last: where it is current, the others are.
_MADE: Mapping[str, tuple[Contract, _Made]] = {
    INCIDENTS.name: (INCIDENTS, incidents),
    WORK_ORDERS.name: (WORK_ORDERS, work_orders),
}
_REGISTRY = ("device_id", "site_id", "site_name", "model", "firmware_version", "status", "maintenance_contact")
_EVERYTHING = pl.lit(value=True)


@dataclass(frozen=True)
class Published:
    """The board after publishing; without days written it was current."""

    alerts: int
    days_written: int
    log_version: int
    board_version: int


def board_is_current(lake: Lake) -> bool:
    """Whether board, incidents and work orders tell all that the log does."""
    return not _behind(lake, lake.table(DEVICE_ALERTS).version)


def publish_board(lake: Lake) -> Published:
    """Publish board, incidents and work orders as the log has them; only days on which something changed are written.

    Of a log that was published before, only the alerts of which it has said more are folded, and only what they are
    part of is made again: the work follows what happened, not how old the log is. Each table is marked with the log's
    version: an older fold never takes the place of a newer one.
    """
    log_version = lake.table(DEVICE_ALERTS).version
    behind = _behind(lake, log_version)
    written = 0
    if behind:
        board = board_now(lake, log_version)
        _publish_made(lake, board, behind, log_version)
        if ALERT_BOARD.name in behind:
            replaced = board.changed() if board.upto is not None else _EVERYTHING
            written = _publish(lake, ALERT_BOARD, board.fresh, log_version, replaced)
    table = lake.table(ALERT_BOARD)
    return Published(sum(f.rows for f in table.files()), written, log_version, table.version)


def _publish_made(lake: Lake, board: Overlay, behind: Mapping[str, int], log_version: int) -> None:
    """Incidents and work orders: those that changed alerts are part of, or all where one was not published before."""
    registry = lake.table(DEVICE_REGISTRY).scan().select(_REGISTRY).collect()
    part: pl.DataFrame | None = None
    for name, (contract, made) in _MADE.items():
        if name not in behind:
            continue
        if board.upto is None or behind[name] < board.upto:  # it lacks what the board was told of meanwhile
            whole = board.read().sort("alert_created_at", "alert_id")
            _publish(lake, contract, made(whole, registry), log_version, _EVERYTHING)
            continue
        part = concerned(board) if part is None else part
        rows = made(part, registry)
        _publish(lake, contract, rows, log_version, _in_their_place(lake, contract, part["alert_id"], rows))


def _in_their_place(lake: Lake, contract: Contract, alerts: pl.Series, rows: pl.DataFrame) -> pl.Expr:
    """Which rows of the table speak of these alerts, or of what is made of them."""
    (key,) = contract.key
    many = "alert_ids" in contract.columns
    told = lake.table(contract).scan().select(key, alert_id="alert_ids" if many else "alert_id")
    told = told.explode("alert_id") if many else told
    of_them = told.filter(pl.col("alert_id").is_in(alerts.implode())).collect(engine="in-memory")
    return pl.col(key).is_in(pl.concat([of_them[key], rows[key]]).unique().implode())


def _behind(lake: Lake, log_version: int) -> dict[str, int]:
    """The tables that do not tell all of this version, and up to which they do."""
    marks = {c.name: lake.table(c).transaction_version(FOLDED) or 0 for c in (INCIDENTS, WORK_ORDERS, ALERT_BOARD)}
    return {name: mark for name, mark in marks.items() if mark < log_version}


def _publish(lake: Lake, contract: Contract, rows: pl.DataFrame, log_version: int, replaced: pl.Expr) -> int:
    """The days written of a table."""
    told = {"log_version": str(log_version), "rows": str(rows.height)}
    try:
        return lake.table(contract).replace_changed_days(rows, replaced, (FOLDED, log_version), told).files
    except MarkTakenError:  # somebody published as much or more meanwhile
        return 0
