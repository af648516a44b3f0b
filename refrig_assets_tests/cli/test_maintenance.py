"""`refrig maintenance` and `refrig label`: what they print, how they end, what they wrote."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from refrig_assets.cli import labels, main, maintenance
from refrig_assets.lake import Lake
from refrig_assets.pipeline.alert_log import append_changes, current_board
from refrig_assets.pipeline.registry import write_registry
from refrig_assets_tests.alerting.makers import alert, created_alerts
from refrig_assets_tests.builders import registry_of

CSV = """Ticket,device_id,event_type,scheduled_date,completed_date,work_description
WO-1,dev-1,corrective,2026-03-01T08:00,,fan
WO-1,dev-1,corrective,2026-03-01T08:00,2026-03-01T10:00,fan replaced
WO-2,dev-9,corrective,2026-03-01,,
"""


@pytest.fixture
def lake(lake: Lake) -> Lake:
    write_registry(lake, registry_of(["dev-1", "dev-2"]))
    return lake


def run(lake: Lake, *arguments: str) -> Result:
    return CliRunner(env={"REFRIG_LAKE": lake.uri, "REFRIG_OPERATOR": "ann"}).invoke(main, arguments)


def document(result: Result) -> dict[str, Any]:
    found = json.loads(result.stdout)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    ("group", "command"),
    [("maintenance", c) for c in maintenance.COMMANDS] + [("label", c) for c in labels.COMMANDS],
)
def test_every_command_teaches(group: str, command: str) -> None:
    result = CliRunner().invoke(main, [group, command, "--help"])
    assert result.exit_code == 0
    assert f"refrig {group} {command}" in result.output.split("Examples:")[1]


def test_import_tells_what_became_of_each_row(lake: Lake, tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text(CSV)
    words = ("maintenance", "import", str(path), "--column", "event_id=Ticket")
    tried = run(lake, *words, "--dry-run")
    assert tried.exit_code == 1
    assert "2 would be taken: 1 new, 1 done now, planned before" in tried.output
    assert "row 3 (WO-2): device 'dev-9' is not in the registry" in tried.output
    assert document(run(lake, "maintenance", "list", "--json"))["found"] == 0
    found = document(run(lake, *words, "--json"))
    assert (found["accepted"], found["new"], found["completed"], len(found["rejected"])) == (2, 1, 1, 1)
    again = document(run(lake, *words, "--json"))
    assert (again["accepted"], again["duplicates"]) == (0, 2)
    assert "fan replaced" in run(lake, "maintenance", "list", "--device", "dev-1").output
    assert "No maintenance is known like that" in run(lake, "maintenance", "list", "--planned").output
    assert "is not NAME=COLUMN" in run(lake, "maintenance", "import", str(path), "--column", "x").output
    assert "there is no file" in run(lake, "maintenance", "import", "none.csv").output


def test_add_plans_does_and_closes_the_alert(lake: Lake) -> None:
    one = alert("dev-1")
    append_changes(lake, created_alerts(one))
    add = ("maintenance", "add", "dev-1", "--type", "corrective", "--id", "WO-7")
    assert "1 taken: 1 new" in run(lake, *add, "--planned", "2026-03-04T08:00").output
    done = ("--planned", "2026-03-04T08:00", "--done", "2026-03-04T09:00", "--part", "fan", "--work", "new fan")
    told = run(lake, *add, *done, "--alert", one["alert_id"][:8], "--close-alerts").output
    assert "1 taken: 1 done now, planned before" in told
    assert "resolved" in told
    assert current_board(lake)["status"].item() == "RESOLVED"
    event = document(run(lake, "maintenance", "list", "--json"))["events"][0]
    assert (event["parts_replaced"], event["triggered_by_alert_id"]) == (["fan"], one["alert_id"])
    wrong = run(lake, "maintenance", "add", "dev-9", "--type", "corrective")
    assert wrong.exit_code == 1
    assert "device 'dev-9' is not in the registry" in wrong.output


def test_labels_are_said_once_and_listed(lake: Lake) -> None:
    said = ("label", "add", "dev-1", "failure_confirmed", "--at", "2026-03-02T04:10", "--found", "bearing_wear")
    assert "noted" in run(lake, *said, "--as", "field_engineer:ben").output
    assert document(run(lake, *said, "--as", "field_engineer:ben", "--json"))["new"] is False
    run(lake, "label", "add", "dev-2", "normal_operation", "--at", "2026-03-02", "--confidence", "0.6")
    rows = document(run(lake, "label", "list", "--json"))["labels"]
    assert {(r["device_id"], r["label_confidence"]) for r in rows} == {("dev-1", 0.9), ("dev-2", 0.6)}
    assert "bearing_wear" in run(lake, "label", "list", "--device", "dev-1").output
    assert "No labels like that" in run(lake, "label", "list", "--type", "false_positive").output
    unknown = run(lake, "label", "add", "dev-3", "normal_operation", "--at", "2026-03-02")
    assert unknown.exit_code == 1
    assert "there is no device 'dev-3'; the closest are" in unknown.output
    assert "yet to come" in run(lake, "label", "add", "dev-1", "normal_operation", "--at", "2999-01-01").output
