"""`refrig report`: the hour and the day in the terminal, as JSON and as a file."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from refrig_assets.cli import main
from refrig_assets.contracts import DEVICE_REGISTRY
from refrig_assets.lake import Lake
from refrig_assets.pipeline.alert_log import append_changes
from refrig_assets_tests.alerting.makers_board import found, log_of, raised
from refrig_assets_tests.builders import at, registry_of


@pytest.fixture
def plant(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    lake.table(DEVICE_REGISTRY).replace_all(registry_of(["dev-1", "dev-2"], site_name="Harbour <b>"))
    worn = found("dev-1", 5, severity="HIGH", hours_left=12.0, hours_left_low=8.0, hours_left_high=20.0)
    append_changes(lake, log_of(worn, raised("dev-2", 30)))
    monkeypatch.setenv("REFRIG_LAKE", lake.uri)
    monkeypatch.setenv("REFRIG_MODELS", f"sqlite:///{tmp_path}/models/mlflow.db")
    return lake


def report(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["report", *map(str, arguments)])


def test_an_hour_in_the_terminal_is_without_pictures(plant: Lake) -> None:
    result = report("--hour", at(17).isoformat())
    assert result.exit_code == 0, result.output
    for part in (
        "Fleet health, 2026-03-02 10:00 UTC",
        "1 CRITICAL and 1 HIGH",
        "dev-1 in 11 h",
        "Harbour <b> (site-1)",
    ):
        assert part in result.output
    assert "base64" not in result.output


def test_an_hour_for_programs(plant: Lake) -> None:
    told = json.loads(report("--hour", at(0).isoformat(), "--json").output)
    assert (told["standing"], told["created"], told["fleet"]["active"]) == (2, 2, 2)
    assert told["expected"][0]["device_id"] == "dev-1"
    assert [row["device"] for row in told["urgent"]] == ["dev-2", "dev-1"]
    assert told["models_problem"].startswith("no models yet")


def test_without_an_hour_it_is_the_last_whole_one(plant: Lake) -> None:
    told = json.loads(report("--json").output)
    assert datetime.fromisoformat(told["hour"]) < datetime.now(UTC) - timedelta(minutes=59)
    assert told["as_of"] <= datetime.now(UTC).isoformat()


def test_as_a_page_that_needs_no_other_file(plant: Lake, tmp_path: Path) -> None:
    page = tmp_path / "out" / "health.html"
    result = report("--hour", at(0).isoformat(), "--out", page)
    assert result.exit_code == 0, result.output
    assert str(page) in result.output.replace("\n", "")
    html = page.read_text(encoding="utf-8")
    assert "<title>Fleet health, 2026-03-02 10:00 UTC</title>" in html
    assert html.count('<img src="data:image/png;base64,') == 2
    assert "<table>" in html
    assert "Harbour &lt;b&gt;" in html
    assert "<b>" not in html
    text = tmp_path / "health.md"
    assert report("--hour", at(0).isoformat(), "--out", text).exit_code == 0
    assert text.read_text(encoding="utf-8").startswith("# Fleet health")


def test_a_day(plant: Lake) -> None:
    result = report("--day", "2026-03-02")
    assert result.exit_code == 0, result.output
    assert "Daily digest, 2026-03-02" in result.output
    assert "missed: no warning before" in result.output
    told = json.loads(report("--day", "2026-03-02", "--json").output)
    assert [row["device_id"] for row in told["failures"]] == ["dev-2"]
    assert told["work"]["taken"] == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--day", "2026-03-02", "--hour", "2026-03-02T10:00"), "not both"),
        (("--out", "report.pdf"), "must end in .html or .md"),
        (("--hour", "ten"), "not a time in ISO 8601"),
        (("--lake", "nowhere"), "nowhere"),
    ],
)
def test_what_cannot_be_is_said(plant: Lake, arguments: tuple[str, ...], says: str) -> None:
    result = report(*arguments)
    assert result.exit_code != 0
    assert says in result.output
    assert "Traceback" not in result.output
