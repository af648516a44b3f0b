"""A writer of the alert log in a process of its own: `stream`, `batch` or `operators`, always with the same changes."""

import sys
from collections.abc import Iterator
from datetime import timedelta

import polars as pl

from refrig_assets.alerting.changes import alert_id, log_rows, operator_action, suppressed
from refrig_assets.lake import Lake
from refrig_assets.pipeline.alert_log import AlertLog, append_changes
from refrig_assets_tests.alerting.makers import RULE, alert, created_alerts
from refrig_assets_tests.builders import HOUR, at

PIECES = 25
ALERTS_A_PIECE = 4


def changes(kind: str) -> Iterator[pl.DataFrame]:
    """What a writer of this kind has to say, piece by piece."""
    for piece in range(PIECES):
        devices = [f"dev-{piece}-{n}" for n in range(ALERTS_A_PIECE)]
        ids = [alert_id(d, RULE, at(piece)) for d in devices]
        if kind == "stream":
            rows = created_alerts(*(alert(d, at(piece)) for d in devices))
            yield pl.concat([rows, suppressed(ids[1:], ids[0], at(piece), "stream", change="grouped")])
        elif kind == "batch":
            mine = created_alerts(
                alert(devices[0], at(piece), alert_id=f"batch-{piece}", source="batch"), actor="batch"
            )
            seen = [{"alert_id": i, "changed_at": at(90 + piece), "anomaly_score": 0.9} for i in ids]
            yield pl.concat([mine, log_rows(seen, "sustained", "batch")])
        else:
            for number, name in enumerate(("ann", "bob")):
                moment = HOUR + timedelta(minutes=piece, seconds=number)
                yield operator_action(ids[number], "acknowledged", name, moment)
                yield operator_action(ids[number], "resolved", name, moment + timedelta(days=1))


def write(lake: Lake, kind: str) -> None:
    log = AlertLog(lake)
    for rows in changes(kind):
        if kind == "operators":
            append_changes(lake, rows)
        else:
            log.append(rows)


if __name__ == "__main__":
    print("ready", flush=True)
    sys.stdin.readline()
    write(Lake(sys.argv[1]), sys.argv[2])
