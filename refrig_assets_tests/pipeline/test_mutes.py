"""Mutes in the lake: each once whoever says it and however often; names that are not there are told."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from refrig_assets.alerting.mutes import MuteError, standing
from refrig_assets.alerting.naming import UnknownNameError
from refrig_assets.lake import Lake
from refrig_assets.pipeline.mutes import Muting, add_mute, cancel_mute, read_mutes
from refrig_assets.pipeline.registry import write_registry
from refrig_assets_tests.builders import HOUR, at, registry_of

WRITERS = 6


def say(lake: Lake, minute: float = 0, **changes: Any) -> Muting:
    usual: dict[str, Any] = {"device_id": "dev-1", "reason": "defrost heater", "made_by": "ann", "starts_at": HOUR}
    return add_mute(lake, **usual | {"ends_at": at(60), "made_at": at(minute)} | changes)


def test_a_mute_said_twice_is_one_and_cancelled_it_may_be_said_again(lake: Lake) -> None:
    first, again = say(lake), say(lake, 7)
    assert (first.written, again.written) == (True, False)
    assert first.mute_id == again.mute_id
    assert cancel_mute(lake, first.mute_id[:8], by="bob", at=at(10)).written
    assert not cancel_mute(lake, first.mute_id, by="cid", at=at(11)).written
    anew = say(lake, 20)
    assert anew.written
    assert anew.mute_id != first.mute_id
    told = standing(read_mutes(lake)).select("mute_id", "made_by", "cancelled_at", "cancelled_by").rows()
    assert told == [(first.mute_id, "ann", at(10), "bob"), (anew.mute_id, "ann", None, None)]


def test_writers_at_once_make_each_mute_once(lake: Lake) -> None:
    def one(number: int) -> bool:
        mine = say(lake, number, device_id=f"own-{number}").written
        cancel_mute(lake, say(lake, number, site_id="site-1", device_id=None).mute_id, by="bob", at=at(5 + number))
        return mine

    with ThreadPoolExecutor(WRITERS) as pool:
        assert all(pool.map(one, range(WRITERS)))
    log = read_mutes(lake)
    assert log.select("mute_id", "cancelled").is_unique().all()
    assert log.filter(log["device_id"].is_not_null()).height == WRITERS
    # Each of the others was cancelled by somebody before another said it again.
    shared = standing(log.filter(log["site_id"].is_not_null()))
    assert shared["cancelled_at"].null_count() == 0


def test_what_is_not_there_is_told(lake: Lake) -> None:
    with pytest.raises(UnknownNameError, match="there is no mute 'abcdefg'"):
        cancel_mute(lake, "abcdefg", by="ann", at=HOUR)
    with pytest.raises(MuteError, match="before it begins"):
        say(lake, ends_at=HOUR)
    write_registry(lake, registry_of(["dev-1", "dev-12"]))
    assert say(lake).written
    with pytest.raises(UnknownNameError, match="there is no device 'dev-13'; the closest are dev-1, dev-12"):
        say(lake, device_id="dev-13")
    with pytest.raises(UnknownNameError, match="there is no site 'site-9'"):
        say(lake, device_id=None, site_id="site-9")
    assert read_mutes(lake).height == 1
