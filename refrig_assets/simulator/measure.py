"""Readings of any devices at any minutes, as arrays and as frames. What the way to the lake does to them is not here.

Every value is a function of (seed, device, minute): see `noise.py`. An hour at once, its minutes one by one, or a
range of hours in any order give the same values.
"""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl

from refrig_assets.contracts.base import TS
from refrig_assets.contracts.sensors import NUMERIC_SENSORS, SENSOR_NAMES, SENSORS
from refrig_assets.simulator import duty, ids, noise, physics, sensors, wander
from refrig_assets.simulator.fleet import Devices, Fleet
from refrig_assets.simulator.noise import F32, F64, I64, Bools
from refrig_assets.simulator.plan import FaultPlan, epoch_minutes

# Small enough for a block's arrays to stay in the processor's cache.
BLOCK_DEVICES = 2048
_SLOT_MINUTES = 120  # a device with dropouts is silent once in each slot


@dataclass(frozen=True)
class Readings:
    """What devices measured, device × minute; `sent` says where there is a message at all."""

    device: I64
    minute: I64
    numeric: dict[str, F64]
    door: Bools
    defrost: Bools
    time_us: I64
    device_time_us: I64
    ingested_us: I64
    sent: Bools


def measure(fleet: Fleet, plan: FaultPlan, device: I64, first: I64, count: int, stuck: F32) -> Readings:
    """`count` minutes from `first` (since the epoch) of each device, all within one hour."""
    devices = fleet.devices.take(device)
    minute = first[:, None] + np.arange(count, dtype=np.int64)
    clock = minute + devices.phase_s[:, None].astype(np.float64) / 60
    cycle, busy = _state(fleet.seed, plan, devices, minute, clock)
    numeric = sensors.read(fleet.seed, devices, fleet.lacking[device], cycle, plan, minute, clock, stuck)
    jitter = noise.bits(fleet.seed, "jitter", device[:, None], minute) % np.uint64(400)
    time_us = np.rint(clock * 60_000).astype(np.int64) * 1000 + jitter.astype(np.int64) * 1000
    sent = ((minute - devices.offset[:, None]) % devices.every[:, None]) == 0
    return Readings(
        device=device,
        minute=minute,
        numeric=numeric,
        door=busy.door_open,
        defrost=busy.defrosting,
        time_us=time_us,
        device_time_us=time_us + _clock_error_us(plan, device, clock),
        ingested_us=time_us + latency_us(fleet.seed, "latency", device[:, None], minute),
        sent=sent & ~_dropped(plan, device, clock),
    )


def _state(
    seed: int, plan: FaultPlan, devices: Devices, minute: I64, clock: F64
) -> tuple[physics.Cycle, duty.Duty]:  # fmt: skip
    hour = minute[:, 0] // 60
    slow = wander.slow(seed, devices, hour, (clock / 60 - hour[:, None]).astype(np.float32))
    busy = duty.duty(seed, devices, minute, clock)
    faults = plan.channels(devices.index, clock) if len(plan.kind) else {}
    return physics.cycle(devices, slow, busy, faults, clock), busy


def stuck_values(fleet: Fleet, plan: FaultPlan) -> F32:
    """What each stuck probe saw when it got stuck (0 for other faults)."""
    values = np.zeros(len(plan.kind), dtype=np.float32)
    at, row = plan.rows_of(fleet.devices.index, "sensor_stuck")
    if len(at):
        devices = fleet.devices.take(at)
        clock = plan.onset[row][:, None]
        cycle, _ = _state(fleet.seed, plan, devices, np.floor(clock).astype(np.int64), clock)
        for sensor in NUMERIC_SENSORS:
            mine = np.array([plan.sensor_name(r) == sensor.name for r in row.tolist()], dtype=np.bool_)
            seen = np.clip(sensors.ideal(sensor.name, fleet.seed, devices, cycle)[:, 0], sensor.low, sensor.high)
            values[row[mine]] = seen[mine]
    return values


def latency_us(seed: int, purpose: str, device: I64, index: I64) -> I64:
    """From measuring to the gateway: 0.2 to 3 s, one message in a thousand up to 40 s."""
    draw = noise.uniform(seed, purpose, device, index)
    usual = 0.2 + 2.8 * draw * draw
    tail = np.maximum(draw - 0.999, 0) * 37_000
    return np.asarray((usual + tail) * 1e6, dtype=np.int64)


def _clock_error_us(plan: FaultPlan, device: I64, clock: F64) -> I64:
    at, row = plan.rows_of(device, "clock_drift")
    error = np.zeros(clock.shape, dtype=np.int64)
    if len(at):
        draw = noise.uniform(plan.seed, "clock/error", device[at])
        hours = np.where(draw < 0.5, -1, 1) * (25 + 400 * ((draw * 2) % 1.0))
        error[at] = np.where(
            plan.active(row, clock[at]), np.rint(hours * 3600).astype(np.int64)[:, None] * 1_000_000, 0
        )
    return error


def _dropped(plan: FaultPlan, device: I64, clock: F64) -> Bools:
    """A device with dropouts is silent for 15 to 50 minutes in every other slot of two hours, or so."""
    at, row = plan.rows_of(device, "dropouts")
    dropped = np.zeros(clock.shape, dtype=np.bool_)
    if len(at):
        slot, within = np.divmod(clock[at], _SLOT_MINUTES)
        rows, number = device[at][:, None], slot.astype(np.int64)
        length = 15 + 35 * noise.uniform(plan.seed, "dropout/length", rows, number)
        begin = noise.uniform(plan.seed, "dropout/begin", rows, number) * (_SLOT_MINUTES - length)
        happens = noise.uniform(plan.seed, "dropout", rows, number) < 0.6
        dropped[at] = happens & (within >= begin) & (within < begin + length) & plan.active(row, clock[at])
    return dropped


def frame(fleet: Fleet, readings: Readings) -> pl.DataFrame:
    """One row a message. Beside the contract's columns: `_device`, `_minute`, `_ingested` (µs)."""
    sent = readings.sent
    count = sent.shape[1]
    device = np.repeat(readings.device, count).reshape(sent.shape)[sent]
    minute = readings.minute[sent]
    columns: dict[str, pl.Series] = {
        "event_id": ids.event_ids(fleet.seed, "event", device, minute),
        "device_id": fleet.device_ids.gather(device),
        "timestamp_device": pl.Series(readings.device_time_us[sent]).cast(TS),
        "timestamp_ingested": pl.Series(readings.ingested_us[sent]).cast(TS),
    }
    for sensor in SENSORS:
        if sensor.name == "door_open_close":
            columns[sensor.name] = pl.Series(readings.door[sent])
        elif sensor.name == "defrost_cycle":
            columns[sensor.name] = pl.Series(readings.defrost[sent])
        else:
            columns[sensor.name] = pl.Series(readings.numeric[sensor.name][sent], nan_to_null=True)
    columns |= {"_device": pl.Series(device), "_minute": pl.Series(minute)}
    return pl.DataFrame(columns)


READING_COLUMNS: tuple[str, ...] = ("event_id", "device_id", "timestamp_device", "timestamp_ingested", *SENSOR_NAMES)


def hour_frame(fleet: Fleet, plan: FaultPlan, hour: datetime, device: I64, stuck: F32) -> pl.DataFrame:
    """All messages these devices measured in the hour, by device and time."""
    return minutes_frame(fleet, plan, device, int(epoch_minutes(hour)), 60, stuck)


def minutes_frame(fleet: Fleet, plan: FaultPlan, device: I64, first: int, count: int, stuck: F32) -> pl.DataFrame:
    parts = []
    for at in range(0, len(device), BLOCK_DEVICES):
        block = device[at : at + BLOCK_DEVICES]
        begin = np.full(len(block), first, dtype=np.int64)
        parts.append(frame(fleet, measure(fleet, plan, block, begin, count, stuck)))
    return pl.concat(parts)


def points_frame(fleet: Fleet, plan: FaultPlan, device: I64, minute: I64, stuck: F32) -> pl.DataFrame:
    """The messages of scattered (device, minute) pairs, in their order; those never sent are left out."""
    parts = [frame(fleet, measure(fleet, plan, device[:0], minute[:0], 1, stuck))] if not len(device) else []
    for at in range(0, len(device), BLOCK_DEVICES * 8):
        chosen = slice(at, at + BLOCK_DEVICES * 8)
        parts.append(frame(fleet, measure(fleet, plan, device[chosen], minute[chosen], 1, stuck)))
    return pl.concat(parts)


def simulate_hour(fleet: Fleet, plan: FaultPlan, hour: datetime) -> pl.DataFrame:
    """What the devices measured in this hour, without mess, by device and time: the columns of C1 without its keys.

    The hour is the true one: a device whose clock has drifted is in the hour in which it measured.
    """
    found = hour_frame(fleet, plan, hour, fleet.devices.index, stuck_values(fleet, plan))
    return found.select(READING_COLUMNS)
