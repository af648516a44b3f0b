"""Diagnoses against the truth: which were right, what was taken for what, how good the hours left were. Frames only."""

from collections.abc import Mapping

import polars as pl

from refrig_assets.alerting.diagnosis import POWER_LOSS
from refrig_assets.alerting.diagnosis_signs import SENSOR_FAULT, UNKNOWN
from refrig_assets.contracts.alerts import FAILURE_MODES
from refrig_assets.evaluation.judge import RECOVERY
from refrig_assets.simulator.faults import FAULTS

# What may rightly be said of each kind of fault. A seized compressor shakes, and draws the current of a locked rotor.
_MODES_OF_OWN_NAME = {f.name: (f.name,) for f in FAULTS if f.name in FAILURE_MODES}
MODES_OF: Mapping[str, tuple[str, ...]] = {
    "refrigerant_leak_slow": ("refrigerant_leak",),
    "refrigerant_leak_fast": ("refrigerant_leak",),
    "compressor_seizure": ("bearing_wear", "compressor_overload"),
    **{f.name: (SENSOR_FAULT,) for f in FAULTS if not f.is_machine_fault},
    **_MODES_OF_OWN_NAME,
}
NO_FAULT = "no fault"
_COLUMNS = ("fault", "is_machine_fault", "onset", "failure_time", "ended_at")


def with_truth(alerts: pl.DataFrame, truth: pl.DataFrame) -> pl.DataFrame:
    """Alerts (device_id, first_end: end of the first window, failure_mode) with the fault that was on then, if any.

    Machines stay odd for two hours after a repair: till then an alert is of the fault. `right` is null without one,
    and where nothing was diagnosed.
    """
    pairs = [(fault, mode) for fault, modes in MODES_OF.items() for mode in modes]
    accepted = pl.DataFrame(pairs, schema=["fault", "failure_mode"], orient="row").with_columns(right=True)
    numbered = alerts.with_row_index("alert")
    with_faults = numbered.select("alert", "device_id", "first_end").join(
        truth.select("device_id", *_COLUMNS), on="device_id"
    )
    on = (pl.col("first_end") > pl.col("onset")) & (pl.col("first_end") <= pl.col("ended_at") + RECOVERY)
    found = with_faults.filter(on).unique("alert", keep="first", maintain_order=True).select("alert", *_COLUMNS)
    joined = numbered.join(found, on="alert", how="left").join(accepted, on=["fault", "failure_mode"], how="left")
    told = pl.col("fault").is_not_null() & pl.col("failure_mode").is_not_null()
    right = pl.when(told).then(pl.col("right").fill_null(value=False)).alias("right")
    return joined.sort("alert").with_columns(right).drop("alert")


def figures(alerts: pl.DataFrame, truth: pl.DataFrame) -> dict[str, float | None]:
    """Under stable names; shares from 0 to 1, hours; None where there is nothing to judge."""
    judged = with_truth(alerts, truth).filter(pl.col("failure_mode").is_not_null())
    on = judged.filter(pl.col("fault").is_not_null())
    machine, telemetry = on.filter("is_machine_fault"), on.filter(~pl.col("is_machine_fault"))
    named = on.filter(pl.col("failure_mode") != UNKNOWN)
    false = judged.filter(pl.col("fault").is_null())
    # A fault that lasts, or one of a firmware, raises alert upon alert: each device's first speaks for itself.
    first = on.sort("first_end", maintain_order=True).unique("device_id", keep="first", maintain_order=True)
    left = hours_left(alerts, truth)
    return {
        "diagnosed_right": _share(on["right"]),
        "diagnosed_right_first_of_device": _share(first["right"]),
        "diagnosed_right_machine": _share(machine["right"]),
        "diagnosed_right_sensor_fault": _share(telemetry["right"]),
        "diagnosed_right_where_named": _share(named["right"]),
        "machine_fault_called_sensor_fault": _share(machine["failure_mode"] == SENSOR_FAULT),
        "unknown_where_no_fault": _share(false["failure_mode"] == UNKNOWN),
        "hours_left_given": float(left.height),
        "hours_left_within_interval": _share(left["within"]),
        "hours_left_error_median_h": _number(left["error_h"].abs().median()),
    }


def by_kind(alerts: pl.DataFrame, truth: pl.DataFrame) -> pl.DataFrame:
    """One row a kind of fault: its alerts, and the shares diagnosed rightly, unknown, at rest, and wrongly."""
    judged = with_truth(alerts, truth).filter(pl.col("failure_mode").is_not_null() & pl.col("fault").is_not_null())
    mode, right = pl.col("failure_mode"), pl.col("right")
    return (
        judged.group_by("fault")
        .agg(
            pl.len().alias("alerts"),
            right.mean().alias("right"),
            (mode == UNKNOWN).mean().alias("unknown"),
            ((mode == POWER_LOSS) & ~right).mean().alias("at_rest"),
            (~right & ~mode.is_in([UNKNOWN, POWER_LOSS])).mean().alias("wrong"),
        )
        .sort("fault")
    )


def confusion(alerts: pl.DataFrame, truth: pl.DataFrame) -> pl.DataFrame:
    """How many alerts of each kind of fault (or none) were given each failure mode: fault, failure_mode, alerts."""
    judged = with_truth(alerts, truth).filter(pl.col("failure_mode").is_not_null())
    fault = pl.col("fault").fill_null(NO_FAULT)
    return judged.group_by(fault, "failure_mode").agg(pl.len().alias("alerts")).sort("fault", "failure_mode")


def hours_left(alerts: pl.DataFrame, truth: pl.DataFrame) -> pl.DataFrame:
    """The estimates for faults that did end in failure: fault, left_h (truly), hours_left, error_h, within."""
    estimated = with_truth(alerts, truth).filter(
        pl.col("hours_left").is_not_null() & (pl.col("failure_time") > pl.col("first_end"))
    )
    truly = (pl.col("failure_time") - pl.col("first_end")).dt.total_seconds() / 3600
    return estimated.with_columns(truly.alias("left_h")).select(
        "device_id",
        "fault",
        "failure_mode",
        "left_h",
        "hours_left",
        "hours_left_low",
        "hours_left_high",
        (pl.col("hours_left") - pl.col("left_h")).alias("error_h"),
        pl.col("left_h").is_between("hours_left_low", "hours_left_high").alias("within"),
    )


def _share(values: pl.Series) -> float | None:
    return _number(values.cast(pl.Float64).mean())


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


assert {f.name for f in FAULTS} == set(MODES_OF)
assert {mode for modes in MODES_OF.values() for mode in modes} <= set(FAILURE_MODES)
