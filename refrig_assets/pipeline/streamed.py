"""Accounts of what the stream landed: it writes rows beside the assets, and the hours it wrote to are counted again."""

import json
from datetime import datetime

from refrig_assets.contracts.bookkeeping import HOUR_ACCOUNTS
from refrig_assets.contracts.readings import RAW_READINGS
from refrig_assets.lake import Lake, MarkTakenError, commits_since
from refrig_assets.pipeline.landing import count_raw
from refrig_assets.pipeline.stream_reports import RAW_KEY

ACCOUNTED = "streamed"
"""mark of hour_accounts: the version of raw up to which the stream's commits are in the accounts"""


def account_streamed(lake: Lake) -> list[datetime]:
    """Count again the hours that stream commits touched since the last time. Killed half-way, it does so anew."""
    accounts = lake.table(HOUR_ACCOUNTS)
    before = accounts.transaction_version(ACCOUNTED) or 0
    raw = lake.table(RAW_READINGS)
    hours: set[datetime] = set()
    upto = before
    while upto < raw.version:
        notes = commits_since(raw, upto, [RAW_KEY])
        for note in notes.commits:
            hours |= {datetime.fromisoformat(h) for h in json.loads(note.metadata[RAW_KEY])["rows_by_hour"]}
        upto = notes.upto
    count_raw(lake, hours)
    if hours:
        try:
            accounts.append(HOUR_ACCOUNTS.empty(), transactions=[(ACCOUNTED, upto)])
        except MarkTakenError:  # somebody counted as much or more meanwhile
            return sorted(hours)
    return sorted(hours)
