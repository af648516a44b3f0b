"""An operator as a process of its own: acknowledges, works on and closes its share of the alerts; repeats are harmless.

python -m refrig_assets_tests.pipeline.write_actions LAKE NAME FIRST STEP
"""

import sys
from datetime import UTC, datetime

from refrig_assets.alerting.operating import Action
from refrig_assets.lake import Lake
from refrig_assets.pipeline.alert_reading import alert_ids
from refrig_assets.pipeline.operators import act

STEPS = ("acknowledged", "started", "resolved")


def main() -> None:
    lake, name, first, step = Lake(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    mine = sorted(alert_ids(lake))[first::step]
    print("ready", flush=True)
    sys.stdin.readline()
    for one in mine:
        for change in STEPS:
            act(lake, Action(change, name), [one], datetime.now(UTC), strict=False)


if __name__ == "__main__":
    main()
