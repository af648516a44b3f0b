"""Rows that the stream lands beside the assets make the hours they belong to stale, and only those."""

import json
from datetime import datetime

from refrig_assets.contracts import RAW_READINGS
from refrig_assets.lake import Lake
from refrig_assets.pipeline.clean import clean_hour
from refrig_assets.pipeline.pending import stale
from refrig_assets.pipeline.stream_reports import RAW_KEY
from refrig_assets.pipeline.streamed import account_streamed
from refrig_assets_tests.builders import HOUR, NOW, ONE_HOUR
from refrig_assets_tests.readings import steady_rows, stocked


def stream_commit(lake: Lake, hours: list[datetime], every_min: int) -> None:
    rows = steady_rows(["dev-a", "dev-b"], hours, every_min)
    counts = {
        h.isoformat(): c for h, c in rows.group_by(hour=rows["timestamp_ingested"].dt.truncate("1h")).len().rows()
    }
    lake.table(RAW_READINGS).append(rows, metadata={RAW_KEY: json.dumps({"partitions": {}, "rows_by_hour": counts})})


def test_hours_the_stream_wrote_to_are_stale_until_made_again(lake: Lake) -> None:
    stocked(lake)
    stream_commit(lake, [HOUR, HOUR + ONE_HOUR], 10)
    assert stale(lake, NOW)[0].hours == {}
    assert account_streamed(lake) == [HOUR, HOUR + ONE_HOUR]
    assert sorted(stale(lake, NOW)[0].hours) == [HOUR, HOUR + ONE_HOUR]
    for hour in (HOUR, HOUR + ONE_HOUR):
        clean_hour(lake, hour)
    assert stale(lake, NOW)[0].hours == {}
    stream_commit(lake, [HOUR], 7)  # hours late, after an outage
    assert account_streamed(lake) == [HOUR]
    assert list(stale(lake, NOW)[0].hours) == [HOUR]
    clean_hour(lake, HOUR)
    assert HOUR not in stale(lake, NOW)[0].hours


def test_what_was_counted_is_not_counted_again(lake: Lake) -> None:
    stocked(lake)
    assert account_streamed(lake) == []
    stream_commit(lake, [HOUR], 10)
    account_streamed(lake)
    assert account_streamed(lake) == []
