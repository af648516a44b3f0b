"""One partition followed across restarts: what was kept, what has landed since, and what is read again."""

from pathlib import Path
from threading import Event

import polars as pl
import pytest

from refrig_assets.contracts import RAW_READINGS
from refrig_assets.lake import Lake
from refrig_assets_tests.streaming.harness import Spool, devices, minute_of, stocked
from streaming.counts import Counts
from streaming.following import Followed, Kept
from streaming.lander import Lander
from streaming.transports.spool import SpoolTransport

NAMES = devices(12)


@pytest.fixture
def own_lake(tmp_path: Path) -> Lake:
    return stocked(tmp_path / "lake", NAMES)


class Run:
    """One start of the stream, as far as one partition sees it."""

    def __init__(self, lake: Lake, spool: Path, kept: Kept | None, hold_s: float = 60.0) -> None:
        self.lander = Lander(lake, "spool", 10**9, Counts(), Event())
        self.judged: list[pl.DataFrame] = []
        self.followed = Followed(SpoolTransport(spool), "p0", kept, self.lander, "spool", hold_s)

    def read(self, steps: int = 1, size: int = 1 << 20) -> "Run":
        for _ in range(steps):
            self.followed.step(size, lambda rows, _at: self.judged.append(rows))
        return self

    def keep(self) -> Kept:
        self.lander.flush()
        return self.followed.kept()

    def finish(self) -> "Run":
        self.followed.finish(lambda rows, _at: self.judged.append(rows))
        self.lander.flush()
        return self

    def seen(self) -> set[int]:
        return {n for rows in self.judged for n in rows["_sequence_number"]}


def landed(lake: Lake) -> list[int]:
    return sorted(lake.table(RAW_READINGS).read()["_sequence_number"])


def test_held_messages_that_landed_after_they_were_kept_land_no_second_time(tmp_path: Path, own_lake: Lake) -> None:
    spool = Spool(tmp_path / "spool")
    spool.append(minute_of(NAMES, 1))
    first = Run(own_lake, spool.path, None).read()
    kept = first.keep()
    assert kept.held is not None
    first.finish()  # the rest lands, and then it is killed before it is kept again
    before = landed(own_lake)
    assert len(before) == len(set(before))
    again = Run(own_lake, spool.path, kept).read(3).finish()
    assert landed(own_lake) == before
    assert again.seen() == set(
        kept.held.group_by("device_id", "timestamp_device").agg(pl.col("offset").min())["offset"]
    )


def test_held_messages_that_nobody_kept_are_read_again(tmp_path: Path, own_lake: Lake) -> None:
    spool = Spool(tmp_path / "spool")
    spool.append(minute_of(NAMES, 1))
    Run(own_lake, spool.path, None).read().keep()
    half = landed(own_lake)
    again = Run(own_lake, spool.path, None).read(3).finish()
    whole = landed(own_lake)
    assert set(half) < set(whole)
    assert len(whole) == len(set(whole))
    assert again.seen() == set(whole) - set(half)


@pytest.mark.parametrize("size", [300, 700, 2_000])
def test_between_what_was_kept_and_what_has_landed_messages_are_only_judged(
    tmp_path: Path, own_lake: Lake, size: int
) -> None:
    spool = Spool(tmp_path / "spool")
    for minute in range(4):
        spool.append(minute_of(NAMES, minute))
    first = Run(own_lake, spool.path, None, hold_s=0.0).read(3, size)
    kept = first.keep()
    seen = first.seen()
    first.read(5, size).keep()  # lands more, and is killed
    again = Run(own_lake, spool.path, kept, hold_s=0.0).read(200, 500).finish()
    found = landed(own_lake)
    assert len(found) == len(set(found))
    assert seen | again.seen() == set(found)
    assert seen & again.seen() == set()
