"""Which alerts of a site are one incident: the same sign on many of its devices within the hour. No I/O, no clock."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import takewhile

import polars as pl

from refrig_assets.alerting.changes import alert_id
from refrig_assets.alerting.signs import sign
from refrig_assets.contracts.alerts import SUPPRESSION_WINDOW
from refrig_assets.contracts.base import STR

WITHIN = timedelta(hours=1)
# No longer than the stream's storms: after that the site has to be hit by as many again.
LONGEST = SUPPRESSION_WINDOW
# So many alerts at once a person can still look at one by one; beyond that, more than this share of the site.
LEAST, SHARE = 5, 0.2

GROUPED_SCHEMA = {"alert_id": STR, "incident_id": STR}


@dataclass(frozen=True)
class _One:
    """An alert as grouping sees it."""

    moment: datetime
    device: str
    alert: str
    incident: str | None


def many_of(devices: int | None) -> int:
    """More devices of a site than this are rather one trouble than as many."""
    return int(max(LEAST, SHARE * (devices or 0)))


def grouped(alerts: pl.DataFrame, site_sizes: Mapping[str, int]) -> pl.DataFrame:
    """One row (alert_id, incident_id) for each of the alerts that is part of an incident.

    Give it the alerts that count, of the last hours: not those of other paths or of devices under maintenance. Alerts
    of a site with one sign, on more than `many_of` its devices within an hour, are one incident, and so is what follows
    within an hour of its newest, up to four hours after its first. An alert that has an incident keeps it, and
    draws later ones in. The same alerts give the same incidents, also when asked again with the answer filled in.
    """
    told = alerts.select("alert_id", "device_id", "site_id", "first_detected_at", "incident_id", sign=sign())
    ordered = told.drop_nulls("sign").sort("site_id", "sign", "first_detected_at", "alert_id")
    members = ["first_detected_at", "device_id", "alert_id", "incident_id"]
    found: list[tuple[str, str]] = []
    for (site, shown), rows in ordered.group_by("site_id", "sign", maintain_order=True):
        limit = many_of(site_sizes.get(str(site)))
        if rows.height > limit or rows["incident_id"].null_count() < rows.height:
            ones = [_One(*row) for row in rows.select(members).iter_rows()]
            found += _of_site(str(site), str(shown), ones, limit)
    kept = alerts.filter(pl.col("incident_id").is_not_null()).select(
        pl.col(n).cast(t) for n, t in GROUPED_SCHEMA.items()
    )
    new = pl.DataFrame(found, schema=GROUPED_SCHEMA, orient="row")
    return pl.concat([kept, new]).sort("incident_id", "alert_id")


def _of_site(site: str, shown: str, ones: Sequence[_One], limit: int) -> Iterator[tuple[str, str]]:
    """The new members of the site's incidents with this sign, in the order of time."""
    running = _running(ones)
    waiting = deque(one for one in ones if one.incident is None)
    while waiting:
        start = waiting[0].moment
        name = next((name for name, span in running.items() if _covers(span, start)), None)
        taken = 1
        if name is None:
            burst = list(takewhile(partial(_until, start + WITHIN), waiting))
            if len({one.device for one in burst}) <= limit:
                waiting.popleft()
                continue
            # Two incidents of a site with one sign begin more than an hour apart: the clock's hour tells them apart.
            name = alert_id(f"site:{site}", shown, start.replace(minute=0, second=0, microsecond=0))
            taken = len(burst)
        for one in [waiting.popleft() for _ in range(taken)]:
            first, last = running.get(name, (start, start))
            running[name] = (first, max(last, one.moment))
            yield one.alert, name


def _until(end: datetime, one: _One) -> bool:
    return one.moment <= end


def _running(ones: Sequence[_One]) -> dict[str, tuple[datetime, datetime]]:
    """First and last moment of the incidents that there are, the newest first."""
    spans: dict[str, tuple[datetime, datetime]] = {}
    for one in ones:
        if one.incident is not None:
            first, _ = spans.get(one.incident, (one.moment, one.moment))
            spans[one.incident] = (first, one.moment)
    return dict(sorted(spans.items(), key=lambda item: item[1], reverse=True))


def _covers(span: tuple[datetime, datetime], moment: datetime) -> bool:
    first, last = span
    return first <= moment <= min(last + WITHIN, first + LONGEST)
