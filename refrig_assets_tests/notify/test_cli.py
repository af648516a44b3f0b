"""`refrig notify` as it is typed: what it prints, how it ends, that no secret shows."""

import json
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from refrig_assets.cli import main
from refrig_assets.pipeline.alert_log import append_changes
from refrig_assets_tests.alerting.makers import alert, created_alerts
from refrig_assets_tests.notify.makers import Plant
from refrig_assets_tests.notify.receivers import Hook, MailServer

SECRET = "marker-s3cret"
_ROOT = Path(__file__).parents[2]


def run(plant: Plant, *arguments: str, **environment: str) -> Result:
    told = {"REFRIG_ROUTES": str(plant.routes), "REFRIG_LAKE": plant.lake.uri, **environment}
    return CliRunner().invoke(main, ["notify", *arguments], env=told)


def test_check_shows_who_is_told_what_and_what_is_missing(plant: Plant, hook: Hook) -> None:
    channels = {"hook": hook.url(), "pager": "json://h/${PAGER_TOKEN}"}
    plant.route(channels, 'name = "days"\nhours = "08:00-18:00"')
    result = run(plant, "check", PAGER_TOKEN="")
    assert result.exit_code == 1
    assert "the environment has no PAGER_TOKEN" in result.stdout
    found = run(plant, "check", "--json", PAGER_TOKEN=SECRET)
    assert found.exit_code == 0
    assert SECRET not in found.output
    told = json.loads(found.stdout)
    assert told["routes"][0]["CRITICAL"] == "now"
    assert "CRITICAL alerts of site-1 reach nobody Mon 00:00 to Mon 08:00 UTC" in told["warnings"][0]


def test_check_of_a_wrong_file_names_it_and_the_key(plant: Plant) -> None:
    plant.route({"pager": "slack://T/B/literal-secret"})
    result = run(plant, "check")
    assert result.exit_code == 1
    assert f"{plant.routes}: url of [channels.pager]: of slack:// is itself a secret" in result.stderr
    assert "literal-secret" not in result.output


def test_without_a_file_it_says_what_to_do(plant: Plant) -> None:
    result = run(plant, "check")
    assert result.exit_code == 1
    assert "Copy examples/notify/notify.toml there" in result.stderr


def test_a_test_message_arrives_or_the_reason_is_said(plant: Plant, hook: Hook, mail: MailServer) -> None:
    channels = {
        "hook": f"{hook.url()}/${{TOKEN}}",
        "mail": mail.url("{site_manager}"),
        "gone": "mailto://me:${TOKEN}@127.0.0.1:1?mode=insecure&from=a@b.org&to=c@d.org",
    }
    plant.route(channels)
    dry = json.loads(run(plant, "test", "--dry-run", "--json", TOKEN=SECRET).stdout)["channels"]
    assert [c["result"] for c in dry] == ["would send", "skipped", "would send"]
    assert not hook.calls
    assert not mail.mails
    result = run(plant, "test", "--json", "--contact", "site_manager=me@example.org", TOKEN=SECRET)
    assert [c["result"] for c in json.loads(result.stdout)["channels"]] == ["sent", "sent", "failed"]
    assert result.exit_code == 1
    assert "refused" in result.stdout
    assert SECRET not in result.output
    assert mail.mails[0].to == ("me@example.org",)
    assert hook.calls[0].body["title"] == "Test of hook: nothing is wrong"
    assert run(plant, "test", "--channel", "hook", TOKEN=SECRET).exit_code == 0
    assert run(plant, "test", "--channel", "hok", TOKEN=SECRET).exit_code == 2


def test_one_pass_and_the_log_of_it(plant: Plant, hook: Hook) -> None:
    plant.route({"hook": hook.url()})
    append_changes(plant.lake, created_alerts(alert("dev-1", datetime.now(UTC)), alert("dev-2")))
    told = json.loads(run(plant, "watch", "--once", "--json").stdout)
    assert (told["planned"], told["history"], told["messages"]) == (1, 1, 1)
    shown = run(plant, "log").stdout
    assert "CRITICAL: dev-1: compressor draws 55 A" in shown
    assert "history: it goes back" in shown
    (held,) = json.loads(run(plant, "log", "--failed", "--json").stdout)["notifications"]
    assert held["result"] == "held"


def test_it_watches_until_it_is_told_to_end(plant: Plant, hook: Hook) -> None:
    plant.route({"hook": hook.url()})
    command = [sys.executable, "-m", "refrig_assets.cli", "notify", "watch", "--poll", "0.1", "--lake", plant.lake.uri]
    process = subprocess.Popen([*command, "--routes", str(plant.routes)], cwd=_ROOT, stderr=subprocess.PIPE, text=True)
    try:
        append_changes(plant.lake, created_alerts(alert("dev-1", datetime.now(UTC))))
        assert process.stderr is not None
        assert "watching" in process.stderr.readline()
        while not hook.calls and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
    assert plant.results("channel", "result") == [("hook", "sent")]


@pytest.mark.parametrize(
    ("url", "level", "said"),
    [
        (None, "warn", "nobody is notified: there is no routing file"),
        ("json://h/${MISSING_TOKEN}", "error", "the environment has no MISSING_TOKEN"),
        ("nonsense", "error", "no Apprise address"),
        ("json://127.0.0.1/x", "ok", "1 channels, 1 routes; no daemon runs now"),
    ],
)
def test_doctor_and_status_say_whether_anybody_is_notified(
    plant: Plant, url: str | None, level: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if url is not None:
        plant.route({"hook": url})
    monkeypatch.setenv("REFRIG_ROUTES", str(plant.routes))
    doctor = json.loads(CliRunner().invoke(main, ["doctor", "--json", "--lake", plant.lake.uri]).stdout)
    (found,) = [e for e in doctor["examinations"] if e["name"] == "notify"]
    assert found["level"] == level
    assert said in found["found"]
    status = json.loads(CliRunner().invoke(main, ["status", "--json", "--lake", plant.lake.uri]).stdout)
    assert said in status["notifications"]["says"]
