"""`refrig alerts`: what operators see and do at a terminal, in words and as JSON, and how it ends."""

import importlib
import json
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner, Result

from refrig_assets.alerting.changes import suppressed
from refrig_assets.cli import main
from refrig_assets.cli.alerts import COMMANDS
from refrig_assets.cli.alerts_options import LEVELS, MODES, SEVERITIES, STATUSES, Span
from refrig_assets.cli.alerts_telling import span, sparkline
from refrig_assets.contracts import FEATURE_BASELINES
from refrig_assets.contracts import alerts as contract
from refrig_assets.lake import Lake
from refrig_assets.pipeline.alert_log import append_changes, current_board
from refrig_assets.pipeline.labelling import read_labels
from refrig_assets.pipeline.published import publish_board
from refrig_assets.pipeline.registry import write_registry
from refrig_assets_tests.alerting.makers import alert, created_alerts
from refrig_assets_tests.builders import registry_of
from refrig_assets_tests.windows import windows, write_windows

NOW = datetime.now(UTC).replace(microsecond=0)
MINUTE = timedelta(minutes=1)


def ago(minutes: float) -> datetime:
    return NOW - minutes * MINUTE


ALERTS = [
    alert("dev-1", ago(50), failure_mode="bearing_wear", hours_left=30.0, hours_left_low=20.0, hours_left_high=60.0),
    alert("dev-2", ago(5), site_id="site-2"),
    alert("dev-3", ago(90), severity="HIGH", rule=None, model_id="autoencoder", anomaly_score=0.9, source="batch",
          top_contributors=["current_compressor_mean_6h", "vibration_compressor_max"]),
    alert("dev-4", ago(20), severity="LOW"),
]  # fmt: skip
IDS = {a["device_id"]: a["alert_id"] for a in ALERTS}
ONE, TWO, THREE, FOUR = (IDS[f"dev-{n}"] for n in range(1, 5))


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands' clock starts where the alerts' ages are counted from, however late the test runs."""
    ticks = count()
    for name in ("alerts", *(path.partition(":")[0].rpartition(".")[2] for path, _ in COMMANDS.values())):
        module = importlib.import_module(f"refrig_assets.cli.{name}")
        if hasattr(module, "now"):
            monkeypatch.setattr(module, "now", lambda: NOW + next(ticks) * timedelta(milliseconds=1))


@pytest.fixture
def lake(lake: Lake) -> Lake:
    """Four alerts; the last was raised after the board was published."""
    write_registry(lake, registry_of([f"dev-{n}" for n in range(1, 6)], model="KX-200"))
    append_changes(lake, created_alerts(*ALERTS[:3]))
    publish_board(lake)
    append_changes(lake, created_alerts(*ALERTS[3:]))
    return lake


def run(lake: Lake | str, *arguments: str, stdin: str = "", **environment: str) -> Result:
    uri = lake if isinstance(lake, str) else lake.uri
    env = {"REFRIG_LAKE": uri, "REFRIG_OPERATOR": "ann", **environment}
    return CliRunner(env=env).invoke(main, ["alerts", *arguments], input=stdin)


def said(result: Result, code: int = 0) -> str:
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


def document(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert isinstance(found, dict)
    return found


def listed(lake: Lake, *arguments: str) -> list[str]:
    return [a["device_id"] for a in document(run(lake, "list", "--json", *arguments))["alerts"]]


def board(lake: Lake) -> dict[str, dict[str, Any]]:
    return {row["device_id"]: row for row in current_board(lake).to_dicts()}


def test_every_command_teaches() -> None:
    for command in COMMANDS:
        result = CliRunner().invoke(main, ["alerts", command, "--help"])
        assert result.exit_code == 0
        assert f"refrig alerts {command}" in result.output.split("Examples:")[1]


def test_the_choices_are_those_of_the_contract() -> None:
    assert (SEVERITIES, STATUSES, MODES, LEVELS) == (
        contract.SEVERITIES, contract.STATUSES, contract.FAILURE_MODES, contract.LEVELS,
    )  # fmt: skip


def test_the_list_is_current_and_the_most_urgent_comes_first(lake: Lake) -> None:
    text = said(run(lake, "list"))
    assert [text.index(IDS[d][:8]) for d in ("dev-1", "dev-2", "dev-3", "dev-4")] == sorted(
        text.index(one[:8]) for one in IDS.values()
    )
    assert "50 min breached dev-1 site-1" in text
    assert "5 min 24 min left dev-2 site-2" in text or "5 min 25 min left dev-2 site-2" in text
    assert "29 h (19 to 59)" in text
    assert "4 alerts: 2 CRITICAL, 1 HIGH, 1 LOW" in text


@pytest.mark.parametrize(
    ("arguments", "devices"),
    [
        (["--at-least", "high"], [1, 2, 3]),
        (["--site", "site-1", "--severity", "CRITICAL"], [1]),
        (["--device", "dev-2,dev-4"], [2, 4]),
        (["--model", "autoencoder"], [3]),
        (["--mode", "bearing_wear"], [1]),
        (["--older", "45m"], [1, 3]),
        (["--newer", "1h", "--breached"], [1]),
        (["--status", "RESOLVED"], []),
        (["--limit", "2"], [1, 2]),
    ],
)
def test_filters(lake: Lake, arguments: list[str], devices: list[int]) -> None:
    assert listed(lake, *arguments) == [f"dev-{n}" for n in devices]


def test_from_acknowledged_to_resolved(lake: Lake) -> None:
    assert f"✓ {ONE[:8]} dev-1 acknowledged" in said(run(lake, "ack", ONE[:8]))
    assert "you have acknowledged it already" in said(run(lake, "ack", ONE), 1)
    assert "being worked on" in said(run(lake, "start", ONE, "--as", "field_engineer:ben"))
    assert "worked on already by ben" in said(run(lake, "ack", ONE), 1)
    assert "L1 in progress, ben" in said(run(lake, "list"))
    done = run(lake, "resolve", ONE, "--failed", "--found", "bearing_wear", REFRIG_OPERATOR="field_engineer:ben")
    assert "1 label written" in said(done)
    label = read_labels(lake).row(0, named=True)
    assert (label["label_type"], label["label_confidence"], label["failure_mode"]) == (
        "failure_confirmed", 0.9, "bearing_wear",
    )  # fmt: skip
    assert "it is RESOLVED since" in said(run(lake, "escalate", ONE), 1)
    assert listed(lake) == ["dev-2", "dev-3", "dev-4"]
    assert "open again" in said(run(lake, "reopen", ONE))
    assert read_labels(lake)["label_confidence"].sort().to_list() == [0.0, 0.9]
    told = document(run(lake, "history", ONE, "--json"))["changes"]
    assert [c["change"] for c in told] == ["created", "acknowledged", "started", "resolved", "reopened"]
    assert [c["by"] for c in told][1:] == ["operator:ann", "operator:ben", "operator:ben", "operator:ann"]
    assert told[2]["sets"] == {"status": "IN_PROGRESS"}


def test_escalate_and_note(lake: Lake) -> None:
    assert "escalated to L2" in said(run(lake, "escalate", TWO))
    assert "L2 has it already" in said(run(lake, "escalate", TWO, "--to", "L2"), 1)
    assert "noted" in said(run(lake, "note", TWO, "fan ordered"))
    assert board(lake)["dev-2"]["note"] == "fan ordered"
    assert "a note needs a text" in said(run(lake, "note", TWO, " "), 1)


def test_many_at_once_are_shown_and_asked_for(lake: Lake) -> None:
    tried = document(run(lake, "false-positive", "--site", "site-1", "--dry-run", "--json"))
    assert tried["alerts"] == [ONE, THREE, FOUR]
    assert "3 alerts" in said(run(lake, "false-positive", "--site", "site-1", "--dry-run"))
    refused = run(lake, "false-positive", "--site", "site-1", stdin="n\n")
    assert "3 alerts will be closed as false positive. Go on?" in said(refused, 1)
    assert {row["status"] for row in board(lake).values()} == {"OPEN"}
    assert "3 labels written" in said(run(lake, "false-positive", "--site", "site-1", stdin="y\n"))
    assert "No alerts like that" in said(run(lake, "resolve", "--site", "site-1", "--yes"))
    back = document(run(lake, "reopen", "--site", "site-1", "--yes", "--json"))
    assert (len(back["changed"]), back["left"], back["labels"]) == (3, [], 3)


def test_a_storm_is_closed_with_its_members_if_one_says_so(lake: Lake) -> None:
    append_changes(lake, suppressed([TWO, FOUR], ONE, NOW, "stream", change="grouped"))
    assert "2 alerts that it stood for are open still" in said(run(lake, "resolve", ONE))
    assert board(lake)["dev-2"]["status"] == "OPEN"
    closed = run(lake, "resolve", ONE, THREE, "--members", "--yes")
    assert "3 labels written" in said(closed)
    assert f"{ONE[:8]} left as it is: it is RESOLVED" in said(closed)
    assert board(lake)["dev-2"]["status"] == board(lake)["dev-4"]["status"] == "RESOLVED"


def test_errors_name_what_is_wrong(lake: Lake, tmp_path: Path) -> None:
    assert f"there is no alert '{ONE[:7]}zz'; the closest are {ONE}" in said(run(lake, "show", f"{ONE[:7]}zz"), 1)
    assert "Which alerts?" in said(run(lake, "ack"), 2)
    assert "not both" in said(run(lake, "ack", ONE, "--site", "site-1"), 2)
    assert "'soon' is not a span of time" in said(run(lake, "list", "--older", "soon"), 2)
    assert "is no role" in said(run(lake, "ack", ONE, "--as", "boss:ann"), 2)
    assert "there is no lake at" in said(run(str(tmp_path / "none"), "list"), 1)
    assert json.loads(run(lake, "show", "zzzzzzzz", "--json").stdout)["kind"] == "UnknownNameError"


def test_show_tells_what_is_known(lake: Lake) -> None:
    hour = (NOW - timedelta(hours=30)).replace(minute=0, second=0)
    write_windows(lake, windows(["dev-3", "dev-1"], hour, 30, minutes=(15,)))
    row = {
        "feature_name": "current_compressor_mean", "granularity": "cohort", "cohort_id": "cohort-1",
        "baseline_p05": 2.0, "baseline_p95": 5.0, "null_rate": 0.0, "computed_at": NOW, "training_window_start": NOW,
        "training_window_end": NOW, "model_version": "1",
    }  # fmt: skip
    schema = {name: FEATURE_BASELINES.dtypes[name] for name in row}
    lake.table(FEATURE_BASELINES).append(FEATURE_BASELINES.conform(pl.DataFrame([row], schema=schema)))
    run(lake, "resolve", ONE, "--note", "fan cleaned")
    append_changes(lake, created_alerts(alert("dev-1", ago(2), failure_mode="bearing_wear")))
    append_changes(lake, created_alerts(alert("dev-5", ago(1), failure_mode="bearing_wear")))
    run(lake, "mute", "--device", "dev-3", "--for", "2h", "--reason", "new fan")
    found = document(run(lake, "show", THREE, "--json"))
    assert [c["feature"] for c in found["last_day"]][:2] == ["current_compressor_mean", "vibration_compressor_max"]
    course = found["last_day"][0]
    assert (len(course["values"]), course["low"], course["high"], course["usual_of"]) == (96, 2.0, 5.0, "cohort")
    assert found["mute"]["reason"] == "new fan"
    text = said(run(lake, "show", THREE))
    for part in (
        "autoencoder, score 0.900",
        "usual 2 to 5 (cohort)",
        "new fan (by ann",
        "suppressed by mute:",
        "created",
    ):
        assert part in text
    newest = {row["device_id"]: row for row in current_board(lake).sort("alert_created_at").to_dicts()}
    again = said(run(lake, "show", newest["dev-1"]["alert_id"]))
    assert "Earlier alerts of this device" in again
    assert "resolved by ann after 50 min: fan cleaned" in again
    alike = document(run(lake, "show", newest["dev-5"]["alert_id"], "--json"))["similar"]
    assert [row["alert_id"] for row in alike["same_failure_mode"]] == [ONE]
    assert alike["same_device"] == []


def test_mute_and_unmute(lake: Lake) -> None:
    text = said(run(lake, "mute", ONE[:8], "--for", "1d", "--reason", "waits for a part"))
    assert "dev-1 muted" in text
    assert "1 alert that stood is suppressed" in text
    assert listed(lake) == ["dev-2", "dev-3", "dev-4"]
    begins = NOW + timedelta(days=2)
    weekly = [
        "mute",
        "--site",
        "site-1",
        "--from",
        begins.isoformat(),
        "--for",
        "90m",
        "--weekly",
        "--reason",
        "defrost",
    ]
    made = document(run(lake, *weekly, "--json"))
    assert (made["mute"]["repeats"], made["new"]) == ("weekly", True)
    assert document(run(lake, *weekly, "--json"))["new"] is False
    text = said(run(lake, "mutes"))
    assert f"site site-1 each {begins:%A %H:%M} to {begins + 90 * MINUTE:%H:%M} from {begins:%Y-%m-%d} on" in text
    one = document(run(lake, "mutes", "--json"))["mutes"]
    mine = next(m["mute_id"] for m in one if m["device_id"] == "dev-1")
    assert "dev-1 is no longer muted" in said(run(lake, "unmute", mine[:8]))
    assert "dev-1" in listed(lake)
    assert "It was ended before" in said(run(lake, "unmute", mine))
    assert len(document(run(lake, "mutes", "--all", "--json"))["mutes"]) == 2
    assert "there is no device 'dev-9'" in said(
        run(lake, "mute", "--device", "dev-9", "--for", "1h", "--reason", "x"), 1
    )
    assert "Say either --for SPAN or --to TIME" in said(run(lake, "mute", ONE, "--reason", "x"), 2)


def test_an_empty_board(empty_lake: Path) -> None:
    assert "nothing needs attention" in said(run(str(empty_lake), "list"))
    assert document(run(str(empty_lake), "list", "--json"))["alerts"] == []
    assert "Nothing is muted" in said(run(str(empty_lake), "mutes"))


@pytest.mark.parametrize(("text", "minutes"), [("30m", 30), ("1d12h", 36 * 60), ("1w", 7 * 1440), ("1.5h", 90)])
def test_spans(text: str, minutes: float) -> None:
    assert Span().convert(text, None, None) == minutes * MINUTE


def test_ages_and_sparklines() -> None:
    minutes = {0.5: "30 s", 59: "59 min", 125: "2 h 5 min", 120: "2 h", 3000: "2 d 2 h", 30_000: "20 d"}
    assert [span(m * MINUTE) for m in minutes] == list(minutes.values())
    line = sparkline([0.0, None, 5.0, 10.0], 1.0, 9.0)
    assert line.plain == "▁·▅█"
    assert [str(s.style) for s in line.spans] == ["red", "dim", "green", "red"]
    assert sparkline([None], None, None).plain == "no data"
    assert len(sparkline([float(n) for n in range(96)], None, None).plain) == 48
