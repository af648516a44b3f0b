"""kill -9 of a real notifier at any moment: everybody is told everything, and a repeat can be known as one."""

import random
import time
from collections import Counter
from datetime import UTC, datetime

import pytest

from refrig_assets.notify.home import holder, notify_home
from refrig_assets.notify.matters import identity
from refrig_assets.notify.outbox import INTERRUPTED
from refrig_assets.notify.sending import message_id
from refrig_assets.pipeline.alert_log import AlertLog
from refrig_assets_tests.alerting.makers import alert, created_alerts
from refrig_assets_tests.notify.makers import Plant
from refrig_assets_tests.notify.receivers import Hook, MailServer
from refrig_assets_tests.notify.run_notifier import start

KILLS, ALERTS_A_KILL = 12, 6


@pytest.mark.slow
def test_killed_at_any_moment_everything_arrives_and_repeats_are_known(
    plant: Plant, mail: MailServer, hook: Hook
) -> None:
    # Receivers that take their time: many kills fall between the server's accepting it and our knowing.
    mail.delay_s = hook.delay_s = 0.02
    plant.route({"mail": mail.url(), "hook": hook.url()}, head="storm_above = 1000")
    log, rng = AlertLog(plant.lake), random.Random(5)
    expected: set[str] = set()
    running = start(plant)
    try:
        for number in range(KILLS):
            now = datetime.now(UTC)
            ones = [alert(f"dev-{number}-{n}", now) for n in range(ALERTS_A_KILL)]
            log.append(created_alerts(*ones))
            expected |= {identity(one["alert_id"], "severity:CRITICAL") for one in ones}
            time.sleep(0.02 + 0.6 * rng.random())
            running.kill()
            running.join()
            assert running.exitcode == -9
            running = start(plant)
        until = time.monotonic() + 60
        while time.monotonic() < until and _sent(plant) < 2 * len(expected):
            time.sleep(0.2)
    finally:
        running.kill()
        running.join()
    assert set(mail.ids) == {message_id(one) for one in expected}
    assert set(hook.keys) == expected
    told = plant.told()
    assert told["attempt_id"].n_unique() == told.height
    sent = Counter(told.filter(result="sent").select("channel", "notice_id").rows())
    assert len(sent) == 2 * len(expected)
    assert set(sent.values()) == {1}
    # Only what was being sent at a kill may have come twice, once a channel and kill; later attempts say so.
    interrupted = told.filter(detail=INTERRUPTED)
    for letters, name in ((mail.mails, "mail"), (hook.calls, "hook")):
        seen = Counter(letter.headers["X-Refrig-Notice"] for letter in letters)
        repeated = {notice for notice, times in seen.items() if times > 1}
        assert len(letters) - len(seen) <= KILLS
        assert repeated <= set(interrupted.filter(channel=name)["notice_id"])
        attempts = Counter((x.headers["X-Refrig-Notice"], x.headers["X-Refrig-Attempt"]) for x in letters)
        assert set(attempts.values()) == {1}


def test_a_second_notifier_takes_the_place_of_one_that_was_killed(plant: Plant, hook: Hook) -> None:
    plant.route({"hook": hook.url()}, head="storm_above = 1000")
    both = [start(plant), start(plant)]
    log = AlertLog(plant.lake)
    try:
        for number in (1, 2):
            log.append(created_alerts(*(alert(f"dev-{number}-{n}", datetime.now(UTC)) for n in range(5))))
            until = time.monotonic() + 60
            while time.monotonic() < until and _sent(plant) < 5 * number:
                time.sleep(0.1)
            sender = next(p for p in both if p.pid == holder(notify_home(plant.lake)))
            sender.kill()
            sender.join()
    finally:
        for one in both:
            one.kill()
            one.join()
    assert len(hook.calls) == len(set(hook.keys)) == 10


def _sent(plant: Plant) -> int:
    return plant.told().filter(result="sent").height
