"""From the machine's state to what its probes say: bias, noise, quantisation, broken probes. No thermodynamics."""

from dataclasses import dataclass

import numpy as np

from refrig_assets.contracts.sensors import NUMERIC_SENSORS, SENSOR_NAMES
from refrig_assets.simulator import noise
from refrig_assets.simulator.faults import BY_NAME, DRIFT_SIZE, FIRMWARE_SCALE, SCALED_SENSORS
from refrig_assets.simulator.fleet import Devices
from refrig_assets.simulator.noise import F32, F64, I64
from refrig_assets.simulator.physics import Cycle
from refrig_assets.simulator.plan import FaultPlan


@dataclass(frozen=True)
class Probe:
    """Spread of the probes' constant errors and of each reading (shares of the value, or units), and steps a unit."""

    bias: float
    noise: float
    steps: int
    relative: bool = False


PROBES: dict[str, Probe] = {
    "temperature_evaporator": Probe(0.25, 0.12, 10),
    "temperature_condenser": Probe(0.25, 0.15, 10),
    "temperature_ambient": Probe(0.25, 0.10, 10),
    "temperature_discharge": Probe(0.4, 0.3, 10),
    "temperature_suction": Probe(0.25, 0.15, 10),
    "pressure_high_side": Probe(0.004, 0.003, 1, relative=True),
    "pressure_low_side": Probe(0.005, 0.005, 1, relative=True),
    "current_compressor": Probe(0.01, 0.012, 100, relative=True),
    "vibration_compressor": Probe(0.03, 0.05, 100, relative=True),
    "humidity": Probe(1.5, 0.5, 10),
    "superheat": Probe(0.2, 0.2, 10),
    "subcooling": Probe(0.15, 0.15, 10),
}


def ideal(sensor: str, seed: int, devices: Devices, cycle: Cycle) -> F32:
    """The state as this device's probe sees it, with its constant error, before noise."""
    probe, true = PROBES[sensor], getattr(cycle, sensor)
    bias = np.float32(probe.bias) * noise.normal(seed, f"bias/{sensor}", devices.index)[:, None]
    seen: F32 = true * (1 + bias) if probe.relative else true + bias
    return seen


def read(seed: int, devices: Devices, lacking: noise.Bools, cycle: Cycle, plan: FaultPlan, minute: I64, clock: F64,
         stuck: F32) -> dict[str, F64]:  # fmt: skip
    """The twelve numeric sensors, device × reading; NaN where there is no value. `stuck` has one value a fault."""
    readings: dict[str, F64] = {}
    for sensor in NUMERIC_SENSORS:
        probe = PROBES[sensor.name]
        value = ideal(sensor.name, seed, devices, cycle)
        error = np.float32(probe.noise) * noise.normal(seed, f"noise/{sensor.name}", devices.index[:, None], minute)
        value = value * (1 + error) if probe.relative else value + error
        # Transmitters end at the ends of their range.
        value = np.clip(value, np.float32(sensor.low), np.float32(sensor.high))
        value = _break(value, sensor.name, devices, plan, clock, stuck)
        rounded = np.rint(value.astype(np.float64) * probe.steps) / probe.steps
        rounded[lacking[:, SENSOR_NAMES.index(sensor.name)]] = np.nan
        readings[sensor.name] = rounded
    return readings


def _break(value: F32, sensor: str, devices: Devices, plan: FaultPlan, clock: F64, stuck: F32) -> F32:
    if not len(plan.kind):
        return value
    for kind in ("sensor_stuck", "sensor_drift", "sensor_dead"):
        at, row = plan.rows_of(devices.index, kind)
        mine = np.array([plan.sensor_name(r) == sensor for r in row.tolist()], dtype=np.bool_)
        at, row = at[mine], row[mine]
        if not len(at):
            continue
        active = plan.active(row, clock[at])
        if kind == "sensor_stuck":
            value[at] = np.where(active, stuck[row][:, None], value[at])
        elif kind == "sensor_dead":
            value[at] = np.where(active, np.float32(np.nan), value[at])
        else:
            off = DRIFT_SIZE[sensor] * plan.level(row, clock[at], BY_NAME[kind]) * active
            # Half of the drifting probes drift down.
            sign = np.where(noise.bits(plan.seed, "drift/sign", devices.index[at]) % np.uint64(2) == 0, 1, -1)
            value[at] += (off * sign[:, None]).astype(np.float32)
    if sensor in SCALED_SENSORS:
        at, row = plan.rows_of(devices.index, "firmware_scale")
        if len(at):
            value[at] *= np.where(plan.active(row, clock[at]), np.float32(FIRMWARE_SCALE), np.float32(1))
    return value
