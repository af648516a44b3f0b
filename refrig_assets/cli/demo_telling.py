"""What the demo says at its end: what was injected, found, missed and false, where the time went, what to do next."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from refrig_assets.cli.common import console, print_table

_FALSE_SHOWN = 8


def show(document: Mapping[str, Any], home: Path) -> None:
    _show_account(document["counted"], document["sent"])
    _show_checks(document["checks"])
    _show_faults(document["history"])
    if "live" in document:
        from refrig_assets.cli.demo_live import show_once

        show_once(document["live"])
    busy = document["processor_seconds"]
    spent = [(stage, f"{s:.0f} s", f"{busy[stage]:.0f} s") for stage, s in document["seconds"].items()]
    sums = ("all, side by side", f"{document['wall_seconds']:.0f} s", f"{sum(busy.values()):.0f} s")
    print_table("Where the time went", ("stage", "by the clock", "of the processors"), [*spent, sums], right=(1, 2))
    console().print(f"A failed dead_letter_rate or completeness check is the injected mess, found. Data: {home}")


def show_next(home: Path, faults: Sequence[Mapping[str, Any]], url: str | None) -> None:
    """What to type and to click now; an alert whose machine is yet to fail is the one to look at."""
    found = sorted((f for f in faults if f["found_at"] is not None), key=lambda f: f["hours_left"] is None)
    example = found[0]["alert_id"][:8] if found else "ID"
    lake = f"export REFRIG_LAKE={home / 'lake'} REFRIG_MODELS=sqlite:///{home / 'models' / 'mlflow.db'}"
    steps = [
        ("who should look at what", "refrig alerts list"),
        ("one of them explained", f"refrig alerts show {example}"),
        ("the models that score", "refrig models list"),
        ("how the data is doing", "refrig status"),
    ]
    print_table("What to do next", ("", ""), [("once", lake), *steps])
    if url:
        pages = {
            "the graph": "/asset-groups",
            "the alert board": "/assets/alert_board",
            "the fleet report": "/assets/fleet_report",
            "a model's card": "/assets/model_isolation_forest",
        }
        print_table("Where to click", ("", ""), [(what, url + path) for what, path in pages.items()])


def _show_account(counted: Mapping[str, Any], sent: Mapping[str, int]) -> None:
    landed = counted["rows_landed"] + counted["messages_joined"] + counted["dead_letters_at_landing"]
    kinds = ("clean", "duplicate", "quarantined", "dead_letter")
    accounts = counted["accounts"]
    parts = " + ".join(f"{accounts.get(k, 0):,} {k.replace('_', '-')}" for k in kinds)
    rows = [
        (_mark(landed == sent["lines"]), f"{sent['lines']:,} lines sent",
         f"{counted['rows_landed']:,} rows landed + {counted['messages_joined']:,} joined + "
         f"{counted['dead_letters_at_landing']:,} dead letters"),
        (_mark(sum(accounts.get(k, 0) for k in kinds) == accounts["raw"]), f"{accounts['raw']:,} raw rows", parts),
    ]  # fmt: skip
    print_table("Where every message went, to the row", ("", "", ""), rows)


def _show_checks(checks: Sequence[Mapping[str, Any]]) -> None:
    """The failed ones; the UI has them all."""
    failed = [c for c in checks if not c["passed"]]
    rows = [("✗", c["check"], c["says"]) for c in failed]
    title = f"Asset checks: {len(checks) - len(failed)} of {len(checks)} passed"
    if rows:
        print_table(title, ("", "check", "finding"), rows)
    else:
        console().print(title)


def _show_faults(history: Mapping[str, Any]) -> None:
    until: datetime = history["until"]
    rows = [_fault_row(fault, until) for fault in history["faults"]]
    headers = ("", "device", "fault", "size", "began", "fails", "first alert", "highest", "before", "diagnosis")
    print_table("Faults injected, and what was found", headers, rows, right=(3, 8))
    lead = history["lead_median_h"]
    false = history["false_alarms"]
    console().print(
        f"Of {history['failed']} gradual faults that ended in failure {history['failed_found_before']} were found "
        f"before, {history['failed_found_12h_before']} at least 12 h before"
        + (f", half of them {lead:.0f} h or more before. " if lead is not None else ". ")
        + f"{history['coming_found']} of {history['coming']} that are yet to fail are known. "
        f"{history['diagnosed_right']} of {history['diagnosed']} diagnoses are right."
    )
    console().print(
        f"False alarms in {false['device_days']:,.0f} device-days: {false['high_or_above']} HIGH or above "
        f"({false['high_per_1000_device_days']:.1f} per 1,000 device-days), {false['medium_or_above']} MEDIUM or above "
        f"({false['medium_per_1000_device_days']:.1f})."
    )
    missed = [f for f in history["faults"] if f["found_at"] is None]
    if missed:
        told = ", ".join(f"{f['device_id']} ({f['fault']}, size {f['severity']:.2f})" for f in missed)
        console().print(f"Missed: {told}")
    for alert in false["alerts"][:_FALSE_SHOWN]:
        why = f"broken telemetry: {alert['fault']}" if alert["fault"] else "no fault"
        console().print(f"  false: {alert['device_id']} {alert['highest']}: {alert['title']} ({why})", soft_wrap=True)


def _fault_row(fault: Mapping[str, Any], until: datetime) -> tuple[object, ...]:
    found, fails = fault["found_at"], fault["failure_time"]
    many = fault.get("devices", 1)
    device = fault["device_id"] if many == 1 else f"{many} devices of {fault.get('site_id') or 'a site'}"
    kind = _plain(fault["fault"]) + (f" ({_plain(fault['sensor'])})" if fault["sensor"] else "")
    when = "–" if fails is None else f"{fails:%a %d %H:%M}"
    if fails is not None and fails > until:
        when = f"in {(fails - until).total_seconds() / 3600:.0f} h"
    start = ("✗" if found is None else "✓", device, kind, f"{fault['severity']:.2f}", f"{fault['onset']:%a %d %H:%M}",
             when)  # fmt: skip
    if found is None:
        return (*start, "missed", "", "", "")
    lead = fault["lead_h"]
    gradual = fault["is_gradual"] and lead is not None
    found_of = "" if many == 1 else f" ({fault['devices_found']} of {many})"
    return (
        *start, f"{found:%a %d %H:%M}{found_of}", fault["highest"], f"{lead:.0f} h" if gradual else "",
        _diagnosis(fault, fails is not None and fails > until),
    )  # fmt: skip


def _diagnosis(fault: Mapping[str, Any], coming: bool) -> str:
    if fault["diagnosis"] is None:
        return "none"
    told = f"{_mark(fault['right'])} {_plain(fault['diagnosis'])}"
    if fault.get("devices", 1) > 1:
        told += f", of {fault['diagnosed_so']}"
    if coming and fault["hours_left"] is not None:
        low, high = fault["hours_left_low"], fault["hours_left_high"]
        told += f", {fault['hours_left']:.0f} h left" + (f" ({low:.0f}–{high:.0f})" if low is not None else "")
    return told


def _plain(name: str) -> str:
    return name.replace("_", " ")


def _mark(right: bool | None) -> str:
    return "✓" if right else "✗"
