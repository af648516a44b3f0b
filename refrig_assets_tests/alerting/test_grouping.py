"""Which alerts of a site are one incident: a table of cases, and what holds of any alerts."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refrig_assets.alerting.grouping import LEAST, WITHIN, grouped, many_of
from refrig_assets.contracts import ALERT_BOARD
from refrig_assets_tests.alerting.makers_board import board_of, found
from refrig_assets_tests.builders import HOUR, at

SIZES = {"site-1": 20, "site-2": 100}
SIX = [found(f"dev-{n}", 5 * n) for n in range(6)]

CASES: list[tuple[str, list[dict[str, Any]], int]] = [
    ("six devices within the hour", SIX, 6),
    ("five are not many", SIX[:5], 0),
    ("six alerts of five devices are not", [*SIX[:5], found("dev-0", 7)], 0),
    ("six of a hundred are not a fifth", [a | {"site_id": "site-2"} for a in SIX], 0),
    ("twenty-one of a hundred are", [found(f"d{n}", n, site_id="site-2") for n in range(21)], 21),
    ("of a site that nobody knows, five are not many", [a | {"site_id": "site-9"} for a in SIX], 6),
    ("over more than an hour they are not", [found(f"dev-{n}", 13 * n) for n in range(6)], 0),
    ("an hour is still within", [found(f"dev-{n}", 12 * n) for n in range(6)], 6),
    ("of two sites they are not", [*SIX[:3], *(a | {"site_id": "site-2"} for a in SIX[3:])], 0),
    ("of two failures they are not", [*SIX[:3], *(a | {"failure_mode": "bearing_wear"} for a in SIX[3:])], 0),
    ("the same sensor where the failure is unknown",
     [*({**a, "failure_mode": "unknown", "top_contributors": ["superheat_std"]} for a in SIX[:3]),
      *({**a, "failure_mode": "unknown", "top_contributors": ["superheat_mean_6h"]} for a in SIX[3:])], 6),
    ("of nothing known they are not", [a | {"failure_mode": None, "top_contributors": None} for a in SIX], 0),
    ("what follows within the hour is part of it", [*SIX, found("dev-7", 80)], 7),
    ("what follows later is not", [*SIX, found("dev-7", 86)], 6),
    ("what was before is not", [found("dev-7", -41), *SIX], 6),
]  # fmt: skip


def asked(alerts: Sequence[dict[str, Any]]) -> pl.DataFrame:
    return ALERT_BOARD.conform(board_of(*alerts))


@pytest.mark.parametrize(("alerts", "members"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_who_is_part_of_an_incident(alerts: list[dict[str, Any]], members: int) -> None:
    answer = grouped(asked(alerts), SIZES)
    assert answer.height == members
    assert answer["incident_id"].n_unique() == min(members, 1)


def test_an_incident_takes_in_for_four_hours_at_most() -> None:
    trickle = [found(f"more-{n}", 25 + 50 * n) for n in range(1, 8)]
    answer = grouped(asked([*SIX, *trickle]), SIZES)
    joined = {a["alert_id"] for a in trickle} & set(answer["alert_id"])
    assert len(joined) == 4
    assert max(a["first_detected_at"] for a in trickle if a["alert_id"] in joined) <= HOUR + timedelta(hours=4)


def test_what_has_an_incident_keeps_it_and_draws_later_ones() -> None:
    old = [found("dev-0", 0, incident_id="mine"), found("dev-1", 30, incident_id="mine")]
    later, other = found("dev-2", 85), found("dev-3", 20, failure_mode="bearing_wear")
    early = found("dev-4", -10)
    answer = dict(grouped(asked([*old, later, other, early]), SIZES).iter_rows())
    assert answer == {a["alert_id"]: "mine" for a in (*old, later)}


def test_two_of_one_sign_and_site_are_told_apart() -> None:
    second = [found(f"dev-{n}", 300 + 5 * n) for n in range(6)]
    answer = grouped(asked([*SIX, *second]), SIZES)
    assert answer.height == 12
    assert answer["incident_id"].n_unique() == 2


@pytest.mark.parametrize(("devices", "many"), [(None, 5), (0, 5), (25, 5), (30, 6), (100, 20), (104, 20)])
def test_many_of(devices: int | None, many: int) -> None:
    assert many_of(devices) == many


_ALERTS = st.lists(
    st.tuples(st.integers(0, 12), st.integers(0, 600), st.sampled_from(["refrigerant_leak", "bearing_wear"])),
    max_size=45,
    unique_by=lambda one: one[:2],
)


@settings(max_examples=60, deadline=None)
@given(_ALERTS, st.randoms())
def test_the_same_alerts_give_the_same_incidents(ones: list[tuple[int, int, str]], chance: Any) -> None:
    alerts = asked([found(f"dev-{d}", m, failure_mode=f) for d, m, f in ones]) if ones else ALERT_BOARD.empty()
    answer = grouped(alerts, SIZES)
    assert answer["alert_id"].is_unique().all()
    assert grouped(alerts.sample(fraction=1, shuffle=True, seed=chance.randint(0, 9)), SIZES).equals(answer)
    filled = alerts.drop("incident_id").join(answer, on="alert_id", how="left", maintain_order="left")
    assert grouped(ALERT_BOARD.conform(filled), SIZES).equals(answer)
    for members in filled.drop_nulls("incident_id").partition_by("incident_id"):
        first = members["first_detected_at"].min()
        begun = members.filter(pl.col("first_detected_at") <= first + WITHIN)
        assert begun["device_id"].n_unique() > LEAST
        assert members["failure_mode"].n_unique() == 1


@settings(max_examples=40, deadline=None)
@given(_ALERTS)
def test_hour_by_hour_gives_what_all_at_once_gives(ones: list[tuple[int, int, str]]) -> None:
    alerts = asked([found(f"dev-{d}", m, failure_mode=f) for d, m, f in ones]) if ones else ALERT_BOARD.empty()
    known: dict[str, str] = {}
    for hour in range(1, 12):
        so_far = alerts.filter(pl.col("first_detected_at") < at(60 * hour))
        had = pl.col("alert_id").replace_strict(known, default=None, return_dtype=pl.String)
        known |= dict(grouped(so_far.with_columns(incident_id=had), SIZES).iter_rows())
    at_once = dict(grouped(alerts, SIZES).iter_rows())
    assert known == at_once
