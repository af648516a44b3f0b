"""What is known of windows: what labels mean, who is believed, what is left out around failures and repairs."""

from datetime import datetime, timedelta

import polars as pl
import pytest

from refrig_assets.contracts import LABEL_EVENTS, MAINTENANCE_EVENTS
from refrig_assets.pipeline.labels import judge_windows
from refrig_assets_tests.pipeline.training_lake import DAY, START

AT = START + 10 * DAY
AS_OF = START + 30 * DAY
QUARTER = timedelta(minutes=15)
NOTHING_DONE = MAINTENANCE_EVENTS.empty()


def said(*rows: dict[str, object]) -> pl.DataFrame:
    usual = {
        "device_id": "a",
        "event_timestamp": AT,
        "label_source": "field_engineer",
        "label_confidence": 0.9,
        "labeled_at": AT + 5 * DAY,
        "alert_id": None,
    }
    schema = {n: LABEL_EVENTS.dtypes[n] for n in ("label_type", *usual)}
    return LABEL_EVENTS.conform(pl.DataFrame([usual | r for r in rows], schema=schema))


def done(at: datetime) -> pl.DataFrame:
    row = {"event_id": "e", "device_id": "a", "event_type": "corrective", "scheduled_date": at, "completed_date": at}
    row |= {"work_description": "", "parts_replaced": []}
    return MAINTENANCE_EVENTS.conform(pl.DataFrame([row], schema={n: MAINTENANCE_EVENTS.dtypes[n] for n in row}))


def judged(labels: pl.DataFrame, maintenance: pl.DataFrame = NOTHING_DONE, **ends: datetime) -> dict[str, object]:
    """What becomes of windows of device a, by the names given to their ends: a label, or [why they are left out]."""
    keys = pl.DataFrame(
        {"device_id": "a", "window_start": [e - QUARTER for e in ends.values()], "window_end": list(ends.values())}
    ).with_columns(pl.col("window_start", "window_end").cast(LABEL_EVENTS.dtypes["labeled_at"]))
    found = judge_windows(keys, labels, maintenance, AS_OF)
    assert found.select(keys.columns).equals(keys)
    rows = found.select("label", "left_out").iter_rows()
    return {name: [out] if out else label for name, (label, out) in zip(ends, rows, strict=True)}


@pytest.mark.parametrize(
    ("kind", "label", "reach"),
    [
        ("failure_confirmed", "pre_failure", 7 * DAY),
        ("anomaly_confirmed", "anomaly_confirmed", DAY),
        ("false_positive", "false_positive", DAY),
        ("normal_operation", "normal", DAY),
    ],
)
def test_each_label_reaches_back_so_far(kind: str, label: str, reach: timedelta) -> None:
    found = judged(said({"label_type": kind}), before=AT - reach, first=AT - reach + QUARTER, last=AT)
    assert found == {"before": None, "first": label, "last": label}


def test_ill_windows_too_near_to_their_label_are_left_out_and_healthy_ones_stay_unlabelled() -> None:
    soon = AT + timedelta(hours=1)
    times = {"early": soon - DAY, "late": soon - DAY + QUARTER}
    ill = judged(said({"label_type": "failure_confirmed", "labeled_at": soon}), **times)
    assert ill == {"early": "pre_failure", "late": ["label_buffer"]}
    well = judged(said({"label_type": "false_positive", "labeled_at": soon}), **times)
    assert well["late"] is None


def test_nobody_knew_yet_or_was_sure() -> None:
    late = said({"label_type": "failure_confirmed", "labeled_at": AS_OF + QUARTER})
    unsure = said({"label_type": "failure_confirmed", "label_confidence": 0.4})
    assert judged(late, at=AT) == judged(unsure, at=AT) == {"at": None}


def test_the_worse_is_believed_unless_the_same_alert_was_judged_again() -> None:
    both = said({"label_type": "false_positive", "labeled_at": AT + 6 * DAY}, {"label_type": "anomaly_confirmed"})
    assert judged(both, at=AT) == {"at": "anomaly_confirmed"}
    assert judged(both.with_columns(alert_id=pl.lit("x")), at=AT) == {"at": "false_positive"}


def test_a_broken_device_is_left_out_until_two_days_after_its_repair() -> None:
    failed = said({"label_type": "failure_confirmed"})
    times = {"hour": AT + timedelta(hours=1), "day_6": AT + 6 * DAY, "day_8": AT + 8 * DAY}
    assert judged(failed, **times) == {"hour": ["broken"], "day_6": ["broken"], "day_8": None}
    repaired = done(AT + 2 * DAY)
    times = {"day_1": AT + DAY, "day_3": AT + 3 * DAY, "day_5": AT + 5 * DAY}
    assert judged(failed, repaired, **times) == {"day_1": ["broken"], "day_3": ["maintenance"], "day_5": None}


def test_planned_maintenance_counts_as_done_when_it_was_to_be() -> None:
    planned = said({"label_type": "planned_maintenance"})
    assert judged(planned, before=AT, soon=AT + DAY, later=AT + 2 * DAY + QUARTER) == {
        "before": None, "soon": ["maintenance"], "later": None,
    }  # fmt: skip


def test_work_that_is_not_done_leaves_nothing_out() -> None:
    open_work = done(AT).with_columns(completed_date=pl.lit(None, dtype=MAINTENANCE_EVENTS.dtypes["completed_date"]))
    assert judged(LABEL_EVENTS.empty(), open_work, soon=AT + DAY) == {"soon": None}
