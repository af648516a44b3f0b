"""The hour's report and the day's digest, from real tables: what they say, also where there is nothing to say."""

import base64
import re
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from refrig_assets.alerting.changes import operator_action
from refrig_assets.contracts import DEAD_LETTER, DEVICE_HOURS, DEVICE_REGISTRY, MODEL_SCORES
from refrig_assets.lake import Lake
from refrig_assets.models.registry import Registry
from refrig_assets.pipeline.alert_log import append_changes
from refrig_assets.pipeline.fleet_report import fleet_report
from refrig_assets.pipeline.fleet_report_digest import compose as compose_digest
from refrig_assets.pipeline.fleet_report_digest import daily_digest
from refrig_assets.pipeline.fleet_report_files import day_file, hour_file, write_report
from refrig_assets.pipeline.fleet_report_text import compose, markdown_table
from refrig_assets.pipeline.hours import write_accounts
from refrig_assets.pipeline.proxies import write_quality_hour
from refrig_assets_tests.alerting.makers_board import found, log_of, raised
from refrig_assets_tests.builders import HOUR, at, registry_of
from refrig_assets_tests.defs.stream_commits import beat

NOW = HOUR + timedelta(hours=1, minutes=20)
DEVICES = [f"dev-{n:02d}" for n in range(40)]
IMAGE = re.compile(r"data:image/png;base64,([^)]*)\)")
URGENT, LEAK = raised("dev-01", 10), found(
    "dev-02", 20, severity="HIGH", hours_left=30.0, hours_left_low=20.0, hours_left_high=50.0,
    first_check="Search the flare | joints.",
)  # fmt: skip


def scores(last: dict[str, float]) -> pl.DataFrame:
    """A day of windows up to the hour's end; all quiet but those named in the end."""
    rows = [
        {
            "score_id": f"{d}{w}", "device_id": d, "window_start": at(60 - 15 * (w + 1)), "window_end": at(60 - 15 * w),
            "model_id": "isolation_forest", "model_version": "1", "granularity": "fleet",
            "deployment_role": "champion", "anomaly_score": last.get(d, 0.1) if w < 4 else 0.1,
            "anomaly_flag": w < 4 and last.get(d, 0.1) > 0.6, "threshold_used": 0.6,
            "top_contributors": ["superheat_mean_6h", "humidity_mean"] if d in last else None,
            "scored_at": at(70), "sensor_completeness": 1.0,
        }
        for d in DEVICES for w in range(12)
    ]  # fmt: skip
    return MODEL_SCORES.conform(pl.DataFrame(rows, infer_schema_length=None))


@pytest.fixture
def plant(lake: Lake) -> Lake:
    """Forty devices of which two are silent, two alerts, a day of scores, an account of the hour."""
    lake.table(DEVICE_REGISTRY).replace_all(registry_of(DEVICES, site_name="Harbour"))
    heard = pl.DataFrame({"device_id": DEVICES[2:]}).with_columns(
        hour=pl.lit(HOUR), first_reading=pl.lit(HOUR), last_reading=pl.lit(at(59)), sensors_reported=1
    )
    lake.table(DEVICE_HOURS).append(DEVICE_HOURS.conform(heard))
    append_changes(lake, log_of(URGENT, LEAK, found("dev-03", 30, suppressed=True, suppressed_by="mute:1")))
    lake.table(MODEL_SCORES).append(scores({"dev-02": 0.9, "dev-07": 0.8}))
    counts = {"raw": 2400, "clean": 2390, "duplicate": 7, "quarantined": 3, "flag:SENSOR_GAP": 55}
    write_accounts(lake, "clean_sensor_readings", HOUR, counts)
    write_quality_hour(lake, HOUR)
    return lake


def pictures(text: str) -> list[bytes]:
    return [base64.b64decode(one) for one in IMAGE.findall(text)]


def test_an_hours_report(plant: Lake, tmp_path: Path) -> None:
    beat(plant, NOW)
    report = fleet_report(plant, Registry(f"sqlite:///{tmp_path}/none.db"), HOUR, NOW)
    assert (report.fleet.active, report.fleet.reporting, report.fleet.silent) == (40, 38, DEVICES[:2])
    assert report.top["device_id"].to_list()[:2] == ["dev-02", "dev-07"]
    assert report.top["severity"].to_list()[:2] == ["HIGH", None]
    assert report.series["dev-02"]["score"].to_list() == [0.1] * 8 + [0.9] * 4
    assert report.expected["left"].to_list() == pytest.approx([29 + 20 / 60])
    text = compose(report)
    for part in ("1 CRITICAL and 1 HIGH", "next failure is expected of dev-02 in 29 h", "38 reported (95.0 %)",
                 "Silent: dev-00, dev-01", "New this hour: 1 CRITICAL, 1 HIGH (and 1 suppressed)", "flare \\| joints",
                 "Harbour (site-1)", "2,390 clean, 7 duplicates, 3 of unknown devices", "55 sensor gap",
                 "no models yet", "isolation_forest", "## Stream"):  # fmt: skip
        assert part in text, part
    assert len(pictures(text)) == 3
    assert all(one.startswith(b"\x89PNG") for one in pictures(text))
    assert len(text) < 150_000


def test_what_happened_later_does_not_change_a_past_hours_report(plant: Lake) -> None:
    before = compose(fleet_report(plant, None, HOUR, NOW + timedelta(days=3)))
    append_changes(plant, operator_action(URGENT["alert_id"], "resolved", "ann", NOW))
    append_changes(plant, log_of(raised("dev-09", 70)))
    assert compose(fleet_report(plant, None, HOUR, NOW + timedelta(days=3))) == before
    after = fleet_report(plant, None, HOUR + timedelta(hours=1), NOW + timedelta(days=3))
    assert (after.closed.height, after.stands.height) == (1, 2)


def test_the_running_hour_as_far_as_it_has_come(plant: Lake) -> None:
    report = fleet_report(plant, None, HOUR, at(15))
    assert (report.as_of, report.stands.height) == (at(15), 1)
    assert "still running" in compose(report)
    assert "still running" not in compose(fleet_report(plant, None, HOUR, NOW))


def test_an_empty_lake_has_a_report_and_a_digest(lake: Lake, tmp_path: Path) -> None:
    text = compose(fleet_report(lake, Registry(f"sqlite:///{tmp_path}/none.db"), HOUR, NOW))
    for part in ("Nothing urgent stands", "no device registry", "No window of this hour", "no models yet"):
        assert part in text
    assert pictures(text) == []
    assert not (tmp_path / "none.db").exists()
    digest = compose_digest(daily_digest(lake, HOUR.replace(hour=0), NOW))
    assert "No device failed" in digest
    assert "No alert was made" in digest


def test_dead_letters_are_counted_by_reason(plant: Lake) -> None:
    reasons = [*(f"not JSON at byte {n}" for n in range(3)), "no device"]
    letter = {"timestamp_ingested": HOUR, "source_partition": "file", "source_offset": 0, "payload": "x",
              "payload_encoding": "utf-8", "stage": "landing"}  # fmt: skip
    plant.table(DEAD_LETTER).append(DEAD_LETTER.conform(pl.DataFrame([letter | {"reason": r} for r in reasons])))
    quality = fleet_report(plant, None, HOUR, NOW).quality
    assert dict(quality.dead) == {"not JSON": 3, "no device": 1}


def test_a_days_digest(plant: Lake) -> None:
    append_changes(plant, operator_action(LEAK["alert_id"], "false_positive", "ann", at(50)))
    append_changes(plant, log_of(found("dev-01", -300, failure_mode="power_loss")))
    digest = daily_digest(plant, HOUR.replace(hour=0), HOUR + timedelta(days=2))
    text = compose_digest(digest)
    for part in ("1 device failed, 1 of them with a warning", "found early, 5 h before (MEDIUM)", "called false",
                 "1 of those closed were false (100 %)", "dev-02", "statistical_baseline"):  # fmt: skip
        assert part in text, part
    assert len(pictures(text)) == 1
    assert "the running day" not in text
    nothing = compose_digest(daily_digest(plant, HOUR.replace(hour=0) + timedelta(days=5), HOUR + timedelta(days=9)))
    assert "No device failed**; 0 new alerts" in nothing


def test_files_lie_beside_each_other_and_are_never_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hour, day = hour_file(tmp_path / "reports", HOUR), day_file(tmp_path / "reports", HOUR)
    assert (hour.name, day.name) == ("2026-03-02-10.md", "2026-03-02.md")
    write_report(hour, "old")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match="No space"):
            write_report(hour, "new")
    assert [f.name for f in hour.parent.iterdir()] == [hour.name]
    assert hour.read_text() == "old"


def test_tables_hold_what_people_write() -> None:
    table = markdown_table(pl.DataFrame({"a_b": ["x|y\nz", None], "n": [1234, None], "f": [0.123456, 2.0]}))
    assert table.splitlines() == [
        "| a b | n | f |", "| --- | ---: | ---: |", "| x\\|y z | 1,234 | 0.1235 |", "|  |  | 2 |",
    ]  # fmt: skip
