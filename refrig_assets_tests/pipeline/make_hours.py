"""A process to be killed: cleans and computes hours, and brings the lake up to date. Starts on a line from stdin."""

import sys
from datetime import datetime

from refrig_assets.lake import Lake
from refrig_assets.pipeline.features import feature_day
from refrig_assets_tests.readings import make, refresh


def run(uri: str, hours: list[datetime], now: datetime) -> None:
    lake = Lake(uri)
    make(lake, hours, now)
    for day in sorted({h.replace(hour=0) for h in hours}):
        feature_day(lake, day)
    refresh(lake, now)


if __name__ == "__main__":
    print("ready", flush=True)
    sys.stdin.readline()
    run(sys.argv[1], [datetime.fromisoformat(h) for h in sys.argv[3:]], datetime.fromisoformat(sys.argv[2]))
