"""Whatever windows, operators and the stream bring in whatever order: what must hold of the board."""

import random
from datetime import timedelta

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
        if dice.random() < 0.3:  # an hour is made again, later
            night.judge(dice.randrange(0, hour + 1), now=HOUR + timedelta(hours=hour + 1, minutes=50))
            one_each(night)
    board = night.board
    for alert_id, status in closed.items():
        assert board.filter(pl.col("alert_id") == alert_id)["status"].item() == status
    no_new_failure_is_suppressed(board)
    assert fold(night.log.sample(fraction=1, shuffle=True, seed=dice.randrange(1000))).equals(board)


def streamed(device: str, minutes: int) -> pl.DataFrame:
    moment = HOUR + timedelta(minutes=minutes)
    told = alert(device, moment, top_contributors=["current_compressor_max"], failure_mode="compressor_overload")
    return created_alerts(told)


def no_new_failure_is_suppressed(board: pl.DataFrame) -> None:
    """What is suppressed without a mute shows what the alert shows that it goes on under."""
    known = board.with_columns(mode=mode_or_rules(), sensor=first_sensor())
    under = known.filter(pl.col("suppressed") & ~pl.col("suppressed_by").str.starts_with(MUTE))
    pairs = under.join(known, left_on="suppressed_by", right_on="alert_id", suffix="_of")
    assert pairs.height == under.height
    same = (pl.col("mode") == pl.col("mode_of")) | (pl.col("sensor") == pl.col("sensor_of"))
    nothing_known = pl.col("mode").is_null() & (pl.col("source_of") == "streaming")
    wrong = pairs.filter(~(same | nothing_known).fill_null(value=False))
    assert wrong.is_empty(), wrong.select("device_id", "mode", "mode_of", "sensor", "sensor_of")
