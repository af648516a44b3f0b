"""The demo's injected faults against its alerts: what was found, when, how long before failure. Frames only."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from refrig_assets.alerting.diagnosis_signs import SENSOR_FAULT, UNKNOWN
from refrig_assets.alerting.fold import fold
from refrig_assets.alerting.sustained import HIGH, LOW, MEDIUM, RANK, rank, severity_of
from refrig_assets.contracts.alerts import STREAM
from refrig_assets.evaluation.diagnosed import MODES_OF, with_truth
from refrig_assets.evaluation.judge import Scored
from refrig_assets.evaluation.raised import raised
from refrig_assets.pipeline.alerting import JUDGED_AFTER

_NAME = {number: name.lower() for name, number in RANK.items()}
_HOURS = timedelta(hours=1)


def alerts_of(log: pl.DataFrame) -> pl.DataFrame:
    """The alerts that anybody was asked to look at, with the highest severity each had, and when it could be known."""
    # An alert that was told and goes on under another was told all the same.
    told = raised(log, LOW)
    board = fold(log).join(told.select("alert_id"), on="alert_id", how="semi")
    highest = log.group_by("alert_id").agg(rank("severity").max().alias("rank"))
    # A plant judges an hour when it has ended; the demo may come to its last hours later than that.
    first = pl.col("first_detected_at")
    judged = pl.min_horizontal("alert_created_at", _its_hour_ended(first) + JUDGED_AFTER)
    known_at = pl.when(pl.col("source") == "streaming").then(first).otherwise(judged)
    return board.join(highest, on="alert_id").with_columns(
        known_at.alias("known_at"),
        pl.col("first_detected_at").alias("first_end"),
        severity_of(pl.col("rank")).alias("highest"),
    )


def _its_hour_ended(window_end: pl.Expr) -> pl.Expr:
    return (window_end - timedelta(microseconds=1)).dt.truncate("1h") + _HOURS


def compare_history(log: pl.DataFrame, truth: pl.DataFrame, devices: pl.Series, start: datetime, end: datetime
                    ) -> dict[str, Any]:  # fmt: skip
    """What became of each fault that was on from start to end, and the alerts that no fault explains.

    `log` is the alert log as it was at the end; a fault of a whole site is one row.
    """
    batch = log.filter(pl.col("actor") != STREAM)
    judged = with_truth(alerts_of(batch), truth)
    on = truth.filter((pl.col("onset") < end) & (pl.col("ended_at") > start))
    faults = [_fault(fault, judged, batch) for fault in on.sort("onset").iter_rows(named=True)]
    return {
        "from": start,
        "until": end,
        "faults": _sites_together(faults),
        **_counts(faults, end),
        "false_alarms": _false(judged, Scored(devices, truth, start, end)),
    }


def _fault(fault: Mapping[str, Any], judged: pl.DataFrame, log: pl.DataFrame) -> dict[str, Any]:
    of_it = (pl.col("device_id") == fault["device_id"]) & (pl.col("onset") == fault["onset"])
    mine = judged.filter(of_it).sort("known_at")
    told = {k: fault[k] for k in ("device_id", "fault", "severity", "onset", "failure_time", "ended_at",
                                  "is_gradual", "is_machine_fault", "sensor")}  # fmt: skip
    if mine.is_empty():
        return {**told, "found_at": None}
    first = mine.row(0, named=True)
    worst = mine.sort("rank", "known_at", descending=[True, False]).row(0, named=True)
    fails = fault["failure_time"]
    mode = _diagnosis(log.join(mine.select("alert_id"), on="alert_id", how="semi"), fails)
    return {
        **told,
        "found_at": first["known_at"],
        "highest": worst["highest"],
        "alerts": mine.height,
        "alert_id": worst["alert_id"],
        "lead_h": None if fails is None else (fails - first["known_at"]) / _HOURS,
        "diagnosis": mode,
        "right": None if mode is None else mode in MODES_OF[fault["fault"]],
        **{name: worst[name] for name in ("hours_left", "hours_left_low", "hours_left_high", "incident_id", "site_id")},
    }


def _diagnosis(changes: pl.DataFrame, fails: datetime | None) -> str | None:
    """What was said last before the machine stood still, which looks the same whatever led to it; else at first."""
    mode = pl.col("failure_mode")
    named = changes.filter(mode.is_not_null() & (mode != UNKNOWN)).sort("changed_at")
    before = named if fails is None else named.filter(pl.col("changed_at") <= fails)
    said: list[str] = before["failure_mode"].to_list()[-1:] or named["failure_mode"].to_list()[:1]
    return said[0] if said else None


def _sites_together(faults: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Faults of one kind that began on many devices at one moment, as one row that counts them."""
    together: dict[tuple[str, datetime], list[dict[str, Any]]] = {}
    for fault in faults:
        together.setdefault((fault["fault"], fault["onset"]), []).append(fault)
    rows = []
    for same in together.values():
        found = sorted((f for f in same if f["found_at"] is not None), key=lambda f: f["found_at"])
        shown = dict(found[0] if found else same[0])
        if len(same) > 1:
            shown |= _of_many(same, found)
        rows.append(shown)
    return rows


def _of_many(same: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    modes = Counter(f["diagnosis"] for f in found if f["diagnosis"] is not None)
    mode = modes.most_common(1)[0][0] if modes else None
    return {
        "devices": len(same), "devices_found": len(found), "incidents": len({f["incident_id"] for f in found} - {None}),
        "diagnosis": mode, "diagnosed_so": modes[mode] if mode else 0,
        "right": None if mode is None else mode in MODES_OF[same[0]["fault"]],
    }  # fmt: skip


def _counts(faults: list[dict[str, Any]], end: datetime) -> dict[str, Any]:
    """The sums that people ask for first. What fails after the end had less time to be found."""
    machine = [f for f in faults if f["is_machine_fault"]]
    gradual = [f for f in machine if f["is_gradual"]]
    failed = [f for f in gradual if f["failure_time"] is not None and f["failure_time"] <= end]
    coming = [f for f in gradual if f["failure_time"] is not None and f["failure_time"] > end]
    diagnosed = [f for f in faults if f.get("right") is not None]
    leads = sorted(f["lead_h"] for f in failed if f["found_at"] is not None and f["lead_h"] > 0)
    return {
        "failed": len(failed),
        "failed_found_before": len(leads),
        "failed_found_12h_before": sum(lead >= 12 for lead in leads),
        "lead_median_h": leads[len(leads) // 2] if leads else None,
        "coming": len(coming),
        "coming_found": sum(f["found_at"] is not None for f in coming),
        "machine_faults": len(machine),
        "machine_faults_found": sum(f["found_at"] is not None for f in machine),
        "diagnosed": len(diagnosed),
        "diagnosed_right": sum(bool(f["right"]) for f in diagnosed),
    }


def _false(judged: pl.DataFrame, scored: Scored) -> dict[str, Any]:
    """Alerts without a fault; or of broken telemetry, but not said to be that."""
    taken = ~pl.col("is_machine_fault") & (pl.col("failure_mode").fill_null(UNKNOWN) != SENSOR_FAULT)
    false = judged.filter(pl.col("fault").is_null() | taken)
    days = sum(scored.device_days().values())
    told: dict[str, Any] = {"device_days": round(days, 1)}
    for level in (MEDIUM, HIGH):
        count = false.filter(pl.col("rank") >= level).height
        name = _NAME[level]
        told[f"{name}_or_above"] = count
        told[f"{name}_per_1000_device_days"] = 1000 * count / days if days else 0.0
    shown = ("alert_id", "device_id", "highest", "first_detected_at", "title", "fault")
    told["alerts"] = false.filter(pl.col("rank") >= MEDIUM).sort("known_at").select(shown).to_dicts()
    return told
