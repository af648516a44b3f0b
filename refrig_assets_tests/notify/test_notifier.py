"""From the alert log to what arrives, through real SMTP and HTTP: who is told, once, whatever goes wrong."""

import logging
import shutil
import threading
from datetime import timedelta

import polars as pl
import pytest

from refrig_assets.alerting.changes import log_rows, operator_action, suppressed
from refrig_assets.alerting.deadlines import escalations
from refrig_assets.lake import Lake
from refrig_assets.notify.conditions import Condition
from refrig_assets.notify.home import holder, lease, notify_home
from refrig_assets.notify.routes_toml import RoutingError
from refrig_assets.notify.sending import message_id
from refrig_assets.pipeline.alert_log import append_changes, current_board
from refrig_assets.pipeline.upkeep import keep_up
from refrig_assets_tests.alerting.makers import alert, created_alerts
from refrig_assets_tests.builders import HOUR, NOW, at
from refrig_assets_tests.notify.makers import Clock, Plant, ids
from refrig_assets_tests.notify.receivers import Hook, MailServer, mail_server, web_hook

SOON = at(1)


def subjects(mail: MailServer) -> list[str]:
    return [m.subject for m in mail.mails]


def test_mail_and_webhook_get_it_with_everything_that_belongs_to_it(plant: Plant, mail: MailServer, hook: Hook) -> None:
    plant.route({"mail": mail.url("{maintenance_contact}"), "hook": hook.url()})
    append_changes(plant.lake, created_alerts(alert(evidence=["55 A & rising"], first_check="measure the winding")))
    report = plant.notifier(SOON, environment={"REFRIG_UI_URL": "http://ui.example"}).once()
    assert (report.planned, report.messages, report.recorded) == (1, 2, 2)
    (letter,), (call,) = mail.mails, hook.calls
    assert letter.to == ("fix@example.org",)
    assert letter.subject == call.body["title"] == "CRITICAL: dev-1: compressor draws 55 A"
    assert letter.message_id == message_id(call.key)
    assert "55 A &amp; rising" in letter.html
    assert letter.text.splitlines() == call.body["message"].splitlines()
    for part in ("55 A & rising", "measure the winding", "http://ui.example/assets/alert_board", "refrig alerts ack"):
        assert part in letter.text
    assert plant.results("channel", "kind", "severity", "site_id", "result", "attempt") == [
        ("hook", "device_alert", "CRITICAL", "site-1", "sent", 1),
        ("mail", "device_alert", "CRITICAL", "site-1", "sent", 1),
    ]
    assert plant.told()["alert_ids"].to_list() == [[alert()["alert_id"]]] * 2


def test_nothing_is_told_twice_however_often_one_looks(plant: Plant, hook: Hook) -> None:
    plant.route({"hook": hook.url()})
    append_changes(plant.lake, created_alerts(alert("dev-1"), alert("dev-2", severity="HIGH")))
    for _ in range(3):
        plant.notifier(SOON).once()
    append_changes(plant.lake, operator_action(alert("dev-1")["alert_id"], "acknowledged", "ann", at(2)))
    keep_up(plant.lake, NOW + timedelta(days=2), dry_run=False)  # compaction: the same changes in another file
    plant.notifier(SOON).once()
    assert len(hook.calls) == len(set(hook.keys)) == 2


def test_a_worse_alert_is_told_again_and_its_end_where_asked_for(plant: Plant, mail: MailServer, hook: Hook) -> None:
    plant.route(
        {"mail": mail.url(), "hook": hook.url()},
        'channels = ["mail"]\nresolved = true',
        'channels = ["hook"]',
    )
    one = alert(severity="HIGH")["alert_id"]
    append_changes(plant.lake, created_alerts(alert(severity="HIGH")))
    plant.notifier(at(1)).once()
    worse = [{"alert_id": one, "changed_at": at(2), "severity": "CRITICAL"}]
    append_changes(plant.lake, log_rows(worse, "escalated", "batch"))
    plant.notifier(at(3)).once()
    append_changes(plant.lake, operator_action(one, "resolved", "ann", at(4), "belt"))
    plant.notifier(at(5)).once()
    assert [s.partition(":")[0] for s in subjects(mail)] == ["HIGH", "CRITICAL", "Resolved"]
    assert [c.body["title"].partition(":")[0] for c in hook.calls] == ["HIGH", "CRITICAL"]


def test_opened_again_and_not_taken_it_is_told_to_the_next_level_again(plant: Plant, hook: Hook) -> None:
    plant.route({"hook": hook.url()}, "resolved = true")
    one = alert()["alert_id"]
    again = {"alert_id": one, "changed_at": at(40), "status": "OPEN", "escalation_level": "L1", "sla_breached": False}
    append_changes(plant.lake, created_alerts(alert()))
    plant.notifier(at(1)).once()
    append_changes(plant.lake, escalations(current_board(plant.lake), at(31)))
    plant.notifier(at(32)).once()
    append_changes(plant.lake, operator_action(one, "resolved", "ann", at(35)))
    plant.notifier(at(36)).once()
    append_changes(plant.lake, log_rows([again | {"sla_deadline": at(70)}], "reopened", "operator:ann"))
    plant.notifier(at(41)).once()
    append_changes(plant.lake, escalations(current_board(plant.lake), at(71)))
    plant.notifier(at(72)).once()
    shutil.rmtree(notify_home(plant.lake))
    plant.notifier(at(73)).once()
    append_changes(plant.lake, operator_action(one, "resolved", "ann", at(74)))
    plant.notifier(at(75)).once()
    ends = [c.body["title"].partition(":")[0] for c in hook.calls]
    assert ends == ["CRITICAL", "CRITICAL, now with L2", "Resolved", "CRITICAL, now with L2"]


def test_suppressed_alerts_reach_nobody_until_they_are_unmuted(plant: Plant, hook: Hook) -> None:
    plant.route({"hook": hook.url()})
    one = alert()["alert_id"]
    append_changes(plant.lake, created_alerts(alert(suppressed=True, suppressed_by="mute:m")))
    plant.notifier(SOON).once()
    assert hook.calls == []
    unmuted = [{"alert_id": one, "changed_at": at(5), "suppressed": False}]
    append_changes(plant.lake, log_rows(unmuted, "unmuted", "batch"))
    plant.notifier(at(6)).once()
    assert len(hook.calls) == 1


def test_what_is_suppressed_or_closed_before_it_arrived_is_withdrawn_and_may_come_back(plant: Plant) -> None:
    with web_hook(status=500) as hook:
        plant.route({"hook": hook.url()})
        one, two = alert("dev-1")["alert_id"], alert("dev-2", severity="MEDIUM")["alert_id"]
        append_changes(plant.lake, created_alerts(alert("dev-1"), alert("dev-2", severity="MEDIUM")))
        plant.notifier(SOON).once()
        append_changes(plant.lake, suppressed([one], "mute:m", at(2), "batch"))
        append_changes(plant.lake, operator_action(two, "resolved", "ann", at(3)))
        hook.status = 200
        plant.notifier(at(70)).once()
        assert hook.calls == []
        held = plant.told().filter(result="held")
        assert sorted(d.partition(" ")[0] for d in held["detail"]) == ["closed", "suppressed"]
        unmuted = [{"alert_id": one, "changed_at": at(80), "suppressed": False}]
        append_changes(plant.lake, log_rows(unmuted, "unmuted", "batch"))
        plant.notifier(at(81)).once()
        assert [c.body["title"] for c in hook.calls] == ["CRITICAL: dev-1: compressor draws 55 A"]


def test_medium_and_low_are_collected(plant: Plant, mail: MailServer) -> None:
    plant.route({"mail": mail.url()})
    append_changes(plant.lake, created_alerts(*(alert(f"dev-{n}", severity="MEDIUM") for n in range(12))))
    append_changes(plant.lake, created_alerts(alert("dev-20", severity="LOW")))
    plant.notifier(at(1)).once()
    assert mail.mails == []
    plant.notifier(at(61)).once()
    plant.notifier(at(62)).once()
    assert subjects(mail) == ["12 to look into at site-1 (12 MEDIUM)"]
    plant.notifier(at(24 * 60)).once()
    assert subjects(mail)[1:] == ["1 to look into at site-1 (1 LOW)"]
    assert set(plant.told()["kind"]) == {"digest"}


def test_incidents_and_storms_are_one_message(plant: Plant, hook: Hook) -> None:
    plant.route({"hook": hook.url()})
    grouped = [alert(f"dev-{n}", incident_id="i-1") for n in range(9)]
    append_changes(plant.lake, created_alerts(*grouped, alert("dev-9", suppressed=True, suppressed_by="i-1")))
    plant.notifier(at(1)).once()
    (call,) = hook.calls
    assert call.body["title"].startswith("Incident at site-1, 9 devices (9 CRITICAL)")
    append_changes(plant.lake, created_alerts(*(alert(f"dev-{n}") for n in range(20, 33))))
    plant.notifier(at(3)).once()
    assert hook.calls[1].body["title"] == "13 within a minute at site-1 (13 CRITICAL)"
    assert len(hook.calls) == 2


def test_a_storm_that_comes_one_by_one_is_one_message_a_minute(plant: Plant, hook: Hook) -> None:
    plant.route({"hook": hook.url()})
    clock = Clock(SOON)
    running = plant.notifier(clock=clock, steady=clock.steady)
    for number in range(18):
        append_changes(plant.lake, created_alerts(alert(f"dev-{number}", clock.now)))
        running.once()
        clock.passes(timedelta(seconds=5))
    titles = [c.body["title"] for c in hook.calls]
    assert titles[:6] == [f"CRITICAL: dev-{n}: compressor draws 55 A" for n in range(6)]
    assert titles[6:] == ["12 within a minute at site-1 (12 CRITICAL)"]
    assert "once a minute" in hook.calls[5].body["message"]


def test_history_is_held_and_a_first_start_wakes_nobody_for_it(plant: Plant, hook: Hook) -> None:
    plant.route({"hook": hook.url()})
    old = [alert(f"dev-{n}", HOUR - timedelta(days=3)) for n in range(30)]
    append_changes(plant.lake, created_alerts(*old, alert("dev-35")))
    assert plant.notifier(SOON).once().history == 30
    assert len(hook.calls) == 1
    (held,) = plant.told().filter(result="held").to_dicts()
    assert (len(held["alert_ids"]), held["channel"]) == (30, "none")
    assert held["detail"].startswith("history: it goes back to 2026-02-27")


def test_history_that_passes_its_deadlines_wakes_nobody_either(plant: Plant, hook: Hook) -> None:
    plant.route({"hook": hook.url()})
    clock = Clock(HOUR + timedelta(hours=9))
    late = alert("dev-1", severity="HIGH", source="batch", alert_created_at=at(65))
    append_changes(plant.lake, created_alerts(late, alert("dev-2", clock.now, severity="HIGH"), actor="batch"))
    for _ in range(3):  # each deadline passes: to L2, and for dev-2 to L3
        plant.notifier(clock=clock, steady=clock.steady).once()
        clock.passes(timedelta(hours=2, minutes=5))
        append_changes(plant.lake, escalations(current_board(plant.lake), clock.now))
    plant.notifier(clock=clock, steady=clock.steady).once()
    assert [t.partition(" c")[0] for t in (c.body["title"] for c in hook.calls)] == [
        "HIGH: dev-2:",
        "HIGH, now with L2: dev-2:",
        "HIGH, now with L3: dev-2:",
    ]


def test_what_reaches_nobody_is_said(plant: Plant, hook: Hook) -> None:
    url = f"{hook.url()}/{{site_manager}}"
    plant.route({"hook": url}, 'severities = ["CRITICAL"]')
    append_changes(
        plant.lake, created_alerts(alert("dev-1"), alert("dev-2", severity="HIGH"), alert("dev-3", severity="LOW"))
    )
    plant.notifier(SOON).once()
    assert [(r, d[:30]) for r, d in plant.results("channel", "detail")] == [
        ("hook", "no contact: the registry has n"),
        ("none", "no route tells anybody of it a"),
    ]


def test_a_refusal_is_tried_again_and_given_up_in_the_end(plant: Plant) -> None:
    with mail_server(refuse="451 try later") as mail:
        plant.route({"mail": mail.url()}, extra="give_up_h = 0.01")
        append_changes(plant.lake, created_alerts(alert()))
        clock = Clock(SOON)
        for _ in range(12):
            plant.notifier(clock=clock, steady=clock.steady).once()
            clock.passes(timedelta(minutes=1))
        results = plant.told().sort("attempt")
        assert results["result"].to_list() == ["failed"] * 5 + ["gave_up"]
        assert "451" in results["detail"][0]
        assert results["attempt"].to_list() == [1, 2, 3, 4, 5, 6]


def test_the_third_attempt_has_the_identity_of_the_first(plant: Plant) -> None:
    with web_hook(status=503) as hook:
        plant.route({"hook": hook.url()})
        append_changes(plant.lake, created_alerts(alert()))
        plant.notifier(at(1)).once()
        plant.notifier(at(2)).once()
        hook.status = 200
        plant.notifier(at(4)).once()
        (call,) = hook.calls
        assert call.headers["X-Refrig-Attempt"] == "3"
        assert plant.told()["notice_id"].unique().to_list() == [call.key]
        assert sorted(plant.told()["result"]) == ["failed", "failed", "sent"]


def test_a_silent_channel_holds_up_no_other_and_is_cut_off(plant: Plant, mail: MailServer) -> None:
    with web_hook(delay_s=1.5) as slow:
        plant.route({"slow": slow.url(), "mail": mail.url()}, extra="timeout_s = 0.3")
        append_changes(plant.lake, created_alerts(*(alert(f"dev-{n}") for n in range(3))))
        plant.notifier(SOON).once()
        assert len(mail.mails) == 3
        failed = plant.told().filter(channel="slow")
        assert set(failed["result"]) == {"failed"}


def test_two_notifiers_at_once_send_once(plant: Plant, hook: Hook) -> None:
    plant.route({"hook": hook.url()}, head="storm_above = 1000")
    append_changes(plant.lake, created_alerts(*(alert(f"dev-{n}") for n in range(30))))
    start = threading.Barrier(4)

    def run() -> None:
        start.wait()
        plant.notifier(SOON).once()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(hook.calls) == len(set(hook.keys)) == 30


def test_whoever_holds_the_lease_sends_and_says_so(plant: Plant, hook: Hook) -> None:
    plant.route({"hook": hook.url()})
    append_changes(plant.lake, created_alerts(alert()))
    home = notify_home(plant.lake)
    with lease(home) as mine:
        assert mine
        assert holder(home) is not None
        assert "sends already" in str(plant.notifier(SOON).once().skipped)
    assert hook.calls == []
    assert holder(home) is None
    plant.notifier(SOON).once()
    assert len(hook.calls) == 1


@pytest.mark.parametrize("jump", [timedelta(days=400), timedelta(days=1), timedelta(days=-1), timedelta(days=-400)])
def test_a_clock_that_jumps_neither_loses_nor_repeats(plant: Plant, jump: timedelta) -> None:
    """Alerts before and after the jump, one of them not accepted before it, and a digest on its way."""
    with web_hook(status=500) as hook:
        plant.route({"hook": hook.url()})
        clock = Clock(SOON)
        running = plant.notifier(clock=clock, steady=clock.steady)
        append_changes(plant.lake, created_alerts(alert("dev-1"), alert("dev-2", severity="MEDIUM")))
        running.once()
        append_changes(plant.lake, created_alerts(alert("dev-3", at(1))))
        clock.jumps(jump)
        hook.status = 200
        running.once()
        append_changes(plant.lake, created_alerts(alert("dev-4", clock.now)))
        for _ in range(3):
            clock.passes(timedelta(minutes=40))
            running.once()
        titles = sorted(c.body["title"] for c in hook.calls)
        assert len(set(hook.keys)) == len(hook.calls)
        assert [t for t in titles if "look into" not in t] == [
            f"CRITICAL: dev-{n}: compressor draws 55 A" for n in (1, 3, 4)
        ]
        assert sum("1 MEDIUM" in t for t in titles) == 1


def test_a_lost_journal_repeats_nothing_and_loses_nothing(plant: Plant, hook: Hook) -> None:
    plant.route({"hook": hook.url()})
    append_changes(plant.lake, created_alerts(alert("dev-1"), alert("dev-2", HOUR - timedelta(days=2))))
    plant.notifier(at(1)).once()
    shutil.rmtree(notify_home(plant.lake))
    append_changes(plant.lake, created_alerts(alert("dev-3", at(2))))
    plant.notifier(at(3)).once()
    assert [c.body["title"][10:15] for c in hook.calls] == ["dev-1", "dev-3"]
    assert plant.told().filter(result="held").height == 1


def test_a_lost_journal_knows_of_each_alert_of_a_storm_how_bad_it_was_said_to_be(plant: Plant, hook: Hook) -> None:
    plant.route({"hook": hook.url()})
    storm = [alert(f"dev-{n}", severity="CRITICAL" if n == 0 else "HIGH") for n in range(8)]
    long_past = HOUR - timedelta(days=2)
    old = [alert(f"dev-{n}", long_past, severity="CRITICAL" if n == 20 else "HIGH") for n in range(20, 23)]
    append_changes(plant.lake, created_alerts(*storm, *old))
    plant.notifier(at(1)).once()
    worse = {"changed_at": at(2), "last_seen_at": at(2), "severity": "CRITICAL"}
    shutil.rmtree(notify_home(plant.lake))
    rows = [worse | {"alert_id": one["alert_id"]} for one in (storm[3], old[1])]
    append_changes(plant.lake, log_rows(rows, "escalated", "batch"))
    append_changes(plant.lake, escalations(current_board(plant.lake).filter(pl.col("device_id") == "dev-22"), at(3)))
    plant.notifier(at(4)).once()
    plant.notifier(at(5)).once()
    first, *rest = [c.body["title"] for c in hook.calls]
    assert first.startswith("8 within a minute")
    assert sorted(rest) == [f"CRITICAL: dev-{n}: compressor draws 55 A" for n in (21, 3)]


def test_a_condition_is_told_from_anywhere_while_another_sends(plant: Plant, hook: Hook) -> None:
    plant.route({"hook": hook.url()}, 'kinds = ["pipeline_failure"]')
    seen = Condition("pipeline_failure", "run:hourly", "error", "Job hourly", [("Errors", ["disk full"])], HOUR, "r-1")
    with lease(notify_home(plant.lake)):
        assert plant.notifier(SOON).report([seen, seen]) == 1
        assert plant.notifier(SOON).report([seen]) == 0
    plant.notifier(SOON).once()
    (call,) = hook.calls
    assert call.body["title"] == "Job hourly fails"
    assert "disk full" in call.body["message"]
    assert plant.results("kind", "severity", "subject") == [("pipeline_failure", "HIGH", "run:hourly")]


def test_without_a_routing_file_nothing_happens_and_later_it_does(plant: Plant, hook: Hook) -> None:
    append_changes(plant.lake, created_alerts(alert()))
    assert "no routing file" in str(plant.notifier(SOON).once().skipped)
    plant.route({"hook": hook.url()})
    plant.notifier(SOON).once()
    assert len(hook.calls) == 1


def test_a_file_that_has_become_wrong_leaves_the_last_good_one_in_force(plant: Plant, hook: Hook) -> None:
    plant.route({"hook": hook.url()})
    running = plant.notifier(SOON)
    running.once()
    plant.routes.write_text("[channels")
    append_changes(plant.lake, created_alerts(alert("dev-1")))
    running.once()
    append_changes(plant.lake, created_alerts(alert("dev-2")))
    plant.notifier(SOON).once()  # also one that is started now
    assert len(hook.calls) == 2
    shutil.rmtree(notify_home(plant.lake))
    with pytest.raises(RoutingError, match="not valid TOML"):
        plant.notifier(SOON).once()


def test_a_channel_that_was_taken_out_of_the_file_is_given_up(plant: Plant, mail: MailServer) -> None:
    with web_hook(status=500) as hook:
        plant.route({"hook": hook.url()})
        append_changes(plant.lake, created_alerts(alert()))
        plant.notifier(SOON).once()
        plant.route({"mail": mail.url()})
        plant.notifier(at(2)).once()
        assert plant.results("result", "attempt") == [("failed", 1), ("gave_up", 2)]


SECRET = "marker-s3cret/+&"


def test_a_secret_is_nowhere(plant: Plant, caplog: pytest.LogCaptureFixture) -> None:
    """Not in a table, journal, log, error or report, whichever way the service fails."""
    caplog.set_level(logging.DEBUG)
    with web_hook(status=500) as hook, mail_server(refuse=f"554 no {SECRET}") as echo:
        host = f"127.0.0.1:{hook.port}"
        channels = {
            "path": f"json://{host}/${{TOKEN}}",
            "user": f"json://me:${{TOKEN}}@{host}/x",
            "query": f"json://{host}/x?-token=${{TOKEN}}",
            "gone": "mailto://me:${TOKEN}@127.0.0.1:1?mode=insecure&from=a@b.org&to=c@d.org",
            "whole": "${URL}",
            "wrong": "${TOKEN}",
            "echo": echo.url(),
        }
        plant.route(channels)
        environment = {"TOKEN": SECRET, "URL": f"json://{host}/{SECRET}"}
        append_changes(plant.lake, created_alerts(alert()))
        notifier = plant.notifier(SOON, environment=environment)
        seen = Condition("model", "run:x", "error", "Job x", [("Errors", [f"refused: {SECRET}"])], HOUR)
        notifier.report([seen])
        report = notifier.once()
    assert plant.told().filter(result="failed").height >= len(channels)
    logged = "\n".join(r.getMessage() for r in caplog.records if r.name != "mail.log")  # the receiver's own
    written = [p.read_bytes() for p in plant.root.rglob("*") if p.is_file() and p != plant.routes]
    told = plant.told().write_json()
    for form in (SECRET, "marker-s3cret", "marker-s3cret%2F%2B%26"):
        assert form not in logged
        assert form not in repr(report) + told
        assert not any(form.encode() in content for content in written)


def test_a_lake_that_is_away_stops_the_reading_and_not_the_sending(
    plant: Plant, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with web_hook(status=500) as hook:
        plant.route({"hook": hook.url()})
        home = tmp_path_factory.mktemp("home")
        append_changes(plant.lake, created_alerts(alert()))
        plant.notifier(SOON, home=home).once()
        gone = Lake(f"{plant.lake.uri}-away")
        shutil.move(plant.lake.uri, gone.uri)
        hook.status = 200
        stopping = threading.Event()
        watching = plant.notifier(at(5), home=home)
        thread = threading.Thread(target=watching.watch, args=(stopping, 0.05))
        thread.start()
        while not hook.calls and thread.is_alive():
            stopping.wait(0.05)
        stopping.set()
        thread.join()
        shutil.move(gone.uri, plant.lake.uri)
        plant.notifier(at(6), home=home).once()
        assert len(ids(hook.calls)) == 1
        assert sorted(plant.told()["result"]) == ["failed", "sent"]
