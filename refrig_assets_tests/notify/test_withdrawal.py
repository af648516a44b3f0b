"""What is muted or closed before it arrived: through real SMTP and HTTP, with channels that are down meanwhile."""

import threading

import polars as pl

from refrig_assets.alerting.changes import log_rows, operator_action, suppressed
from refrig_assets.lake import Lake
from refrig_assets.notify.sending import message_id
from refrig_assets.pipeline.alert_log import append_changes
from refrig_assets_tests.alerting.makers import alert, created_alerts
from refrig_assets_tests.builders import at
from refrig_assets_tests.notify.makers import Plant
from refrig_assets_tests.notify.receivers import Hook, MailServer, web_hook

SIX = [alert(f"dev-{n}") for n in range(6)]
INCIDENT = [one | {"incident_id": "i-1"} for one in SIX]


def names(alerts: list[dict[str, object]]) -> list[str]:
    return [str(one["alert_id"]) for one in alerts]


def mute(lake: Lake, alerts: list[str], minute: float) -> None:
    append_changes(lake, suppressed(alerts, f"mute:{minute}", at(minute), "batch"))


def unmute(lake: Lake, alerts: list[str], minute: float) -> None:
    rows = [{"alert_id": one, "changed_at": at(minute), "suppressed": False} for one in alerts]
    append_changes(lake, log_rows(rows, "unmuted", "batch", f"{minute}"))


def titles(hook: Hook) -> list[str]:
    return [c.body["title"] for c in hook.calls]


def test_an_incident_that_was_muted_before_it_arrived_reaches_nobody_until_it_is_unmuted(plant: Plant) -> None:
    with web_hook(status=500) as hook:
        plant.route({"hook": hook.url()})
        append_changes(plant.lake, created_alerts(*INCIDENT))
        plant.notifier(at(1)).once()
        mute(plant.lake, names(INCIDENT), 2)
        hook.status = 200
        plant.notifier(at(5)).once()
        plant.notifier(at(20)).once()
        assert hook.calls == []
        (held,) = plant.told().filter(result="held").to_dicts()
        assert (sorted(held["alert_ids"]), held["detail"][:10]) == (sorted(names(INCIDENT)), "suppressed")
        unmute(plant.lake, names(INCIDENT), 21)
        plant.notifier(at(22)).once()
        assert [t.partition(":")[0] for t in titles(hook)] == ["Incident at site-1, 6 devices (6 CRITICAL)"]


def test_a_message_tells_of_those_that_are_left_under_the_same_identity(plant: Plant) -> None:
    with web_hook(status=500) as hook:
        plant.route({"hook": hook.url()})
        append_changes(plant.lake, created_alerts(*INCIDENT))
        plant.notifier(at(1)).once()
        mute(plant.lake, names(INCIDENT[:4]), 2)
        append_changes(plant.lake, operator_action(names(INCIDENT)[4], "resolved", "ann", at(3)))
        hook.status = 200
        plant.notifier(at(5)).once()
        (call,) = hook.calls
        assert call.body["title"].startswith("Incident at site-1, 1 device (1 CRITICAL): dev-5")
        assert "dev-0" not in call.body["message"]
        assert call.headers["X-Refrig-Attempt"] == "2"
        rows = plant.told()
        assert set(rows.filter(pl.col("result") != "held")["notice_id"]) == {call.key}
        assert rows.filter(result="sent")["alert_ids"].to_list() == [names(INCIDENT)[5:]]
        assert rows.filter(result="held").height == 5
        unmute(plant.lake, names(INCIDENT[:4]), 20)
        plant.notifier(at(21)).once()
        assert [t.partition(" (")[0] for t in titles(hook)[1:]] == ["Incident at site-1, 4 devices"]


def test_storms_and_digests_lose_what_was_withdrawn(plant: Plant) -> None:
    with web_hook(status=500) as hook:
        plant.route({"hook": hook.url()})
        collected = [alert(f"dev-{n}", severity="MEDIUM") for n in range(20, 23)]
        append_changes(plant.lake, created_alerts(*SIX, *collected))
        plant.notifier(at(61)).once()
        plant.notifier(at(61)).once()
        mute(plant.lake, names([*SIX[:3], *collected[:1]]), 62)
        hook.status = 200
        plant.notifier(at(65)).once()
        plant.notifier(at(125)).once()
        assert [t.partition(" (")[0] for t in titles(hook)] == [
            "3 within a minute at site-1",
            "2 to look into at site-1",
        ]


def test_what_is_muted_while_it_is_being_sent_is_not_tried_again(plant: Plant) -> None:
    """And it is if it was unmuted meanwhile."""
    with web_hook(status=500, delay_s=1.0) as hook:
        plant.route({"hook": hook.url()}, extra="timeout_s = 5")
        append_changes(plant.lake, created_alerts(*INCIDENT))
        sending = plant.notifier(at(1))
        thread = threading.Thread(target=sending.once)
        thread.start()
        while not sending.outbox.counts().get("sending"):
            assert thread.is_alive()
        outbox = sending.outbox
        outbox.put([], at(2), withdrawn=dict.fromkeys(names(INCIDENT), "suppressed before it was told"))
        outbox.put([], at(3), stands=names(INCIDENT[:1]))
        thread.join()
        hook.status, hook.delay_s = 200, 0.0
        plant.notifier(at(5)).once()
        assert [t.partition(":")[0] for t in titles(hook)] == ["Incident at site-1, 1 device (1 CRITICAL)"]


def test_what_is_muted_while_it_is_being_accepted_is_told_and_not_repeated(plant: Plant) -> None:
    with web_hook(delay_s=1.0) as hook:
        plant.route({"hook": hook.url()}, extra="timeout_s = 5")
        append_changes(plant.lake, created_alerts(*SIX[:1]))
        sending = plant.notifier(at(1))
        thread = threading.Thread(target=sending.once)
        thread.start()
        while not sending.outbox.counts().get("sending"):
            assert thread.is_alive()
        sending.outbox.put([], at(2), withdrawn=dict.fromkeys(names(SIX[:1]), "suppressed before it was told"))
        thread.join()
        unmute(plant.lake, names(SIX[:1]), 4)
        plant.notifier(at(5)).once()
        assert len(hook.calls) == 1
        assert plant.results("result") == [("sent",)]


def test_a_channel_that_was_down_is_told_after_a_mute_and_those_that_know_are_not(
    plant: Plant, hook: Hook, mail: MailServer
) -> None:
    mail.refuse = "451 later"
    plant.route({"hook": hook.url(), "mail": mail.url()})
    append_changes(plant.lake, created_alerts(SIX[0]))
    plant.notifier(at(1)).once()
    mute(plant.lake, names(SIX[:1]), 2)
    plant.notifier(at(3)).once()
    mail.refuse = None
    plant.notifier(at(4)).once()
    assert mail.mails == []
    unmute(plant.lake, names(SIX[:1]), 5)
    for minute in (6, 20, 60):
        plant.notifier(at(minute)).once()
    assert [m.subject for m in mail.mails] == titles(hook) == ["CRITICAL: dev-0: compressor draws 55 A"]
    assert mail.ids == [message_id(key) for key in hook.keys]


def test_a_channel_is_told_of_how_an_alert_is_after_the_mute(plant: Plant, hook: Hook, mail: MailServer) -> None:
    """And not of what it was when it was withdrawn."""
    mail.refuse = "451 later"
    plant.route({"hook": hook.url(), "mail": mail.url()})
    append_changes(plant.lake, created_alerts(SIX[0]))
    plant.notifier(at(1)).once()
    mute(plant.lake, names(SIX[:1]), 2)
    eased = [{"alert_id": SIX[0]["alert_id"], "changed_at": at(3), "severity": "HIGH"}]
    append_changes(plant.lake, log_rows(eased, "eased", "batch"))
    plant.notifier(at(4)).once()
    mail.refuse = None
    unmute(plant.lake, names(SIX[:1]), 5)
    plant.notifier(at(6)).once()
    mute(plant.lake, names(SIX[:1]), 7)
    plant.notifier(at(8)).once()
    unmute(plant.lake, names(SIX[:1]), 9)
    plant.notifier(at(10)).once()
    assert [m.subject.partition(":")[0] for m in mail.mails] == ["HIGH"]
    assert [t.partition(":")[0] for t in titles(hook)] == ["CRITICAL"]


def test_what_was_closed_unsent_and_is_opened_again_is_told(plant: Plant) -> None:
    with web_hook(status=500) as hook:
        plant.route({"hook": hook.url()})
        append_changes(plant.lake, created_alerts(SIX[0]))
        plant.notifier(at(1)).once()
        append_changes(plant.lake, operator_action(str(SIX[0]["alert_id"]), "resolved", "ann", at(3)))
        hook.status = 200
        plant.notifier(at(5)).once()
        assert hook.calls == []
        append_changes(plant.lake, operator_action(str(SIX[0]["alert_id"]), "reopened", "ann", at(500)))
        plant.notifier(at(501)).once()
        assert titles(hook) == ["CRITICAL: dev-0: compressor draws 55 A"]
