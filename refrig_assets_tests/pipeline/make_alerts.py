"""A process to be killed: judges hours in order, after a line on stdin."""

import sys
from datetime import datetime

from refrig_assets.lake import Lake
from refrig_assets.pipeline.alerting import Alerting
from refrig_assets_tests.pipeline.scored_lake import Source


def judge(uri: str, now: str, hours: list[str]) -> None:
    alerting = Alerting(Lake(uri), Source(champion=None))
    for hour in hours:
        alerting.hour(datetime.fromisoformat(hour), datetime.fromisoformat(now))


if __name__ == "__main__":
    print("ready", flush=True)
    sys.stdin.readline()
    judge(sys.argv[1], sys.argv[2], sys.argv[3:])
    print("done", flush=True)
