"""What operators do to alerts: judged, appended to the log once, and said as labels; and mutes. No Dagster here."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import polars as pl

from refrig_assets.alerting.changes import deadline, log_rows, operator_actions
from refrig_assets.alerting.fold import fold
from refrig_assets.alerting.known import MUTE
from refrig_assets.alerting.mutes import muted
from refrig_assets.alerting.naming import resolve
from refrig_assets.alerting.operating import CLOSING, Action, ActionError, Refused, planned
from refrig_assets.alerting.standing import is_closed, is_standing
from refrig_assets.contracts import DEVICE_REGISTRY
from refrig_assets.contracts.alerts import OPERATOR
from refrig_assets.contracts.base import TS
from refrig_assets.lake import Lake, MarkTakenError
from refrig_assets.pipeline.alert_log import ATTEMPTS, append_changes, marks_of, pause
from refrig_assets.pipeline.alert_reading import alert_ids, history, holders, read_board
from refrig_assets.pipeline.labelling import settle_labels
from refrig_assets.pipeline.mutes import Muting, add_mute, cancel_mute, read_mutes


@dataclass(frozen=True)
class Acted:
    """What came of an action: the alerts as they are now, those it did not fit, and the labels written."""

    changed: pl.DataFrame
    refused: list[Refused] = field(default_factory=list)
    labels: int = 0


def find_alerts(lake: Lake, given: Sequence[str]) -> list[str]:
    """The alerts that people named, whole or by at least six characters; an unknown one is an error."""
    wanted = [one.strip() for one in given]
    names = set(alert_ids(lake, pl.any_horizontal(pl.col("alert_id").str.starts_with(one) for one in wanted)))
    if not all(any(name.startswith(one) for name in names) for one in wanted):
        names |= set(read_board(lake, where=is_standing(), ordered=False)["alert_id"])  # what was meant perhaps
    return list(dict.fromkeys(resolve(one, names, "alert") for one in wanted))


def act(lake: Lake, action: Action, alerts: Sequence[str], now: datetime, *, strict: bool = True) -> Acted:
    """Do it to these alerts (whole ids), as they are now. With `strict`, nothing is done unless it fits them all.

    What others do to them meanwhile counts as done before: an action that does not fit any more is refused.
    """
    for attempt in range(ATTEMPTS):
        # Read before the log is: a change that comes in between moves a mark, and the action is planned anew.
        seen = marks_of(lake, alerts)
        log = history(lake, alerts)
        changes, refused = _planned(action, log, now, strict=strict)
        try:
            if changes.height:
                append_changes(lake, changes, seen)
        except MarkTakenError:
            pause(attempt)
            continue
        return _acted(lake, action, log, changes, refused)
    raise MarkTakenError(f"others changed the same alerts {ATTEMPTS} times while the action was planned")


def _planned(action: Action, log: pl.DataFrame, now: datetime, *, strict: bool) -> tuple[pl.DataFrame, list[Refused]]:
    """The changes that the action makes of alerts with this log, and the alerts it does not fit."""
    last = dict(log.group_by("alert_id").agg(pl.col("changed_at").max()).iter_rows())
    rows, refused = planned(action, fold(log).to_dicts(), now, last, holders(log))
    if refused and strict:
        raise ActionError("; ".join(f"{r.alert_id}: {r.why}" for r in refused))
    return operator_actions(rows, action.change, action.operator) if rows else log.clear(), refused


def _acted(lake: Lake, action: Action, log: pl.DataFrame, changes: pl.DataFrame, refused: list[Refused]) -> Acted:
    verdict = changes.height and action.change in (*CLOSING, "reopened")
    labels = settle_labels(lake).written if verdict else 0
    after = fold(pl.concat([log, changes]))
    return Acted(after.filter(pl.col("alert_id").is_in(changes["alert_id"].implode())), refused, labels)


def mute_alerts(lake: Lake, *, made_by: str, now: datetime, **mute: Any) -> tuple[Muting, int]:
    """Mute a device or a site, and silence its alerts that stand while the mute is on. Returns the mute, and how many.

    Repeating it is safe: the mute is the same, and each alert is silenced once by it.
    """
    made = add_mute(lake, made_by=made_by, made_at=now, **mute)
    board = read_board(lake, where=is_standing())
    mine = read_mutes(lake).filter(pl.col("mute_id") == made.mute_id)
    rows = _under(board, mine, now)
    written = append_changes(lake, _silenced(rows, now, made_by, pl.col("suppressed_by"))).written
    return made, written


def unmute_alerts(lake: Lake, mute: str, *, by: str, now: datetime) -> tuple[Muting, int]:
    """End a mute; alerts that it silenced and that are not closed are told again, but for those under another mute."""
    ended = cancel_mute(lake, mute, by=by, at=now)
    silenced_by = f"{MUTE}{ended.mute_id}"
    board = read_board(lake, where=~is_closed() & (pl.col("suppressed_by") == silenced_by))
    still = _under(board, read_mutes(lake), now)
    # A mute that comes again may have silenced them before: this time is another.
    occasion = pl.format("{} after {}", "suppressed_by", pl.lit(silenced_by))
    append_changes(lake, _silenced(still, now, by, occasion))
    # Nobody could take it while it was silent: its time begins now.
    free = board.join(still, on="alert_id", how="anti").with_columns(alert_created_at=pl.lit(now, dtype=TS))
    rows = free.select(
        "alert_id", changed_at="alert_created_at", suppressed=pl.lit(value=False), sla_deadline=deadline()
    )
    written = append_changes(lake, log_rows(rows, "unmuted", f"{OPERATOR}{by}", silenced_by)).written
    return ended, written


def _under(board: pl.DataFrame, mutes: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """Those of the alerts that a mute covers now, and why: alert_id, suppressed_by, note."""
    asked = board.select("alert_id", "device_id", "site_id", moment=pl.lit(now, dtype=TS))
    found = muted(asked, mutes).drop_nulls("mute_id")
    return found.select("alert_id", suppressed_by=pl.format(f"{MUTE}{{}}", "mute_id"), note="mute_reason")


def _silenced(rows: pl.DataFrame, now: datetime, by: str, occasion: pl.Expr) -> pl.DataFrame:
    told = rows.with_columns(changed_at=pl.lit(now, dtype=TS), suppressed=pl.lit(value=True))
    return log_rows(told, "muted", f"{OPERATOR}{by}", occasion)


def machines(lake: Lake) -> pl.DataFrame:
    """Devices with their models: what filters ask of the registry."""
    wanted = ["device_id", "model", "cohort_id", "site_name"]
    return lake.table(DEVICE_REGISTRY).scan().select(wanted).collect(engine="in-memory")
