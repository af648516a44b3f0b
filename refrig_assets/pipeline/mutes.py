"""The mutes in the lake: made, cancelled, read; each once, whoever else writes. What they cover is alerting/mutes."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import polars as pl

from refrig_assets.alerting.mutes import check_mute, mute_id, mute_row
from refrig_assets.alerting.naming import resolve
from refrig_assets.contracts import ALERT_MUTES
from refrig_assets.lake import Lake, MarkTakenError
from refrig_assets.pipeline.naming import check_device, check_site

# One mark for all mutes: they are few, and made by people.
_LOCK = "mutes"
_ATTEMPTS = 50


@dataclass(frozen=True)
class Muting:
    """A row of the log of mutes, and whether it was new."""

    mute: dict[str, Any]
    written: bool

    @property
    def mute_id(self) -> str:
        return str(self.mute["mute_id"])


def read_mutes(lake: Lake) -> pl.DataFrame:
    """The log of mutes (contract alert_mutes), cancelled ones and the rows that cancel them included."""
    return lake.table(ALERT_MUTES).read().sort("made_at", "mute_id", "cancelled")


def add_mute(
    lake: Lake,
    *,
    reason: str,
    made_by: str,
    made_at: datetime,
    starts_at: datetime,
    ends_at: datetime,
    device_id: str | None = None,
    site_id: str | None = None,
    repeats: str = "once",
    until: datetime | None = None,
) -> Muting:
    """Mute a device or a site. The same said again is the same mute; after it was cancelled, it is another."""
    moments = {"made_at": made_at, "starts_at": starts_at, "ends_at": ends_at, "until": until}
    wanted = mute_row(
        device_id=device_id, site_id=site_id, repeats=repeats, reason=reason, made_by=made_by,
        **{name: None if at is None else at.astimezone(UTC) for name, at in moments.items()},
    )  # fmt: skip
    check_mute(wanted)
    if device_id is not None:
        check_device(lake, device_id)
    elif site_id is not None:
        check_site(lake, site_id)

    def plan(log: pl.DataFrame) -> Muting:
        said, ended = (set(log.filter(pl.col("cancelled") == over)["mute_id"]) for over in (False, True))
        number = 0
        while (one := mute_id(wanted, number)) in ended:
            number += 1
        return Muting(wanted | {"mute_id": one}, one not in said)

    return _write(lake, plan)


def cancel_mute(lake: Lake, mute: str, *, by: str, at: datetime) -> Muting:
    """End a mute, named by its id or the beginning of it. One that has been cancelled stays as it is."""

    def plan(log: pl.DataFrame) -> Muting:
        one = resolve(mute, log["mute_id"].unique().to_list(), "mute")
        rows = log.filter(pl.col("mute_id") == one).sort("cancelled")
        ended = rows.filter("cancelled")
        if ended.height:
            return Muting(ended.row(0, named=True), written=False)
        return Muting(
            rows.row(0, named=True) | {"cancelled": True, "made_by": by, "made_at": at.astimezone(UTC)}, written=True
        )

    return _write(lake, plan)


def _write(lake: Lake, plan: Callable[[pl.DataFrame], Muting]) -> Muting:
    """Write what the plan makes of the log, if it is new. Whoever was first moved the mark: then look again."""
    table = lake.table(ALERT_MUTES)
    for attempt in range(_ATTEMPTS):
        mark = table.transaction_version(_LOCK) or 0
        found: Muting = plan(table.read())
        if not found.written:
            return found
        row = ALERT_MUTES.conform(pl.DataFrame([found.mute], schema=ALERT_MUTES.dtypes, orient="row"))
        try:
            table.append(row, transactions=[(_LOCK, mark + 1)], tag="mute")
        except MarkTakenError:
            time.sleep(random.uniform(0.005, 0.05) * min(attempt + 1, 10))
            continue
        return found
    raise MarkTakenError(f"{ALERT_MUTES.name}: other writers were first {_ATTEMPTS} times")
