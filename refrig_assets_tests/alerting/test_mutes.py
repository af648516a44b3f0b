"""Mutes: which moments they cover, held against the plain reading of what a mute is."""

from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refrig_assets.alerting.mutes import PERIODS, MuteError, active, check_mute, mute_id, mute_row, muted
from refrig_assets.contracts import ALERT_MUTES
from refrig_assets.contracts.base import STR, TS
from refrig_assets_tests.builders import HOUR, at

DEVICES, SITES = ("dev-1", "dev-2"), ("site-1", "site-2")
DAY = 1440


def mute(name: str = "m", start: float = 0, minutes: float = 60, **changes: Any) -> dict[str, Any]:
    """A mute of dev-1 for an hour from the hour on, unless said otherwise."""
    usual = {"device_id": "dev-1", "reason": f"because of {name}", "made_by": "ann", "made_at": at(start)}
    return mute_row(mute_id=name, starts_at=at(start), ends_at=at(start + minutes), **usual | changes)


def ended(one: dict[str, Any], minute: float) -> dict[str, Any]:
    return one | {"cancelled": True, "made_at": at(minute), "made_by": "bob"}


def log_of(*rows: dict[str, Any]) -> pl.DataFrame:
    return ALERT_MUTES.validate(pl.DataFrame(list(rows), schema=ALERT_MUTES.dtypes, orient="row"))


def asked(*moments: datetime, device: str | None = "dev-1", site: str | None = "site-1") -> pl.DataFrame:
    rows = [(device, site, moment) for moment in moments]
    return pl.DataFrame(rows, schema={"device_id": STR, "site_id": STR, "moment": TS}, orient="row")


def told(log: pl.DataFrame, *minutes: float, **whom: Any) -> list[str | None]:
    return muted(asked(*map(at, minutes), **whom), log)["mute_id"].to_list()


def test_a_mute_covers_from_its_start_to_before_its_end_in_the_order_asked() -> None:
    log = log_of(mute())
    assert told(log, 60, 59.9, 0, -0.1) == [None, "m", "m", None]
    assert told(log, 5, device="dev-2") == [None]
    found = muted(asked(at(5)).with_columns(more=pl.lit(7)), log)
    assert found.columns == ["device_id", "site_id", "moment", "more", "mute_id", "mute_reason"]
    assert found["mute_reason"].item() == "because of m"


def test_a_site_is_muted_with_all_its_devices_and_a_devices_own_mute_comes_first() -> None:
    site = mute("site", device_id=None, site_id="site-1", minutes=600)
    assert told(log_of(site), 5, device="any") == ["site"]
    assert told(log_of(site), 5, site="site-2") == told(log_of(site), 5, site=None) == [None]
    assert told(log_of(site, mute("own")), 5, 70) == ["own", "site"]


def test_recurring_mutes_come_again_at_the_same_utc_time_until_they_end() -> None:
    daily = log_of(mute(repeats="daily", until=at(3 * DAY + 30)))
    assert told(daily, -DAY + 5, 5, DAY + 59, DAY + 60, 3 * DAY + 29, 3 * DAY + 31, 4 * DAY + 5) == [
        None, "m", "m", None, "m", None, None,
    ]  # fmt: skip
    weekly = log_of(mute(repeats="weekly", start=0, minutes=3 * DAY))
    assert told(weekly, 5, 3 * DAY + 1, 7 * DAY, 10 * DAY - 1, 10 * DAY, 70 * DAY + 1) == [
        "m", None, "m", "m", None, "m",
    ]  # fmt: skip


def test_a_cancelled_mute_covers_what_came_before_it_was_cancelled() -> None:
    log = log_of(mute(minutes=600), ended(mute(minutes=600), 30))
    assert told(log, 29, 30, 31) == ["m", None, None]
    assert told(log_of(mute(start=60), ended(mute(start=60), 0)), 70) == [None]
    daily = mute(repeats="daily")
    assert told(log_of(daily, ended(daily, DAY + 10)), DAY + 9, DAY + 11, 2 * DAY + 5) == ["m", None, None]


def test_which_mutes_are_on_or_to_come() -> None:
    over, later, daily = mute("over", start=-120), mute("later", start=30), mute("daily", -90 * DAY, repeats="daily")
    gone = mute("gone", minutes=600)
    ends = mute("ends", -90 * DAY, repeats="weekly", until=at(-1))
    log = log_of(over, later, daily, gone, ended(gone, -5), ends)
    assert active(log, HOUR)["mute_id"].sort().to_list() == ["daily", "later"]


def test_nothing_asked_or_nothing_muted() -> None:
    assert told(ALERT_MUTES.empty(), 5) == [None]
    assert muted(asked(), log_of(mute())).is_empty()
    assert told(log_of(mute()), 5, device=None) == [None]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"site_id": "site-1"}, "exactly one"),
        ({"device_id": None}, "exactly one"),
        ({"ends_at": HOUR}, "before it begins"),
        ({"reason": " "}, "needs a reason"),
        ({"repeats": "monthly"}, "monthly"),
        ({"until": at(DAY)}, "only a mute that repeats"),
        ({"repeats": "daily", "ends_at": at(DAY)}, "shorter than 24 hours"),
        ({"repeats": "weekly", "until": HOUR}, "before its beginning"),
    ],
)
def test_senseless_mutes_are_refused(changes: dict[str, Any], says: str) -> None:
    check_mute(mute())
    with pytest.raises(MuteError, match=says):
        check_mute(mute() | changes)


def test_the_identity_is_of_what_is_said_not_of_when() -> None:
    one = mute()
    assert mute_id(one, 0) == mute_id(one | {"made_at": at(99), "mute_id": "x"}, 0)
    assert len({mute_id(one, 0), mute_id(one, 1), mute_id(one | {"reason": "other"}, 0)}) == 3


minutes = st.integers(-2 * DAY, 9 * DAY)
some_mutes = st.lists(
    st.fixed_dictionaries(
        {
            "start": st.integers(-10 * DAY, DAY),
            "minutes": st.integers(1, DAY - 1),
            "repeats": st.sampled_from(("once", "daily", "weekly")),
            "until": st.none() | st.integers(DAY, 4 * DAY),
            "cancelled": st.none() | minutes,
            "target": st.sampled_from((*DEVICES, *SITES)),
        }
    ),
    max_size=6,
)


def plainly(rows: list[dict[str, Any]], device: str, site: str, moment: datetime) -> bool:
    """Whether the moment is muted, as a person would work it out."""
    gone = {r["mute_id"]: r["made_at"] for r in rows if r["cancelled"]}
    for row in rows:
        if row["cancelled"] or (row["device_id"] != device and row["site_id"] != site):
            continue
        if moment >= gone.get(row["mute_id"], moment + timedelta(1)) or moment < row["starts_at"]:
            continue
        if row["until"] is not None and moment >= row["until"]:
            continue
        since = moment - row["starts_at"]
        if row["repeats"] != "once":
            since %= PERIODS[row["repeats"]]
        if since < row["ends_at"] - row["starts_at"]:
            return True
    return False


@settings(max_examples=60, deadline=None)
@given(some_mutes, st.lists(st.tuples(st.sampled_from(DEVICES), st.sampled_from(SITES), minutes), max_size=12))
def test_covered_is_what_a_plain_reading_says(
    said: list[dict[str, Any]], questions: list[tuple[str, str, int]]
) -> None:
    rows = []
    for number, one in enumerate(said):
        of_device = one["target"] in DEVICES
        until = at(one["until"]) if one["until"] and one["repeats"] != "once" else None
        whom = {"device_id": one["target"] if of_device else None, "site_id": None if of_device else one["target"]}
        row = mute(str(number), one["start"], one["minutes"], repeats=one["repeats"], until=until, **whom)
        rows += [row] if one["cancelled"] is None else [row, ended(row, one["cancelled"])]
    frame = pl.concat([asked(), *(asked(at(minute), device=d, site=s) for d, s, minute in questions)])
    found = muted(frame, log_of(*rows))
    assert found.select(frame.columns).equals(frame)
    assert found["mute_id"].is_not_null().to_list() == [plainly(rows, d, s, at(m)) for d, s, m in questions]
    for name, reason in found.select("mute_id", "mute_reason").drop_nulls().iter_rows():
        assert reason == f"because of {name}"
