"""Randomness: distributed as promised, and a function of its arguments alone."""

import numpy as np

from refrig_assets.simulator import ids, noise

DEVICES = np.arange(400, dtype=np.int64)


def test_uniform_and_normal_have_their_moments() -> None:
    minutes = np.arange(500, dtype=np.int64)
    u = noise.uniform(1, "x", DEVICES[:, None], minutes)
    z = noise.normal(1, "y", DEVICES[:, None], minutes)
    assert abs(u.mean() - 0.5) < 0.005
    assert abs(u.std() - 12**-0.5) < 0.005
    assert abs(z.mean()) < 0.01
    assert abs(z.std() - 1) < 0.01
    # Neither neighbours in time nor neighbouring devices nor purposes are correlated.
    other = noise.normal(1, "z", DEVICES[:, None], minutes)
    assert abs(np.corrcoef(z[:, 1:].ravel(), z[:, :-1].ravel())[0, 1]) < 0.01
    assert abs(np.corrcoef(z[1:].ravel(), z[:-1].ravel())[0, 1]) < 0.01
    assert abs(np.corrcoef(z.ravel(), other.ravel())[0, 1]) < 0.01


def test_a_value_does_not_depend_on_what_else_is_asked() -> None:
    whole = noise.normal(3, "x", DEVICES[:, None], np.arange(60, dtype=np.int64))
    part = noise.normal(3, "x", DEVICES[10:12, None], np.arange(30, 40, dtype=np.int64))
    assert np.array_equal(whole[10:12, 30:40], part)


def test_a_walk_is_continuous_and_wanders_over_days() -> None:
    hours = np.arange(24 * 60, dtype=np.int64)[None, :]
    walk = noise.walk(5, "w", DEVICES[:, None], hours)
    assert abs(walk.std() - 1) < 0.1
    assert np.abs(np.diff(walk, axis=1)).max() < 0.4
    a_day, a_month = walk[:, 24:] - walk[:, :-24], walk[:, 720:] - walk[:, :-720]
    assert 0.4 < a_day.std() < 1.1 < a_month.std()


def test_event_ids_are_uuids_and_unique() -> None:
    device, minute = np.repeat(DEVICES, 250), np.tile(np.arange(250, dtype=np.int64), 400)
    found = ids.event_ids(1, "event", device, minute)
    assert found.n_unique() == len(device)
    assert found.str.contains("^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$").all()
    assert ids.event_ids(1, "event", device[5:6], minute[5:6])[0] == found[5]
