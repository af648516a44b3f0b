"""Incidents: alerts of many devices with one trouble become one row that lists them. Frames in, frames out."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from refrig_assets.alerting.grouping import grouped
from refrig_assets.alerting.signs import UNKNOWN, mode_or_rules, sign
from refrig_assets.alerting.standing import is_standing
from refrig_assets.alerting.wording import clock, listed, plain
from refrig_assets.contracts.alerts import FAILURE_MODES, SEVERITIES
from refrig_assets.contracts.operations import INCIDENTS

__all__ = ["grouped", "incidents", "members_of"]

# Of so large a share of the site's devices, what they have in common is the site.
ALL_BUT = 0.8
# How many times an alert may have been covered by one that was covered itself: a device's, a site's, a firmware's.
_DEEP = 8
# What a whole site has at once, by failure mode or sensor: (cause, where to look).
_POWER = ("the power supply", "the site's breaker, phases and voltage")
_AIR = ("the air around them", "ventilation, room temperature and humidity")
_GATEWAY = ("the gateway or what it reports", "the gateway, its clock and its wiring")
CAUSES: Mapping[str, tuple[str, str]] = {
    "power_loss": _POWER,
    "compressor_overload": _POWER,
    "current_compressor": _POWER,
    "condenser_fouling": _AIR,
    "evaporator_icing": _AIR,
    "door_seal": _AIR,
    "temp_ambient": _AIR,
    "temp_condenser": _AIR,
    "pressure_high": _AIR,
    "humidity": _AIR,
    "sensor_fault": _GATEWAY,
}


def incidents(board: pl.DataFrame, registry: pl.DataFrame) -> pl.DataFrame:
    """One row an incident (contract incidents): those that grouping made, and the stream's storms.

    A storm goes by the identity of its alert, and by its words: the stream knows whether it is a site's or a
    firmware's. An incident is open while one of its alerts stands.
    """
    alerts = members_of(board).join(_facts(registry), on="device_id", how="left", maintain_order="left")
    found = _aggregated(alerts).join(_sites(registry), on="site_id", how="left", maintain_order="left")
    rows = [_told(row) for row in found.iter_rows(named=True)]
    frame = pl.DataFrame(rows, schema=INCIDENTS.dtypes, orient="row")
    return INCIDENTS.conform(frame).sort("opened_at", "incident_id")


def members_of(board: pl.DataFrame) -> pl.DataFrame:
    """The alerts that are part of an incident, `incident` naming it, in the order of detection.

    An alert that another covers is part of what that one is part of. Who covers alerts of several devices is a storm;
    repetitions of one device's alert are none.
    """
    parents = dict(
        board.filter(pl.col("suppressed_by").is_in(board["alert_id"].implode()))
        .select("alert_id", "suppressed_by")
        .rows()
    )
    root = pl.col("alert_id")
    for _ in range(_DEEP):
        root = root.replace(parents)
    led = board.with_columns(root=root)
    own = dict(board.filter(pl.col("incident_id").is_not_null()).select("alert_id", "incident_id").rows())
    storm = pl.when(pl.col("device_id").n_unique().over("root") > 1).then(pl.col("root"))
    of_root = pl.col("root").replace_strict(own, default=None, return_dtype=pl.String())
    named = led.with_columns(incident=pl.coalesce("incident_id", of_root, storm)).drop("root")
    return named.filter(pl.col("incident").is_not_null()).sort("incident", "first_detected_at", "alert_id")


def _facts(registry: pl.DataFrame) -> pl.DataFrame:
    return registry.select("device_id", "firmware_version")


def _sites(registry: pl.DataFrame) -> pl.DataFrame:
    """What is known of each site; retired devices do not count."""
    active = registry.filter(pl.col("status") == "active")
    return active.group_by("site_id").agg(
        pl.len().alias("site_devices"),
        pl.col("site_name").drop_nulls().first(),
        pl.col("maintenance_contact").drop_nulls().first(),
    )


def _most(what: pl.Expr) -> pl.Expr:
    """The most frequent value; of equals the first by name."""
    return what.drop_nulls().mode().sort().first()


def _aggregated(alerts: pl.DataFrame) -> pl.DataFrame:
    standing = is_standing()
    rank = pl.col("severity").replace_strict({s: n for n, s in enumerate(SEVERITIES)}, return_dtype=pl.Int32())
    head = pl.col("alert_id") == pl.col("incident")
    seen = pl.coalesce("last_seen_at", "first_detected_at")
    return alerts.group_by("incident", maintain_order=True).agg(
        pl.col("site_id").first(),
        _most(mode_or_rules()).alias("failure_mode"),
        _most(pl.coalesce("rule", sign())).alias("shared_sign"),
        rank.max().alias("rank"),
        standing.sum().alias("standing_count"),
        pl.col("first_detected_at").min().alias("opened_at"),
        seen.max().alias("last_seen_at"),
        pl.col("resolved_at").max().alias("closed_at"),
        pl.col("device_id").unique(maintain_order=True).alias("device_ids"),
        pl.col("alert_id").alias("alert_ids"),
        pl.col("site_id").n_unique().alias("sites"),
        pl.col("firmware_version").drop_nulls().unique().sort().alias("firmwares"),
        pl.col("title").filter(head).first(),
        pl.col("description").filter(head).first(),
    )


def _told(row: Mapping[str, Any]) -> dict[str, Any]:
    devices = row["device_ids"]
    standing = int(row["standing_count"])
    title, description = row["title"], row["description"]
    if title is None:
        title, description = _words(row)
    return {
        "incident_id": row["incident"],
        "site_id": row["site_id"],
        "failure_mode": row["failure_mode"],
        "shared_sign": row["shared_sign"] or UNKNOWN,
        "severity": SEVERITIES[row["rank"]],
        "status": "OPEN" if standing else "CLOSED",
        "title": title,
        "description": description,
        "opened_at": row["opened_at"],
        "last_seen_at": row["last_seen_at"],
        "closed_at": None if standing else row["closed_at"],
        "device_count": len(devices),
        "standing_count": standing,
        "device_ids": devices,
        "alert_ids": row["alert_ids"],
    }


def _words(row: Mapping[str, Any]) -> tuple[str, str]:
    """Title and description of an incident that nobody has worded yet."""
    count, of = len(row["device_ids"]), row["site_devices"]
    called = f"{row['site_name']} ({row['site_id']})" if row["site_name"] else row["site_id"]
    share = f"{count} of {of}" if of else str(count)
    trouble = plain(row["failure_mode"] or row["shared_sign"] or UNKNOWN)
    shows = trouble if row["failure_mode"] in FAILURE_MODES else f"unusual {trouble}"
    cause, look = _cause(row)
    title = f"{called}: {shows} on {share} devices at once" + (f", rather {cause}" if cause else "")
    whole = "All" if of and count >= of else share
    why = (
        f"So many at once is rather one cause than as many failures: {cause}. Look at {look} first, then at each one."
        if cause
        else "So many at one site at once may have one cause: look at what they share (power, air, gateway) first."
    )
    contact = f" Repairs: {row['maintenance_contact']}." if row["maintenance_contact"] else ""
    since, last = clock(row["opened_at"]), clock(row["last_seen_at"])
    return title, (
        f"{whole} devices of {called} show {shows}, first {since}, last seen {last}. {why}{contact} "
        f"Devices: {listed(row['device_ids'])}."
    )


def _cause(row: Mapping[str, Any]) -> tuple[str | None, str]:
    """What they rather share than fail of one by one, and where to look; nothing where too few of the site have it."""
    count, of, firmwares = len(row["device_ids"]), row["site_devices"], row["firmwares"]
    if row["failure_mode"] == "sensor_fault" and len(firmwares) == 1:
        return f"firmware {firmwares[0]}", "one device with a gauge, and stop the roll-out of that firmware,"
    if not of or count < ALL_BUT * of:
        return None, ""
    return CAUSES.get(row["failure_mode"] or row["shared_sign"], (None, ""))
