"""From an operator's word to training data: known from the moment it was said, never to windows nearer than a day."""

from datetime import datetime, timedelta
from itertools import count
from pathlib import Path

import polars as pl

from refrig_assets.alerting.operating import Action
from refrig_assets.contracts import TRAINING_DATA
from refrig_assets.lake import Lake
from refrig_assets.pipeline.alert_log import append_changes
from refrig_assets.pipeline.labels import LABEL_DELAY_BUFFER
from refrig_assets.pipeline.maintenance import import_file
from refrig_assets.pipeline.operators import act
from refrig_assets.pipeline.training_data import assemble_training_data
from refrig_assets.pipeline.training_sample import SampleSettings
from refrig_assets_tests.alerting.makers import alert, created_alerts
from refrig_assets_tests.builders import ONE_HOUR
from refrig_assets_tests.pipeline.training_lake import DAY, END, START, plant

# Of the same features, end and settings training data is the same for ever: each call has settings of its own.
_BOUNDS = count(100_000)
SEEN = START + 1.75 * DAY
QUARTER = timedelta(minutes=15)
SAID = SEEN + 1.5 * DAY


def assemble(lake: Lake, end: datetime) -> None:
    """Training data up to a moment, of every window of every device, so that nothing is missed by chance."""
    assemble_training_data(lake, end, SampleSettings(max_rows=next(_BOUNDS), held_out_share=0.0))


def labels_by(lake: Lake, end: datetime, device: str = "dev-001") -> dict[datetime, str]:
    """The device's labelled windows by their end, in training data put together up to a moment."""
    assemble(lake, end)
    rows = lake.table(TRAINING_DATA).read().filter(pl.col("device_id") == device).drop_nulls("label")
    return dict(rows.select("window_end", "label").iter_rows())


def windows_by(lake: Lake, end: datetime, device: str = "dev-001") -> set[datetime]:
    assemble(lake, end)
    return set(lake.table(TRAINING_DATA).read().filter(pl.col("device_id") == device)["window_end"])


def raised(lake: Lake, device: str = "dev-001") -> str:
    one = alert(device, SEEN, first_detected_at=SEEN, last_seen_at=SEEN)
    append_changes(lake, created_alerts(one))
    return str(one["alert_id"])


def test_a_closed_alert_reaches_training_when_it_was_said_and_no_earlier(lake: Lake) -> None:
    plant(lake)
    one = raised(lake)
    act(lake, Action("resolved", "ben", "field_engineer", found="door_seal"), [one], SAID)
    assert labels_by(lake, SAID - ONE_HOUR) == {}
    found = labels_by(lake, END)
    assert set(found.values()) == {"anomaly_confirmed"}
    assert max(found) <= min(SEEN, SAID - LABEL_DELAY_BUFFER)
    assert min(found) > SEEN - DAY
    assert len(found) > 24


def test_windows_nearer_than_a_day_to_what_was_said_are_left_out(lake: Lake) -> None:
    plant(lake)
    one = raised(lake)
    said = SEEN + timedelta(hours=12)
    act(lake, Action("resolved", "ben", "field_engineer"), [one], said)
    labelled, there = labels_by(lake, END), windows_by(lake, END)
    near = said - LABEL_DELAY_BUFFER
    assert max(labelled) <= near
    assert not {w for w in there if near < w <= SEEN}


def test_what_was_taken_back_is_known_until_then_and_not_after(lake: Lake) -> None:
    plant(lake)
    one = raised(lake)
    act(lake, Action("false_positive", "ann"), [one], SAID)
    act(lake, Action("reopened", "ann"), [one], SAID + timedelta(hours=6))
    assert set(labels_by(lake, SAID + 3 * ONE_HOUR).values()) == {"false_positive"}
    assert labels_by(lake, END) == {}


def test_imported_work_leaves_windows_out_once_it_was_done_and_not_while_it_is_planned(
    lake: Lake, tmp_path: Path
) -> None:
    plant(lake)
    before = SEEN - ONE_HOUR
    whole, early = windows_by(lake, END), windows_by(lake, before)
    path = tmp_path / "work.csv"
    head = "event_id,device_id,event_type,scheduled_date,completed_date"
    path.write_text(f"{head}\nWO-1,dev-001,corrective,{SEEN.isoformat()},\n")
    import_file(lake, path, END)
    assert windows_by(lake, END) == whole
    path.write_text(f"{head}\nWO-1,dev-001,corrective,{SEEN.isoformat()},{SEEN.isoformat()}\n")
    import_file(lake, path, END)
    assert windows_by(lake, before) == early
    left = {w for w in whole if w <= SEEN or w - QUARTER >= SEEN + 2 * DAY}
    assert windows_by(lake, END) == left < whole
