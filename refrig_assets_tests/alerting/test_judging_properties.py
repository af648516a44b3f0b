"""Whatever windows, operators and the stream bring in whatever order: what must hold of the board."""

import random
from datetime import timedelta
from typing import Any

import polars as pl
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from refrig_assets.alerting.changes import operator_action
from refrig_assets.alerting.fold import fold
from refrig_assets.alerting.known import MUTE
from refrig_assets.alerting.mutes import mute_row
from refrig_assets.alerting.signs import first_sensor, mode_or_rules
from refrig_assets_tests.alerting.makers import alert, created_alerts
from refrig_assets_tests.alerting.night import Night, window
from refrig_assets_tests.builders import HOUR

DEVICES = ("dev-1", "dev-2")
HOURS = 7
CONTRIBUTORS = ("superheat_mean", "superheat_std", "vibration_compressor_mean", "current_compressor_mean")
MODES = ("unknown", "refrigerant_leak", "bearing_wear", "compressor_overload", "sensor_fault")
severity = st.sampled_from([None, None, None, "LOW", "MEDIUM", "HIGH", "CRITICAL"])
step = st.tuples(st.integers(1, 8), severity, st.sampled_from(CONTRIBUTORS))
operator = st.tuples(
    st.integers(0, HOURS - 1), st.integers(0, 9), st.sampled_from(["resolved", "false_positive", "started"])
)


@st.composite
def nights(draw: st.DrawFn) -> tuple[Night, list[tuple[int, int, str]], random.Random]:
    windows = []
    for device in DEVICES:
        at = 15
        for count, how, contributor in draw(st.lists(step, min_size=1, max_size=8)):
            for _ in range(count):
                if at <= 60 * HOURS:
                    windows.append(window(at, how, device, contributor=contributor))
                at += 15
    diagnoses = {d: (draw(st.sampled_from(MODES)), 0.8) for d in DEVICES}
    mutes = []
    if draw(st.booleans()):
        start = HOUR + timedelta(minutes=draw(st.integers(0, 300)))
        mutes.append(
            mute_row(
                mute_id="m", device_id="dev-1", starts_at=start, ends_at=start + timedelta(hours=1),
                reason="works", made_by="ann", made_at=start,
            )
        )  # fmt: skip
    return Night(windows, diagnoses, mutes), draw(st.lists(operator, max_size=4)), draw(st.randoms())


def one_each(night: Night) -> None:
    """Never two active alerts for one device and failure mode."""
    standing = night.told.filter(pl.col("status").is_in(["OPEN", "ACKNOWLEDGED", "IN_PROGRESS"]))
    known = standing.with_columns(mode=mode_or_rules(), sensor=first_sensor())
    by_mode = known.drop_nulls("mode")
    assert by_mode.select("device_id", "mode").is_duplicated().sum() == 0, by_mode
    unknown = known.filter(pl.col("mode").is_null())
    assert unknown.select("device_id", "sensor").is_duplicated().sum() == 0, unknown


@settings(max_examples=60, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(nights())
def test_what_must_hold_of_any_night(drawn: tuple[Night, list[tuple[int, int, str]], random.Random]) -> None:
    night, operators, dice = drawn
    closed: dict[str, str] = {}
    for hour in range(HOURS):
        if dice.random() < 0.3:
            night.add(streamed(dice.choice(DEVICES), 60 * hour + dice.randrange(0, 30)))
        night.judge(hour)
        again = night.judge(hour, now=HOUR + timedelta(hours=hour + 1, minutes=40))
        assert again.is_empty(), again.select("change", "alert_id", "severity", "suppressed_by", "note").to_dicts()
        one_each(night)
        for turn, (when, which, what) in enumerate(operators):
            if when == hour and night.told.height:
                row = night.told.row(which % night.told.height, named=True)
                if row["status"] not in ("RESOLVED", "FALSE_POSITIVE"):
                    moment = HOUR + timedelta(hours=hour + 1, minutes=20, seconds=turn)
                    night.add(operator_action(row["alert_id"], what, "ann", moment))
                    if what != "started":
                        closed[row["alert_id"]] = {"resolved": "RESOLVED"}.get(what, "FALSE_POSITIVE")
        if dice.random() < 0.3:  # an hour is scored again, and made again, later
            again_for = dice.randrange(0, hour + 1)
            if dice.random() < 0.5:
                scored_again(night, again_for, dice)
            night.judge(again_for, now=HOUR + timedelta(hours=hour + 1, minutes=50))
            one_each(night)
            if not closed:  # a closing answers for some hours
                every_failure_has_its_alert(night, again_for)
    board = night.board
    for alert_id, status in closed.items():
        assert board.filter(pl.col("alert_id") == alert_id)["status"].item() == status
    no_new_failure_is_suppressed(night.log)
    assert fold(night.log.sample(fraction=1, shuffle=True, seed=dice.randrange(1000))).equals(board)


def scored_again(night: Night, hour: int, dice: random.Random) -> None:
    """Late rows came: a device's hour shows something else, and may be called something else."""
    device, contributor = dice.choice(DEVICES), dice.choice(CONTRIBUTORS)
    how = dice.choice([None, "LOW", "MEDIUM", "CRITICAL"])
    others = [w for w in night.windows if w["device_id"] != device or not _within(w, hour)]
    night.windows = others + [
        window(60 * hour + at, how, device, contributor=contributor) for at in range(15, 61, 15)
    ]  # fmt: skip
    night.diagnoses = {**night.diagnoses, device: (dice.choice(MODES), 0.8)}


def _within(row: dict[str, Any], hour: int) -> bool:
    start = HOUR + timedelta(hours=hour)
    return bool(start < row["window_end"] <= start + timedelta(hours=1))


def every_failure_has_its_alert(night: Night, hour: int) -> None:
    """What an hour calls CRITICAL has an alert as bad that speaks of it, told, muted or closed; none is lost."""
    ranked = night.board.with_columns(sensor=first_sensor(), mode=mode_or_rules())
    for row in night.windows:
        if row["severity"] != "CRITICAL" or not _within(row, hour):
            continue
        spoken = ranked.filter(
            (pl.col("device_id") == row["device_id"])
            & (pl.col("first_detected_at") <= row["window_end"])
            & (pl.col("last_seen_at").fill_null(pl.col("alert_created_at")) >= row["window_end"])
        )
        assert spoken.height, (row["device_id"], row["window_end"])


def streamed(device: str, minutes: int) -> pl.DataFrame:
    moment = HOUR + timedelta(minutes=minutes)
    told = alert(device, moment, top_contributors=["current_compressor_max"], failure_mode="compressor_overload")
    return created_alerts(told)


def no_new_failure_is_suppressed(log: pl.DataFrame) -> None:
    """What is suppressed without a mute shows what the alert showed, now or before, that it goes on under."""
    shown = log.with_columns(mode=mode_or_rules(), sensor=first_sensor())
    ever = shown.group_by("alert_id").agg(pl.col("mode", "sensor").drop_nulls().unique())
    board = fold(log)
    known = board.select("alert_id", "device_id", "source", "suppressed", "suppressed_by").join(ever, on="alert_id")
    under = known.filter(pl.col("suppressed") & ~pl.col("suppressed_by").str.starts_with(MUTE))
    pairs = under.join(known, left_on="suppressed_by", right_on="alert_id", suffix="_of")
    assert pairs.height == under.height
    same = pl.any_horizontal(
        pl.col(what).list.set_intersection(f"{what}_of").list.len() > 0 for what in ("mode", "sensor")
    )
    nothing_known = (pl.col("mode").list.len() == 0) & (pl.col("source_of") == "streaming")
    wrong = pairs.filter(~(same | nothing_known))
    assert wrong.is_empty(), wrong.select("device_id", "mode", "mode_of", "sensor", "sensor_of")
