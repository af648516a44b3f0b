"""Stream, batch or an operator as a process of its own that works until its time is up, and journals what it did.

python -m refrig_assets_tests.pipeline.together LAKE ROLE SECONDS JOURNAL
"""

import random
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from refrig_assets.alerting.operating import Action
from refrig_assets.lake import Lake
from refrig_assets.pipeline.alert_log import AlertLog
from refrig_assets.pipeline.alert_reading import read_board
from refrig_assets.pipeline.alerting import Alerting
from refrig_assets.pipeline.operators import act
from refrig_assets.pipeline.published import publish_board
from refrig_assets_tests.alerting.makers import alert, created_alerts
from refrig_assets_tests.builders import HOUR, ONE_HOUR
from refrig_assets_tests.pipeline.scored_lake import Source

HOURS = 48
ACTS = ("acknowledged", "started", "noted", "noted", "noted", "resolved", "false_positive")


def stream(lake: Lake) -> Iterator[str]:
    """CRITICALs as they come."""
    log = AlertLog(lake)
    for number in range(100_000):
        now = datetime.now(UTC)
        told = alert(f"live-{number}", now, alert_created_at=now)
        log.append(created_alerts(told))
        yield f"created {told['alert_id']}\n"


def batch(lake: Lake) -> Iterator[str]:
    """Hours judged in order, again and again; the board published after each."""
    alerting = Alerting(lake, Source(champion=None))
    while True:
        for hour in range(HOURS):
            report = alerting.hour(HOUR + hour * ONE_HOUR, HOUR + timedelta(days=40))
            publish_board(lake)
            yield "".join(f"created {one}\n" for one in report.created)


def operator(lake: Lake, name: str) -> Iterator[str]:
    """Somebody who takes what is open, at random, and closes some of it."""
    dice = random.Random(name)
    while True:
        board = read_board(lake).filter(~pl.col("suppressed") & pl.col("status").is_in(["OPEN", "ACKNOWLEDGED"]))
        if board.is_empty():
            time.sleep(0.02)
            yield ""
            continue
        one, change = dice.choice(board["alert_id"].to_list()), dice.choice(ACTS)
        done = act(lake, Action(change, name, note=f"{change} by {name}"), [one], datetime.now(UTC), strict=False)
        if not done.refused:
            yield f"{change} {one}\n"


def main() -> None:
    lake, role, seconds, journal = Lake(sys.argv[1]), sys.argv[2], float(sys.argv[3]), Path(sys.argv[4])
    work = {"stream": stream, "batch": batch}.get(role)
    steps = work(lake) if work else operator(lake, role)
    print("ready", flush=True)
    sys.stdin.readline()
    until = time.monotonic() + seconds
    with journal.open("w") as lines:
        for done in steps:
            lines.write(done)
            lines.flush()
            if time.monotonic() > until:
                return


if __name__ == "__main__":
    main()
