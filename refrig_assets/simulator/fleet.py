"""Fleets: which devices there are, how each differs from its cohort, and their registry. No time series here."""

from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from refrig_assets.contracts.registry import DEFAULT_PRESSURE_DROP_FRACTION, DEFAULT_TEMPERATURE_RISE_C_PER_MIN
from refrig_assets.contracts.registry import DEVICE_REGISTRY as REGISTRY
from refrig_assets.contracts.sensors import SENSOR_NAMES
from refrig_assets.simulator import catalogue, noise, refrigerant
from refrig_assets.simulator.noise import F32, I64, Bools


@dataclass(frozen=True)
class Devices:
    """The parameters of devices, one array element a device."""

    index: I64
    site: I64
    region: I64
    cohort: I64
    firmware: I64
    refrigerant: I64
    every: I64  # minutes between readings
    offset: I64  # the minute, modulo `every`, in which the device reads
    phase_s: F32  # second of the minute
    box: F32
    evaporator_difference: F32
    condenser_difference: F32
    superheat: F32
    subcooling: F32
    current: F32
    vibration: F32
    duty: F32
    outdoor: F32
    defrost_period: F32
    defrost_length: F32
    defrost_offset: F32
    defrost_runs: F32
    door_share: F32
    cycle_period: F32
    cycle_offset: F32
    line_gain: F32
    indoor_shift: F32
    threshold: F32
    pressure_reference: F32
    work_reference: F32

    def take(self, rows: I64 | slice) -> "Devices":
        return Devices(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})


@dataclass(frozen=True)
class Fleet:
    seed: int
    start: datetime
    interval_s: int
    devices: Devices

    @property
    def size(self) -> int:
        return len(self.devices.index)

    @cached_property
    def device_ids(self) -> pl.Series:
        return pl.Series("device_id", [f"RF-{i:06d}" for i in self.devices.index.tolist()], dtype=pl.String)

    @cached_property
    def lacking(self) -> Bools:
        """Which devices (rows) lack which of the 14 sensors (columns)."""
        lacks = np.zeros((self.size, len(SENSOR_NAMES)), dtype=np.bool_)
        for number, firmware in enumerate(catalogue.FIRMWARE):
            for sensor in firmware.lacks:
                lacks[self.devices.firmware == number, SENSOR_NAMES.index(sensor)] = True
        for number, region in enumerate(catalogue.REGIONS):
            if not region.humidity_probe:
                lacks[self.devices.region == number, SENSOR_NAMES.index("humidity")] = True
        return lacks

    @cached_property
    def registry(self) -> pl.DataFrame:
        return _registry(self)


def make_fleet(devices: int, seed: int, start: datetime, interval_s: int = 60) -> Fleet:
    """A fleet that reports every `interval_s` seconds (a whole number of minutes that divides the hour)."""
    if devices < 1:
        raise ValueError(f"a fleet needs at least one device, not {devices}")
    if interval_s % 60 or 3600 % interval_s:
        raise ValueError(f"interval_s must be whole minutes that divide the hour, not {interval_s}")
    if start.tzinfo is None or start != start.replace(minute=0, second=0, microsecond=0):
        raise ValueError(f"start must be a full hour with a time zone, not {start.isoformat()}")
    return Fleet(seed, start.astimezone(UTC), interval_s, _draw(devices, seed, interval_s))


def _choose(seed: int, purpose: str, index: I64, shares: list[float]) -> I64:
    edges = np.cumsum(np.asarray(shares) / sum(shares))
    return np.searchsorted(edges[:-1], noise.uniform(seed, purpose, index), side="right").astype(np.int64)


def _draw(devices: int, seed: int, interval_s: int) -> Devices:
    index = np.arange(devices, dtype=np.int64)
    site = index // catalogue.SITE_DEVICES
    cohort = _choose(seed, "cohort", index, [c.share for c in catalogue.COHORTS])
    fluid = np.array([refrigerant.REFRIGERANTS.index(c.refrigerant) for c in catalogue.COHORTS])[cohort]

    def of(name: str) -> F32:
        return np.array([getattr(c, name) for c in catalogue.COHORTS], dtype=np.float32)[cohort]

    def spread(name: str, size: float) -> F32:
        return np.float32(size) * noise.normal(seed, f"device/{name}", index)

    def between(name: str, low: float, high: float) -> F32:
        return (low + (high - low) * noise.uniform(seed, f"device/{name}", index)).astype(np.float32)

    step = interval_s // 60
    every = np.array([step * c.interval_factor if 60 % (step * c.interval_factor) == 0 else step
                      for c in catalogue.COHORTS], dtype=np.int64)[cohort]  # fmt: skip
    # Defrosts are spread over the day as a plant's controller does it, so that the store's load stays even.
    period = (1440 / of("defrosts_a_day")).astype(np.float32)
    machine: dict[str, Any] = {
        "box": of("box_c") + spread("box", 0.7),
        "evaporator_difference": of("evaporator_difference") * (1 + spread("evaporator", 0.06)),
        "condenser_difference": of("condenser_difference") * (1 + spread("condenser", 0.08)),
        "superheat": of("superheat") + spread("superheat", 0.8),
        "subcooling": of("subcooling") + spread("subcooling", 0.5),
        "line_gain": between("line", 0.15, 0.21),
    }
    pressure, work = _design_point(fluid, machine)
    return Devices(
        index=index,
        site=site,
        region=_choose(seed, "region", site, [r.share for r in catalogue.REGIONS]),
        cohort=cohort,
        firmware=_choose(seed, "firmware", index, [f.share for f in catalogue.FIRMWARE]),
        refrigerant=fluid,
        every=every,
        offset=(noise.bits(seed, "device/minute", index) % every.astype(np.uint64)).astype(np.int64),
        phase_s=between("phase", 0.0, 59.0),
        current=of("current_a") * (1 + spread("current", 0.06)),
        vibration=of("vibration") * (1 + spread("vibration", 0.12)),
        duty=of("duty") * (1 + spread("duty", 0.05)),
        outdoor=of("outdoor"),
        defrost_period=period,
        defrost_length=period * of("defrost_share") * (1 + spread("defrost", 0.06)),
        defrost_offset=between("defrost/offset", 0.0, 1.0) * period,
        defrost_runs=of("defrost_runs"),
        door_share=of("door_share") * (1 + spread("door", 0.15)),
        cycle_period=between("cycle", 14.0, 26.0),
        cycle_offset=between("cycle/offset", 0.0, 1.0),
        indoor_shift=spread("indoor", 0.8),
        threshold=of("current_threshold_a"),
        pressure_reference=pressure,
        work_reference=work,
        **machine,
    )


def _design_point(fluid: I64, machine: dict[str, F32]) -> tuple[F32, F32]:
    """Low-side pressure and compression lift at 22 °C, where the nominal current is drawn."""
    evaporating = machine["box"] - machine["evaporator_difference"]
    low = refrigerant.saturation_pressure(fluid, evaporating)
    high = refrigerant.saturation_pressure(fluid, np.float32(22) + machine["condenser_difference"])
    outlet = evaporating + machine["superheat"]
    suction = outlet + machine["line_gain"] * (22 - outlet) + np.float32(273.15)
    work: F32 = (suction * ((high / low) ** exponents(fluid) - 1)).astype(np.float32)
    return low, work


def exponents(fluid: I64) -> F32:
    return np.array([refrigerant.COMPRESSION_EXPONENT[n] for n in refrigerant.REFRIGERANTS], dtype=np.float32)[fluid]


def _pick(names: list[Any], which: npt.NDArray[Any]) -> list[Any]:
    return [names[i] for i in which.tolist()]


def _registry(fleet: Fleet) -> pl.DataFrame:
    d = fleet.devices
    site = d.site.tolist()
    town = noise.bits(fleet.seed, "site/name", d.site).tolist()
    age = noise.bits(fleet.seed, "device/age", d.index) % np.uint64(3600)
    sensors, lack = _expected_sensors(fleet)
    regions = _pick(list(catalogue.REGIONS), d.region)
    frame = pl.DataFrame(
        {
            "device_id": fleet.device_ids,
            "site_id": [f"S-{s:04d}" for s in site],
            "site_name": [f"{catalogue.SITE_NAMES[t % 8]} {s + 1}" for s, t in zip(site, town, strict=True)],
            "region": [r.name for r in regions],
            "climate_zone": [r.climate for r in regions],
            "model": _pick([c.model for c in catalogue.COHORTS], d.cohort),
            "cohort_id": _pick([c.name for c in catalogue.COHORTS], d.cohort),
            "install_date": [fleet.start - timedelta(days=60 + int(a)) for a in age],
            "firmware_version": _pick([f.version for f in catalogue.FIRMWARE], d.firmware),
            "expected_sensors": pl.Series(sensors, dtype=pl.List(pl.String)).gather(lack),
            "expected_interval_s": d.every * 60,
            "status": "active",
            "current_threshold_a": d.threshold.astype(np.float64),
            "vibration_baseline_mm_s": np.where(
                fleet.lacking[:, SENSOR_NAMES.index("vibration_compressor")], np.nan, np.round(d.vibration * 0.85, 2)
            ).astype(np.float64),
            "pressure_drop_fraction": DEFAULT_PRESSURE_DROP_FRACTION,
            "temperature_rise_c_per_min": DEFAULT_TEMPERATURE_RISE_C_PER_MIN,
            "thresholds_updated_at": fleet.start,
            "site_manager": [f"{catalogue.PEOPLE[t // 8 % 8]}@example.com" for t in town],
            "maintenance_contact": [f"dispatch@{catalogue.SERVICE_FIRMS[r % 4]}.example" for r in d.region.tolist()],
        }
    )
    return REGISTRY.conform(frame.with_columns(pl.col("vibration_baseline_mm_s").fill_nan(None)))


def _expected_sensors(fleet: Fleet) -> tuple[list[list[str]], I64]:
    """The distinct lists of sensors, and which of them each device has."""
    patterns, which = np.unique(fleet.lacking, axis=0, return_inverse=True)
    lists = [[n for n, lacks in zip(SENSOR_NAMES, row, strict=True) if not lacks] for row in patterns]
    return lists, which.reshape(-1).astype(np.int64)
