"""What is made of the alert log for readers: board, incidents and work orders, from one fold. No Dagster here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import polars as pl

from refrig_assets.alerting.fold import fold
from refrig_assets.alerting.incidents import incidents
from refrig_assets.alerting.work_orders import work_orders
from refrig_assets.contracts import ALERT_BOARD, DEVICE_ALERTS, DEVICE_REGISTRY, INCIDENTS, WORK_ORDERS, Contract
from refrig_assets.lake import Lake, MarkTakenError
from refrig_assets.pipeline.alert_log import read_log

FOLDED = "device_alerts"
"""mark of each table: the version of the log it was made of"""
_Made = Callable[[pl.DataFrame, pl.DataFrame], pl.DataFrame]
# What is made of board and registry. The board itself is written last: where it is current, the others are.
_MADE: Mapping[str, tuple[Contract, _Made]] = {
    INCIDENTS.name: (INCIDENTS, incidents),
    WORK_ORDERS.name: (WORK_ORDERS, work_orders),
    ALERT_BOARD.name: (ALERT_BOARD, lambda board, _: board),
}
_REGISTRY = ("device_id", "site_id", "site_name", "model", "firmware_version", "status", "maintenance_contact")


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
    """Fold the log and publish board, incidents and work orders; only days on which something changed are written.

    Each table is marked with the log's version: an older fold never takes the place of a newer one.
    """
    log_version = lake.table(DEVICE_ALERTS).version
    behind = _behind(lake, log_version)
    written = 0
    if behind:
        board = fold(read_log(lake, log_version))
        registry = lake.table(DEVICE_REGISTRY).scan().select(_REGISTRY).collect()
        for name, (contract, made) in _MADE.items():
            if name in behind:
                written = _publish(lake, contract, made(board, registry), log_version)
    table = lake.table(ALERT_BOARD)
    return Published(sum(f.rows for f in table.files()), written, log_version, table.version)


def _behind(lake: Lake, log_version: int) -> set[str]:
    return {n for n, (c, _) in _MADE.items() if (lake.table(c).transaction_version(FOLDED) or 0) < log_version}


def _publish(lake: Lake, contract: Contract, rows: pl.DataFrame, log_version: int) -> int:
    """The days written of a table."""
    told = {"log_version": str(log_version), "rows": str(rows.height)}
    try:
        return lake.table(contract).replace_changed_days(rows, (FOLDED, log_version), told).files
    except MarkTakenError:  # somebody published as much or more meanwhile
        return 0
