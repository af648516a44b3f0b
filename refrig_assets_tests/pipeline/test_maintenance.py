"""Maintenance: files of each kind, rows that are wrong, repeats, plans that were carried out, alerts that it closes."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from refrig_assets.contracts import MAINTENANCE_EVENTS
from refrig_assets.lake import Lake
from refrig_assets.pipeline.alert_log import append_changes, current_board
from refrig_assets.pipeline.labelling import read_labels
from refrig_assets.pipeline.maintenance import Import, import_file, read_events, write_events
from refrig_assets.pipeline.maintenance_source import MaintenanceError, source_of
from refrig_assets.pipeline.registry import write_registry
from refrig_assets_tests.alerting.makers import alert, created_alerts
from refrig_assets_tests.builders import NOW, at, registry_of

DONE = {
    "event_id": "WO-1",
    "device_id": "dev-1",
    "event_type": "corrective",
    "scheduled_date": "2026-03-01T08:00",
    "completed_date": "2026-03-01T12:30:00+01:00",
    "work_description": "fan replaced",
    "parts_replaced": "fan; belt",
    "triggered_by_alert_id": "",
    "pre_maintenance_score": "0.91",
    "post_maintenance_score": "0.1",
}
PLANNED = DONE | {"completed_date": "", "work_description": "", "parts_replaced": "", "pre_maintenance_score": "",
                  "post_maintenance_score": ""}  # fmt: skip


def csv(folder: Path, *rows: dict[str, Any], name: str = "events.csv") -> Path:
    path = folder / name
    names = list(dict.fromkeys(k for row in rows for k in row))
    pl.DataFrame([{k: str(row.get(k, "")) for k in names} for row in rows]).write_csv(path)
    return path


def counts(found: Import) -> tuple[int, int, int, int, int]:
    return found.new, found.completed, found.changed, found.duplicates, len(found.rejected)


def test_each_kind_of_file_gives_the_same_event(lake: Lake, tmp_path: Path) -> None:
    listed = DONE | {"parts_replaced": ["fan", "belt"]}
    (tmp_path / "a.json").write_text(json.dumps([listed]))
    (tmp_path / "a.ndjson").write_text(json.dumps(listed) + "\n")
    frame = pl.DataFrame([listed]).with_columns(
        pl.col("scheduled_date").str.to_datetime(), pl.col("pre_maintenance_score").cast(pl.Float64)
    )
    frame.write_parquet(tmp_path / "a.parquet")
    assert counts(import_file(lake, csv(tmp_path, DONE), NOW)) == (1, 0, 0, 0, 0)
    event = MAINTENANCE_EVENTS.validate(read_events(lake)).row(0, named=True)
    assert (event["completed_date"], event["parts_replaced"]) == (at(90 - 24 * 60), ["fan", "belt"])
    assert (event["pre_maintenance_score"], event["triggered_by_alert_id"]) == (0.91, None)
    for name in ("a.json", "a.ndjson", "a.parquet"):
        assert counts(import_file(lake, tmp_path / name, NOW)) == (0, 0, 0, 1, 0)


def test_columns_are_found_by_their_names_or_as_one_says(lake: Lake, tmp_path: Path) -> None:
    row = {"Ticket": "7", "Device ID": "dev-1", "eventType": "Preventive", "SCHEDULED DATE": "2026-03-04", "Cost": "9"}
    found = import_file(lake, csv(tmp_path, row), NOW, columns={"event_id": "Ticket"})
    assert (counts(found), found.unused_columns) == ((1, 0, 0, 0, 0), ["Cost"])
    assert read_events(lake)["event_id"].to_list() == ["7"]
    with pytest.raises(MaintenanceError, match="no column 'Nr'; it has Ticket, Device ID"):
        import_file(lake, csv(tmp_path, row), NOW, columns={"event_id": "Nr"})
    with pytest.raises(MaintenanceError, match="'colour' is not known of an event"):
        import_file(lake, csv(tmp_path, row), NOW, columns={"colour": "Cost"})
    with pytest.raises(MaintenanceError, match=r"has no column for device_id .* --column device_id=COLUMN"):
        import_file(lake, csv(tmp_path, {"event_type": "x", "scheduled_date": "y"}), NOW)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.xlsx", "", "cannot be told from its name"),
        ("none.csv", None, "there is no file"),
        ("a.json", "{", "cannot be read as json"),
        ("a.parquet", "x", "cannot be read as parquet"),
    ],
)
def test_files_that_cannot_be_read_are_told(lake: Lake, tmp_path: Path, name: str, text: str | None, says: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(MaintenanceError, match=says):
        import_file(lake, tmp_path / name, NOW)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"device_id": ""}, "no device_id"),
        ({"device_id": "dev-77"}, "device 'dev-77' is not in the registry"),
        ({"event_type": "repair"}, "event_type 'repair' is none of preventive, corrective, emergency"),
        ({"scheduled_date": "1.3.2026"}, "scheduled_date '1.3.2026' is not a time"),
        ({"scheduled_date": "", "completed_date": ""}, "neither scheduled_date nor completed_date"),
        ({"completed_date": "2027-01-01"}, "completed_date 2027-01-01 00:00 UTC is yet to come"),
        ({"pre_maintenance_score": "1.5"}, "pre_maintenance_score 1.5 lies outside of 0 to 1"),
        ({"post_maintenance_score": "low"}, "post_maintenance_score 'low' is not a number"),
        ({"pre_maintenance_score": "nan"}, "lies outside of 0 to 1"),
    ],
)
def test_a_row_that_is_wrong_is_left_out_with_its_reason(
    lake: Lake, tmp_path: Path, changes: dict[str, str], why: str
) -> None:
    write_registry(lake, registry_of(["dev-1", "dev-2"]))
    wrong = {"event_id": "WO-9", **{k: v for k, v in DONE.items() if k != "event_id"}, **changes}
    found = import_file(lake, csv(tmp_path, DONE, wrong), NOW)
    assert counts(found) == (1, 0, 0, 0, 1)
    assert (found.rejected[0].row, found.rejected[0].event_id) == (2, "WO-9")
    assert why in found.rejected[0].why


def test_work_planned_is_replaced_by_work_done_and_that_stays(lake: Lake, tmp_path: Path) -> None:
    later = PLANNED | {"scheduled_date": "2026-03-01T09:00"}
    assert counts(import_file(lake, csv(tmp_path, PLANNED), NOW)) == (1, 0, 0, 0, 0)
    assert counts(import_file(lake, csv(tmp_path, later), NOW)) == (0, 0, 1, 0, 0)
    assert counts(import_file(lake, csv(tmp_path, DONE), NOW)) == (0, 1, 0, 0, 0)
    version = lake.table(MAINTENANCE_EVENTS).version
    assert counts(import_file(lake, csv(tmp_path, DONE, PLANNED), NOW)) == (0, 0, 0, 2, 0)
    assert lake.table(MAINTENANCE_EVENTS).version == version
    other = import_file(lake, csv(tmp_path, DONE | {"work_description": "belt replaced"}), NOW)
    assert counts(other) == (0, 0, 0, 0, 1)
    assert "is told otherwise now: work_description" in other.rejected[0].why
    of_other = import_file(lake, csv(tmp_path, DONE | {"device_id": "dev-2"}), NOW)
    assert "is of device dev-1, not of dev-2" in of_other.rejected[0].why
    assert read_events(lake).height == 1
    assert counts(import_file(lake, csv(tmp_path, PLANNED | {"event_id": "x"}, DONE | {"event_id": "x"}), NOW)) == (
        1, 1, 0, 0, 0,
    )  # fmt: skip


def test_without_an_identity_the_same_work_is_known_by_device_kind_and_date(lake: Lake, tmp_path: Path) -> None:
    planned, done = ({k: v for k, v in row.items() if k != "event_id"} for row in (PLANNED, DONE))
    import_file(lake, csv(tmp_path, planned), NOW)
    assert counts(import_file(lake, csv(tmp_path, done, done | {"device_id": "dev-2"}), NOW)) == (1, 1, 0, 0, 0)


def test_a_dry_run_says_the_same_and_writes_nothing(lake: Lake, tmp_path: Path) -> None:
    path = csv(tmp_path, PLANNED, DONE, DONE | {"event_type": "?"})
    version = lake.table(MAINTENANCE_EVENTS).version
    tried = import_file(lake, path, NOW, dry_run=True)
    assert lake.table(MAINTENANCE_EVENTS).version == version
    assert counts(tried) == counts(import_file(lake, path, NOW)) == (1, 1, 0, 0, 1)


def test_writers_at_once_lose_no_event(lake: Lake) -> None:
    rows = [DONE | {"event_id": f"WO-{n}"} for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda row: write_events(lake, source_of(lake, row, NOW), NOW), rows * 2))
    assert sum(f.new for f in found) == 8
    assert read_events(lake)["event_id"].sort().to_list() == [f"WO-{n}" for n in range(8)]


def test_finished_repairs_close_the_alerts_that_led_to_them_once(lake: Lake, tmp_path: Path) -> None:
    alerts = [alert(f"dev-{n}") for n in range(4)]
    ids = [a["alert_id"] for a in alerts]
    append_changes(lake, created_alerts(*alerts))
    path = csv(
        tmp_path,
        DONE | {"event_id": "a", "triggered_by_alert_id": ids[0]},
        DONE | {"event_id": "b", "event_type": "emergency", "triggered_by_alert_id": ids[1]},
        DONE | {"event_id": "c", "event_type": "preventive", "triggered_by_alert_id": ids[2]},
        PLANNED | {"event_id": "d", "triggered_by_alert_id": ids[3]},
        DONE | {"event_id": "e", "triggered_by_alert_id": "unheard-of"},
    )
    assert import_file(lake, path, NOW).closed == []
    assert import_file(lake, path, NOW, close_alerts=True).closed == ids[:2]
    assert import_file(lake, path, NOW, close_alerts=True).closed == []
    board = current_board(lake).sort("device_id")
    assert board["status"].to_list() == ["RESOLVED", "RESOLVED", "OPEN", "OPEN"]
    assert board["note"][0] == "fan replaced (a)"
    labels = read_labels(lake).sort("device_id")
    assert labels["label_type"].to_list() == ["anomaly_confirmed", "failure_confirmed"]
    assert set(labels["label_source"]) == {"maintenance_system"}
